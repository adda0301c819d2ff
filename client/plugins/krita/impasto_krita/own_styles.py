"""Pictures as styles of the artist's own: files, layers and open documents."""

from __future__ import annotations

import os
from typing import Any

from krita import Krita

from impasto.files import read_whole
from impasto.hosts import StyleItem, StyleLibrary
from impasto.hosts.translate import _
from impasto_krita import canvas, pixels
from impasto_krita.qt import QtCore, QtGui

STYLE_FORMATS = {b"png": "PNG", b"jpeg": "JPEG", b"jpg": "JPEG", b"webp": "WebP"}
KRITA_FILES = {".kra", ".krz", ".ora", ".psd", ".xcf", ".tif", ".tiff", ".exr", ".webp", ".heic", ".avif"}
LARGEST_FILE = 20 * 2**20
MOST_SIDE = 2048


def add_file(library: StyleLibrary, path: str) -> StyleItem:
    """Adds a picture's file as a style.

    Raises:
        OSError: it cannot be read or stored.
        ValueError: it is no picture; the message is a sentence for people.
    """
    data = read_whole(path)
    image = QtGui.QImage.fromData(data)
    buffer = QtCore.QBuffer()
    buffer.setData(QtCore.QByteArray(data))
    kind = bytes(QtGui.QImageReader.imageFormat(buffer))
    if image.isNull():
        image, kind = _opened(path), b""
    title = os.path.splitext(os.path.basename(path))[0]
    as_it_is = kind in STYLE_FORMATS and len(data) <= LARGEST_FILE
    return _add(library, image, title, data if as_it_is else None)


def add_document(library: StyleLibrary, document: Any, layer: Any = None) -> StyleItem:
    """Adds the visible picture of an open document, or one of its layers, as a style.

    Raises:
        OSError: it cannot be stored.
        ValueError: the layer is empty; the message is a sentence for people.
    """
    whole = QtCore.QRect(0, 0, document.width(), document.height())
    bounds = whole if layer is None else layer.bounds().intersected(whole)
    if bounds.isEmpty():
        raise ValueError(_("The layer is empty. Paint on it, or choose another one."))
    box = (bounds.x(), bounds.y(), bounds.width(), bounds.height())
    title = canvas.name_of(document) if layer is None else layer.name()
    image = canvas.read(document, box, canvas.Source(layer, layer, True))
    return _add(library, image, os.path.splitext(title)[0] or title, None)


def _add(library: StyleLibrary, image: QtGui.QImage, title: str, data: bytes | None) -> StyleItem:
    if data is None:
        data = pixels.encoded(pixels.at_most(image, MOST_SIDE), "PNG")
    return library.add(data, title, pixels.thumbnail(image))


def _opened(path: str) -> QtGui.QImage:
    """Returns a picture that only Krita can open."""
    # Krita shows an error dialog for files of other types.
    kind = os.path.splitext(path)[1].lower()
    document = Krita.instance().openDocument(path) if kind in KRITA_FILES else None
    if document is None:
        raise ValueError(_("It is not a picture in a known format. Choose a PNG, JPEG or WebP file."))
    try:
        return canvas.read(document, (0, 0, document.width(), document.height()))
    finally:
        document.close()
