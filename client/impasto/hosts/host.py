"""What a host application (an image editor) does for the controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from impasto.hosts.choices import Choices
    from impasto.hosts.styles import StyleItem
    from impasto.job import Job, Preview
    from impasto.picture import CodedImage


class CannotPlace(Exception):
    """A result has nowhere to go; the message is a sentence for people. It stays on offer."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished picture, to be put in its place.

    Attributes:
        picture: what `Host.decode_result` made of it.
        job: the job that made it, with the recipe as it was run.
        style: the style as it was chosen.
        choices: as they were at the end, steering included.
        place: what the host gave with the order: where the picture goes.
    """

    picture: Any
    job: Job
    style: StyleItem
    choices: Choices
    place: dict[str, Any]


class Host(Protocol):
    """The host application. `place` is what it gave with the order: its notes on where the picture goes."""

    def post(self, call: Callable[[], None]) -> None:
        """Has a call made on the main thread, soon; from any thread. Calls keep their order."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Has a call made on the main thread after some seconds. Called on the main thread."""

    def decode(self, preview: Preview, place: dict[str, Any]) -> Any:
        """A preview as the host shows it (`Run.preview`). Called on a worker thread."""

    def decode_result(self, image: CodedImage, place: dict[str, Any]) -> Any:
        """A result, in the format that the controller was made with, as the host puts it in place: enlarged
        to its size, cut by the selection. Called on a worker thread.
        """

    def place(self, painted: Painted) -> None:
        """Puts a finished picture where it belongs. Called on the main thread.

        Raises:
            CannotPlace: it cannot now; the picture stays on offer.
        """
