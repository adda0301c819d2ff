"""Presets: settings with a name, which can be shared as a file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from impasto.files import on_disk, read_whole, write_whole
from impasto.hosts import choices as choosing
from impasto.hosts.choices import Choices
from impasto.hosts.foreign import foreign_json
from impasto.hosts.shares import StyleShare, shares_from_json, shares_to_json
from impasto.hosts.storage import Storage, read_json
from impasto.hosts.styles import MOST_OWN, StyleItem, StyleLibrary
from impasto.hosts.told import ToldError, cut, plain
from impasto.hosts.translate import _

MOST = 1000
"""Presets that are kept."""
MOST_OF_FILE = 200
"""Presets of one shared file."""
MOST_FILE_BYTES = 256 * 2**20
"""Largest shared file that is read."""
MOST_NAME = 80
"""Longest name, in characters."""
_KEY = "presets.json"
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings with a name.

    Attributes:
        name: its name.
        styles: the styles.
        choices: the choices.
    """

    name: str
    styles: tuple[StyleShare, ...]
    choices: Choices

    @property
    def style(self) -> StyleItem:
        """The first style."""
        return self.styles[0].style


class Presets:
    """The presets, in the storage.

    Args:
        library: the styles; a shared file has the pictures of own ones.
        changed: called when they change.

    Attributes:
        presets: the presets, by name.
    """

    def __init__(self, storage: Storage, library: StyleLibrary, changed: Callable[[], None]) -> None:
        self._storage = storage
        self._library = library
        self._changed = changed
        # What is stored and cannot be read, for example by a newer plugin: it is stored again as it is.
        self._strange: list[Any] = []
        self.presets: tuple[Preset, ...] = ()
        self._read_again()

    def find(self, name: str) -> Preset | None:
        """Returns the preset of this name; None if there is none."""
        return next((preset for preset in self.presets if preset.name == name), None)

    def save(self, name: str, styles: tuple[StyleShare, ...], choices: Choices) -> Preset:
        """Stores settings under a name. Replaces a preset of that name.

        Raises:
            ToldError: the name or the styles cannot be used.
            OSError: it cannot be stored.
        """
        name = _checked(name)
        if not styles:
            raise ToldError(_("No style is chosen."), _("Choose a style first."))
        with self._storage.locked():
            self._read_again()
            others = [preset for preset in self.presets if preset.name != name]
            if len(others) >= MOST:
                raise _too_many()
            preset = Preset(name, styles, choices)
            self._keep([*others, preset])
        return preset

    def rename(self, name: str, new: str) -> None:
        """Gives a preset another name.

        Raises:
            ToldError: there is no such preset, or the new name cannot be used.
            OSError: it cannot be stored.
        """
        with self._storage.locked():
            self._read_again()
            preset, new = self._there(name), _checked(new)
            if new != name and self.find(new) is not None:
                raise ToldError(
                    _("There is a preset “{name}” already.").format(name=cut(new)), _("Enter another name.")
                )
            others = [other for other in self.presets if other.name != name]
            self._keep([*others, dataclasses.replace(preset, name=new)])

    def remove(self, name: str) -> None:
        """Removes a preset, if it is there.

        Raises:
            OSError: that cannot be stored.
        """
        with self._storage.locked():
            self._read_again()
            if self.find(name) is not None:
                self._keep([preset for preset in self.presets if preset.name != name])

    def export(self, path: str | os.PathLike[str], names: Iterable[str] | None = None) -> None:
        """Writes presets to a file for other people, with the pictures of own styles.

        Args:
            names: the presets to write; None for all.

        Raises:
            ToldError: there is no such preset, the picture of a style is lost, or the file would be too
                large for `load`.
            OSError: the file cannot be written.
        """
        presets = self.presets if names is None else tuple(self._there(name) for name in names)
        if not presets:
            raise ToldError(_("There are no presets to export."), _("Save one first."))
        if len(presets) > MOST_OF_FILE:
            raise ToldError(
                _("These are too many presets for one file."),
                _("Choose at most {most}.").format(most=MOST_OF_FILE),
            )
        pictures = {}
        for share in (share for preset in presets for share in preset.styles if share.style.own):
            data = self._library.file(share.style)
            if data is None:
                raise ToldError(
                    _("The file of the style “{style}” is lost.").format(style=cut(share.style.title)),
                    _("Add the style again."),
                )
            pictures[share.style.key] = base64.b64encode(data).decode()
        value = {"impasto_presets": 1, "presets": list(map(_to_json, presets)), "pictures": pictures}
        written = json.dumps(value).encode()
        if len(written) > MOST_FILE_BYTES:
            raise ToldError(_("These presets are too large for one file."), _("Choose fewer of them."))
        write_whole(path, written)

    def load(self, path: str | os.PathLike[str]) -> list[str]:
        """Adds the presets of a file that `export` wrote. One whose name is taken gets a number.

        Returns:
            The names under which they are there now.

        Raises:
            ToldError: it is not such a file, or it is damaged. Nothing
                was added.
            OSError: the file cannot be read, or the presets cannot be stored.
        """
        presets, pictures = self._read(path)
        with self._storage.locked():
            return self._add(presets, pictures)

    def _add(self, presets: list[Preset], pictures: dict[str, tuple[StyleItem, bytes]]) -> list[str]:
        self._read_again()
        if len(self.presets) + len(presets) > MOST:
            raise _too_many()
        own = {item.key for item in self._library.own}
        if len(own | pictures.keys()) > MOST_OWN:
            raise ToldError(
                _("There is no room for the file's styles."), _("Remove some of your own styles first.")
            )
        kept, names = list(self.presets), []
        for preset in presets:
            same = next(
                (other for other in kept if (other.styles, other.choices) == (preset.styles, preset.choices)),
                None,
            )
            if same is None or _plain(same.name) != _plain(preset.name):
                same = dataclasses.replace(preset, name=_free(preset.name, {other.name for other in kept}))
                kept.append(same)
            names.append(same.name)
        for key, (item, data) in pictures.items():
            if key not in own:
                self._library.add(data, item.title, item.thumbnail)
        self._keep(kept)
        return names

    def _read(self, path: str | os.PathLike[str]) -> tuple[list[Preset], dict[str, tuple[StyleItem, bytes]]]:
        """The checked contents of a shared file: its presets, and its styles with their pictures by key."""
        name = os.path.basename(os.fspath(path))
        wrong = ToldError(
            _("{file} has no presets of Impasto.").format(file=cut(name)),
            _("Or it is damaged. Choose a file that Impasto has exported."),
        )
        if os.path.getsize(on_disk(path)) > MOST_FILE_BYTES:
            raise wrong
        value = foreign_json(read_whole(path), MOST_FILE_BYTES)
        if not isinstance(value, dict) or value.get("impasto_presets") != 1:
            raise wrong
        stored, files = value.get("presets"), value.get("pictures")
        if not isinstance(stored, list) or not isinstance(files, dict) or not 0 < len(stored) <= MOST_OF_FILE:
            raise wrong
        presets: list[Preset] = []
        pictures: dict[str, tuple[StyleItem, bytes]] = {}
        for each in stored:
            preset = _from_json(each)
            if preset is None:
                raise wrong
            presets.append(preset)
            for share in preset.styles:
                if share.style.own and share.style.key not in pictures:
                    data = _picture(files.get(share.style.key), share.style.key)
                    if data is None:
                        raise wrong
                    pictures[share.style.key] = share.style, data
        return presets, pictures

    def _read_again(self) -> None:
        """Reads the stored presets: another process of the host may have changed them."""
        values = read_json(self._storage, _KEY, [])
        stored = [_from_json(value) for value in values]
        self._strange = [value for value, preset in zip(values, stored, strict=True) if preset is None]
        self.presets = _sorted(preset for preset in stored if preset is not None)

    def _there(self, name: str) -> Preset:
        preset = self.find(name)
        if preset is None:
            raise ToldError(
                _("There is no preset “{name}”.").format(name=cut(name)), _("Choose another one.")
            )
        return preset

    def _keep(self, presets: Iterable[Preset]) -> None:
        presets = _sorted(presets)
        # Unlike other things that are remembered, a preset that is lost would be missed.
        self._storage.write(_KEY, json.dumps([*map(_to_json, presets), *self._strange]).encode())
        self.presets = presets
        self._changed()


