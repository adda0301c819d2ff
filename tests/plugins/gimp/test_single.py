"""The dialog's lock, which needs no GIMP."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from impasto.hosts import FolderStorage

PLUGIN = Path(__file__).parents[3] / "client" / "plugins" / "gimp" / "impasto"


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path, str(PLUGIN)])
    return importlib.import_module("impasto_gimp.single")


def test_a_second_call_shows_its_image_in_the_dialog_that_is_open(single: Any, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    shown: list[int] = []
    first = single.OnlyOne(tmp_path, storage, 1)
    first.asked(shown.append)
    assert shown == []
    with pytest.raises(single.OpenElsewhere, match=r"^$"):
        single.OnlyOne(tmp_path, storage, 2)
    first.asked(shown.append)
    first.asked(shown.append)
    assert shown == [2]
    first.close()
    single.OnlyOne(tmp_path, storage, 3).close()


def test_a_dialog_in_another_gimp_is_named(
    single: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path)
    first = single.OnlyOne(tmp_path, storage, 1)
    other = os.getppid() + 1
    monkeypatch.setattr(os, "getppid", lambda: other)
    with pytest.raises(single.OpenElsewhere, match="open in another GIMP"):
        single.OnlyOne(tmp_path, storage, 2)
    first.close()
