"""Runs inside Krita with its window: the first painting of an artist, undo, and a second go."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import impasto_krita
from impasto_krita.plugin import host
from impasto_krita.qt import MAJOR, QtWidgets
from krita import Krita

import impasto
from impasto.hosts import Server

PATIENCE = 60.0


def until(is_so: Any, what: str) -> Iterator[int]:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        yield 50


def layers(document: Any) -> list[str]:
    return [node.name() for node in document.rootNode().childNodes()]


def projection(document: Any) -> bytes:
    document.refreshProjection()
    document.waitForDone()
    return bytes(document.pixelData(0, 0, document.width(), document.height()))


def main(settings: dict[str, Any], results: dict[str, Any]) -> Iterator[int]:
    krita = Krita.instance()
    results["python"] = sys.version
    results["qt"] = MAJOR
    results["plugin"] = os.path.dirname(os.path.abspath(impasto_krita.__file__))
    results["client"] = os.path.dirname(os.path.abspath(impasto.__file__))
    yield 500
    docker = next(docker for docker in krita.dockers() if docker.objectName() == "impasto")
    docker.setVisible(True)
    controller = host().controller
    controller.connect(Server(settings["address"]))
    document = krita.openDocument(os.path.join(settings["out"], "photo.png"))
    document.setBatchmode(True)
    krita.activeWindow().addView(document)
    buttons = docker.findChildren(QtWidgets.QAbstractButton)
    stylize = next(button for button in buttons if button.text().replace("&", "") == "Stylize")
    yield from until(stylize.isEnabled, "Stylize can be pressed")
    yield 500
    photo = projection(document)
    results["before"] = layers(document)

    stylize.click()
    yield from until(lambda: len(layers(document)) == 2, "the first painting has a layer")
    yield from until(lambda: not controller.runs, "the first painting is done")
    yield 500
    results["painted"] = layers(document)
    painting = projection(document)
    results["painted anything"] = painting != photo

    # One step back, and forth.
    undo, redo = krita.action("edit_undo"), krita.action("edit_redo")
    undo.trigger()
    yield from until(lambda: len(layers(document)) == 1, "undo removes the layer")
    yield 300
    results["undone"] = layers(document)
    results["as it was"] = projection(document) == photo
    redo.trigger()
    yield from until(lambda: len(layers(document)) == 2, "redo brings the layer back")
    yield 300
    results["redone"] = layers(document)
    results["painted again"] = projection(document) == painting

    # The painting is what is visible now, and the active layer.
    document.setActiveNode(document.rootNode().childNodes()[-1])
    yield 300
    stylize.click()
    yield from until(lambda: len(layers(document)) == 3, "the second painting has a layer")
    yield from until(lambda: not controller.runs, "the second painting is done")
    results["second"] = layers(document)
