"""Finds a place again in a document that was changed since: by pieces of the lowest layer's pixels.

A document's size does not tell whether it was scaled, cropped, turned or mirrored: a crop may keep the
proportions, and a turn by 180° keeps the size. For the main thread only.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

from impasto_krita import nodes, notes

GRID = 6
"""Pieces along each side of the document."""
LENGTH = 12
"""Pixels of a piece, which lie in one row."""
MOST_OTHERS = 10
"""Other layers whose places are noted."""
FAR = 24.0
"""Mean difference of the pieces, 0 to 255, from which on a picture is another one."""
MOST_PIXELS = 2**24
"""Largest layer that is searched for pieces."""

Box = tuple[int, int, int, int]
Point = tuple[float, float]


def of(document: Any) -> dict[str, Any]:
    """Returns notes about pieces of a document's lowest layer; empty if it has none."""
    layer = _lowest(document)
    if layer is None:
        return {}
    width, height = document.width(), document.height()
    length = min(LENGTH, width)
    pieces = []
    for row in range(GRID):
        for column in range(GRID):
            x = min(width - length, round((column + 0.5) * width / GRID))
            y = min(height - 1, round((row + 0.5) * height / GRID))
            data = bytes(layer.pixelData(x, y, length, 1))
            pieces.append([x, y, base64.b64encode(data).decode()])
    others = [
        [nodes.id_of(node), *_box(node)]
        for node in nodes.walk(document.rootNode())
        if node != layer and node.type() == "paintlayer" and _box(node) != (0, 0, width, height)
    ]
    return {
        "layer": nodes.id_of(layer),
        "space": list(_space(layer)),
        "length": length,
        "pieces": pieces,
        "others": others[:MOST_OTHERS],
    }


def box_now(document: Any, box: Box, size: tuple[int, int], stored: Any) -> Box | None:
    """Returns where a box of a document is now.

    Args:
        size: the size that the document had.
        stored: what `of` has returned. It may come from another person's document.

    Returns:
        None if nobody knows where it is, as after a turn.
    """
    now = document.width(), document.height()
    found = _Landmarks.read(document, stored)
    alike = abs(now[0] * size[1] - now[1] * size[0]) <= max(size)
    if found is None:
        # Both sides were scaled alike, up to rounding.
        return _scaled(box, size, now) if alike else None
    if now == size and found.most_at((0, 0)):
        return box
    moved = found.moved()
    if len(moved) > 1 and now != size:
        # A crop of a smooth gradient looks the same at several places.
        return None
    if len(moved) == 1:
        if now == size and found.alone(document, moved[0]):
            return box
        there = box[0] + moved[0][0], box[1] + moved[0][1], box[2], box[3]
        outside = there[0] >= now[0] or there[1] >= now[1] or min(there[0] + box[2], there[1] + box[3]) <= 0
        return None if outside else there
    if not alike:
        return None
    same = found.difference(lambda x, y: (x, y), size, now)
    if same is None:
        return _scaled(box, size, now)
    turned = [found.difference(turn, size, now) for turn in _turns(square=size[0] == size[1])]
    if any(other is not None and other < 0.7 * same - 1 for other in turned):
        return None
    # Painting on a layer changes its pieces, but nothing else keeps its size.
    return _scaled(box, size, now) if now == size or same < FAR else None


