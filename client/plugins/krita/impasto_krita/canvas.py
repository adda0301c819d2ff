"""Krita's documents: what is painted, and reading it. For the main thread only."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import zlib
from collections.abc import Iterator
from typing import Any

from krita import Krita

from impasto.hosts.translate import _
from impasto_krita import landmarks, nodes, notes, pixels
from impasto_krita.qt import QtCore, QtGui

PROFILE = "sRGB-elle-V2-srgbtrc.icc"
SRGB = ("RGBA", "U8", PROFILE)
SRGB_16 = ("RGBA", "U16", PROFILE)

Box = tuple[int, int, int, int]
"""x, y, width and height in pixels of the document."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What is painted of a document.

    Attributes:
        layer: the layer; None for all that is visible.
        above: the layer that the result goes above; None for the top.
        all: whether Impasto's own layers are painted too.
    """

    layer: Any = None
    above: Any = None
    all: bool = False

    @property
    def id(self) -> str:
        """The layer's identifier; empty for all that is visible."""
        return "" if self.layer is None else nodes.id_of(self.layer)


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a document.

    Attributes:
        box: the rectangle around it.
        mask: how far each pixel is selected, 0 to 255, row by row; empty if there is no selection, so that
            all is painted.
    """

    box: Box
    mask: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def key(self) -> str:
        """The same for the same region."""
        return f"{self.box} {zlib.crc32(self.mask)}"


def space(bits: int) -> tuple[str, str, str]:
    """Returns the colour space of results with so many bits per channel."""
    return SRGB_16 if bits == 16 else SRGB


def bits_of(document: Any) -> int:
    """Returns how many bits per channel a result for a document has: 16 if the document has more than 8."""
    return 8 if document.colorDepth() == "U8" else 16


def source_of(document: Any, active: Any, content: str) -> Source:
    """Returns what is painted.

    A mask stands for its layer. Impasto's own layer stands for what it was painted from, so that a second
    painting does not paint the first.

    Args:
        active: the active node; None if there is none.
        content: "visible", "everything" or "layer".

    Raises:
        ValueError: the layer's source is gone; the message is a sentence for people.
    """
    if content != "layer":
        return Source(all=content == "everything")
    layer = nodes.layer_of(active)
    if layer is None:
        return Source()
    painted = notes.of_layer(document, layer)
    if painted is None:
        return Source(layer, layer)
    id = str(painted.get("source", ""))
    source = nodes.find(document, id)
    if id and source is None:
        raise ValueError(
            _("The layer that “{name}” was painted from is gone. Choose another layer.").format(
                name=layer.name()
            )
        )
    return Source(source, layer)


def region(document: Any, layer: Any = None) -> Region:
    """Returns the region to paint: the selection, else all of the document or of a layer.

    Raises:
        ValueError: it is empty; the message is a sentence for people.
    """
    selection = document.selection()
    box = selected_box(document, layer)
    if selection is not None:
        mask = bytes(selection.pixelData(*box)) if box is not None else b""
        if box is None or not mask.strip(b"\0"):
            raise ValueError(
                _("Nothing in the picture is selected. Select something, or remove the selection.")
            )
        return Region(box, mask)
    if box is None:
        raise ValueError(
            _("The layer “{name}” is empty. Paint on it, or choose another one.").format(name=layer.name())
        )
    return Region(box)


def selected_box(document: Any, layer: Any = None) -> Box | None:
    """Returns the box of `region` without reading the mask; None if it is empty."""
    whole = QtCore.QRect(0, 0, document.width(), document.height())
    selection = document.selection()
    if selection is not None:
        selected = QtCore.QRect(selection.x(), selection.y(), selection.width(), selection.height())
        bounds = selected.intersected(whole)
    else:
        bounds = whole if layer is None else layer.bounds().intersected(whole)
    return None if bounds.isEmpty() else _box(bounds)


def check_shown(layer: Any) -> None:
    """Raises ValueError, with a sentence for people, if a layer is hidden."""
    if layer is not None and not nodes.is_shown(layer):
        raise ValueError(
            _("The layer “{name}” is hidden. Show it, or choose another one.").format(name=layer.name())
        )


def check_opaque(image: QtGui.QImage, region: Region) -> None:
    """Raises ValueError, with a sentence for people, if all that would be painted is transparent."""
    if not pixels.any_opaque(image, region.mask):
        raise ValueError(
            _("Everything here is hidden or transparent, so there is nothing to paint. Show a layer first.")
        )


def read(document: Any, box: Box, source: Source | None = None, *, bits: int = 8) -> QtGui.QImage:
    """Returns a part of a document in sRGB. Converts from any colour model.

    Args:
        source: what is read; None for all that is visible, Impasto's layers among it.
        bits: bits per channel, 8 or 16.
    """
    source = source or Source(all=True)
    document.waitForDone()
    ours = set() if source.all else notes.painted_layers(document) - {source.id}
    if not any(nodes.id_of(node) in ours and node.visible() for node in nodes.walk(document.rootNode())):
        return _read(document, box, source.layer, bits)
    if source.layer is not None and source.layer.type() == "paintlayer":
        return _read(document, box, source.layer, bits)
    # Hiding layers in the artist's document would flicker, and could be seen in its undo history.
    copy = document.clone()
    try:
        for node in nodes.walk(copy.rootNode()):
            if nodes.id_of(node) in ours:
                node.setVisible(False)
        copy.refreshProjection()
        copy.waitForDone()
        return _read(copy, box, nodes.find(copy, source.id), bits)
    finally:
        copy.setModified(False)
        copy.close()


def _read(document: Any, box: Box, layer: Any, bits: int) -> QtGui.QImage:
    source = document if layer is None else layer
    data = document.pixelData(*box) if layer is None else layer.projectionPixelData(*box)
    width, height = box[2:]
    found, wanted = (source.colorModel(), source.colorDepth(), source.colorProfile()), space(bits)
    if found != wanted:
        with sheet(found) as made:
            converted = made.createNode("impasto", "paintlayer")
            converted.setPixelData(data, 0, 0, width, height)
            converted.setColorSpace(*wanted)
            data = converted.pixelData(0, 0, width, height)
    return pixels.from_krita(bytes(data), width, height, bits)


def shape_of(document: Any, node: Any, box: Box) -> bytes:
    """Returns the shape of a layer, group or mask within a box: how far each pixel is inside, 0 to 255."""
    width, height = box[2:]
    if not nodes.is_mask(node):
        return pixels.alpha(_read(document, box, node, 8))
    # A mask's pixels are its own values, one byte each.
    data = bytes(node.pixelData(*box))
    return data if len(data) == width * height else bytes([255]) * (width * height)


@contextlib.contextmanager
def sheet(space: tuple[str, str, str]) -> Iterator[Any]:
    """A hidden document to make layers in. Converting a layer's colour space adds a step to its document's
    undo history, even if the layer was never added, so it must not happen in the artist's document.
    """
    made = Krita.instance().createDocument(1, 1, "impasto", *space, 72.0)
    try:
        yield made
    finally:
        made.setModified(False)
        made.close()


def place_of(
    document: Any, region: Region, source: Source, *, key: str, bits: int = 8, result: str = "above"
) -> dict[str, Any]:
    """Returns notes about where the picture of a region goes; they can be stored.

    Args:
        key: the document's key in the history.
        result: "above", "group" or "document": a layer above the source, a layer on top of its group, or a
            new document.
    """
    return {
        "path": document.fileName() or "",
        "document": name_of(document),
        "key": key,
        "size": [document.width(), document.height()],
        "box": list(region.box),
        "mask": pixels.packed(region.mask),
        "source": source.id,
        "above": "" if source.above is None else nodes.id_of(source.above),
        "bits": bits,
        "result": result,
        "landmarks": landmarks.of(document),
    }


def is_place(place: dict[str, Any]) -> bool:
    """Returns whether notes from another person's document can be used as those of `place_of`."""
    texts = ("path", "document", "key", "mask", "source", "above", "result")
    numbers = [*place.get("size", ()), *place.get("box", ())] if isinstance(place.get("box"), list) else []
    return (
        all(isinstance(place.get(name), str) for name in texts)
        and isinstance(place.get("size"), list)
        and len(place["size"]) == 2
        and len(numbers) == 6
        and all(isinstance(number, int) and -(2**20) < number < 2**20 for number in numbers)
        and min(*place["size"], *place["box"][2:]) > 0
        and place["box"][2] * place["box"][3] < 2**30
    )


