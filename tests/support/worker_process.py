"""A real worker for tests: `python -m impasto_server.worker` in its own process, on a Unix socket."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import Samples
from impasto_server.temporary import anonymous_file
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from support.samples import coded, photo
from support.server_process import PATIENCE

RunCall = Iterator[worker_pb2.RunResponse]


class WorkerProcess:
    """A running worker.

    Attributes:
        process: its process; its stdin is a pipe.
        stub: a connection to it.
        turn_file: file that names the job whose turn it is.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: grpc.Channel, folder: Path) -> None:
        self.process = process
        self.stub = worker_pb2_grpc.WorkerServiceStub(channel)
        self.turn_file = folder / "turn"
        self._log = folder / "log"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def info(self) -> worker_pb2.GetWorkerInfoResponse:
        request = worker_pb2.GetWorkerInfoRequest()
        return self.stub.GetWorkerInfo(request, timeout=PATIENCE, wait_for_ready=True)

    def run(
        self,
        begin: worker_pb2.Begin,
        images: Iterable[bytes],
        checkpoint: bytes | None = None,
        *,
        timeout: float = PATIENCE,
    ) -> Any:
        """Starts a Run call; iterate over it for its responses."""
        return self.stub.Run(iter(run_requests(begin, images, checkpoint)), timeout=timeout)

    def update(self, name: str, **fields: Any) -> worker_pb2.UpdateRunResponse:
        return self.stub.UpdateRun(worker_pb2.UpdateRunRequest(job_name=name, **fields), timeout=PATIENCE)

    def estimate(self, begin: worker_pb2.Begin, images: Sequence[bytes]) -> worker_pb2.EstimateRunResponse:
        """What the job would take, from the descriptions of its pictures."""
        described, _ = with_pictures(begin, images)
        request = worker_pb2.EstimateRunRequest(spec=described.spec, pictures=described.pictures)
        return self.stub.EstimateRun(request, timeout=PATIENCE)

    def ping(self) -> worker_pb2.PingResponse:
        return self.stub.Ping(worker_pb2.PingRequest(), timeout=PATIENCE)

    def suspend(self, name: str) -> None:
        self.stub.SuspendRun(worker_pb2.SuspendRunRequest(job_name=name), timeout=PATIENCE)


class Outcome:
    """The responses of a Run call, collected.

    Attributes:
        kinds: kinds of the payloads in order, without immediate repetitions.
        progress: all progress.
        previews: all previews.
        checkpoints: all whole checkpoints.
        result: samples of the result.
    """

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.started: worker_pb2.Started | None = None
        self.progress: list[pb.Progress] = []
        self.previews: list[pb.Preview] = []
        self.checkpoints: list[bytes] = []
        self.evaluations_saved: list[int] = []
        self.finished: worker_pb2.Finished | None = None
        self.result = b""
        self._checkpoint = bytearray()

    def take(self, response: worker_pb2.RunResponse) -> str:
        kind = response.WhichOneof("payload")
        assert kind is not None
        if self.kinds[-1:] != [kind]:
            self.kinds.append(kind)
        if kind == "started":
            self.started = response.started
        elif kind == "progress":
            self.progress.append(response.progress)
        elif kind == "preview":
            self.previews.append(response.preview)
        elif kind == "finished":
            self.finished = response.finished
        elif kind == "result":
            assert response.result.offset == len(self.result)
            self.result += response.result.data
        elif kind == "checkpoint":
            chunk = response.checkpoint
            assert chunk.offset == len(self._checkpoint)
            assert len(chunk.data) <= 1 << 20
            self._checkpoint += chunk.data
            if len(self._checkpoint) == chunk.size_bytes:
                self.checkpoints.append(bytes(self._checkpoint))
                self.evaluations_saved.append(chunk.evaluation)
                self._checkpoint.clear()
        return kind

    def read(self, call: RunCall, until: str | None = None) -> Outcome:
        """Reads up to the first payload of a kind, or to the end."""
        for response in call:
            if self.take(response) == until:
                break
        return self

    @property
    def picture(self) -> PIL.Image.Image:
        assert self.finished is not None
        about = self.finished.result
        assert (about.bits, len(self.result)) == (8, 3 * about.width * about.height)
        return PIL.Image.frombytes("RGB", (about.width, about.height), self.result)

    @property
    def metadata(self) -> dict[str, Any]:
        assert self.finished is not None
        metadata: dict[str, Any] = json.loads(self.finished.result.metadata)
        return metadata


