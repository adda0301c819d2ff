"""Runs in GIMP's own Python, with its window: the first painting of an artist, undo, and a second go."""

import subprocess
import sys
import time

from exchange import GIVEN, TOLD
from gi.repository import Gegl, Gimp

PATIENCE = 120
STYLE = "starry-night"


def until(look, what):
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.1)
    return seen


def x(*command):
    """What xdotool prints; nothing where it waits in vain, as for a window that has just gone."""
    try:
        done = subprocess.run(["xdotool", *command], capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.split()


def names(image):
    return [layer.get_name() for layer in image.get_layers()]


def pixels(layer):
    box = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return bytes(layer.get_buffer().get(box, 1.0, "R'G'B'A u8", Gegl.AbyssPolicy.NONE))


def stylize(image):
    """Calls the plugin for the active layer, as the menu does, and gives what it says of a failure."""
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-impasto-stylize")
    if procedure is None:
        return "GIMP did not find the plugin"
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", image.get_selected_layers())
    config.set_property("server", GIVEN["server"])
    config.set_property("style", STYLE)
    status = procedure.run(config).index(0)
    return "" if status == Gimp.PDBStatusType.SUCCESS else f"{Gimp.get_pdb().get_last_error()} ({status})"


def press(image, keys):
    """Presses keys that change the layers."""
    before = names(image)
    window = x("search", "--onlyvisible", "--name", "GIMP$")[0]
    x("windowactivate", "--sync", window)
    # Escape gives the canvas the keyboard; nothing tells when it has it.
    x("key", "--clearmodifiers", "Escape")
    time.sleep(1)
    x("key", "--clearmodifiers", keys)
    until(lambda: names(image) != before, f"{keys} changes the layers")


Gegl.init(None)
TOLD["python"] = sys.version
TOLD["gimp"] = Gimp.version()
TOLD["folder"] = Gimp.directory()
# Opened by GIMP itself: what a script opens cannot be undone.
(image,) = until(Gimp.get_images, "the picture is open")
until(lambda: x("search", "--onlyvisible", "--name", "GIMP$"), "GIMP's window is there")
photo = pixels(image.get_layers()[0])
TOLD["before"] = names(image)

TOLD["first"] = stylize(image)
if not TOLD["first"]:
    TOLD["painted"] = names(image)
    painting = pixels(image.get_layers()[0])
    TOLD["painted anything"] = painting != photo

    # One step back, and forth.
    for welcome in x("search", "--onlyvisible", "--name", "^Welcome to GIMP"):
        x("windowactivate", "--sync", welcome, "key", "--clearmodifiers", "alt+F4")
    time.sleep(1)
    press(image, "ctrl+z")
    TOLD["undone"] = names(image)
    TOLD["as it was"] = pixels(image.get_layers()[0]) == photo
    press(image, "ctrl+y")
    TOLD["redone"] = names(image)
    TOLD["painted again"] = pixels(image.get_layers()[0]) == painting

    # The painting is the active layer now.
    image.set_selected_layers(image.get_layers()[:1])
    TOLD["again"] = stylize(image)
    TOLD["second"] = names(image)
