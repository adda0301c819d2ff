"""Runs in GIMP's own Python and uses the dialog by keyboard, as people do."""

import json
import pathlib
import subprocess
import sys
import threading
import time
import traceback

from exchange import GIVEN, TOLD
from gi.repository import Gegl, Gimp

sys.path.insert(0, "/share/home/.config/GIMP/3.0/plug-ins/impasto")
sys.modules.pop("impasto", None)
import impasto  # noqa: E402

Gegl.init(None)
TITLE = "^Paint in a Style$"
PATIENCE = 120
KEPT = pathlib.Path("/share/home/.local/share/impasto/gimp")
TOKEN = pathlib.Path("/share/token").read_text().strip()
client = impasto.Client(GIVEN["server"], token=TOKEN)


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


def kept(name):
    """What the plugin stores under a name."""
    try:
        return json.loads((KEPT / name).read_text())
    except (OSError, ValueError):
        return {}


def enter(field, text):
    """Types into the field with this key."""
    key(field, "ctrl+a")
    x("type", str(text))
    key("Tab")


def paint(evaluations=1):
    """Paints, as soon as the dialog has a server and a style; returns the job."""
    last = newest()

    def pressed():
        key("alt+p")
        for _ in range(30):
            job = newest()
            if job is not None and (last is None or job.name != last.name):
                return job
            time.sleep(0.1)
        return None

    name = until(pressed, "an order arrives").name

    def look():
        job = client.job(name)
        return job if job.is_final or (job.progress and job.progress.evaluation >= evaluations) else None

    return until(look, "the painting has begun")


def becomes(job, is_so, what):
    return until(lambda: is_so(client.job(job.name)), what)


def ended(job):
    """Waits until a job has ended, and returns its state."""
    becomes(job, lambda job: job.is_final, "the job has ended")
    return client.job(job.name).state


def arrived(job):
    """Waits until the picture of a job is in the history."""

    def there():
        return any(
            kept(f"history/{id}.json").get("job") == job.name for id in kept("history.json").get("ids", [])
        )

    until(there, "the picture has arrived")
    # It is placed in the same turn of the dialog's loop.
    time.sleep(1)


def interact(image, steps, mode=Gimp.RunMode.INTERACTIVE):
    """Calls the plugin as the menu does, while the steps use its dialog. They must not call GIMP."""
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-impasto-stylize")
    config = procedure.create_config()
    config.set_property("run-mode", mode)
    config.set_property("image", image)
    config.set_core_object_array("drawables", image.get_layers()[:1])
    wrong = []

    def use():
        try:
            steps()
            until(lambda: not dialog(), "the dialog is gone")
        except BaseException:
            wrong.append(traceback.format_exc())
            subprocess.run(["import", "-window", "root", "/share/wrong.png"])
            for _ in range(10):
                if not (window := dialog()):
                    break
                x("windowactivate", "--sync", window, "key", "alt+F4")
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


def kept_with(image, at=0):
    """How a layer was made."""
    return bytes(image.get_layers()[at].get_parasite("impasto").get_data()).decode()


def pixels(layer):
    box = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return bytes(layer.get_buffer().get(box, 1.0, "R'G'B'A u8", Gegl.AbyssPolicy.NONE))


# Opened by GIMP itself: what a script opens cannot be undone.
(image,) = Gimp.get_images()
until(lambda: x("search", "--onlyvisible", "--name", "GIMP$"), "GIMP's window is there")
TOLD["size"] = [image.get_width(), image.get_height()]
was = pixels(image.get_layers()[0])

# Nothing is entered: the server's settings are open. What is entered is kept, although nothing is painted.


def nobody():
    until(dialog, "the dialog is there")
    time.sleep(3)
    picture("nobody")
    key("alt+v", "ctrl+a")
    x("type", GIVEN["server"])
    key("alt+k", "ctrl+a")
    x("type", TOKEN)
    key("Return")
    until(lambda: kept("server.json").get("token") == TOKEN, "the server is kept")
    enter("alt+z", 512)
    enter("alt+s", 30)
    until(lambda: kept("dialog.json").get("choices", {}).get("strength") == 30, "the strength is kept")
    until(lambda: kept("dialog.json").get("styles"), "the style is kept")
    key("Escape")


TOLD["nobody"] = interact(image, nobody)
TOLD["nobody layers"] = names(image)

