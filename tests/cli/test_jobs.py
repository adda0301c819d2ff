"""The commands for jobs, with a fake server."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from PIL import Image

from impasto import calls, files
from impasto.cli.tables import short_names
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto, Outcome
from support.fake_server import (
    FakeServer,
    bad_request,
    begin_with_targets,
    course,
    events,
    heartbeat,
    png,
    status,
    succeeded,
)


@pytest.fixture
def submitted(at_fake: Impasto) -> Impasto:
    """The command line on the fake server, which has the jobs 0000fake, 0001fake and, newest, 0002fake."""
    for title in ("first", "second", "third"):
        outcome = at_fake("submit", "content.png", "style.png", "--title", title)
        assert outcome.code == 0, outcome.err
    return at_fake


def test_submit_prints_the_name(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake(
        *("submit", "content.png", "styles/starry-night", "--shares", "2", "--size", 64, "--plateau"),
        *("--title", "t", "--priority", 7, "--selection", "style.png", "--region", "style.png"),
        *("--start", "noise", "--recipe", "gatys", "--style-layer", "relu1_1=2"),
    )
    assert outcome == Outcome(0, "jobs/0000fake\n", "")
    (request,) = fake.called("CreateJob")
    spec = request.spec
    assert (request.title, request.priority, spec.styles[0].weight) == ("t", 7, 2)
    assert spec.styles[0].image.style == "styles/starry-night"
    assert spec.selection.encoded == spec.regions[0].content_mask.encoded == png()
    assert spec.recipe == pb.Recipe(
        longest_side=64,
        stop_on_plateau=True,
        start=pb.START_NOISE,
        objective=pb.OBJECTIVE_GATYS,
        style_layers=[pb.LayerWeight(layer="relu1_1", weight=2)],
    )


def test_submit_in_json(at_fake: Impasto) -> None:
    (line,) = at_fake("submit", "content.png", "style.png", "--json").lines
    assert (line["event"], line["name"], line["state"]) == ("job", "jobs/0000fake", "queued")


def test_submit_refuses_as_stylize_does(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake("submit", "none.png", "style.png")
    assert (outcome.code, outcome.err) == (2, "Error: there is no file none.png\n")
    assert not fake.calls


def test_an_uploaded_image_and_a_file_of_a_styles_name(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake("upload", "content.png")
    digest = hashlib.sha256(png()).hexdigest()
    assert outcome == Outcome(0, f"sha256:{digest}\n", "")
    assert fake.images == {digest: png()}
    Path("styles").mkdir()
    Path("styles/mine").write_bytes(png(3, 3))
    assert at_fake("submit", f"sha256:{digest}", "styles/mine").code == 0
    spec = fake.called("CreateJob")[0].spec
    assert (spec.content.sha256, spec.styles[0].image.encoded) == (digest, png(3, 3))
    assert at_fake("upload", "content.png", "--json").lines[0]["sha256"] == digest
    outcome = at_fake("submit", "sha256:abc", "style.png")
    assert outcome.code == 2
    assert "sha256:abc cannot be the image" in outcome.err


def test_the_table(submitted: Impasto, fake: FakeServer) -> None:
    job = fake.jobs["jobs/0001fake"]
    job.state, job.device = pb.JOB_STATE_RUNNING, "cuda:0"
    job.progress.CopyFrom(fake_server.numbers(2, 40))
    job.queue_position = 0
    outcome = submitted("jobs", "--once")
    header, *rows = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert header == ["job", "state", "title", "progress", "left", "device", "age"]
    assert [row[:3] for row in rows] == [
        ["0002fake", "queued", "third"],
        ["0001fake", "running", "second"],
        ["0000fake", "queued", "first"],
    ]
    assert rows[1][3:7] == ["2/40", "3.8", "s", "cuda:0"]
    assert rows[0][3:5] == ["number", "3"]


def test_the_table_says_how_far_the_search_for_neighbours_is(submitted: Impasto, fake: FakeServer) -> None:
    job = fake.jobs["jobs/0001fake"]
    job.state = pb.JOB_STATE_RUNNING
    job.queue_position = 0
    job.progress.CopyFrom(fake_server.numbers(2, 40, preparing=0.4))
    assert "2/40 finding neighbours 40 %" in submitted("jobs", "--once").out
    job.state = pb.JOB_STATE_CANCELLED
    assert "neighbours" not in submitted("jobs", "--once").out


def test_the_table_in_json_and_by_state(submitted: Impasto, fake: FakeServer) -> None:
    submitted("pause", "0001")
    lines = submitted("jobs", "--json", "--state", "paused").lines
    assert [(line["event"], line["name"], line["title"]) for line in lines] == [
        ("job", "jobs/0001fake", "second")
    ]
    outcome = submitted("jobs", "--state", "asleep")
    assert outcome.code == 2
    assert "--state is 'asleep'; give one of queued, running, paused" in outcome.err


def test_a_title_is_not_markup(at_fake: Impasto) -> None:
    at_fake("submit", "content.png", "style.png", "--title", "[red]x[/] [bold")
    assert "[red]x[/] [bold" in at_fake("jobs", "--once").out


def test_short_names_are_different() -> None:
    assert short_names([]) == []
    assert short_names(["jobs/abc"]) == ["abc"]
    assert short_names(["jobs/abcdefghijkl", "jobs/abcdefghijxx", "jobs/zbcdefghijkl"]) == [
        "abcdefghijk",
        "abcdefghijx",
        "zbcdefgh",
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("last", "jobs/0002fake"),
        ("0001", "jobs/0001fake"),
        ("0000fake", "jobs/0000fake"),
        ("jobs/0000fake", "jobs/0000fake"),
    ],
)
def test_a_job_can_be_named_by_the_beginning_of_its_name(
    submitted: Impasto, fake: FakeServer, said: str, meant: str
) -> None:
    outcome = submitted("pause", said)
    assert outcome == Outcome(0, f"{meant}: paused\n", "")
    assert fake.jobs[meant].state == pb.JOB_STATE_PAUSED


def test_a_name_that_no_job_or_several_jobs_have(submitted: Impasto) -> None:
    outcome = submitted("pause", "000")
    assert outcome.code == 2
    assert "JOB 000 could be 0002fake, 0001fake, 0000fake; give more of the name" in outcome.err
    outcome = submitted("pause", "x")
    assert outcome.code == 1
    assert "there is no job whose name begins with x" in outcome.err
    outcome = submitted("pause", "jobs/none")
    assert (outcome.code, outcome.err) == (1, "Error: there is no job jobs/none\n")


def test_last_without_any_job(at_fake: Impasto) -> None:
    assert at_fake("get", "last", "-o", "out.png").err == "Error: there are no jobs\n"


def test_pause_resume_cancel_and_delete(submitted: Impasto, fake: FakeServer) -> None:
    assert submitted("pause", "last").out == "jobs/0002fake: paused\n"
    assert submitted("resume", "last").out == "jobs/0002fake: queued\n"
    assert submitted("cancel", "last").out == "jobs/0002fake: cancelled\n"
    assert submitted("cancel", "last", "--json").lines[0]["state"] == "cancelled"
    assert submitted("delete", "last").out == "jobs/0002fake: deleted\n"
    assert submitted("delete", "last", "--json").lines == [{"event": "deleted", "name": "jobs/0001fake"}]
    assert set(fake.jobs) == {"jobs/0000fake"}


def test_a_finished_job_cannot_be_paused(submitted: Impasto, fake: FakeServer) -> None:
    fake.jobs["jobs/0002fake"].state = pb.JOB_STATE_SUCCEEDED
    outcome = submitted("pause", "last")
    assert (outcome.code, outcome.err) == (1, "Error: jobs/0002fake has ended; the job has ended\n")


def test_steer(submitted: Impasto, fake: FakeServer) -> None:
    outcome = submitted(
        *("steer", "last", "--content-weight", 0.5, "--style-weight", 2, "--tv-weight", 0),
        *("--optimizer", "adam", "--learning-rate", 0.1, "--evaluations", 9, "--precision", "float32"),
        *("--color", "matched", "--content-layer", "relu4_2", "--style-layer", "relu1_1=2"),
        *("--averaging", 0.5, "--no-stop-on-plateau", "--title", "new", "--priority", 3),
        *("--preview-interval", 2, "--preview-side", 128),
    )
    assert outcome == Outcome(0, "jobs/0002fake: steered\n", "")
    (request,) = fake.called("UpdateJob")
    assert set(request.update_mask.paths) == {
        *("title", "priority", "preview.disabled", "preview.min_interval", "preview.max_side"),
        *("recipe.content_weight", "recipe.style_weight", "recipe.tv_weight", "recipe.optimizer"),
        *("recipe.learning_rate", "recipe.evaluations", "recipe.precision", "recipe.color"),
        *("recipe.content_layers", "recipe.style_layers", "recipe.averaging", "recipe.stop_on_plateau"),
    }
    assert request.job.recipe.content_weight == 0.5
    assert request.job.preview.min_interval.seconds == 2
    assert fake.jobs["jobs/0002fake"].title == "new"


def test_steering_that_the_server_refuses(submitted: Impasto, fake: FakeServer) -> None:
    outcome = submitted("steer", "last")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: there is nothing to change; give an option: --content-weight 0.5\n",
    )
    refused = bad_request(job__recipe__content_weight="is too large", job__title="is too long")
    fake.faults["UpdateJob"] = [status(grpc.StatusCode.INVALID_ARGUMENT, "no", refused)]
    outcome = submitted("steer", "last", "--content-weight", 9)
    assert (outcome.code, outcome.err) == (
        2,
        "Error: --content-weight is too large; --title is too long\n",
    )
    assert submitted("steer", "last", "--size", 9).code == 2


def test_watch(submitted: Impasto, fake: FakeServer) -> None:
    outcome = submitted("watch", "last", "-o", "out.png", "--preview-dir", "previews", "--sidecar")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("out.png: 48 × 32, 0.4 s of painting")
    assert "scale 2/2 48×32, evaluation 3/4" in outcome.err
    assert Path("out.png").read_bytes() == png()
    assert Path("out.json").exists()
    assert len(list(Path("previews").iterdir())) == 4
    assert not fake.called("WatchJob")[0].omit_previews
    outcome = submitted("watch", "jobs/fake")
    assert outcome.out.startswith("jobs/fake: 48 × 32")
    assert fake.called("WatchJob")[1].omit_previews


def test_watch_shows_the_search_for_neighbours(submitted: Impasto, fake: FakeServer) -> None:
    fake.log = events(*begin_with_targets(), succeeded())
    assert submitted("watch", "last").err.splitlines()[::2] == [
        "scale 1/2 24×16, finding neighbours 40 %",
        "scale 2/2 48×32, finding neighbours 40 %",
    ]


def test_watch_in_json(submitted: Impasto) -> None:
    lines = submitted("watch", "last", "--json").lines
    assert [line["event"] for line in lines] == ["job", "job", *["progress", "preview"] * 4, "job", "result"]
    assert "path" not in lines[-1]


def test_watch_a_job_that_fails(submitted: Impasto, fake: FakeServer) -> None:
    failed = pb.Job(name="jobs/fake", state=pb.JOB_STATE_FAILED)
    failed.error.CopyFrom(status(grpc.StatusCode.INTERNAL, "the device melted"))
    fake.log = [pb.JobEvent(sequence=1, job=failed)]
    outcome = submitted("watch", "last", "-o", "out.png")
    assert (outcome.code, outcome.err) == (1, "Error: the device melted\n")
    assert not Path("out.png").exists()


def test_watch_with_a_timeout(submitted: Impasto, fake: FakeServer) -> None:
    def forever(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> object:
        yield course()[0]
        while context.is_active():
            yield heartbeat(1)

    fake.watch_script = forever  # type: ignore[assignment]
    outcome = submitted("watch", "last", "--timeout", 0.5)
    assert (outcome.code, outcome.err) == (
        3,
        "Error: not finished within --timeout 0.5 seconds; give more time, or leave it out\n",
    )
    assert not fake.called("CancelJob")


@pytest.mark.parametrize(("name", "format"), [("o.png", "png"), ("o.jpg", "jpeg"), ("o.webp", "webp")])
def test_get(submitted: Impasto, fake: FakeServer, name: str, format: str) -> None:
    outcome = submitted("get", "last", "-o", name)
    assert outcome == Outcome(0, f"{name}: 48 × 32\n", "")
    request, *others = fake.called("DownloadImage")
    # Whether a JPEG loses transparency shows only in the PNG.
    assert len(others) == (1 if format == "jpeg" else 0)
    # A PNG has as many bits as the server keeps.
    wanted = (
        pb.IMAGE_FORMAT_UNSPECIFIED
        if format == "png"
        else pb.ImageFormat.Value(f"IMAGE_FORMAT_{format.upper()}")
    )
    assert (request.result_of, request.format) == ("jobs/0002fake", wanted)
    assert Path(name).read_bytes() == fake.result
    (line,) = submitted("get", "last", "-o", name, "--format", format, "--json").lines
    assert (line["path"], line["format"], line["size_bytes"]) == (name, format, len(fake.result))
    assert fake.called("DownloadImage")[1 + len(others)].format == pb.ImageFormat.Value(
        f"IMAGE_FORMAT_{format.upper()}"
    )


def test_get_16_bits(submitted: Impasto, fake: FakeServer) -> None:
    (line,) = submitted("get", "last", "-o", "o.png", "--format", "png16", "--json").lines
    assert fake.called("DownloadImage")[0].format == pb.IMAGE_FORMAT_PNG_16
    assert line["format"] == "png16"


@pytest.mark.parametrize(("name", "warned"), [("o.jpg", True), ("o.webp", False), ("o.png", False)])
def test_get_warns_that_a_jpeg_loses_transparency(
    submitted: Impasto, fake: FakeServer, name: str, warned: bool
) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(file, "PNG")
    fake.result = file.getvalue()
    outcome = submitted("get", "last", "-o", name)
    assert outcome.code == 0
    said = f"Warning: {name} has a white background: the picture is transparent, which a JPEG cannot be; "
    assert outcome.err == (f"{said}write a PNG, TIFF or WebP to keep the transparency\n" if warned else "")


def test_get_has_the_formats_of_stylize(submitted: Impasto, fake: FakeServer) -> None:
    for name, format, bits in (("o.tif", "tiff", 8), ("o.tif", "tiff16", 8), ("o.tif", "tiff16", 16)):
        fake.result = struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 258, 3, 1, bits, 0)
        outcome = submitted("get", "last", "-o", name, "--format", format)
        if (format, bits) == ("tiff16", 8):
            assert (outcome.code, outcome.err) == (
                2,
                "Error: --format tiff16: the server keeps the result with 8 bits; give --format tiff\n",
            )
        else:
            assert outcome.code == 0, outcome.err
    asked = {request.format for request in fake.called("DownloadImage")}
    assert asked == {pb.IMAGE_FORMAT_TIFF}


def test_get_a_preview(submitted: Impasto, fake: FakeServer) -> None:
    assert submitted("get", "last", "-o", "o.png", "--preview").code == 0
    assert fake.called("DownloadImage")[0].preview_of == "jobs/0002fake"
    outcome = submitted("get", "last", "-o", "o.jpg", "--preview")
    assert (outcome.code, outcome.err) == (2, "Error: --out o.jpg: the preview is a png; give o.png\n")


def test_get_refuses_wrong_names_and_formats(submitted: Impasto, fake: FakeServer) -> None:
    asked = len(fake.calls)
    for arguments, message in (
        (["-o", "o.gif"], "o.gif does not end in .png, .tif, .tiff, .jpg, .jpeg, .webp"),
        (["-o", "o.png", "--format", "webp"], "o.png does not end in .webp"),
        (["-o", "none/o.png"], "there is no folder none"),
        (["-o", "o.png", "--preview", "--format", "png"], "--format cannot be given together with --preview"),
    ):
        outcome = submitted("get", "last", *arguments)
        assert outcome.code == 2
        assert message in outcome.err
    assert len(fake.calls) == asked
    unmet = error_details_pb2.PreconditionFailure()
    unmet.violations.add(subject="jobs/0002fake", description="it is still queued")
    fake.faults["DownloadImage"] = [status(grpc.StatusCode.FAILED_PRECONDITION, "no result", unmet)]
    outcome = submitted("get", "last", "-o", "o.png")
    assert (outcome.code, outcome.err) == (1, "Error: no result; it is still queued\n")


def test_styles(at_fake: Impasto) -> None:
    outcome = at_fake("styles", "--save-thumbnails", "thumbnails")
    assert outcome.code == 0
    for word in ("styles/great-wave", "Starry Night", "400 × 300"):
        assert word in outcome.out
    names = ["great-wave.jpg", "starry-night.jpg", "the-scream.jpg"]
    assert sorted(path.name for path in Path("thumbnails").iterdir()) == names
    assert Image.open("thumbnails/the-scream.jpg").size == (40, 30)
    lines = at_fake("styles", "--json").lines
    assert [line["name"] for line in lines] == [f"styles/{name[:-4]}" for name in names]
    assert lines[0]["thumbnail"] is None


@pytest.mark.parametrize("command", [["jobs"], ["pause", "last"], ["submit", "content.png", "style.png"]])
def test_jobs_need_a_server(impasto: Impasto, command: list[str]) -> None:
    outcome = impasto(*command)
    assert outcome.code == 2
    assert "no server is given; give --server HOST:PORT, or set IMPASTO_SERVER" in outcome.err


def test_keep_running_needs_a_server(stylize: Impasto, impasto: Impasto, fake: FakeServer) -> None:
    assert stylize("--keep-running", "--title", "t").code == 0
    assert (fake.requests[0].keep_running, fake.requests[0].title) == (True, "t")
    outcome = impasto("stylize", "content.png", "style.png", "-o", "out.png", "--keep-running")
    assert outcome.code == 2
    assert "--keep-running needs a server that outlives this command" in outcome.err


def test_a_token_from_a_file_and_from_the_environment(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.token = "s3cret"
    outcome = at_fake("jobs")
    assert outcome.code == 1
    assert outcome.err.endswith(
        " requires a token; give --token-file, or set IMPASTO_TOKEN; ask the server's administrator for "
        "a token\n"
    )
    Path("token").write_text("s3cret\n")
    outcome = at_fake("info", "--token-file", "token")
    assert outcome.code == 0
    assert "a tenant" in outcome.out
    monkeypatch.setenv("IMPASTO_TOKEN", "s3cret")
    assert at_fake("jobs", "--once").code == 0
    monkeypatch.setenv("IMPASTO_TOKEN", "wrong")
    outcome = at_fake("jobs", "--once")
    assert outcome.code == 1
    assert "does not accept the token in IMPASTO_TOKEN; ask the server's administrator" in outcome.err
    assert at_fake("jobs", "--once", "--token-file", "token").code == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le with mark", "utf-16-be with mark"])
def test_a_token_file_that_windows_saved(at_fake: Impasto, fake: FakeServer, encoding: str) -> None:
    fake.token = "s3cret"
    coding, _, marked = encoding.partition(" with ")
    Path("token").write_bytes((f"{chr(0xFEFF)}s3cret\r\n" if marked else "s3cret\r\n").encode(coding))
    assert at_fake("jobs", "--token-file", "token").code == 0


@pytest.mark.parametrize("seconds", ["inf", "1e10", "1e300"])
def test_a_timeout_may_be_long_or_infinite(at_fake: Impasto, fake: FakeServer, seconds: str) -> None:
    image = ["content.png", "style.png"]
    assert at_fake("stylize", *image, "-o", "out.png", "--timeout", seconds).code == 0
    assert at_fake("submit", *image, "--timeout", seconds).code == 0
    assert at_fake("info", "--timeout", seconds).code == 0
    assert at_fake("watch", "last", "-o", "watched.png", "--timeout", seconds).code == 0


@pytest.mark.parametrize("seconds", ["nan", "0", "-1", "-inf", "soon"])
def test_a_timeout_that_is_no_time_is_refused(at_fake: Impasto, fake: FakeServer, seconds: str) -> None:
    outcome = at_fake("stylize", "content.png", "style.png", "-o", "out.png", "--timeout", seconds)
    assert outcome.code == 2
    assert "--timeout" in outcome.err
    assert not fake.calls


def test_wrong_options_of_a_connection(impasto: Impasto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 0.1)
    Path("token").write_text("s3cret")
    os.mkfifo("pipe")
    for arguments, message in (
        (["--token-file", "none"], "none cannot be read: No such file"),
        (["--token-file", "content.png"], "--token-file content.png contains no text"),
        (["--token-file", "token"], "in plaintext, where anyone on the way can read it; use TLS (--tls)"),
        (["--ca", "none.crt"], "--ca none.crt cannot be read: No such file"),
        (["--ca", "."], "--ca . is a folder; give a file"),
        (["--ca", "/dev/zero"], "--ca /dev/zero is a device or a socket; give a regular file"),
        (["--ca", "pipe"], "--ca pipe is a pipe, which can be read only once; give a regular file"),
        (["--cert", "pipe", "--key", "token"], "--cert pipe is a pipe, which"),
        (["--cert", "token", "--key", "pipe"], "--key pipe is a pipe, which"),
        (["--token-file", "pipe"], "--token-file pipe is a pipe that was silent for 0.1 s; give a file"),
        (["--cert", "token"], "--cert is given without --key; give both"),
        (["--ca", "token"], "--ca token contains no certificate; give a PEM file"),
        (["--cert", "token", "--key", "token"], "--cert token contains no certificate; give a PEM file"),
    ):
        outcome = impasto("jobs", "--server", "10.1.2.3:4", *arguments)
        assert outcome.code == 2, outcome
        assert message in outcome.err
        assert "s3cret" not in outcome.err


def test_a_quota_says_when_to_try_again(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    full.violations.add(subject="jobs", description="3 of 3 jobs are under way")
    retry.retry_delay.FromSeconds(9)
    fake.faults["CreateJob"] = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the quota is full", full, retry)]
    outcome = at_fake("submit", "content.png", "style.png")
    assert (outcome.code, outcome.err) == (
        1,
        "Error: the quota is full; 3 of 3 jobs are under way; try again in 9 s\n",
    )
    monkeypatch.setattr(calls, "DEFAULT_TIMEOUT", 0.3)
    fake.faults["ListJobs"] = [status(grpc.StatusCode.UNAVAILABLE, "starting")] * 50
    assert at_fake("jobs", "--once").code == 3


@pytest.mark.parametrize("name", ["", " ", "jobs/"])
def test_a_job_without_a_name(submitted: Impasto, fake: FakeServer, name: str) -> None:
    for command in (
        ["get", name, "-o", "x.png"],
        ["watch", name],
        ["delete", name],
        ["steer", name, "--content-weight", 1],
    ):
        outcome = submitted(*command)
        assert outcome.code == 2
        assert outcome.err == (
            "Error: JOB is empty; give the name of a job, or its beginning, as `impasto jobs` shows it\n"
        )
    assert not fake.called("ListJobs")


def test_the_beginning_of_the_names_of_many_jobs(at_fake: Impasto, fake: FakeServer) -> None:
    for count, more in ((5, ""), (6, " and 1 more"), (40, " and 35 more")):
        names = [f"jobs/aa{number:06}" for number in range(count)]
        fake.jobs = {name: pb.Job(name=name, state=pb.JOB_STATE_QUEUED) for name in names}
        outcome = at_fake("delete", "aa")
        assert outcome.code == 2
        shown = outcome.err.partition("could be ")[2].partition(more or "; give")[0]
        assert len(shown.split(", ")) == 5
        assert f"{more}; give more of the name" in outcome.err


def test_an_empty_file_to_upload(at_fake: Impasto, fake: FakeServer) -> None:
    Path("empty.png").touch()
    outcome = at_fake("upload", "empty.png")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: empty.png is empty; give a PNG, JPEG, WebP or TIFF file\n",
    )
    assert not fake.calls


@pytest.mark.parametrize("text", ["", " ", "\r\n\n", "\ufeff"])
def test_a_token_file_without_a_token(at_fake: Impasto, fake: FakeServer, text: str) -> None:
    Path("token").write_text(text)
    for command in (["jobs"], ["info"], ["stylize", "content.png", "style.png", "-o", "o.png"]):
        outcome = at_fake(*command, "--token-file", "token")
        assert outcome.code == 2
        assert outcome.err == "Error: --token-file token is empty; give the file of a token, or none\n"
    assert not fake.calls


def test_a_blank_variable_for_the_token(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_TOKEN", " \t")
    outcome = at_fake("info")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: IMPASTO_TOKEN is blank; set it to a token, or unset it\n",
    )
    assert not fake.calls
    monkeypatch.setenv("IMPASTO_TOKEN", "")
    assert at_fake("info").code == 0
    Path("token").write_text("s3cret")
    monkeypatch.setenv("IMPASTO_TOKEN", " ")
    assert at_fake("info", "--token-file", "token").code == 0


def test_an_error_about_a_token_says_where_it_was_given(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "contains no valid token; give the token that `impasto-server token add` printed\n"
    Path("token").write_text("two words")
    outcome = at_fake("info", "--token-file", "token")
    assert (outcome.code, outcome.err) == (2, f"Error: --token-file token {said}")
    monkeypatch.setenv("IMPASTO_TOKEN", "two words")
    outcome = at_fake("info")
    assert (outcome.code, outcome.err) == (2, f"Error: IMPASTO_TOKEN {said}")
    assert not fake.calls


@pytest.mark.parametrize("command", ["stylize", "submit"])
def test_an_image_that_the_server_does_not_have(at_fake: Impasto, fake: FakeServer, command: str) -> None:
    digest = "5" * 64
    call = "Stylize" if command == "stylize" else "CreateJob"
    for images, told, said in (
        (
            ["content.png", "styles/none"],
            "there is no styles/none",
            "there is no style styles/none on the server, and no such file; `impasto styles` lists the "
            "server's styles",
        ),
        (
            ["styles/one", "style.png", "styles/one-more"],
            "there is no styles/one-more",
            "there is no style styles/one-more on the server, and no such file; `impasto styles` lists the "
            "server's styles",
        ),
        (
            ["content.png", f"sha256:{digest}"],
            f"the image {digest} is not on the server; upload it first",
            f"there is no image sha256:{digest} on the server; upload it with `impasto upload FILE`",
        ),
    ):
        # The server tells of what can still come, as an upload, otherwise than of what it does not know.
        code = grpc.StatusCode.FAILED_PRECONDITION if digest in told else grpc.StatusCode.NOT_FOUND
        fake.faults[call] = [status(code, told)]
        outcome = at_fake(command, *images, *(["-o", "o.png"] if command == "stylize" else []))
        assert (outcome.code, outcome.err) == (2, f"Error: {said}\n")
    fake.faults[call] = [status(grpc.StatusCode.NOT_FOUND, "there is no job jobs/gone")]
    arguments = ["content.png", "styles/gone", *(["-o", "o.png"] if command == "stylize" else [])]
    assert at_fake(command, *arguments).code == 1
