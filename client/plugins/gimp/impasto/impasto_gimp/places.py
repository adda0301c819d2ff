"""Notes about where a result goes, checked: they may come from another person's image."""

from __future__ import annotations

import base64
from typing import Any

SAMPLES = 24
"""Pieces of the picture by which it is found again after the image was cropped."""
SAMPLE_WIDTH = 48
MOST_SIDE = 2**20
"""Sides and coordinates are less than this many pixels; GIMP's images are smaller."""
TEXTS = ("document", "file", "title", "kind", "to", "source", "mask")


def checked(place: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """Returns the notes of `Part.place`, without what makes no sense in them.

    Without a box that makes sense, the result is a new image.

    Args:
        width, height: size of the result.
    """
    kept: dict[str, Any] = {name: place[name] for name in TEXTS if isinstance(place.get(name), str)}
    kept.update(image=place.get("image"), grey=place.get("grey") is True)
    box, size = place.get("box"), place.get("size")
    if not _is_box(box) or not _is_size(size):
        alone = {"to": "image", "box": [0, 0, width, height], "size": [width, height], "mask": ""}
        return {**kept, **alone}
    kept.update(box=box, size=size)
    layer = place.get("layer")
    if isinstance(layer, dict) and _is_box(layer.get("box")):
        samples = layer.get("samples")
        kept["layer"] = {
            "tattoo": layer.get("tattoo"),
            "box": layer["box"],
            "samples": list(filter(_is_sample, samples[:SAMPLES])) if isinstance(samples, list) else [],
        }
    return kept


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value[:2])) and _is_size(value[2:])


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(_is_number(side) and side > 0 for side in value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -MOST_SIDE < value < MOST_SIDE


def _is_sample(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 3 and isinstance(value[2], str)):
        return False
    try:
        data = base64.b64decode(value[2])
    except ValueError:
        return False
    # What is plain could be anywhere, and would be looked for without end.
    is_pixels = len(data) % 4 == 0 and len(data) <= 4 * SAMPLE_WIDTH and len(set(data)) > 8
    return all(map(_is_number, value[:2])) and is_pixels
