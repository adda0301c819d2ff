"""GIMP's image: the part of a layer that is painted, and the new layer with the result."""

import dataclasses
import json

from gi.repository import GdkPixbuf, Gegl, Gimp, GLib

from impasto.recipe import RawPixels

FORMAT = "R'G'B'A u8"
"""8-bit sRGB with straight alpha, whatever the image is in: GEGL converts both ways."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished picture.

    Attributes:
        png: the picture, at the size at which it was painted.
        name: of the layer.
        made: how it was made, as JSON has it; kept with the layer.
    """

    png: bytes = dataclasses.field(repr=False)
    name: str
    made: dict


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a layer that is painted: all of it, or what is selected.

    Attributes:
        x, y, width, height: the box around it, in the layer's pixels.
        pixels: of the box.
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
        """Reads it from the image.

        Raises:
            ValueError: there is not one layer to be painted; the message is a sentence for people.
        """
        if len(drawables) != 1 or not isinstance(drawables[0], Gimp.Layer):
            raise ValueError("Choose one layer to be painted, not a mask or a channel, and not several.")
        (layer,) = drawables
        meets, x, y, width, height = layer.mask_intersect()
        if not meets:
            raise ValueError("Nothing of this layer is selected. Select a part of it, or nothing at all.")
        box = Gegl.Rectangle.new(x, y, width, height)
        data = layer.get_buffer().get(box, 1.0, FORMAT, Gegl.AbyssPolicy.NONE)
        pixels = pixbuf(bytes(data), width, height)
        return cls(image, layer, x, y, width, height, pixels, image.get_name()[:200])

    def scaled(self, width, height):
        """The pixels at a smaller size. On any thread."""
        shrunk = self.pixels
        if (width, height) != (self.width, self.height):
            shrunk = shrunk.scale_simple(width, height, GdkPixbuf.InterpType.HYPER)
        return RawPixels(width, height, rows(shrunk))


def pixbuf(rgba, width, height):
    """Rows of RGBA as a pixbuf."""
    return GdkPixbuf.Pixbuf.new_from_bytes(
        GLib.Bytes.new(rgba), GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width
    )


def rows(picture):
    """A pixbuf as rows of RGBA, without anything between them."""
    if not picture.get_has_alpha():
        picture = picture.add_alpha(False, 0, 0, 0)
    width, stride = 4 * picture.get_width(), picture.get_rowstride()
    data = picture.read_pixel_bytes().get_data()
    if stride == width:
        return bytes(data[: width * picture.get_height()])
    return b"".join(data[row : row + width] for row in range(0, stride * picture.get_height(), stride))


def decode(data):
    """A coded picture as a pixbuf.

    Raises:
        GLib.Error: it is none that GdkPixbuf reads.
    """
    loader = GdkPixbuf.PixbufLoader()
    try:
        loader.write(data)
    finally:
        # A loader that is not closed complains; what is wrong with the picture was said before.
        try:
            loader.close()
        except GLib.Error:
            if loader.get_pixbuf() is None:
                raise
    return loader.get_pixbuf()


def place(part, painted):
    """Adds the result as a new layer above the one that was painted: one step to undo.

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