def named(image: bytes) -> pb.Image:
    """An image that is named by its digest."""
    return pb.Image(sha256=hashlib.sha256(image).hexdigest())


CONTENT = coded(photo())
STYLE = coded(photo(20, 28))
IMAGES = (CONTENT, STYLE)


def job(name: str = "jobs/1", recipe: pb.Recipe | None = None, **fields: Any) -> worker_pb2.Begin:
    """A job with the content `CONTENT` and the style `STYLE`, of one tenant."""
    spec = pb.JobSpec(
        content=named(CONTENT),
        styles=[pb.Style(image=named(STYLE))],
        recipe=recipe or pb.Recipe(evaluations=6),
    )
    return worker_pb2.Begin(**{"job_name": name, "spec": spec, "tenant": "a", "tenant_weight": 1.0} | fields)


def run_requests(
    begin: worker_pb2.Begin,
    images: Iterable[bytes],
    checkpoint: bytes | None = None,
    *,
    chunk_bytes: int = 256 << 10,
) -> Iterator[worker_pb2.RunRequest]:
    """The requests of a Run, with decoded pictures."""
    message, pictures = with_pictures(begin, images)
    message.resumes = checkpoint is not None
    yield worker_pb2.RunRequest(begin=message)
    for index, samples in enumerate(pictures):
        for offset, data in _pieces(samples, chunk_bytes):
            chunk = worker_pb2.PictureChunk(index=index, offset=offset, data=data)
            yield worker_pb2.RunRequest(picture=chunk)
    for offset, data in _pieces(checkpoint or b"", chunk_bytes):
        piece = worker_pb2.InputChunk(size_bytes=len(checkpoint or b""), offset=offset, data=data)
        yield worker_pb2.RunRequest(checkpoint=piece)


def with_pictures(begin: worker_pb2.Begin, images: Iterable[bytes]) -> tuple[worker_pb2.Begin, list[bytes]]:
    """A job with descriptions of its decoded pictures, and their samples."""
    message = worker_pb2.Begin()
    message.CopyFrom(begin)
    message.result_bits = message.result_bits or 8
    files = {hashlib.sha256(image).hexdigest(): image for image in images}
    known: dict[tuple[str, bool], worker_pb2.Picture] = {}
    pictures = []
    for path, image in images_of(begin.spec):
        is_mask = "mask" in path or path == "selection"
        if image.sha256 not in files:
            continue
        if (image.sha256, is_mask) not in known:
            picture = PIL.Image.open(io.BytesIO(files[image.sha256])).convert("L" if is_mask else "RGB")
            width, height = picture.size
            about = message.pictures.add(width=width, height=height, channels=1 if is_mask else 3, bits=8)
            about.source_width, about.source_height = picture.size
            known[image.sha256, is_mask] = about
            pictures.append(picture.tobytes())
        known[image.sha256, is_mask].fields.append(path)
    return message, pictures


async def samples_of(begin: worker_pb2.Begin, pictures: Iterable[bytes]) -> AsyncIterator[Samples]:
    """The pictures of a job in the form that the fleet uses."""
    for about, data in zip(begin.pictures, pictures, strict=True):
        file = anonymous_file()
        file.write(data)
        yield Samples(file, about.width, about.height, about.channels, about.bits)


@contextlib.contextmanager
def running_worker(
    *arguments: str, max_resident: int = 16, program: Sequence[str] = ("-m", "impasto_server.worker")
) -> Iterator[WorkerProcess]:
    """Starts a worker on the CPU with the built-in weights, and ends it by closing its stdin.

    Args:
        arguments: additional arguments of the worker.
        max_resident: maximum jobs on the device at a time.
        program: arguments of Python that name the program to run.
    """
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("wb") as log:
        folder = Path(name)
        process = subprocess.Popen(
            [
                *(sys.executable, *program),
                *("--socket", str(folder / "worker.sock"), "--turn-file", str(folder / "turn")),
                *("--device", "cpu", "--weights", "builtin", "--max-resident", str(max_resident)),
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        assert process.stdin is not None
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        try:
            with grpc.insecure_channel(f"unix:{folder / 'worker.sock'}", options) as channel:
                worker = WorkerProcess(process, channel, folder)
                worker.info()
                yield worker
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pieces(data: bytes, length: int) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, len(data), length):
        yield offset, data[offset : offset + length]
