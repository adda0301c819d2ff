"""What the command line shows while a picture is painted: a bar, a few lines, JSON lines, or nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from impasto.formats import LOSSY
from impasto.job import Event, JobChanged, Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from impasto.errors import ImpastoError
    from impasto.job import Job, NamedStyle, ServerInfo
    from impasto.picture import CodedImage, Picture


class Display(Protocol):
    """Shows one run of the command line."""

    def note(self, text: str) -> None:
        """Something worth knowing that is not part of the painting."""

    def warning(self, text: str) -> None:
        """Something that may not be what the user wants, but does not keep the picture from being painted."""

    def event(self, event: Event, path: str | None) -> None:
        """Something happened; `path` is where a preview was written, if it was."""

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        """The picture is done.

        Args:
            file: what was written of it, which may be coded otherwise.
            paths: "path", "film" and "sidecar", as far as they were written.
        """

    def compared(self, path: str, other: str, difference: int | None, lossy: str | None = None) -> None:
        """How what was painted differs from another picture.

        Args:
            difference: in grey levels (of 255) at most; None if the sizes differ.
            lossy: the format that it was written in, if that does not keep every pixel as it is.
        """

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        """It went wrong; `message` is in the command line's own words."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


class JsonLines:
    """Each event as a line of JSON on stdout, for scripts."""

    def note(self, text: str) -> None:
        print(clean(text), file=sys.stderr)

    def warning(self, text: str) -> None:
        print_json("warning", {"message": text})

    def event(self, event: Event, path: str | None) -> None:
        if isinstance(event, JobChanged):
            print_json("job", plain(event.job))
        elif isinstance(event, Progress):
            print_json("progress", plain(event))
        else:
            fields = plain(event)
            del fields["data"]
            print_json("preview", {**fields, "size_bytes": len(event.data), "path": path})

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        print_json(
            "result",
            {
                **paths,
                "width": picture.width,
                "height": picture.height,
                "format": file.format,
                "size_bytes": len(file.data),
                "sha256": file.sha256,
                "metadata": picture.metadata,
            },
        )

    def compared(self, path: str, other: str, difference: int | None, lossy: str | None = None) -> None:
        print_json(
            "comparison",
            {
                "path": path,
                "with": other,
                "identical": difference == 0,
                "max_difference": difference,
                # What is compared is what was painted, whatever became of it in the file.
                "lossy": lossy,
            },
        )

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        print_json("error", {**plain_error(error), "message": message, "exit_code": exit_code})

    def close(self) -> None:
        pass


class Lines:
    """A few plain lines on stderr, where there is no terminal; only what went wrong if `quiet`."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._at = (0, False)

    def note(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def warning(self, text: str) -> None:
        self._console.print(f"[yellow]Warning:[/] {_escaped(text)}", highlight=False, soft_wrap=True)

    def event(self, event: Event, path: str | None) -> None:
        if self._quiet or not isinstance(event, Progress):
            return
        at = event.scale, event.preparing is not None
        if at != self._at:
            self._at = at
            left = f", about {_duration(event.time_left)} left" if event.time_left is not None else ""
            doing = _finding(event) or f"evaluation {event.evaluation}/{event.evaluations}"
            self._print(f"{_scale(event)}, {doing}{left}")

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        if not self._quiet:
            say(summary(picture, paths.get("path", picture.job.name)))

    def compared(self, path: str, other: str, difference: int | None, lossy: str | None = None) -> None:
        if self._quiet:
            return
        what, but = (path, "")
        if lossy is not None:
            what, but = "the painting", f"; {path} is a {LOSSY[lossy]}, which is not exact"
        if difference == 0:
            say(f"{what} is identical to {other}, pixel for pixel{but}")
        elif difference is None:
            say(f"{what} differs from {other} in size{but}")
        else:
            say(f"{what} differs from {other} by at most {difference} of 255 grey levels{but}")

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        prefix = "" if error.code == "CANCELLED" else "[red]Error:[/] "
        self._console.print(f"{prefix}{_escaped(message)}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(_escaped(text), highlight=False, soft_wrap=True)


class Bar(Lines):
    """A progress bar on a terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(console, quiet=False)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None, numbers="")
        self._bar.start()

    def event(self, event: Event, path: str | None) -> None:
        if isinstance(event, JobChanged) and event.job.state == "queued":
            place = f" (number {event.job.queue_position})" if event.job.queue_position else ""
            self._bar.update(self._task, description=f"waiting for a device{place}")
        elif isinstance(event, JobChanged) and event.job.state == "paused":
            self._bar.update(self._task, description="paused")
        elif isinstance(event, Progress):
            left = f", {_duration(event.time_left)} left" if event.time_left is not None else ""
            self._bar.update(
                self._task,
                description=_scale(event),
                completed=event.evaluation,
                total=event.evaluations,
                numbers=f"{event.evaluation}/{event.evaluations}  {_finding(event) or _losses(event)} "
                f"{_duration(event.device_time)}{left}",
            )

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        self.close()
        super().finished(picture, file, paths)

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        self.close()
        super().error(error, message, exit_code)

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def display(*, json_lines: bool, quiet: bool) -> Iterator[Display]:
    """The display that fits: JSON lines if asked for, a bar on a terminal, else plain lines."""
    chosen: Display
    if json_lines:
        chosen = JsonLines()
    else:
        from rich.console import Console

        console = Console(stderr=True)
        # Not `is_terminal`: with FORCE_COLOR, which is about colours, it is true of a file as well.
        live = sys.stderr.isatty() and not quiet
        chosen = Bar(console) if live else Lines(console, quiet=quiet)
    try:
        yield chosen
    finally:
        chosen.close()


