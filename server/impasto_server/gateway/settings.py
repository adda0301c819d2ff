"""Every setting of a server: its default, its help, and the ways to give it.

A setting is given as a flag of `impasto-server serve`, as an environment variable, or in a TOML file; the
first of these that gives it counts. All three, and the table in server/README.md, are made from the fields
of `Settings`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from impasto_server.gateway.kinds import (
    DEVICES,
    DURATION,
    PATH,
    SIZE,
    TEXT,
    YES,
    Kind,
    bounded,
    one_of,
    whole,
)
from impasto_server.given_files import read_text
from impasto_server.logs import FORMATS, LEVELS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PORT = 50051


class SettingsError(Exception):
    """A setting that makes no sense. The message names it and says what to do."""


def _setting(
    default: Any,
    kind: Kind,
    help: str,
    *,
    shown: str = "",
    example: str = "",
    public: bool = False,
    hidden: bool = False,
) -> Any:
    """
    Args:
        shown: the default in words, where its value does not speak for itself.
        example: a value for the example file, where the default is none that could be written.
        public: says how others reach the server, or where it keeps things: on a private one and on a mock it
            counts as a flag only.
        hidden: for the command line alone: not in files, the environment and the table.
    """
    metadata = {
        "kind": kind,
        "help": help,
        "shown": shown,
        "example": example,
        "public": public,
        "hidden": hidden,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server is run."""

    host: str = _setting(
        "127.0.0.1",
        TEXT,
        "Address to listen on. One that other machines can reach needs TLS and tokens, or --insecure.",
        public=True,
    )
    port: int | None = _setting(
        None,
        whole(0, 65535),
        "Port to listen on; 0 takes a free one.",
        shown=f"{DEFAULT_PORT}",
        example=f"{DEFAULT_PORT}",
        public=True,
    )
    device: str = _setting(
        "auto",
        DEVICES,
        "What to paint on: auto (every GPU, else the CPU), or names with commas: cuda:0,cuda:1; mps; cpu.",
    )
    weights: str | None = _setting(
        None,
        TEXT,
        "Weights of the feature network: vgg19, builtin or a file.",
        shown="VGG-19, downloaded if need be; the built-in VGG-16 where it cannot be had",
        example="vgg19",
    )
    data_dir: Path | None = _setting(
        None,
        PATH,
        "Folder for jobs, images and results.",
        shown="the user's data folder",
        example="/var/lib/impasto",
        public=True,
    )
    styles_dir: Path | None = _setting(
        None,
        PATH,
        "Folder of paintings that callers may name as styles.",
        shown="none",
        example="/srv/impasto/styles",
    )
    max_jobs: int = _setting(1000, whole(1), "Jobs accepted and not yet final, of all tenants.")
    max_jobs_per_tenant: int = _setting(200, whole(1), "The same for one tenant.")
    max_resident: int = _setting(
        8, whole(1), "Jobs that share a device at a time; the others wait or take turns with them."
    )
    memory: int | None = _setting(
        None,
        bounded(SIZE, 64 << 20),
        "Memory that jobs may use on each device.",
        shown="all that is free at the start",
        example="20GiB",
    )
    max_stored_bytes_per_tenant: int = _setting(
        0, SIZE, "Size of the images, uploads and results kept for one tenant, at most; 0 for no limit."
    )
    max_streams_per_tenant: int = _setting(
        200, whole(1), "Streams and waiting calls open at a time for one tenant."
    )
    max_request_memory: int = _setting(
        256 << 20,
        bounded(SIZE, 128 << 20),
        "Memory for requests with images that are being taken in; half of it for one tenant. Others wait.",
    )
    keep_results_for: float = _setting(
        7 * 86400.0,
        bounded(DURATION, 1.0, 36500 * 86400.0),
        "How long a job is kept once it is final.",
    )
    keep_bytes: int | None = _setting(
        None,
        bounded(SIZE, 1 << 20),
        "Everything kept, at most: beyond it, the jobs that became final first are deleted.",
        shown="no limit",
        example="500GiB",
    )
    checkpoint_interval: float = _setting(
        5.0,
        bounded(DURATION, 0.05, 3600.0),
        "Device time between two checkpoints of a job, at least: what a crash may cost.",
    )
    heartbeat_interval: float = _setting(
        15.0, bounded(DURATION, 0.1, 15.0), "Watchers are told that nothing happened so often."
    )
    max_deadline: float = _setting(
        86400.0, bounded(DURATION, 60.0, 30 * 86400.0), "After so long a stream is ended."
    )
    drain: float = _setting(
        25.0,
        bounded(DURATION, 0.0, 600.0),
        "Time that jobs have at SIGTERM to write their checkpoints.",
    )
    worker_timeout: float = _setting(
        20.0,
        bounded(DURATION, 1.0, 3600.0),
        "Time after which a worker process that does not answer is killed and replaced; its jobs go on.",
    )
    turn_timeout: float = _setting(
        1800.0,
        bounded(DURATION, 10.0, 7 * 86400.0),
        "Time after which a device counts as hung that is still at one evaluation; its worker is replaced.",
    )
    tls_cert: Path | None = _setting(
        None,
        PATH,
        "Certificate chain (PEM) of the server.",
        shown="none",
        example="/etc/impasto/server.pem",
        public=True,
    )
    tls_key: Path | None = _setting(
        None,
        PATH,
        "Its private key (PEM).",
        shown="none",
        example="/etc/impasto/server.key",
        public=True,
    )
    tls_client_ca: Path | None = _setting(
        None,
        PATH,
        "Certificates (PEM) that sign callers' certificates: only such callers get in (mTLS).",
        shown="none",
        example="/etc/impasto/callers.pem",
        public=True,
    )
    tokens_file: Path | None = _setting(
        None,
        PATH,
        "File of the callers' tokens, written by `impasto-server token`.",
        shown="tokens.json in the data folder, if it is there",
        example="/var/lib/impasto/tokens.json",
        public=True,
    )
    insecure: bool = _setting(
        False, YES, "Allow an address that other machines can reach without TLS and tokens.", public=True
    )
    metrics_host: str = _setting(
        "127.0.0.1", TEXT, "Address for Prometheus to read metrics from.", public=True
    )
    metrics_port: int | None = _setting(
        None,
        whole(0, 65535),
        "Port for Prometheus to read metrics from.",
        shown="no metrics",
        example="9464",
        public=True,
    )
    log_level: str = _setting("info", one_of(*LEVELS), "From which level up events are logged.")
    log_format: str = _setting("text", one_of(*FORMATS), "How events are logged, one a line.")
    private: bool = _setting(
        False,
        YES,
        "For one caller that started this server: ends when stdin closes, downloads nothing, keeps nothing.",
        hidden=True,
    )
    mock: bool = _setting(
        False,
        YES,
        "Only pretend to paint, without PyTorch: for tests of clients. The server deletes its data when it "
        "ends, unless --data-dir is given.",
        hidden=True,
    )
    mock_evaluation_time: float = _setting(
        0.02,
        bounded(DURATION, 0.0, 60.0),
        "Duration of an evaluation with --mock.",
        hidden=True,
    )

    @property
    def devices(self) -> list[str]:
        """Names of devices, or "auto" alone."""
        return self.device.split(",")

    @property
    def keeps_nothing(self) -> bool:
        """Whether the data are in a temporary folder."""
        return self.private or (self.mock and self.data_dir is None)

    @property
    def listening_port(self) -> int:
        """What to listen on; 0 for any free one."""
        if self.port is not None:
            return self.port
        return 0 if self.private else DEFAULT_PORT

    @property
    def data_folder(self) -> Path:
        """Where to keep things. A private server has another one, which goes with it."""
        return self.data_dir or default_data_dir()

    @property
    def tokens_path(self) -> Path:
        """Where the tokens are, if there are any."""
        return self.tokens_file or self.data_folder / "tokens.json"


