"""The docker: shows the controller's state, and passes the artist's actions to it."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from krita import DockWidget, Krita

from impasto.hosts import Choices, Entry, Painted, Server, StyleItem, StyleShare, words
from impasto.hosts import choices as choosing
from impasto.hosts.translate import _
from impasto_krita import canvas, nodes, notes, ordering, own_styles, pixels
from impasto_krita.areas_form import AreasForm
from impasto_krita.connection_bar import ConnectionBar
from impasto_krita.history_list import HistoryList
from impasto_krita.host import KritaHost
from impasto_krita.inputs import Choice
from impasto_krita.paintings import FoundList, Queue, RunBar
from impasto_krita.picture import PictureView
from impasto_krita.presets_menu import PresetsMenu
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.settings_form import SettingsForm, add_row
from impasto_krita.style_picker import Shares, StylePicker
from impasto_krita.widgets import Elided, Fold, entry, in_tab_order, menu_button, wrapped

LOOK_INTERVAL = 500
"""Milliseconds between checks of the selection while the docker is visible."""
LOW = 480
"""Below this height, in pixels, the styles come first and the picture below them."""


class ImpastoDocker(DockWidget):
    """The docker of one window. All windows share the host and its controller."""

    def __init__(self, host: KritaHost) -> None:
        super().__init__()
        self.setWindowTitle("Impasto")
        self._host = host
        self._controller = host.controller
        self._seen: Any = None
        self._told = ""
        self._looks = 0
        self._used_last = False
        self._looked: tuple[QtGui.QImage, str, QtGui.QImage | None] | None = None
        self._build()
        self._set_choices(self._controller.choices())
        self._stop_listening = self._controller.listen(self._heard)
        self.destroyed.connect(lambda: self._stop_listening())
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(LOOK_INTERVAL)
        for what in ("connection", "styles", "found", "run"):
            self._heard(what)

    # Its widgets.

    def _build(self) -> None:
        self.connection = ConnectionBar(self._controller, self._look)
        self.found = FoundList(self._controller, self.take_up)
        self.queue = Queue(self._controller)
        self.picture = PictureView()
        self.styles = StylePicker()
        self.styles.chosen.connect(self._style_chosen)
        self.styles.removal_wanted.connect(self._controller.library.remove)
        self.shares = Shares()
        self.shares.dropped.connect(self._drop_style)
        self.add = menu_button(
            _("Add"), _("Add a style of your own: a file, a layer or a document"), self._fill_add
        )
        self.presets = PresetsMenu(
            self._controller,
            parent=self,
            current=lambda: (self.shares.shares, self.choices),
            use=self.use,
            of_layer=self._notes_of_layer,
            say=self._say,
        )
        self.style_name = Elided()
        self.style_name.setMinimumWidth(36)
        style_head = QtWidgets.QHBoxLayout()
        style_head.setSpacing(2)
        style_head.addWidget(self.style_name, 1)
        style_head.addWidget(self.add)
        style_head.addWidget(self.presets.button)

        self.form = SettingsForm()
        self.form.changed.connect(self._setting_changed)
        self.content = Choice(ordering.contents())
        self.content.setAccessibleName(_("Content"))
        self.content.setToolTip(_("What is painted. With a selection, only its part."))
        self.result = Choice(ordering.results())
        self.result.setAccessibleName(_("Result"))
        self.result.setToolTip(_("Where the finished picture goes."))
        add_row(self.form.form, _("Content"), self.content, self.content.toolTip())
        add_row(self.form.form, _("Result"), self.result, self.result.toolTip())
        self.content.currentIndexChanged.connect(lambda *_: self._look(anew=True))
        self.size_line = wrapped()
        self.on_canvas = QtWidgets.QCheckBox(_("Previews on the canvas"))
        self.on_canvas.setToolTip(_("Show the previews in the document too, in a layer that is not saved."))
        self.on_canvas.setChecked(self._host.on_canvas)
        # A long word in a narrow docker is cut; the tooltip has it.
        policy = QtWidgets.QSizePolicy.Policy
        self.on_canvas.setSizePolicy(policy.Ignored, policy.Fixed)
        self.on_canvas.toggled.connect(self._canvas_toggled)
        self.advanced = Fold(_("Advanced"), _("Settings that are seldom needed"), self.form.advanced)
        self.areas = AreasForm(self._document)
        self.areas_fold = Fold(_("Areas"), _("Styles for parts of the picture"), self.areas)
        self.areas.changed.connect(self._areas_changed)
        self.history = HistoryList(
            self._controller,
            document=self._key,
            look=self.look_at,
            place=self.place_again,
            use=lambda chosen: self.use(chosen.styles, chosen.choices),
            compare=self.compare,
        )
        self.history_fold = Fold(_("History"), _("Earlier paintings"), self.history)
        self.run_bar = RunBar(self.stylize, self.pause_or_resume, self.cancel)
        self.go, self.pause, self.stop = self.run_bar.go, self.run_bar.pause, self.run_bar.stop
        self.status, self.notice, self.bar = self.run_bar.status, self.run_bar.notice, self.run_bar.bar

        self._style_part = QtWidgets.QWidget()
        style_part = QtWidgets.QVBoxLayout(self._style_part)
        style_part.setContentsMargins(0, 0, 0, 0)
        style_part.setSpacing(2)
        style_part.addLayout(style_head)
        style_part.addWidget(self.styles, 1)
        style_part.addWidget(self.shares)

        controls = QtWidgets.QWidget()
        self._middle = QtWidgets.QVBoxLayout(controls)
        self._middle.setContentsMargins(0, 0, 4, 0)
        self._middle.setSpacing(4)
        self._middle.addWidget(self.connection.here)
        self._middle.addWidget(self.picture, 3)
        self._middle.addWidget(self._style_part, 2)
        for widget in (
            self.found,
            self.form,
            self.size_line,
            self.on_canvas,
            self.advanced,
            self.areas_fold,
            self.history_fold,
        ):
            self._middle.addWidget(widget)
        self.scroll_area = QtWidgets.QScrollArea()
        self.scroll_area.setWidget(controls)
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.scroll_area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll_area.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)

        self._body = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(self._body)
        column.setContentsMargins(4, 2, 4, 4)
        column.setSpacing(3)
        column.addWidget(self.connection)
        column.addWidget(self.scroll_area, 1)
        column.addWidget(self.queue)
        column.addWidget(self.run_bar)
        self._body.setMinimumWidth(180)
        self._body.installEventFilter(self)
        self.setWidget(self._body)
        self._low = False
        self.queue.rebuilt.connect(self._order_tabs)
        self._order_tabs()

    def _order_tabs(self) -> None:
        in_tab_order(self._body)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if watched is self._body and event.type() == QtCore.QEvent.Type.Resize:
            self._fit(event.size().height())
        return False

    def _fit(self, height: int) -> None:
        """Puts the styles first in a low docker, so that they are in sight."""
        self.run_bar.fit()
        low = height < LOW
        if low != self._low:
            self._low = low
            self._middle.removeWidget(self.picture)
            self._middle.insertWidget(2 if low else 1, self.picture, 3)

    # Changes.

    def canvasChanged(self, canvas: Any) -> None:
        self._look(anew=True)

    def _heard(self, what: str) -> None:
        if what in ("connection", "computer"):
            self.connection.show_connection()
        elif what == "styles":
            library = self._controller.library
            self.styles.show_styles([*library.own, *library.offered])
            self._use_last_styles()
            self.areas.show_styles(self.styles.all_items)
        elif what == "found":
            self.found.show_found()
        elif what == "preview":
            self._show_picture()
        elif what == "history":
            self.history.show_entries()
        if what in ("connection", "styles", "run"):
            self._show_run()

    def _show_run(self) -> None:
        run = self._controller.run
        self.run_bar.show_run(run, hindered=self._hindered())
        told = ""
        if run is not None:
            told = {"failed": run.sentence, "succeeded": self._host.remark}.get(run.state, run.notice)
        if told != self._told:
            self._told = told
            self._say(told)
        self.queue.show_runs()
        self._show_picture()

    def _hindered(self) -> str:
        """Why nothing can be painted now, and what to do; empty if something can."""
        if self._controller.cannot_paint:
            return self._controller.cannot_paint
        return "" if self.styles.keys else _("No style is chosen. Choose a style first.")

    def _show_picture(self) -> None:
        run = self._controller.run
        if self._looked is not None:
            image, word, before = self._looked
            self._picture(image, word, before)
        elif run is not None and run.state == "succeeded" and self._host.finished is not None:
            self._picture(self._host.finished, "")
        elif run is not None and not run.is_final and run.preview is not None:
            self._picture(run.preview.image, _("Preview") if run.state != "paused" else _("Preview (paused)"))
        else:
            self._show_hint(run)

    def _show_hint(self, run: Any) -> None:
        if run is not None and not run.is_final:
            if self.picture.has_picture:
                # The last picture stays until the next painting has one.
                return
            hint = run.sentence
        else:
            hint = self._controller.cannot_paint or _(
                "Choose a style and press Stylize. Live previews appear here."
            )
        self._seen = None
        self.picture.show_hint(hint)

    def _picture(self, image: QtGui.QImage, word: str, before: QtGui.QImage | None = None) -> None:
        seen = image.cacheKey(), word, before.cacheKey() if before is not None else 0
        if self._seen != seen:
            self._seen = seen
            self.picture.show_picture(image, word, before)

    def _style_chosen(self) -> None:
        chosen = self.styles.style_items
        if chosen:
            self.style_name.set_text(" + ".join(style.title for style in chosen))
        else:
            why = self._controller.cannot_paint
            self.style_name.set_text(why or _("No style: connect to a server, or add your own"))
        self.shares.show_styles(chosen)
        self._order_tabs()
        self._show_run()

    def _use_last_styles(self) -> None:
        """Chooses the styles that were used last, once all are there, if the artist has chosen none."""
        recents, chosen = self._controller.recents, self.styles.keys
        if self._used_last or not recents or not chosen:
            return
        first = self.styles.all_items[0].key
        wanted = recents[0].styles
        known = {style.key for style in self.styles.all_items}
        if chosen != [first]:
            self._used_last = True
        elif all(share.style.key in known for share in wanted):
            self._used_last = True
            self.shares.set_shares(wanted)
            self.styles.choose(*(share.style.key for share in wanted))

    def _drop_style(self, key: str) -> None:
        self.styles.choose(*(other for other in self.styles.keys if other != key))

    def _areas_changed(self) -> None:
        count = len(self.areas.areas)
        title = _("Areas")
        self.areas_fold.set_title(f"{title} ({count})" if count else title)
        self._order_tabs()

    def _setting_changed(self, name: str) -> None:
        self._look(anew=True)
        run = self._controller.run
        if name and run is not None and not run.is_final and name in choosing.STEERABLE:
            run.steer(self.choices)

    def _look(self, *, anew: bool = False) -> None:
        """Shows the size at which the present selection would be painted."""
        if not anew and not self.isVisible():
            return
        if self.history_fold.head.isChecked():
            self.history.show_entries()
        document = self._document()
        if document is None:
            self.size_line.setText(_("Open a picture to paint."))
            return
        texture = self.content.value == "texture"
        for name in ("strength", "color"):
            self.form.fields[name].widget.setEnabled(not texture)
        try:
            source = canvas.source_of(
                document, self._active(document), "visible" if texture else self.content.value
            )
            box = canvas.selected_box(document, source.layer)
            if box is None:
                selected = document.selection() is not None
                self.size_line.setText(
                    _("Nothing in the picture is selected.") if selected else _("The layer is empty.")
                )
                return
            size = ordering.size_of(box, self.choices, self._most())
        except ValueError as error:
            self.size_line.setText(str(error))
            return
        if document.selection() is not None:
            self.size_line.setText(_("The selection: {size}").format(size=size.sentence))
        else:
            self.size_line.setText(size.sentence)

    # The artist's actions.

    @property
    def choices(self) -> Choices:
        """The choices in the widgets."""
        return self.form.choices

    def stylize(self) -> None:
        """Starts to paint the selection, or the whole content."""
        document = self._document()
        self._say("")
        try:
            if document is None:
                raise ValueError(_("Open a picture to paint."))
            order = ordering.order(
                document,
                self._active(document),
                content=self.content.value,
                result=self.result.value,
                choices=self.choices,
                styles=self.shares.shares,
                areas=self.areas.found(document),
                most=self._most(),
                key=self._host.key_of(document),
            )
            seed = self._controller.fresh_seed(order)
            if seed != order.choices.seed:
                choices = dataclasses.replace(order.choices, seed=seed)
                order = dataclasses.replace(order, choices=choices)
                self.form.fields["seed"].set_value(seed)
            self._looked = None
            self._looks += 1
            self._host.stylize(order, document)
        except ValueError as error:
            self._say(words.sentence(error))

    def cancel(self) -> None:
        """Cancels the painting that is shown."""
        if self._controller.run is not None:
            self._controller.run.cancel()

    def pause_or_resume(self) -> None:
        """Pauses the painting that is shown, or resumes it."""
        run = self._controller.run
        if run is not None and run.can_resume:
            run.resume()
        elif run is not None:
            run.pause()

    def new_seed(self) -> None:
        """Chooses a new seed at random."""
        self.form.fields["seed"].draw()

    def take_up(self, found: Any) -> None:
        """Takes up an earlier painting."""
        try:
            self._controller.take_up(found)
        except ValueError as error:
            self._say(words.sentence(error))

    def ask_server(self) -> None:
        """Asks for the server and connects to it."""
        self.connection.ask_server()

    def connect_to(self, server: Server) -> None:
        """Connects to a server and stores it."""
        self._controller.connect(server)

    def use(self, styles: Sequence[StyleShare], choices: Choices) -> None:
        """Uses earlier styles and earlier choices."""
        self._set_choices(choices)
        shown = [
            share for share in styles if share.style.key in {style.key for style in self.styles.all_items}
        ]
        self.shares.set_shares(shown)
        self.styles.choose(*(share.style.key for share in shown))
        for share in styles:
            if share not in shown:
                self._say(
                    _("The style “{style}” no longer exists. Choose another one.").format(
                        style=share.style.title
                    )
                )

    def _canvas_toggled(self, on: bool) -> None:
        self._host.on_canvas = on

    # The history.

    def look_at(self, entry: Entry) -> None:
        """Shows an earlier painting in the docker."""
        small = pixels.from_thumbnail(entry.thumbnail)
        if not small.isNull():
            # At once, until the server has sent the picture.
            self._show_looked(small, entry.label)
        latest = self._newest_look()
        self._fetch(
            entry,
            lambda painted: self._show_looked(painted.picture.image, entry.label) if latest() else None,
        )

    def compare(self, entry: Entry) -> None:
        """Shows an earlier painting beside what was painted."""

        latest = self._newest_look()

        def show(painted: Painted) -> None:
            if not latest():
                return
            try:
                before = self._before(painted.place)
            except ValueError as error:
                self._say(words.sentence(error))
                return
            self._show_looked(painted.picture.image, entry.label, before)

        self._fetch(entry, show)

    def place_again(self, entry: Entry) -> None:
        """Adds an earlier painting to its document again, as a new layer."""

        def place(painted: Painted) -> None:
            if self._controller.history.is_foreign(entry.id) and canvas.opened(painted.place) is None:
                # Somebody else may have written the path, so it is not opened.
                painted = dataclasses.replace(painted, place={**painted.place, "path": ""})
            self._host.place(painted)
            self._say(self._host.remark)

        self._fetch(entry, place)

    def _newest_look(self) -> Callable[[], bool]:
        """Returns a function that tells whether the artist has looked at nothing else since."""
        self._looks += 1
        look = self._looks
        return lambda: look == self._looks

    def _fetch(self, entry: Entry, done: Callable[[Painted], None]) -> None:
        self._say("")
        if not canvas.is_place(entry.place):
            self._say(_("It is not known where this painting belongs. Use its settings to paint it again."))
            return
        self._controller.fetch(entry, done, self._say)

    def _show_looked(self, image: QtGui.QImage, word: str, before: QtGui.QImage | None = None) -> None:
        self._looked = image, word, before
        self._show_picture()
        self.scroll_area.ensureWidgetVisible(self.picture)

    def _before(self, place: dict[str, Any]) -> QtGui.QImage:
        """What was painted, as it is now in the open document."""
        document = canvas.opened(place)
        box = canvas.box_now(document, place) if document is not None else None
        if document is None or box is None:
            raise ValueError(
                _("Open “{document}” as it was painted, to compare.").format(document=place["document"])
            )
        source = nodes.find(document, place.get("source", ""))
        return pixels.at_most(canvas.read(document, box, canvas.Source(source, source)), 1024)

    # Own styles.

    def add_style_file(self, path: str) -> None:
        """Adds a picture's file as a style."""
        self._add_style(os.path.basename(path), lambda: own_styles.add_file(self._controller.library, path))

    def add_style_document(self, document: Any, layer: Any = None) -> None:
        """Adds the visible picture of an open document, or one of its layers, as a style."""
        name = canvas.name_of(document) if layer is None else layer.name()
        self._add_style(name, lambda: own_styles.add_document(self._controller.library, document, layer))

    def _add_style(self, name: str, add: Callable[[], StyleItem]) -> None:
        self._say("")
        try:
            self.styles.choose(add().key)
        except (OSError, ValueError) as error:
            refused = _("“{name}” cannot be a style.").format(name=name)
            self._say(words.joined(refused, words.sentence(error)))

    def _fill_add(self, menu: QtWidgets.QMenu) -> None:
        entry(menu, _("From a file …"), self._ask_style_file)
        document = self._document()
        layer = nodes.layer_of(self._active(document)) if document is not None else None
        if layer is not None:
            entry(
                menu,
                _("From the layer “{layer}”").format(layer=layer.name()),
                lambda: self.add_style_document(document, layer),
            )
        for other in Krita.instance().documents():
            entry(
                menu,
                _("From the document “{document}”").format(document=canvas.name_of(other)),
                functools.partial(self.add_style_document, other),
            )

    def _ask_style_file(self) -> None:
        filter = _("Pictures") + " (*)"
        path = QtWidgets.QFileDialog.getOpenFileName(self, _("Choose a picture as a style"), "", filter)[0]
        if path:
            self.add_style_file(path)

    def _notes_of_layer(self) -> Callable[[], None] | None:
        document = self._document()
        layer = nodes.layer_of(self._active(document)) if document is not None else None
        found = notes.of_layer(document, layer)
        return None if found is None else lambda: self.use_notes(found)

    def use_notes(self, found: dict[str, Any]) -> None:
        """Uses the styles and the choices of a painted layer."""
        self.use(notes.shares_of(found), choosing.from_json(found.get("choices")))

    # Helpers.

    def _document(self) -> Any:
        return Krita.instance().activeDocument()

    def _active(self, document: Any) -> Any:
        return document.activeNode()

    def _key(self) -> str:
        document = self._document()
        return "" if document is None else self._host.key_of(document)

    def _most(self) -> int | None:
        info = self._controller.connection.info
        return info.limits.max_longest_side if info is not None else None

    def _set_choices(self, choices: Choices) -> None:
        self.form.set_choices(choices)

    def _say(self, sentence: str) -> None:
        self.run_bar.say(sentence)
