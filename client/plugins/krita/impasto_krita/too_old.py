"""A docker that says that Krita's Python is too old. Runs with Python 3.6 and newer."""

import sys

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Krita

from impasto_krita.qt import QtWidgets


class TooOldDocker(DockWidget):
    def __init__(self):
        super().__init__()
        self.setWindowTitle("Impasto")
        label = QtWidgets.QLabel(
            "Impasto needs Python 3.10 or newer; this Krita has {}.{}. Please install a newer Krita.".format(
                *sys.version_info[:2]
            )
        )
        label.setWordWrap(True)
        self.setWidget(label)

    def canvasChanged(self, canvas):
        pass


def register():
    Krita.instance().addDockWidgetFactory(
        DockWidgetFactory("impasto", DockWidgetFactoryBase.DockPosition.DockRight, TooOldDocker)
    )
