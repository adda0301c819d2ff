"""Temporary folders, in a place where every user can put things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from impasto_server.temporary import TemporaryFolder

PREFIX = "impasto-run-"


def left_folder(parent: Path) -> Path:
    """A folder whose process was killed."""
    program = (
        "import os, sys; from impasto_server.temporary import TemporaryFolder; "
        f"folder = TemporaryFolder({PREFIX!r}, sys.argv[1]); (folder.path / 'file').touch(); "
        "print(folder.path, flush=True); os._exit(9)"
    )
    command = [sys.executable, "-c", program, str(parent)]
    return Path(subprocess.run(command, capture_output=True, text=True).stdout.strip())


def test_the_folder_of_a_killed_process_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    mine = TemporaryFolder(PREFIX, str(tmp_path))
    left = left_folder(tmp_path)
    assert (left / "file").exists()
    other = TemporaryFolder(PREFIX, str(tmp_path))
    assert not left.exists()
    assert mine.path.exists()
    for folder in (mine, other):
        folder.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(20)
def test_things_of_other_users_with_such_a_name_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "owner").touch()
    pipe, link, linked_owner = (tmp_path / f"{PREFIX}{name}" for name in ("pipe", "link", "linked-owner"))
    for folder in (pipe, linked_owner):
        folder.mkdir()
    # Opening it would wait for a writer.
    os.mkfifo(pipe / "owner")
    link.symlink_to(tmp_path / "precious")
    (linked_owner / "owner").symlink_to(tmp_path / "precious" / "owner")
    (tmp_path / f"{PREFIX}file").touch()
    os.mkfifo(tmp_path / f"{PREFIX}bare-pipe")
    (tmp_path / f"{PREFIX}folder").mkdir()
    (tmp_path / f"{PREFIX}folder" / "owner").mkdir()
    before = sorted(tmp_path.rglob("*"))
    TemporaryFolder(PREFIX, str(tmp_path)).remove()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_another_user_s_folder_is_left_alone_even_by_root(tmp_path: Path) -> None:
    left = left_folder(tmp_path)
    os.chown(left, 12345, 12345)
    TemporaryFolder(PREFIX, str(tmp_path)).remove()
    assert (left / "file").exists()