def summary(picture: Picture, path: str) -> str:
    """The picture and how it came about, in a line."""
    job = picture.job
    words = [f"{picture.width} × {picture.height}"]
    if job.progress is not None:
        words.append(f"{_duration(job.progress.device_time)} of painting")
        if job.stop_reason != "completed":
            words.append(counted(job.progress.evaluation, "evaluation"))
    if job.network is not None:
        words.append(f"{job.network.weights} weights ({job.network.architecture})")
    if job.memory_plan is not None and job.memory_plan.method == "tiled":
        words.append(f"in tiles of {job.memory_plan.tile_side} px to fit the memory")
    elif job.memory_plan is not None and job.memory_plan.method == "recomputed":
        words.append("features recomputed to fit the memory")
    if job.stop_message:
        words.append(job.stop_message)
    return f"{path}: {', '.join(words)}"


def counted(number: int, word: str) -> str:
    """So many of what the word says."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def server_table(info: ServerInfo) -> None:
    """Prints what a server is."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("version", _escaped(info.version))
    for device in info.devices:
        precision = f", {device.auto_precision}" if device.auto_precision else ""
        memory = f", {device.memory_bytes / 2**30:,.1f} GiB for jobs" if device.memory_bytes else ""
        restarts = f", restarted {counted(device.restarts, 'time')}" if device.restarts else ""
        state = f"{device.state}{precision}{memory}{restarts}"
        table.add_row(_escaped(device.name), _escaped(f"{device.description} ({state})"))
    if info.network is None:
        table.add_row("weights", "not loaded yet")
    else:
        table.add_row("weights", _escaped(f"{info.network.weights} ({info.network.architecture})"))
        table.add_row("origin", _escaped(info.network.origin))
    limits = info.limits
    table.add_row("formats", _escaped(", ".join(info.accepted_formats)))
    table.add_row("longest side", f"at most {limits.max_longest_side:,} px")
    table.add_row("image sent", f"at most {limits.max_image_pixels / 1e6:,.0f} megapixels")
    table.add_row("request", f"at most {limits.max_request_bytes / 2**20:,.0f} MiB")
    table.add_row("styles", f"at most {limits.max_styles}")
    table.add_row("regions", f"at most {limits.max_regions}")
    if info.tenant:
        table.add_row("tenant", _escaped(info.tenant))
    table.add_row("jobs", f"{info.unfinished_jobs} of at most {limits.max_unfinished_jobs}")
    Console().print(table)