def default_data_dir() -> Path:
    """The user's data folder for this program."""
    return Path(platformdirs.user_data_dir("impasto", appauthor=False))


def fields() -> list[dataclasses.Field[Any]]:
    """The settings, in the order of their table."""
    return list(dataclasses.fields(Settings))


def flag(field: dataclasses.Field[Any]) -> str:
    """How it is given on the command line."""
    return "--" + field.name.replace("_", "-")


def variable(field: dataclasses.Field[Any]) -> str:
    """How it is given in the environment."""
    return "IMPASTO_" + field.name.upper()


def shown_default(field: dataclasses.Field[Any]) -> str:
    """The default in words."""
    kind: Kind = field.metadata["kind"]
    return field.metadata["shown"] or kind.show(field.default)


def gather(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings from everywhere; a flag counts before a variable, and that before the file.

    What is said there of how others reach a server is not meant for a private one or a mock, and left aside.

    Args:
        flags: by field; None is not given.
        environment: variables by name.
        file: TOML with the fields' names as keys, "-" or "_" alike.

    Raises:
        SettingsError: something is unknown or makes no sense; says where it stands.
    """
    from_file = _read_file(file) if file is not None else {}
    values: dict[str, Any] = {}
    apart = flags.get("private") or flags.get("mock")
    for field in fields():
        name = field.name
        flag_only = field.metadata["hidden"] or (apart and field.metadata["public"])
        if flags.get(name) is not None:
            values[name] = _read(field, flags[name], flag(field))
        elif not flag_only and environment.get(variable(field)):
            values[name] = _read(field, environment[variable(field)], variable(field))
        elif not flag_only and name in from_file:
            values[name] = _read(field, from_file[name], f"{file}: {name}")
    return Settings(**values)


def table() -> str:
    """The settings as a table in Markdown."""
    rows = ["| flag | default | what |", "| --- | --- | --- |"]
    rows += [
        f"| `{flag(field)}` | {shown_default(field)} | {field.metadata['help']} |"
        for field in fields()
        if not field.metadata["hidden"]
    ]
    return "\n".join(rows) + "\n"


def example_file() -> str:
    """A file of settings (TOML) that has every one of them, as a comment with its default."""
    lines = [
        "# Settings of impasto-server: `impasto-server serve --config impasto.toml`.",
        "# Each line shows a default, or an example where there is none; take away the # to set it.",
        "# Flags and variables go before.",
    ]
    for field in fields():
        about = field.metadata
        if about["hidden"]:
            continue
        kind: Kind = about["kind"]
        default = f" Default: {shown_default(field)}." if about["example"] else ""
        text = about["example"] or kind.show(field.default)
        if kind is YES:
            text = str(field.default).lower()
        elif kind.metavar != "N":
            text = f'"{text}"'
        lines += ["", f"# {about['help']}{default}", f"# {field.name} = {text}"]
    return "\n".join(lines) + "\n"


def _read(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    kind: Kind = field.metadata["kind"]
    try:
        return kind.read(value)
    except ValueError as error:
        raise SettingsError(f"{where} is {value!r}; {error}") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        read = tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); give another file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    known = {field.name for field in fields() if not field.metadata["hidden"]}
    values = {key.replace("-", "_"): value for key, value in read.items()}
    if len(values) < len(read):
        twice = next(key for key in read if "-" in key and key.replace("-", "_") in read)
        raise SettingsError(f"{path}: {twice} is there twice, with - and with _; take one away")
    if unknown := sorted(values.keys() - known):
        raise SettingsError(
            f"{path}: {', '.join(unknown)} is no setting; `impasto-server settings` lists them"
        )
    return values
