"""The examples against a real server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

import impasto
from impasto.v1 import style_transfer_pb2 as pb
from support.certificates import Authority
from support.example_programs import COMMANDS, EXAMPLES, Program, block
from support.samples import photo
from support.server_process import PATIENCE, ServerProcess, running_server, until

SERVE = ("--device", "cpu", "--weights", "builtin")
ENDLESS = ("--evaluations", 100_000, "--size", 32)


def newest_job(server: ServerProcess) -> pb.Job:
    (job,) = server.stub.ListJobs(pb.ListJobsRequest(page_size=1), timeout=PATIENCE).jobs
    return job


@pytest.fixture(scope="module")
def expected(server: ServerProcess) -> PIL.Image.Image:
    """The picture that the Python client gets for the same images and settings."""
    with impasto.Client(server.address) as client:
        painting = client.stylize(photo(), photo(20, 28), size=48, evaluations=12)
        return painting.result().image


@pytest.mark.slow
def test_the_program_paints_the_picture(
    program: Program, server: ServerProcess, expected: PIL.Image.Image
) -> None:
    run = program.paint(server.address, "--size", 48, "--evaluations", 12, "--previews", "previews")
    assert run.end() == 0, run.said
    with PIL.Image.open(program.folder / "out.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (48, 36)
        assert picture.tobytes() == expected.tobytes()
    assert "evaluation 12/12" in run.said
    assert run.said.endswith("\r\x1b[Kout.png: 48 x 36\n")
    previews = sorted((program.folder / "previews").iterdir())
    assert previews
    for preview in previews:
        with PIL.Image.open(preview) as image:
            assert image.format == "JPEG"
            assert preview.name == f"{int(preview.stem):06}.jpeg"
    assert not list(program.folder.glob("*.part"))


def test_the_job_has_no_previews_unless_they_are_wanted(program: Program, server: ServerProcess) -> None:
    assert program.paint(server.address, "--evaluations", 1).end() == 0
    assert newest_job(server).preview.disabled


@pytest.mark.parametrize("effort", ["draft", "standard", "fine"])
def test_the_option_effort_sets_the_evaluations(
    program: Program, server: ServerProcess, effort: impasto.recipe.Effort
) -> None:
    run = program.paint(server.address, "--effort", effort, "--size", 32)
    run.wait_for("evaluation [0-9]+/")
    evaluations = newest_job(server).recipe.evaluations
    run.interrupt()
    assert run.end() in (0, 130)
    images = (program.folder / "content.png", program.folder / "style.png")
    with (
        impasto.Client(server.address) as client,
        client.stylize(*images, effort=effort, size=32) as painting,
    ):
        assert painting.job.recipe.evaluations == evaluations


def test_an_error_names_the_field_and_what_to_do(program: Program, server: ServerProcess) -> None:
    (program.folder / "style.png").write_bytes(b"")
    run = program.paint(server.address, "--size", 3)
    assert run.end() == 1
    lines = run.said.replace("\r\x1b[K", "").splitlines()
    assert "stylize: spec.recipe.longest_side is 3 px; give 16 to 8192" in lines
    assert any(line.startswith("stylize: spec.styles[0].image ") for line in lines)
    assert not (program.folder / "out.png").exists()


def test_ctrl_c_cancels_the_job_on_the_server(program: Program, server: ServerProcess) -> None:
    run = program.paint(server.address, *ENDLESS)
    run.wait_for("evaluation [1-9]")
    name = newest_job(server).name
    run.interrupt()
    assert run.end() == 130
    assert "cancelled" in run.said
    job = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)
    assert job.state == pb.JOB_STATE_CANCELLED
    assert not (program.folder / "out.png").exists()


def test_every_program_waits_for_a_server_that_was_killed(programs: list[Program], tmp_path: Path) -> None:
    """All programs at once, because the restart of the server takes the time."""
    data = ("--data-dir", str(tmp_path / "data"))
    with running_server(*SERVE, "--port", "0", *data) as server:
        port = server.address.rpartition(":")[2]
        runs = [program.paint(f"localhost:{port}", "--size", 32, "--evaluations", 40) for program in programs]
        for run in runs:
            run.wait_for("queued|running|evaluation")
        # The oldest job goes first, so the others may not have begun.
        until(lambda: [run.said for run in runs], lambda said: any("evaluation" in text for text in said))
        server.process.kill()
        server.process.wait()
        for run in runs:
            run.wait_for("trying again")
    with running_server(*SERVE, "--port", port, *data) as server:
        for run in runs:
            assert run.end() == 0, run.said
        jobs = server.stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE).jobs
        assert [job.state for job in jobs] == [pb.JOB_STATE_SUCCEEDED] * len(programs)
    for program in programs:
        with PIL.Image.open(program.folder / "out.png") as picture:
            assert picture.size == (32, 24)


@contextlib.contextmanager
def guarded_server(folder: Path) -> Iterator[tuple[ServerProcess, Path, str]]:
    """A server that uses TLS and requires a token; the certificate to trust; a token."""
    authority = Authority(folder)
    pair = authority.issue("localhost")
    tokens = folder / "tokens.json"
    command = [sys.executable, "-m", "impasto_server", "token", "add", "painter", "--tokens-file", tokens]
    token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    tls = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tokens-file", str(tokens))
    with running_server(*SERVE, "--port", "0", *tls) as server:
        yield server, authority.cert, token


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    with guarded_server(tmp_path_factory.mktemp("guarded")) as (server, certificate, token):
        yield f"localhost:{server.address.rpartition(':')[2]}", certificate, token


@pytest.mark.slow
def test_tls_with_a_token_from_a_file_or_the_environment(
    program: Program, guarded: tuple[str, Path, str]
) -> None:
    address, certificate, token = guarded
    (program.folder / "token").write_text(token + "\n")
    options = ("--tls", "--ca", certificate, "--evaluations", 2, "--size", 32)
    run = program.paint(address, *options, "--token-file", "token")
    assert run.end() == 0, run.said
    (program.folder / "out.png").unlink()
    run = program.paint(address, *options)
    assert run.end() == 1
    assert "stylize: " in run.said
    assert "token" in run.said
    run = program.paint(address, *options, IMPASTO_TOKEN=token)
    assert run.end() == 0, run.said


@pytest.mark.slow
def test_the_command_of_the_readme_works(program: Program, server: ServerProcess) -> None:
    """The exact command of the README, run in its folder."""
    folder = EXAMPLES / program.name
    command = block(folder / "README.md", "Run")
    (folder / "painted.png").unlink(missing_ok=True)
    reader = Program(program.name, ("bash", "-euc", command), folder, program.folder, program.started)
    run = reader.start(IMPASTO_SERVER=server.address)
    assert run.end() == 0, run.said
    with PIL.Image.open(folder / "painted.png") as picture:
        assert picture.size == (96, 96)
    assert list((folder / "previews").iterdir())


def test_every_example_is_tested() -> None:
    folders = {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()}
    # test_python.py and test_web.py have the others.
    assert folders == {*COMMANDS, "python", "web"}
