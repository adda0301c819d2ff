"""The commands of `impasto-server`."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import typer

from impasto_server.bench.commands import bench, contact_sheet
from impasto_server.cli import INSTALL_PYTORCH, missing_pytorch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from impasto_server.gateway.settings import Settings
    from impasto_server.gateway.tokens import Tokens

app = typer.Typer(
    help="Paints photographs in the style of paintings, for callers over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # In a table as wide as a terminal, long names of options are cut off.
    rich_markup_mode=None,
)
weights_app = typer.Typer(
    help="Lists the weights of the feature network and verifies them, or fetches them.",
    invoke_without_command=True,
)
app.add_typer(weights_app, name="weights")
tokens_app = typer.Typer(help="Makes, lists and removes the callers' tokens.", no_args_is_help=True)
app.add_typer(tokens_app, name="token")


def _serve(context: typer.Context, config: Path | None, **flags: object) -> None:
    from impasto_server.logs import log_to_stderr

    settings = _settings(config, flags)
    if not settings.mock and (missing := missing_pytorch()):
        message = INSTALL_PYTORCH.format(", ".join(missing))
        _exit_with(ValueError(f"{message}; or give --mock for a server that only pretends to paint"))
    if settings.styles_dir is not None:
        try:
            os.listdir(settings.styles_dir)
        except OSError as error:
            folder = settings.styles_dir
            _exit_with(ValueError(f"--styles-dir {folder} cannot be read ({error.strerror}); give a folder"))
    # Before gRPC is imported, by the other two.
    log_to_stderr("gateway", settings.log_level, settings.log_format)
    from impasto_server.fleet.worker_process import ConfigurationError
    from impasto_server.gateway.server import serve as serve_until_stopped

    try:
        asyncio.run(serve_until_stopped(settings))
    except ConfigurationError as error:
        _exit_with(error)


_CONFIG = typer.Option(
    "--config",
    envvar="IMPASTO_CONFIG",
    metavar="FILE",
    help="Settings in TOML; flags and variables go before.",
)


def _pem(help: str) -> Any:
    return typer.Option(help=f"{help} (PEM)", exists=True, dir_okay=False, readable=True)


def _with_settings(command: Callable[..., None], name: str, help: str) -> None:
    """Adds a command that takes every setting as a flag."""
    from impasto_server.gateway.settings import fields, flag, shown_default, variable

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, _CONFIG]),
    ]
    for field in fields():
        kind = field.metadata["kind"]
        hidden = field.metadata["hidden"]
        about = field.metadata["help"]
        is_switch = field.default is False
        if not is_switch:
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
    app.command(name)(run)


_with_settings(
    _serve,
    "serve",
    """Runs a server until Ctrl-C or SIGTERM.

    Prints {"address": "HOST:PORT"} on stdout as soon as it listens; logs to stderr. Each setting is also a
    variable, and a key of the file that --config names.
    """,
)


@app.command("settings")
def list_settings(
    toml: Annotated[bool, typer.Option("--toml", help="As a file for --config.")] = False,
) -> None:
    """Lists every setting of a server, as the table in server/README.md."""
    from impasto_server.gateway.settings import example_file, table

    typer.echo(example_file() if toml else table(), nl=False)


@app.command("health")
def tell_health(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST:PORT",
            help="Default: this machine's server, as the settings say.",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[Path | None, _pem("Certificates to trust: calls with TLS.")] = None,
    cert: Annotated[Path | None, _pem("Certificate of one's own, for a server that wants one.")] = None,
    key: Annotated[Path | None, _pem("Its private key.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait at most.")] = 5.0,
    config: Annotated[Path | None, _CONFIG] = None,
) -> None:
    """Says whether a server takes jobs: exit code 0 if it does, 1 if not, 2 if that cannot be asked.

    Without an address it asks the server that the variables and --config describe, TLS included.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from impasto_server.fleet.worker_process import ConfigurationError
    from impasto_server.gateway.listening import own_channel
    from impasto_server.given_files import read_pem

    if (cert is None) != (key is None) or (cert is not None and ca is None):
        _exit_with(ValueError("--cert and --key go together, and with --ca; give all three"))
    if address is None:
        if ca is not None:
            _exit_with(ValueError("--ca needs HOST:PORT; without it the server's settings say what to trust"))
        try:
            channel = own_channel(_settings(config, {}))
        except ConfigurationError as error:
            _exit_with(error)
    elif ca is None:
        channel = grpc.insecure_channel(address)
    else:
        try:
            read = [None if file is None else read_pem(file) for file in (ca, key, cert)]
        except OSError as error:
            _exit_with(ValueError(f"{error.filename} cannot be read ({error.strerror}); give a PEM file"))
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*read))
    with channel:
        try:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
            said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
    typer.echo(said)
    raise typer.Exit(0 if said == "SERVING" else 1)


