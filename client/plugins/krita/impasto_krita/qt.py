"""Krita 5 brings PyQt5, Krita 6 PyQt6, and raises where the other one is imported."""

try:
    import pykrita

    MAJOR = pykrita.qt_major_version()
except (ImportError, AttributeError):
    MAJOR = 5

if MAJOR == 6:
    from PyQt6 import QtCore, QtGui, QtWidgets
else:
    from PyQt5 import QtCore, QtGui, QtWidgets

__all__ = ["MAJOR", "QtCore", "QtGui", "QtWidgets"]
