"""Runs inside Krita, by `kritarunner`, without a screen: the docker driven against a real server.

Each function whose name begins with `check_` is a check; all run in one Krita, in their order. What came of
them is written as JSON, for pytest to look at: `test_krita.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from krita import InfoObject, Krita, Selection

SETTINGS: dict[str, Any] = json.loads(os.environ["IMPASTO_KRITA_TEST"])
PATIENCE = float(SETTINGS.get("patience", 120))

from impasto_krita import canvas, nodes, notes, pixels  # noqa: E402
from impasto_krita.docker import ImpastoDocker  # noqa: E402
from impasto_krita.host import KritaHost  # noqa: E402
from impasto_krita.qt import QtCore, QtGui, QtWidgets  # noqa: E402

from impasto.hosts import Choices, Server  # noqa: E402

OUT = SETTINGS["out"]
SERVER = Server(SETTINGS["address"])


class TestDocker(ImpastoDocker):
    """The docker, on a document that no window shows."""

    document: Any = None
    active: Any = None

    def _document(self) -> Any:
        return self.document

    def _active(self, document: Any) -> Any:
        return self.active


class Gaps:
    """The longest time for which the main thread took no events."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.monotonic()
        self._timer = QtCore.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now

    def reset(self) -> None:
        self.longest, self._last = 0.0, time.monotonic()


