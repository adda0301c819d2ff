"""Runs in GIMP's own Python and uses the dialog by keyboard, as people do."""

import glob
import pathlib
import subprocess
import sys
import threading
import time
import traceback

from exchange import GIVEN, TOLD
from gi.repository import Gegl, Gimp

sys.path[:0] = glob.glob("/share/home/.config/GIMP/3.0/plug-ins/impasto")
import impasto  # noqa: E402

Gegl.init(None)
TITLE = "^Paint in a Style$"
PATIENCE = 120
client = impasto.Client(GIVEN["server"], token=pathlib.Path("/share/token").read_text().strip())


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


def dialog():
    found = x("search", "--onlyvisible", "--name", TITLE)
    return found[0] if found else ""


def key(*names):
    window = until(dialog, "the dialog is there")
    x("windowactivate", "--sync", window)
    for name in names:
        x("key", "--clearmodifiers", name)
        time.sleep(0.1)


def picture(name):
    time.sleep(0.4)
    subprocess.run(
        ["import", "-window", until(dialog, "the dialog is there"), f"/share/{name}.png"], check=True
    )


def newest():
    return next(client.jobs(), None)


def begun(before, evaluations=1):
    """Waits until another job than this one has come so far."""

    def look():
        job = newest()
        new = job is not None and job.name != before and job.progress is not None
        return job if new and job.progress.evaluation >= evaluations else None

    return until(look, "the painting has begun")


def cancelled(job):
    until(lambda: client.job(job.name).is_final, "the server knows that it is cancelled")
    return client.job(job.name).state


def interact(image, steps, mode=Gimp.RunMode.INTERACTIVE, **settings):
    """Calls the plugin as the menu does, while the steps use its dialog."""
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-impasto-stylize")
    config = procedure.create_config()
    config.set_property("run-mode", mode)
    config.set_property("image", image)
    config.set_core_object_array("drawables", image.get_layers()[:1])
    for name, value in settings.items():
        config.set_property(name, value)
    wrong = []

    def use():
        try:
            steps()
            until(lambda: not dialog(), "the dialog is gone")
        except BaseException:
            wrong.append(traceback.format_exc())
            subprocess.run(["import", "-window", "root", "/share/wrong.png"])
            while window := dialog():
                x("windowactivate", "--sync", window, "key", "Escape")
                time.sleep(1)

    user = threading.Thread(target=use)
    user.start()
    values = procedure.run(config)
    user.join()
    if wrong:
        raise AssertionError(wrong[0])
    return values.index(0).value_nick


def names(image):
    return [layer.get_name() for layer in image.get_layers()]


def kept(image):
    """How the uppermost layer was made."""
    return bytes(image.get_layers()[0].get_parasite("impasto").get_data()).decode()


def pixels(layer):
    box = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return bytes(layer.get_buffer().get(box, 1.0, "R'G'B'A u8", Gegl.AbyssPolicy.NONE))


# Opened by GIMP itself: what a script opens cannot be undone.
(image,) = Gimp.get_images()
until(lambda: x("search", "--onlyvisible", "--name", "GIMP$"), "GIMP's window is there")
was = pixels(image.get_layers()[0])
chosen = {
    "server": GIVEN["server"],
    "token-file": "/share/token",
    "style": GIVEN["style"],
    "size": 512,
    "strength": 30,
    "effort": "standard",
}

# Nobody there: the dialog says so, and stays.


def nobody():
    time.sleep(2)
    key("alt+p")
    time.sleep(2)
    picture("nobody")
    key("Escape")


TOLD["nobody"] = interact(image, nobody, **{**chosen, "server": GIVEN["stopped"]})
TOLD["nobody layers"] = names(image)

# Cancel, look again, and let it paint to the end.
seen = {}


def cancel_then_paint():
    time.sleep(1.5)
    picture("ready")
    key("alt+p")
    seen["first"] = begun("", evaluations=74)
    picture("painting")
    key("Escape")
    TOLD["after cancel"] = cancelled(seen["first"])
    picture("cancelled")
    # Smaller, so that it is done soon.
    key("alt+z", "ctrl+a")
    x("type", str(GIVEN["small"]))
    key("Tab", "alt+p")


TOLD["painted"] = interact(image, cancel_then_paint, **chosen)
TOLD["layers"] = names(image)
TOLD["kept"] = kept(image)
TOLD["own layer as it was"] = pixels(image.get_layers()[-1]) == was
painted = pixels(image.get_layers()[0])

# One step back, and forth.
for welcome in x("search", "--onlyvisible", "--name", "^Welcome to GIMP"):
    x("windowactivate", "--sync", welcome, "key", "--clearmodifiers", "alt+F4")
time.sleep(1)
window = x("search", "--onlyvisible", "--name", "GIMP$")[0]


def press(keys):
    """Presses keys that change the layers."""
    before = names(image)
    x("windowactivate", "--sync", window)
    # Escape gives the canvas the keyboard; nothing tells when it has it.
    x("key", "--clearmodifiers", "Escape")
    time.sleep(1)
    x("key", "--clearmodifiers", keys)
    until(lambda: names(image) != before, f"{keys} changes the layers")


press("ctrl+z")
TOLD["undone"] = names(image)
TOLD["own layer after undo"] = pixels(image.get_layers()[0]) == was
press("ctrl+y")
TOLD["redone"] = names(image)
TOLD["result after redo"] = pixels(image.get_layers()[0]) == painted
press("ctrl+z")

# What was chosen last is chosen again.
TOLD["again"] = interact(image, lambda: None, Gimp.RunMode.WITH_LAST_VALS)
TOLD["again layers"] = names(image)
TOLD["again kept"] = kept(image)

# Closing the window cancels, too.
count = len(names(image))


def close_while_painting():
    # What was chosen last stands in the dialog.
    last = newest().name
    key("alt+p")
    seen["closed"] = begun(last)
    key("alt+F4")
    TOLD["after closing"] = cancelled(seen["closed"])


TOLD["closed"] = interact(image, close_while_painting)

TOLD["layers at the end"] = len(names(image)) - count
client.close()
