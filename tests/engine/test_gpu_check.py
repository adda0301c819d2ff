"""`.ci/gpu_check.py` with tiny pictures: on the CPU, so that it works when a GPU can be had, and on a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CHECK = Path(__file__).parents[2] / ".ci" / "gpu_check.py"
SECTIONS = {
    *("machine", "correct", "same twice", "graphs", "paintings", "rates", "gaps", "roots"),
    "out of memory",
}
without_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda:0", marks=[pytest.mark.gpu, without_gpu]),
    ],
)
def test_every_section_works_and_says_yes(device, tmp_path):
    out = tmp_path / "check.json"
    ended = subprocess.run(
        [sys.executable, CHECK, "--quick", "--device", device, "--out", out],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(out.read_text())
    assert set(found) == SECTIONS | {"verdicts"}
    assert len(found["verdicts"]) >= 6
    assert all(found["verdicts"].values())
