"""Jobs survive the deaths of workers and servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, ServerProcess, job_starts, running_server, until

CPU = ("--device", "cpu", "--weights", "builtin", "--checkpoint-interval", "100ms")
# Without a margin, so that evaluations are fast.
RECIPE = pb.Recipe(
    objective=pb.OBJECTIVE_REPORT, optimizer=pb.OPTIMIZER_LBFGS, evaluations=200, learning_rate=0.01
)


def create(server: ServerProcess, recipe: pb.Recipe = RECIPE, **fields: object) -> pb.Job:
    spec = stylize_request(coded(photo(48, 36)), recipe=recipe).spec
    return server.stub.CreateJob(pb.CreateJobRequest(spec=spec, **fields), timeout=PATIENCE)  # type: ignore


def get(server: ServerProcess, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)


def progressed(server: ServerProcess, name: str, evaluation: int) -> None:
    for event in server.stub.WatchJob(pb.WatchJobRequest(name=name, omit_previews=True), timeout=PATIENCE):
        if event.progress.evaluation >= evaluation:
            return
    raise AssertionError("the job ended too soon")


def result(server: ServerProcess, name: str) -> bytes:
    *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=PATIENCE)
    assert last.job.state == pb.JOB_STATE_SUCCEEDED, last
    chunks = server.stub.DownloadImage(pb.DownloadImageRequest(result_of=name), timeout=PATIENCE)
    return b"".join(chunk.data for chunk in chunks)


def has_checkpoint(data_folder: Path) -> bool:
    return any((data_folder / "checkpoints").rglob("*.safetensors"))


@pytest.fixture(scope="module")
def undisturbed() -> bytes:
    with running_server("--private", *CPU) as server:
        return result(server, create(server).name)


@pytest.mark.slow
def test_a_job_goes_on_from_its_checkpoint_when_its_worker_is_killed(
    undisturbed: bytes, tmp_path: Path
) -> None:
    with running_server("--port", "0", *CPU, "--data-dir", str(tmp_path)) as server:
        name = create(server).name
        progressed(server, name, 50)
        until(lambda: has_checkpoint(tmp_path), bool)
        (worker,) = server.worker_pids()
        watch = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=PATIENCE)
        assert next(watch).job.state == pb.JOB_STATE_RUNNING
        os.kill(worker, signal.SIGKILL)
        states = [event.job.state for event in watch if event.HasField("job")]
        assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
        begun, again = job_starts(server.log, name)
        assert begun == 0
        assert again > 0, "it began anew"
        assert result(server, name) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_goes_on_after_a_restart_of_the_server(
    undisturbed: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("--port", "0", *CPU, "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        name = create(server).name
        paused = create(server).name
        server.stub.PauseJob(pb.PauseJobRequest(name=paused), timeout=PATIENCE)
        progressed(server, name, 50)
        until(lambda: has_checkpoint(tmp_path), bool)
        before = get(server, name).progress.evaluation
        server.process.send_signal(number)
        server.process.wait(PATIENCE)
    with running_server(*arguments) as server:
        assert get(server, paused).state == pb.JOB_STATE_PAUSED
        assert get(server, name).state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
        events = list(server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=PATIENCE))
        (again,) = job_starts(server.log, name)
        assert again >= (before if number == signal.SIGTERM else 1), "a drained job loses nothing"
        sequences = [event.sequence for event in events]
        assert sequences == sorted(set(sequences))
        assert result(server, name) == undisturbed
        server.stub.ResumeJob(pb.ResumeJobRequest(name=paused), timeout=PATIENCE)
        assert result(server, paused) == undisturbed
        assert not list(tmp_path.rglob("*.tmp"))
        assert not list((tmp_path / "checkpoints").rglob("*.safetensors"))


@pytest.mark.slow
def test_watchers_are_told_to_come_back_at_shutdown_and_can(tmp_path: Path) -> None:
    arguments = ("--port", "0", *CPU, "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        name = create(server, pb.Recipe(evaluations=100_000)).name
        watch = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=PATIENCE)
        assert any(event.HasField("progress") for event in watch)
        server.process.terminate()
        *_, last = watch
        assert last.HasField("resume")
        assert server.process.wait(PATIENCE) == 0
    with running_server(*arguments) as server:
        again = server.stub.WatchJob(
            pb.WatchJobRequest(name=name, after_sequence=last.sequence), timeout=PATIENCE
        )
        assert next(again).sequence > last.sequence
        server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE)


@pytest.mark.slow
def test_a_job_that_crashes_its_worker_fails_and_the_others_go_on() -> None:
    with running_server("--port", "0", *CPU) as server:
        server.ready()
        large = coded(photo(1000, 1000))
        spec = stylize_request(large, recipe=pb.Recipe(objective=pb.OBJECTIVE_REPORT, longest_side=1000)).spec
        other = create(server).name
        poison = server.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while get(server, poison.name).state not in (pb.JOB_STATE_FAILED, pb.JOB_STATE_SUCCEEDED):
            assert time.monotonic() < deadline, server.log
            # Like a bug in a kernel: during its turn, before its first evaluation is done.
            for marker in server.folder.glob("impasto-run-*/*.turn"):
                if marker.read_bytes().rstrip(b"\0").decode() == poison.name:
                    for worker in server.worker_pids():
                        os.kill(worker, signal.SIGKILL)
                    time.sleep(0.5)
            time.sleep(0.005)
        failed = get(server, poison.name)
        assert failed.state == pb.JOB_STATE_FAILED
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in failed.error.details)
        assert info.reason == "JOB_KILLS_WORKER"
        assert "3 times" in failed.error.message
        assert result(server, other)
        assert server.ready().devices[0].restarts == 3


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_work_but_not_the_job(undisturbed: bytes, tmp_path: Path) -> None:
    arguments = ("--port", "0", *CPU, "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        name = create(server).name
        progressed(server, name, 50)
    # The server has ended in good order, with a last checkpoint.
    (checkpoint,) = (tmp_path / "checkpoints").rglob("*.safetensors")
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 0xFF
    checkpoint.write_bytes(data)
    with running_server(*arguments) as server:
        assert result(server, name) == undisturbed
        assert "checkpoint cannot be used" in server.log


def test_a_stylize_job_whose_caller_does_not_come_back_is_cancelled(tmp_path: Path) -> None:
    arguments = ("--port", "0", *CPU, "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        call = server.stub.Stylize(stylize_request(recipe=pb.Recipe(evaluations=100_000)), timeout=PATIENCE)
        name = next(call).event.job.name
        server.process.kill()
        with pytest.raises(grpc.RpcError):
            list(call)
    with running_server(*arguments) as server:
        # It is kept for a while, so that its caller can come back.
        assert get(server, name).state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
        server.stub.CancelJob(pb.CancelJobRequest(name=name), timeout=PATIENCE)
        until(lambda: server.info().unfinished_jobs, lambda jobs: jobs == 0)


def test_two_servers_do_not_share_a_data_folder(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--device", "cpu", "--weights", "builtin", "--data-dir", str(tmp_path))
    with running_server(*arguments):
        command = [sys.executable, "-m", "impasto_server", "serve", *arguments]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 2
    assert "in use by another server" in second.stderr.splitlines()[-1]
