"""Conversions of pixels between Krita and the server. They may run on a worker thread: none needs a document.

Krita's pixels are in the order B, G, R, A; the server's in the order R, G, B, A. Both have straight alpha and
8 or 16 bits per channel.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from impasto.hosts.translate import _
from impasto.recipe import RawPixels
from impasto_krita.qt import QtCore, QtGui

SMOOTH = QtCore.Qt.TransformationMode.SmoothTransformation
IGNORE_RATIO = QtCore.Qt.AspectRatioMode.IgnoreAspectRatio
KEEP_RATIO = QtCore.Qt.AspectRatioMode.KeepAspectRatio


BAND = 2**18
"""Pixels that are converted at a time."""
MOST_THUMBNAIL = 512
"""Longest side at which a thumbnail is decoded."""
LARGEST_CLAIMED = 4096
"""Longest side that a thumbnail may have in its file."""


def from_krita(bgra: bytes, width: int, height: int, bits: int = 8) -> QtGui.QImage:
    """Returns a copy of Krita's pixels as an image."""
    # QtGui.QImage does not keep the bytes alive.
    if bits == 16:
        return QtGui.QImage(bgra, width, height, 8 * width, QtGui.QImage.Format.Format_RGBA64).rgbSwapped()
    return QtGui.QImage(bgra, width, height, 4 * width, QtGui.QImage.Format.Format_ARGB32).copy()


def to_krita(image: QtGui.QImage, bits: int = 8) -> bytes:
    """Returns an image as Krita's pixels."""
    if bits == 16:
        return _bytes(image.convertToFormat(QtGui.QImage.Format.Format_RGBA64).rgbSwapped())
    return _bytes(image.convertToFormat(QtGui.QImage.Format.Format_ARGB32))


def raw_pixels(image: QtGui.QImage, width: int, height: int, bits: int = 8) -> RawPixels:
    """Returns an image, scaled to a size, as raw pixels for the server."""
    deep = bits == 16
    wanted = QtGui.QImage.Format.Format_RGBA64 if deep else QtGui.QImage.Format.Format_RGBA8888
    return RawPixels(width, height, _bytes(scaled(image, width, height).convertToFormat(wanted)), bits)


def from_rgba(data: bytes, width: int, height: int, bits: int = 8) -> QtGui.QImage:
    """Returns a copy of the server's bare pixels as an image."""
    if bits == 16:
        return QtGui.QImage(data, width, height, 8 * width, QtGui.QImage.Format.Format_RGBA64).copy()
    return QtGui.QImage(data, width, height, 4 * width, QtGui.QImage.Format.Format_RGBA8888).copy()


def from_file(data: bytes) -> QtGui.QImage:
    """Returns a decoded image.

    Raises:
        ValueError: it cannot be read.
    """
    image = QtGui.QImage.fromData(data)
    if image.isNull():
        raise ValueError(_("The picture cannot be read. Choose a PNG, JPEG or WebP file."))
    return image


def from_thumbnail(data: bytes) -> QtGui.QImage:
    """Returns a thumbnail, decoded at most `MOST_THUMBNAIL` large; a null image if there is none.

    It may come from another person's file, and a few bytes can claim to be gigabytes of pixels. So its size
    is looked at before it is decoded.
    """
    buffer = QtCore.QBuffer()
    buffer.setData(QtCore.QByteArray(data))
    if not data or not buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly):
        return QtGui.QImage()
    reader = QtGui.QImageReader(buffer)
    size = reader.size()
    if not size.isValid() or max(size.width(), size.height()) > LARGEST_CLAIMED:
        return QtGui.QImage()
    if max(size.width(), size.height()) > MOST_THUMBNAIL:
        reader.setScaledSize(size.scaled(MOST_THUMBNAIL, MOST_THUMBNAIL, KEEP_RATIO))
    return reader.read()


def scaled(image: QtGui.QImage, width: int, height: int) -> QtGui.QImage:
    """Returns an image scaled to a size."""
    if (image.width(), image.height()) == (width, height):
        return image
    return image.scaled(width, height, IGNORE_RATIO, SMOOTH)


def at_most(image: QtGui.QImage, side: int) -> QtGui.QImage:
    """Returns an image, scaled down if its longer side has more than `side` pixels."""
    if max(image.width(), image.height()) <= side:
        return image
    return image.scaled(side, side, KEEP_RATIO, SMOOTH)


