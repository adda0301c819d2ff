"""The docker."""

from __future__ import annotations

import os
import random
from typing import Any

from krita import DockWidget, Krita

from impasto.hosts import (
    COLORS,
    EFFORTS,
    SIZES,
    Choices,
    Order,
    Server,
    StyleItem,
    labelled,
    plan,
    seed_range,
)
from impasto.hosts import choices as choosing
from impasto_krita import canvas, nodes, notes, pixels
from impasto_krita.host import FIRST_SERVER, KritaHost
from impasto_krita.qt import MAJOR, QtCore, QtGui, QtWidgets
from impasto_krita.server_dialog import ServerDialog
from impasto_krita.inputs import Choice, Number, NumberSlider
from impasto_krita.widgets import (
    Elided,
    Light,
    PictureView,
    StylePicker,
    button,
    tool_button,
    wrapped,
)

CONTENTS = [
    ("visible", "Visible picture", "All visible layers"),
    ("layer", "Active layer", "Only the layer that is selected in the Layers docker"),
]
STYLE_FORMATS = {b"png": "PNG", b"jpeg": "JPEG", b"jpg": "JPEG", b"webp": "WebP"}
KRITA_FILES = {".kra", ".krz", ".ora", ".psd", ".xcf", ".tif", ".tiff", ".exr", ".webp", ".heic", ".avif"}
LARGEST_SPIN = 2**31 - 1
"""Largest value of a spin box."""
MOST_STYLE_SIDE = 2048
LARGEST_STYLE_FILE = 20 * 2**20
LOOK_INTERVAL = 500
"""Milliseconds between checks of the selection while the docker is visible."""
HINT = "Choose a style and press Stylize. Live previews appear here."


