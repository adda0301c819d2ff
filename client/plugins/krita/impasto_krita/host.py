"""Krita as the controller's host. All windows share one controller."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from impasto.hosts import Controller, FolderStorage, Order, Painted, Run, ThisComputer
from impasto.hosts.translate import _
from impasto_krita import canvas, notes, pixels, result
from impasto_krita.qt import QtCore, QtGui

THUMBNAIL = 256
"""Longer side of a thumbnail of the history, in pixels."""
CANVAS_REST = 3.0
"""Shortest time between previews for the canvas, in multiples of the time that the last one took to make."""


class MainThread(QtCore.QObject):
    """Makes calls from any thread in the thread that made this object."""

    _posted = QtCore.pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        # The stubs of PyQt5 do not know the second argument.
        posted: Any = self._posted
        posted.connect(lambda call: call(), QtCore.Qt.ConnectionType.QueuedConnection)

    def post(self, call: Callable[[], None]) -> None:
        self._posted.emit(call)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A preview, decoded.

    Attributes:
        image: the preview.
        evaluation: the evaluation after which it was taken.
        on_canvas: Krita's pixels for the canvas, of the box's size; None if it is not shown there.
    """

    image: QtGui.QImage
    evaluation: int
    on_canvas: QtCore.QByteArray | None


@dataclasses.dataclass(frozen=True)
class Developed:
    """A result, decoded.

    Attributes:
        image: the picture, scaled down for the docker.
        picture: the picture as it was painted.
        bgra: Krita's pixels of the box's size, cut by the selection.
        bits: bits per channel.
    """

    image: QtGui.QImage
    picture: QtGui.QImage
    bgra: QtCore.QByteArray
    bits: int


