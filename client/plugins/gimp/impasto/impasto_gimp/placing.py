"""Where a finished picture goes, in one undo step: also after the image was scaled or cropped, or closed.

"above"  a new layer above the layer that was painted, with the selection as its mask
"group"  the same, in a layer group of paintings
"image"  a new image
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import zlib
from collections.abc import Iterator
from typing import Any

from gi.repository import Gegl, Gimp

from impasto.hosts.translate import _
from impasto_gimp import images
from impasto_gimp.content import FORMATS, little_endian, read
from impasto_gimp.pictures import Pixels

WAYS = ("above", "group", "image")
MOST_PIXELS = 2**28
"""Most pixels to which a result is enlarged, where nothing in GIMP is as large."""


@dataclasses.dataclass(frozen=True)
class Placed:
    """A result in GIMP.

    Attributes:
        layer: the new layer.
        image: its image.
        told: a sentence about where it went, where that is not where it belongs; else empty.
    """

    layer: Gimp.Layer
    image: Gimp.Image
    told: str = ""


def put(
    pixels: Pixels, place: dict[str, Any], name: str, made: dict[str, Any], *, show: bool = True
) -> Placed:
    """Places a result.

    Args:
        pixels: the result, at the size at which it was painted.
        place: notes about where it goes, from `Part.place`.
        name: name of the new layer.
        made: how it was made, as JSON values; stored with the layer.
        show: whether a new image gets a window.
    """
    image = images.find(place)
    told = ""
    if image is not None and place.get("to") != "image":
        if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
            told = _("The image has indexed colours now, so the painting is a new image.")
        elif _is_turned(image, place):
            told = _("The image is turned now, so the painting is a new image.")
        elif _has_room(image, place):
            return Placed(_into(image, pixels, place, name, made), image)
    elif image is None:
        told = _("The image “{image}” is closed, so the painting is a new image.")
        told = told.format(image=place.get("title", ""))
    layer = _as_image(pixels, place, name, made)
    if show:
        Gimp.Display.new(layer.get_image())
    return Placed(layer, layer.get_image(), told)


def _into(
    image: Gimp.Image, pixels: Pixels, place: dict[str, Any], name: str, made: dict[str, Any]
) -> Gimp.Layer:
    below = images.with_tattoo(image, place.get("layer", {}).get("tattoo"))
    left, top, width, height = _box(image, below, place)
    mirrored = (False, False)
    if below is not None:
        mirrored = _mirrored(below, place["layer"])
    layer = _layer(image, pixels, name, made)
    with _one_step(image):
        parent, position = _position(image, below, place)
        # Outside of its group at first, whose position may be locked.
        image.insert_layer(layer, None, 0)
        # At first as large as it was ordered, for its mask.
        _scale(layer, *place["box"][2:])
        if place.get("mask"):
            _mask(layer, place["mask"])
        _scale(layer, width, height)
        for is_so, way in zip(
            mirrored, (Gimp.OrientationType.HORIZONTAL, Gimp.OrientationType.VERTICAL), strict=True
        ):
            if is_so:
                layer.transform_flip_simple(way, True, 0)
        layer.set_offsets(left, top)
        image.reorder_item(layer, parent, position)
    Gimp.displays_flush()
    return layer


def _as_image(pixels: Pixels, place: dict[str, Any], name: str, made: dict[str, Any]) -> Gimp.Layer:
    width, height = place["box"][2:]
    if width * height > MOST_PIXELS:
        width, height = pixels.width, pixels.height
    kind = Gimp.ImageBaseType.GRAY if place.get("grey") else Gimp.ImageBaseType.RGB
    precision = Gimp.Precision.U8_NON_LINEAR if pixels.bits == 8 else Gimp.Precision.U16_NON_LINEAR
    image = Gimp.Image.new_with_precision(width, height, kind, precision)
    image.undo_disable()
    layer = _layer(image, pixels, name, made)
    image.insert_layer(layer, None, 0)
    _scale(layer, width, height)
    if place.get("mask") and [width, height] == place["box"][2:]:
        _mask(layer, place["mask"])
    image.undo_enable()
    return layer


@contextlib.contextmanager
def _one_step(image: Gimp.Image) -> Iterator[None]:
    image.undo_group_start()
    try:
        yield
    finally:
        image.undo_group_end()


def _layer(image: Gimp.Image, pixels: Pixels, name: str, made: dict[str, Any]) -> Gimp.Layer:
    grey = image.get_base_type() == Gimp.ImageBaseType.GRAY
    kind = Gimp.ImageType.GRAYA_IMAGE if grey else Gimp.ImageType.RGBA_IMAGE
    layer = Gimp.Layer.new(image, name, pixels.width, pixels.height, kind, 100.0, Gimp.LayerMode.NORMAL)
    rgba = pixels.rgba if pixels.bits == 8 else little_endian(pixels.rgba)
    buffer = layer.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, pixels.width, pixels.height), FORMATS[pixels.bits], rgba)
    buffer.flush()
    images.write(layer, images.MADE, json.dumps(made).encode())
    return layer


def _scale(layer: Gimp.Layer, width: int, height: int) -> None:
    if (layer.get_width(), layer.get_height()) != (width, height):
        Gimp.context_push()
        try:
            Gimp.context_set_interpolation(Gimp.InterpolationType.CUBIC)
            layer.scale(width, height, False)
        finally:
            Gimp.context_pop()


def _mask(layer: Gimp.Layer, stored: str) -> None:
    """Gives a layer the mask of a place. One that does not fit, from another person's image, is left out."""
    length = layer.get_width() * layer.get_height()
    try:
        levels = zlib.decompressobj().decompress(base64.b64decode(stored), length + 1)
    except (TypeError, ValueError, zlib.error):
        return
    if len(levels) != length:
        return
    mask = layer.create_mask(Gimp.AddMaskType.WHITE)
    buffer = mask.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height()), "Y u8", levels)
    buffer.flush()
    layer.add_mask(mask)


