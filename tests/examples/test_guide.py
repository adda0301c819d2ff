"""The commands of proto/README.md, run one after the other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import PIL.Image

from support.example_programs import ROOT, skip
from support.samples import photo
from support.server_process import ServerProcess

GUIDE = ROOT / "proto" / "README.md"


def test_the_commands_of_the_guide_work(server: ServerProcess, tmp_path: Path) -> None:
    if shutil.which("buf") is None:
        skip("the guide needs buf; pip install buf-bin")
    folder = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", folder)
    photo(48, 32).save(folder / "photo.jpg")
    photo(20, 28).save(folder / "painting.jpg")
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))
    assert "localhost:50051" in commands
    commands = commands.replace("localhost:50051", server.address)
    # Each command must succeed and print what the guide says.
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("painted.png", "preview.jpg"):
        with PIL.Image.open(folder / name) as image:
            assert image.size == (64, 43)
    said = done.stdout
    assert '"title": "First"' in said
    assert '"styleWeight": 3' in said
    order = [
        "JOB_STATE_SUCCEEDED",
        '"stopMessage": "all 20 evaluations were made"',
        "JOB_STATE_PAUSED",
        "JOB_STATE_QUEUED",
        "JOB_STATE_CANCELLED",
        "JOB_STATE_SUCCEEDED",
        '"committedBytes": "300"',
        '"complete": true',
        "jobs/",
        "300",
        "code 3",
        '"field":"spec.recipe.longest_side"',
    ]
    for told in order:
        assert told in said, told
        said = said.partition(told)[2]


def test_the_links_of_the_guide_and_the_examples_lead_to_files() -> None:
    for readme in (GUIDE, *(ROOT / "client" / "examples").glob("**/README.md")):
        if "node_modules" in readme.parts:
            continue
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme.read_text()):
            assert (readme.parent / link).exists(), f"{readme}: {link}"
