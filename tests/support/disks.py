"""Small and full file systems for the tests of the store."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """Mounts a file system at a place; skips the test if that is not allowed."""
    place.mkdir(exist_ok=True)
    try:
        run = subprocess.run(["mount", *options, place], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: this machine has no `mount`")
    if run.returncode:
        pytest.skip(f"NOT TESTED: this user may not mount: {run.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily, since a failed test may have left its store open.
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of a given size in MiB."""
    with mounted(place, "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs"):
        yield place


def fill(disk: Path) -> Path:
    """Fills a file system to its last byte with a file, and returns the file."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler
