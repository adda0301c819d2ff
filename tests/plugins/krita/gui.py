"""Runs inside Krita with its window, on a virtual screen: undo, cancelling, and a responsive window."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from impasto_krita import canvas, notes, pixels
from impasto_krita.docker import ImpastoDocker
from impasto_krita.plugin import host
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.server_dialog import ServerDialog
from krita import Krita, Selection

from impasto.hosts import Choices, Server

PATIENCE = 240.0


class Gaps:
    """The longest time for which the window took no events."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.monotonic()
        self._timer = QtCore.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now

    def reset(self) -> None:
        self.longest, self._last = 0.0, time.monotonic()


def until(is_so: Any) -> Iterator[int]:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it does not come about"
        yield 20


def opened(path: str) -> Any:
    document = Krita.instance().openDocument(path)
    document.setBatchmode(True)
    Krita.instance().activeWindow().addView(document)
    return document


def layers(document: Any) -> list[str]:
    return [node.name() for node in document.rootNode().childNodes() if "Selection" not in node.name()]


def projection(document: Any) -> bytes:
    document.waitForDone()
    return bytes(document.pixelData(0, 0, document.width(), document.height()))


def main(settings: dict[str, Any], results: dict[str, Any]) -> Iterator[int]:
    krita = Krita.instance()
    window = krita.activeWindow().qwindow()
    yield 500
    docker = next(docker for docker in krita.dockers() if isinstance(docker, ImpastoDocker))
    for other in krita.dockers():
        if other.objectName() not in ("KisLayerBox", "ToolBox"):
            other.setVisible(other is docker)
    window.showMaximized()
    yield 300
    window.resizeDocks([docker], [310], QtCore.Qt.Orientation.Horizontal)
    layer_docker = next(other for other in krita.dockers() if other.objectName() == "KisLayerBox")
    window.resizeDocks([layer_docker, docker], [160, 740], QtCore.Qt.Orientation.Vertical)
    controller = host().controller
    # Before anything was entered, the docker says what to do.
    assert controller.connection.server is None
    yield from until(lambda: controller.this_computer.state != "unknown")
    assert not docker.connection.here.isHidden()
    assert not docker.connection.here.other.isHidden()
    screenshot(settings, "first-contact.png")
    # Enter in the server's settings connects. It must not press the button that chooses certificates.
    dialog = ServerDialog(docker, Server(settings["address"]))
    dialog._browse = lambda: results.update(enter="opened the certificates")
    dialog.show()
    dialog.activateWindow()
    yield from until(dialog.isActiveWindow)
    yield 200
    press("Return")
    yield from until(lambda: not dialog.isVisible())
    assert dialog.result() == 1
    assert "enter" not in results
    docker.connect_to(dialog.server)
    photo = QtGui.QImage(settings["photo"])
    path = os.path.join(settings["out"], "photo.png")
    pixels.scaled(photo, 512, 512).save(path)
    document = opened(path)
    yield from until(lambda: controller.connection.state == "connected" and docker.styles.count())
    yield 1000
    results["installed"] = os.path.dirname(os.path.abspath(canvas.__file__))
    undo, redo = krita.action("edit_undo"), krita.action("edit_redo")
    results["step_texts"] = [undo.text(), redo.text()]
    for name in ("stylize", "cancel", "pause", "new_seed"):
        assert krita.action(f"impasto_{name}") is not None, name
    resources = os.path.dirname(os.path.dirname(results["installed"]))
    assert os.path.exists(os.path.join(resources, "actions", "impasto_krita.action"))
    seed = docker.choices.seed
    krita.action("impasto_new_seed").trigger()
    assert docker.choices.seed != seed

    # A run with a feathered selection is one undo step.
    selection = Selection()
    selection.select(150, 60, 220, 260, 255)
    selection.feather(24)
    document.setSelection(selection)
    yield 300
    # A change of zoom puts the picture into the middle.
    for zoom in (1.0, 1.6):
        krita.activeWindow().activeView().canvas().setZoomLevel(zoom)
        yield 300
    steps_before = undo.text()
    docker._set_choices(Choices(strength=60, effort="draft", size=512, seed=3))
    docker.on_canvas.setChecked(True)
    docker.styles.choose("styles/starry-night")
    names, before = layers(document), projection(document)
    docker.go.click()
    run = controller.run
    yield from until(lambda: run.is_final or (run.preview is not None and len(layers(document)) == 2))
    yield 300
    screenshot(settings, "krita-painting.png")
    yield from until(lambda: run.is_final)
    assert run.state == "succeeded", run.sentence
    yield 500
    assert layers(document) == [*names, "The Starry Night · seed 3 · strength 60 %"]
    assert document.activeNode().name() == "The Starry Night · seed 3 · strength 60 %"
    painted = projection(document)
    assert painted != before
    screenshot(settings, "krita.png")
    undo.trigger()
    yield from until(lambda: layers(document) == names)
    yield 300
    assert projection(document) == before
    assert undo.text() == steps_before
    redo.trigger()
    yield from until(lambda: len(layers(document)) == 2)
    yield 300
    assert projection(document) == painted
    undo.trigger()
    yield from until(lambda: layers(document) == names)
    results["undo"] = "one step"

    # Cancelled before a preview reaches the canvas, nothing was ever done to the document.
    document.setSelection(None)
    yield 200
    document.setModified(False)
    docker.on_canvas.setChecked(False)
    docker.form.fields["effort"].set_value("fine")
    docker.form.fields["size"].set_value(512)
    steps_before = undo.text()
    docker.go.click()
    run = controller.run
    yield from until(lambda: run.preview is not None)
    docker.stop.click()
    assert run.state == "cancelled"
    yield 300
    assert layers(document) == names
    assert projection(document) == before
    assert undo.text() == steps_before
    assert not document.modified()

    # And with previews on the canvas it looks as it did.
    docker.on_canvas.setChecked(True)
    docker.go.click()
    run = controller.run
    yield from until(lambda: len(layers(document)) == 2)
    docker.stop.click()
    yield from until(lambda: layers(document) == names)
    yield 300
    assert projection(document) == before
    assert not document.modified()
    results["cancel"] = "as it was"

    # A document that is saved while a preview is on its canvas does not have the preview in it.
    kra = os.path.join(settings["out"], "saved-meanwhile.kra")
    assert document.saveAs(kra)
    yield 300
    docker.form.fields["effort"].set_value("fine")
    krita.action("impasto_stylize").trigger()
    run = controller.run
    assert not run.is_final
    yield from until(lambda: len(layers(document)) == 2)
    yield 300
    krita.action("file_save").trigger()
    yield from until(lambda: layers(document) == names)
    yield 2000
    saved = krita.openDocument(kra)
    assert layers(saved) == names, layers(saved)
    assert not notes.previews(saved)
    saved.close()
    krita.action("impasto_cancel").trigger()
    assert run.state == "cancelled"
    yield 300
    document.setModified(False)
    results["saving"] = "without the preview"

    # A vector layer is painted, and so is the layer of a mask.
    docker.on_canvas.setChecked(False)
    docker.form.fields["effort"].set_value("draft")
    vector = document.createVectorLayer("vector")
    document.rootNode().addChildNode(vector, None)
    yield 300
    vector.addShapesFromSvg(
        '<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512">'
        '<rect x="10" y="10" width="300" height="300" fill="#ff0000"/></svg>'
    )
    yield 300
    document.setActiveNode(vector)
    yield 300
    docker.content.set_value("layer")
    docker.go.click()
    run = controller.run
    assert not run.is_final, docker.notice.text()
    yield from until(lambda: run.is_final)
    assert run.state == "succeeded", run.sentence
    assert layers(document)[-1].startswith("The Starry Night")
    docker.content.set_value("visible")
    results["vector"] = "painted"
    document.setModified(False)

    # Reading a document of another model leaves no step behind.
    deep = krita.createDocument(128, 96, "deep", "RGBA", "U16", "", 72.0)
    krita.activeWindow().addView(deep)
    yield 500
    last = undo.text()
    canvas.read(deep, (0, 0, 128, 96))
    canvas.read(deep, (0, 0, 128, 96), canvas.Source(deep.activeNode(), deep.activeNode(), True))
    yield 200
    assert undo.text() == last
    assert not deep.modified()
    deep.close()
    yield from gaps(settings, results)


