"""The commands for jobs that exist, and for the images and styles of a server."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from impasto import tiff
from impasto.cli.grouped import grouped
from impasto.cli.json_lines import plain, print_json
from impasto.cli.keeping import lost_transparency
from impasto.cli.live_jobs import REFRESH, LiveJobs
from impasto.cli.options import (
    ENDINGS,
    Connection,
    FormatOfResult,
    JobName,
    Kept,
    NewPreviewOptions,
    NewPriority,
    NewTitle,
    OutIfAny,
    Quiet,
    option,
)
from impasto.cli.output import Output, check_inputs, check_output, format_of, write
from impasto.cli.plain_help import PlainCommand
from impasto.cli.recipe_options import Steered
from impasto.cli.running import connected, follow, named_server, outcome
from impasto.cli.signals import exit_code_of
from impasto.cli.tables import jobs_table, short_names, styles_table
from impasto.cli.values import file_name, folder_name, one_of
from impasto.cli.words import say, state_of
from impasto.errors import ImpastoError, InvalidRequest, NotFound
from impasto.files import write_whole
from impasto.formats import coding
from impasto.png import is_transparent

if TYPE_CHECKING:
    from impasto.cli.terminal import Display
    from impasto.client import Client
    from impasto.formats import FileFormat
    from impasto.job import Job
    from impasto.picture import CodedImage

SHOWN = 5
"""Number of names that an error shows at most."""
STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")


def add_commands(app: typer.Typer, epilog: str) -> None:
    """Adds the commands to the command line."""
    for command in (jobs, watch, steer, pause, resume, cancel, delete, get, styles, upload):
        app.command(epilog=epilog, cls=PlainCommand)(grouped(command))


def jobs(
    connection: Connection,
    state: Annotated[
        list[str] | None,
        option(
            "--state",
            metavar="STATE",
            parser=one_of(STATES),
            help=f"State of the jobs to list: {', '.join(STATES[:-1])} or {STATES[-1]}. Repeat the option "
            "for several states. Default: all jobs.",
        ),
    ] = None,
    title: Annotated[
        str | None,
        option(
            "--title",
            metavar="TEXT",
            help="List only jobs whose title contains this, in upper or lower case. Default: all jobs.",
        ),
    ] = None,
    once: Annotated[
        bool, option("--once", help="Print the table once and exit. Default: no on a terminal, else yes.")
    ] = False,
) -> None:
    """List the jobs, newest first. On a terminal the table is live until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    def look(client: Client) -> list[Job]:
        return list(client.jobs(state or (), title=title or ""))

    def is_wanted(job: Job) -> bool:
        return (not state or job.state in state) and (title or "").casefold() in job.title.casefold()

    with at_server(connection) as (client, display):
        listed = look(client)
        display.close()
        if connection.json:
            for job in listed:
                print_json("job", plain(job))
            return
        console = Console()
        # `console.is_terminal` would be wrong: FORCE_COLOR makes it true for a file.
        live = sys.stdout.isatty()
        if once or not live:
            # Without a terminal rich assumes 80 columns and would cut names off.
            console.width = console.width if live else 200
            console.print(jobs_table(listed, _now()))
            return
        followed = LiveJobs(client, lambda: look(client), is_wanted)
        try:
            with Live(console=console, auto_refresh=False, transient=False) as live:
                live.update(jobs_table(listed, _now()), refresh=True)
                followed.listed.wait(REFRESH)
                while True:
                    now, silent = followed.now()
                    # Before the first list, that of above is the newest.
                    listed = now if followed.listed.is_set() else listed
                    note = f"the server has not answered for {silent:.0f} s" if silent > 2 * REFRESH else ""
                    live.update(jobs_table(listed, _now(), note), refresh=True)
                    time.sleep(REFRESH)
        except KeyboardInterrupt as interrupt:
            # This is how a live table usually ends, so it is no error.
            raise typer.Exit(exit_code_of(interrupt)) from None


def watch(
    job: JobName,
    kept: Kept,
    connection: Connection,
    out: OutIfAny = None,
    quiet: Quiet = False,
) -> None:
    """Watch JOB and write its result. Ctrl-C stops watching; the job continues."""
    with at_server(connection, quiet=quiet) as (client, display):
        if kept.sidecar and out is None:
            raise InvalidRequest("--sidecar needs --out: the sidecar is written beside the picture")
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
    preview_options: NewPreviewOptions,
    title: NewTitle = None,
    priority: NewPriority = None,
) -> None:
    """Change how JOB is painted. A running job continues from its current image."""
    names: dict[str, str] = {}
    with at_server(connection, names) as (client, display):
        settings = recipe.settings(names, "job.recipe")
        previews = preview_options.wanted()
        if not settings and title is None and priority is None and previews is None:
            raise InvalidRequest("there is nothing to change; give an option: --content-weight 0.5")
        name = full_name(client, job)
        changed = client.update_job(name, title=title, priority=priority, previews=previews, **settings)
        _say(connection, display, changed, "steered")


def pause(job: JobName, connection: Connection) -> None:
    """Pause JOB. Its work is kept; `impasto resume` continues it."""
    _move(connection, job, lambda client, name: client.pause(name))


def resume(job: JobName, connection: Connection) -> None:
    """Continue JOB after a pause."""
    _move(connection, job, lambda client, name: client.resume(name))


def cancel(job: JobName, connection: Connection) -> None:
    """Cancel JOB. It cannot be resumed."""
    _move(connection, job, lambda client, name: client.cancel(name))


