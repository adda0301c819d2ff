"""Krita's actions for the docker, which can have shortcuts (Settings → Configure Krita → Keyboard Shortcuts).

`impasto_krita.action` names them for that list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from krita import Extension, Krita

from impasto.hosts.translate import _
from impasto_krita.docker import ImpastoDocker

MENU = "tools/scripts"


class Actions(Extension):
    """The actions of each window."""

    def setup(self) -> None:
        """Does nothing: the docker is registered elsewhere."""

    def createActions(self, window: Any) -> None:
        for name, text, act in (
            ("impasto_stylize", _("Impasto: Stylize"), ImpastoDocker.stylize),
            ("impasto_cancel", _("Impasto: Cancel"), ImpastoDocker.cancel),
            ("impasto_pause", _("Impasto: Pause or Resume"), ImpastoDocker.pause_or_resume),
            ("impasto_new_seed", _("Impasto: New Seed"), ImpastoDocker.new_seed),
        ):
            action = window.createAction(name, text, MENU)
            action.triggered.connect(lambda *_, act=act: _on_docker(act))


def _on_docker(act: Callable[[ImpastoDocker], None]) -> None:
    # The window of `createActions` is Krita's for that call only.
    window = Krita.instance().activeWindow()
    main = window.qwindow() if window is not None else None
    dockers = [docker for docker in Krita.instance().dockers() if isinstance(docker, ImpastoDocker)]
    for docker in sorted(dockers, key=lambda docker: docker.parent() is not main):
        act(docker)
        return
