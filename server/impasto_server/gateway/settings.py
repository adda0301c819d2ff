"""Every setting of a server: its default, its help text, and where it can be given.

A setting can be given as an option of `impasto-server serve`, as an environment variable, or in a TOML file,
in this order of precedence. All three, and the table in server/README.md, are made from the fields of
`Settings`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from impasto_server.fleet.on_ray.ask import Ask
from impasto_server.gateway.kinds import (
    ASK,
    DEVICES,
    DURATION,
    ORIGINS,
    PATH,
    RAY,
    SIZE,
    URL,
    YES,
    Kind,
    bounded,
    one_of,
    text,
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
    """A setting is invalid. The message names it and says what to do."""


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
        shown: the default in words, where its value is not clear enough.
        example: a value for the example file, where the default cannot be written as a value.
        public: whether it concerns access from other machines or the place of the data. A private server and
            a mock take such a setting from the command line only.
        hidden: whether it exists on the command line only: not in files, the environment or the table.
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
    """The settings of a server."""

    host: str = _setting(
        "127.0.0.1",
        text("an address"),
        "Address to listen on. If other machines can reach it, it needs TLS and tokens, or --insecure.",
        public=True,
    )
    port: int | None = _setting(
        None,
        whole(0, 65535),
        "Port to listen on; 0 takes any free port.",
        shown=f"{DEFAULT_PORT}",
        example=f"{DEFAULT_PORT}",
        public=True,
    )
    socket: Path | None = _setting(
        None,
        PATH,
        "Unix socket to listen on instead of an address and a port. Whoever can write to it gets in, so put "
        "it in a folder of your own.",
        shown="none",
        example="/run/impasto/socket",
        public=True,
    )
    device: str = _setting(
        "auto",
        DEVICES,
        "Devices to paint on: auto (every GPU, or the CPU if there is none), or a comma-separated list of "
        'cpu, mps, cuda and cuda:N; see "Machines and devices" in the server\'s README.',
    )
    weights: str | None = _setting(
        None,
        text("vgg19, builtin or a file"),
        "Weights of the feature network: vgg19, builtin or a file.",
        shown="vgg19, downloaded if necessary; builtin if the download fails",
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
        "Folder of paintings that callers can name as styles.",
        shown="none, only the built-in style",
        example="/srv/impasto/styles",
    )
    max_jobs: int = _setting(1000, whole(1), "Maximum unfinished jobs, all tenants.")
    max_jobs_per_tenant: int = _setting(200, whole(1), "Maximum unfinished jobs per tenant.")
    max_resident: int = _setting(
        8,
        whole(1),
        "Maximum jobs that share a device at the same time. Other jobs wait, or take turns with them.",
    )
    memory: int | None = _setting(
        None,
        bounded(SIZE, 64 << 20),
        "Maximum memory for jobs on each device.",
        shown="all memory that is free when the worker starts",
        example="20GiB",
    )
    max_stored_bytes_per_tenant: int = _setting(
        0, SIZE, "Maximum size of the stored images, uploads and results per tenant; 0 means no limit."
    )
    max_streams_per_tenant: int = _setting(
        200, whole(1), "Maximum open streams and waiting calls per tenant."
    )
    max_request_memory: int = _setting(
        256 << 20,
        bounded(SIZE, 128 << 20),
        "Maximum memory for requests with images while they arrive. One tenant gets at most half of it; "
        "requests that do not fit wait.",
    )
    keep_results_for: float = _setting(
        7 * 86400.0,
        bounded(DURATION, 1.0, 36500 * 86400.0),
        "Time for which a final job and its result are kept.",
    )
    keep_bytes: int | None = _setting(
        None,
        bounded(SIZE, 1 << 20),
        "Maximum size of everything stored. Beyond it, the jobs that became final first are deleted.",
        shown="no limit",
        example="500GiB",
    )
    checkpoint_interval: float = _setting(
        5.0,
        bounded(DURATION, 0.05, 3600.0),
        "Minimum device time between two checkpoints of a job. After a crash, this work is done again.",
    )
    heartbeat_interval: float = _setting(
        15.0, bounded(DURATION, 0.1, 15.0), "How often to send a heartbeat when nothing else happens."
    )
    max_deadline: float = _setting(
        86400.0, bounded(DURATION, 60.0, 30 * 86400.0), "Maximum duration of a stream."
    )
    drain: float = _setting(
        25.0,
        bounded(DURATION, 0.0, 600.0),
        "Maximum time for jobs to write their checkpoints after SIGTERM.",
    )
    worker_timeout: float = _setting(
        20.0,
        bounded(DURATION, 1.0, 3600.0),
        "Time without an answer after which a worker process is killed and replaced. Its jobs go on.",
    )
    turn_timeout: float = _setting(
        1800.0,
        bounded(DURATION, 10.0, 7 * 86400.0),
        "Maximum time for one evaluation. A device that takes longer counts as hung, and its worker is "
        "replaced.",
    )
    ray: str | None = _setting(
        None,
        RAY,
        "Paint on the machines of a Ray cluster: auto (the cluster that this machine belongs to), HOST:PORT "
        "(its head), ray://HOST:PORT (its client port), or local (a cluster of this machine alone).",
        shown="none, paint on this machine's devices",
        example="ray://head:10001",
    )
    ray_worker: Ask | None = _setting(
        None,
        ASK,
        "What each worker asks a machine of the Ray cluster for: gpu, cpu, memory, and resources that you "
        "have named, such as gpu=1,cpu=4,memory=8GiB,a100=1.",
        shown="auto: one GPU, or all cores of the smallest machine if no machine has a GPU",
        example="gpu=1,cpu=4",
    )
    ray_min_workers: int = _setting(
        1, whole(0, 10_000), "Minimum workers on the Ray cluster. They stay even when there are no jobs."
    )
    ray_max_workers: int | None = _setting(
        None,
        whole(1, 10_000),
        "Maximum workers on the Ray cluster. Up to this number, each job gets one if a machine has room.",
        shown="no limit",
        example="8",
    )
    ray_idle: float = _setting(
        300.0,
        bounded(DURATION, 1.0, 7 * 86400.0),
        "Time without jobs after which a worker beyond --ray-min-workers is given back to the Ray cluster.",
    )
    tls_cert: Path | None = _setting(
        None,
        PATH,
        "Certificate chain of the server (PEM).",
        shown="none",
        example="/etc/impasto/server.pem",
        public=True,
    )
    tls_key: Path | None = _setting(
        None,
        PATH,
        "Private key of the server's certificate (PEM).",
        shown="none",
        example="/etc/impasto/server.key",
        public=True,
    )
    tls_client_ca: Path | None = _setting(
        None,
        PATH,
        "Certificates of the authorities that sign callers' certificates (PEM). Only callers with such a "
        "certificate get in (mTLS).",
        shown="none",
        example="/etc/impasto/callers.pem",
        public=True,
    )
    tokens_file: Path | None = _setting(
        None,
        PATH,
        "File of the callers' tokens, written by `impasto-server token`.",
        shown="tokens.json in the data folder, if it exists",
        example="/var/lib/impasto/tokens.json",
        public=True,
    )
    insecure: bool = _setting(
        False,
        YES,
        "Listen without TLS and tokens even if other machines can reach the address.",
        public=True,
    )
    metrics_host: str = _setting(
        "127.0.0.1", text("an address"), "Address from which Prometheus reads metrics.", public=True
    )
    metrics_port: int | None = _setting(
        None,
        whole(0, 65535),
        "Port from which Prometheus reads metrics.",
        shown="no metrics",
        example="9464",
        public=True,
    )
    web_port: int | None = _setting(
        None,
        whole(0, 65535),
        "Port of the server's page and of calls over HTTP, on the same host and with the same TLS; 0 takes "
        "any free port.",
        shown="none, only gRPC",
        example="8080",
        public=True,
    )
    web_url: str | None = _setting(
        None,
        URL,
        "Public address of the page if it lies behind a reverse proxy. It may have a path.",
        shown="none",
        example="https://example.org/impasto/",
        public=True,
    )
    web_origin: tuple[str, ...] = _setting(
        (),
        ORIGINS,
        "Origins of other pages that may call the server from a browser (CORS), separated by commas.",
        shown="none, only the server's own page",
        example="https://example.org",
        public=True,
    )
    grpc: bool = _setting(
        True,
        YES,
        "Listen for gRPC on --host and --port, or on --socket. Without it, callers use --web-port.",
        public=True,
    )
    users_dir: Path | None = _setting(
        None,
        PATH,
        "Folder in which the programs that use this server note their processes. The server ends with the "
        "last of them, and downloads no weights.",
        shown="none, run until stopped",
        example="/run/impasto/users",
        public=True,
    )
    log_level: str = _setting("info", one_of(*LEVELS), "Lowest level of events to log.")
    log_format: str = _setting("text", one_of(*FORMATS), "Format of the log, one event per line.")
    private: bool = _setting(
        False,
        YES,
        "Serve only the program that started this server: end when stdin closes, download and keep nothing.",
        hidden=True,
    )
    mock: bool = _setting(
        False,
        YES,
        "Only pretend to paint, without PyTorch: for tests of clients. The server takes its address, data "
        "folder, tokens, TLS and metrics from options only, not from variables or --config. It deletes its "
        "data when it ends, unless --data-dir is given.",
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
        """The port to listen on; 0 for any free port."""
        if self.port is not None:
            return self.port
        return 0 if self.private else DEFAULT_PORT

    @property
    def data_folder(self) -> Path:
        """The folder for jobs, images and results. A private server uses a temporary folder instead."""
        return self.data_dir or default_data_dir()

    @property
    def tokens_path(self) -> Path:
        """The file of tokens, which need not exist."""
        return self.tokens_file or self.data_folder / "tokens.json"


def default_data_dir() -> Path:
    """The user's data folder for this program."""
    return Path(platformdirs.user_data_dir("impasto", appauthor=False))


