"""Areas of a content, as the regions of a request."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from impasto import png
from impasto.hosts.order import Area
from impasto.hosts.shares import StyleShare
from impasto.hosts.told import ToldError, cut
from impasto.hosts.translate import _
from impasto.recipe import Region

_WHITE = b"\xff"
_PIECE = 2**16


def regions_of(
    areas: Sequence[Area], styles: Sequence[StyleShare], width: int, height: int
) -> tuple[Region, ...]:
    """Return areas as regions that together cover all of the content exactly once.

    Takes some time for large pictures: for a worker thread.

    Args:
        areas: the areas; of those that overlap, the first has the place.
        styles: the order's styles.
        width, height: the painted size.

    Raises:
        ToldError: a mask is empty.
        RuntimeError: a mask has another size.
    """
    if not areas:
        return ()
    left = _WHITE * (width * height)
    regions = []
    for area in areas:
        mask = area.mask()
        if len(mask) != width * height:
            raise RuntimeError(
                f"the mask of the area {area.name!r} has {len(mask)} bytes for {width} × {height} pixels"
            )
        covered = _each(min, mask, left)
        if not any(covered):
            raise ToldError(
                _("The area “{area}” is empty here.").format(area=cut(area.name)),
                _(
                    "Nothing of it lies in the part that is painted, or other areas cover it. Change its "
                    "layer, or remove the area."
                ),
            )
        left = _each(operator.sub, left, covered)
        regions.append(Region(_grey(covered, width, height), area.style))
    taken = {area.style for area in areas}
    free = [index for index in range(len(styles)) if index not in taken] or [0]
    total = sum(styles[index].share for index in free)
    for index in free:
        share = styles[index].share / total
        part = left.translate(bytes(round(share * value) for value in range(256)))
        # A share can be too small to show, but then the others have the place.
        if any(part):
            regions.append(Region(_grey(part, width, height), index))
    return tuple(regions)


def _each(of: Callable[[int, int], int], first: bytes, second: bytes) -> bytes:
    """The values of a function of each byte of two masks."""
    # Piece by piece, because the host's main thread has to wait for each.
    pieces = range(0, len(first), _PIECE)
    return b"".join(bytes(map(of, first[i : i + _PIECE], second[i : i + _PIECE])) for i in pieces)


def _grey(mask: bytes, width: int, height: int) -> bytes:
    return png.write(width, height, 1, 8, mask)
