"""The reading and placing of pictures, called directly in GIMP's own Python: what no server is needed for."""

import struct
import sys

sys.path.insert(0, "/share/home/.config/GIMP/3.0/plug-ins/impasto")
# GIMP's own Python may have imported the plug-in's program by its name.
sys.modules.pop("impasto", None)

from gi.repository import Gimp, Gio, GLib  # noqa: E402
from impasto_gimp import content, images, pictures, places, placing  # noqa: E402


def opened(name="large.png"):
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(f"/share/{name}"))


def refused(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def ordered(image, box=(100, 50, 200, 120), kind="layer", to="above"):
    """A part of an image and the notes about it; nothing is selected afterwards."""
    if box:
        image.select_rectangle(Gimp.ChannelOps.REPLACE, *box)
    part = content.part(image, image.get_layers()[:1], kind)
    pixels = part.read(part.width, part.height)
    place = part.place(to)
    Gimp.Selection.none(image)
    return part, pixels, place


def made(place):
    layer = place.get("layer", {}).get("tattoo")
    source = {k: place[k] for k in ("kind", "document")} | {"layer": layer, "part": place["source"]}
    return {"source": source, "styles": [], "choices": {}}


def landed(image, pixels, place):
    """Where an unpainted result goes, and how far its pixels are from those below: 0 where it belongs."""
    layer = placing.put(pixels, place, "result", made(place), show=False).layer
    _, x, y = layer.get_offsets()
    width, height = layer.get_width(), layer.get_height()
    (below,) = (other for other in image.get_layers() if images.made(other) is None)
    _, left, top = below.get_offsets()
    a = content.read(layer, (0, 0, width, height), width, height, 8)
    b = content.read(below, (x - left, y - top, width, height), width, height, 8)
    off = sum(abs(i - j) for i, j in zip(a, b, strict=True)) / len(a)
    image.remove_layer(layer)
    return {"box": [x, y, width, height], "off": off}


def check():
    """Returns what comes of each case."""
    told = {}
    image = opened()
    _, pixels, place = ordered(image)
    told["same"] = landed(image, pixels, place)
    image.crop(250, 180, 80, 30)
    told["cropped"] = landed(image, pixels, place)
    image.delete()
    told["closed"] = placing.put(pixels, place, "result", made(place), show=False)
    alone = told["closed"]
    again = content.part(alone.image, [alone.layer])
    told["alone"] = {"told": again.told, "layer": again.layer.get_id() == alone.layer.get_id()}
    told["closed"] = {"told": told["closed"].told, "width": told["closed"].image.get_width()}

    image = opened()
    _, pixels, place = ordered(image)
    image.scale(image.get_width() * 2, image.get_height() * 2)
    told["scaled"] = landed(image, pixels, place)
    image.get_layers()[0].set_offsets(30, -20)
    told["scaled and moved"] = landed(image, pixels, place)
    image.delete()

    image = opened()
    _, pixels, place = ordered(image)
    image.flip(Gimp.OrientationType.HORIZONTAL)
    told["mirrored"] = landed(image, pixels, place)
    image.rotate(Gimp.RotationType.DEGREES180)
    told["upside down"] = landed(image, pixels, place)
    image.delete()

    image = opened()
    _, pixels, place = ordered(image)
    image.rotate(Gimp.RotationType.DEGREES90)
    told["turned"] = placing.put(pixels, place, "result", made(place), show=False).told
    image.delete()

    image = opened()
    _, pixels, place = ordered(image, kind="visible")
    image.crop(250, 180, 80, 30)
    told["visible, cropped"] = landed(image, pixels, place)
    image.delete()

    image = opened()
    image.convert_precision(Gimp.Precision.FLOAT_LINEAR)
    part, pixels, place = ordered(image, box=None)
    told["float"] = {**landed(image, pixels, place), "bits": pixels.bits}
    told["float, smaller"] = landed(image, part.read(part.width // 2, part.height // 2), place)
    image.delete()

    # A second go, from the painting itself, from its mask, and with the visible picture.
    image = opened()
    part, pixels, place = ordered(image)
    below = image.get_layers()[0]
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 100, 50, 200, 120)
    white = content.Pixels(8, 8, b"\xff" * 256)
    place = content.part(image, [below]).place("above")
    layer = placing.put(white, place, "result", made(place), show=False).layer
    again = content.part(image, [layer])
    told["again"] = {
        "layer": again.layer.get_name(),
        "source": again.source == content.part(image, [below]).source,
        "told": again.told,
        "mask": content.part(image, [layer.get_mask()]).layer.get_name(),
        "white left out": content.part(image, [], "visible").read(8, 8).rgba != white.rgba,
        "hidden still": layer.get_visible(),
    }
    Gimp.Selection.none(image)
    for other in image.get_layers():
        other.set_visible(False)
    told["all hidden"] = refused(lambda: content.part(image, [], "visible").read(8, 8))
    below.set_visible(True)
    below.add_alpha()
    below.edit_clear()
    told["transparent"] = refused(lambda: content.part(image, [below]).read(8, 8))
    group = Gimp.GroupLayer.new(image, "shut")
    image.insert_layer(group, None, 0)
    inner = Gimp.Layer.new(image, "inner", 40, 40, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(inner, group, 0)
    group.set_lock_position(True)
    locked = content.part(image, [inner])
    inner.fill(Gimp.FillType.WHITE)
    place = locked.place("above")
    layer = placing.put(locked.read(40, 40), {**place, "box": [5, 7, 20, 20]}, "result", made(place)).layer
    told["locked group"] = [layer.get_parent().get_name(), *layer.get_offsets()[1:], layer.get_width()]
    told["locked group's layers"] = [other.get_name() for other in group.get_children()]
    group.set_visible(False)
    told["hidden group"] = refused(lambda: content.part(image, [inner]))
    image.delete()

    # Groups of paintings, a new image, areas.
    image = opened()
    _, pixels, place = ordered(image)
    grouped = [placing.put(pixels, {**place, "to": "group"}, name, made(place)).layer for name in "ab"]
    told["groups"] = [layer.get_parent().get_name() for layer in grouped]
    told["layers with groups"] = [layer.get_name() for layer in images.layers(image)]
    told["from a group"] = content.part(image, [grouped[0].get_parent()]).layer.get_name()
    alone = placing.put(pixels, {**place, "to": "image"}, "alone", made(place), show=False)
    told["new image"] = [alone.image.get_id() != image.get_id(), alone.layer.get_width(), alone.told]
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 100, 50, 100, 120)
    shape = content.shape(image.get_selection(), image, (100, 50, 200, 120), 20, 12)
    told["selection's shape"] = [shape[5], shape[15]]
    group = grouped[0].get_parent()
    shape = content.shape(group, image, (0, 0, 400, 200), 40, 20)
    told["group's shape"] = [shape[10 * 40 + 20], shape[0]]
    image.delete()
    told.update(from_others())
    return told


def from_others():
    """What other people's images and files may have in them."""
    told = {}
    image = opened()
    _, pixels, place = ordered(image)
    wrong = (
        {},
        {**place, "box": [0, 0, 400000, 400000]},
        {**place, "box": [0, 0, 2**40, 1], "mask": 3},
        {**place, "layer": {"tattoo": 2**40, "box": [0, 0, 0, 0], "samples": 5}, "document": []},
        {**place, "layer": [], "size": "", "image": "1"},
    )
    told["wrong places"] = []
    for each in wrong:
        there = places.checked(each, pixels.width, pixels.height)
        placed = placing.put(pixels, there, "result", made({**place, **there}), show=False)
        told["wrong places"].append([placed.layer.get_width(), placed.layer.get_height()])
        if placed.image.get_id() == image.get_id():
            image.remove_layer(placed.layer)
        else:
            placed.image.delete()
    layer = image.get_layers()[0]
    told["wrong layers"] = []
    for data in (b"[" * 100_000, b'{"source": {"document": "", "layer": %d}}' % 2**40, b"{"):
        images.write(layer, images.MADE, data)
        told["wrong layers"].append(content.part(image, [layer]).told)
    image.delete()

    # A large layer is read at a smaller size, which shows the same.
    image = opened()
    small = content.read(image.get_layers()[0], (40, 20, 320, 240), 32, 24, 8)
    image.scale(2000, 1500)
    told["odd"] = len(content.read(image.get_layers()[0], (3, 7, 1003, 1301), 101, 129, 8)) // 4 / 101
    large = content.read(image.get_layers()[0], (200, 100, 1600, 1200), 32, 24, 8)
    told["large"] = sum(abs(i - j) for i, j in zip(small, large, strict=True)) / len(small)
    told["levels"] = len(set(large))
    image.delete()

    # The header of a picture may announce more than there is memory.
    header = struct.pack(">HHB", 65500, 65500, 1) + b"\1\x11\0"
    bomb = b"\xff\xd8\xff\xc0" + struct.pack(">H", len(header) + 3) + b"\x08" + header
    bomb += b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0" * 200
    try:
        told["enormous"] = pictures.decode(bomb).get_width()
    except GLib.Error as error:
        told["enormous"] = error.message
    told["enormous thumbnail"] = pictures.thumbnail(bomb, 64) is None
    return told
