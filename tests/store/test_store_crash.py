"""The process of the store is killed at random moments, and at every step that it takes on the disk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support import storing_program

ROUNDS = 8


@pytest.mark.timeout(120)
def test_acknowledged_changes_survive_kill_9(tmp_path: Path) -> None:
    told = []
    checked = 0
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, storing_program.__file__, tmp_path / "store"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        told.append(json.loads(process.stdout.readline()))
        killer = threading.Timer(random.uniform(0, 0.4), process.kill)
        killer.start()
        # The last line may be incomplete.
        told += [json.loads(line) for line in process.stdout if line.endswith(b"\n")]
        process.wait()
        killer.join()
        assert process.returncode == -9
        checked = storing_program.check(tmp_path / "store", told)
    assert checked > ROUNDS


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_store_survives_a_kill_at_every_step(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, storing_program.__file__, tmp_path, "every-step"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 50