def _position(
    image: Gimp.Image, below: Gimp.Layer | None, place: dict[str, Any]
) -> tuple[Gimp.Layer | None, int]:
    """Returns the group that the new layer goes into, and its position there."""
    if place.get("kind") != "layer" or below is None:
        parent, position = None, 0
    else:
        parent = below.get_parent()
        siblings = list(parent.get_children() if parent is not None else image.get_layers())
        position = image.get_item_position(below)
        # The newest painting lies above the earlier ones.
        while position and images.made(siblings[position - 1]) is not None:
            position -= 1
    if place.get("to") != "group":
        return parent, position
    for group in images.layers(image):
        if (
            group.is_group()
            and images.read(group, images.GROUP)
            and _is_next_to(image, group, parent, position)
        ):
            return group, 0
    group = Gimp.GroupLayer.new(image, _("Paintings"))
    images.write(group, images.GROUP, b"1")
    image.insert_layer(group, parent, position)
    return group, 0


def _is_next_to(image: Gimp.Image, group: Gimp.Layer, parent: Gimp.Layer | None, position: int) -> bool:
    above = group.get_parent()
    same = above is None if parent is None else above is not None and above.get_id() == parent.get_id()
    return same and image.get_item_position(group) in (position, position - 1)


def _is_turned(image: Gimp.Image, place: dict[str, Any]) -> bool:
    """Returns whether the image, or the layer that was painted, has width and height exchanged."""
    layer = images.with_tattoo(image, place.get("layer", {}).get("tattoo"))
    if layer is None:
        was, now = place["size"], [image.get_width(), image.get_height()]
    else:
        was, now = place["layer"]["box"][2:], [layer.get_width(), layer.get_height()]
    if was[0] == was[1] or now != was[::-1]:
        return False
    return layer is None or _cropped(layer, place["layer"]["samples"]) is None