# Steer, pause, cancel; then let it paint to the end.
seen = {}


def steer_cancel_paint():
    time.sleep(1.5)
    picture("ready")
    seen["first"] = job = paint(evaluations=3)
    enter("alt+s", 80)
    weight = job.recipe.content_weight
    becomes(job, lambda job: job.recipe.content_weight < weight, "it is steered")
    TOLD["steered"] = client.job(job.name).recipe.content_weight
    key("alt+u")
    becomes(job, lambda job: job.state == "paused", "it is paused")
    picture("paused")
    key("alt+u")
    becomes(job, lambda job: job.state == "running", "it is resumed")
    becomes(job, lambda job: job.progress.evaluation > 40, "it has come far enough for a picture")
    picture("painting")
    key("Escape")
    TOLD["after cancel"] = ended(job)
    picture("cancelled")
    # Smaller, so that it is done soon.
    enter("alt+s", 30)
    enter("alt+z", GIVEN["small"])
    seen["whole"] = job = paint()
    TOLD["painted job"] = ended(job)
    arrived(job)
    picture("painted")
    key("Escape")


TOLD["painted"] = interact(image, steer_cancel_paint)
TOLD["layers"] = names(image)
TOLD["kept"] = kept_with(image)
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

# Two at once; the painting is the active layer, and each gets a seed of its own.


def two():
    first = paint()
    second = paint()
    picture("queue")
    TOLD["two"] = [ended(first), ended(second)]
    arrived(first)
    arrived(second)
    key("alt+h")
    time.sleep(1)
    picture("history")
    # For the repetition: long enough for a heartbeat of the server.
    enter("alt+z", 384)
    key("Escape")


TOLD["queue"] = interact(image, two)
TOLD["queue layers"] = names(image)
history = json.loads(bytes(image.get_parasite("impasto-history").get_data()))
TOLD["history in the image"] = [entry["choices"]["seed"] for entry in history["entries"]]
TOLD["queue kept"] = [json.loads(kept_with(image, at)) for at in (0, 1)]

# What was chosen last is chosen again.
TOLD["again"] = interact(image, lambda: None, Gimp.RunMode.WITH_LAST_VALS)
TOLD["again error"] = Gimp.get_pdb().get_last_error()
TOLD["again layers"] = names(image)
TOLD["again kept"] = kept_with(image)

# The dialog is closed while it paints: the painting goes on, and is offered the next time.


def close_while_painting():
    enter("alt+z", 128)
    seen["closed"] = paint()
    key("alt+F4")


TOLD["closed"] = interact(image, close_while_painting)
count = len(names(image))
TOLD["after closing"] = ended(seen["closed"])


def found():
    time.sleep(3)
    picture("found")
    key("alt+" + GIVEN["put"])
    arrived(seen["closed"])
    key("Escape")


TOLD["found"] = interact(image, found)
TOLD["found layers"] = len(names(image)) - count

# The image is closed while it is painted: the picture is a new image. The menu calls the plugin here: a
# script's call would keep the image.


def from_menu():
    x("windowactivate", "--sync", window)
    x("key", "--clearmodifiers", "Escape")
    time.sleep(1)
    # GIMP's search for commands.
    x("key", "--clearmodifiers", "slash")
    time.sleep(1)
    x("type", "--delay", "60", "Paint in a Style")
    time.sleep(1)
    x("key", "Return")
    until(dialog, "the dialog is there")


def closing():
    """GIMP's question whether to close the image."""
    return x("search", "--onlyvisible", "--name", "^Close ")


from_menu()
enter("alt+z", 512)
job = paint()
x("windowactivate", "--sync", window, "key", "--clearmodifiers", "ctrl+w")
asked = until(closing, "GIMP asks whether to close the image")[0]
# "Discard Changes"
x("windowactivate", "--sync", asked, "key", "--clearmodifiers", "alt+d")
until(lambda: not image.is_valid(), "the image is closed")
TOLD["image closed, job"] = client.job(job.name).state
arrived(job)
key("Shift_L")
picture("image closed")
until(Gimp.get_images, "there is a new image")
TOLD["images then"] = [[other.get_width(), other.get_height()] for other in Gimp.get_images()]
key("Escape")
until(lambda: not dialog(), "the dialog is gone")
client.close()