def encoded(image: QtGui.QImage, format: str, quality: int = -1) -> bytes:
    """Returns an image as a file in the format "PNG" or "JPEG"."""
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, format, quality)
    buffer.close()
    return bytes(data)


def thumbnail(image: QtGui.QImage, side: int = 128) -> bytes:
    """Returns a small JPEG of an image, on white."""
    small = at_most(image, side)
    flat = QtGui.QImage(small.size(), QtGui.QImage.Format.Format_RGB32)
    flat.fill(QtCore.Qt.GlobalColor.white)
    painter = QtGui.QPainter(flat)
    painter.drawImage(0, 0, small)
    painter.end()
    return encoded(flat, "JPEG", 85)


def in_box(image: QtGui.QImage, width: int, height: int, mask: bytes, bits: int = 8) -> QtCore.QByteArray:
    """Returns an image, scaled to a size, as Krita's pixels.

    It is converted in bands: PyQt holds Python's lock during each call, and a long call would freeze the
    window.

    Args:
        mask: factor of the alpha for each pixel, 0 to 255; b"" for none.
        bits: bits per channel, 8 or 16.
    """
    data = QtCore.QByteArray()
    data.reserve(bits // 2 * width * height)
    deep = bits == 16
    formats = QtGui.QImage.Format
    format = formats.Format_RGBA64_Premultiplied if deep else formats.Format_ARGB32_Premultiplied
    as_it_is = not mask and (image.width(), image.height()) == (width, height)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        if as_it_is:
            data.append(to_krita(image.copy(0, top, width, count), bits))
            continue
        band = QtGui.QImage(width, count, format)
        band.fill(0)
        painter = QtGui.QPainter(band)
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(QtCore.QRectF(0, -top, width, height), image)
        if mask:
            painter.setCompositionMode(QtGui.QPainter.CompositionMode.CompositionMode_DestinationIn)
            rows_of_mask = mask[top * width : (top + count) * width]
            factor = QtGui.QImage(rows_of_mask, width, count, width, formats.Format_Alpha8)
            painter.drawImage(0, 0, factor)
        painter.end()
        data.append(to_krita(band, bits))
    return data


def alpha(image: QtGui.QImage) -> bytes:
    """Returns the alpha of each pixel, 0 to 255, row by row."""
    # The bytes of a pixel are in the order B, G, R, A on every machine that Krita runs on.
    return _bytes(image.convertToFormat(QtGui.QImage.Format.Format_ARGB32))[3::4]


def any_opaque(image: QtGui.QImage, mask: bytes = b"") -> bool:
    """Returns whether any pixel is at least partly opaque.

    Args:
        mask: how far each pixel counts, 0 to 255; b"" if all do.
    """
    seen = alpha(image)
    if not mask:
        return bool(seen.strip(b"\0"))
    # All bits of a byte, so that one number can be compared with the other.
    filled = bytes([0, *[255] * 255])
    both = int.from_bytes(seen.translate(filled), "big") & int.from_bytes(mask.translate(filled), "big")
    return both != 0


def resized_mask(mask: bytes, width: int, height: int, to_width: int, to_height: int) -> bytes:
    """Returns a mask, scaled to a size."""
    if (width, height) == (to_width, to_height):
        return mask
    image = QtGui.QImage(mask, width, height, width, QtGui.QImage.Format.Format_Grayscale8)
    small = image.scaled(to_width, to_height, IGNORE_RATIO, SMOOTH).convertToFormat(
        QtGui.QImage.Format.Format_Grayscale8
    )
    # Its rows may be padded to a multiple of 4 bytes.
    data, step = _bytes(small), small.bytesPerLine()
    return b"".join(data[row * step : row * step + to_width] for row in range(to_height))


def packed(mask: bytes) -> str:
    """Returns a mask as text."""
    return base64.b64encode(zlib.compress(mask, 1)).decode() if mask else ""


def unpacked(text: str, length: int) -> bytes:
    """Returns a mask from text; b"" if there is none, or if it does not have this length."""
    try:
        # A mask from another person's document may claim to be much larger.
        mask = zlib.decompressobj().decompress(base64.b64decode(text), length + 1) if text else b""
    except (ValueError, zlib.error):
        return b""
    return mask if len(mask) == length else b""


def _bytes(image: QtGui.QImage) -> bytes:
    bits: Any = image.constBits()
    bits.setsize(image.sizeInBytes())
    return bytes(bits)
