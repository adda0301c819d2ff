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
        image: what the server sent, in the format that the controller was made with.
        job: the job that made it, with the recipe as it was run.
        style: the style as it was chosen.
        choices: as they were at the end, steering included.
        place: what the host gave with the order: where the picture goes.
    """

    image: CodedImage
    job: Job
    style: StyleItem
    choices: Choices
    place: dict[str, Any]


class Host(Protocol):
    """The host application. But for `post` and `decode`, everything happens on its main thread."""

    def post(self, call: Callable[[], None]) -> None:
        """Has a call made on the main thread, soon; from any thread. Calls keep their order."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Has a call made on the main thread after some seconds."""

    def decode(self, preview: Preview) -> Any:
        """A preview as the host shows it (`Run.preview`). Called on a worker thread."""

    def place(self, painted: Painted) -> None:
        """Puts a finished picture where it belongs.

        Raises:
            CannotPlace: it cannot now; the picture stays on offer.
        """
