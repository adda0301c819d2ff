"""Kills workers and gateways at random moments under load, and checks that nothing is lost.

    python tests/soak/kills.py --kills 200

Meanwhile several clients submit, watch, steer, pause and cancel jobs, upload images and download results.
Afterwards every acknowledged job must be in the right state, every result must have the bytes of an
undisturbed run, and no temporary file and no process may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from google.protobuf.field_mask_pb2 import FieldMask

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.samples import coded, photo
from support.server_process import children, is_alive

T = TypeVar("T")

CALM_SECONDS = 300.0
"""Seconds for each job that is left after the last kill."""


def variant(number: int) -> pb.JobSpec:
    """The spec of one of a few small jobs; each always gives the same picture."""
    recipe = pb.Recipe(
        objective=pb.OBJECTIVE_REPORT,
        optimizer=pb.OPTIMIZER_LBFGS if number % 2 else pb.OPTIMIZER_ADAM,
        evaluations=40 + 20 * number,
        seed=number,
    )
    return pb.JobSpec(
        content=pb.Image(encoded=coded(photo(24 + 4 * number, 20))),
        styles=[pb.Style(image=pb.Image(encoded=coded(photo(20, 28))))],
        recipe=recipe,
    )


VARIANTS = 4


class Server:
    """A server that is started again with the same address and data whenever it was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("ab")
        self._port = 0
        self.process = self._start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _start(self) -> subprocess.Popen[bytes]:
        (self._folder / "tmp").mkdir(exist_ok=True)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "impasto_server", "serve", "--port", str(self._port)),
                *("--device", "cpu", "--weights", "builtin", "--data-dir", str(self._folder / "data")),
                *("--checkpoint-interval", "200ms"),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TMPDIR": str(self._folder / "tmp"), "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the server did not start; see its log"
        self._port = int(json.loads(line)["address"].rpartition(":")[2])
        return process

    def kill(self, what: str) -> None:
        """Kills "worker", "gateway" or "both", and starts a gateway again if it was killed."""
        workers = children(self.process.pid)
        if what in ("gateway", "both"):
            self.process.kill()
        if what in ("worker", "both"):
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        if what in ("gateway", "both"):
            self.process.wait()
            deadline = time.monotonic() + 30
            while any(is_alive(worker) for worker in workers):
                assert time.monotonic() < deadline, "a worker outlives its gateway"
                time.sleep(0.05)
            self.process = self._start()

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0
        self._log.close()


@dataclasses.dataclass
class Acknowledged:
    """An acknowledged job, and its expected outcome."""

    name: str
    variant: int
    cancelled: bool = False
    steered: bool = False


