"""GIMP as the controller sees it: GTK's main loop, pictures, and where results go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gi.repository import GdkPixbuf, GLib

from impasto.hosts import Painted
from impasto.hosts.shares import title_of
from impasto.job import Preview
from impasto.picture import CodedImage
from impasto_gimp import made, pictures, places, placing
from impasto_gimp.pictures import Pixels

THUMBNAIL = 256


class GimpHost:
    """GIMP as the controller sees it.

    Args:
        placed: called with each result that is in GIMP, and with its painting.
    """

    def __init__(self, placed: Callable[[placing.Placed, Painted], None]) -> None:
        self._placed = placed

    def post(self, call: Callable[[], None]) -> None:
        """Makes a call on the main thread, soon and in order."""
        GLib.idle_add(_once, call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Makes a call on the main thread after some seconds."""
        GLib.timeout_add(round(1000 * seconds), _once, call)

    def decode(self, preview: Preview, place: dict[str, Any]) -> GdkPixbuf.Pixbuf:
        """Returns a preview as a pixbuf."""
        return pictures.decode(preview.data)

    def decode_result(self, image: CodedImage, place: dict[str, Any]) -> Pixels:
        """Returns a result's pixels."""
        return Pixels(image.width, image.height, image.data, 16 if image.format == "rgba16" else 8)

    def thumbnail(self, picture: Pixels) -> bytes:
        """Returns a small JPEG of a result."""
        return pictures.jpeg(picture.pixbuf, THUMBNAIL)

    def place(self, painted: Painted) -> None:
        """Places a result; a new image takes it where its own is closed."""
        name = made.name([share.style.title for share in painted.styles], painted.choices)
        place = places.checked(painted.place, painted.picture.width, painted.picture.height)
        self._placed(placing.put(painted.picture, place, name, how(painted, place)), painted)


def how(painted: Painted, place: dict[str, Any]) -> dict[str, Any]:
    """Returns how a picture was made, as JSON values.

    Args:
        place: its notes about where it goes, checked.
    """
    recipe = {name: value for name, value in vars(painted.job.recipe).items() if value is not None}
    job = {"name": painted.job.name, "recipe": json.loads(json.dumps(recipe, default=str))}
    record = made.record(made.described(painted.styles), painted.choices, job, place)
    return {**record, "style": title_of(painted.styles), "id": painted.id}


def _once(call: Callable[[], None]) -> bool:
    call()
    return bool(GLib.SOURCE_REMOVE)
