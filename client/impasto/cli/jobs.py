"""The commands about jobs that there are, and about what a server keeps."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from impasto.cli.grouped import grouped
from impasto.cli.options import (
    Connection,
    JobName,
    Kept,
    OutIfAny,
    PreviewInterval,
    PreviewSide,
    Priority,
    Quiet,
    Title,
)
from impasto.cli.output import Output, check_inputs, check_output, format_of, write
from impasto.cli.recipe_options import Steered
from impasto.cli.running import connected, follow, named_server, outcome
from impasto.cli.signals import exit_code_of
from impasto.errors import InvalidRequest, NotFound, Unavailable
from impasto.files import write_whole
from impasto.recipe import Previews

if TYPE_CHECKING:
    from impasto.cli.terminal import Display
    from impasto.client import Client
    from impasto.job import Job

REFRESH = 1.0
"""Seconds between two looks at the jobs."""
SHOWN = 5
"""Names that an error shows at most."""

Coding = Literal["png", "png16", "tiff", "jpeg", "webp"]


def add_commands(app: typer.Typer, epilog: str) -> None:
    """Adds them to the command line."""
    for command in (jobs, watch, steer, pause, resume, cancel, delete, get, styles, upload):
        app.command(epilog=epilog)(grouped(command))


def jobs(
    connection: Connection,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="queued|running|paused|succeeded|failed|cancelled",
            help="Only jobs in this state. Repeat it for several.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once, and end.")] = False,
) -> None:
    """List the jobs, the newest first; on a terminal the table is live until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from impasto.cli.terminal import jobs_table, plain, print_json

    def look(client: Client) -> list[Job]:
        return list(client.jobs(state or ()))

    with at_server(connection, {"states": "--state"}) as (client, display):
        listed = look(client)
        display.close()
        if connection.json:
            for job in listed:
                print_json("job", plain(job))
            return
        console = Console()
        # Not `is_terminal`: with FORCE_COLOR, which is about colours, it is true of a file as well.
        live = sys.stdout.isatty()
        if once or not live:
            # Cut off to the width of a terminal that is not there, a name would be of no use.
            console.width = console.width if live else 200
            console.print(jobs_table(listed, _now()))
            return
        seen = time.monotonic()
        try:
            with Live(console=console, auto_refresh=False, transient=False) as live:
                while True:
                    silent = time.monotonic() - seen
                    note = f"no contact with the server for {silent:.0f} s" if silent > 2 * REFRESH else ""
                    live.update(jobs_table(listed, _now(), note), refresh=True)
                    time.sleep(REFRESH)
                    with contextlib.suppress(Unavailable):
                        listed = look(client)
                        seen = time.monotonic()
        except KeyboardInterrupt as interrupt:
            # The usual end of a live table: there is nothing to say.
            raise typer.Exit(exit_code_of(interrupt)) from None


def watch(
    job: JobName,
    kept: Kept,
    connection: Connection,
    out: OutIfAny = None,
    quiet: Quiet = False,
) -> None:
    """Watch JOB being painted, and write its result. Ctrl-C only stops watching."""
    if kept.sidecar and out is None:
        raise typer.BadParameter("--sidecar is written beside the picture; give --out too")
    with at_server(connection, quiet=quiet) as (client, display):
        output = Output.at(out, previews=kept.preview_dir, film=kept.animate, sidecar=kept.sidecar)
        output.check([])
        previews = bool(output.film or output.previews or connection.json)
        name = full_name(client, job)
        with client.watch(name, previews=previews, timeout=connection.timeout) as painting:
            follow(client, painting, output, display, goes_on=True)


def steer(
    job: JobName,
    recipe: Steered,
    connection: Connection,
    title: Title = None,
    priority: Priority = None,
    preview_interval: PreviewInterval = None,
    preview_side: PreviewSide = None,
) -> None:
    """Change how JOB is painted; if it runs, it goes on from the image that it has."""
    names: dict[str, str] = {}
    with at_server(connection, names) as (client, display):
        settings = recipe.settings(names, "job.recipe")
        previews = None
        if preview_interval is not None or preview_side is not None:
            previews = Previews(min_interval=preview_interval, max_side=preview_side)
        if not settings and title is None and priority is None and previews is None:
            raise InvalidRequest("nothing to change; give an option, as --content-weight 0.5")
        name = full_name(client, job)
        changed = client.update_job(name, title=title, priority=priority, previews=previews, **settings)
        _say(connection, display, changed, "steered")


def pause(job: JobName, connection: Connection) -> None:
    """Take JOB off its device, or out of the queue, with all its work kept."""
    _move(connection, job, lambda client, name: client.pause(name))


def resume(job: JobName, connection: Connection) -> None:
    """Let JOB go on after a pause."""
    _move(connection, job, lambda client, name: client.resume(name))


def cancel(job: JobName, connection: Connection) -> None:
    """Cancel JOB."""
    _move(connection, job, lambda client, name: client.cancel(name))


def delete(job: JobName, connection: Connection) -> None:
    """Delete JOB and its result; cancels it first if need be."""
    from impasto.cli.terminal import print_json, say

    with at_server(connection) as (client, display):
        name = full_name(client, job)
        client.delete(name)
        display.close()
        if connection.json:
            print_json("deleted", {"name": name})
        else:
            say(f"{name}: deleted")


