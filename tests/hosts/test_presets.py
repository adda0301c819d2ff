"""Presets: named settings, and the file in which they are shared."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from impasto import png
from impasto.hosts import Choices, Presets, StyleItem, StyleLibrary, StyleShare, presets
from impasto.hosts.presets import MOST
from support.fake_host import FakeStorage, jpeg

STARRY = StyleShare(StyleItem("styles/starry-night", "The Starry Night"))
PICTURE = png.write(2, 2, 3, 8, bytes(12))


class Place:
    """A host's storage, with the presets and the styles in it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.storage = FakeStorage()
        self.library = StyleLibrary(self.storage, lambda: self.told.append("styles"))
        self.presets = Presets(self.storage, self.library, lambda: self.told.append("presets"))

    @property
    def names(self) -> list[str]:
        return [preset.name for preset in self.presets.presets]

    def again(self) -> Presets:
        return Presets(self.storage, self.library, lambda: None)


@pytest.fixture
def here() -> Place:
    return Place()


def test_presets_are_kept_by_name(here: Place) -> None:
    here.presets.save("soft", (STARRY,), Choices(strength=20))
    here.presets.save("  Bold   sky ", (STARRY,), Choices(strength=90))
    here.presets.save("soft", (STARRY,), Choices(strength=30))
    assert here.names == ["Bold sky", "soft"]
    assert here.told == ["presets"] * 3
    preset = here.again().find("soft")
    assert preset is not None
    assert (preset.styles, preset.style, preset.choices.strength) == ((STARRY,), STARRY.style, 30)
    here.presets.rename("soft", "Softer")
    assert here.names == ["Bold sky", "Softer"]
    here.presets.rename("Softer", "softer")
    here.presets.remove("softer")
    here.presets.remove("softer")
    assert [preset.name for preset in here.again().presets] == ["Bold sky"]


def test_names_are_checked(here: Place) -> None:
    here.presets.save("soft", (STARRY,), Choices())
    here.presets.save("bold", (STARRY,), Choices())
    for wrong in ("", "   ", "x" * 81):
        with pytest.raises(ValueError, match="Enter"):
            here.presets.save(wrong, (STARRY,), Choices())
    with pytest.raises(ValueError, match="“bold” already"):
        here.presets.rename("soft", "bold")
    with pytest.raises(ValueError, match="no preset “other”"):
        here.presets.rename("other", "new")
    with pytest.raises(ValueError, match="no preset “other”"):
        here.presets.export("unused.json", ["other"])
    with pytest.raises(ValueError, match="Choose a style"):
        here.presets.save("new", (), Choices())
    assert here.names == ["bold", "soft"]


