"""What a host application (an image editor) provides for the controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from impasto.hosts.memory import named
from impasto.hosts.told import ToldError

if TYPE_CHECKING:
    from impasto.hosts.choices import Choices
    from impasto.hosts.shares import StyleShare
    from impasto.hosts.styles import StyleItem
    from impasto.job import Job, Preview
    from impasto.picture import CodedImage


class CannotPlace(ToldError):
    """A result has no place to go now, but may be placed later."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished picture, ready to be placed.

    Attributes:
        id: the run's identifier, and that of its entry in the history.
        picture: what `Host.decode_result` returned for it.
        job: the job that made it, with its recipe.
        styles: the styles that were chosen.
        choices: the choices at the end, including steered ones.
        place: the host's notes about where the picture goes, from the order.
        bits: bits per channel of the picture, 8 or 16.
        subject: what was painted, for people.
        document: key of the document in the history.
    """

    id: str
    picture: Any
    job: Job
    styles: tuple[StyleShare, ...]
    choices: Choices
    place: dict[str, Any]
    bits: int = 8
    subject: str = ""
    document: str = ""

    @property
    def style(self) -> StyleItem:
        """The first style."""
        return self.styles[0].style

    @property
    def label(self) -> str:
        """Its styles, seed and strength in one line: a name for its layer."""
        return named(self.styles, self.choices)


class Host(Protocol):
    """The host application. `place` holds its notes about where the picture goes, from the order."""

    def post(self, call: Callable[[], None]) -> None:
        """Makes a call on the main thread, soon and in order. May be used from any thread."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Makes a call on the main thread after some seconds. Used on the main thread."""

    def decode(self, preview: Preview, place: dict[str, Any]) -> Any:
        """Decodes a preview into what the host shows (`Run.preview`). Called on a worker thread. If it fails,
        that preview is not shown.
        """

    def decode_result(self, image: CodedImage, place: dict[str, Any]) -> Any:
        """Decodes a result into what the host places: enlarged to its size, cut by the selection. Called on a
        worker thread.

        Args:
            image: rows of bare pixels with 8 or 16 bits per channel, as the order says ("rgba8", "rgba16"); a
                PNG if the controller's result format is "png".
        """

    def thumbnail(self, picture: Any) -> bytes:
        """Returns a small JPEG of what `decode_result` returned, for the history: its longer side has at most
        256 pixels. Called on a worker thread.
        """

    def place(self, painted: Painted) -> None:
        """Places a finished picture. Called on the main thread.

        Raises:
            CannotPlace: the picture cannot be placed now; it can be placed later.
        """
