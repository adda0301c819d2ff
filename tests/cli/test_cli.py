"""Output and exit codes of the command line, with a fake server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from impasto import calls, private_server
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto, Outcome
from support.fake_server import FakeServer, bad_request, job, png, refuse


def left_behind() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"content.png", "style.png"}


def test_stylize_writes_the_picture_and_prints_a_line_about_it(stylize: Impasto) -> None:
    outcome = stylize()
    assert outcome.code == 0
    assert Path("out.png").read_bytes() == png()
    assert outcome.out == (
        "out.png: 48 × 32, 0.4 s of painting, builtin weights (vgg16), all evaluations were made\n"
    )
    assert "scale 2/2 48×32, evaluation 3/4" in outcome.err
    assert left_behind() == {"out.png"}


def test_quiet_prints_nothing(stylize: Impasto) -> None:
    assert stylize("--quiet") == Outcome(0, "", "")


def test_every_setting_reaches_the_server(impasto: Impasto, fake: FakeServer) -> None:
    outcome = impasto(
        *("stylize", "content.png", "style.png", "content.png", "-o", "out.png", "--server", fake.address),
        *("--size", 640, "--recipe", "gatys", "--content-weight", 0.5, "--style-weight", 2, "--tv-weight", 0),
        *("--optimizer", "adam", "--learning-rate", 0.25, "--evaluations", 7, "--seed", 9),
        *("--precision", "float32", "--start", "noise"),
    )
    assert outcome.code == 0
    (request,) = fake.requests
    assert len(request.spec.styles) == 2
    assert request.spec.recipe == pb.Recipe(
        objective=pb.OBJECTIVE_GATYS,
        content_weight=0.5,
        style_weight=2,
        tv_weight=0,
        optimizer=pb.OPTIMIZER_ADAM,
        learning_rate=0.25,
        evaluations=7,
        longest_side=640,
        start=pb.START_NOISE,
        seed=9,
        precision=pb.PRECISION_FLOAT32,
    )


def test_only_what_is_given_is_sent(stylize: Impasto, fake: FakeServer) -> None:
    stylize()
    assert fake.requests[0].spec.recipe == pb.Recipe()


def test_a_file_to_start_from(stylize: Impasto, fake: FakeServer) -> None:
    assert stylize("--start", "style.png").code == 0
    assert fake.requests[0].spec.recipe.start == pb.START_IMAGE
    assert fake.requests[0].spec.start_image.encoded == png()


def test_the_server_from_the_environment(
    impasto: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_SERVER", fake.address)
    assert impasto("info").code == 0


def test_json_lines(stylize: Impasto) -> None:
    outcome = stylize("--json", "--preview-dir", "previews")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["event"] for line in outcome.lines] == [
        "job",
        "job",
        *["progress", "preview"] * 4,
        "job",
        "result",
    ]
    progress, preview = outcome.lines[2], outcome.lines[3]
    assert (progress["evaluation"], progress["evaluations"], progress["content_loss"]) == (1, 4, 0.25)
    assert Path(preview["path"]).stat().st_size == preview["size_bytes"]
    assert "data" not in preview
    assert outcome.lines[-1] == {
        "event": "result",
        "path": "out.png",
        "width": 48,
        "height": 32,
        "format": "png",
        "size_bytes": len(png()),
        "sha256": outcome.lines[-1]["sha256"],
        "metadata": fake_server.METADATA,
    }


def test_the_search_for_neighbours_is_shown_once_for_each_scale(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.paint_with_targets
    assert stylize().err.splitlines() == [
        "scale 1/2 24×16, finding neighbours 40 %",
        "scale 1/2 24×16, evaluation 1/4, about 0.3 s left",
        "scale 2/2 48×32, finding neighbours 40 %",
        "scale 2/2 48×32, evaluation 3/4, about 0.1 s left",
    ]


def test_the_search_for_neighbours_is_in_json(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.paint_with_targets
    lines = [line for line in stylize("--json").lines if line["event"] == "progress"]
    assert [(line["evaluation"], line["preparing"]) for line in lines] == [
        *((0, 0.4), (0, 0.8), (1, None), (2, None)),
        *((2, 0.4), (2, 0.8), (3, None), (4, None)),
    ]
    assert [line["time_left"] is None for line in lines] == [line["preparing"] is not None for line in lines]


def test_infinity_is_null_in_json(stylize: Impasto, fake: FakeServer) -> None:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield job(pb.JOB_STATE_QUEUED)
        numbers = pb.Progress(evaluation=1, evaluations=2, loss=float("nan"), style_loss=float("inf"))
        yield pb.StylizeResponse(event=pb.JobEvent(progress=numbers))
        yield from fake_server.paint()

    fake.script = script
    outcome = stylize("--json")
    assert outcome.code == 0
    assert outcome.lines[1]["loss"] is outcome.lines[1]["style_loss"] is None


def test_previews_are_numbered(stylize: Impasto) -> None:
    assert stylize("--preview-dir", "a/b").code == 0
    assert sorted(path.name for path in Path("a/b").iterdir()) == [f"000{n}.jpg" for n in (1, 2, 3, 4)]
    assert Image.open("a/b/0004.jpg").size == (48, 32)


def test_previews_are_asked_for_only_if_they_are_used(stylize: Impasto, fake: FakeServer) -> None:
    stylize()
    stylize("--animate", "film.webp")
    assert [request.preview.disabled for request in fake.requests] == [True, False]


def test_how_often_previews_are_made_and_their_size(at_fake: Impasto, fake: FakeServer) -> None:
    options = ("--preview-interval", 2, "--preview-side", 128)
    at_fake("stylize", "content.png", "style.png", "-o", "a.png", "--preview-dir", "previews", *options)
    at_fake("texture", "style.png", "--size", 64, "-o", "b.png", "--animate", "f.webp", *options)
    at_fake("submit", "content.png", "style.png", *options)
    asked = [request.preview for request in (*fake.requests, *fake.called("CreateJob"))]
    assert [(preview.min_interval.seconds, preview.max_side) for preview in asked] == [(2, 128)] * 3


@pytest.mark.parametrize("option", ["--selection", "--region", "--start"])
def test_a_mask_of_other_proportions_gets_a_warning(stylize: Impasto, fake: FakeServer, option: str) -> None:
    for size, warned in (((48, 32), False), ((24, 16), False), ((241, 160), False), ((32, 48), True)):
        Image.new("L", size, 255).save("mask.png")
        outcome = stylize(option, "mask.png", "--quiet")
        assert outcome.code == 0
        said = f"Warning: {option} mask.png (32 × 48) has other proportions than content.png (48 × 32); "
        assert outcome.err == (f"{said}it is stretched to fit\n" if warned else "")


def test_a_mask_is_compared_with_the_content_as_viewers_show_it(stylize: Impasto, fake: FakeServer) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (32, 48)).save("content.png", exif=turned)
    Image.new("L", (48, 32), 255).save("mask.png")
    assert stylize("--selection", "mask.png", "--quiet").err == ""


def test_the_film(stylize: Impasto) -> None:
    assert stylize("--animate", "film.webp").code == 0
    film = Image.open("film.webp")
    assert film.format == "WEBP"
    assert (film.size, film.n_frames) == ((48, 32), 5)  # type: ignore[attr-defined]
    durations = []
    for frame in range(5):
        film.seek(frame)
        film.load()
        durations.append(film.info["duration"])
    assert durations == [250] * 4 + [1500]


def test_info(impasto: Impasto, fake: FakeServer) -> None:
    outcome = impasto("info", "--server", fake.address)
    assert outcome.code == 0
    for word in (
        "9.9",
        "a test (ready, bfloat16, 3.0 GiB for jobs)",
        "builtin (vgg16)",
        "png, jpeg",
        "4,096",
        "at most 7",
    ):
        assert word in outcome.out
    (line,) = impasto("info", "--server", fake.address, "--json").lines
    assert line["network"]["weights"] == "builtin"


def test_demo(impasto: Impasto, fake: FakeServer) -> None:
    assert impasto("demo", "--server", fake.address, "--size", 64, "--effort", "draft").code == 0
    assert Path("impasto-demo.png").read_bytes() == png()
    spec = fake.requests[0].spec
    assert spec.recipe == pb.Recipe(longest_side=64, effort=pb.EFFORT_DRAFT)
    assert spec.content.encoded[:2] == spec.styles[0].image.encoded[:2] == b"\xff\xd8"


def test_version(impasto: Impasto) -> None:
    outcome = impasto("--version")
    assert (outcome.code, outcome.out) == (0, f"impasto {version('impasto')}\n")


@pytest.mark.parametrize("command", [[], ["stylize"], ["demo"], ["info"]])
def test_help_names_the_exit_codes(impasto: Impasto, command: list[str]) -> None:
    outcome = impasto(*command, "--help")
    assert outcome.code == 0
    assert "Exit codes: 0 done; 1 the job failed" in outcome.out


@pytest.mark.parametrize("name", ["grpc", "google.protobuf", "PIL", "torch", "numpy"])
def test_help_imports_nothing_heavy(name: str) -> None:
    check = (
        "import sys, impasto.cli\n"
        "try: impasto.cli.app(['stylize', '--help'])\n"
        f"except SystemExit: sys.exit({name!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], stdout=subprocess.DEVNULL).returncode == 0


WRONG_USAGE = [
    (["stylize", "content.png", "-o", "out.png"], "STYLE"),
    (["stylize", "none.png", "style.png", "-o", "out.png"], "there is no file none.png"),
    (["stylize", "content.png", ".", "-o", "out.png"], "is a folder"),
    (["stylize", "content.png", "style.png", "-o", "style.png"], "is one of the files to paint from"),
    (["stylize", "content.png", "style.png", "-o", "out.gif"], "out.gif does not end in .png, .tif"),
    (["stylize", "content.png", "style.png", "-o", "out.jpg", "--format", "png16"], "as a png16 does"),
    (["stylize", "content.png", "style.png", "-o", "out"], "out does not end in .png"),
    (
        ["stylize", "content.png", "style.png", "-o", "none/out.png"],
        "--out none/out.png: there is no folder none; make it, or give another",
    ),
    (
        ["stylize", "content.png", "style.png", "-o", "out.png", "--start", "none.png"],
        "--start none.png: there is no such file",
    ),
    (["stylize", "content.png", "style.png", "-o", "out.png", "--recipe", "cubist"], "--recipe is 'cubist'"),
    (["demo", "--animate", "film.gif"], "a film is an animated WebP"),
    (["demo", "--preview-dir", "content.png"], "--preview-dir content.png"),
    (
        ["demo", "--effort", "draft", "--evaluations", "5"],
        "--effort cannot be given together with --evaluations",
    ),
    (["demo", "--size", "-5"], "--size is -5 px; give 16 to 8192"),
    (["demo", "--weights", "builtin"], "--weights sets up a private server"),
    (["info", "--device", "cpu"], "--device sets up a private server"),
    (["info", "--server", "http://here"], "'http://here' is not an address; give HOST:PORT"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USAGE)
def test_wrong_usage(impasto: Impasto, fake: FakeServer, arguments: list[str], message: str) -> None:
    server = [] if "--server" in arguments else ["--server", fake.address]
    outcome = impasto(*arguments, *server)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""
    assert not left_behind()
    assert not fake.requests


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(impasto: Impasto, fake: FakeServer) -> None:
    Path("locked").mkdir(mode=0o500)
    outcome = impasto("demo", "-o", "locked/out.png", "--server", fake.address)
    assert outcome.code == 2
    assert "not writable" in outcome.err


def test_an_error_names_the_option_of_a_refused_field(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = refuse(
        grpc.StatusCode.INVALID_ARGUMENT,
        "no",
        bad_request(
            spec__recipe__longest_side="is 5 px; give 16 to 8192",
            spec__recipe__content_weight="is nan; give a number from 0 up",
            spec__future="is new",
        ),
    )
    outcome = stylize()
    assert outcome.code == 2
    assert outcome.err == (
        "Error: --size is 5 px; give 16 to 8192; --content-weight is nan; give a number from 0 up; "
        "spec.future is new\n"
    )


def test_an_error_names_the_file_of_a_refused_image(stylize: Impasto, fake: FakeServer) -> None:
    told = error_details_pb2.BadRequest()
    told.field_violations.add(field="spec.content", description="is truncated")
    told.field_violations.add(field="spec.styles[0].image.encoded", description="is not an image")
    fake.script = refuse(grpc.StatusCode.INVALID_ARGUMENT, "no", told)
    outcome = stylize()
    assert (outcome.code, outcome.err) == (2, "Error: content.png is truncated; style.png is not an image\n")


def test_a_refusal_in_json(stylize: Impasto, fake: FakeServer) -> None:
    info = error_details_pb2.ErrorInfo(domain="impasto", reason="INVALID_FIELD")
    fake.script = refuse(
        grpc.StatusCode.INVALID_ARGUMENT, "no", info, bad_request(spec__recipe__seed="is too large")
    )
    outcome = stylize("--json")
    assert (outcome.code, outcome.err) == (2, "")
    assert outcome.lines == [
        {
            "event": "error",
            "code": "INVALID_ARGUMENT",
            "message": "--seed is too large",
            "fields": [{"field": "spec.recipe.seed", "message": "is too large"}],
            "reason": "INVALID_FIELD",
            "retry_after": None,
            "exit_code": 2,
        }
    ]


def test_a_failed_job(stylize: Impasto, fake: FakeServer) -> None:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield from fake_server.begin()
        yield job(pb.JOB_STATE_FAILED, error=status_pb2.Status(code=13, message="the device melted"))

    fake.script = script
    outcome = stylize("--animate", "film.webp")
    assert outcome.code == 1
    assert outcome.err.endswith("Error: the device melted\n")
    assert not left_behind()


def test_a_server_error(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = refuse(grpc.StatusCode.INTERNAL, "a bug")
    assert stylize().code == 1


def test_a_server_that_goes_away(stylize: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "DEFAULT_PATIENCE", 0.5)
    fake.script = refuse(
        grpc.StatusCode.UNAVAILABLE, "shutting down", error_details_pb2.ErrorInfo(reason="BYE")
    )
    outcome = stylize()
    assert (outcome.code, outcome.err) == (3, "Error: shutting down\n")


def test_no_server_there(impasto: Impasto) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for command in (["info"], ["demo"]):
        outcome = impasto(*command, "--server", address)
        assert outcome.code == 3
        assert f"no server answers at {address}" in outcome.err
        assert "impasto-server serve" in outcome.err


def test_a_painting_that_takes_longer_than_the_timeout(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    outcome = stylize("--timeout", 0.5)
    assert outcome.code == 3
    assert "not finished within --timeout 0.5 seconds; give more time, or leave it out" in outcome.err
    assert fake.cancelled.wait(10)
    assert fake.left.wait(10)


def test_a_full_disk(stylize: Impasto, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    outcome = stylize()
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "Error: out.png cannot be written: No space left on device; fetch the picture with `impasto get "
        "jobs/fake -o FILE` while the server keeps it"
    )
    assert not left_behind()


def test_no_server_installed(impasto: Impasto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_server, "_NEEDED", ("no_such_package",))
    outcome = impasto("demo")
    assert outcome.code == 3
    assert "Run: pip install 'impasto-server[torch]'; or name a server with --server" in outcome.err


def test_an_error_names_an_option_that_sets_two_fields_once(impasto: Impasto, fake: FakeServer) -> None:
    fault = "is 1 px; give 16 to 8192"
    for width, height, said in (
        (fault, fault, f"--size {fault}"),
        (fault, "no", f"--size {fault}; --size no"),
    ):
        details = bad_request(spec__texture__width=width, spec__texture__height=height)
        fake.script = refuse(grpc.StatusCode.INVALID_ARGUMENT, "no", details)
        arguments = ("texture", "style.png", "--size", "1x1", "-o", "out.png")
        outcome = impasto(*arguments, "--server", fake.address)
        assert (outcome.code, outcome.err) == (2, f"Error: {said}\n")


def test_one_evaluation_is_singular(stylize: Impasto, fake: FakeServer) -> None:
    def stopped(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield job(
            pb.JOB_STATE_SUCCEEDED,
            progress=fake_server.numbers(1),
            stop_reason=pb.STOP_REASON_PLATEAU,
            stop_message="it got no better",
        )
        for chunk in fake_server.chunks(png()):
            yield pb.StylizeResponse(result=chunk)

    fake.script = stopped
    assert "1 evaluation, it got no better" in stylize().out


def test_help_lists_every_exit_code(impasto: Impasto) -> None:
    for command in ([], ["stylize"], ["jobs"]):
        said = " ".join(impasto(*command, "--help").out.split())
        for code in (
            "0 done",
            "1 the job",
            "2 wrong",
            "3 the server",
            "129 SIGHUP",
            "130 Ctrl-C",
            "131 SIGQUIT",
            "143 SIGTERM",
        ):
            assert code in said
