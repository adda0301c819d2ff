"""The command `impasto-server`."""

from __future__ import annotations

import asyncio
import enum
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from impasto_server.bench.commands import bench, contact_sheet

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PORT = 50051

app = typer.Typer(
    help="Paints photographs in the style of paintings, for callers over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(
    help="Lists the weights of the feature network and verifies them, or fetches them.",
    invoke_without_command=True,
)
app.add_typer(weights_app, name="weights")


class LogLevel(str, enum.Enum):
    """From which level up events are logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def main() -> None:
    """Runs the command line."""
    app()


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(
            envvar="IMPASTO_HOST",
            help="Address to listen on. One that other machines can reach needs --insecure.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            envvar="IMPASTO_PORT",
            min=0,
            max=65535,
            help=f"Port to listen on; 0 takes a free one. Default {DEFAULT_PORT}, with --private 0.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            envvar="IMPASTO_DEVICE",
            help="What to paint on: auto (every GPU, else the CPU), or names with commas: "
            "cuda:0,cuda:1; mps; cpu.",
        ),
    ] = "auto",
    weights: Annotated[
        str | None,
        typer.Option(
            envvar="IMPASTO_WEIGHTS",
            metavar="vgg19|builtin|FILE",
            help="Weights of the feature network. Default: VGG-19 (downloaded if need be, but not with "
            "--private), and the built-in VGG-16 where it cannot be had.",
        ),
    ] = None,
    max_jobs: Annotated[
        int, typer.Option(envvar="IMPASTO_MAX_JOBS", min=1, help="Jobs accepted and not finished, at most.")
    ] = 64,
    max_resident: Annotated[
        int,
        typer.Option(
            envvar="IMPASTO_MAX_RESIDENT", min=1, help="Jobs that share a device at a time; the others wait."
        ),
    ] = 8,
    memory: Annotated[
        int | None,
        typer.Option(
            envvar="IMPASTO_MEMORY",
            metavar="MIB",
            min=1,
            help="Memory that jobs may use on each device, in MiB. Default: all that is free when the server "
            "starts.",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            envvar="IMPASTO_INSECURE", help="Allow an address that other machines can reach, unencrypted."
        ),
    ] = False,
    private: Annotated[
        bool,
        typer.Option(
            help="For one caller that started this server: ends when stdin closes, downloads nothing.",
        ),
    ] = False,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="IMPASTO_LOG_LEVEL", help="From which level up events are logged.")
    ] = LogLevel.info,
) -> None:
    """Runs a server until Ctrl-C or SIGTERM.

    Prints {"address": "HOST:PORT"} on stdout as soon as it listens; logs to stderr.
    """
    from impasto_server.fleet.worker_process import ConfigurationError
    from impasto_server.gateway.server import Settings
    from impasto_server.gateway.server import serve as serve_until_stopped
    from impasto_server.logs import log_to_stderr

    log_to_stderr("gateway", log_level.value)
    devices = device.split(",")
    worker_arguments = ["--max-resident", str(max_resident), "--log-level", log_level.value]
    worker_arguments += ["--cpu-share", str(max(1, devices.count("cpu")))]
    worker_arguments += [] if memory is None else ["--memory", str(memory)]
    worker_arguments += [] if weights is None else ["--weights", weights]
    worker_arguments += [] if private else ["--download"]
    if port is None:
        port = 0 if private else DEFAULT_PORT
    settings = Settings(
        host=host,
        port=port,
        devices=devices,
        worker_arguments=worker_arguments,
        insecure=insecure,
        ends_with_stdin=private,
        max_jobs=max_jobs,
    )
    try:
        asyncio.run(serve_until_stopped(settings))
    except ConfigurationError as error:
        _exit_with(error)


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


def _exit_with(error: Exception) -> None:
    print(f"impasto-server: {error}", file=sys.stderr, flush=True)
    raise typer.Exit(2)
