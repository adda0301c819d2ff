"""A docker that says why the plugin cannot run, and what to do. Runs with Python 3.6 and newer.

Its texts are not translated: what translates may be what is missing.
"""

import sys

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Krita

from impasto_krita.qt import QtWidgets


def too_old() -> str:
    """Returns what to say if Krita's Python is too old."""
    return "Impasto needs Python 3.10 or newer; this Krita has {}.{}. Please install a newer Krita.".format(
        *sys.version_info[:2]
    )


def incomplete(error: ImportError) -> str:
    """Returns what to say if files of the plugin are missing."""
    return (
        f"Files of the Impasto plugin are missing ({error}). Run “impasto plugin install krita”, or import "
        "impasto-krita.zip again with “Tools → Scripts → Import Python Plugin from File”; then restart Krita."
    )


def register(sentence: str) -> None:
    """Registers a docker that shows only a sentence."""

    class Docker(DockWidget):
        def __init__(self) -> None:
            super().__init__()
            self.setWindowTitle("Impasto")
            label = QtWidgets.QLabel(sentence)
            label.setWordWrap(True)
            self.setWidget(label)

        def canvasChanged(self, canvas: object) -> None:
            pass

    Krita.instance().addDockWidgetFactory(
        DockWidgetFactory("impasto", DockWidgetFactoryBase.DockPosition.DockRight, Docker)
    )
