"""Conversions of pixels between Krita and the server. They may run on a worker thread: none needs a document.

Krita's 8-bit pixels are in the order B, G, R, A; the server's in the order R, G, B, A; both with straight
alpha.
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
"""Pixels that are converted at a time."""


def from_krita(bgra: bytes, width: int, height: int) -> QImage:
    """Returns a copy of Krita's pixels as an image."""
    # QImage does not keep the bytes alive.
    return QImage(bgra, width, height, 4 * width, QImage.Format.Format_ARGB32).copy()


def to_krita(image: QImage) -> bytes:
    """Returns an image as Krita's pixels."""
    return _bytes(image.convertToFormat(QImage.Format.Format_ARGB32))


def raw_pixels(image: QImage, width: int, height: int) -> RawPixels:
    """Returns an image, scaled to a size, as raw pixels for the server."""
    image = scaled(image, width, height).convertToFormat(QImage.Format.Format_RGBA8888)
    return RawPixels(width, height, _bytes(image))


def from_rgba(data: bytes, width: int, height: int) -> QImage:
    """Returns a copy of the server's bare pixels as an image."""
    return QImage(data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def from_file(data: bytes) -> QImage:
    """Returns a decoded image.

    Raises:
        ValueError: it cannot be read.
    """
    image = QImage.fromData(data)
    if image.isNull():
        raise ValueError("The picture cannot be read.")
    return image


def scaled(image: QImage, width: int, height: int) -> QImage:
    """Returns an image scaled to a size."""
    if (image.width(), image.height()) == (width, height):
        return image
    return image.scaled(width, height, IGNORE_RATIO, SMOOTH)


def at_most(image: QImage, side: int) -> QImage:
    """Returns an image, scaled down if its longer side has more than `side` pixels."""
    if max(image.width(), image.height()) <= side:
        return image
    return image.scaled(side, side, KEEP_RATIO, SMOOTH)


def encoded(image: QImage, format: str, quality: int = -1) -> bytes:
    """Returns an image as a file in the format "PNG" or "JPEG"."""
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, format, quality)
    buffer.close()
    return bytes(data)


def thumbnail(image: QImage) -> bytes:
    """Returns a small JPEG of an image, on white."""
    small = at_most(image, 128)
    flat = QImage(small.size(), QImage.Format.Format_RGB32)
    flat.fill(QtCore.Qt.GlobalColor.white)
    painter = QPainter(flat)
    painter.drawImage(0, 0, small)
    painter.end()
    return encoded(flat, "JPEG", 85)


def in_box(image: QImage, width: int, height: int, mask: bytes) -> QtCore.QByteArray:
    """Returns an image, scaled to a size, as Krita's pixels.

    It is converted in bands: PyQt holds Python's lock during each call, and a long call would freeze the
    window.

    Args:
        mask: factor of the alpha for each pixel, 0 to 255; b"" for none.
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
    """Returns a mask as text."""
    return base64.b64encode(zlib.compress(mask, 1)).decode() if mask else ""


def unpacked(text: str, length: int) -> bytes:
    """Returns a mask from text; b"" if there is none, or if it does not have this length."""
    try:
        mask = zlib.decompress(base64.b64decode(text)) if text else b""
    except (ValueError, zlib.error):
        return b""
    return mask if len(mask) == length else b""


def _bytes(image: QImage) -> bytes:
    bits: Any = image.constBits()
    bits.setsize(image.sizeInBytes())
    return bytes(bits)