_TOKENS_FILE: TypeAlias = Annotated[
    Path | None, typer.Option(help="File of the tokens. Default: as the server's settings say.")
]
_CONFIG_OPTION: TypeAlias = Annotated[Path | None, _CONFIG]


@tokens_app.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Whose it is: the tenant.")],
    weight: Annotated[float, typer.Option(help="Share of the devices beside other tenants'.")] = 1.0,
    tokens_file: _TOKENS_FILE = None,
    config: _CONFIG_OPTION = None,
) -> None:
    """Makes a token and prints it, once. A running server knows it within a second."""
    tokens = _tokens(tokens_file, config)
    with _telling_token_errors():
        is_first = not tokens.tenants()
        typer.echo(tokens.add(name, weight))
    if is_first:
        typer.echo(
            f"the first token, in {tokens.path}: servers that were started without tokens need a restart",
            err=True,
        )


@tokens_app.command("list")
def list_tokens(tokens_file: _TOKENS_FILE = None, config: _CONFIG_OPTION = None) -> None:
    """Lists whose tokens there are; the tokens themselves are not kept."""
    with _telling_token_errors():
        for tenant, created in _tokens(tokens_file, config).tenants():
            made = datetime.datetime.fromtimestamp(created)
            typer.echo(f"{tenant.name:32} weight {tenant.weight:g}  made {made:%Y-%m-%d %H:%M}")


@tokens_app.command("remove")
def remove_token(name: str, tokens_file: _TOKENS_FILE = None, config: _CONFIG_OPTION = None) -> None:
    """Ends a token's access, within a second also to a running server. Its jobs go on: cancel them before."""
    with _telling_token_errors():
        _tokens(tokens_file, config).remove(name)


app.command()(bench)
app.command("contact-sheet")(contact_sheet)


@weights_app.callback()
def list_weights(context: typer.Context) -> None:
    """Lists the weights of the feature network and verifies them."""
    if context.invoked_subcommand is not None:
        return
    from impasto_server.engine.weights import builtin_path, vgg19_cache_path

    if vgg19_cache_path().exists():
        _describe("vgg19", vgg19_cache_path())
    else:
        typer.echo(f"vgg19    not here; `impasto-server weights fetch` puts it at {vgg19_cache_path()}")
    _describe("builtin", builtin_path())


@weights_app.command()
def fetch() -> None:
    """Downloads VGG-19 (550 MB) into torchvision's cache."""
    from impasto_server.engine.weights import WeightsError, fetch_vgg19

    try:
        typer.echo(f"VGG-19 is at {fetch_vgg19()}")
    except WeightsError as error:
        _exit_with(error)
    except KeyboardInterrupt:
        typer.echo("stopped; nothing was kept", err=True)
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


def _settings(config: Path | None, flags: Mapping[str, object]) -> Settings:
    from impasto_server.gateway.settings import SettingsError, gather

    try:
        return gather(flags, os.environ, config)
    except SettingsError as error:
        _exit_with(error)


def _tokens(tokens_file: Path | None, config: Path | None) -> Tokens:
    from impasto_server.gateway.tokens import Tokens

    given = None if tokens_file is None else str(tokens_file)
    return Tokens(_settings(config, {"tokens_file": given}).tokens_path)


@contextlib.contextmanager
def _telling_token_errors() -> Iterator[None]:
    from impasto_server.gateway.tokens import TokensError

    try:
        yield
    except TokensError as error:
        _exit_with(error)


def _exit_with(error: Exception) -> NoReturn:
    print(f"impasto-server: {error}", file=sys.stderr, flush=True)
    raise typer.Exit(2)
