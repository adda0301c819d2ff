"""`.ci/before_after.py`, which compares two checkouts."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".ci" / "before_after.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("before_after", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["before_after"] = module
    spec.loader.exec_module(module)
    return module


def test_a_difference_of_pictures(program: ModuleType) -> None:
    before = np.full((10, 10, 3), 100.0)
    after = before.copy()
    same = program.difference(before, after)
    assert (same.within_one, same.largest, same.psnr) == (1, 0, math.inf)

    # A pixel counts once, however many of its channels differ; one level is not too much.
    after[0, 0] = 103
    after[0, 1, 2] = 97.5
    after[0, 2] = 101
    apart = program.difference(before, after)
    assert apart.within_one == pytest.approx(0.98)
    assert apart.largest == 3
    assert apart.rms == pytest.approx(math.sqrt((3 * 9 + 2.5**2 + 3 * 1) / 300))
    assert apart.psnr == pytest.approx(20 * math.log10(255 / apart.rms))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose optimiser makes longer moves."""
    checkout = tmp_path_factory.mktemp("changed")
    (checkout / "client").symlink_to(ROOT / "client")
    server = checkout / "server" / "impasto_server"
    shutil.copytree(
        ROOT / "server" / "impasto_server", server, ignore=shutil.ignore_patterns("__pycache__", "data")
    )
    for folder in ("bench", "engine"):
        (server / folder / "data").symlink_to(ROOT / "server" / "impasto_server" / folder / "data")
    optimizers = server / "engine" / "optimizers.py"
    text = optimizers.read_text(encoding="utf-8")
    assert "FIRST_STEP = 0.02" in text
    optimizers.write_text(text.replace("FIRST_STEP = 0.02", "FIRST_STEP = 0.2"), encoding="utf-8")
    return checkout


def run(base: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, base, "--sides", "32", "--objectives", "balanced", *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_equal_checkouts_paint_equal_pictures(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    done = run(ROOT, "--pictures", "--precisions", "float32", "--json", numbers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 of 1") == 3
    (case,) = json.loads(numbers.read_text(encoding="utf-8"))
    assert case["painting"]["largest"] == 0
    assert case["loss_ratio"] == 1
    assert {name: move["share_of_distance"] for name, move in case["moves"].items()} == {
        "move 1": 0,
        "move 5": 0,
    }


@pytest.mark.slow
def test_another_picture_is_noticed(changed: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    done = run(changed, "--pictures", "--precisions", "float32", "--json", numbers)
    assert done.returncode == 1, done.stderr
    assert "BELOW 99 %" in done.stdout
    (case,) = json.loads(numbers.read_text(encoding="utf-8"))
    # The move before was ten times as long.
    assert case["moves"]["move 1"]["share_of_distance"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
def test_speed_is_compared(changed: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    done = run(changed, "--rounds", "2", "--precisions", "bfloat16", "--json", numbers)
    assert done.returncode == 0, done.stderr
    assert str(changed) in done.stdout
    (case,) = json.loads(numbers.read_text(encoding="utf-8"))
    assert case["ratio"] > 0
    assert case["before_seconds"] > 0


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "has no folder server/impasto_server" in done.stderr
