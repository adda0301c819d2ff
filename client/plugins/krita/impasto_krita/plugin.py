"""Registers the docker and the actions with Krita."""

from __future__ import annotations

import os

from krita import DockWidgetFactory, DockWidgetFactoryBase, Krita

from impasto.hosts import translate
from impasto_krita.actions import Actions
from impasto_krita.docker import ImpastoDocker
from impasto_krita.guard import Guard
from impasto_krita.host import KritaHost, folder
from impasto_krita.qt import QtCore

_host: KritaHost | None = None
_guard: Guard | None = None


def host() -> KritaHost:
    """Returns the host, which all windows share; connects at the first call."""
    global _host, _guard
    if _host is None:
        _host = KritaHost(folder(), here=True)
        _guard = Guard(_host)
        _host.controller.start()
    return _host


class Docker(ImpastoDocker):
    """The docker, with the constructor that Krita calls."""

    def __init__(self) -> None:
        super().__init__(host())


def languages() -> list[str]:
    """Returns the languages of Krita's texts, the preferred one first."""
    # Krita sets LANGUAGE to the one that was chosen in its menu, or else takes the system's.
    chosen = [language for language in os.environ.get("LANGUAGE", "").split(":") if language]
    return chosen or [language.replace("-", "_") for language in QtCore.QLocale().uiLanguages()]


def register() -> None:
    """Registers the docker, of which Krita makes one for each window, and the actions."""
    translate.use(languages())
    krita = Krita.instance()
    krita.addExtension(Actions(krita))
    krita.addDockWidgetFactory(
        DockWidgetFactory("impasto", DockWidgetFactoryBase.DockPosition.DockRight, Docker)
    )