class Caller(threading.Thread):
    """Creates jobs and changes them, until told to stop."""

    def __init__(self, address: str, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(seed)
        self._stop_event = stop
        self._channel = grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 500)])
        self._stub = style_transfer_pb2_grpc.StyleTransferStub(self._channel)
        self.jobs: list[Acknowledged] = []
        self.error: BaseException | None = None
        self.counts: dict[str, int] = {}

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                self._one_job()
        except BaseException as error:
            self.error = error

    def _one_job(self) -> None:
        number = self._random.randrange(VARIANTS)
        spec = variant(number)
        if self._random.random() < 0.3:
            self._count("upload")
            self._upload(spec.content)
        request = pb.CreateJobRequest(spec=spec, request_id=str(uuid.uuid4()))
        name = self._again(lambda: self._stub.CreateJob(request, timeout=10)).name
        job = Acknowledged(name, number)
        self.jobs.append(job)
        action = self._random.choice(["watch", "watch", "leave", "steer", "pause", "cancel", "poll", "fetch"])
        self._count(action)
        if action == "watch":
            self._watch(job, most=self._random.uniform(0.5, 10))
        elif action == "steer":
            change = pb.UpdateJobRequest(
                job=pb.Job(name=name, recipe=pb.Recipe(content_weight=2.0)),
                update_mask=FieldMask(paths=["recipe.content_weight"]),
            )
            job.steered = True
            self._unless_over(lambda: self._stub.UpdateJob(change, timeout=10))
        elif action == "pause":
            self._unless_over(lambda: self._stub.PauseJob(pb.PauseJobRequest(name=name), timeout=10))
            time.sleep(self._random.uniform(0, 0.5))
            self._unless_over(lambda: self._stub.ResumeJob(pb.ResumeJobRequest(name=name), timeout=10))
        elif action == "cancel":
            time.sleep(self._random.uniform(0, 0.5))
            done = self._unless_over(lambda: self._stub.CancelJob(pb.CancelJobRequest(name=name), timeout=10))
            job.cancelled = done is not None
        elif action == "poll":
            self._again(lambda: self._stub.GetPreview(pb.GetPreviewRequest(name=name), timeout=10))
        elif action == "fetch":
            self._watch(job, most=20)
            with contextlib.suppress(grpc.RpcError):
                list(self._stub.DownloadImage(pb.DownloadImageRequest(result_of=name), timeout=10))
        # Creates no more jobs than the machine can paint between two kills.
        time.sleep(self._random.uniform(0, 6))

    def _watch(self, job: Acknowledged, most: float) -> None:
        deadline, after = time.monotonic() + most, 0
        while time.monotonic() < deadline and not self._stop_event.is_set():
            try:
                request = pb.WatchJobRequest(name=job.name, after_sequence=after)
                for event in self._stub.WatchJob(request, timeout=max(0.1, deadline - time.monotonic())):
                    assert event.sequence >= after, "a sequence went back"
                    after = event.sequence
                    if event.HasField("job") and event.job.HasField("end_time"):
                        return
            except grpc.RpcError as error:
                assert error.code() in (  # type: ignore[attr-defined]
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ), error
                time.sleep(0.1)

    def _upload(self, image: pb.Image) -> None:
        data = image.encoded
        sha256 = hashlib.sha256(data).hexdigest()

        def send() -> pb.UploadImageResponse:
            header = pb.UploadImageRequest(sha256=sha256, size_bytes=len(data))
            have = self._stub.UploadImage(iter([header]), timeout=10)
            if have.complete:
                return have
            rest = pb.UploadImageRequest(offset=have.committed_bytes, data=data[have.committed_bytes :])
            return self._stub.UploadImage(iter([header, rest]), timeout=10)

        assert self._again(send).complete
        image.sha256 = sha256

    def _unless_over(self, call: Callable[[], T]) -> T | None:
        try:
            return self._again(call)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:  # type: ignore[attr-defined]
                return None
            raise

    def _again(self, call: Callable[[], T]) -> T:
        """Repeats a call until it is answered; a lost call may or may not have had its effect."""
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                code = error.code()  # type: ignore[attr-defined]
                lost = code in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    # gRPC reports this if the server is killed while it answers.
                    grpc.StatusCode.CANCELLED,
                    # The limit of jobs is reached: the worker is killed too often to keep up.
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                )
                if not lost and not (code == grpc.StatusCode.UNKNOWN and "Stream removed" in str(error)):
                    raise
                time.sleep(0.1)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def download(stub: style_transfer_pb2_grpc.StyleTransferStub, name: str) -> bytes:
    chunks = stub.DownloadImage(pb.DownloadImageRequest(result_of=name), timeout=60)
    return b"".join(chunk.data for chunk in chunks)


def undisturbed(stub: style_transfer_pb2_grpc.StyleTransferStub) -> list[bytes]:
    """The picture of each variant."""
    pictures = []
    for number in range(VARIANTS):
        job = stub.CreateJob(pb.CreateJobRequest(spec=variant(number)), timeout=60)
        *_, last = stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=CALM_SECONDS)
        assert last.job.state == pb.JOB_STATE_SUCCEEDED, last
        pictures.append(download(stub, job.name))
    return pictures


