"""A docker that says why there is none. Readable for Python 3.6 on."""

import sys

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Krita

from impasto_krita.qt import QtWidgets


class TooOldDocker(DockWidget):
    def __init__(self):
        super().__init__()
        self.setWindowTitle("Impasto")
        label = QtWidgets.QLabel(
            "Impasto needs a Krita with Python 3.10 or newer; this one has {}.{}. "
            "Please install a newer Krita.".format(*sys.version_info[:2])
        )
        label.setWordWrap(True)
        self.setWidget(label)

    def canvasChanged(self, canvas):
        pass


def register():
    Krita.instance().addDockWidgetFactory(
        DockWidgetFactory("impasto", DockWidgetFactoryBase.DockPosition.DockRight, TooOldDocker)
    )
