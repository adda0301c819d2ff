"""What the commands of `impasto-server` have in common: options, and how a command ends with an error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from impasto_server.gateway.admin_client import AdminClient
    from impasto_server.gateway.settings import Settings

CONFIG = typer.Option(
    "--config",
    envvar="IMPASTO_CONFIG",
    metavar="FILE",
    help="File of settings in TOML. Options and environment variables take precedence. Default: none. "
    "[IMPASTO_CONFIG]",
)


ConfigFile: TypeAlias = Annotated[Path | None, CONFIG]
DataFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="PATH",
        help="Data folder of the server. Default: the folder that the server's settings name.",
    ),
]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter is given on the command line, not in the environment or by default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextlib.contextmanager
def running_server(data_dir: Path | None, config: Path | None) -> Iterator[AdminClient]:
    """Connects to the server of a data folder. Ends the command with code 2 if a call fails."""
    # Silences the lines of gRPC's core, which are for its developers. Before gRPC is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from impasto_server.gateway.admin_client import AdminClient, AdminError

    given = None if data_dir is None else str(data_dir)
    settings = settings_of(config, {"data_dir": given})
    try:
        with AdminClient(settings.data_folder) as admin:
            yield admin
    except AdminError as error:
        exit_with(error)


def settings_of(config: Path | None, flags: Mapping[str, object]) -> Settings:
    """Returns the settings of a server. Ends the command if they are wrong.

    Args:
        config: file of settings; None: the one that the environment names, if any.
        flags: the options that are given, by the name of the setting.
    """
    from impasto_server.gateway.settings import SettingsError, gather

    try:
        return gather(flags, os.environ, config)
    except SettingsError as error:
        exit_with(error)


def exit_with(error: Exception) -> NoReturn:
    """Says in one line what is wrong, and ends the command with code 2."""
    print(f"impasto-server: {error}", file=sys.stderr, flush=True)
    raise typer.Exit(2)