class Stage:
    """A docker with its host, and the server it speaks to."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self.start_server()
        self.host = self.docker = None  # type: ignore[assignment]
        self.open()

    def open(self) -> None:
        self.host = KritaHost(os.path.join(OUT, "kept"))
        self.docker = TestDocker(self.host)
        self.docker.resize(300, 940)
        self.docker.show()
        self.docker.form.fields["size"].set_value(48)
        self.controller = self.host.controller

    def start_server(self) -> None:
        with open(os.path.join(OUT, "server.log"), "ab") as log:
            self.server = subprocess.Popen(
                SETTINGS["server"],
                env=SETTINGS["environment"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def stop_server(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def run(self) -> Any:
        """Presses Stylize, and gives the run."""
        before = self.controller.run
        self.docker.go.click()
        run = self.controller.run
        assert run is not before, self.docker.notice.text()
        return run

    def finish(self, run: Any) -> None:
        until(lambda: run.is_final)
        assert run.state == "succeeded", (run.state, run.sentence)


def until(is_so: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Lets Krita's events go on until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it does not come about"
        wait(10)


def wait(milliseconds: int) -> None:
    loop = QtCore.QEventLoop()
    QtCore.QTimer.singleShot(milliseconds, loop.quit)
    (loop.exec if hasattr(loop, "exec") else loop.exec_)()


@contextlib.contextmanager
def document(
    width: int = 96, height: int = 72, model: str = "RGBA", depth: str = "U8", image: Any = None
) -> Iterator[Any]:
    """A document with a picture in it."""
    made = Krita.instance().createDocument(width, height, "sketch", model, depth, "", 72.0)
    made.setBatchmode(True)
    if image is None:
        image = QtGui.QImage(width, height, QtGui.QImage.Format.Format_ARGB32)
        painter = QtGui.QPainter(image)
        gradient = QtGui.QLinearGradient(0, 0, width, height)
        gradient.setColorAt(0, QtGui.QColor(200, 60, 30))
        gradient.setColorAt(1, QtGui.QColor(20, 90, 180))
        painter.fillRect(0, 0, width, height, gradient)
        painter.end()
    layer = made.createNode("photo", "paintlayer")
    layer.setColorSpace(*canvas.SRGB)
    data = pixels.to_krita(pixels.scaled(image, width, height))
    layer.setPixelData(QtCore.QByteArray(data), 0, 0, width, height)
    made.rootNode().addChildNode(layer, None)
    made.refreshProjection()
    made.waitForDone()
    stage.docker.document, stage.docker.active = made, layer
    try:
        yield made
    finally:
        stage.docker.document = stage.docker.active = None
        made.setModified(False)
        made.close()


def layers(made: Any) -> list[str]:
    return [node.name() for node in made.rootNode().childNodes()]


def projection(made: Any) -> bytes:
    made.refreshProjection()
    made.waitForDone()
    return bytes(made.pixelData(0, 0, made.width(), made.height()))


def quick(strength: int = 50, seed: int = 1) -> None:
    """Choices that are painted in a moment."""
    stage.docker._set_choices(Choices(strength=strength, effort="draft", size=48, seed=seed))
    stage.docker.content.set_value("visible")
    stage.docker.result.set_value("above")
    stage.docker.on_canvas.setChecked(False)


def long() -> None:
    """Choices that take their time."""
    quick()
    stage.docker.form.fields["effort"].set_value("fine")
    stage.docker.form.fields["size"].set_value(512)


def picture(name: str) -> None:
    wait(50)
    assert stage.docker.grab().save(os.path.join(OUT, name))


# The checks.


def check_no_server_is_said_and_it_is_found_when_it_comes() -> Any:
    stage.stop_server()
    stage.controller.connect(SERVER)
    until(lambda: stage.controller.connection.state == "reconnecting")
    assert "No server answers" in stage.docker.connection.trouble.text()
    assert not stage.docker.connection.strip.isHidden()
    picture("no-server.png")
    stage.start_server()
    until(lambda: stage.controller.connection.state == "connected")
    until(lambda: stage.docker.styles.count() == 2)
    assert stage.docker.connection.strip.isHidden()
    return stage.controller.connection.sentence


def check_a_wrong_address_is_refused_in_words() -> None:
    stage.docker.connect_to(Server("not an address"))
    until(lambda: stage.controller.connection.state == "refused")
    shown = stage.docker.connection.trouble
    told = shown.text(), shown.toolTip()
    help_shown = not stage.docker.connection.help.isHidden()
    assert not stage.docker.go.isEnabled()
    stage.docker.connect_to(SERVER)
    until(lambda: stage.controller.connection.state == "connected")
    assert "Enter the server's name and port" in told[1], told
    assert len(told[0]) <= 60, told
    assert help_shown


def check_a_picture_is_painted() -> Any:
    photo = QtGui.QImage(SETTINGS["photo"])
    with document(128, 128, image=photo) as made:
        quick(strength=60, seed=7)
        stage.docker.styles.choose("styles/starry-night")
        stage.docker.form.fields["size"].set_value(512)
        before = projection(made)
        seen = []
        end = stage.controller.listen(lambda what: seen.append(what) if what == "preview" else None)
        gaps.reset()
        run = stage.run()
        until(lambda: run.preview is not None and run.progress and run.progress.evaluation > 25)
        assert "Painting" in stage.docker.status.whole
        picture("painting.png")
        stage.finish(run)
        end()
        longest = gaps.longest
        assert seen
        assert layers(made) == ["Background", "photo", "The Starry Night · seed 7 · strength 60 %"]
        layer = made.rootNode().childNodes()[-1]
        after = projection(made)
        assert after != before
        assert set(bytes(layer.pixelData(0, 0, 128, 128))[3::4]) == {255}
        told = notes.of_layer(made, layer)
        assert told["choices"]["seed"] == 7
        assert told["recipe"]["content_weight"] == Choices(strength=60).content_weight
        picture("painted.png")
        stage.docker.active = layer
        stage.docker._set_choices(Choices())
        stage.docker.use_notes(told)
        assert stage.docker.choices.strength == 60
        menu = stage.docker.presets.button.menu()
        stage.docker.presets.fill(menu)
        last = menu.actions()[-1]
        assert last.text() == "Settings of the active layer"
        assert last.isEnabled()
        (recents,) = [action.menu() for action in menu.actions() if action.text() == "Recently used"]
        texts = [action.text() for action in recents.actions()]
        assert texts[0].startswith("The Starry Night · strength 60 · Draft · seed 7"), texts
        path = os.path.join(OUT, "exported.png")
        made.waitForDone()
        assert made.exportImage(path, InfoObject())
        exported = QtGui.QImage(path)
        assert (exported.width(), exported.height()) == (128, 128)
        kra = os.path.join(OUT, "saved.kra")
        assert made.saveAs(kra)
        uuid = layer.uniqueId()
    again = Krita.instance().openDocument(kra)
    kept = [node for node in again.rootNode().childNodes() if node.uniqueId() == uuid]
    assert notes.of_layer(again, kept[0]) == told
    again.close()
    return {"previews": len(seen), "longest_gap_ms": round(1000 * longest)}


def check_a_feathered_selection_cuts_the_result() -> None:
    with document() as made:
        quick()
        selection = Selection()
        selection.select(30, 20, 40, 30, 255)
        selection.feather(6)
        made.setSelection(selection)
        stage.docker._look(anew=True)
        assert stage.docker.size_line.text().startswith("The selection: Will be painted at ")
        photo = bytes(made.rootNode().childNodes()[1].pixelData(0, 0, 96, 72))
        stage.finish(stage.run())
        layer = next(node for node in made.rootNode().childNodes() if "strength" in node.name())
        alpha = bytes(layer.pixelData(0, 0, 96, 72))[3::4]
        assert alpha[0] == alpha[96 * 71] == 0
        assert alpha[96 * 35 + 50] == 255
        assert any(0 < value < 255 for value in alpha)
        wanted = bytes(made.selection().pixelData(0, 0, 96, 72))
        assert max(abs(a - b) for a, b in zip(alpha, wanted, strict=True)) <= 1
        assert bytes(made.rootNode().childNodes()[1].pixelData(0, 0, 96, 72)) == photo


def check_selections_that_cannot_be_painted_are_said() -> None:
    with document() as made:
        quick()
        selection = Selection()
        selection.select(3, 3, 5, 5, 255)
        made.setSelection(selection)
        stage.docker.stylize()
        assert "too few to paint" in stage.docker.notice.text()
        selection = Selection()
        selection.select(500, 500, 50, 50, 255)
        made.setSelection(selection)
        stage.docker.stylize()
        assert "Nothing in the picture is selected" in stage.docker.notice.text()
        assert not stage.controller.is_painting
    stage.docker.stylize()
    assert "Open a picture" in stage.docker.notice.text()


def _any_model(model: str, depth: str, tolerance: int) -> None:
    with document(64, 48, model, depth) as made:
        assert (made.colorModel(), made.colorDepth()) == (model, depth)
        quick()
        read = canvas.read(made, (0, 0, 64, 48))
        gray = model == "GRAYA"
        for x, y in ((1, 1), (32, 24), (62, 46)):
            wanted = pixels.from_krita(
                bytes(made.rootNode().childNodes()[1].pixelData(x, y, 1, 1)), 1, 1
            ).pixelColor(0, 0)
            got = read.pixelColor(x, y)
            far = max(
                abs(got.red() - wanted.red()),
                abs(got.green() - wanted.green()),
                abs(got.blue() - wanted.blue()),
            )
            assert gray or far <= tolerance, (got.getRgb(), wanted.getRgb())
            assert not gray or got.red() == got.green() == got.blue()
        before = projection(made)
        stage.finish(stage.run())
        layer = made.rootNode().childNodes()[-1]
        wanted = "U8" if depth == "U8" else "U16"
        assert (layer.colorModel(), layer.colorDepth()) == ("RGBA", wanted)
        if wanted == "U16":
            # Sixteen bits that are worth it: lower bytes of every value.
            samples = bytes(layer.pixelData(0, 0, 64, 48))
            assert len(set(samples[0::8])) > 16
            # Opaque; enlarging rounds.
            assert set(samples[7::8]) == {255}
        assert projection(made) != before
        assert (made.colorModel(), made.colorDepth()) == (model, depth)


def check_a_16_bit_document() -> None:
    _any_model("RGBA", "U16", 2)


def check_a_cmyk_document() -> None:
    _any_model("CMYKA", "U8", 40)


def check_a_float_document() -> None:
    _any_model("RGBA", "F32", 2)


def check_a_grey_document() -> None:
    _any_model("GRAYA", "U8", 0)


def check_a_layer_alone_is_painted_and_the_result_lies_above_it() -> None:
    with document() as made:
        quick()
        top = made.createNode("figure", "paintlayer")
        top.setPixelData(QtCore.QByteArray(bytes([30, 200, 90, 255]) * (40 * 32)), 20, 16, 40, 32)
        made.rootNode().addChildNode(top, None)
        stage.docker.active = made.nodeByName("photo")
        stage.docker.content.set_value("layer")
        stage.finish(stage.run())
        assert [name.split(" ·")[0] for name in layers(made)] == [
            "Background",
            "photo",
            "The Starry Night",
            "figure",
        ]
        stage.docker.active = top
        stage.docker.content.set_value("layer")
        stage.finish(stage.run())
        result = made.rootNode().childNodes()[-1]
        bounds = result.bounds()
        assert (bounds.x(), bounds.y(), bounds.width(), bounds.height()) == (20, 16, 40, 32)
        quick()


def check_a_large_canvas_is_painted_smaller_and_enlarged() -> None:
    with document(400, 300) as made:
        quick()
        stage.docker._look(anew=True)
        assert stage.docker.size_line.text() == "Will be painted at 48 × 36, enlarged to 400 × 300."
        run = stage.run()
        stage.finish(run)
        assert (run.job.width, run.job.height) == (48, 36)
        bounds = made.rootNode().childNodes()[-1].bounds()
        assert (bounds.width(), bounds.height()) == (400, 300)


def ours(made: Any) -> list[Any]:
    return [node for node in nodes.walk(made.rootNode()) if "· strength" in node.name()]


def filled(made: Any, name: str, bgra: list[int], box: tuple[int, int, int, int]) -> Any:
    """A new paint layer, not yet in the tree, filled with one colour."""
    layer = made.createNode(name, "paintlayer")
    layer.setPixelData(QtCore.QByteArray(bytes(bgra) * (box[2] * box[3])), *box)
    return layer


def check_a_second_go_does_not_paint_the_first() -> None:
    with document() as made:
        quick()
        before = canvas.read(made, (0, 0, 96, 72))
        stage.finish(stage.run())
        (first,) = ours(made)
        # It is shown, and it is the active layer, as Krita leaves it.
        assert first.visible()
        stage.docker.active = first
        assert canvas.read(made, (0, 0, 96, 72)) != before
        assert canvas.read(made, (0, 0, 96, 72), canvas.source_of(made, first, "visible")) == before
        assert canvas.source_of(made, first, "layer") == canvas.Source(None, first)
        # Also inside a group.
        group = made.createGroupLayer("paintings")
        made.rootNode().addChildNode(group, None)
        inside = first.duplicate()
        group.addChildNode(inside, None)
        inside = group.childNodes()[0]
        notes.set_layer(made, nodes.id_of(inside), notes.of_layer(made, first), "")
        made.waitForDone()
        assert canvas.read(made, (0, 0, 96, 72), canvas.Source()) == before
        stage.docker.content.set_value("visible")
        stage.finish(stage.run())
        assert first.visible()
        assert inside.visible()
        assert len(ours(made)) == 3


def check_the_active_layer_of_impasto_stands_for_its_source() -> None:
    with document() as made:
        quick()
        photo = made.nodeByName("photo")
        stage.docker.content.set_value("layer")
        stage.finish(stage.run())
        (first,) = ours(made)
        stage.docker.active = first
        source = canvas.source_of(made, first, "layer")
        assert source.layer == photo
        stage.finish(stage.run())
        # Above the first one, which would hide it.
        assert layers(made)[:2] == ["Background", "photo"]
        second = made.rootNode().childNodes()[-1]
        assert len(ours(made)) == 2
        assert second != first
        assert notes.of_layer(made, second)["source"] == nodes.id_of(photo)
        photo.remove()
        made.waitForDone()
        stage.docker.active = second
        stage.docker.stylize()
        assert "is gone. Choose another layer." in stage.docker.notice.text()
        quick()


def check_masks_groups_and_other_layers() -> None:
    with document() as made:
        quick()
        root, photo = made.rootNode(), made.nodeByName("photo")
        group = made.createGroupLayer("group")
        root.addChildNode(group, None)
        group.addChildNode(filled(made, "green", [0, 200, 0, 255], (0, 0, 60, 60)), None)
        clone = made.createCloneLayer("clone", photo)
        root.addChildNode(clone, None)
        everything = Selection()
        everything.select(0, 0, 96, 72, 255)
        inverted = made.createFilterLayer("filter", Krita.instance().filter("invert"), everything)
        root.addChildNode(inverted, None)
        png = os.path.join(OUT, "file-layer.png")
        QtGui.QImage(SETTINGS["photo"]).scaled(96, 72).save(png)
        file = made.createFileLayer("file", png, "None")
        root.addChildNode(file, None)
        until(lambda: not file.bounds().isEmpty())
        masks = []
        for owner in (photo, group):
            mask = made.createNode("mask", "transparencymask")
            owner.addChildNode(mask, None)
            masks.append((mask, owner))
        made.waitForDone()
        for mask, owner in masks:
            assert canvas.source_of(made, mask, "layer").layer == owner
        for active, above in (*masks, (group, group), (clone, clone), (inverted, inverted),
                              (file, file)):  # fmt: skip
            stage.docker.active = active
            stage.docker.content.set_value("layer")
            count = len(ours(made))
            stage.finish(stage.run())
            new = ours(made)
            assert len(new) == count + 1, active.name()
            names = layers(made)
            assert "· strength" in names[names.index(above.name()) + 1], (active.name(), names)
        # Locked layers are read too, and a locked group takes the result beside it.
        photo.setLocked(True)
        stage.docker.active = photo
        stage.finish(stage.run())
        quick()


def check_hidden_or_transparent_content_is_refused() -> None:
    with document() as made:
        quick()
        photo = made.nodeByName("photo")
        for node in made.rootNode().childNodes():
            node.setVisible(False)
        projection(made)
        stage.docker.stylize()
        assert "hidden or transparent" in stage.docker.notice.text()
        stage.docker.content.set_value("layer")
        stage.docker.stylize()
        assert "The layer “photo” is hidden" in stage.docker.notice.text()
        photo.setVisible(True)
        hole = filled(made, "hole", [0, 0, 0, 0], (0, 0, 96, 72))
        hole.setPixelData(QtCore.QByteArray(bytes([1, 2, 3, 255])), 90, 70, 1, 1)
        made.rootNode().addChildNode(hole, None)
        selection = Selection()
        selection.select(0, 0, 40, 40, 255)
        made.setSelection(selection)
        stage.docker.active = hole
        stage.docker.stylize()
        assert "hidden or transparent" in stage.docker.notice.text()
        assert not stage.controller.is_painting
        quick()


def check_a_document_scaled_meanwhile() -> None:
    with document() as made:
        quick()
        figure = filled(made, "figure", [30, 200, 90, 255], (48, 36, 40, 30))
        made.rootNode().addChildNode(figure, None)
        stage.docker.active = made.rootNode().childNodes()[-1]
        stage.docker.content.set_value("layer")
        run = stage.run()
        made.waitForDone()
        made.scaleImage(192, 144, 72, 72, "Bilinear")
        made.waitForDone()
        stage.finish(run)
        (layer,) = ours(made)
        bounds = layer.bounds()
        assert (bounds.x(), bounds.y(), bounds.width(), bounds.height()) == (96, 72, 80, 60)
        assert "was scaled while it was painted" in stage.host.remark


def _mirrored(made: Any) -> None:
    """As Krita mirrors an image."""
    layer = made.nodeByName("photo")
    image = pixels.from_krita(bytes(layer.pixelData(0, 0, 96, 72)), 96, 72)
    layer.setPixelData(QtCore.QByteArray(pixels.to_krita(image.mirrored(True, False))), 0, 0, 96, 72)


def _photo() -> Any:
    return QtGui.QImage(SETTINGS["photo"])


def check_a_document_cropped_or_moved_meanwhile() -> None:
    """The second has the proportions of the whole, so that its size does not tell."""
    for change, wanted in (
        (lambda made: made.crop(10, 10, 50, 60), (-10, -10, 96, 72)),
        (lambda made: made.crop(30, 20, 48, 36), (-30, -20, 96, 72)),
        (lambda made: made.resizeImage(-10, -10, 96, 72), (10, 10, 96, 72)),
        (lambda made: made.resizeImage(-10, -10, 192, 144), (10, 10, 96, 72)),
    ):
        for image in (None, _photo()):
            if image is None and wanted[0] > 0:
                continue
            with document(image=image) as made:
                quick()
                run = stage.run()
                change(made)
                made.waitForDone()
                stage.finish(run)
                if image is None and not ours(made):
                    # A part of a gradient may be anywhere.
                    assert "a document of its own" in stage.host.remark
                    targets[-1].setModified(False)
                    targets[-1].close()
                    continue
                assert stage.host.remark == "", stage.host.remark
                (layer,) = ours(made)
                bounds = layer.bounds()
                found = (bounds.x(), bounds.y(), bounds.width(), bounds.height())
                assert found == wanted, (found, wanted)


def check_a_document_turned_meanwhile() -> None:
    for change in (
        lambda made: made.rotateImage(0.5 * math.pi),
        lambda made: made.rotateImage(math.pi),
        _mirrored,
    ):
        with document(image=_photo()) as made:
            quick()
            run = stage.run()
            change(made)
            made.waitForDone()
            before = len(targets)
            stage.finish(run)
            assert not ours(made)
            assert "a document of its own" in stage.host.remark
            assert len(targets) == before + 1
            assert (targets[-1].width(), targets[-1].height()) == (96, 72)
            assert ours(targets[-1])
            targets[-1].setModified(False)
            targets[-1].close()


def check_a_document_painted_on_meanwhile() -> None:
    """Its own changes move nothing; nor does one layer that is moved alone."""
    with document(image=_photo()) as made:
        quick()
        figure = filled(made, "figure", [30, 200, 90, 255], (48, 36, 40, 30))
        made.rootNode().addChildNode(figure, None)
        run = stage.run()
        photo = made.nodeByName("photo")
        photo.setPixelData(QtCore.QByteArray(bytes([9, 9, 200, 255]) * (96 * 50)), 0, 0, 96, 50)
        made.waitForDone()
        stage.finish(run)
        run = stage.run()
        photo.move(12, 7)
        made.waitForDone()
        stage.finish(run)
        for layer in ours(made):
            bounds = layer.bounds()
            assert (bounds.x(), bounds.y(), bounds.width(), bounds.height()) == (0, 0, 96, 72)
        assert len(ours(made)) == 2


def check_a_preview_is_not_saved_and_is_taken_out_after_a_crash() -> None:
    path = os.path.join(OUT, "crashed.kra")
    with document(256, 192) as made:
        long()
        made.setModified(False)
        stage.docker.on_canvas.setChecked(True)
        run = stage.run()
        until(lambda: any("being painted" in name for name in layers(made)))
        wait(200)
        # As a crash would leave it: saved behind the plugin's back.
        assert made.saveAs(path)
        # Krita's window tells that it was saved; then it is saved again.
        stage.host.document_saved(path)
        assert not any("being painted" in name for name in layers(made))
        clean = Krita.instance().openDocument(path)
        assert not any("being painted" in name for name in layers(clean)), layers(clean)
        assert not notes.previews(clean)
        clean.close()
        # No more previews for this painting, but its picture.
        seen = run.preview
        until(lambda: run.preview is not seen)
        assert not any("being painted" in name for name in layers(made))
        run.cancel()
        left = filled(made, "The Starry Night (being painted)", [9, 9, 9, 255], (0, 0, 256, 192))
        made.rootNode().addChildNode(left, None)
        left = made.rootNode().childNodes()[-1]
        notes.mark_preview(made, nodes.id_of(left), on=True)
        assert made.saveAs(path)
    again = Krita.instance().openDocument(path)
    assert any("being painted" in name for name in layers(again))
    stage.host.document_opened(again)
    again.waitForDone()
    assert not any("being painted" in name for name in layers(again))
    assert not notes.previews(again)
    again.setModified(False)
    again.close()
    quick()


def check_the_wheel_changes_nothing_without_the_focus() -> None:
    docker = stage.docker
    fields = [
        each
        for kind in (QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QSlider)
        for each in docker.findChildren(kind)
    ]
    assert len(fields) >= 6
    before = docker.choices
    for field in fields:
        assert field.focusPolicy() == QtCore.Qt.FocusPolicy.StrongFocus
        assert not field.hasFocus()
        turned = QtGui.QWheelEvent(
            QtCore.QPointF(5, 5),
            QtCore.QPointF(field.mapToGlobal(QtCore.QPoint(5, 5))),
            QtCore.QPoint(0, 0),
            QtCore.QPoint(0, -120),
            QtCore.Qt.MouseButton.NoButton,
            QtCore.Qt.KeyboardModifier.NoModifier,
            QtCore.Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        turned.setAccepted(True)
        QtWidgets.QApplication.sendEvent(field, turned)
    assert docker.choices == before


def check_several_paintings_wait_each_with_its_cancel() -> None:
    with document(256, 192) as made:
        long()
        first = stage.run()
        until(lambda: first.state == "running")
        # A second go of the very same order takes a new seed.
        second = stage.run()
        assert second.choices.seed != first.choices.seed
        assert stage.docker.choices.seed == second.choices.seed
        third = stage.run()
        assert len(stage.controller.runs) == 3
        queue = stage.docker.queue
        assert not queue.isHidden()
        wait(50)
        buttons = [each for each in queue.findChildren(QtWidgets.QToolButton) if each.isVisible()]
        crosses = [each for each in buttons if each.text() == "×"]
        assert len(crosses) == 3
        assert all(each.accessibleName() for each in crosses)
        until(lambda: third.state == "queued")
        lines = [line.whole for _run, line in queue._lines]
        assert lines[2] == f"Waiting · {third.style.title} · seed {third.choices.seed}", lines
        assert " % · " in lines[0], lines
        picture("queue.png")
        crosses[1].click()
        assert second.state == "cancelled"
        assert len(stage.controller.runs) == 2
        stage.controller.show(first)
        assert stage.docker.status.whole == first.sentence
        everything = [
            each for each in queue.findChildren(QtWidgets.QPushButton) if each.text() == "Cancel all"
        ]
        everything[-1].click()
        assert not stage.controller.runs
        assert queue.isHidden()
        assert not ours(made)
        quick()


def check_two_styles_with_shares() -> None:
    keys = [style.key for style in stage.docker.styles.all_items]
    with document() as made:
        quick()
        stage.docker.styles.choose(*keys)
        assert not stage.docker.shares.isHidden()
        sliders = stage.docker.shares._sliders
        sliders[keys[0]].set_value(150)
        shares = stage.docker.shares.shares
        assert [(share.style.key, share.share) for share in shares] == [(keys[0], 150), (keys[1], 100)]
        picture("shares.png")
        run = stage.run()
        stage.finish(run)
        (layer,) = ours(made)
        assert " + " not in layer.name() or layer.name().count(" + ") == 1
        assert len(run.styles) == 2
        assert [share.share for share in notes.shares_of(notes.of_layer(made, layer))] == [150, 100]
        # As after a restart.
        again = TestDocker(stage.host)
        assert again.styles.keys == keys
        assert [share.share for share in again.shares.shares] == [150, 100]
        again._stop_listening()
        again.deleteLater()
        stage.docker.styles.choose(keys[0])
        assert stage.docker.shares.isHidden()
        stage.docker.use(shares, Choices(size=48, effort="draft"))
        assert stage.docker.styles.keys == keys
        assert stage.docker.shares.shares == shares
    stage.docker.styles.choose("styles/starry-night")


def check_areas_from_layers_and_masks() -> None:
    keys = [style.key for style in stage.docker.styles.all_items]
    with document() as made:
        quick()
        stage.docker.styles.choose(keys[0])
        shape = filled(made, "figure", [0, 0, 255, 255], (10, 10, 40, 40))
        made.rootNode().addChildNode(shape, None)
        shape = made.rootNode().childNodes()[-1]
        made.waitForDone()
        alpha = canvas.shape_of(made, shape, (0, 0, 96, 72))
        assert alpha[0] == 0
        assert alpha[20 * 96 + 20] == 255
        form = stage.docker.areas
        form._fill(form.add.menu())
        assert "figure" in [action.text() for action in form.add.menu().actions()]
        form.add_node(shape, keys[1])
        stage.docker.areas_fold.head.setChecked(True)
        assert stage.docker.areas_fold.head.text() == "Areas (1)"
        picture("areas.png")
        run = stage.run()
        stage.finish(run)
        assert [share.style.key for share in run.styles] == keys
        # One that does not reach into the selection is said.
        selection = Selection()
        selection.select(60, 50, 30, 20, 255)
        made.setSelection(selection)
        run = stage.run()
        until(lambda: run.is_final)
        assert "“figure”" in run.sentence, run.sentence
        form.remove(nodes.id_of(shape))
        stage.docker.areas_fold.head.setChecked(False)
    with document():
        assert form.found(stage.docker.document) == []
    stage.docker.styles.choose("styles/starry-night")


def check_a_texture_fills_the_selection() -> None:
    with document() as made:
        quick()
        for node in made.rootNode().childNodes():
            node.setVisible(False)
        selection = Selection()
        selection.select(20, 10, 60, 50, 255)
        made.setSelection(selection)
        stage.docker.content.set_value("texture")
        assert not stage.docker.form.fields["strength"].widget.isEnabled()
        run = stage.run()
        stage.finish(run)
        (layer,) = ours(made)
        bounds = layer.bounds()
        assert (bounds.x(), bounds.y(), bounds.width(), bounds.height()) == (20, 10, 60, 50)
        quick()
        assert stage.docker.form.fields["strength"].widget.isEnabled()


def check_where_the_result_goes() -> None:
    with document() as made:
        quick()
        group = made.createGroupLayer("group")
        made.rootNode().addChildNode(group, None)
        inside = filled(made, "inside", [0, 200, 0, 255], (0, 0, 60, 60))
        group.addChildNode(inside, None)
        inside = group.childNodes()[0]
        for active in (group, inside):
            stage.docker.active = active
            stage.docker.result.set_value("group")
            count = len(group.childNodes())
            stage.finish(stage.run())
            assert len(group.childNodes()) == count + 1
            assert "· strength" in group.childNodes()[-1].name()
        before, count = len(targets), len(ours(made))
        stage.docker.result.set_value("document")
        stage.docker.content.set_value("layer")
        stage.finish(stage.run())
        assert len(ours(made)) == count
        assert len(targets) == before + 1
        assert (targets[-1].width(), targets[-1].height()) == (60, 60)
        assert ours(targets[-1])
        targets[-1].setModified(False)
        targets[-1].close()
        stage.docker.result.set_value("above")
        quick()


def check_the_history_is_kept_with_the_document() -> None:
    history = stage.controller.history
    stage.docker.history_fold.head.setChecked(True)
    with document() as made:
        quick(seed=21)
        before = canvas.read(made, (0, 0, 96, 72))
        stage.finish(stage.run())
        key = notes.stored_key(made)
        (entry,) = history.of(key)
        assert entry.thumbnail
        stage.docker.history.show_entries()
        listed = stage.docker.history.list
        assert listed.count() == 1
        listed.setCurrentRow(0)
        assert all(each.isEnabled() for each in stage.docker.history.buttons)
        look, compare, place, use = stage.docker.history.buttons
        look.click()
        until(lambda: stage.docker._looked is not None)
        assert stage.docker._looked[1] == entry.label
        compare.click()
        until(lambda: stage.docker.picture.compares)
        assert stage.docker._looked[2] == before
        middle = stage.docker.picture.border
        stage.docker.picture.setFocus()
        press(stage.docker.picture, QtCore.Qt.Key.Key_Right)
        assert stage.docker.picture.border > middle
        picture("compare.png")
        place.click()
        until(lambda: len(ours(made)) == 2)
        stage.docker._set_choices(Choices())
        use.click()
        assert stage.docker.choices.seed == 21
        path = os.path.join(OUT, "history.kra")
        assert made.saveAs(path)
    history.remove(entry.id)
    stage.host.close()
    stage.docker.close()
    # On another computer, say.
    import shutil

    shutil.rmtree(os.path.join(OUT, "kept", "history"), ignore_errors=True)
    os.remove(os.path.join(OUT, "kept", "history.json"))
    stage.open()
    stage.controller.start()
    assert not stage.controller.history.entries
    again = Krita.instance().openDocument(path)
    stage.host.document_opened(again)
    (entry,) = stage.controller.history.of(notes.stored_key(again))
    assert entry.thumbnail
    assert entry.choices.seed == 21
    again.close()


def check_presets() -> None:
    until(lambda: stage.docker.styles.count() == 2)
    quick(seed=5)
    stage.docker.styles.choose("styles/starry-night")
    presets = stage.docker.presets
    presets._ask_name = lambda title, name: "Night & fog"
    presets.ask_save()
    stage.docker._set_choices(Choices())
    menu = presets.button.menu()
    menu.clear()
    presets.fill(menu)
    action = menu.actions()[0]
    assert action.text() == "Night && fog"
    action.trigger()
    assert stage.docker.choices.seed == 5
    path = os.path.join(OUT, "presets.json")
    stage.controller.presets.export(path)
    presets._ask_name = lambda title, name: "Fog"
    presets.ask_rename("Night & fog")
    assert [preset.name for preset in stage.controller.presets.presets] == ["Fog"]
    presets.remove("Fog")
    presets.load(path)
    assert "Night & fog" in stage.docker.notice.text()
    presets.load(os.path.join(OUT, "server.log"))
    assert "has no presets of Impasto" in stage.docker.notice.text()
    presets.remove("Night & fog")


def press(widget: Any, key: Any) -> None:
    for kind in (QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease):
        event = QtGui.QKeyEvent(kind, key, QtCore.Qt.KeyboardModifier.NoModifier)
        QtWidgets.QApplication.sendEvent(widget, event)


def check_a_low_and_a_narrow_docker() -> None:
    docker = stage.docker
    docker.notice.hide()
    for width, height in ((300, 240), (200, 240), (200, 700)):
        docker.resize(width, height)
        wait(100)
        assert (docker.width(), docker.height()) == (width, height)
        picture(f"docker-{width}x{height}.png")
        for widget in (docker.styles, docker.go, docker.style_name):
            top = widget.mapTo(docker, QtCore.QPoint(0, 0)).y()
            assert top >= 0
            assert not widget.visibleRegion().isEmpty(), widget
        shown = docker.styles.visibleRegion().boundingRect()
        assert shown.height() >= 64, shown
        assert docker.go.mapTo(docker, QtCore.QPoint(0, docker.go.height())).y() <= height
        for field in docker.form.fields.values():
            if not field.widget.isVisibleTo(docker):
                continue
            right = field.widget.mapTo(docker, QtCore.QPoint(field.widget.width(), 0)).x()
            assert right <= width, field.setting.name
    docker.resize(300, 940)
    wait(50)


class FakeComputer:
    """A server on this computer in any state."""

    can_install = True
    keep_running = False
    offer = "It takes 1.1 GB to download and 3 GB on the disk; about 5 minutes."
    log = ""
    state = "absent"
    sentence = "Impasto is not installed on this computer."
    short = sentence
    fraction: float | None = None

    def __init__(self) -> None:
        self.called: list[str] = []

    @property
    def can_start(self) -> bool:
        return self.state in ("installed", "running")

    def look(self) -> None:
        self.called.append("look")

    def leave(self) -> None:
        pass

    def cancel(self) -> None:
        self.called.append("cancel")

    def stop(self) -> None:
        self.called.append("stop")


def check_first_contact_offers_this_computer() -> None:
    """Without a server: one sentence and what to do, with no wall of text."""
    bar, controller = stage.docker.connection, stage.controller
    computer = FakeComputer()
    stored = os.path.join(OUT, "kept", "server.json")
    with open(stored, "rb") as file:
        before = file.read()
    chosen: list[bool] = []
    controller.connection.disconnect()
    os.remove(stored)
    controller.this_computer = computer
    controller.paint_here = lambda install=False: chosen.append(install)
    try:
        bar.show_connection()
        here = bar.here
        assert not here.isHidden()
        assert not here.install.isHidden()
        assert not here.other.isHidden()
        assert here.cancel.isHidden()
        assert "1.1 GB" in here.offer.text()
        picture("offer.png")
        stage.docker.resize(300, 300)
        picture("offer-low.png")
        assert not here.install.visibleRegion().isEmpty()
        stage.docker.resize(300, 940)
        here.install.click()
        assert chosen == [True]
        computer.state, computer.sentence, computer.fraction = "installing", "Installing Impasto …", 0.4
        computer.log = stored
        bar.show_connection()
        assert here.bar.value() == 400
        assert not here.log.isHidden()
        here.cancel.click()
        assert computer.called == ["cancel"]
        picture("installing.png")
        computer.state, computer.sentence = "installed", "Impasto is installed on this computer."
        bar.show_connection()
        here.paint.click()
        assert chosen == [True, False]
    finally:
        controller.this_computer = None
        del controller.paint_here
        with open(stored, "wb") as file:
            file.write(before)
    controller.start()
    until(lambda: controller.connection.state == "connected")
    assert bar.here.isHidden()


def check_this_computer_stays_within_reach() -> None:
    """While another server does not answer, and in the server's settings."""
    bar, controller = stage.docker.connection, stage.controller
    computer = FakeComputer()
    chosen: list[bool] = []
    controller.this_computer = computer
    controller.paint_here = lambda install=False: chosen.append(install)
    try:
        stage.docker.connect_to(Server("not an address"))
        until(lambda: controller.connection.state == "refused")
        assert computer.called == ["look"]
        assert not bar.strip.isHidden()
        assert not bar.here.install.isHidden()
        assert bar.here.offer.isHidden()
        computer.state, computer.sentence = "installed", "The server is on this computer."
        bar.show_connection()
        assert not bar.here.paint.isHidden()
        assert bar.here.install.isHidden()
        picture("instead.png")
        bar.here.paint.click()
        assert chosen == [False]
        computer.state, computer.sentence = "running", "The server on this computer runs."
        computer.log = os.path.join(OUT, "server.log")
        dialog, close = bar.server_dialog()
        dialog.show()
        (panel,) = dialog.findChildren(type(bar.here))
        wait(50)
        assert dialog.grab().save(os.path.join(OUT, "dialog-here.png"))
        assert not panel.stop.isHidden()
        assert not panel.keep.isHidden()
        assert not panel.log.isHidden()
        panel.stop.click()
        assert computer.called[-1] == "stop"
        panel.keep.setChecked(True)
        assert computer.keep_running
        panel.paint.click()
        assert chosen == [False, False]
        assert not dialog.isVisible()
        close()
        from impasto_krita.log_dialog import LogDialog

        log = LogDialog(stage.docker, computer.log)
        assert log.text.toPlainText()
        assert LogDialog(stage.docker, "/nowhere").text.toPlainText() == "The log cannot be read."
    finally:
        controller.this_computer = None
        del controller.paint_here
        stage.docker.connect_to(SERVER)
    until(lambda: controller.connection.state == "connected")
    assert bar.here.isHidden()
    assert stage.docker.go.toolTip() == "Paint the picture, or its selected part"