def delete(job: JobName, connection: Connection) -> None:
    """Delete JOB and its result. A job that is not finished is cancelled first."""
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
    out: Annotated[
        Path,
        option(
            "--out", "-o", metavar="OUT", parser=file_name, help=f"File to write the picture to. {ENDINGS}"
        ),
    ],
    connection: Connection,
    format: FormatOfResult = None,
    preview: Annotated[
        bool, option("--preview", help="Write the newest preview instead of the result. Default: no.")
    ] = False,
) -> None:
    """Write the result of JOB to a file."""
    with at_server(connection) as (client, display):
        wanted = format_of(out, format)
        if preview and format is not None:
            raise InvalidRequest("--format cannot be given together with --preview; leave out one of the two")
        check_output(out, "--out")
        name = full_name(client, job)
        if preview:
            image = client.download(preview_of=name)
            if image.format != wanted:
                raise InvalidRequest(
                    f"--out {out}: the preview is a {image.format}; give {out.stem}.{image.format}"
                )
        else:
            image = _result(client, name, wanted, as_kept=format is None)
        write(out, image.data)
        if wanted == "jpeg" and not preview:
            with contextlib.suppress(ImpastoError):
                if is_transparent(client.download(result_of=name).data):
                    display.warning(lost_transparency(out))
        display.close()
        if connection.json:
            fields = plain(image)
            del fields["data"]
            print_json("result", {"path": str(out), **fields, "size_bytes": len(image.data)})
        else:
            say(f"{out}: {image.width} × {image.height}")


def _result(client: Client, name: str, wanted: FileFormat, *, as_kept: bool) -> CodedImage:
    """Downloads the result of a job.

    Args:
        as_kept: whether a PNG or TIFF has as many bits per channel as the server keeps.

    Raises:
        InvalidRequest: 16 bits per channel are wanted of a TIFF, and the server keeps 8.
    """
    if wanted == "png" and as_kept:
        return client.download(result_of=name)
    image = client.download(result_of=name, format=coding(wanted) if wanted == "tiff16" else wanted)
    if wanted == "tiff16" and tiff.depth(image.data) == 8:
        raise InvalidRequest("--format tiff16: the server keeps the result with 8 bits; give --format tiff")
    return image


def styles(
    connection: Connection,
    save_thumbnails: Annotated[
        Path | None,
        option(
            "--save-thumbnails",
            metavar="FOLDER",
            parser=folder_name,
            help="Folder to write a small picture of each style to. Default: none.",
        ),
    ] = None,
) -> None:
    """List the server's styles. Paint with one by giving its name as STYLE: styles/NAME."""
    with at_server(connection) as (client, display):
        found = list(client.styles())
        paths: dict[str, str] = {}
        if save_thumbnails is not None:
            try:
                save_thumbnails.mkdir(parents=True, exist_ok=True)
                for style in found:
                    # A server could send a name that leads out of the folder.
                    path = save_thumbnails / f"{Path(style.name).name}.jpg"
                    write_whole(path, style.thumbnail)
                    paths[style.name] = str(path)
            except OSError as error:
                raise InvalidRequest(
                    f"--save-thumbnails {save_thumbnails} cannot be used: {error.strerror}; give another"
                ) from None
        display.close()
        if not connection.json:
            styles_table(found)
            return
        for style in found:
            fields = plain(style)
            del fields["thumbnail"]
            print_json("style", {**fields, "thumbnail": paths.get(style.name)})


def upload(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            parser=file_name,
            help="File of the image: PNG, JPEG, WebP or TIFF.",
            show_default=False,
        ),
    ],
    connection: Connection,
) -> None:
    """Upload an image once, for any number of jobs, and print its name sha256:DIGEST."""
    with at_server(connection, {"image": str(file), "data": str(file)}) as (client, display):
        check_inputs([("", file)])
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
    """Gives a client of the named server, and ends the command with its exit code."""
    with (
        # Such a command cancels nothing on the server when it is interrupted.
        outcome(connection, {} if names is None else names, quiet=quiet, interrupted="stopped") as display,
        connected(connection, named_server(connection), timeout=connection.timeout) as client,
    ):
        yield client, display


def full_name(client: Client, job: str) -> str:
    """Returns the full name of a job.

    Args:
        job: the full name, the beginning of the identifier, or "last" for the newest job.

    Raises:
        NotFound: there is no such job.
        InvalidRequest: there are several such jobs, or `job` is empty.
    """
    if not job.removeprefix("jobs/").strip():
        raise InvalidRequest(
            "JOB is empty; give the name of a job, or its beginning, as `impasto jobs` shows it"
        )
    if job.startswith("jobs/"):
        return job
    if job == "last":
        newest = next(client.jobs(), None)
        if newest is None:
            raise NotFound("there are no jobs")
        return newest.name
    found = [listed.name for listed in client.jobs() if listed.name.startswith(f"jobs/{job}")]
    if f"jobs/{job}" in found:
        return f"jobs/{job}"
    if not found:
        raise NotFound(f"there is no job whose name begins with {job}; `impasto jobs` lists the jobs")
    if len(found) > 1:
        names = short_names(found)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise InvalidRequest(f"JOB {job} could be {', '.join(names[:SHOWN])}{more}; give more of the name")
    return found[0]


def _move(connection: Connection, job: str, move: Callable[[Client, str], Job]) -> None:
    with at_server(connection) as (client, display):
        moved = move(client, full_name(client, job))
        _say(connection, display, moved, state_of(moved))


def _say(connection: Connection, display: Display, job: Job, what: str) -> None:
    display.close()
    if connection.json:
        print_json("job", plain(job))
    else:
        say(f"{job.name}: {what}")


def _now() -> datetime:
    return datetime.now(timezone.utc)
