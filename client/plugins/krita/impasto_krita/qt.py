"""Qt for Python: PyQt5 in Krita 5, PyQt6 in Krita 6. Each raises an error if the other is imported."""

try:
    import pykrita

    MAJOR = pykrita.qt_major_version()
except (ImportError, AttributeError):
    MAJOR = 5

if MAJOR == 5:
    from PyQt5 import QtCore, QtGui, QtWidgets
else:
    from PyQt6 import QtCore, QtGui, QtWidgets  # type: ignore[import-not-found,no-redef,unused-ignore]

__all__ = ["MAJOR", "QtCore", "QtGui", "QtWidgets"]
