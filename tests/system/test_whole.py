"""From the command line to the picture on disk, through client, gateway, worker and engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from support.random_networks import picture
from support.report_program import ReportProgram, vgg19_features

BIN = Path(sys.executable).parent
README = Path(__file__).parents[2] / "README.md"


def run(folder, *command):
    return subprocess.run(
        [BIN / "impasto", *map(str, command)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_the_readmes_main_command_paints(tmp_path):
    command = re.search(r"\.venv/bin/impasto (demo.*)$", README.read_text("utf-8"), re.M)
    assert command, "the README's first command no longer ends in `impasto demo`"
    done = run(tmp_path, *command[1].split(), "--effort", "draft", "--weights", "builtin")
    result = Image.open(tmp_path / "impasto-demo.png")
    assert result.size == (512, 512)
    assert "impasto" in result.text
    assert "512 × 512" in done.stdout + done.stderr
    pixels = np.asarray(result.convert("RGB")).astype(int)
    # The Starry Night is blue and the photograph is not; there are strokes everywhere.
    assert pixels[..., 2].mean() > pixels[..., 0].mean() + 20
    assert np.abs(np.diff(pixels, axis=1)).mean() > 5


@pytest.mark.slow
def test_the_report_recipe_paints_the_same_picture_as_the_reports_program(tmp_path):
    features = vgg19_features()
    weights = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(weights, tmp_path / "vgg19.pth")
    content, style = picture(64, 48, seed=1), picture(50, 70, seed=2)
    content.save(tmp_path / "content.png")
    style.save(tmp_path / "style.png")
    program = ReportProgram(features, content, style)
    for _ in range(10):
        program.step()
    run(
        tmp_path,
        *("stylize", "content.png", "style.png", "-o", "out.png", "--recipe", "report", "--evaluations", 10),
        *("--precision", "float32", "--weights", "vgg19.pth", "--device", "cpu"),
    )
    painted = np.asarray(Image.open(tmp_path / "out.png").convert("RGB")).astype(int)
    assert np.abs(painted - np.asarray(program.show()).astype(int)).max() <= 1
    assert np.abs(painted - np.asarray(content).astype(int)).max() > 1
