"""What is painted: a layer, the visible picture, or nothing (a texture); all of it, or the selected part."""

from __future__ import annotations

import array
import base64
import dataclasses
import functools
import sys
import zlib
from typing import Any

from gi.repository import Gegl, Gimp

from impasto.hosts.translate import _
from impasto_gimp import images
from impasto_gimp.pictures import Pixels, scaled
from impasto_gimp.places import SAMPLE_WIDTH, SAMPLES

FORMATS = {8: "R'G'B'A u8", 16: "R'G'B'A u16"}
"""sRGB with straight alpha, by bits per channel. GEGL converts to and from the image's own format."""
GREY = "RGB u8"
"""A selection or mask: each byte thrice, 255 where it is selected."""
STRIP = 64
"""Rows that a large layer is read by, at its smaller size."""
KINDS = ("layer", "visible", "texture")


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of an image to paint.

    Attributes:
        image: the image.
        kind: what is painted: "layer", "visible" (the visible picture) or "texture" (nothing).
        layer: the layer that is painted, or that was below all when the visible picture is.
        x, y, width, height: the box around the part, in the image's pixels.
        selected: whether a selection cuts the part out.
        told: a sentence about what is painted, where it is not what is active; else empty.
    """

    image: Gimp.Image
    kind: str
    layer: Gimp.Layer | None
    x: int
    y: int
    width: int
    height: int
    selected: bool = False
    told: str = ""

    @functools.cached_property
    def mask(self) -> bytes:
        """The selection within the box, one byte per pixel; empty if there is none."""
        if not self.selected:
            return b""
        box = (self.x, self.y, self.width, self.height)
        return shape(self.image.get_selection(), self.image, box, self.width, self.height)

    @property
    def title(self) -> str:
        """The image's name."""
        return str(self.image.get_name())[:200]

    @property
    def bits(self) -> int:
        """Bits per channel of the image, as far as a painting can have them."""
        return images.bits(self.image)

    @property
    def source(self) -> str:
        """A key of what is painted, which tells a second go."""
        layer = "" if self.kind != "layer" or self.layer is None else str(self.layer.get_tattoo())
        return f"{self.kind} {layer} {self.x} {self.y} {self.width} {self.height} {zlib.crc32(self.mask)}"

    def read(self, width: int, height: int) -> Pixels:
        """Returns the pixels of the part at a size.

        Raises:
            ValueError: there is nothing to be seen in it; the message is a sentence for people.
        """
        if self.kind == "visible":
            pixels = self._visible(width, height)
        else:
            assert self.layer is not None
            _there, left, top = self.layer.get_offsets()
            pixels = self._read(self.layer, self.x - left, self.y - top, width, height)
        step = pixels.bits // 8
        # Where every sample of alpha is 0, each of its bytes is.
        if not any(pixels.rgba[3 * step + byte :: 4 * step].strip(b"\0") for byte in range(step)):
            raise ValueError(self._why_empty())
        return pixels

    def place(self, to: str) -> dict[str, Any]:
        """Returns notes about where the result goes, as JSON values.

        Args:
            to: where: "above", "group" or "image"; see `placing`.
        """
        notes: dict[str, Any] = {
            "document": images.key(self.image),
            "image": self.image.get_id(),
            "file": images.uri(self.image),
            "title": self.title,
            "kind": self.kind,
            "to": to,
            "source": self.source,
            "box": [self.x, self.y, self.width, self.height],
            "size": [self.image.get_width(), self.image.get_height()],
            "grey": self.image.get_base_type() == Gimp.ImageBaseType.GRAY,
        }
        if self.mask:
            notes["mask"] = base64.b64encode(zlib.compress(self.mask, 1)).decode()
        if self.layer is not None:
            _there, left, top = self.layer.get_offsets()
            notes["layer"] = {
                "tattoo": self.layer.get_tattoo(),
                "name": self.layer.get_name(),
                "box": [left, top, self.layer.get_width(), self.layer.get_height()],
                "samples": _samples(self.layer),
            }
        return notes

    def _visible(self, width: int, height: int) -> Pixels:
        # Impasto's own layers are left out: a painting is not painted again.
        own = [layer for layer in images.layers(self.image) if layer.get_visible() and images.made(layer)]
        image = self.image.duplicate() if own else self.image
        try:
            if own:
                for layer in list(images.layers(image)):
                    if images.made(layer):
                        layer.set_visible(False)
            seen = Gimp.Layer.new_from_visible(image, image, "Impasto")
            try:
                return self._read(seen, self.x, self.y, width, height)
            finally:
                seen.delete()
        finally:
            if own:
                image.delete()

    def _read(self, layer: Gimp.Layer, x: int, y: int, width: int, height: int) -> Pixels:
        bits = self.bits
        return Pixels(width, height, read(layer, (x, y, self.width, self.height), width, height, bits), bits)

    def _why_empty(self) -> str:
        if self.kind == "visible":
            return _(
                "There is nothing to paint: every layer is hidden or transparent here. Show one of them."
            )
        assert self.layer is not None
        return _(
            "There is nothing to paint: the layer “{layer}” is transparent here. Choose another layer or "
            "another part of it."
        ).format(layer=self.layer.get_name())


