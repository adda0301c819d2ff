"""GIMP's images and layers: which document an image is, and how a layer of Impasto's was made."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from gi.repository import Gimp

from impasto.hosts.foreign import foreign_json

MADE = "impasto"
"""Name of a layer's parasite that says how Impasto made it."""
DOCUMENT = "impasto-document"
"""Name of an image's parasite that tells it from all others, also after it was saved and opened again."""
GROUP = "impasto-paintings"
"""Name of the parasite of a group of paintings."""
HISTORY = "impasto-history"
"""Name of an image's parasite with the history of its paintings."""

MOST_BYTES = 2**20
"""Largest parasite of a layer that is read."""

MOST_KEY = 64
"""Characters of a document's key; this plugin's has 32."""


def read(item: Any, name: str) -> bytes:
    """Returns the data of a parasite of an image or a layer; nothing if it has none of the name."""
    parasite = item.get_parasite(name)
    return bytes(parasite.get_data()) if parasite is not None else b""


def write(item: Any, name: str, data: bytes) -> None:
    """Attaches a parasite, which is saved with the image. It is no step of undo."""
    item.attach_parasite(Gimp.Parasite.new(name, Gimp.PARASITE_PERSISTENT, data))


def key(image: Gimp.Image) -> str:
    """Returns the image's key as a document, which it gets with the first painting."""
    known = known_key(image)
    if not known:
        known = uuid.uuid4().hex
        write(image, DOCUMENT, known.encode())
    return known


def known_key(image: Gimp.Image) -> str:
    """Returns the image's key as a document; empty if it has none yet."""
    return read(image, DOCUMENT)[:MOST_KEY].decode(errors="replace")


def uri(image: Gimp.Image) -> str:
    """Returns where the image's file is; empty if it has none."""
    file = image.get_file()
    return file.get_uri() if file is not None else ""


def find(place: dict[str, Any]) -> Gimp.Image | None:
    """Returns the open image that a place is in; None if it is not open."""
    images = Gimp.get_images()
    same = [image for image in images if place.get("document") and known_key(image) == place["document"]]
    # A duplicate has the same key.
    for image in same:
        if image.get_id() == place.get("image"):
            return image
    if same:
        return same[0]
    # A picture that is no XCF loses its key when it is closed.
    file = place.get("file")
    return next((image for image in images if file and uri(image) == file), None)


def layers(image: Gimp.Image) -> Iterator[Gimp.Layer]:
    """Returns the layers of an image from the top, with those in groups."""
    waiting = list(image.get_layers())
    while waiting:
        layer = waiting.pop(0)
        yield layer
        if layer.is_group():
            waiting[:0] = layer.get_children()


def made(layer: Gimp.Layer) -> dict[str, Any] | None:
    """Returns how Impasto made a layer; None if it is not Impasto's."""
    data = read(layer, MADE)
    if not data:
        return None
    # Another person's image may have anything there.
    how = foreign_json(data, MOST_BYTES)
    return how if isinstance(how, dict) else {}


def with_tattoo(image: Gimp.Image, tattoo: Any) -> Gimp.Layer | None:
    """Returns the layer with a tattoo, GIMP's mark that lasts; None if it is gone."""
    layer = image.get_layer_by_tattoo(tattoo) if isinstance(tattoo, int) and 0 < tattoo < 2**32 else None
    return layer if layer is not None and layer.is_valid() else None


def bits(image: Gimp.Image) -> int:
    """Returns the bits per channel that a result for this image should have: 8 or 16."""
    eight = (
        Gimp.Precision.U8_LINEAR,
        Gimp.Precision.U8_NON_LINEAR,
        Gimp.Precision.U8_PERCEPTUAL,
    )
    return 8 if image.get_precision() in eight else 16
