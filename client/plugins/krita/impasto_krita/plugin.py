"""Registers the docker with Krita."""

from __future__ import annotations

from krita import DockWidgetFactory, DockWidgetFactoryBase, Krita

from impasto_krita.docker import ImpastoDocker
from impasto_krita.guard import Guard
from impasto_krita.host import FIRST_SERVER, KritaHost, folder

_host: KritaHost | None = None
_guard: Guard | None = None


def host() -> KritaHost:
    """Returns the host, which all windows share; connects at the first call."""
    global _host, _guard
    if _host is None:
        _host = KritaHost(folder())
        _guard = Guard(_host)
        _host.controller.start(FIRST_SERVER)
    return _host


class Docker(ImpastoDocker):
    """The docker, with the constructor that Krita calls."""

    def __init__(self) -> None:
        super().__init__(host())


def register() -> None:
    """Registers the docker; Krita makes one for each window."""
    Krita.instance().addDockWidgetFactory(
        DockWidgetFactory("impasto", DockWidgetFactoryBase.DockPosition.DockRight, Docker)
    )