def check_names_and_tooltips_everywhere() -> None:
    docker = stage.docker
    for fold in (docker.advanced, docker.areas_fold, docker.history_fold):
        fold.head.setChecked(True)
    wait(50)
    picture("all-open.png")
    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QSlider,
             QtWidgets.QListWidget)  # fmt: skip
    seen = 0
    for kind in kinds:
        for widget in docker.findChildren(kind):
            # The title of a dock widget, and parts of Qt's own widgets.
            inner = widget.parent()
            if isinstance(inner, (QtWidgets.QDockWidget, QtWidgets.QAbstractSpinBox, QtWidgets.QComboBox)):
                continue
            if widget.objectName().startswith("qt_") or isinstance(inner, QtWidgets.QComboBox):
                continue
            if not widget.isVisibleTo(docker):
                continue
            seen += 1
            named = widget.accessibleName() or getattr(widget, "text", lambda: "")()
            assert named, (kind, widget.parent(), widget.toolTip())
            assert widget.toolTip(), (kind, named)
            assert widget.focusPolicy() != QtCore.Qt.FocusPolicy.NoFocus, named
    assert seen > 25
    # Tab goes from the top to the bottom.
    wanted = [
        docker.connection.settings, docker.add, docker.presets.button, docker.styles,
        *(docker.form.fields[name].input for name in ("effort", "color", "size", "seed")),
        docker.content, docker.result, docker.on_canvas, docker.advanced.head, docker.areas_fold.head,
        docker.history_fold.head, docker.history.list, docker.go,
    ]  # fmt: skip
    chain, at = [], wanted[0]
    while len(chain) < 2000:
        chain.append(at)
        at = at.nextInFocusChain()
        if at is wanted[0]:
            break
    places = [chain.index(widget) for widget in wanted]
    assert places == sorted(places), places
    for label in docker.form.findChildren(QtWidgets.QLabel):
        if label is not docker.size_line and label.text():
            assert label.buddy() is not None, label.text()
    for fold in (docker.advanced, docker.areas_fold, docker.history_fold):
        fold.head.setChecked(False)


