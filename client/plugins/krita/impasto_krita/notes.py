"""What Impasto stores in a document: how its layers were painted, and which layer is only a preview.

It is kept in annotations, which a `.kra` file has and other formats do not.
"""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from typing import Any

from impasto.hosts import Painted, StyleItem, StyleShare
from impasto.hosts.foreign import foreign_json
from impasto_krita.nodes import id_of
from impasto_krita.qt import QtCore

LAYERS = "impasto"
HISTORY = "impasto-history"
MOST_BYTES = 16 * 2**20
"""Largest notes about layers that are read."""
_DOCUMENT, _PREVIEWS = "document", "previews"


def about(painted: Painted) -> dict[str, Any]:
    """Returns how a picture was made, to be stored with it."""
    job = painted.job
    recipe = {
        name: value for name, value in dataclasses.asdict(job.recipe).items() if value not in (None, ())
    }
    return {
        "styles": [
            {"key": share.style.key, "title": share.style.title, "share": share.share}
            for share in painted.styles
        ],
        "choices": dataclasses.asdict(painted.choices),
        "recipe": recipe,
        "job": job.name,
        "network": job.network.sha256 if job.network else "",
        "device": job.device,
        "source": painted.place.get("source", ""),
    }


def of_layer(document: Any, layer: Any) -> dict[str, Any] | None:
    """Returns what `about` stored for a layer; None if Impasto did not paint it."""
    found = _read(document).get(id_of(layer)) if layer is not None else None
    return found if isinstance(found, dict) else None


def shares_of(about: dict[str, Any]) -> tuple[StyleShare, ...]:
    """Returns the styles in what `about` stored."""
    # Version 0.2.0 stored one style.
    stored = about.get("styles", [about.get("style")])
    found = []
    for each in stored if isinstance(stored, list) else []:
        if isinstance(each, dict):
            item = StyleItem(str(each.get("key", "")), str(each.get("title", "")))
            share = each.get("share", 100)
            found.append(StyleShare(item, share if isinstance(share, int) and 1 <= share <= 1000 else 100))
    return tuple(found)


def set_layer(document: Any, id: str, about: dict[str, Any], key: str) -> None:
    """Stores how a layer was painted, and the document's key if it has none."""
    notes = _read(document)
    notes[id] = about
    if key and not notes.get(_DOCUMENT):
        notes[_DOCUMENT] = key
    _write(document, notes)


def painted_layers(document: Any) -> set[str]:
    """Returns the identifiers of the layers that Impasto made, previews among them."""
    notes = _read(document)
    return {id for id, value in notes.items() if isinstance(value, dict)} | set(_previews(notes))


def previews(document: Any) -> list[str]:
    """Returns the identifiers of the layers that are only previews."""
    return _previews(_read(document))


def mark_preview(document: Any, id: str, *, on: bool) -> None:
    """Marks a layer as a preview, or takes the mark away."""
    notes = _read(document)
    marked = [other for other in _previews(notes) if other != id] + ([id] if on else [])
    if marked == _previews(notes):
        return
    notes[_PREVIEWS] = marked
    if not marked:
        del notes[_PREVIEWS]
    _write(document, notes)


def stored_key(document: Any) -> str:
    """Returns the document's key in the history; empty if it has none."""
    key = _read(document).get(_DOCUMENT, "")
    return key if isinstance(key, str) else ""


def new_key(document: Any) -> str:
    """Returns a key for a document: its file if that cannot hold one, else a new one."""
    path = document.fileName() or ""
    if path and os.path.splitext(path)[1].lower() not in (".kra", ".krz"):
        return os.path.abspath(path)
    return uuid.uuid4().hex


def history(document: Any) -> bytes:
    """Returns the stored history; empty if there is none."""
    return bytes(document.annotation(HISTORY)) if HISTORY in document.annotationTypes() else b""


def set_history(document: Any, data: bytes) -> None:
    """Stores the history of a document."""
    if data != history(document):
        document.setAnnotation(HISTORY, "Impasto: earlier paintings", QtCore.QByteArray(data))


def _previews(notes: dict[str, Any]) -> list[str]:
    marked = notes.get(_PREVIEWS, [])
    return [str(id) for id in marked] if isinstance(marked, list) else []


def _read(document: Any) -> dict[str, Any]:
    if LAYERS not in document.annotationTypes():
        return {}
    notes = foreign_json(bytes(document.annotation(LAYERS)), MOST_BYTES)
    return notes if isinstance(notes, dict) else {}


def _write(document: Any, notes: dict[str, Any]) -> None:
    if notes:
        document.setAnnotation(
            LAYERS, "Impasto: how layers were painted", QtCore.QByteArray(json.dumps(notes).encode())
        )
    else:
        document.removeAnnotation(LAYERS)
