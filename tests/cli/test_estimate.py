"""`impasto estimate`, with a fake server and with a private one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from support.command_line import Impasto
from support.fake_server import FakeServer, bad_request, png, status

COMMAND = [sys.executable, "-c", "from impasto.cli import main; main()"]


def test_it_prints_what_painting_would_take(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake("estimate", "content.png", "style.png", "--size", 300, "--recipe", "gatys")
    assert outcome.code == 0, outcome.err
    lines = [line.split(maxsplit=1) for line in outcome.out.replace("result in", "left").splitlines()]
    assert {name: value.strip() for name, value in lines} == {
        "size": "300 × 200 px",
        "evaluations": "1,200",
        "memory": "3,000 MiB, in tiles of 512 px",
        "device": "cuda:0",
        "time": "2.5 s",
        "left": "3 min 05 s (2 other jobs)",
    }
    (request,) = fake.called("EstimateJob")
    assert request.spec.recipe == pb.Recipe(objective=pb.OBJECTIVE_GATYS, longest_side=300)


def test_an_unknown_time_is_said_to_be_unknown(at_fake: Impasto, fake: FakeServer) -> None:
    fake.estimate = pb.EstimateJobResponse(width=3, height=2, device="cpu")
    outcome = at_fake("estimate", "content.png", "style.png")
    assert outcome.out.count("not known") == 2


def test_json_has_everything(at_fake: Impasto) -> None:
    outcome = at_fake("estimate", "content.png", "style.png", "--json")
    told = json.loads(outcome.out)
    assert (told["event"], told["device_time"], told["other_jobs"]) == ("estimate", 2.5, 2)
    assert told["memory_plan"] == {"method": "tiled", "estimated_bytes": 3000 << 20, "tile_side": 512}
    assert told["recipe"]["evaluations"] == 1200


def test_faults_are_named_by_their_options(at_fake: Impasto, fake: FakeServer) -> None:
    fault = bad_request(spec__recipe__longest_side="is 3 px; give 16 to 8192")
    fake.faults["EstimateJob"] = [status(grpc.StatusCode.INVALID_ARGUMENT, "no", fault)]
    outcome = at_fake("estimate", "content.png", "style.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--size is 3 px; give 16 to 8192" in outcome.err


def test_an_old_server_is_named_as_the_cause(at_fake: Impasto, fake: FakeServer) -> None:
    fake.faults["EstimateJob"] = [status(grpc.StatusCode.UNIMPLEMENTED, "no such method")]
    outcome = at_fake("estimate", "content.png", "style.png")
    assert outcome.code == 1
    assert "the server cannot estimate jobs, because it is older than this client" in outcome.err


def test_a_file_that_does_not_exist_is_refused_without_a_call(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake("estimate", "none.png", "style.png")
    assert outcome.code == 2
    assert fake.called("EstimateJob") == []


@pytest.mark.slow
def test_without_a_server_it_starts_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    options = ["--weights", "builtin", "--device", "cpu", "--json", "--size", "32"]
    done = subprocess.run(
        [*COMMAND, "estimate", "a.png", "a.png", *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["device"] == "cpu"
    assert told["time_left"] == told["device_time"] > 0