def check_own_styles_from_a_file_and_a_document() -> None:
    stage.docker.add_style_file(SETTINGS["painting"])
    item = stage.docker.styles.style_item
    assert item.own
    assert item.title == "starry_night"
    with document() as made:
        quick()
        stage.finish(stage.run())
        assert layers(made)[-1].startswith("starry_night ·")
        stage.docker.add_style_document(made, made.nodeByName("photo"))
        assert stage.docker.styles.style_item.title == "photo"
        stage.docker.add_style_file(os.path.join(OUT, "saved.kra"))
        assert stage.docker.styles.style_item.title == "saved"
        stage.docker.add_style_file(os.path.join(OUT, "server.log"))
        assert "cannot be a style" in stage.docker.notice.text()
    assert len(stage.controller.library.own) == 3
    picture("own-styles.png")
    for own in stage.controller.library.own:
        stage.controller.library.remove(own.key)
    assert stage.docker.styles.count() == 2
    stage.docker.styles.choose("styles/starry-night")


def check_what_other_people_wrote_is_harmless() -> None:
    """Names are no HTML, whose pictures Qt would open; pictures and masks are not as large as they claim."""
    from impasto_krita.style_picker import icon
    from impasto_krita.widgets import plain_tip

    from impasto.hosts import StyleItem

    name = "Waves <img src='/tmp/fifo'> & more"
    assert "<img" not in plain_tip(name)
    assert "&lt;img" in plain_tip(name)
    assert plain_tip("Night") == "Night"
    small = QtGui.QImage(8, 8, QtGui.QImage.Format.Format_RGB32)
    small.fill(QtCore.Qt.GlobalColor.red)
    jpeg = bytearray(pixels.encoded(small, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = (65500).to_bytes(2, "big") * 2
    assert pixels.from_thumbnail(bytes(jpeg)).isNull()
    assert pixels.from_thumbnail(b"no picture").isNull()
    assert pixels.from_thumbnail(b"").isNull()
    assert pixels.from_thumbnail(pixels.encoded(small, "JPEG")).size() == small.size()
    large = pixels.encoded(pixels.scaled(small, 2000, 1000), "PNG")
    assert pixels.from_thumbnail(large).size() == QtCore.QSize(512, 256)
    assert not icon(StyleItem("styles/x", name, bytes(jpeg))).isNull()
    assert pixels.unpacked(pixels.packed(bytes(10**7)), 100) == b""
    assert pixels.unpacked(pixels.packed(bytes(100)), 100) == bytes(100)
    with document() as made:
        deep = QtCore.QByteArray(b'{"a":' + b"[" * 100000)
        made.setAnnotation(notes.LAYERS, "Impasto", deep)
        assert notes.painted_layers(made) == set()
        stage.host.document_opened(made)
        # A mark alone does not suffice to lose a layer.
        notes.mark_preview(made, nodes.id_of(made.nodeByName("photo")), on=True)
        stage.host.document_opened(made)
        assert made.nodeByName("photo") is not None
        assert not notes.previews(made)


def check_a_document_converted_while_previews_are_on_the_canvas() -> None:
    for model, depth in (("CMYKA", "U8"), ("RGBA", "F32")):
        with document() as made:
            quick()
            stage.docker.form.fields["size"].set_value(64)
            stage.docker.on_canvas.setChecked(True)
            run = stage.run()
            until(lambda: any("being painted" in name for name in layers(made)))
            made.setColorSpace(model, depth, "")
            made.waitForDone()
            stage.finish(run)
            (layer,) = ours(made)
            assert layer.colorModel() == "RGBA"
            last = 4 if layer.colorDepth() == "U8" else 8
            assert set(bytes(layer.pixelData(0, 0, 96, 72))[last - 1 :: last]) == {255}
            assert not any("being painted" in name for name in layers(made))
    quick()


def check_copies_of_a_file_each_get_their_own_picture() -> None:
    a, b = (os.path.join(OUT, f"copy-{name}.kra") for name in "ab")
    with document() as made:
        quick()
        stage.finish(stage.run())
        assert made.saveAs(a)
        assert made.saveAs(b)
        key = notes.stored_key(made)
    first, second = Krita.instance().openDocument(a), Krita.instance().openDocument(b)
    assert notes.stored_key(first) == notes.stored_key(second) == key
    assert canvas.opened({"path": b, "key": key}) == second
    assert canvas.opened({"path": a, "key": key}) == first
    for each in (first, second):
        each.close()


def check_steer_pause_resume_and_cancel() -> Any:
    with document(256, 192) as made:
        long()
        stage.docker.on_canvas.setChecked(True)
        before, names = projection(made), layers(made)
        wait(200)
        made.setModified(False)
        run = stage.run()
        until(lambda: len(layers(made)) == 3)
        assert layers(made)[-1] == "The Starry Night (being painted)"
        client = stage.controller.connection.client
        asked = time.monotonic()
        for strength in range(51, 91):
            stage.docker.form.fields["strength"].set_value(strength)
        wanted = Choices(strength=90).content_weight
        until(lambda: client.job(run.name).recipe.content_weight == wanted)
        told = time.monotonic() - asked
        stage.docker.pause.click()
        until(lambda: run.state == "paused")
        assert stage.docker.pause.text() == "Resume"
        picture("paused.png")
        stage.docker.pause.click()
        until(lambda: run.state == "running")
        stage.docker.stop.click()
        assert run.state == "cancelled"
        assert layers(made) == names
        assert projection(made) == before
        until(lambda: not made.modified())
        until(lambda: client.job(run.name).state == "cancelled")
        assert stage.docker.go.isEnabled()
        quick()
        return {"slider_to_server_ms": round(1000 * told)}


def check_the_server_is_killed_and_comes_back() -> None:
    with document() as made:
        quick()
        run = stage.run()
        until(lambda: run.progress is not None)
        stage.stop_server()
        until(lambda: stage.controller.connection.state == "reconnecting")
        assert "goes on painting" in stage.docker.status.whole
        picture("server-gone.png")
        stage.start_server()
        stage.finish(run)
        assert len(layers(made)) == 3


def check_a_job_is_found_after_krita_was_closed() -> None:
    with document() as made:
        quick(seed=11)
        path = os.path.join(OUT, "flower.kra")
        assert made.saveAs(path)
        run = stage.run()
        until(lambda: run.name)
        name = run.name
    stage.docker.close()
    stage.host.close()
    stage.open()
    stage.controller.start()
    until(lambda: stage.controller.found)
    client = stage.controller.connection.client
    until(lambda: client.job(name).state == "succeeded")
    stage.controller._look_for_jobs()
    until(lambda: stage.controller.found and stage.controller.found[0].ready)
    assert stage.docker.found.count() == 1
    picture("found.png")
    place = stage.docker.found.findChildren(QtWidgets.QPushButton)[0]
    assert place.text() == "Place"
    place.click()
    until(lambda: stage.controller.run and stage.controller.run.is_final)
    assert stage.controller.run.state == "succeeded", stage.controller.run.sentence
    opened = targets[-1]
    assert opened.fileName() == path
    assert layers(opened)[-1] == "The Starry Night · seed 11 · strength 50 %"
    assert stage.docker.found.count() == 0
    opened.setModified(False)
    opened.close()


def check_a_closed_document_gets_its_picture_in_a_new_one() -> None:
    with document() as made:
        quick()
        run = stage.run()
        assert made
    before = len(targets)
    stage.finish(run)
    assert len(targets) == before + 1
    made = targets[-1]
    assert (made.width(), made.height()) == (96, 72)
    assert "strength" in layers(made)[-1]
    made.setModified(False)
    made.close()


def check_the_dialog() -> None:
    from impasto_krita.server_dialog import ServerDialog

    dialog = ServerDialog(stage.docker, Server("studio:50051", token="secret"))
    dialog.show()
    assert dialog.plaintext.isEnabled()
    dialog.tls.setChecked(True)
    assert not dialog.plaintext.isEnabled()
    dialog.ca.setText("/ca.pem")
    assert dialog.server == Server("studio:50051", "secret", True, "/ca.pem")
    wait(50)
    dialog.grab().save(os.path.join(OUT, "dialog.png"))
    # Enter connects; it does not open the chooser of certificates.
    for field in (dialog.address, dialog.token, dialog.ca):
        chosen = []
        dialog._browse = lambda: chosen.append("browsed")  # noqa: B023
        field.setFocus()
        for kind in (QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease):
            key = QtGui.QKeyEvent(kind, QtCore.Qt.Key.Key_Return, QtCore.Qt.KeyboardModifier.NoModifier)
            QtWidgets.QApplication.sendEvent(field, key)
        assert dialog.result() == 1
        assert not chosen
        dialog.show()
    dialog.address.setText(" ")
    assert not dialog.connect_button.isEnabled()
    dialog.close()


targets: list[Any] = []
"""Documents that were opened or made for a picture. Without a window that shows them, Krita closes those
that nobody holds."""


def _kept(place: dict[str, Any], target: Callable[[dict[str, Any]], Any] = canvas.target) -> Any:
    targets.append(target(place))
    return targets[-1]


def _kept_alone(place: dict[str, Any], alone: Callable[[dict[str, Any]], Any] = canvas.document_for) -> Any:
    made, there = alone(place)
    targets.append(made)
    return made, there


canvas.target = _kept
canvas.document_for = _kept_alone
stage: Stage
gaps: Gaps


def __main__(arguments: Any) -> None:
    global stage, gaps
    results: dict[str, Any] = {"krita": Krita.instance().version(), "python": sys.version.split()[0]}
    wanted = SETTINGS.get("only")
    started = time.monotonic()
    gaps = Gaps()
    stage = Stage()
    try:
        stage.controller.connect(SERVER)
        for name, check in list(globals().items()):
            if not name.startswith("check_") or (wanted and not any(word in name for word in wanted)):
                continue
            begun = time.monotonic()
            try:
                if name != "check_no_server_is_said_and_it_is_found_when_it_comes":
                    until(
                        lambda: (
                            stage.controller.connection.state == "connected" and stage.docker.styles.count()
                        )
                    )
                results[name] = {"ok": True, "said": check()}
            except BaseException:
                results[name] = {"ok": False, "said": traceback.format_exc()}
                if stage.controller.is_painting:
                    stage.controller.run.cancel()
            results[name]["seconds"] = round(time.monotonic() - begun, 2)
            results["seconds"] = round(time.monotonic() - started, 2)
            with open(os.path.join(OUT, "results.json"), "w") as file:
                json.dump(results, file, indent=1)
    finally:
        stage.stop_server()
        # Nothing of Krita's own way out is of interest, and it takes its time.
        sys.stdout.flush()
        os._exit(0)