def gaps(settings: dict[str, Any], results: dict[str, Any]) -> Iterator[int]:
    """Previews of 1024 pixels, ten a second, as from a service on another machine."""
    import sys
    import threading

    sys.path.insert(0, settings["tests"])
    from impasto.job import Preview, Progress
    from support.fake_host import FakeService

    krita = Krita.instance()
    service = FakeService()
    our = host()
    docker = next(docker for docker in krita.dockers() if isinstance(docker, ImpastoDocker))
    real = our.controller.connection._open_client
    our.controller.connection._open_client = service.open
    docker.connect_to(Server("fake"))
    yield from until(lambda: our.controller.connection.state == "connected")
    yield 200
    photo = QtGui.QImage(settings["photo"])
    coded = [
        pixels.encoded(pixels.scaled(photo.mirrored(bool(i), False), 1024, 768), "JPEG", 85) for i in range(2)
    ]
    longest = Gaps()
    figures = results["longest_gap_ms"] = {}
    docker.form.fields["size"].set_value(1024)
    for name, width, height, on_canvas in (
        ("docker", 1024, 768, False),
        ("docker and canvas", 1024, 768, True),
        ("docker and canvas of 12 megapixels", 4000, 3000, True),
    ):
        document = krita.createDocument(width, height, "gaps", "RGBA", "U8", "", 72.0)
        document.setBatchmode(True)
        krita.activeWindow().addView(document)
        yield 1000
        docker.on_canvas.setChecked(on_canvas)
        docker.styles.choose("styles/starry-night")
        docker.go.click()
        run = our.controller.run
        yield from until(lambda: run.state == "queued" and service.only().watchers)  # noqa: B023
        service.become("running", queue_position=None)
        job = service.only()

        def send(job: Any = job) -> None:
            for i in range(30):
                job.emit(Preview(coded[i % 2], "jpeg", 1024, 768, i + 1, 1))
                job.emit(Progress(i + 1, 30, 1, 1, 8, 8, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0))
                time.sleep(0.1)

        yield 500
        thread = threading.Thread(target=send)
        longest.reset()
        thread.start()
        yield from until(lambda: not thread.is_alive() and run.preview and run.preview.evaluation == 30)  # noqa: B023
        figures[name] = round(1000 * longest.longest)
        run.cancel()
        yield 300
        service.jobs.clear()
        document.setModified(False)
        document.close()
        yield 200
    our.controller.connection._open_client = real
    assert QtWidgets.QApplication.instance() is not None


def press(key: str) -> None:
    """Presses a key as a keyboard does."""
    environment = {"DISPLAY": os.environ["DISPLAY"], "PATH": "/usr/bin:/bin"}
    subprocess.run(["xdotool", "key", key], env=environment, check=True, timeout=20)


def screenshot(settings: dict[str, Any], name: str) -> None:
    """What is on the screen, window frames and all."""
    environment = {"DISPLAY": os.environ["DISPLAY"], "PATH": "/usr/bin:/bin"}
    path = os.path.join(settings["out"], name)
    subprocess.run(["import", "-window", "root", path], env=environment, check=True, timeout=20)
