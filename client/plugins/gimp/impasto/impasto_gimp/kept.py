"""What the dialog remembers for the next time, at once when it is chosen, and where that is stored."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from gi.repository import GLib

from impasto.hosts import Choices, FolderStorage, Storage, StyleShare, choices, shares
from impasto.hosts.storage import read_json, write_json
from impasto_gimp import content, placing

KEY = "dialog.json"


def folder() -> pathlib.Path:
    """Returns the folder of what is stored; only the user can read its files."""
    return pathlib.Path(GLib.get_user_data_dir()) / "impasto" / "gimp"


def storage() -> FolderStorage:
    """Returns the storage of the dialog."""
    return FolderStorage(folder())


@dataclasses.dataclass(frozen=True)
class Kept:
    """What was chosen last.

    Attributes:
        styles: the chosen styles; empty before the first.
        choices: the settings.
        kind: what is painted, one of `content.KINDS`.
        to: where the result goes, one of `placing.WAYS`.
    """

    styles: tuple[StyleShare, ...] = ()
    choices: Choices = dataclasses.field(default_factory=Choices)
    kind: str = "layer"
    to: str = "above"


def load(storage: Storage) -> Kept:
    """Returns what was chosen last."""
    value: dict[str, Any] = read_json(storage, KEY, {})
    kind, to = value.get("kind"), value.get("to")
    return Kept(
        styles=shares.shares_from_json(value) if value.get("styles") else (),
        choices=choices.from_json(value.get("choices")),
        kind=kind if kind in content.KINDS else "layer",
        to=to if to in placing.WAYS else "above",
    )


def save(storage: Storage, kept: Kept) -> None:
    """Stores what is chosen."""
    value = {
        "styles": shares.shares_to_json(kept.styles),
        "choices": dataclasses.asdict(kept.choices),
        "kind": kept.kind,
        "to": kept.to,
    }
    write_json(storage, KEY, value)
