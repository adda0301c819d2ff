"""The guard against huge canvases: at which size is painted, and what becomes of it."""

from __future__ import annotations

import dataclasses

from impasto.recipe import FIELDS

SMALLEST_SIDE = int(FIELDS["size"].least)
"""What the server paints at least, in pixels."""


@dataclasses.dataclass(frozen=True)
class Size:
    """At which size a part of a canvas is painted.

    Attributes:
        width, height: of the part, in pixels.
        painted_width, painted_height: at which it is sent and painted, never larger than it is.
    """

    width: int
    height: int
    painted_width: int
    painted_height: int

    @property
    def enlarged(self) -> bool:
        """Whether the host enlarges the result."""
        return (self.width, self.height) != (self.painted_width, self.painted_height)

    @property
    def longest_side(self) -> int:
        """Longer side of the painting in pixels: `Recipe.size`."""
        return max(self.painted_width, self.painted_height)

    @property
    def sentence(self) -> str:
        """What happens, for people."""
        here = f"{self.width} × {self.height}"
        if not self.enlarged:
            return f"Painted at {here}."
        return f"Painted at {self.painted_width} × {self.painted_height}, enlarged to {here}."


def plan(width: int, height: int, size: int, *, most: int | None = None) -> Size:
    """The size at which to paint.

    Args:
        width, height: of the part of the canvas, in pixels.
        size: longer side of the painting in pixels, at most: `Choices.size`.
        most: the server's `Limits.max_longest_side`, where it is known.

    Raises:
        ValueError: it is too small or too narrow to be painted; the message is a sentence for people.
    """
    longest = min(size, most or size)
    if min(width, height) < 1 or max(width, height) < SMALLEST_SIDE:
        raise ValueError(
            f"{max(width, 0)} × {max(height, 0)} pixels are too few to paint. "
            f"Select more, at least {SMALLEST_SIDE} pixels on the longer side."
        )
    scale = min(1.0, longest / max(width, height))
    painted = max(1, round(width * scale)), max(1, round(height * scale))
    return Size(width, height, *painted)