class ImpastoDocker(DockWidget):
    """Shows the controller's state, and passes the artist's actions to it."""

    def __init__(self, host: KritaHost) -> None:
        super().__init__()
        self.setWindowTitle("Impasto")
        self._host = host
        self._controller = host.controller
        self._seen: Any = None
        self._build()
        self._set_choices(self._controller.choices())
        self._stop_listening = self._controller.listen(self._heard)
        self.destroyed.connect(lambda: self._stop_listening())
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(LOOK_INTERVAL)
        for what in ("connection", "styles", "recents", "found", "run"):
            self._heard(what)

    # Its widgets.

    def _build(self) -> None:
        self.light = Light()
        self.where = Elided()
        self.settings = tool_button("Server settings", "Server, token and encryption")
        self.settings.clicked.connect(self.ask_server)
        head = QtWidgets.QHBoxLayout()
        head.addWidget(self.light)
        head.addWidget(self.where, 1)
        head.addWidget(self.settings)
        self.trouble = wrapped()
        self.found = QtWidgets.QVBoxLayout()

        self.picture = PictureView()
        self.styles = StylePicker()
        self.styles.chosen.connect(self._style_chosen)
        self.styles.removal_wanted.connect(self._controller.library.remove)
        self.add = tool_button("Add ▾", "Add your own style")
        self.add.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self.add.setMenu(QtWidgets.QMenu(self.add))
        self.add.menu().aboutToShow.connect(self._fill_add)
        self.recent = tool_button("Recent ▾", "Recently used recipes")
        self.recent.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self.recent.setMenu(QtWidgets.QMenu(self.recent))
        self.recent.menu().aboutToShow.connect(self._fill_recent)
        for tool in (self.add, self.recent):
            tool.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        style_head = QtWidgets.QHBoxLayout()
        self.style_name = Elided()
        style_head.addWidget(self.style_name, 1)
        style_head.addWidget(self.add)
        style_head.addWidget(self.recent)

        self.strength = NumberSlider()
        self.strength.setToolTip(
            "Strength of the style: 0 keeps most of your picture (content weight 2.4), "
            "100 least (content weight 0.0375)"
        )
        self.effort = Choice(labelled(EFFORTS))
        self.color = Choice(labelled(COLORS))
        self.painted_size = Choice([(side, f"{side} pixels", "") for side in SIZES])
        self.painted_size.setToolTip(
            "Longer side of the painting, at most; a larger part is painted at this size and enlarged"
        )
        self.seed = Number(*seed_range(LARGEST_SPIN))
        self.seed.setToolTip("The same seed and settings give the same picture")
        dice = tool_button("New", "Choose a new seed at random")
        dice.clicked.connect(lambda: self.seed.setValue(random.randrange(1_000_000)))
        seed = QtWidgets.QHBoxLayout()
        seed.addWidget(self.seed, 1)
        seed.addWidget(dice)
        self.content = Choice(CONTENTS)
        self.size = wrapped()
        self.on_canvas = QtWidgets.QCheckBox("Previews on the canvas")
        self.on_canvas.setChecked(self._host.on_canvas)
        self.on_canvas.toggled.connect(self._canvas_toggled)
        form = QtWidgets.QFormLayout()
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setVerticalSpacing(4)
        form.addRow("Style strength", self.strength)
        form.addRow("Effort", self.effort)
        form.addRow("Colours", self.color)
        form.addRow("Content", self.content)
        form.addRow("Size", self.painted_size)
        form.addRow("Seed", seed)
        for changed in (
            self.strength.changed,
            self.effort.currentIndexChanged,
            self.color.currentIndexChanged,
        ):
            changed.connect(lambda *_: self._steer())
        for changed in (self.painted_size.currentIndexChanged, self.content.currentIndexChanged):
            changed.connect(lambda *_: self._look(anew=True))

        self.status = wrapped()
        self.notice = wrapped()
        self.bar = QtWidgets.QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.go = button("Stylize", "Paint the picture, or its selected part", self.stylize)
        font = self.go.font()
        font.setBold(True)
        self.go.setFont(font)
        self.pause = button("Pause", "Free the device; the server keeps the painting", self.pause_or_resume)
        self.stop = button("Cancel", "Stop painting and leave the document unchanged", self.cancel)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addWidget(self.go, 2)
        buttons.addWidget(self.pause, 1)
        buttons.addWidget(self.stop, 1)

        controls = QtWidgets.QWidget()
        middle = QtWidgets.QVBoxLayout(controls)
        middle.setContentsMargins(0, 0, 4, 0)
        middle.setSpacing(4)
        middle.addWidget(self.picture, 3)
        middle.addLayout(style_head)
        middle.addWidget(self.styles, 2)
        middle.addLayout(form)
        middle.addWidget(self.size)
        middle.addWidget(self.on_canvas)
        scroll = QtWidgets.QScrollArea()
        scroll.setWidget(controls)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

        body = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(body)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self.trouble)
        column.addLayout(self.found)
        column.addWidget(scroll, 1)
        column.addWidget(self.status)
        column.addWidget(self.notice)
        column.addWidget(self.bar)
        column.addLayout(buttons)
        body.setMinimumWidth(200)
        self.setWidget(body)

    # Changes.

    def canvasChanged(self, canvas: Any) -> None:
        self._look(anew=True)

    def _heard(self, what: str) -> None:
        if what == "connection":
            self._show_connection()
        elif what == "styles":
            library = self._controller.library
            self.styles.show_styles([*library.own, *library.offered])
        elif what == "recents":
            self.recent.setEnabled(True)
        elif what == "found":
            self._show_found()
        elif what == "preview":
            self._show_picture()
        if what in ("connection", "styles", "run"):
            self._show_run()

    def _show_connection(self) -> None:
        connection = self._controller.connection
        self.light.show_state(connection.state)
        self.light.setToolTip(connection.sentence)
        connected = connection.state == "connected"
        self.where.set_text(
            connection.sentence.rstrip(".") if connected else connection.address or "No server"
        )
        self.where.setToolTip(connection.sentence)
        self.trouble.setText("" if connected else connection.sentence)
        self.trouble.setVisible(not connected)

    def _show_found(self) -> None:
        while self.found.count():
            old = self.found.takeAt(0).widget()
            old.hide()
            old.deleteLater()
        for found in self._controller.found:
            frame = QtWidgets.QFrame()
            frame.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
            take = button(
                "Place" if found.ready else "Watch",
                "Add it to its document as a new layer" if found.ready else "Watch the painting",
                lambda found=found: self.take_up(found),
            )
            drop = button(
                "Discard", "Discard this picture", lambda found=found: self._controller.dismiss(found)
            )
            row = QtWidgets.QHBoxLayout()
            row.addWidget(take)
            row.addWidget(drop)
            box = QtWidgets.QVBoxLayout(frame)
            box.setContentsMargins(6, 4, 6, 4)
            box.addWidget(wrapped(found.sentence))
            box.addLayout(row)
            self.found.addWidget(frame)

    def _show_run(self) -> None:
        run = self._controller.run
        painting = self._controller.is_painting
        usable = self._controller.connection.state in ("connected", "connecting", "reconnecting")
        self.go.setEnabled(not painting and usable and self.styles.style_item is not None)
        self.stop.setEnabled(painting)
        self.pause.setText("Resume" if run is not None and run.state == "paused" else "Pause")
        self.pause.setEnabled(run is not None and (run.can_pause or run.can_resume))
        self.status.setText(run.sentence if run is not None else "")
        self.status.setVisible(run is not None)
        self.notice.setText(run.notice if run is not None else "")
        self.notice.setVisible(bool(run is not None and run.notice))
        fraction = run.fraction if run is not None else 0.0
        moving = painting and fraction is None and run is not None and run.state != "paused"
        self.bar.setRange(0, 0 if moving else 1000)
        if not moving:
            done = run is not None and run.state in ("failed", "cancelled")
            self.bar.setValue(0 if done else round(1000 * (fraction or 0.0)))
        self.seed.setEnabled(not painting)
        self.painted_size.setEnabled(not painting)
        self.content.setEnabled(not painting)
        self._show_picture()

    def _show_picture(self) -> None:
        run = self._controller.run
        if run is not None and run.state == "succeeded" and self._host.finished is not None:
            self._picture(self._host.finished, "")
        elif run is not None and not run.is_final and run.preview is not None:
            self._picture(run.preview.image, "Preview" if run.state != "paused" else "Preview (paused)")
        else:
            self._seen = None
            self.picture.show_hint(HINT)

    def _picture(self, image: QtGui.QImage, word: str) -> None:
        if self._seen != (image.cacheKey(), word):
            self._seen = (image.cacheKey(), word)
            self.picture.show_picture(image, word)

    def _style_chosen(self) -> None:
        item = self.styles.style_item
        self.style_name.set_text(
            item.title if item is not None else "No style: connect to a server, or add your own"
        )
        self._show_run()

    def _look(self, *, anew: bool = False) -> None:
        """Shows the size at which the present selection would be painted."""
        if not anew and not self.isVisible():
            return
        document = self._document()
        if document is None:
            self.size.setText("Open a picture to paint.")
            return
        box = canvas.selected_box(document, self._layer(document))
        if box is None:
            self.size.setText("Nothing in the picture is selected.")
            return
        try:
            size = plan(box[2], box[3], self.painted_size.value, most=self._most())
        except ValueError as error:
            self.size.setText(str(error))
            return
        what = "The selection: " if document.selection() is not None else ""
        self.size.setText(what + size.sentence)

    # The artist's actions.

    @property
    def choices(self) -> Choices:
        """The choices in the widgets."""
        return Choices(
            strength=self.strength.value,
            effort=self.effort.value,
            color=self.color.value,
            size=self.painted_size.value,
            seed=self.seed.value(),
        )

    def stylize(self) -> None:
        """Starts to paint the selection, or the whole content."""
        document, style = self._document(), self.styles.style_item
        try:
            if document is None:
                raise ValueError("Open a picture to paint.")
            if style is None:
                raise ValueError("Choose a style first.")
            source = canvas.source_of(document, self._active(document), self.content.value)
            canvas.check_shown(source.layer)
            region = canvas.region(document, source.layer)
            size = plan(region.box[2], region.box[3], self.painted_size.value, most=self._most())
            image = canvas.read(document, region.box, source)
            canvas.check_opaque(image, region)
            order = Order(
                content=lambda: pixels.raw_pixels(image, size.painted_width, size.painted_height),
                style=style,
                size=size,
                choices=self.choices,
                place=canvas.place_of(document, region, source, key=self._host.key_of(document)),
                subject=canvas.name_of(document),
            )
            self._host.stylize(order, document)
        except ValueError as error:
            self._say(str(error))

    def cancel(self) -> None:
        """Cancels the painting."""
        if self._controller.run is not None:
            self._controller.run.cancel()

    def pause_or_resume(self) -> None:
        """Pauses the painting, or resumes it."""
        run = self._controller.run
        if run is not None and run.can_resume:
            run.resume()
        elif run is not None:
            run.pause()

    def take_up(self, found: Any) -> None:
        """Takes up an earlier painting."""
        try:
            self._controller.take_up(found)
        except ValueError as error:
            self._say(str(error))

    def ask_server(self) -> None:
        """Asks for the server and connects to it."""
        server = self._controller.server or self._controller.connection.server or FIRST_SERVER
        dialog = ServerDialog(self, server)
        if dialog.exec() if MAJOR == 6 else dialog.exec_():
            self.connect_to(dialog.server)

    def connect_to(self, server: Server) -> None:
        """Connects to a server and stores it."""
        self._controller.connect(server)

    def use(self, style: StyleItem, choices: Choices) -> None:
        """Uses an earlier style and earlier choices."""
        self._set_choices(choices)
        if not self.styles.choose(style.key):
            self._say(f"The style “{style.title}” no longer exists. Choose another one.")

    def _steer(self) -> None:
        if self._controller.run is not None and self._controller.is_painting:
            self._controller.run.steer(self.choices)

    def _canvas_toggled(self, on: bool) -> None:
        self._host.on_canvas = on

    # Own styles.

    def add_style_file(self, path: str) -> None:
        """Adds a picture's file as a style."""
        try:
            with open(path, "rb") as file:
                data = file.read()
            image = QtGui.QImage.fromData(data)
            kind = bytes(QtGui.QImageReader.imageFormat(path))
            if image.isNull():
                image = self._opened(path)
                kind = b""
            title = os.path.splitext(os.path.basename(path))[0]
            as_it_is = kind in STYLE_FORMATS and len(data) <= LARGEST_STYLE_FILE
            self._add(image, title, data if as_it_is else None)
        except (OSError, ValueError) as error:
            self._say(f"“{os.path.basename(path)}” cannot be a style: {error}")

    def add_style_document(self, document: Any, layer: Any = None) -> None:
        """Adds the visible picture of an open document, or one of its layers, as a style."""
        try:
            whole = QtCore.QRect(0, 0, document.width(), document.height())
            bounds = whole if layer is None else layer.bounds() & whole
            if bounds.isEmpty():
                raise ValueError("The layer is empty.")
            box = (bounds.x(), bounds.y(), bounds.width(), bounds.height())
            title = canvas.name_of(document) if layer is None else layer.name()
            self._add(canvas.read(document, box, canvas.Source(layer, layer, True)), os.path.splitext(title)[0] or title, None)
        except (OSError, ValueError) as error:
            self._say(f"That cannot be a style: {error}")

    def _add(self, image: QtGui.QImage, title: str, data: bytes | None) -> None:
        if data is None:
            data = pixels.encoded(pixels.at_most(image, MOST_STYLE_SIDE), "PNG")
        item = self._controller.library.add(data, title, pixels.thumbnail(image))
        self.styles.choose(item.key)

    def _opened(self, path: str) -> QtGui.QImage:
        """Returns a picture that only Krita can open."""
        # Krita shows an error dialog for files of other types.
        kind = os.path.splitext(path)[1].lower()
        document = Krita.instance().openDocument(path) if kind in KRITA_FILES else None
        if document is None:
            raise ValueError("it is not a picture in a known format.")
        try:
            return canvas.read(document, (0, 0, document.width(), document.height()))
        finally:
            document.close()

    def _fill_add(self) -> None:
        menu = self.add.menu()
        menu.clear()
        menu.addAction("From a file …").triggered.connect(self._ask_style_file)
        document = self._document()
        layer = self._active(document) if document is not None else None
        if layer is not None:
            menu.addAction(f"From the layer “{layer.name()}”").triggered.connect(
                lambda: self.add_style_document(document, layer)
            )
        for other in Krita.instance().documents():
            menu.addAction(f"From the document “{canvas.name_of(other)}”").triggered.connect(
                lambda _=False, other=other: self.add_style_document(other)
            )

    def _ask_style_file(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self, "Choose a picture as a style", "", "Pictures (*)"
        )
        if path:
            self.add_style_file(path)

    def _fill_recent(self) -> None:
        menu = self.recent.menu()
        menu.clear()
        for recent in self._controller.recents:
            menu.addAction(_described(recent.style, recent.choices)).triggered.connect(
                lambda _=False, recent=recent: self.use(recent.style, recent.choices)
            )
        if not self._controller.recents:
            menu.addAction("None yet").setEnabled(False)
        document = self._document()
        layer = nodes.layer_of(self._active(document)) if document is not None else None
        found = notes.of_layer(document, layer)
        if found is not None:
            menu.addSeparator()
            menu.addAction("Recipe of the active layer").triggered.connect(lambda: self.use_notes(found))

    def use_notes(self, notes: dict[str, Any]) -> None:
        """Uses the style and the choices of a painted layer."""
        style = notes.get("style", {})
        self.use(
            StyleItem(str(style.get("key", "")), str(style.get("title", ""))),
            choosing.from_json(notes.get("choices")),
        )

    # Helpers.

    def _document(self) -> Any:
        return Krita.instance().activeDocument()

    def _layer(self, document: Any) -> Any:
        return self._active(document) if self.content.value == "layer" else None

    def _active(self, document: Any) -> Any:
        return document.activeNode()

    def _most(self) -> int | None:
        info = self._controller.connection.info
        return info.limits.max_longest_side if info is not None else None

    def _set_choices(self, choices: Choices) -> None:
        self.strength.set_value(choices.strength)
        self.effort.set_value(choices.effort)
        self.color.set_value(choices.color)
        self.painted_size.set_value(choices.size)
        self.seed.setValue(choices.seed)

    def _say(self, sentence: str) -> None:
        self.notice.setText(sentence)
        self.notice.show()


def _described(style: StyleItem, choices: Choices) -> str:
    effort = next(label for word, label, _ in labelled(EFFORTS) if word == choices.effort)
    return f"{style.title} · {choices.strength} · {effort.lower()} · seed {choices.seed}"
