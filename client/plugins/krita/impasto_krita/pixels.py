"""Pixels between Krita and the server. Needs no document, so all of it may happen on a worker thread.

Krita has 8-bit pixels as B, G, R, A; the server as R, G, B, A; both with straight alpha.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from impasto.recipe import RawPixels
from impasto_krita.qt import QtCore, QtGui

QImage, QPainter = QtGui.QImage, QtGui.QPainter
SMOOTH = QtCore.Qt.TransformationMode.SmoothTransformation
IGNORE_RATIO = QtCore.Qt.AspectRatioMode.IgnoreAspectRatio
KEEP_RATIO = QtCore.Qt.AspectRatioMode.KeepAspectRatio


BAND = 2**18
"""Pixels that are worked on in one go, where there are many."""


def from_krita(bgra: bytes, width: int, height: int) -> QImage:
    """Krita's pixels as an image of their own."""
    # QImage does not keep the bytes alive.
    return QImage(bgra, width, height, 4 * width, QImage.Format.Format_ARGB32).copy()


def to_krita(image: QImage) -> bytes:
    """An image as Krita's pixels."""
    return _bytes(image.convertToFormat(QImage.Format.Format_ARGB32))


def raw_pixels(image: QImage, width: int, height: int) -> RawPixels:
    """An image as the server wants it, at a size."""
    image = scaled(image, width, height).convertToFormat(QImage.Format.Format_RGBA8888)
    return RawPixels(width, height, _bytes(image))


def from_rgba(data: bytes, width: int, height: int) -> QImage:
    """The server's bare pixels as an image of their own."""
    return QImage(data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def from_file(data: bytes) -> QImage:
    """A coded image.

    Raises:
        ValueError: it cannot be read.
    """
    image = QImage.fromData(data)
    if image.isNull():
        raise ValueError("The picture cannot be read.")
    return image


def scaled(image: QImage, width: int, height: int) -> QImage:
    """An image at a size."""
    if (image.width(), image.height()) == (width, height):
        return image
    return image.scaled(width, height, IGNORE_RATIO, SMOOTH)


def at_most(image: QImage, side: int) -> QImage:
    """An image, its longer side at most so long."""
    if max(image.width(), image.height()) <= side:
        return image
    return image.scaled(side, side, KEEP_RATIO, SMOOTH)


def encoded(image: QImage, format: str, quality: int = -1) -> bytes:
    """An image as a file: "PNG" or "JPEG"."""
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, format, quality)
    buffer.close()
    return bytes(data)


def thumbnail(image: QImage) -> bytes:
    """A small JPEG of an image, over white."""
    small = at_most(image, 128)
    flat = QImage(small.size(), QImage.Format.Format_RGB32)
    flat.fill(QtCore.Qt.GlobalColor.white)
    painter = QPainter(flat)
    painter.drawImage(0, 0, small)
    painter.end()
    return encoded(flat, "JPEG", 85)


def in_box(image: QImage, width: int, height: int, mask: bytes) -> QtCore.QByteArray:
    """An image as Krita's pixels at a size, its alpha multiplied by a mask of that size; b"" for none.

    Band by band: PyQt holds Python's lock through each call, and a long one would stop the host's window.
    """
    data = QtCore.QByteArray()
    data.reserve(4 * width * height)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        band = QImage(width, count, QImage.Format.Format_ARGB32_Premultiplied)
        band.fill(0)
        painter = QPainter(band)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(QtCore.QRectF(0, -top, width, height), image)
        if mask:
            painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_DestinationIn)
            rows_of_mask = mask[top * width : (top + count) * width]
            painter.drawImage(0, 0, QImage(rows_of_mask, width, count, width, QImage.Format.Format_Alpha8))
        painter.end()
        data.append(to_krita(band))
    return data


def packed(mask: bytes) -> str:
    """A mask as text."""
    return base64.b64encode(zlib.compress(mask, 1)).decode() if mask else ""


def unpacked(text: str, length: int) -> bytes:
    """A mask from text; b"" if there is none, or it is not of this length."""
    try:
        mask = zlib.decompress(base64.b64decode(text)) if text else b""
    except (ValueError, zlib.error):
        return b""
    return mask if len(mask) == length else b""


def _bytes(image: QImage) -> bytes:
    bits: Any = image.constBits()
    bits.setsize(image.sizeInBytes())
    return bytes(bits)
