"""The commands of `impasto-server`."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib.metadata
import inspect
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from impasto_server.admin_commands import add_commands
from impasto_server.bench.commands import bench, contact_sheet
from impasto_server.cli import INSTALL_PYTORCH, missing_pytorch
from impasto_server.command_parts import (
    CONFIG,
    ConfigFile,
    DataFolder,
    exit_with,
    is_given,
    running_server,
    settings_of,
)
from impasto_server.plain_help import PlainCommand, PlainGroup, PlainProgram, number, one_of, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from impasto_server.gateway.settings import Settings
    from impasto_server.gateway.tokens import Tokens


_log = logging.getLogger(__name__)


app = typer.Typer(
    cls=PlainProgram,
    help="Paint photographs in the style of paintings, for callers over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # In a table, rich cuts off long names of options.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(
    cls=PlainGroup,
    help="List, verify and download weights of the feature network.",
    invoke_without_command=True,
)
app.add_typer(weights_app, name="weights")
tokens_app = typer.Typer(
    cls=PlainGroup, help="Make, list and remove the callers' tokens.", no_args_is_help=True
)
app.add_typer(tokens_app, name="token")
fleet_app = typer.Typer(cls=PlainGroup, invoke_without_command=True)
app.add_typer(fleet_app, name="fleet")
add_commands(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"impasto-server {importlib.metadata.version('impasto-server')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def _serve(context: typer.Context, config: Path | None, **flags: object) -> None:
    from impasto_server.logs import log_to_stderr

    settings = settings_of(config, flags)
    if not settings.mock and (missing := missing_pytorch()):
        message = INSTALL_PYTORCH.format(", ".join(missing))
        exit_with(ValueError(f"{message}; or give --mock for a server that only pretends to paint"))
    _check_given_paths(settings)
    # Before gRPC is imported, which the next two modules do.
    log_to_stderr("gateway", settings.log_level, settings.log_format)
    if settings.mock:
        _warn_of_ignored_settings(flags, config)
    from impasto_server.fleet.worker_process import ConfigurationError
    from impasto_server.gateway.server import serve as serve_until_stopped

    try:
        asyncio.run(serve_until_stopped(settings))
    except ConfigurationError as error:
        exit_with(error)


def _warn_of_ignored_settings(flags: Mapping[str, object], config: Path | None) -> None:
    """Logs each setting that a mock server ignores because it is not given as an option."""
    from impasto_server.gateway.settings import ignored_by_mock

    for place, option in ignored_by_mock(os.environ, config):
        if flags[option[2:].replace("-", "_")] is None:
            _log.warning(
                "a mock server ignores this setting; give the option setting=%s option=%s", place, option
            )


def _check_given_paths(settings: Settings) -> None:
    """Ends the command if the styles or weights cannot be there, before anything is started."""
    if settings.styles_dir is not None:
        try:
            os.listdir(settings.styles_dir)
        except OSError as error:
            folder = settings.styles_dir
            exit_with(ValueError(f"--styles-dir {folder} cannot be read ({error.strerror}); give a folder"))
    if settings.weights not in (None, "vgg19", "builtin"):
        file = Path(settings.weights).expanduser()
        if not file.is_file():
            fault = "is a folder" if file.is_dir() else "does not exist"
            exit_with(ValueError(f"--weights {file} {fault}; give vgg19, builtin or a file"))


def _pem(help: str) -> Any:
    return typer.Option(help=help, metavar="FILE")


def _with_settings(command: Callable[..., None], name: str, help: str) -> None:
    """Adds a command that takes every setting as an option."""
    from impasto_server.gateway.settings import fields, flag, shown_default, variable

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, CONFIG]),
    ]
    for field in fields():
        kind = field.metadata["kind"]
        hidden = field.metadata["hidden"]
        about = field.metadata["help"]
        is_switch = isinstance(field.default, bool)
        about += f" Default: {shown_default(field)}."
        if not hidden:
            about += f" [{variable(field)}]"
        names = [f"{flag(field)}/--no-{flag(field)[2:]}" if is_switch and not hidden else flag(field)]
        option = typer.Option(*names, metavar=None if is_switch else kind.metavar, help=about)
        annotation: Any = Annotated[bool | None, option] if is_switch else Annotated[str | None, option]
        parameters.append(inspect.Parameter(field.name, keyword, default=None, annotation=annotation))

    def run(**values: object) -> None:
        command(**values)

    run.__doc__ = help
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(name, cls=PlainCommand)(run)


_with_settings(
    _serve,
    "serve",
    """Run a server until Ctrl-C or SIGTERM.

    The command prints {"address": "HOST:PORT"} to stdout as soon as it listens, and logs to stderr. Each
    setting can also be given as an environment variable (shown in brackets), or in the file of --config.
    """,
)


@app.command("settings", cls=PlainCommand)
def list_settings(
    toml: Annotated[
        bool,
        typer.Option("--toml", help="Print an example file for --config instead of a table. Default: no."),
    ] = False,
) -> None:
    """List all settings of a server."""
    from impasto_server.gateway.settings import example_file, table

    typer.echo(example_file() if toml else table(), nl=False)


@app.command("health", cls=PlainCommand)
def tell_health(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST:PORT",
            help="Address of the server. Default: the server on this machine that the settings describe.",
        ),
    ] = None,
    ca: Annotated[
        Path | None, _pem("Certificates to trust (PEM). With them the call uses TLS. Default: no TLS.")
    ] = None,
    cert: Annotated[
        Path | None, _pem("Client certificate (PEM), for a server that requires one. Default: none.")
    ] = None,
    key: Annotated[Path | None, _pem("Private key of the client certificate (PEM). Default: none.")] = None,
    timeout: Annotated[
        float,
        typer.Option(
            parser=number(0.1, 3600, "0.1 to 3600 seconds"),
            metavar="SECONDS",
            help="Maximum time to wait, in seconds. Range: 0.1 to 3600. Default: 5.",
        ),
    ] = 5.0,
    config: Annotated[Path | None, CONFIG] = None,
) -> None:
    """Tell whether a server takes jobs.

    The exit code is 0 if it does, 1 if not, and 2 for wrong usage. Without HOST:PORT the command asks the
    server that the environment variables and --config describe, with TLS if they say so.
    """
    # Silences the lines of gRPC's core, which are for its developers. Before gRPC is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from impasto_server.fleet.worker_process import ConfigurationError
    from impasto_server.gateway.listening import own_channel, secure_channel

    if (cert is None) != (key is None) or (cert is not None and ca is None):
        exit_with(ValueError("--cert, --key and --ca belong together; give all three"))
    if address is None:
        if ca is not None:
            exit_with(
                ValueError("--ca needs HOST:PORT; without an address, the settings name the certificates")
            )
        try:
            channel = own_channel(settings_of(config, {}))
        except ConfigurationError as error:
            exit_with(error)
    elif ca is None:
        channel = grpc.insecure_channel(address)
    else:
        try:
            channel = secure_channel(address, ca, cert, key)
        except ConfigurationError as error:
            exit_with(error)
    with channel:
        try:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
            said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as error:
            said = _unanswered(error, timeout)
    typer.echo(said)
    raise typer.Exit(0 if said == "SERVING" else 1)


def _unanswered(error: grpc.RpcError, timeout: float) -> str:
    """What to say of a health call that failed: gRPC's name for it, and the cause in our words if known."""
    code, details = error.code().name, error.details() or ""
    if code == "DEADLINE_EXCEEDED":
        return f"{code}: no answer within {timeout:g} s"
    for found, plain in (
        ("Connection refused", "no server listens there"),
        ("Domain name not found", "there is no such host"),
        ("Socket closed", "the server closed the connection; if it uses TLS, give --ca"),
        ("WRONG_VERSION_NUMBER", "the server does not use TLS; leave --ca out"),
        ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not signed by one in --ca"),
    ):
        if found in details:
            return f"{code}: {plain}"
    return f"{code}: {details}"


