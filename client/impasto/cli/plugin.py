"""The commands for plugins of host applications."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from impasto.cli.options import option
from impasto.cli.plain_help import PlainCommand, PlainGroup
from impasto.cli.plugins import HOSTS, HostName
from impasto.cli.values import file_name, folder_name, one_of
from impasto.cli.words import clean, say
from impasto.errors import ImpastoError

app = typer.Typer(
    cls=PlainGroup, no_args_is_help=True, help="Build or install Impasto's plugins for Krita and GIMP 3."
)

Host = Annotated[
    HostName,
    typer.Argument(
        metavar="HOST", parser=one_of(HOSTS), help="Host application: krita or gimp.", show_default=False
    ),
]


@app.command(cls=PlainCommand)
def build(
    host: Host,
    out: Annotated[
        Path | None,
        option(
            "--out",
            "-o",
            metavar="ZIP",
            parser=file_name,
            help="File to write the plugin to. Default: impasto-HOST.zip.",
        ),
    ] = None,
) -> None:
    """Write a plugin and all that it needs to one zip file, for the importer of the host application."""
    from impasto.cli import plugins
    from impasto.cli.output import check_output, write

    out = out or Path(f"impasto-{host}.zip")
    with _errors_shown():
        check_output(out, "--out")
        package = plugins.build(host)
        write(out, package)
    say(f"{out}: {len(package):,} bytes")


@app.command(cls=PlainCommand)
def install(
    host: Host,
    to: Annotated[
        Path | None,
        option(
            "--to",
            metavar="FOLDER",
            parser=folder_name,
            help="Folder of plugins to install into. Default: the folder of the host application.",
        ),
    ] = None,
) -> None:
    """Install a plugin where the host application finds it. Replaces an earlier version."""
    from impasto.cli import plugins

    with _errors_shown():
        done = plugins.install(host, folders=None if to is None else [to])
    for one in done:
        say(f"{one.folder}: installed" + (f" in place of {one.replaced}" if one.replaced else ""))
        if one.enabled is not None:
            say(f"{one.enabled}: the plugin is enabled")
    say(f"Restart {host.upper() if host == 'gimp' else host.title()} to use the plugin.")


@contextlib.contextmanager
def _errors_shown() -> Iterator[None]:
    from impasto.cli.output import why_not
    from impasto.cli.plugins import PluginError

    try:
        yield
    except (PluginError, ImpastoError) as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename} {why_not(error, 'written')}" if error.filename else str(error)
    else:
        return
    print(clean(f"Error: {said}"), file=sys.stderr)
    raise typer.Exit(1)