def _box(image: Gimp.Image, layer: Gimp.Layer | None, place: dict[str, Any]) -> tuple[int, int, int, int]:
    """Returns where the part that was painted is now: left, top, width and height in the image's pixels.

    A layer that is as large as it was may have been moved; one of another size was cropped or scaled. Where
    the layer is gone, the image's size tells whether it was scaled.
    """
    x, y, width, height = place["box"]
    then = place["size"]
    now = [image.get_width(), image.get_height()]
    if layer is None:
        return (x, y, width, height) if now == then else _scaled(place["box"], (0, 0), then, (0, 0), now)
    left, top, *was = place["layer"]["box"]
    is_now = [layer.get_width(), layer.get_height()]
    _there, new_left, new_top = layer.get_offsets()
    if is_now == was:
        if place.get("kind") != "layer" and now == then:
            # The visible picture does not move with its lowest layer.
            return x, y, width, height
        across, down = _mirrored(layer, place["layer"])
        x = was[0] - (x - left) - width if across else x - left
        y = was[1] - (y - top) - height if down else y - top
        return x + new_left, y + new_top, width, height
    cropped = _cropped(layer, place["layer"]["samples"])
    if cropped is not None:
        return x - left + new_left - cropped[0], y - top + new_top - cropped[1], width, height
    return _scaled(place["box"], (left, top), was, (new_left, new_top), is_now)


def _has_room(image: Gimp.Image, place: dict[str, Any]) -> bool:
    """Returns whether a result would not be enlarged beyond what the image is."""
    below = images.with_tattoo(image, place.get("layer", {}).get("tattoo"))
    _left, _top, width, height = _box(image, below, place)
    there = [image] if below is None else [image, below]
    most: int = max(item.get_width() * item.get_height() for item in there)
    # At first it is as large as it was ordered.
    ordered: int = place["box"][2] * place["box"][3]
    return max(width * height, ordered) <= max(MOST_PIXELS, 2 * most)


def _mirrored(layer: Gimp.Layer, was: dict[str, Any]) -> tuple[bool, bool]:
    """Returns whether a layer was mirrored from left to right, and from top to bottom; by 180° it is both."""
    width, height = layer.get_width(), layer.get_height()
    samples = was["samples"]
    if was["box"][2:] != [width, height] or not samples:
        return False, False
    for across, down in ((False, False), (True, False), (False, True), (True, True)):
        right = 0
        for x, y, piece in samples:
            wanted = base64.b64decode(piece)
            long = len(wanted) // 4
            if across:
                x = width - x - long
                wanted = b"".join(wanted[at : at + 4] for at in range(len(wanted) - 4, -1, -4))
            right += wanted == read(layer, (x, height - 1 - y if down else y, long, 1), long, 1, 8)
        if right * 2 > len(samples):
            return across, down
    return False, False


def _scaled(
    box: list[int], at: tuple[int, int], was: list[int], new_at: tuple[int, int], now: list[int]
) -> tuple[int, int, int, int]:
    def edge(value: int, axis: int) -> int:
        return new_at[axis] + round((value - at[axis]) * now[axis] / was[axis])

    x, y, width, height = box
    left, top = edge(x, 0), edge(y, 1)
    return left, top, max(1, edge(x + width, 0) - left), max(1, edge(y + height, 1) - top)


def _cropped(layer: Gimp.Layer, samples: list[list[Any]]) -> tuple[int, int] | None:
    """Returns by how many pixels a layer was cropped at its left and its top; None if it was not cropped.

    A cropped layer has the same pixels, so pieces of its rows are still there.
    """
    width, height = layer.get_width(), layer.get_height()
    data = read(layer, (0, 0, width, height), width, height, 8)
    for x, y, piece in samples:
        wanted = base64.b64decode(piece)
        found = data.find(wanted)
        while found >= 0:
            row, column = divmod(found // 4, width)
            off = x - column, y - row
            if found % 4 == 0 and column + len(wanted) // 4 <= width and _fits(data, layer, samples, off):
                return off
            found = data.find(wanted, found + 1)
    return None


def _fits(data: bytes, layer: Gimp.Layer, samples: list[list[Any]], off: tuple[int, int]) -> bool:
    """Returns whether most pieces of a layer that are still within it are where a crop has moved them."""
    width, height = layer.get_width(), layer.get_height()
    within = right = 0
    for x, y, piece in samples:
        wanted = base64.b64decode(piece)
        column, row = x - off[0], y - off[1]
        if 0 <= row < height and column >= 0 and column + len(wanted) // 4 <= width:
            within += 1
            begin = 4 * (row * width + column)
            right += data[begin : begin + len(wanted)] == wanted
    return right * 2 > within