_TOKENS_FILE: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of the tokens. Default: the file that the server's settings name.",
    ),
]


@tokens_app.command("add", cls=PlainCommand)
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the tenant who gets the token.")],
    weight: Annotated[
        float,
        typer.Option(
            parser=share,
            metavar="NUMBER",
            help="Share of device time relative to other tenants; 2 gets twice as much as 1. Range: above 0. "
            "Default: 1.",
        ),
    ] = 1.0,
    admin: Annotated[
        bool,
        typer.Option(
            "--admin",
            help="Let the tenant see and change what all tenants do (not their pictures). Default: no.",
        ),
    ] = False,
    tokens_file: _TOKENS_FILE = None,
    config: ConfigFile = None,
) -> None:
    """Make a token and print it. It is shown only once.

    A running server accepts it within a second. A server that was started without tokens must be restarted.
    """
    tokens = _tokens(tokens_file, config)
    with _telling_token_errors():
        is_first = not tokens.tenants()
        typer.echo(tokens.add(name, weight, administrator=admin))
    if is_first:
        typer.echo(
            f"this is the first token in {tokens.path}; restart servers that were started without tokens",
            err=True,
        )


@tokens_app.command("list", cls=PlainCommand)
def list_tokens(tokens_file: _TOKENS_FILE = None, config: ConfigFile = None) -> None:
    """List the tenants who have a token. The tokens themselves are not stored."""
    with _telling_token_errors():
        tokens = _tokens(tokens_file, config)
        tenants = list(tokens.tenants())
        if not tenants:
            typer.echo(f"there are no tokens in {tokens.path}", err=True)
        for tenant, created in tenants:
            made = datetime.datetime.fromtimestamp(created)
            right = "  administrator" if tenant.administrator else ""
            typer.echo(f"{tenant.name:32} weight {tenant.weight:g}  made {made:%Y-%m-%d %H:%M}{right}")