class _Landmarks:
    """Pieces of a layer as they were, and the layer as it is now."""

    def __init__(
        self, layer: Any, length: int, pieces: list[tuple[int, int, bytes]], others: list[tuple[str, Box]]
    ) -> None:
        self._layer = layer
        self._length = length
        self._pieces = pieces
        self._others = others

    @classmethod
    def read(cls, document: Any, stored: Any) -> _Landmarks | None:
        """Returns what was noted; None if it cannot be read, or the layer is gone or was converted."""
        try:
            layer = nodes.find(document, str(stored["layer"]))
            length = stored["length"]
            pieces = [(x, y, base64.b64decode(piece)) for x, y, piece in stored["pieces"]]
            numbers = [length, *(number for x, y, _data in pieces for number in (x, y))]
            if layer is None or list(_space(layer)) != stored["space"]:
                return None
            if not all(type(number) is int and 0 <= number < 2**20 for number in numbers):
                return None
            wanted = len(bytes(layer.pixelData(0, 0, 1, 1))) * length
            if len(pieces) != GRID**2 or not 0 < length <= LENGTH:
                return None
            others = [(id, (x, y, w, h)) for id, x, y, w, h in stored["others"][:MOST_OTHERS]]
            if not all(type(number) is int for _id, box in others for number in box):
                return None
            fit = all(len(each[2]) == wanted for each in pieces)
            return cls(layer, length, pieces, others) if fit else None
        except (KeyError, TypeError, ValueError):
            return None

    def most_at(self, by: tuple[int, int]) -> bool:
        """Returns whether most pieces that are not of one colour have been moved by so much."""
        size = len(self._pieces[0][2]) // self._length
        told = [each for each in self._pieces if each[2] != each[2][:size] * self._length]
        there = [
            self._at(x + by[0], y + by[1]) == data for x, y, data in (told if len(told) > 3 else self._pieces)
        ]
        return 2 * sum(there) > len(there)

    def alone(self, document: Any, by: tuple[int, int]) -> bool:
        """Returns whether other layers have not been moved with it."""
        stayed = moved = 0
        for id, (x, y, width, height) in self._others:
            node = nodes.find(document, str(id))
            if node is not None:
                stayed += _box(node) == (x, y, width, height)
                moved += _box(node) == (x + by[0], y + by[1], width, height)
        return stayed > moved

    def moved(self) -> list[tuple[int, int]]:
        """Returns by how much the layer may have been moved, as by a crop; none if nobody knows."""
        bounds = self._layer.bounds()
        left, top, width, height = bounds.x(), bounds.y(), bounds.width(), bounds.height()
        if not 0 < width * height <= MOST_PIXELS:
            return []
        pixels = bytes(self._layer.pixelData(left, top, width, height))
        size = len(pixels) // (width * height)
        # Those with the most different values are found at the fewest places.
        best = sorted(self._pieces, key=lambda each: -len(set(each[2])))
        fits: dict[tuple[int, int], float] = {}
        for x, y, data in best[: GRID * 2]:
            at = pixels.find(data)
            for _try in range(100):
                if at < 0:
                    break
                row, column = divmod(at // size, width)
                by = left + column - x, top + row - y
                if by not in fits and at % size == 0 and column + self._length <= width:
                    fits[by] = self._fit(by, pixels, (left, top, width, height))
                at = pixels.find(data, at + 1)
        most = max(fits.values(), default=0.0)
        return [by for by, fit in fits.items() if fit == most] if most > 0.5 else []

    def _fit(self, by: tuple[int, int], pixels: bytes, bounds: Box) -> float:
        """Returns which part of the pieces that a crop would have left are where it would have moved them; 0
        if that may be so anywhere.
        """
        left, top, width, height = bounds
        size = len(pixels) // (width * height)
        within = right = 0
        seen = set()
        for x, y, data in self._pieces:
            column, row = x + by[0] - left, y + by[1] - top
            if 0 <= column <= width - self._length and 0 <= row < height:
                within += 1
                at = (row * width + column) * size
                if pixels[at : at + len(data)] == data:
                    right += 1
                    seen.add(data)
        # One piece, or many of one colour, may be anywhere.
        return right / within if len(seen) >= 2 else 0.0

    def difference(
        self, turn: Callable[[float, float], Point], size: tuple[int, int], now: tuple[int, int]
    ) -> float | None:
        """Returns how far the picture is from the one that was noted, turned and scaled; None if its pixels
        cannot be compared.
        """
        total, count = 0.0, 0
        for x, y, data in self._pieces:
            across, down = turn((x + self._length / 2) / size[0], (y + 0.5) / size[1])
            length = self._length
            left = round(across * now[0] - length / 2)
            there = self._at(min(max(0, left), max(0, now[0] - length)), min(int(down * now[1]), now[1] - 1))
            was, is_now = _means(data, self._layer), _means(there, self._layer)
            if was is None or is_now is None:
                return None
            total += sum(abs(a - b) for a, b in zip(was, is_now, strict=True)) / len(was)
            count += 1
        return total / count

    def _at(self, x: int, y: int) -> bytes:
        return bytes(self._layer.pixelData(x, y, self._length, 1))


def _box(node: Any) -> Box:
    bounds = node.bounds()
    return bounds.x(), bounds.y(), bounds.width(), bounds.height()


def _lowest(document: Any) -> Any:
    """The lowest paint layer that has a picture and is the artist's."""
    ours = notes.painted_layers(document)
    for node in nodes.walk(document.rootNode()):
        if node.type() == "paintlayer" and nodes.id_of(node) not in ours and _has_picture(document, node):
            return node
    return None


def _has_picture(document: Any, layer: Any) -> bool:
    """Whether a layer has different pixels: one of one colour looks the same wherever it is moved."""
    bounds = layer.bounds()
    if bounds.isEmpty():
        return False
    width, height = document.width(), document.height()
    spots = ((i + 0.5) / (2 * GRID) for i in range(2 * GRID))
    seen = {bytes(layer.pixelData(int(s * width), int(s * height), 1, 1)) for s in spots}
    return len(seen) > 2


def _space(layer: Any) -> tuple[str, str]:
    return str(layer.colorModel()), str(layer.colorDepth())


def _means(data: bytes, layer: Any) -> list[float] | None:
    """The mean of each channel of a piece, 0 to 255; None if its depth is not known."""
    kind, factor = {"U8": ("B", 1.0), "U16": ("H", 1 / 257), "F16": ("e", 255.0), "F32": ("f", 255.0)}.get(
        layer.colorDepth(), ("", 0.0)
    )
    channels = {"RGBA": 4, "GRAYA": 2, "CMYKA": 5}.get(layer.colorModel(), 4)
    if not kind or len(data) % (channels * struct.calcsize(kind)):
        return None
    values = struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data)
    count = len(values) // channels
    means = [factor * sum(values[channel::channels]) / count for channel in range(channels)]
    return [mean if -1e6 < mean < 1e6 else 0.0 for mean in means]


def _turns(*, square: bool) -> list[Callable[[float, float], Point]]:
    turns: list[Callable[[float, float], Point]] = [
        lambda x, y: (1 - x, 1 - y),
        lambda x, y: (1 - x, y),
        lambda x, y: (x, 1 - y),
    ]
    if square:
        turns += [
            lambda x, y: (1 - y, x),
            lambda x, y: (y, 1 - x),
            lambda x, y: (y, x),
            lambda x, y: (1 - y, 1 - x),
        ]
    return turns


def _scaled(box: Box, size: tuple[int, int], now: tuple[int, int]) -> Box:
    if now == size:
        return box
    x, y, width, height = box
    across, down = now[0] / size[0], now[1] / size[1]
    left, top = round(x * across), round(y * down)
    right, bottom = round((x + width) * across), round((y + height) * down)
    return left, top, max(1, right - left), max(1, bottom - top)
