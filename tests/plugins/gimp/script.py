"""Runs in GIMP's own Python and calls the plugin as a script does."""

import os
import pathlib
import signal
import sys
import threading
import time

import pieces
from exchange import GIVEN, TOLD
from gi.repository import Gegl, Gimp, Gio

Gegl.init(None)
FORMAT = "R'G'B'A u8"


def opened(name):
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(f"/share/{name}"))


def pixels(drawable, format=FORMAT):
    box = Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height())
    return bytes(drawable.get_buffer().get(box, 1.0, format, Gegl.AbyssPolicy.NONE))


def stylize(image, layers=None, **settings):
    """Calls the plugin as a script does; what it returned, and the image as it is then."""
    layers = image.get_layers()[:1] if layers is None else layers
    before = {layer.get_name(): pixels(layer) for layer in image.get_layers()}
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-impasto-stylize")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", layers)
    given = {"server": GIVEN["server"], "token-file": "/share/token", "effort": "draft", **settings}
    for name, value in given.items():
        config.set_property(name, value)
    began = time.monotonic()
    values = procedure.run(config)
    status = values.index(0)
    told = {
        "status": status.value_nick,
        "sentence": "" if status == Gimp.PDBStatusType.SUCCESS else Gimp.get_pdb().get_last_error(),
        "seconds": time.monotonic() - began,
        "layers": [layer.get_name() for layer in image.get_layers()],
        "untouched": all(
            pixels(layer) == before[layer.get_name()]
            for layer in image.get_layers()
            if layer.get_name() in before
        ),
    }
    if status == Gimp.PDBStatusType.SUCCESS:
        layer = values.index(1)
        _, x, y = layer.get_offsets()
        mask = layer.get_mask()
        kept = layer.get_parasite("impasto")
        told["layer"] = {
            "name": layer.get_name(),
            "box": [x, y, layer.get_width(), layer.get_height()],
            "mask": list(pixels(mask, "Y' u8")) if mask else None,
            "pixels": pixels(layer).hex(),
            "kept": bytes(kept.get_data()).decode() if kept else "",
            "grey": layer.is_gray(),
        }
    return told


TOLD["python"] = sys.version
TOLD["gimp"] = Gimp.version()

image = opened("photo.png")
TOLD["whole"] = stylize(image, style="/share/style.png")

image = opened("photo.png")
image.select_ellipse(Gimp.ChannelOps.REPLACE, 10, 5, 24, 20)
Gimp.Selection.feather(image, 6)
_, _, x1, y1, x2, y2 = Gimp.Selection.bounds(image)
TOLD["bounds"] = [x1, y1, x2 - x1, y2 - y1]
TOLD["selection"] = stylize(image, style="waves", seed=3, strength=80)

# A layer that reaches beyond the image, grey, in 16 bits; painted smaller than it is.
image = opened("photo.png")
image.convert_grayscale()
image.convert_precision(Gimp.Precision.U16_NON_LINEAR)
layer = image.get_layers()[0]
layer.set_offsets(-8, 4)
TOLD["grey"] = stylize(image, style="styles/waves", size=24, color="luminance")
TOLD["grey precision"] = image.get_precision().value_nick

image = opened("photo.png")
stopped = GIVEN["stopped"]
TOLD["refused"] = {
    "no style": stylize(image, style=" "),
    "no file": stylize(image, style="/share/none.png"),
    "no image": stylize(image, style="/share/token"),
    "no such name": stylize(image, style="sunflowers"),
    "no server": stylize(image, style="waves", server=stopped),
    "no address": stylize(image, style="waves", server=""),
    "no port": stylize(image, style="waves", server="127.0.0.1:what"),
    "no token": stylize(image, style="waves", **{"token-file": ""}),
    "wrong token": stylize(image, style="waves", **{"token-file": "/share/wrong"}),
    "no token file": stylize(image, style="waves", **{"token-file": "/share/none"}),
    "plaintext": stylize(image, style="waves", server="192.0.2.1"),
    "certificates": stylize(image, style="waves", tls=True, **{"ca-file": "/share/none.pem"}),
}
image.select_rectangle(Gimp.ChannelOps.REPLACE, 40, 0, 8, 8)
image.get_layers()[0].set_offsets(-20, 0)
TOLD["refused"]["beside"] = stylize(image, style="waves")
Gimp.Selection.none(image)
channel = Gimp.Channel.new_from_component(image, Gimp.ChannelType.RED, "red")
image.insert_channel(channel, None, 0)
TOLD["refused"]["channel"] = stylize(image, [channel], style="waves")
layer = image.get_layers()[0]
layer.add_alpha()
layer.edit_clear()
TOLD["refused"]["transparent"] = stylize(image, style="waves")

# The painting is the active layer: its source is painted.
image = opened("photo.png")
stylize(image, style="waves")
TOLD["second"] = stylize(image, image.get_layers()[:1], style="waves", seed=1)

# In 16 bits.
image = opened("photo.png")
image.convert_precision(Gimp.Precision.U16_NON_LINEAR)
before = image.get_layers()[0]
TOLD["deep"] = stylize(image, style="waves", **{"stroke-size": 200, "evaluations": 3})
TOLD["deep levels"] = len(set(memoryview(pixels(image.get_layers()[0], "R'G'B'A u16")).cast("H")))

TOLD["pieces"] = pieces.check()


# GIMP's own Cancel kills the plug-in.


def kill():
    import impasto

    with impasto.Client(GIVEN["server"], token=pathlib.Path("/share/token").read_text().strip()) as client:
        while not (running := [job for job in client.jobs(["running"]) if job.progress]):
            time.sleep(0.1)
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            command = (process / "cmdline").read_bytes()
            if b"impasto.py" in command and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        began = time.monotonic()
        while not (job := client.job(running[0].name)).is_final and time.monotonic() < began + 60:
            time.sleep(0.1)
        TOLD["killed"] = {"state": job.state, "seconds": time.monotonic() - began}


image = opened("photo.png")
killer = threading.Thread(target=kill)
killer.start()
TOLD["kill"] = stylize(image, style="waves", effort="fine", evaluations=10000)
killer.join()
