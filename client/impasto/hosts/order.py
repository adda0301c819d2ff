"""An order: what a host wants to have painted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impasto.hosts.choices import Choices
from impasto.hosts.sizes import Size
from impasto.hosts.styles import StyleItem

if TYPE_CHECKING:
    from impasto.recipe import RawPixels


@dataclasses.dataclass(frozen=True)
class Order:
    """What to paint, and how.

    Attributes:
        content: returns the pixels at the painted size. It is called on a worker thread, so that the host can
            scale them there. May raise ValueError with a sentence for people.
        style: a style of the library.
        size: the size, from `sizes.plan`.
        choices: how to paint.
        place: the host's notes about where the picture goes, as JSON values. They come back with the result,
            even if the host was restarted.
        subject: what is painted, for people: the document's name.
    """

    content: Callable[[], RawPixels]
    style: StyleItem
    size: Size
    choices: Choices
    place: dict[str, Any]
    subject: str = ""
