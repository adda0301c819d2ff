"""What the gateway tells the front end when it starts it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from impasto_server.logs import FORMATS, LEVELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The arguments of the process.

    Attributes:
        listener: descriptor of the socket that listens for callers.
        gateway: address of the gateway, for gRPC.
        needs_token: whether callers need a token.
        origins: other origins whose pages may call.
        url: public address of the page, which ends with "/"; None if not given.
        tls_cert, tls_key, tls_client_ca: PEM files; without `tls_cert` there is no TLS.
        max_request_memory: maximum bytes for requests with images while they arrive.
        log_level, log_format: see `logs.log_to_stderr`.
    """

    listener: int
    gateway: str
    needs_token: bool = False
    origins: tuple[str, ...] = ()
    url: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    max_request_memory: int = 256 << 20
    log_level: str = "info"
    log_format: str = "text"

    def arguments(self) -> list[str]:
        """Returns the arguments from which `parse` makes these options."""
        told = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            option = "--" + field.name.replace("_", "-")
            if isinstance(value, tuple):
                told += [f"{option}={each}" for each in value]
            elif value is True:
                told.append(option)
            elif value is not None and value is not False:
                told.append(f"{option}={value}")
        return told


def parse(arguments: list[str] | None = None) -> Options:
    """Reads the options from a command line; None: from this process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m impasto_server.web",
        description="The front end. The gateway starts it; people do not.",
    )
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--needs-token", action="store_true")
    parser.add_argument("--origins", action="append", default=[])
    parser.add_argument("--url")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--tls-client-ca", type=Path)
    parser.add_argument("--max-request-memory", type=int, required=True)
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    values = vars(parser.parse_args(arguments))
    values["origins"] = tuple(values["origins"])
    return Options(**values)
