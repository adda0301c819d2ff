"""The menu of presets: settings with a name, and those that were used recently."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from impasto.hosts import Choices, Controller, StyleShare, setting, words
from impasto.hosts.shares import title_of
from impasto.hosts.translate import _
from impasto_krita.qt import QtWidgets
from impasto_krita.widgets import entry, menu_button, plain_tip

EXPORTED, FILES = "impasto-presets.json", "*.json"
Use = Callable[[Sequence[StyleShare], Choices], None]


class PresetsMenu:
    """A button with the menu.

    Args:
        current: returns the styles and choices in the widgets.
        use: puts styles and choices into the widgets.
        of_layer: puts those of the active layer there; None if Impasto did not paint it.
        say: shows a sentence.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        parent: QtWidgets.QWidget,
        current: Callable[[], tuple[tuple[StyleShare, ...], Choices]],
        use: Use,
        of_layer: Callable[[], Callable[[], None] | None],
        say: Callable[[str], None],
    ) -> None:
        self._controller = controller
        self._parent = parent
        self._current = current
        self._use = use
        self._of_layer = of_layer
        self._say = say
        self.button = menu_button(
            _("Presets"), _("Settings with a name, and those that you used recently"), self.fill
        )

    def fill(self, menu: QtWidgets.QMenu) -> None:
        """Fills the menu."""
        presets = self._controller.presets.presets
        for preset in presets:
            action = entry(menu, preset.name, functools.partial(self._use, preset.styles, preset.choices))
            action.setToolTip(plain_tip(described(preset.styles, preset.choices)))
        if presets:
            menu.addSeparator()
        entry(menu, _("Save these settings …"), self.ask_save)
        for title, act in ((_("Rename"), self.ask_rename), (_("Remove"), self.remove)):
            sub = menu.addMenu(title)
            sub.setEnabled(bool(presets))
            for preset in presets:
                entry(sub, preset.name, functools.partial(act, preset.name))
        entry(menu, _("Export to a file …"), self.ask_export, enabled=bool(presets))
        entry(menu, _("Load from a file …"), self.ask_load)
        menu.addSeparator()
        recents = menu.addMenu(_("Recently used"))
        for recent in self._controller.recents:
            entry(
                recents,
                described(recent.styles, recent.choices),
                functools.partial(self._use, recent.styles, recent.choices),
            )
        recents.setEnabled(bool(self._controller.recents))
        use_layer = self._of_layer()
        entry(
            menu,
            _("Settings of the active layer"),
            use_layer or (lambda: None),
            enabled=use_layer is not None,
        )

    def ask_save(self) -> None:
        """Asks for a name and saves the settings."""
        styles, choices = self._current()
        name = self._ask_name(_("Save these settings"), title_of(styles))
        if name:
            self._try(lambda: self._controller.presets.save(name, styles, choices))

    def ask_rename(self, name: str) -> None:
        """Asks for a preset's new name."""
        new = self._ask_name(_("Rename the preset"), name)
        if new:
            self._try(lambda: self._controller.presets.rename(name, new))

    def remove(self, name: str) -> None:
        """Removes a preset."""
        self._try(lambda: self._controller.presets.remove(name))

    def ask_export(self) -> None:
        """Asks for a file and writes the presets to it."""
        path = QtWidgets.QFileDialog.getSaveFileName(self._parent, _("Export the presets"), EXPORTED, FILES)[
            0
        ]
        if path:
            self._try(lambda: self._controller.presets.export(path))

    def ask_load(self) -> None:
        """Asks for a file and adds its presets."""
        path = QtWidgets.QFileDialog.getOpenFileName(self._parent, _("Load presets"), "", FILES)[0]
        if path:
            self.load(path)

    def load(self, path: str) -> None:
        """Adds the presets of a file."""

        def load() -> None:
            names = self._controller.presets.load(path)
            self._say(_("Loaded presets: {names}.").format(names=", ".join(names)))

        self._try(load)

    def _try(self, call: Callable[[], Any]) -> None:
        self._say("")
        try:
            call()
        except (OSError, ValueError) as error:
            self._say(words.sentence(error))

    def _ask_name(self, title: str, name: str) -> str:
        text, is_given = QtWidgets.QInputDialog.getText(
            self._parent, title, _("Name"), QtWidgets.QLineEdit.EchoMode.Normal, name
        )
        return str(text).strip() if is_given else ""


def described(styles: Sequence[StyleShare], choices: Choices) -> str:
    """Returns settings in one line."""
    labels = {word.value: word.label for word in setting("effort").words}
    effort = labels.get(choices.effort, choices.effort)
    return _("{style} · strength {strength} · {effort} · seed {seed}").format(
        style=title_of(styles), strength=choices.strength, effort=effort, seed=choices.seed
    )