def box_now(document: Any, place: dict[str, Any]) -> Box | None:
    """Returns the box of a picture in a document that may have been scaled or cropped since; None if it was
    turned, or nobody knows where the box is.
    """
    width, height = place["size"]
    x, y, w, h = place["box"]
    return landmarks.box_now(document, (x, y, w, h), (width, height), place.get("landmarks"))


def name_of(document: Any) -> str:
    """Returns a document's name for people."""
    return os.path.basename(document.fileName() or "") or document.name() or _("Untitled")


def is_open(document: Any) -> bool:
    """Returns whether a document is still open."""
    return document is not None and any(other == document for other in Krita.instance().documents())


def open_at(path: str) -> Any:
    """Returns the open document of a file; None if there is none."""
    for document in Krita.instance().documents():
        if path and document.fileName() and os.path.abspath(document.fileName()) == os.path.abspath(path):
            return document
    return None


def open_as(key: str) -> Any:
    """Returns the open document with a key in the history; None if there is none."""
    for document in Krita.instance().documents():
        if key and notes.stored_key(document) == key:
            return document
    return None


def opened(place: dict[str, Any]) -> Any:
    """Returns the open document of an earlier picture; None if it is not open.

    Copies of a file have the same key, so the one at its path comes first.
    """
    key, here = place.get("key", ""), open_at(place["path"])
    if here is not None and notes.stored_key(here) in ("", key):
        return here
    return open_as(key) or here


def target(place: dict[str, Any]) -> Any:
    """Returns the document for an earlier picture: opened again, or a new one of the same size."""
    document = opened(place)
    if document is not None:
        return document
    if os.path.isfile(place["path"]):
        document = Krita.instance().openDocument(place["path"])
        if document is not None:
            return shown(document)
    return shown(_new(place["size"], place))


def document_for(place: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Returns a new document for a picture alone, and the notes about its place there."""
    width, height = place["box"][2:]
    made = _new((width, height), place)
    alone = {
        "size": [width, height],
        "box": [0, 0, width, height],
        "above": "",
        "result": "above",
        "key": "",
        "landmarks": {},
    }
    return shown(made), {**place, **alone, "path": "", "source": ""}


def _new(size: Any, place: dict[str, Any]) -> Any:
    width, height = size
    name, wanted = place["document"], space(place.get("bits", 8))
    return Krita.instance().createDocument(width, height, name, *wanted, 72.0)


def shown(document: Any) -> Any:
    """Shows a document in the window; returns it."""
    window = Krita.instance().activeWindow()
    if window is not None:
        window.addView(document)
    return document


def _box(rect: QtCore.QRect) -> Box:
    return rect.x(), rect.y(), rect.width(), rect.height()
