"""GIMP's image: the part of a layer to paint, and the new layer with the result."""

import dataclasses
import json

from gi.repository import GdkPixbuf, Gegl, Gimp, GLib

from impasto.recipe import RawPixels

FORMAT = "R'G'B'A u8"
"""8-bit sRGB with straight alpha. GEGL converts to and from the image's own format."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished picture.

    Attributes:
        png: the picture as a PNG, at the size at which it was painted.
        name: name of the new layer.
        made: how it was made, as JSON values; stored with the layer.
    """

    png: bytes = dataclasses.field(repr=False)
    name: str
    made: dict


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a layer to paint: all of it, or the selected part.

    Attributes:
        image, layer: where it is.
        x, y, width, height: the box around it, in the layer's pixels.
        pixels: the pixels of the box.
        title: the image's name.
    """

    image: Gimp.Image
    layer: Gimp.Layer
    x: int
    y: int
    width: int
    height: int
    pixels: GdkPixbuf.Pixbuf
    title: str

    @classmethod
    def of(cls, image, drawables):
        """Reads the part from an image.

        Raises:
            ValueError: there is not exactly one layer to paint; the message is a sentence for people.
        """
        if len(drawables) != 1 or not isinstance(drawables[0], Gimp.Layer):
            raise ValueError("Choose one layer to paint, not a mask, a channel or several layers.")
        (layer,) = drawables
        meets, x, y, width, height = layer.mask_intersect()
        if not meets:
            raise ValueError(
                "Nothing of this layer is selected. Select a part of it, or remove the selection."
            )
        box = Gegl.Rectangle.new(x, y, width, height)
        data = layer.get_buffer().get(box, 1.0, FORMAT, Gegl.AbyssPolicy.NONE)
        pixels = pixbuf(bytes(data), width, height)
        return cls(image, layer, x, y, width, height, pixels, image.get_name()[:200])

    def scaled(self, width, height):
        """Returns the pixels at another size. May be used from any thread."""
        shrunk = self.pixels
        if (width, height) != (self.width, self.height):
            shrunk = shrunk.scale_simple(width, height, GdkPixbuf.InterpType.HYPER)
        return RawPixels(width, height, rows(shrunk))


def pixbuf(rgba, width, height):
    """Returns rows of RGBA as a pixbuf."""
    return GdkPixbuf.Pixbuf.new_from_bytes(
        GLib.Bytes.new(rgba), GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width
    )


def rows(picture):
    """Returns a pixbuf as rows of RGBA without padding."""
    if not picture.get_has_alpha():
        picture = picture.add_alpha(False, 0, 0, 0)
    width, stride = 4 * picture.get_width(), picture.get_rowstride()
    data = picture.read_pixel_bytes().get_data()
    if stride == width:
        return bytes(data[: width * picture.get_height()])
    return b"".join(data[row : row + width] for row in range(0, stride * picture.get_height(), stride))


def decode(data):
    """Returns a coded picture as a pixbuf.

    Raises:
        GLib.Error: GdkPixbuf cannot read it.
    """
    loader = GdkPixbuf.PixbufLoader()
    try:
        loader.write(data)
    finally:
        # An unclosed loader logs a warning. `write` has raised the error, if there is one.
        try:
            loader.close()
        except GLib.Error:
            if loader.get_pixbuf() is None:
                raise
    return loader.get_pixbuf()


def place(part, painted):
    """Adds the result as a new layer above the painted one, in one undo step.

    Returns:
        The new layer.
    """
    image, below = part.image, part.layer
    picture = decode(painted.png)
    if (picture.get_width(), picture.get_height()) != (part.width, part.height):
        picture = picture.scale_simple(part.width, part.height, GdkPixbuf.InterpType.BILINEAR)
    grey = image.get_base_type() == Gimp.ImageBaseType.GRAY
    kind = Gimp.ImageType.GRAYA_IMAGE if grey else Gimp.ImageType.RGBA_IMAGE
    layer = Gimp.Layer.new(image, painted.name, part.width, part.height, kind, 100.0, Gimp.LayerMode.NORMAL)
    buffer = layer.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, part.width, part.height), FORMAT, rows(picture))
    buffer.flush()
    made = json.dumps(painted.made).encode()
    layer.attach_parasite(Gimp.Parasite.new("impasto", Gimp.PARASITE_PERSISTENT, made))
    _, left, top = below.get_offsets()
    layer.set_offsets(left + part.x, top + part.y)
    image.undo_group_start()
    try:
        image.insert_layer(layer, below.get_parent(), image.get_item_position(below))
        if not Gimp.Selection.is_empty(image):
            layer.add_mask(layer.create_mask(Gimp.AddMaskType.SELECTION))
    finally:
        image.undo_group_end()
    layer.update(0, 0, part.width, part.height)
    Gimp.displays_flush()
    return layer