def get(
    job: JobName,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Where to write the picture.")],
    connection: Connection,
    format: Annotated[
        Coding | None,
        typer.Option(
            "--format",
            metavar="png|png16|tiff|jpeg|webp",
            help="How to code the result; by default as OUT ends, a PNG with as many bits per channel as the "
            "result is kept with. A TIFF has as many too.",
        ),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="The newest preview, in place of the result.")
    ] = False,
) -> None:
    """Write the result of JOB."""
    from impasto.cli.terminal import plain, print_json, say

    with at_server(connection) as (client, display):
        wanted = format_of(out, format)
        if preview and format is not None:
            raise InvalidRequest("--format is for results; a preview comes as it is: leave it out")
        check_output(out)
        name = full_name(client, job)
        if preview:
            image = client.download(preview_of=name)
            if image.format != wanted:
                raise InvalidRequest(f"the preview is a {image.format}; give {out.stem}.{image.format}")
        else:
            # A PNG that nobody asked more of is the result as it is kept, with all its bits.
            image = client.download(
                result_of=name, format=None if format is None and wanted == "png" else wanted
            )
        write(out, image.data)
        display.close()
        if connection.json:
            fields = plain(image)
            del fields["data"]
            print_json("result", {"path": str(out), **fields, "size_bytes": len(image.data)})
        else:
            say(f"{out}: {image.width} × {image.height}")


def styles(
    connection: Connection,
    save_thumbnails: Annotated[
        Path | None,
        typer.Option("--save-thumbnails", metavar="DIR", help="Write a small picture of each there."),
    ] = None,
) -> None:
    """List the styles that the server offers by name; paint with one as STYLE styles/NAME."""
    from impasto.cli.terminal import plain, print_json, styles_table

    with at_server(connection) as (client, display):
        found = list(client.styles())
        paths: dict[str, str] = {}
        if save_thumbnails is not None:
            try:
                save_thumbnails.mkdir(parents=True, exist_ok=True)
                for style in found:
                    # The name is the server's: no way out of the folder.
                    path = save_thumbnails / f"{Path(style.name).name}.jpg"
                    write_whole(path, style.thumbnail)
                    paths[style.name] = str(path)
            except OSError as error:
                raise InvalidRequest(f"--save-thumbnails {save_thumbnails}: {error.strerror}") from None
        display.close()
        if not connection.json:
            styles_table(found)
            return
        for style in found:
            fields = plain(style)
            del fields["thumbnail"]
            print_json("style", {**fields, "thumbnail": paths.get(style.name)})


def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An image.", show_default=False)],
    connection: Connection,
) -> None:
    """Send an image once, to be named as sha256:DIGEST in any number of jobs."""
    from impasto.cli.terminal import print_json, say

    with at_server(connection, {"image": str(file), "data": str(file)}) as (client, display):
        check_inputs([file])
        uploaded = client.upload(file)
        display.close()
        if connection.json:
            print_json("uploaded", {"path": str(file), "sha256": uploaded.sha256})
        else:
            say(f"sha256:{uploaded.sha256}")


@contextlib.contextmanager
def at_server(
    connection: Connection, names: dict[str, str] | None = None, *, quiet: bool = False
) -> Iterator[tuple[Client, Display]]:
    """A client of the server that is named; how the command ends becomes its exit code."""
    with (
        # Nothing of the server's is cancelled by leaving such a command.
        outcome(connection, {} if names is None else names, quiet=quiet, interrupted="stopped") as display,
        connected(connection, named_server(connection), timeout=connection.timeout) as client,
    ):
        yield client, display


def full_name(client: Client, job: str) -> str:
    """The name of a job that is called by it, by the beginning of its identifier, or "last".

    Raises:
        NotFound: there is no such job.
        InvalidRequest: there are several, or nothing is given.
    """
    if not job.removeprefix("jobs/").strip():
        raise InvalidRequest(
            "JOB is empty; give a job's name, or the beginning of one, as `impasto jobs` shows it"
        )
    if job.startswith("jobs/"):
        return job
    if job == "last":
        newest = next(client.jobs(), None)
        if newest is None:
            raise NotFound("there is no job")
        return newest.name
    found = [listed.name for listed in client.jobs() if listed.name.startswith(f"jobs/{job}")]
    if f"jobs/{job}" in found:
        return f"jobs/{job}"
    if not found:
        raise NotFound(f"there is no job that begins with {job}; `impasto jobs` lists those there are")
    if len(found) > 1:
        from impasto.cli.terminal import short_names

        names = short_names(found)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise InvalidRequest(f"{job} may be any of {', '.join(names[:SHOWN])}{more}; give more of the name")
    return found[0]


def _move(connection: Connection, job: str, move: Callable[[Client, str], Job]) -> None:
    with at_server(connection) as (client, display):
        moved = move(client, full_name(client, job))
        _say(connection, display, moved, moved.state)


def _say(connection: Connection, display: Display, job: Job, what: str) -> None:
    from impasto.cli.terminal import plain, print_json, say

    display.close()
    if connection.json:
        print_json("job", plain(job))
    else:
        say(f"{job.name}: {what}")


def _now() -> datetime:
    return datetime.now(timezone.utc)