@tokens_app.command("remove", cls=PlainCommand)
def remove_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the tenant.")],
    tokens_file: _TOKENS_FILE = None,
    config: ConfigFile = None,
) -> None:
    """Remove a tenant's token. A running server refuses it within a second.

    The tenant's jobs go on. To end them, cancel them before you remove the token.
    """
    with _telling_token_errors():
        _tokens(tokens_file, config).remove(name)


@tokens_app.command("admin", cls=PlainCommand)
def change_right(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the tenant.")],
    right: Annotated[
        str,
        typer.Argument(
            metavar="on|off", parser=one_of("on", "off"), help="Whether the tenant is an administrator."
        ),
    ],
    tokens_file: _TOKENS_FILE = None,
    config: ConfigFile = None,
) -> None:
    """Give a tenant's token the right of an administrator, or take it away.

    An administrator sees and changes what all tenants do. A running server follows within a second.
    """
    with _telling_token_errors():
        _tokens(tokens_file, config).set_administrator(name, right == "on")


@app.command("certificate", cls=PlainCommand)
def make_certificate(
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Host name or address besides those of this machine; may be given more than once. "
            "Default: none.",
            show_default=False,
        ),
    ] = None,
    cert: Annotated[Path, _pem("File of the certificate. Default: server.pem.")] = Path("server.pem"),
    key: Annotated[Path, _pem("File of its private key. Default: server.key.")] = Path("server.key"),
) -> None:
    """Make a certificate for this machine, for --tls-cert and --tls-key, and print what it is valid for.

    No authority signs it: browsers ask once whether to trust it, and other callers give --ca server.pem. It
    is valid for 800 days, for this machine's names and addresses as they are now.
    """
    from impasto_server.gateway.certificate import names_of_this_machine, write_certificate

    valid_for = list(dict.fromkeys([*(name or ()), *names_of_this_machine()]))
    try:
        write_certificate(cert, key, valid_for)
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        exit_with(ValueError(where))
    except ValueError as error:
        exit_with(error)
    typer.echo(f"{cert} and {key}, for {', '.join(valid_for)}")


_MACHINE: TypeAlias = Annotated[
    str, typer.Argument(metavar="MACHINE", help="Name of the machine, as `impasto-server fleet` shows it.")
]