def _too_many() -> ToldError:
    return ToldError(_("There are {number} presets.").format(number=MOST), _("Remove some first."))


def _sorted(presets: Iterable[Preset]) -> tuple[Preset, ...]:
    return tuple(sorted(presets, key=lambda preset: (preset.name.casefold(), preset.name)))


def _checked(name: str) -> str:
    name = plain(name)
    if not name:
        raise ToldError(_("The preset has no name."), _("Enter one."))
    if len(name) > MOST_NAME:
        raise ToldError(
            _("The preset's name is too long."), _("Enter at most {most} characters.").format(most=MOST_NAME)
        )
    return name


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 2
    while free in taken:
        free = f"{name} ({number})"
        number += 1
    return free


def _plain(name: str) -> str:
    """A name without the number that `_free` gave it."""
    before, bracket, number = name.rpartition(" (")
    return before if bracket and number.endswith(")") and number[:-1].isdigit() else name


def _picture(value: Any, key: str) -> bytes | None:
    """The picture of an own style in a shared file; None if it is not the one that its key names."""
    try:
        data = base64.b64decode(value)
    except (TypeError, ValueError):
        return None
    is_picture = data.startswith(_PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    return data if is_picture and hashlib.sha256(data).hexdigest() == key else None


def _to_json(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "styles": shares_to_json(preset.styles),
        "choices": dataclasses.asdict(preset.choices),
    }


def _from_json(value: Any) -> Preset | None:
    styles = shares_from_json(value)
    if not styles or not isinstance(value.get("name"), str):
        return None
    try:
        name = _checked(value.get("name"))
    except ToldError:
        return None
    return Preset(name, styles, choosing.from_json(value.get("choices")))