def part(image: Gimp.Image, drawables: list[Any], kind: str = "layer", *, whole: bool = False) -> Part:
    """Returns the part of an image to paint.

    Args:
        drawables: what is active in the image.
        kind: what to paint, one of `KINDS`.
        whole: whether to paint all of it, although a part is selected.

    Raises:
        ValueError: there is nothing to paint; the message is a sentence for people.
    """
    if not image.is_valid():
        raise ValueError(_("The image is closed. Choose another one."))
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise ValueError(_("The image has indexed colours. Convert it with Image → Mode → RGB first."))
    if kind != "layer":
        return _of_image(image, kind, "", whole)
    if len(drawables) == 1 and isinstance(drawables[0], Gimp.LayerMask):
        drawables = [Gimp.Layer.from_mask(drawables[0])]
    if len(drawables) != 1 or not isinstance(drawables[0], Gimp.Layer):
        raise ValueError(_("Choose one layer to paint, not a channel or several layers."))
    layer, told = drawables[0], ""
    how = images.made(layer)
    if how is None and layer.is_group() and images.read(layer, images.GROUP):
        # A group of paintings stands for the newest of them.
        how = next((made for made in map(images.made, layer.get_children()) if made is not None), None)
    if how is not None:
        source = how.get("source")
        if not isinstance(source, dict) or source.get("document") != images.known_key(image):
            source = {}
        if source.get("kind") in ("visible", "texture"):
            told = _("The layer “{layer}” is a painting of Impasto. The picture without it is painted.")
            return _of_image(image, "visible", told.format(layer=layer.get_name()), whole)
        below = images.with_tattoo(image, source.get("layer"))
        if below is not None:
            told = _("The layer “{painting}” is a painting of Impasto. The layer “{layer}” is painted again.")
            told = told.format(painting=layer.get_name(), layer=below.get_name())
            layer = below
        else:
            told = _("The layer “{layer}” is a painting of Impasto, whose own layer is gone. It is painted.")
            told = told.format(layer=layer.get_name())
    above = layer.get_parent()
    while above is not None:
        if not above.get_visible():
            raise ValueError(
                _("The group “{group}” is hidden, and a painting in it would be too. Show the group first.")
                .format(group=above.get_name())
            )  # fmt: skip
        above = above.get_parent()
    meets, x, y, width, height = (
        (True, 0, 0, layer.get_width(), layer.get_height()) if whole else layer.mask_intersect()
    )
    if not meets:
        raise ValueError(
            _("Nothing of the layer “{layer}” is selected. Select a part of it, or remove the selection.")
            .format(layer=layer.get_name())
        )  # fmt: skip
    _there, left, top = layer.get_offsets()
    box = (left + x, top + y, width, height)
    return Part(image, kind, layer, *box, selected=_selected(image, whole), told=told)


def _of_image(image: Gimp.Image, kind: str, told: str, whole: bool) -> Part:
    _there, some, x0, y0, x1, y1 = Gimp.Selection.bounds(image)
    if whole or not some:
        x0, y0, x1, y1 = 0, 0, image.get_width(), image.get_height()
    lowest = [layer for layer in images.layers(image) if images.made(layer) is None and not layer.is_group()]
    box = (x0, y0, x1 - x0, y1 - y0)
    below = lowest[-1] if lowest else None
    return Part(image, kind, below, *box, selected=_selected(image, whole), told=told)


