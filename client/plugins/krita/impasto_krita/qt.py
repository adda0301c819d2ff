"""Qt for Python: PyQt5 in Krita 5, PyQt6 in Krita 6. Each raises an error if the other is imported."""

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
