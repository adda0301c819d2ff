"""The commands of proto/README.md, run one after the other."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from support.example_programs import ROOT, skip
from support.samples import photo
from support.server_process import ServerProcess, running_server

GUIDE = ROOT / "proto" / "README.md"


@pytest.fixture
def guided() -> Iterator[ServerProcess]:
    """A mock server with a page."""
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        running.ready()
        yield running


@pytest.mark.parametrize("tool", ["buf", "curl"])
def test_the_commands_of_the_guide_work(guided: ServerProcess, tmp_path: Path, tool: str) -> None:
    for needed, remedy in (("buf", "pip install buf-bin"), ("curl", "install it"), ("perl", "install it")):
        if shutil.which(needed) is None:
            skip(f"the guide needs {needed}; {remedy}")
    folder = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", folder)
    photo(48, 32).save(folder / "photo.jpg")
    photo(20, 28).save(folder / "painting.jpg")
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    other = "# With curl\n" if tool == "buf" else "# With buf\n"
    commands = "".join(block for block in blocks if not block.startswith(other))
    assert guided.web is not None
    for written, meant in (("localhost:50051", guided.address), ("http://localhost:50052/", guided.web)):
        assert any(written in block for block in blocks)
        commands = commands.replace(written, meant)
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
    assert re.search(r'^"styleWeight": *3$', said, re.MULTILINE)
    order = [
        "all 20 evaluations were made",
        "JOB_STATE_PAUSED",
        "JOB_STATE_QUEUED",
        "JOB_STATE_CANCELLED",
        "JOB_STATE_SUCCEEDED",
        '"committedBytes": "300"',
        '"complete": true',
        "jobs/",
        "300",
    ]
    if tool == "buf":
        order += ["code 3", '"field":"spec.recipe.longest_side"']
    else:
        order += ['"code": "invalid_argument"', "spec.recipe.longest_side is 3 px", "curl ends with 22"]
        with PIL.Image.open(folder / "thumbnail.jpg") as image:
            assert image.size == (32, 22)
    for told in order:
        assert told in said, told
        said = said.partition(told)[2]


def test_the_links_of_the_guide_and_the_examples_lead_to_files() -> None:
    for readme in (GUIDE, *(ROOT / "client" / "examples").glob("**/README.md")):
        if "node_modules" in readme.parts:
            continue
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme.read_text()):
            assert (readme.parent / link).exists(), f"{readme}: {link}"