def check(server: Server, jobs: list[Acknowledged], expected: list[bytes], folder: Path) -> dict[str, int]:
    """Checks the outcome of all jobs. Returns the number of jobs in each state.

    Raises:
        AssertionError: something was lost, or is left over.
    """
    counts: dict[str, int] = {}
    with grpc.insecure_channel(server.address) as channel:
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        for job in jobs:
            with contextlib.suppress(grpc.RpcError):
                # The call to resume it was lost, and was not repeated.
                stub.ResumeJob(pb.ResumeJobRequest(name=job.name), timeout=60)
            watch = pb.WatchJobRequest(name=job.name, omit_previews=True)
            *_, last = stub.WatchJob(watch, timeout=CALM_SECONDS)
            state = pb.JobState.Name(last.job.state).removeprefix("JOB_STATE_").lower()
            counts[state] = counts.get(state, 0) + 1
            if job.cancelled:
                assert state == "cancelled", (job, state)
                continue
            # A cancel whose answer was lost may have taken effect.
            assert state == "succeeded", (job, last)
            picture = download(stub, job.name)
            assert hashlib.sha256(picture).hexdigest() == last.job.result.sha256
            if not job.steered:
                assert picture == expected[job.variant], job
        info = stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=60)
        assert info.unfinished_jobs == 0
        succeeded = len(list((folder / "data" / "results").iterdir()))
        listed = sum(job.state == pb.JOB_STATE_SUCCEEDED for page in pages(stub) for job in page.jobs)
        assert succeeded == listed, "a result without its job, or a job without its result"
    assert not [path for path in (folder / "data").rglob("*") if path.name.endswith(".tmp")]
    assert not list((folder / "data" / "checkpoints").rglob("*.safetensors"))
    return counts


def pages(stub: style_transfer_pb2_grpc.StyleTransferStub) -> Iterator[pb.ListJobsResponse]:
    token = ""
    while True:
        page = stub.ListJobs(pb.ListJobsRequest(page_token=token), timeout=60)
        yield page
        token = page.next_page_token
        if not token:
            return


def soak(kills: int, callers: int, seed: int, say: Callable[[str], None]) -> dict[str, int]:
    """Runs the test. Returns counts of the actions, and of the final states of the jobs."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="impasto-kills-") as name:
        folder = Path(name)
        server = Server(folder)
        try:
            with grpc.insecure_channel(server.address) as channel:
                expected = undisturbed(style_transfer_pb2_grpc.StyleTransferStub(channel))
            stop = threading.Event()
            threads = [Caller(server.address, seed + i, stop) for i in range(callers)]
            for thread in threads:
                thread.start()
            done: dict[str, int] = {}
            for number in range(kills):
                time.sleep(chance.choice([chance.uniform(0, 1), chance.uniform(2, 9)]))
                what = chance.choice(["worker", "worker", "gateway", "both"])
                server.kill(what)
                done[f"killed {what}"] = done.get(f"killed {what}", 0) + 1
                if number % 10 == 9:
                    say(f"{number + 1} kills, {sum(len(thread.jobs) for thread in threads)} jobs")
            stop.set()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive(), "a caller hangs"
                if thread.error is not None:
                    raise thread.error
                for action, count in thread.counts.items():
                    done[action] = done.get(action, 0) + count
            jobs = [job for thread in threads for job in thread.jobs]
            say(f"no more kills; waiting for {len(jobs)} jobs")
            done |= check(server, jobs, expected, folder)
            workers = children(server.process.pid)
            server.end()
            assert not any(is_alive(worker) for worker in workers)
            # PyTorch leaves a folder behind.
            left = list((folder / "tmp").glob("impasto*"))
            assert not left, left
            return done
        except BaseException:
            server.process.kill()
            kept = Path(tempfile.gettempdir()) / "impasto-kills.log"
            shutil.copy(folder / "log", kept)
            say(f"the server's log is in {kept}")
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    done = soak(arguments.kills, arguments.callers, arguments.seed, lambda line: print(line, flush=True))
    print(f"{time.monotonic() - begin:.0f} s; " + ", ".join(f"{k}: {v}" for k, v in sorted(done.items())))


if __name__ == "__main__":
    main()