def fields() -> list[dataclasses.Field[Any]]:
    """The settings, in the order of the table."""
    return list(dataclasses.fields(Settings))


def flag(field: dataclasses.Field[Any]) -> str:
    """A setting's option on the command line."""
    return "--" + field.name.replace("_", "-")


def variable(field: dataclasses.Field[Any]) -> str:
    """A setting's environment variable."""
    return "IMPASTO_" + field.name.upper()


def shown_default(field: dataclasses.Field[Any]) -> str:
    """A setting's default in words."""
    kind: Kind = field.metadata["kind"]
    return field.metadata["shown"] or kind.show(field.default)


def gather(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Reads the settings: an option takes precedence over a variable, and a variable over the file.

    A private server and a mock ignore the variables and keys of settings that are `public`. A mock still
    checks their values.

    Args:
        flags: options by field; None means not given.
        environment: variables by name.
        file: TOML with the fields' names as keys; "-" and "_" are the same.

    Raises:
        SettingsError: a setting is unknown or invalid; the message says where it was given.
    """
    from_file = _read_file(file) if file is not None else {}
    values: dict[str, Any] = {}
    for field in fields():
        name = field.name
        if flags.get(name) is not None:
            values[name] = _read(field, flags[name], flag(field))
            continue
        given = _given_elsewhere(field, environment, from_file, file)
        if given is None or (field.metadata["public"] and flags.get("private")):
            continue
        value = _read(field, *given)
        if not (field.metadata["public"] and flags.get("mock")):
            values[name] = value
    return Settings(**values)


def ignored_by_mock(environment: Mapping[str, str], file: Path | None = None) -> list[tuple[str, str]]:
    """Returns the settings that a mock takes from the command line only, but that are given elsewhere.

    Args:
        environment, file: as for `gather`.

    Returns:
        For each, where it is given ("IMPASTO_PORT" or "impasto.toml: port") and its option ("--port").

    Raises:
        SettingsError: the file cannot be read.
    """
    from_file = _read_file(file) if file is not None else {}
    return [
        (given[1], flag(field))
        for field in fields()
        if field.metadata["public"] and (given := _given_elsewhere(field, environment, from_file, file))
    ]


def _given_elsewhere(
    field: dataclasses.Field[Any],
    environment: Mapping[str, str],
    from_file: Mapping[str, Any],
    file: Path | None,
) -> tuple[Any, str] | None:
    """Returns a setting's value in the environment or else in the file, and its place; None if not given."""
    if field.metadata["hidden"]:
        return None
    if environment.get(variable(field)):
        return environment[variable(field)], variable(field)
    if field.name in from_file:
        return from_file[field.name], f"{file}: {field.name}"
    return None


def table() -> str:
    """The settings as a table in Markdown."""
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    rows += [
        f"| `{flag(field)}` | {shown_default(field)} | {field.metadata['help']} |"
        for field in fields()
        if not field.metadata["hidden"]
    ]
    return "\n".join(rows) + "\n"


def example_file() -> str:
    """An example file (TOML) with every setting in a comment that shows its default."""
    lines = [
        "# Settings of impasto-server: `impasto-server serve --config impasto.toml`.",
        "# Each line shows the default, or an example if there is none. Remove the # to set a value.",
        "# Options and environment variables take precedence over this file.",
    ]
    for field in fields():
        about = field.metadata
        if about["hidden"]:
            continue
        kind: Kind = about["kind"]
        default = f" Default: {shown_default(field)}." if about["example"] else ""
        value = about["example"] or kind.show(field.default)
        if kind is YES:
            value = str(field.default).lower()
        elif kind.metavar != "N":
            value = f'"{value}"'
        lines += ["", f"# {about['help']}{default}", f"# {field.name} = {value}"]
    return "\n".join(lines) + "\n"


def _read(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    kind: Kind = field.metadata["kind"]
    try:
        return kind.read(value)
    except ValueError as error:
        found = "empty" if value == "" else repr(value)
        raise SettingsError(f"{where} is {found}; {error}") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        read = tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingsError(f"--config {path} cannot be read ({error.strerror}); give another file") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--config {path} is not text in UTF-8; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"\((at line \d+, column \d+|at end of document)\)$", str(error))
        where = f" {place[1].replace('end of document', 'its end')}" if place else ""
        raise SettingsError(
            f"--config {path} is not valid TOML{where}; give each setting once, on a line of its own: port = "
            '8000, or device = "cpu" (`impasto-server settings --toml` prints all)'
        ) from None
    known = {field.name for field in fields() if not field.metadata["hidden"]}
    values = {key.replace("-", "_"): value for key, value in read.items()}
    if len(values) < len(read):
        twice = next(key for key in read if "-" in key and key.replace("-", "_") in read)
        raise SettingsError(f"--config {path}: {twice} is set twice, with - and with _; remove one of them")
    if unknown := sorted(values.keys() - known):
        are = "is not a setting" if len(unknown) == 1 else "are not settings"
        raise SettingsError(
            f"--config {path}: {', '.join(unknown)} {are}; `impasto-server settings` lists all settings"
        )
    return values