def jobs_table(jobs: Sequence[Job], now: datetime, note: str = "") -> Table:
    """Jobs as a table.

    Args:
        now: to tell the jobs' age, with a time zone.
        note: what to say below it.
    """
    from rich.table import Table

    table = Table(box=None, caption=_escaped(note) or None, caption_justify="left")
    for heading in ("job", "state", "title", "progress", "left", "device", "age"):
        table.add_column(heading, overflow="ellipsis" if heading == "title" else "fold", no_wrap=True)
    for job, name in zip(jobs, short_names([job.name for job in jobs]), strict=True):
        done = job.progress
        progress = f"{done.evaluation}/{done.evaluations}" if done else ""
        if job.queue_position:
            progress = f"number {job.queue_position}"
        left = done.time_left if done and not job.is_final else None
        age = (now - job.create_time).total_seconds() if job.create_time else None
        table.add_row(
            _escaped(name),
            f"[{_STATE_STYLES.get(job.state, '')}]{job.state}[/]"
            if job.state in _STATE_STYLES
            else _escaped(job.state),
            _escaped(job.title),
            progress,
            _duration(left) if left is not None else "",
            _escaped(job.device),
            _duration(max(0.0, age)) if age is not None else "",
        )
    return table


_STATE_STYLES = {"running": "cyan", "succeeded": "green", "failed": "red"}
SHORTEST_NAME = 8


def short_names(names: Sequence[str]) -> list[str]:
    """Jobs' identifiers, each as short as tells it from the others, but not shorter than `SHORTEST_NAME`."""
    identifiers = [name.removeprefix("jobs/") for name in names]
    ordered = sorted(set(identifiers))
    lengths = {}
    for i, identifier in enumerate(ordered):
        neighbours = ordered[max(0, i - 1) : i] + ordered[i + 1 : i + 2]
        alike = max((_alike(identifier, other) for other in neighbours), default=0)
        lengths[identifier] = max(SHORTEST_NAME, alike + 1)
    return [identifier[: lengths[identifier]] for identifier in identifiers]


def _alike(one: str, other: str) -> int:
    """How many letters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def styles_table(styles: Sequence[NamedStyle]) -> None:
    """Prints a server's styles."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in ("style", "title", "size"):
        table.add_column(heading, overflow="fold")
    for style in styles:
        table.add_row(_escaped(style.name), _escaped(style.title), f"{style.width} × {style.height}")
    Console().print(table)


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON can say it."""
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def plain_error(error: ImpastoError) -> dict[str, Any]:
    """An error as JSON can say it."""
    return {
        "code": error.code,
        "message": error.message,
        "fields": [{"field": field, "message": sentence} for field, sentence in error.fields],
        "reason": error.reason,
        "retry_after": error.retry_after,
    }


def _plain(value: Any) -> Any:
    from impasto.errors import ImpastoError

    if isinstance(value, ImpastoError):
        return plain_error(value)
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it.
    return value


def print_json(kind: str, fields: dict[str, Any]) -> None:
    """Prints a line of JSON, at once."""
    print(json.dumps({"event": kind, **fields}, allow_nan=False), flush=True)


def _scale(progress: Progress) -> str:
    return f"scale {progress.scale}/{progress.scales} {progress.width}×{progress.height}"


def _finding(progress: Progress) -> str:
    """How far a scale's targets are found, in words; "" while it is being painted."""
    return "" if progress.preparing is None else f"finding neighbours {100 * progress.preparing:.0f} %"


def _losses(progress: Progress) -> str:
    # Not every painting has a content term.
    content = f"content {progress.content_loss:<6.3g} " if progress.content_loss else ""
    return f"{content}style {progress.style_loss:<6.3g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def say(text: str) -> None:
    """Prints a line on stdout that may have in it what others wrote."""
    print(clean(text))


def clean(text: str) -> str:
    """A line of text without what would do something to a terminal instead of being shown there.

    Titles, names and errors come from servers and from other people. Line breaks and tabs become spaces; any
    other control character, what turns the direction of writing around, and bytes of a file's name that are
    no text become "\ufffd". Every language and emoji stay as they are.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\v\f\r\x85\u2028\u2029":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING:
        return "\ufffd"
    return character


_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _escaped(text: str) -> str:
    """A text in the middle of rich's markup."""
    from rich.markup import escape

    return escape(clean(text))