def test_a_preset_that_cannot_be_stored_is_told(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(key: str, data: bytes) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(here.storage, "write", full)
    with pytest.raises(OSError, match="full"):
        here.presets.save("soft", (STARRY,), Choices())
    assert here.names == []


def test_there_is_a_limit(here: Place) -> None:
    stored = [{"name": f"preset {i}", "styles": [{"key": "styles/a", "title": "A"}]} for i in range(MOST)]
    here.storage.write("presets.json", json.dumps(stored).encode())
    with pytest.raises(ValueError, match="Remove some"):
        here.presets.save("one more", (STARRY,), Choices())
    here.presets.save("preset 3", (STARRY,), Choices())
    assert len(here.presets.presets) == MOST


def test_two_processes_keep_each_others_presets(here: Place) -> None:
    other = here.again()
    here.presets.save("soft", (STARRY,), Choices())
    other.save("bold", (STARRY,), Choices())
    assert [preset.name for preset in here.again().presets] == ["bold", "soft"]


def test_a_shared_file_has_the_pictures_of_own_styles(here: Place, tmp_path: Path) -> None:
    own = StyleShare(here.library.add(PICTURE, "Mine", jpeg(note=b"thumb")), 300)
    here.presets.save("both", (own, STARRY), Choices(strength=70, evaluations=40, stroke_size=150))
    here.presets.save("plain", (STARRY,), Choices())
    here.presets.export(tmp_path / "all.json")
    here.presets.export(tmp_path / "one.json", ["plain"])
    there = Place()
    assert there.presets.load(tmp_path / "one.json") == ["plain"]
    assert there.library.own == ()
    assert there.presets.load(tmp_path / "all.json") == ["both", "plain"]
    assert there.names == ["both", "plain"]
    preset = there.presets.find("both")
    assert preset is not None
    assert preset.styles == (own, STARRY)
    assert preset.choices == Choices(strength=70, evaluations=40, stroke_size=150)
    assert [item.title for item in there.library.own] == ["Mine"]
    assert there.library.own[0].thumbnail == jpeg(note=b"thumb")
    assert there.library.file(own.style) == PICTURE


def test_a_loaded_preset_replaces_none_of_ones_own(here: Place, tmp_path: Path) -> None:
    here.presets.save("soft", (STARRY,), Choices(strength=10))
    here.presets.export(tmp_path / "soft.json")
    there = Place()
    there.presets.save("soft", (STARRY,), Choices(strength=90))
    for _ in range(2):
        assert there.presets.load(tmp_path / "soft.json") == ["soft (2)"]
    assert there.names == ["soft", "soft (2)"]
    assert [preset.choices.strength for preset in there.presets.presets] == [90, 10]


def test_what_cannot_be_exported_is_told(here: Place, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no presets to export"):
        here.presets.export(tmp_path / "none.json")
    own = StyleShare(here.library.add(PICTURE, "Mine"))
    here.presets.save("mine", (own,), Choices())
    here.library.remove(own.style.key)
    with pytest.raises(ValueError, match="The file of the style “Mine” is lost"):
        here.presets.export(tmp_path / "mine.json")
    assert list(tmp_path.iterdir()) == []


def test_styles_of_a_file_replace_none_of_ones_own(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(here, tmp_path / "shared.json")
    monkeypatch.setattr(presets, "MOST_OWN", 1)
    there = Place()
    there.library.add(b"another", "Theirs")
    with pytest.raises(ValueError, match="no room"):
        there.presets.load(tmp_path / "shared.json")
    assert [item.title for item in there.library.own] == ["Theirs"]


def test_two_processes_keep_each_others_styles(here: Place) -> None:
    other = StyleLibrary(here.storage, lambda: None)
    here.library.add(b"one", "One")
    other.add(b"two", "Two")
    here.library.remove(other.add(b"three", "Three").key)
    kept = StyleLibrary(here.storage, lambda: None).own
    assert [item.title for item in kept] == ["Two", "One"]


def shared(here: Place, path: Path) -> dict[str, Any]:
    """The contents of a shared file with one preset of an own style."""
    own = StyleShare(here.library.add(PICTURE, "Mine"))
    here.presets.save("mine", (own,), Choices())
    here.presets.export(path)
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.pop("impasto_presets"),
        lambda value: value.update(presets=[]),
        lambda value: value.update(presets=5),
        lambda value: value.update(pictures={}),
        lambda value: value.update(pictures=[]),
        lambda value: value["presets"].append({}),
        lambda value: value["presets"][0].update(name=""),
        lambda value: value["presets"][0].update(name=7),
        lambda value: value["presets"][0]["styles"][0].update(key="../server.json"),
        lambda value: value["pictures"].update(dict.fromkeys(value["pictures"], "AAAA")),
        lambda value: value["pictures"].update(
            dict.fromkeys(value["pictures"], base64.b64encode(png.write(1, 1, 3, 8, bytes(3))).decode())
        ),
    ],
)
def test_a_damaged_file_adds_nothing(here: Place, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "shared.json"
    value = shared(here, path)
    damage(value)
    path.write_text(json.dumps(value))
    there = Place()
    with pytest.raises(ValueError, match=r"shared\.json has no presets of Impasto\."):
        there.presets.load(path)
    assert there.storage.kept == {}


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"null", b"[" * 100_000])
def test_any_other_file_is_refused(here: Place, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photo.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="Choose a file"):
        here.presets.load(path)
    with pytest.raises(OSError, match="missing"):
        here.presets.load(tmp_path / "missing.json")


@pytest.mark.parametrize("stored", [b"", b"{", b"{}", b"[5, null, {}]"])
def test_damaged_presets_are_ignored(stored: bytes) -> None:
    storage = FakeStorage()
    storage.write("presets.json", stored)
    library = StyleLibrary(storage, lambda: None)
    assert Presets(storage, library, lambda: None).presets == ()


def test_no_file_is_written_that_is_too_large_to_be_read(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = here.library.add(PICTURE, "Mine")
    here.presets.save("one", (StyleShare(item),), Choices())
    path = tmp_path / "presets.json"
    monkeypatch.setattr(presets, "MOST_FILE_BYTES", 300)
    with pytest.raises(ValueError, match="Choose fewer"):
        here.presets.export(path)
    assert not path.exists()
