"""Pictures outside GIMP's images: as pixbufs for the dialog, and as raw pixels."""

from __future__ import annotations

import dataclasses

from gi.repository import GdkPixbuf, GLib

from impasto.hosts import thumbnails

MOST_BYTES = 2**20
"""Largest thumbnail that is shown."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Raw pixels in sRGB with straight alpha.

    Attributes:
        width, height: size in pixels.
        rgba: 4 samples for each pixel, in rows from the top; 16-bit samples have their lower byte first.
        bits: bits of each sample, 8 or 16.
    """

    width: int
    height: int
    rgba: bytes = dataclasses.field(repr=False)
    bits: int = 8

    @property
    def pixbuf(self) -> GdkPixbuf.Pixbuf:
        """The pixels with 8 bits, as a pixbuf."""
        rgba = self.rgba if self.bits == 8 else self.rgba[1::2]
        return GdkPixbuf.Pixbuf.new_from_bytes(
            GLib.Bytes.new(rgba), GdkPixbuf.Colorspace.RGB, True, 8, self.width, self.height, 4 * self.width
        )


MOST_PIXELS = 2**28
"""Most pixels of a coded picture that is read: a few bytes may announce billions of them."""


def decode(data: bytes, side: int = 0) -> GdkPixbuf.Pixbuf:
    """Returns a coded picture as a pixbuf.

    Args:
        side: about how long its longer side should be at most, in pixels; 0 for any.

    Raises:
        GLib.Error: GdkPixbuf cannot read it, or it is enormous.
    """

    def announced(loader: GdkPixbuf.PixbufLoader, width: int, height: int) -> None:
        if width * height > MOST_PIXELS:
            # GdkPixbuf refuses a picture of this size before it takes memory for it.
            loader.set_size(0, 0)
        elif side and max(width, height) > side:
            scale = side / max(width, height)
            loader.set_size(max(1, round(scale * width)), max(1, round(scale * height)))

    loader = GdkPixbuf.PixbufLoader()
    loader.connect("size-prepared", announced)
    try:
        loader.write(data)
    finally:
        # An unclosed loader logs a warning. `write` has raised the error, if there is one.
        try:
            loader.close()
        except GLib.Error:
            if loader.get_pixbuf() is None:
                raise
    picture = loader.get_pixbuf()
    if picture is None:
        raise GLib.Error("no picture")
    return picture


def scaled(data: bytes, channels: int, width: int, height: int, new_width: int, new_height: int) -> bytes:
    """Returns rows of 8-bit RGB or RGBA at another size."""
    picture = GdkPixbuf.Pixbuf.new_from_bytes(
        GLib.Bytes.new(data), GdkPixbuf.Colorspace.RGB, channels == 4, 8, width, height, channels * width
    )
    other = picture.scale_simple(new_width, new_height, GdkPixbuf.InterpType.HYPER)
    row, stride = channels * new_width, other.get_rowstride()
    rows = other.read_pixel_bytes().get_data()
    if stride == row:
        return bytes(rows[: row * new_height])
    return b"".join(rows[begin : begin + row] for begin in range(0, stride * new_height, stride))


def within(picture: GdkPixbuf.Pixbuf, side: int, *, enlarge: bool = False) -> GdkPixbuf.Pixbuf:
    """Returns a picture scaled so that its longer side is at most this long, or exactly if `enlarge`."""
    width, height = picture.get_width(), picture.get_height()
    scale = side / max(width, height)
    if scale >= 1 and not enlarge:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.scale_simple(*size, GdkPixbuf.InterpType.BILINEAR)


def thumbnail(data: bytes, side: int) -> GdkPixbuf.Pixbuf | None:
    """Returns a thumbnail at a small size; None if it cannot be read, or is not small."""
    try:
        return within(decode(thumbnails.checked(data, MOST_BYTES), side), side)
    except (GLib.Error, TypeError):
        return None


def jpeg(picture: GdkPixbuf.Pixbuf, side: int) -> bytes:
    """Returns a small JPEG of a picture, with a grey background where it is transparent."""
    small = within(picture, side)
    width, height = small.get_width(), small.get_height()
    if small.get_has_alpha():
        small = small.composite_color_simple(
            width, height, GdkPixbuf.InterpType.NEAREST, 255, 16, 0x999999, 0x999999
        )
    return bytes(small.save_to_bufferv("jpeg", ["quality"], ["85"])[1])


def png(picture: GdkPixbuf.Pixbuf) -> bytes:
    """Returns a picture as a PNG file."""
    return bytes(picture.save_to_bufferv("png", [], [])[1])
