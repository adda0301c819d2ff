"""How the command line puts things in words, in a form that is safe to print on a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from impasto.job import Job, Progress
    from impasto.picture import Picture


def say(text: str) -> None:
    """Prints a line on stdout. The text may come from a server or from other people."""
    print(clean(text))


def clean(text: str) -> str:
    """Makes a text safe to print: replaces every character that would control the terminal.

    Titles, names and errors come from servers and from other people. Line breaks and tabs become spaces.
    Other control characters, characters that change the direction of writing, and bytes of a file's name that
    are not text become "\\ufffd". All languages and emoji stay as they are.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\v\f\r\x85\u2028\u2029":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING:
        return "\ufffd"
    return character


_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def escaped(text: str) -> str:
    """Returns a text that is safe to print and has no meaning in rich's markup."""
    from rich.markup import escape

    return escape(clean(text))


def counted(number: int, word: str) -> str:
    """Returns a number with its noun: "1 style", "2 styles"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def duration(seconds: float) -> str:
    """Returns a duration for people: "2.5 s", "48 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def finding(progress: Progress) -> str:
    """Returns how much of the search for neighbours is done at this scale; "" once the scale is painted."""
    return "" if progress.preparing is None else f"finding neighbours {100 * progress.preparing:.0f} %"


def losses(progress: Progress) -> str:
    """Returns the content loss, if the objective has one, and the style loss."""
    content = f"content {progress.content_loss:<6.3g} " if progress.content_loss else ""
    return f"{content}style {progress.style_loss:<6.3g}"


def state_of(job: Job) -> str:
    """Returns the state of a job: "held by the administrator" instead of "paused" if it is so."""
    return "held by the administrator" if job.held else job.state


class ScaleName:
    """Names the scales of a painting: "scale 2/3 256×171", and the last pass as such.

    A last pass is the last scale if it has the same size as the scale before it. A watcher who comes only
    during the last scale cannot know this.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}

    def of(self, progress: Progress) -> str:
        """Returns the name of the scale that is painted now."""
        size = progress.width, progress.height
        self._sizes[progress.scale] = size
        repeated = progress.scale == progress.scales and self._sizes.get(progress.scale - 1) == size
        last = ", last pass" if repeated else ""
        return f"scale {progress.scale}/{progress.scales} {progress.width}×{progress.height}{last}"


def summary(picture: Picture, path: str) -> str:
    """Returns a line about a finished picture: its size and how it was painted."""
    job = picture.job
    words = [f"{picture.width} × {picture.height}"]
    if job.progress is not None:
        words.append(f"{duration(job.progress.device_time)} of painting")
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
