"""The commands about plugins for host applications."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from impasto.cli.plugins import HostName

app = typer.Typer(
    no_args_is_help=True, help="Package Impasto's plugins for Krita and GIMP 3, or install them."
)

Host = Annotated[HostName, typer.Argument(metavar="krita|gimp", show_default=False)]


@app.command()
def build(
    host: Host,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="ZIP", help="Where to write it [default: impasto-HOST.zip]."),
    ] = None,
) -> None:
    """Write a plugin with all that it needs as one zip, for the host's own importer."""
    from impasto.cli import plugins
    from impasto.cli.terminal import say
    from impasto.files import write_whole

    out = out or Path(f"impasto-{host}.zip")
    with _told():
        package = plugins.build(host)
        write_whole(out, package)
    say(f"{out}: {len(package):,} bytes")


@app.command()
def install(
    host: Host,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FOLDER", help="Folder of plugins to put it in, instead of the host's own."
        ),
    ] = None,
) -> None:
    """Put a plugin where its host looks for it, in place of an earlier version."""
    from impasto.cli import plugins
    from impasto.cli.terminal import say

    with _told():
        done = plugins.install(host, folders=None if to is None else [to])
    for one in done:
        say(f"{one.folder}: installed" + (f" in place of {one.replaced}" if one.replaced else ""))
        if one.enabled is not None:
            say(f"{one.enabled}: the plugin is enabled")
    say(f"Start {host.upper() if host == 'gimp' else host.title()} anew to have it.")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    from impasto.cli.plugins import PluginError
    from impasto.cli.terminal import clean

    try:
        yield
    except (PluginError, OSError) as error:
        print(clean(f"Error: {error}"), file=sys.stderr)
        raise typer.Exit(1) from None