def shape(item: Any, image: Gimp.Image, box: tuple[int, int, int, int], width: int, height: int) -> bytes:
    """Returns the shape of a layer, a group, a mask, a channel or the selection within a box of the image.

    Args:
        box: left, top, width and height in the image's pixels.
        width, height: size of the shape.

    Returns:
        One byte per pixel, 255 within the shape.
    """
    x, y, _width, _height = box
    _there, left, top = item.get_offsets()
    at = (x - left, y - top, *box[2:])
    if not isinstance(item, Gimp.Layer):
        return _levels(item, at, width, height)
    alpha = read(item, at, width, height, 8, outside=Gegl.AbyssPolicy.NONE)[3::4]
    mask = item.get_mask()
    if mask is None:
        return alpha
    levels = _levels(mask, at, width, height)
    return bytes(a * b // 255 for a, b in zip(alpha, levels, strict=True))


def _levels(mask: Any, box: tuple[int, int, int, int], width: int, height: int) -> bytes:
    """Returns a box of a mask, a channel or the selection at a size, one byte per pixel."""
    x, y, *whole = box
    data = bytes(mask.get_buffer().get(Gegl.Rectangle.new(x, y, *whole), 1.0, GREY, Gegl.AbyssPolicy.NONE))
    if whole != [width, height]:
        data = scaled(data, 3, whole[0], whole[1], width, height)
    return data[::3]


def read(
    drawable: Any,
    box: tuple[int, int, int, int],
    width: int,
    height: int,
    bits: int,
    *,
    outside: Gegl.AbyssPolicy = Gegl.AbyssPolicy.CLAMP,
) -> bytes:
    """Returns a box of a drawable at a size, as rows of RGBA.

    Args:
        box: left, top, width and height in the drawable's own pixels.
        width, height: size of what is returned.
        bits: bits per channel, 8 or 16; 16-bit samples have their lower byte first.
    """
    x, y, *whole = box
    buffer, format = drawable.get_buffer(), FORMATS[bits]
    if bits == 8:
        data, size = _at_least(buffer, box, width, height)
        if size != (width, height):
            data = scaled(data, 4, *size, width, height)
        return data
    if whole == [width, height]:
        data = bytes(buffer.get(Gegl.Rectangle.new(*box), 1.0, format, Gegl.AbyssPolicy.NONE))
        return little_endian(data)
    # What scales 8 bits more exactly does not know more.
    scale = width / whole[0] if whole[0] >= whole[1] else height / whole[1]
    at = Gegl.Rectangle.new(round(x * scale), round(y * scale), width, height)
    return little_endian(bytes(buffer.get(at, scale, format, outside)))


def _at_least(
    buffer: Any, box: tuple[int, int, int, int], width: int, height: int
) -> tuple[bytes, tuple[int, int]]:
    """Returns a box of a buffer at its own size, or where it is many times larger, at a smaller one.

    A large layer as a whole would take gigabytes. GEGL of GIMP 3.0 cannot scale 8 bits itself: it returns
    black.
    """
    x, y, *whole = box
    # At least twice as large as what is wanted, so that the last step has enough to go by.
    step = int(min(whole[0] / width, whole[1] / height) / 2)
    if step < 2:
        return _rows(buffer, *box), (whole[0], whole[1])
    across = round(whole[0] / step)
    strips, lines = [], 0
    for top in range(0, whole[1], step * STRIP):
        high = min(step * STRIP, whole[1] - top)
        low = max(1, round(high / step))
        strips.append(scaled(_rows(buffer, x, y + top, whole[0], high), 4, whole[0], high, across, low))
        lines += low
    return b"".join(strips), (across, lines)


def _rows(buffer: Any, x: int, y: int, width: int, height: int) -> bytes:
    at = Gegl.Rectangle.new(x, y, width, height)
    return bytes(buffer.get(at, 1.0, FORMATS[8], Gegl.AbyssPolicy.NONE))


def little_endian(data: bytes) -> bytes:
    """Returns 16-bit samples of this machine with their lower byte first, and the other way round."""
    if sys.byteorder == "little":
        return data
    samples = array.array("H", data)
    samples.byteswap()
    return samples.tobytes()


def _selected(image: Gimp.Image, whole: bool) -> bool:
    return not whole and not Gimp.Selection.is_empty(image)


def _samples(layer: Gimp.Layer) -> list[list[Any]]:
    """Returns short pieces of a layer's rows, with their places, by which it is found again when cropped."""
    width, height = layer.get_width(), layer.get_height()
    wide = min(SAMPLE_WIDTH, width)
    taken = []
    for number in range(SAMPLES):
        # Spread over the picture without a pattern that a picture could have.
        x = round((width - wide) * (number * 0.618034 % 1))
        y = round((height - 1) * (number + 0.5) / SAMPLES)
        data = read(layer, (x, y, wide, 1), wide, 1, 8)
        # A plain piece could be anywhere.
        if len(set(data)) > 8:
            taken.append([x, y, base64.b64encode(data).decode()])
    return taken
