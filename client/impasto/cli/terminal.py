"""What the command line shows while a picture is painted: a bar, a few lines, JSON lines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from impasto.cli.json_lines import plain, plain_error, print_json
from impasto.cli.words import ScaleName, clean, duration, escaped, finding, losses, say, state_of, summary
from impasto.formats import LOSSY
from impasto.job import Event, JobChanged, Progress

if TYPE_CHECKING:
    from rich.console import Console

    from impasto.errors import ImpastoError
    from impasto.picture import CodedImage, Picture


class Display(Protocol):
    """Shows what happens during one command."""

    def note(self, text: str) -> None:
        """Shows a remark that is not about the painting."""

    def warning(self, text: str) -> None:
        """Shows a warning: the command continues, but perhaps not as the user wants."""

    def event(self, event: Event, path: str | None) -> None:
        """Shows an event of the job. `path` is the file to which a preview was written, if any."""

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        """Shows that the picture is finished.

        Args:
            file: the picture as it was written; its format may be another.
            paths: the files that were written, by "path", "film" and "sidecar".
        """

    def compared(self, path: str, other: str, difference: int | None, lossy: str | None = None) -> None:
        """Shows how the new painting differs from an earlier picture.

        Args:
            path: the file of the new painting.
            other: the file of the earlier picture.
            difference: the largest difference in grey levels (of 255); None if the sizes differ.
            lossy: the format of the new file if it is lossy. The painting itself is compared, not this file.
        """

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        """Shows an error. `message` names options instead of fields."""

    def close(self) -> None:
        """Restores the terminal."""


class JsonLines:
    """Prints each event as a line of JSON on stdout, for scripts."""

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
                "lossy": lossy,
            },
        )

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        print_json("error", {**plain_error(error), "message": message, "exit_code": exit_code})

    def close(self) -> None:
        pass


class Lines:
    """Prints a few plain lines on stderr; only warnings and errors if `quiet`."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._at = (0, False)
        self._scale = ScaleName()

    def note(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def warning(self, text: str) -> None:
        self._console.print(f"[yellow]Warning:[/] {escaped(text)}", highlight=False, soft_wrap=True)

    def event(self, event: Event, path: str | None) -> None:
        if self._quiet or not isinstance(event, Progress):
            return
        at = event.scale, event.preparing is not None
        if at != self._at:
            self._at = at
            left = f", about {duration(event.time_left)} left" if event.time_left is not None else ""
            doing = finding(event) or f"evaluation {event.evaluation}/{event.evaluations}"
            self._print(f"{self._scale.of(event)}, {doing}{left}")

    def finished(self, picture: Picture, file: CodedImage, paths: dict[str, str]) -> None:
        if not self._quiet:
            say(summary(picture, paths.get("path", picture.job.name)))

    def compared(self, path: str, other: str, difference: int | None, lossy: str | None = None) -> None:
        if self._quiet:
            return
        what, but = (path, "")
        if lossy is not None:
            what, but = "the painting", f"; {path} is a {LOSSY[lossy]}, which is lossy"
        if difference == 0:
            say(f"{what} is identical to {other}, pixel for pixel{but}")
        elif difference is None:
            say(f"{what} has another size than {other}{but}")
        else:
            say(f"{what} differs from {other} by at most {difference} of 255 grey levels{but}")

    def error(self, error: ImpastoError, message: str, exit_code: int) -> None:
        prefix = "" if error.code == "CANCELLED" else "[red]Error:[/] "
        self._console.print(f"{prefix}{escaped(message)}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(escaped(text), highlight=False, soft_wrap=True)


class Bar(Lines):
    """Draws a progress bar on a terminal."""

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
            self._bar.update(self._task, description=state_of(event.job))
        elif isinstance(event, Progress):
            left = f", {duration(event.time_left)} left" if event.time_left is not None else ""
            self._bar.update(
                self._task,
                description=self._scale.of(event),
                completed=event.evaluation,
                total=event.evaluations,
                numbers=f"{event.evaluation}/{event.evaluations}  {finding(event) or losses(event)} "
                f"{duration(event.device_time)}{left}",
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
    """Chooses a display: JSON lines if `json_lines`, a bar on a terminal, else plain lines."""
    chosen: Display
    if json_lines:
        chosen = JsonLines()
    else:
        from rich.console import Console

        console = Console(stderr=True)
        # `console.is_terminal` would be wrong: FORCE_COLOR makes it true for a file.
        live = sys.stderr.isatty() and not quiet
        chosen = Bar(console) if live else Lines(console, quiet=quiet)
    try:
        yield chosen
    finally:
        chosen.close()
