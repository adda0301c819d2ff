"""Krita as the controller's host. All windows share one controller."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from impasto.hosts import Controller, FolderStorage, Order, Painted, Run, Server
from impasto_krita import canvas, pixels
from impasto_krita.qt import QtCore, QtGui

FIRST_SERVER = Server("localhost:50051")
"""The server to connect to before one was entered."""


CANVAS_REST = 3.0
"""Shortest time between previews for the canvas, in multiples of the time that the last one took to make."""


class MainThread(QtCore.QObject):
    """Makes calls from any thread in the thread that made this object."""

    _posted = QtCore.pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self._posted.connect(lambda call: call(), QtCore.Qt.ConnectionType.QueuedConnection)

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
        bgra: Krita's pixels of the box's size, cut by the selection.
    """

    image: QtGui.QImage
    bgra: QtCore.QByteArray


class KritaHost:
    """Krita as the controller sees it.

    Attributes:
        controller: the one controller.
        on_canvas: whether to show previews in the document too.
        finished: the picture that was placed last, for the docker; None before the first.
    """

    def __init__(self, folder: str, **options: Any) -> None:
        self._main = MainThread()
        self._results: dict[str, canvas.Result] = {}
        self._documents: dict[str, Any] = {}
        self._canvas_due = 0.0
        self.on_canvas = False
        self.finished: QtGui.QImage | None = None
        self.controller = Controller(self, FolderStorage(folder), **options)
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
            on_canvas = _in_box(image, place)
            now = time.monotonic()
            self._canvas_due = now + CANVAS_REST * (now - begun)
        return Shown(image, preview.evaluation, on_canvas)

    def decode_result(self, image: Any, place: dict[str, Any]) -> Developed:
        picture = pixels.from_rgba(image.data, image.width, image.height)
        return Developed(pixels.at_most(picture, 1024), _in_box(picture, place))

    def place(self, painted: Painted) -> None:
        run = self.controller.run
        assert run is not None
        document = self._documents.get(run.id)
        result = self._results.pop(run.id, None)
        if not canvas.is_open(document):
            document, result = canvas.target(painted.place), None
        if result is None:
            result = canvas.Result(document, painted.place, "")
        result.finish(painted.picture.bgra, _layer_name(painted), canvas.about(painted))
        self._documents.pop(run.id, None)
        self.finished = painted.picture.image

    # For the docker.

    def stylize(self, order: Order, document: Any) -> Run:
        """Starts to paint a part of a document. Raises as `Controller.stylize` does."""
        self.finished = None
        run = self.controller.stylize(order)
        self._documents[run.id] = document
        return run

    def close(self) -> None:
        """Closes the controller, as Krita closes."""
        self.controller.close()

    def _heard(self, what: str) -> None:
        run = self.controller.run
        if run is None:
            return
        if what == "preview" and run.preview is not None:
            self._show_on_canvas(run, run.preview)
        elif what == "run" and run.state in ("failed", "cancelled"):
            result = self._results.pop(run.id, None)
            self._documents.pop(run.id, None)
            if result is not None:
                result.take_away()

    def _show_on_canvas(self, run: Run, shown: Shown) -> None:
        document = self._documents.get(run.id)
        if shown.on_canvas is None or not self.on_canvas or not canvas.is_open(document):
            return
        if run.id not in self._results:
            self._results[run.id] = canvas.Result(document, run.place, f"{run.style.title} (being painted)")
        self._results[run.id].show(shown.on_canvas)


def _in_box(image: QtGui.QImage, place: dict[str, Any]) -> QtCore.QByteArray:
    width, height = place["box"][2:]
    return pixels.in_box(image, width, height, pixels.unpacked(place["mask"], width * height))


def _layer_name(painted: Painted) -> str:
    return f"{painted.style.title} · strength {painted.choices.strength} · seed {painted.choices.seed}"


def folder() -> str:
    """Returns the folder for the plugin's files, beside Krita's own."""
    data = QtCore.QStandardPaths.writableLocation(QtCore.QStandardPaths.StandardLocation.AppDataLocation)
    return os.path.join(data, "impasto")
