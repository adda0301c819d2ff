"""The paintings in progress, those that were found again, and the buttons that start and stop them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from impasto.hosts import Controller, Run
from impasto.hosts.translate import _
from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.widgets import Elided, button, emptied, plain_tip, tool_button, wrapped

HIGH_ENOUGH = 480
"""Height of a docker, in pixels, from which on the buttons may take two rows."""


class Queue(QtWidgets.QWidget):
    """The paintings in progress if there are several, each with its cancel."""

    rebuilt = QtCore.pyqtSignal()

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._shown: list[tuple[Run, bool]] = []
        self._lines: list[tuple[Run, Elided]] = []
        self.rows = QtWidgets.QVBoxLayout(self)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.setSpacing(1)
        self.hide()

    def show_runs(self) -> None:
        """Shows the paintings anew."""
        runs = self._controller.runs
        several = len(runs) > 1
        wanted = [(run, run is self._controller.run) for run in runs] if several else []
        if wanted != self._shown:
            self._shown, self._lines = wanted, []
            emptied(self.rows)
            for run, current in wanted:
                self.rows.addWidget(self._row(run, current))
            if several:
                self.rows.addWidget(
                    button(
                        _("Cancel all"),
                        _("Stop all paintings and leave the documents unchanged"),
                        self._controller.cancel_all,
                    )
                )
            self.setVisible(several)
            self.rebuilt.emit()
        for run, line in self._lines:
            line.set_text(run.line, f"{run.label}\n{run.sentence}")

    def _row(self, run: Run, current: bool) -> QtWidgets.QWidget:
        row = QtWidgets.QWidget()
        line = QtWidgets.QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2)
        show = tool_button(
            "●" if current else "○",
            _("Show this painting: {painting}").format(painting=run.label),
            lambda: self._controller.show(run),
        )
        title = Elided()
        self._lines.append((run, title))
        drop = tool_button("×", _("Cancel this painting: {painting}").format(painting=run.label), run.cancel)
        line.addWidget(show)
        line.addWidget(title, 1)
        line.addWidget(drop)
        return row


class FoundList(QtWidgets.QWidget):
    """Earlier paintings whose pictures are not in a document yet."""

    def __init__(self, controller: Controller, take_up: Callable[[Any], None]) -> None:
        super().__init__()
        self._controller = controller
        self._take_up = take_up
        self.rows = QtWidgets.QVBoxLayout(self)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def count(self) -> int:
        """Returns how many there are."""
        return len(self._controller.found)

    def show_found(self) -> None:
        """Shows them anew."""
        emptied(self.rows)
        for found in self._controller.found:
            frame = QtWidgets.QFrame()
            frame.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
            take = button(
                _("Place") if found.ready else _("Watch"),
                _("Add it to its document as a new layer") if found.ready else _("Watch the painting"),
                functools.partial(self._take_up, found),
            )
            drop = button(
                _("Discard"), _("Discard this picture"), functools.partial(self._controller.dismiss, found)
            )
            row = QtWidgets.QHBoxLayout()
            row.addWidget(take)
            row.addWidget(drop)
            box = QtWidgets.QVBoxLayout(frame)
            box.setContentsMargins(6, 4, 6, 4)
            box.addWidget(wrapped(found.sentence))
            box.addLayout(row)
            self.rows.addWidget(frame)
        self.setVisible(bool(self._controller.found))


class RunBar(QtWidgets.QWidget):
    """The state of the painting that is shown, and the buttons."""

    def __init__(
        self, stylize: Callable[[], Any], pause: Callable[[], Any], cancel: Callable[[], Any]
    ) -> None:
        super().__init__()
        self.status = Elided()
        self.notice = wrapped()
        self.bar = QtWidgets.QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.setAccessibleName(_("Progress of the painting"))
        self.go = button(_("Stylize"), _("Paint the picture, or its selected part"), stylize)
        font = self.go.font()
        font.setBold(True)
        self.go.setFont(font)
        # Never cut off, in any language.
        self.go.setMinimumWidth(self.go.sizeHint().width())
        self.pause = button(_("Pause"), _("Free the device; the server keeps the painting"), pause)
        self.stop = button(_("Cancel"), _("Stop painting and leave the document unchanged"), cancel)
        self._buttons = buttons = QtWidgets.QGridLayout()
        buttons.setSpacing(4)
        self._in_two_rows: bool | None = None
        self.fit()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self.notice)
        column.addWidget(self.status)
        column.addWidget(self.bar)
        column.addLayout(buttons)
        self.say("")

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.fit()

    def fit(self) -> None:
        """Puts the buttons into two rows where their words need it, if the docker is not low as well."""
        needed = sum(made.sizeHint().width() for made in (self.go, self.pause, self.stop)) + 8
        docker = self.parentWidget()
        two_rows = needed > self.width() and docker is not None and docker.height() >= HIGH_ENOUGH
        if two_rows == self._in_two_rows:
            return
        self._in_two_rows = two_rows
        for made in (self.go, self.pause, self.stop):
            self._buttons.removeWidget(made)
        if two_rows:
            self._buttons.addWidget(self.go, 0, 0, 1, 2)
        else:
            self._buttons.addWidget(self.go, 0, 0)
        self._buttons.addWidget(self.pause, 1 if two_rows else 0, 0 if two_rows else 1)
        self._buttons.addWidget(self.stop, 1 if two_rows else 0, 1 if two_rows else 2)
        for column, stretch in enumerate((1, 1, 0) if two_rows else (3, 2, 2)):
            self._buttons.setColumnStretch(column, stretch)

    def say(self, sentence: str) -> None:
        """Shows a sentence about what the artist has just done; empty for none."""
        self.notice.setText(sentence)
        self.notice.setAccessibleName(sentence)
        self.notice.setVisible(bool(sentence))

    def show_run(self, run: Run | None, *, hindered: str = "") -> None:
        """Shows a painting.

        Args:
            hindered: why no new one can be started; empty if one can.
        """
        self.go.setEnabled(not hindered)
        self.go.setToolTip(plain_tip(hindered or _("Paint the picture, or its selected part")))
        painting = run is not None and not run.is_final
        self.stop.setEnabled(painting)
        paused = run is not None and run.state == "paused"
        self.pause.setText(_("Resume") if paused else _("Pause"))
        self.pause.setAccessibleName(self.pause.text())
        self.pause.setEnabled(run is not None and (run.can_pause or run.can_resume))
        self.status.set_text(run.sentence if run is not None else "")
        # Why it failed is said in full above.
        self.status.setVisible(run is not None and run.state != "failed")
        fraction = run.fraction if run is not None else 0.0
        moving = painting and fraction is None and not paused
        self.bar.setVisible(painting)
        self.bar.setRange(0, 0 if moving else 1000)
        if not moving:
            self.bar.setValue(round(1000 * (fraction or 0.0)))
