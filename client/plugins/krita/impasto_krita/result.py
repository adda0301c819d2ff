"""The layer for a picture. For the main thread only."""

from __future__ import annotations

from typing import Any

from impasto.hosts.translate import _
from impasto_krita import nodes, notes
from impasto_krita.canvas import Box, is_open, sheet, space
from impasto_krita.qt import QtCore


class Result:
    """The layer for a picture. It is added once, in one undo step; each later picture replaces its pixels.

    Krita handles events while it adds a layer, so the next preview, the result or a cancellation may arrive
    meanwhile. They are handled one after the other.

    Args:
        document: the document of the layer.
        place: the notes from `canvas.place_of`.
        name: name of the layer.
    """

    def __init__(self, document: Any, place: dict[str, Any], name: str) -> None:
        self.document = document
        self.suspended = False
        self._place = place
        self._name = name
        self._layer: Any = None
        self._bits = 8
        self._box: Box = (0, 0, 0, 0)
        self._was_modified = True
        self._newest: tuple[QtCore.QByteArray, Box, int] | None = None
        self._about: dict[str, Any] | None = None
        self._unwanted = False
        self._at_work = False

    @property
    def preview_id(self) -> str:
        """The identifier of the layer while it is only a preview; else empty."""
        if self._layer is None or self._about is not None or self._layer.parentNode() is None:
            return ""
        return nodes.id_of(self._layer)

    def show(self, bgra: QtCore.QByteArray, box: Box) -> None:
        """Shows a preview in a box, unless the artist has deleted the layer or it was suspended."""
        if not self.suspended and (self._layer is None or self._layer.parentNode() is not None):
            self._newest = bgra, box, 8
            self._work()

    def finish(self, bgra: QtCore.QByteArray, box: Box, bits: int, name: str, about: dict[str, Any]) -> None:
        """Shows the finished picture, and stores in the document how it was made."""
        self._newest, self._name, self._about = (bgra, box, bits), name, about
        self._work()

    def suspend(self) -> None:
        """Removes the preview, because the document is about to be saved or closed, and shows no more.
        The finished picture is added as usual.
        """
        self.suspended = True
        if self._about is None:
            self.take_away()
            self._unwanted = False

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
                newest, self._newest = self._newest, None
                self._write(*newest)
            if self._unwanted:
                self._remove()
            elif self._about is not None:
                self._note(self._about)
        finally:
            self._at_work = False

    def _write(self, bgra: QtCore.QByteArray, box: Box, bits: int) -> None:
        there = self._layer is not None and self._layer.parentNode() is not None
        if there and ((bits, box) != (self._bits, self._box) or not self._takes(bits)):
            # A layer keeps its depth, pixels outside the new box would stay, and converting the document
            # has converted the layer.
            self._remove()
            there = False
        if there:
            self._layer.setPixelData(bgra, *box)
        else:
            self._add(bgra, box, bits)
        self.document.refreshProjection()

    def _takes(self, bits: int) -> bool:
        return (self._layer.colorModel(), self._layer.colorDepth()) == space(bits)[:2]

    def _add(self, bgra: QtCore.QByteArray, box: Box, bits: int) -> None:
        self._was_modified = self.document.modified()
        self._bits, self._box = bits, box
        with sheet(space(bits)) as made:
            drawn = made.createNode(self._name, "paintlayer")
            drawn.setPixelData(bgra, *box)
            layer = drawn.duplicate()
        layer.setName(self._name)
        parent, above = self._where()
        parent.addChildNode(layer, above)
        # `layer` still refers to the hidden document: removing the layer through it would crash Krita.
        self._layer = next(node for node in parent.childNodes() if node.uniqueId() == layer.uniqueId())
        if self._about is None:
            notes.mark_preview(self.document, nodes.id_of(self._layer), on=True)

    def _note(self, about: dict[str, Any]) -> None:
        id = nodes.id_of(self._layer)
        if self._layer.name() != self._name:
            self._layer.setName(self._name)
        notes.mark_preview(self.document, id, on=False)
        notes.set_layer(self.document, id, about, self._place.get("key", ""))
        self.document.setActiveNode(self._layer)

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and is_open(self.document) and layer.parentNode() is not None:
            remove(self.document, layer, was_modified=self._was_modified)

    def _where(self) -> tuple[Any, Any]:
        """Returns the parent and the layer below the new one; None for the top."""
        root = self.document.rootNode()
        above = nodes.layer_of(nodes.find(self.document, self._place["above"]))
        if above is None:
            return root, None
        if self._place.get("result") == "group":
            return (above if above.type() == "grouplayer" else above.parentNode()), None
        parent = above.parentNode()
        # Above the earlier paintings of the same layer too, which would hide it.
        ours = notes.painted_layers(self.document)
        siblings = parent.childNodes()
        at = next(i for i, node in enumerate(siblings) if node.uniqueId() == above.uniqueId())
        while at + 1 < len(siblings) and nodes.id_of(siblings[at + 1]) in ours:
            at += 1
        return parent, siblings[at]


def remove(document: Any, layer: Any, *, was_modified: bool) -> None:
    """Removes a preview's layer, as if it had never been there.

    Args:
        was_modified: whether the document had been modified before.
    """
    id = nodes.id_of(layer)
    document.waitForDone()
    layer.remove()
    notes.mark_preview(document, id, on=False)
    document.waitForDone()
    if not was_modified:
        document.setModified(False)
        # Krita's pending events about the layer mark the document as modified again.
        QtCore.QTimer.singleShot(0, lambda: document.setModified(False) if is_open(document) else None)


def _is_preview(document: Any, layer: Any) -> bool:
    """Returns whether a layer that is marked as a preview looks like one. The mark may come from another
    person's document, so it does not suffice to lose a layer.
    """
    begin, end = _("{style} (being painted)").split("{style}")
    named = layer.name().startswith(begin) and layer.name().endswith(end)
    english = layer.name().endswith("(being painted)")
    made = notes.of_layer(document, layer) is not None
    return (named or english) and not made and layer.type() == "paintlayer" and not layer.childNodes()


def remove_left_over(document: Any, living: set[str]) -> int:
    """Removes previews that were saved with the document, as when Krita crashed; returns how many.

    Args:
        living: identifiers of the previews that are still being painted.
    """
    removed = 0
    for id in notes.previews(document):
        if id in living:
            continue
        layer = nodes.find(document, id)
        if layer is None or not _is_preview(document, layer):
            notes.mark_preview(document, id, on=False)
        else:
            remove(document, layer, was_modified=document.modified())
            removed += 1
    return removed
