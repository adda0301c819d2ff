"""The picture in the docker: a preview, a result, or a result beside what was painted."""

from __future__ import annotations

from typing import Any

from impasto.hosts.translate import _
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.widgets import number_of, plain_tip

Qt = QtCore.Qt
CENTER, WRAP = number_of(Qt.AlignmentFlag.AlignCenter), number_of(Qt.TextFlag.TextWordWrap)
STEP = 0.05
"""How far an arrow key moves the border between the two pictures."""


class PictureView(QtWidgets.QWidget):
    """A picture, as large as possible, with a word on it that says what it is.

    With a second picture, the left part shows that one; the border follows the mouse and the arrow keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumHeight(110)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)
        self._image: QtGui.QImage | None = None
        self._before: QtGui.QImage | None = None
        self._fitted: list[QtGui.QPixmap] = []
        self._border = 0.5
        self._hint = ""
        self._word = ""
        self._told()

    @property
    def compares(self) -> bool:
        """Whether a second picture is shown."""
        return self._before is not None

    @property
    def has_picture(self) -> bool:
        """Whether a picture is shown, not a hint."""
        return self._image is not None

    @property
    def border(self) -> float:
        """Where the border between the two pictures is, 0 to 1."""
        return self._border

    def show_picture(self, image: QtGui.QImage, word: str, before: QtGui.QImage | None = None) -> None:
        """Shows a picture.

        Args:
            word: what it is, for example "Preview".
            before: what was painted, to compare with.
        """
        self._image, self._word, self._before, self._fitted = image, word, before, []
        self._told()

    def show_hint(self, hint: str) -> None:
        """Shows a hint instead of a picture."""
        self._image, self._before, self._hint, self._fitted = None, None, hint, []
        self._told()

    def _told(self) -> None:
        compares = self.compares
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus if compares else Qt.FocusPolicy.NoFocus)
        self.setCursor(Qt.CursorShape.SplitHCursor if compares else Qt.CursorShape.ArrowCursor)
        self.setAccessibleName(self._word or _("Picture"))
        tip = _("Move the border with the mouse or with the arrow keys.")
        self.setToolTip(plain_tip(tip if compares else self._hint if self._image is None else self._word))
        self.update()

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(240, 180)

    def resizeEvent(self, event: Any) -> None:
        self._fitted = []
        super().resizeEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        self._follow(event)

    def mouseMoveEvent(self, event: Any) -> None:
        self._follow(event)

    def keyPressEvent(self, event: Any) -> None:
        step = {Qt.Key.Key_Left: -STEP, Qt.Key.Key_Right: STEP}.get(event.key())
        if step is None or not self.compares:
            super().keyPressEvent(event)
            return
        self._border = min(1.0, max(0.0, self._border + step))
        self.update()

    def _follow(self, event: Any) -> None:
        if not self.compares:
            return
        area = self._area()
        at = event.position().x() if hasattr(event, "position") else event.pos().x()
        self._border = min(1.0, max(0.0, (at - area.left()) / max(1, area.width())))
        self.update()

    def _area(self) -> QtCore.QRect:
        """The part of the widget that the picture covers."""
        if self._image is None:
            return self.rect()
        size = self._image.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (self.width() - size.width()) // 2, (self.height() - size.height()) // 2
        return QtCore.QRect(QtCore.QPoint(left, top), size)

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), self.palette().color(QtGui.QPalette.ColorRole.Base))
        if self._image is None:
            painter.setPen(faint(self.palette()))
            painter.drawText(self.rect().adjusted(12, 8, -12, -8), CENTER | WRAP, self._hint)
            painter.end()
            return
        area = self._area()
        if not self._fitted:
            self._fitted = [self._fit(image, area.size()) for image in (self._image, self._before) if image]
        painter.drawPixmap(area.topLeft(), self._fitted[0])
        if len(self._fitted) > 1:
            at = area.left() + round(self._border * area.width())
            painter.save()
            painter.setClipRect(QtCore.QRect(area.topLeft(), QtCore.QPoint(at - 1, area.bottom())))
            painter.drawPixmap(area.topLeft(), self._fitted[1])
            painter.restore()
            painter.setPen(QtGui.QPen(QtGui.QColor(255, 255, 255, 220), 2))
            painter.drawLine(at, area.top(), at, area.bottom())
        if self._word:
            _label(painter, area, self._word)
        painter.end()

    def _fit(self, image: QtGui.QImage, size: QtCore.QSize) -> QtGui.QPixmap:
        ratio = self.devicePixelRatioF()
        fitted = image.scaled(
            max(1, round(size.width() * ratio)),
            max(1, round(size.height() * ratio)),
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        pixmap = QtGui.QPixmap.fromImage(fitted)
        pixmap.setDevicePixelRatio(ratio)
        return pixmap


def _label(painter: QtGui.QPainter, area: QtCore.QRect, word: str) -> None:
    metrics = painter.fontMetrics()
    word = metrics.elidedText(word, Qt.TextElideMode.ElideRight, max(20, area.width() - 24))
    box = metrics.boundingRect(word).adjusted(-6, -3, 6, 3)
    box.moveBottomLeft(area.bottomLeft() + QtCore.QPoint(6, -6))
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(0, 0, 0, 150))
    painter.drawRoundedRect(box, 4, 4)
    painter.setPen(QtGui.QColor(255, 255, 255))
    painter.drawText(box, CENTER, word)


def faint(palette: QtGui.QPalette) -> QtGui.QColor:
    """Returns the colour of text that is not important."""
    color = QtGui.QColor(palette.color(QtGui.QPalette.ColorRole.Text))
    color.setAlpha(150)
    return color
