"""The Python script with cells, against a real server."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, evaluations_of
from support.example_programs import EXAMPLES, Program, block, skip
from support.server_process import PATIENCE, ServerProcess

FOLDER = EXAMPLES / "python"
DRAFT = evaluations_of(DEFAULT_OBJECTIVE, "draft")


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Program]:
    """The exact command of the README, run in its folder."""
    if importlib.util.find_spec("matplotlib") is None:
        skip("the python example needs matplotlib; client/examples/python/README.md says how to install it")
    for picture in FOLDER.glob("*.png"):
        picture.unlink()
    command = block(FOLDER / "README.md", "Run")
    program = Program("python", ("bash", "-euc", f"exec 1>&2; {command}"), FOLDER, tmp_path)
    yield program
    program.close()


@pytest.mark.slow
def test_the_command_of_the_readme_works(script: Program, server: ServerProcess) -> None:
    run = script.start(IMPASTO_SERVER=server.address)
    assert run.end() == 0, run.said
    assert f"{DRAFT}/{DRAFT}  loss " in run.said
    with PIL.Image.open(FOLDER / "painted.png") as picture:
        assert picture.size == (96, 96)
    for figure in ("previews.png", "losses.png"):
        with PIL.Image.open(FOLDER / figure) as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10, f"{figure} is empty"


def test_ctrl_c_cancels_the_job_on_the_server(script: Program, server: ServerProcess) -> None:
    script = Program(
        "python", ("bash", "-c", "exec python painting.py 1>&2"), FOLDER, script.logs, script.started
    )
    run = script.start(IMPASTO_SERVER=server.address, IMPASTO_SIZE="512", MPLBACKEND="Agg")
    run.wait_for(rf"\d+/{DRAFT}  loss ")
    run.interrupt()
    assert run.end() != 0
    assert "KeyboardInterrupt" in run.said
    (job,) = server.stub.ListJobs(pb.ListJobsRequest(page_size=1), timeout=PATIENCE).jobs
    assert job.state == pb.JOB_STATE_CANCELLED
    assert not (FOLDER / "painted.png").exists()


def test_an_error_names_the_field(script: Program, server: ServerProcess) -> None:
    script = Program("python", ("bash", "-c", "python painting.py"), FOLDER, script.logs, script.started)
    run = script.start(IMPASTO_SERVER=server.address, IMPASTO_SIZE="3", MPLBACKEND="Agg")
    assert run.end() == 1
    assert "InvalidRequest: spec.recipe.longest_side is 3 px; give 16 to 8192" in run.said