@fleet_app.callback()
def list_machines(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table. Default: no.")
    ] = False,
    data_dir: DataFolder = None,
    config: ConfigFile = None,
) -> None:
    """List the machines of a running server, and take them out of use.

    The table shows every device with its state, its jobs and its memory. The server must run on this machine.
    """
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if is_given(context, name)]
        if given:
            command = f"impasto-server fleet {context.invoked_subcommand}"
            exit_with(ValueError(f"give options after `{command}`; `{command} --help` lists them"))
        return
    with running_server(data_dir, config) as admin:
        from impasto_server.gateway.admin_client import as_data, table

        machines = admin.machines()
        typer.echo(json.dumps(as_data(machines)) if as_json else table(machines))


@fleet_app.command("drain", cls=PlainCommand)
def drain_machine(
    machine: _MACHINE,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the machine has no jobs. Default: no.")
    ] = False,
    data_dir: DataFolder = None,
    config: ConfigFile = None,
) -> None:
    """Take a machine out of use: it gets no more jobs, and its jobs move to other machines.

    A job moves with a checkpoint and continues where it was. The command returns at once, unless --wait is
    given. `impasto-server fleet undrain` takes the machine into use again.
    """
    with running_server(data_dir, config) as admin:
        from impasto_server.gateway.admin_client import what_drain_does

        admin.drain(machine)
        typer.echo(what_drain_does(admin.machines(), machine))
        if wait:
            try:
                admin.wait_until_drained(machine, lambda jobs: typer.echo(f"jobs left: {jobs}", err=True))
            except KeyboardInterrupt:
                typer.echo("no longer waiting; the machine stays out of use", err=True)
                raise typer.Exit(130) from None
            typer.echo(f"{machine} has no jobs.")


@fleet_app.command("undrain", cls=PlainCommand)
def undrain_machine(machine: _MACHINE, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """Take a machine into use again after `impasto-server fleet drain`."""
    with running_server(data_dir, config) as admin:
        admin.undrain(machine)
        typer.echo(f"{machine} gets jobs again.")


app.command(cls=PlainCommand)(bench)
app.command("contact-sheet", cls=PlainCommand)(contact_sheet)


@weights_app.callback()
def list_weights(context: typer.Context) -> None:
    """List, verify and download weights of the feature network."""
    if context.invoked_subcommand is not None:
        return
    from impasto_server.engine.weights import builtin_path, vgg19_cache_path

    if vgg19_cache_path().exists():
        _describe("vgg19", vgg19_cache_path())
    else:
        typer.echo(
            f"vgg19    not downloaded; `impasto-server weights fetch` downloads it to {vgg19_cache_path()}"
        )
    _describe("builtin", builtin_path())


@weights_app.command(cls=PlainCommand)
def fetch() -> None:
    """Download VGG-19 (550 MB) to torchvision's cache."""
    from impasto_server.engine.weights import WeightsError, fetch_vgg19

    try:
        typer.echo(f"VGG-19 is at {fetch_vgg19()}")
    except WeightsError as error:
        exit_with(error)
    except KeyboardInterrupt:
        typer.echo("stopped; the partial download was deleted", err=True)
        raise typer.Exit(130) from None


def _describe(name: str, path: Path) -> None:
    from impasto_server.engine.weights import WeightsError, load_weights

    typer.echo(f"{name:8} {path}, {path.stat().st_size:,} bytes")
    try:
        weights = load_weights(name)
    except WeightsError as error:
        typer.echo(f"         {error}")
        return
    typer.echo(f"         SHA-256 {weights.sha256}, verified")
    typer.echo(f"         {weights.origin}")


def _tokens(tokens_file: Path | None, config: Path | None) -> Tokens:
    from impasto_server.gateway.tokens import Tokens

    given = None if tokens_file is None else str(tokens_file)
    return Tokens(settings_of(config, {"tokens_file": given}).tokens_path)


@contextlib.contextmanager
def _telling_token_errors() -> Iterator[None]:
    from impasto_server.gateway.tokens import TokensError

    try:
        yield
    except TokensError as error:
        exit_with(error)
