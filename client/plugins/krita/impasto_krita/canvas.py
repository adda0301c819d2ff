"""Krita's documents: reading from them, and the layer for a result. For the main thread only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from krita import Krita

from impasto.hosts import Painted
from impasto_krita import pixels
from impasto_krita.qt import QtCore, QtGui

SRGB = ("RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc")
ANNOTATION = "impasto"

Box = tuple[int, int, int, int]
"""x, y, width and height in pixels of the document."""


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


def region(document: Any, layer: Any = None) -> Region:
    """Returns the region to paint: the selection, else all of the document or of a layer.

    Raises:
        ValueError: it is empty; the message is a sentence for people.
    """
    whole = QtCore.QRect(0, 0, document.width(), document.height())
    selection = document.selection()
    if selection is not None:
        selected = QtCore.QRect(selection.x(), selection.y(), selection.width(), selection.height())
        box = _box(selected & whole)
        mask = bytes(selection.pixelData(*box)) if box[2] > 0 and box[3] > 0 else b""
        if not mask.strip(b"\0"):
            raise ValueError("Nothing in the picture is selected. Select something, or remove the selection.")
        return Region(box, mask)
    bounds = whole if layer is None else layer.bounds() & whole
    if bounds.isEmpty():
        raise ValueError("The layer is empty. Paint on it, or choose Visible picture as the content.")
    return Region(_box(bounds))


def selected_box(document: Any, layer: Any = None) -> Box | None:
    """Returns the box of `region` without reading the mask; None if it is empty."""
    whole = QtCore.QRect(0, 0, document.width(), document.height())
    selection = document.selection()
    if selection is not None:
        bounds = QtCore.QRect(selection.x(), selection.y(), selection.width(), selection.height()) & whole
    else:
        bounds = whole if layer is None else layer.bounds() & whole
    return None if bounds.isEmpty() else _box(bounds)


def read(document: Any, box: Box, layer: Any = None) -> QtGui.QImage:
    """Returns a part of the document, or of a layer, in 8-bit sRGB. Converts from any colour model."""
    document.waitForDone()
    source = document if layer is None else layer
    data = document.pixelData(*box) if layer is None else layer.projectionPixelData(*box)
    width, height = box[2:]
    space = source.colorModel(), source.colorDepth(), source.colorProfile()
    if space != SRGB:
        with _sheet(space) as sheet:
            converted = sheet.createNode("impasto", "paintlayer")
            converted.setPixelData(data, 0, 0, width, height)
            converted.setColorSpace(*SRGB)
            data = converted.pixelData(0, 0, width, height)
    return pixels.from_krita(bytes(data), width, height)


@contextlib.contextmanager
def _sheet(space: tuple[str, str, str]) -> Iterator[Any]:
    """A hidden document to make layers in. Converting a layer's colour space adds a step to its document's
    undo history, even if the layer was never added, so it must not happen in the artist's document.
    """
    sheet = Krita.instance().createDocument(1, 1, "impasto", *space, 72.0)
    try:
        yield sheet
    finally:
        sheet.setModified(False)
        sheet.close()


def place_of(document: Any, region: Region, layer: Any = None) -> dict[str, Any]:
    """Returns notes about where the picture of a region goes; they can be stored."""
    return {
        "path": document.fileName() or "",
        "document": name_of(document),
        "size": [document.width(), document.height()],
        "box": list(region.box),
        "mask": pixels.packed(region.mask),
        "above": "" if layer is None else layer.uniqueId().toString(),
    }


def name_of(document: Any) -> str:
    """Returns a document's name for people."""
    return os.path.basename(document.fileName() or "") or document.name() or "Untitled"


def is_open(document: Any) -> bool:
    """Returns whether a document is still open."""
    return document is not None and any(other == document for other in Krita.instance().documents())


def open_at(path: str) -> Any:
    """Returns the open document of a file; None if there is none."""
    for document in Krita.instance().documents():
        if path and document.fileName() and os.path.abspath(document.fileName()) == os.path.abspath(path):
            return document
    return None


def target(place: dict[str, Any]) -> Any:
    """Returns the document for an earlier picture: opened again, or a new one of the same size."""
    krita = Krita.instance()
    document = open_at(place["path"])
    if document is not None:
        return document
    document = krita.openDocument(place["path"]) if os.path.isfile(place["path"]) else None
    if document is None:
        document = krita.createDocument(*place["size"], place["document"], *SRGB, 72.0)
    window = krita.activeWindow()
    if window is not None:
        window.addView(document)
    return document


