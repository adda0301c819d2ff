"""The size at which a part of a canvas is painted: large parts are painted smaller and enlarged."""

from __future__ import annotations

import dataclasses
import math

from impasto.hosts.told import ToldError
from impasto.hosts.translate import _
from impasto.recipe import FIELDS

SMALLEST_SIDE = int(FIELDS["size"].least)
"""Smallest side that the server paints, in pixels."""
LARGEST_SIDE = int(FIELDS["size"].most)
"""Largest longer side that any server paints, in pixels."""


@dataclasses.dataclass(frozen=True)
class Size:
    """The size at which a part of a canvas is painted.

    Attributes:
        width, height: size of the part, in pixels.
        painted_width, painted_height: size at which it is sent and painted, at most its own.
    """

    width: int
    height: int
    painted_width: int
    painted_height: int

    @property
    def enlarged(self) -> bool:
        """Whether the host has to enlarge the result."""
        return (self.width, self.height) != (self.painted_width, self.painted_height)

    @property
    def longest_side(self) -> int:
        """Longer side of the painting in pixels: `Recipe.size`."""
        return max(self.painted_width, self.painted_height)

    @property
    def sentence(self) -> str:
        """The size as a sentence for people."""
        here = f"{self.width} × {self.height}"
        if not self.enlarged:
            return _("Will be painted at {size}.").format(size=here)
        painted = f"{self.painted_width} × {self.painted_height}"
        return _("Will be painted at {painted}, enlarged to {size}.").format(painted=painted, size=here)


def plan(width: int, height: int, size: int, *, most: int | None = None) -> Size:
    """Return the size at which to paint a part of a canvas.

    Args:
        width, height: size of the part, in pixels.
        size: longer side of the painting in pixels, at most: `Choices.size`.
        most: the server's `Limits.max_longest_side`; None if unknown.

    Raises:
        ToldError: the part is too small or too narrow to be painted, at this size or at all.
    """
    longest = min(size, most or size)
    if min(width, height) < SMALLEST_SIDE:
        raise ToldError(
            _("{width} × {height} pixels are too few to paint.").format(
                width=max(width, 0), height=max(height, 0)
            ),
            _("Select a larger part, with at least {least} pixels on each side.").format(least=SMALLEST_SIDE),
        )
    scale = min(1.0, longest / max(width, height))
    painted = round(width * scale), round(height * scale)
    if min(painted) < SMALLEST_SIDE:
        # The server would refuse it, after the picture was sent.
        needed = math.ceil(max(width, height) * SMALLEST_SIDE / min(width, height))
        possible = needed <= (most or LARGEST_SIDE)
        raise ToldError(
            _("{size} px are too few for so long a shape.").format(size=longest),
            _("Choose a size of at least {least} px.").format(least=needed)
            if possible
            else _("Select a less narrow part."),
        )
    return Size(width, height, *painted)