class KritaHost:
    """Krita as the controller sees it.

    Args:
        folder: the folder for the plugin's files.
        here: whether a server on this computer can be used, which is started when it is needed.
        options: options of the controller.

    Attributes:
        controller: the one controller.
        on_canvas: whether to show previews in the document too.
        finished: the picture that was placed last, for the docker; None before the first.
        remark: a sentence about the placing of the last picture; empty if there is nothing to say.
    """

    def __init__(self, folder: str, *, here: bool = False, **options: Any) -> None:
        self._main = MainThread()
        self._results: dict[str, result.Result] = {}
        self._documents: dict[str, Any] = {}
        self._keys: list[tuple[Any, str]] = []
        self._canvas_due = 0.0
        self.on_canvas = False
        self.finished: QtGui.QImage | None = None
        self.remark = ""
        computer = ThisComputer(self) if here else None
        self.controller = Controller(self, FolderStorage(folder), this_computer=computer, **options)
        self.controller.listen(self._heard)

    # For the controller.

    def post(self, call: Callable[[], None]) -> None:
        self._main.post(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        QtCore.QTimer.singleShot(round(seconds * 1000), call)

    def decode(self, preview: Any, place: dict[str, Any]) -> Shown:
        image = pixels.from_file(preview.data)
        on_canvas, begun = None, time.monotonic()
        if self.on_canvas and begun >= self._canvas_due:
            on_canvas = _in_box(image, place, 8)
            now = time.monotonic()
            self._canvas_due = now + CANVAS_REST * (now - begun)
        return Shown(image, preview.evaluation, on_canvas)

    def decode_result(self, image: Any, place: dict[str, Any]) -> Developed:
        bits = 16 if len(image.data) == 8 * image.width * image.height else 8
        picture = pixels.from_rgba(image.data, image.width, image.height, bits)
        return Developed(pixels.at_most(picture, 1024), picture, _in_box(picture, place, bits), bits)

    def place(self, painted: Painted) -> None:
        self.remark = ""
        id, place = painted.id, painted.place
        document = self._documents.get(id)
        shown = self._results.pop(id, None)
        if place.get("result") == "document":
            document, place = canvas.document_for(place)
        elif not canvas.is_open(document):
            document, shown = canvas.target(place), None
        box = canvas.box_now(document, place)
        if box is None:
            # Nobody knows where the painting belongs now.
            self.remark = _(
                "The document was cropped or rotated while it was painted, so the painting is in a document "
                "of its own."
            )
            document, place = canvas.document_for(place)
            box = canvas.box_now(document, place)
        if shown is not None and shown.document != document:
            shown.take_away()
            shown = None
        assert box is not None
        picture = painted.picture
        bgra = picture.bgra
        if list(box[2:]) != place["box"][2:]:
            self.remark = _(
                "The document was scaled while it was painted, and the painting was scaled with it."
            )
            bgra = _in_box(picture.picture, place, picture.bits, (box[2], box[3]))
        if shown is None:
            shown = result.Result(document, place, "")
        shown.finish(bgra, box, picture.bits, layer_name(painted), notes.about(painted))
        self._documents.pop(id, None)
        self.finished = picture.image
        self._keep_history(document)

    def thumbnail(self, picture: Developed) -> bytes:
        return pixels.thumbnail(picture.image, THUMBNAIL)

    # For the docker.

    def stylize(self, order: Order, document: Any) -> Run:
        """Starts to paint a part of a document. Raises as `Controller.stylize` does."""
        self.finished, self.remark = None, ""
        run = self.controller.stylize(order)
        self._documents[run.id] = document
        return run

    def key_of(self, document: Any) -> str:
        """Returns a document's key in the history. It is stored in the document with the first picture."""
        stored = notes.stored_key(document)
        if stored:
            return stored
        self._keys = [(other, key) for other, key in self._keys if canvas.is_open(other)]
        for other, key in self._keys:
            if other == document:
                return key
        self._keys.append((document, notes.new_key(document)))
        return self._keys[-1][1]

    def close(self) -> None:
        """Closes the controller, as Krita closes."""
        self.hide_previews()
        self.controller.close()

    # Previews in documents, which must not be saved.

    def hide_previews(self, document: Any = None) -> bool:
        """Removes the previews from a document, or from all, until their pictures are finished.

        Returns whether there were any.
        """
        shown = [
            each
            for each in self._results.values()
            if each.preview_id and (document is None or each.document == document)
        ]
        for each in shown:
            if canvas.is_open(each.document):
                each.suspend()
        return bool(shown)

    def document_opened(self, document: Any) -> None:
        """Removes what a crash left behind in a document, and takes in its history."""
        living = {each.preview_id for each in self._results.values()} - {""}
        result.remove_left_over(document, living)
        self.controller.history.merge(notes.history(document), notes.stored_key(document))

    def document_saved(self, path: str) -> None:
        """Saves a document again without its previews, if they were saved with it."""
        document = canvas.open_at(path)
        if document is not None and self.hide_previews(document):
            document.setBatchmode(True)
            try:
                document.save()
            finally:
                document.setBatchmode(False)

    def _heard(self, what: str) -> None:
        run = self.controller.run
        if what == "preview" and run is not None and run.preview is not None:
            self._show_on_canvas(run, run.preview)
        elif what == "run":
            for ended in self.controller.ended:
                if ended.state in ("failed", "cancelled"):
                    self._documents.pop(ended.id, None)
                    shown = self._results.pop(ended.id, None)
                    if shown is not None:
                        shown.take_away()

    def _keep_history(self, document: Any) -> None:
        """Stores the history of a document in it."""
        key = notes.stored_key(document)
        if key:
            notes.set_history(document, self.controller.history.dump(key))

    def _show_on_canvas(self, run: Run, shown: Shown) -> None:
        document: Any = self._documents.get(run.id)
        if shown.on_canvas is None or not self.on_canvas or not canvas.is_open(document):
            return
        place = run.place
        # The picture would be in the wrong place.
        if [document.width(), document.height()] != place["size"] or place.get("result") == "document":
            return
        if run.id not in self._results:
            name = _("{style} (being painted)").format(style=run.style.title)
            self._results[run.id] = result.Result(document, place, name)
        self._results[run.id].show(shown.on_canvas, tuple(place["box"]))


def _in_box(
    image: QtGui.QImage, place: dict[str, Any], bits: int, size: tuple[int, int] | None = None
) -> QtCore.QByteArray:
    width, height = place["box"][2:]
    mask = pixels.unpacked(place["mask"], width * height)
    to_width, to_height = size or (width, height)
    if mask:
        mask = pixels.resized_mask(mask, width, height, to_width, to_height)
    return pixels.in_box(image, to_width, to_height, mask, bits)


def layer_name(painted: Painted) -> str:
    """Returns the name of the layer for a picture."""
    return painted.label


def folder() -> str:
    """Returns the folder for the plugin's files, beside Krita's own."""
    data = QtCore.QStandardPaths.writableLocation(QtCore.QStandardPaths.StandardLocation.AppDataLocation)
    return os.path.join(data, "impasto")