class Result:
    """The layer for a picture. It is added once, in one undo step; each later picture replaces its pixels.

    Krita handles events while it adds a layer, so the next preview, the result or a cancellation may arrive
    meanwhile. They are handled one after the other.

    Args:
        document: the document of the layer.
        place: the notes from `place_of`.
        name: name of the layer.
    """

    def __init__(self, document: Any, place: dict[str, Any], name: str) -> None:
        self.document = document
        self._place = place
        self._name = name
        self._layer: Any = None
        self._was_modified = True
        self._newest: QtCore.QByteArray | None = None
        self._about: dict[str, Any] | None = None
        self._unwanted = False
        self._at_work = False

    def show(self, bgra: QtCore.QByteArray) -> None:
        """Shows a preview, in pixels of the box's size, unless the artist has deleted the layer."""
        if self._layer is None or self._layer.parentNode() is not None:
            self._newest = bgra
            self._work()

    def finish(self, bgra: QtCore.QByteArray, name: str, about: dict[str, Any]) -> None:
        """Shows the finished picture, and stores in the document how it was made."""
        self._newest, self._name, self._about = bgra, name, about
        self._work()

    def take_away(self) -> None:
        """Removes the layer."""
        self._newest, self._unwanted = None, True
        self._work()

    def _work(self) -> None:
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._newest is not None:
                bgra, self._newest = self._newest, None
                self._write(bgra)
            if self._unwanted:
                self._remove()
            elif self._about is not None:
                self._note(self._about)
        finally:
            self._at_work = False

    def _write(self, bgra: QtCore.QByteArray) -> None:
        if self._layer is None or self._layer.parentNode() is None:
            self._was_modified = self.document.modified()
            with _sheet(SRGB) as sheet:
                drawn = sheet.createNode(self._name, "paintlayer")
                drawn.setPixelData(bgra, *self._place["box"])
                made = drawn.duplicate()
            made.setName(self._name)
            parent, above = self._where()
            parent.addChildNode(made, above)
            # `made` still refers to the hidden document: removing the layer through it would crash Krita.
            self._layer = next(node for node in parent.childNodes() if node.uniqueId() == made.uniqueId())
        else:
            self._layer.setPixelData(bgra, *self._place["box"])
        self.document.refreshProjection()

    def _note(self, about: dict[str, Any]) -> None:
        if self._layer.name() != self._name:
            self._layer.setName(self._name)
        notes = _notes(self.document)
        notes[self._layer.uniqueId().toString()] = about
        self.document.setAnnotation(
            ANNOTATION, "Impasto: how layers were painted", QtCore.QByteArray(json.dumps(notes).encode())
        )
        self.document.setActiveNode(self._layer)

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and is_open(self.document) and layer.parentNode() is not None:
            document = self.document
            document.waitForDone()
            layer.remove()
            document.waitForDone()
            if not self._was_modified:
                document.setModified(False)
                # Krita's pending events about the layer mark the document as modified again.
                QtCore.QTimer.singleShot(0, lambda: document.setModified(False))

    def _where(self) -> tuple[Any, Any]:
        """Returns the parent and the layer below the new one; None for the top."""
        wanted = self._place["above"]
        stack = [self.document.rootNode()] if wanted else []
        while stack:
            parent = stack.pop()
            for node in parent.childNodes():
                if node.uniqueId().toString() == wanted:
                    return parent, node
                stack.append(node)
        return self.document.rootNode(), None


def about(painted: Painted) -> dict[str, Any]:
    """Returns how a picture was made, to be stored with it."""
    job = painted.job
    recipe = {
        name: value for name, value in dataclasses.asdict(job.recipe).items() if value not in (None, ())
    }
    return {
        "style": {"key": painted.style.key, "title": painted.style.title},
        "choices": dataclasses.asdict(painted.choices),
        "recipe": recipe,
        "job": job.name,
        "network": job.network.sha256 if job.network else "",
        "device": job.device,
    }


def notes_of(document: Any, layer: Any) -> dict[str, Any] | None:
    """Returns what `about` stored for a layer; None if Impasto did not paint it."""
    found = _notes(document).get(layer.uniqueId().toString()) if layer is not None else None
    return found if isinstance(found, dict) else None


def _notes(document: Any) -> dict[str, Any]:
    if ANNOTATION not in document.annotationTypes():
        return {}
    try:
        notes = json.loads(bytes(document.annotation(ANNOTATION)))
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


def _box(rect: QtCore.QRect) -> Box:
    return rect.x(), rect.y(), rect.width(), rect.height()
