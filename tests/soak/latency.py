"""Measures one tenant's small calls while another makes the costliest calls, or the worker is stopped.

    python tests/soak/latency.py [SECONDS] [SCENARIO ...]

Prints for each scenario (quiet, uploads, downloads, updates, creates, stopped) the median and maximum
milliseconds of GetJob, UpdateJob (title) and CancelJob.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

import PIL.Image
from google.protobuf.field_mask_pb2 import FieldMask

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.tokens import Tokens
from support.samples import coded, stylize_request
from support.server_process import ServerProcess, running_server, until

ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
CHUNK = 256 * 1024
Metadata = tuple[tuple[str, str], ...]


def create(server: ServerProcess, metadata: Metadata) -> str:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=ENDLESS).spec)
    return server.stub.CreateJob(request, timeout=60, metadata=metadata).name


def large_image(seed: int) -> bytes:
    """A PNG of noise, about 12 MB, different for each seed."""
    noise = PIL.Image.effect_noise((2000, 2000), 80).convert("RGB")
    noise.putpixel((0, 0), (seed % 256, seed // 256 % 256, 7))
    noise = PIL.Image.frombytes("RGB", noise.size, os.urandom(2000 * 2000 * 3))
    return coded(noise, compress_level=0)


class Noise:
    """The other tenant, whose calls run on their own threads until the block ends."""

    def __init__(self, server: ServerProcess, metadata: Metadata, scenario: str) -> None:
        self._server, self._metadata = server, metadata
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), daemon=True)
            for work in getattr(self, f"_{scenario}")()
        ]

    def __enter__(self) -> Noise:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._over.is_set():
            with contextlib.suppress(grpc.RpcError):
                work()

    def _quiet(self) -> list[Callable[[], None]]:
        return []

    _stopped = _quiet

    def _uploads(self) -> list[Callable[[], None]]:
        images = [large_image(seed) for seed in range(4)]
        turns = itertools.count()

        def upload() -> None:
            data = images[next(turns) % len(images)]
            # Different data each time, and still a PNG: bytes after its end are ignored.
            data += os.urandom(16)
            sha256 = hashlib.sha256(data).hexdigest()

            def pieces() -> Iterator[pb.UploadImageRequest]:
                for offset in range(0, len(data), CHUNK):
                    piece = data[offset : offset + CHUNK]
                    yield pb.UploadImageRequest(
                        sha256=sha256, size_bytes=len(data), offset=offset, data=piece
                    )

            self._server.stub.UploadImage(pieces(), timeout=60, metadata=self._metadata)

        return [upload] * 3

    def _downloads(self) -> list[Callable[[], None]]:
        data = large_image(9)
        sha256 = hashlib.sha256(data).hexdigest()
        pieces = [
            pb.UploadImageRequest(
                sha256=sha256, size_bytes=len(data), offset=offset, data=data[offset : offset + CHUNK]
            )
            for offset in range(0, len(data), CHUNK)
        ]
        self._server.stub.UploadImage(iter(pieces), timeout=60, metadata=self._metadata)

        def download() -> None:
            request = pb.DownloadImageRequest(sha256=sha256)
            for _ in self._server.stub.DownloadImage(request, timeout=60, metadata=self._metadata):
                pass

        return [download] * 3

    def _updates(self) -> list[Callable[[], None]]:
        name = create(self._server, self._metadata)
        numbers = itertools.count()

        def update() -> None:
            request = pb.UpdateJobRequest(update_mask=FieldMask(paths=["title"]))
            request.job.name, request.job.title = name, str(next(numbers))
            self._server.stub.UpdateJob(request, timeout=60, metadata=self._metadata)

        return [update] * 8

    def _creates(self) -> list[Callable[[], None]]:
        def make_and_delete() -> None:
            name = create(self._server, self._metadata)
            self._server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=60, metadata=self._metadata)

        return [make_and_delete] * 4


def measure(server: ServerProcess, metadata: Metadata, seconds: float) -> dict[str, list[float]]:
    """Makes small calls, one after the other, for some seconds. Returns the milliseconds of each."""
    taken: defaultdict[str, list[float]] = defaultdict(list)

    def timed(name: str, call: Callable[..., object], request: object) -> None:
        begin = time.monotonic()
        call(request, timeout=60, metadata=metadata)
        taken[name].append((time.monotonic() - begin) * 1e3)

    stub, end = server.stub, time.monotonic() + seconds
    while time.monotonic() < end:
        name = create(server, metadata)
        update = pb.UpdateJobRequest(update_mask=FieldMask(paths=["title"]))
        update.job.name, update.job.title = name, "a title"
        timed("GetJob", stub.GetJob, pb.GetJobRequest(name=name))
        timed("UpdateJob", stub.UpdateJob, update)
        timed("CancelJob", stub.CancelJob, pb.CancelJobRequest(name=name))
        time.sleep(0.02)
    return taken


def run(scenario: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.json"
        of_tenant = {name: Tokens(tokens).add(name) for name in ("one", "other")}
        one, other = ((("authorization", f"Bearer {token}"),) for token in of_tenant.values())
        arguments = ("--port", "0", "--device", "cpu", "--weights", "builtin", "--tokens-file", str(tokens))
        with running_server(*arguments, "--worker-timeout", "10min") as server:
            ask = pb.GetServerInfoRequest()
            until(
                lambda: server.stub.GetServerInfo(ask, timeout=60, metadata=one).devices[0].state,
                lambda state: state == pb.DEVICE_STATE_READY,
            )
            (worker,) = server.worker_pids()
            if scenario == "stopped":
                running = create(server, one)
                until(
                    lambda: (
                        server.stub.GetJob(pb.GetJobRequest(name=running), timeout=60, metadata=one).state
                    ),
                    lambda state: state == pb.JOB_STATE_RUNNING,
                )
                os.kill(worker, signal.SIGSTOP)
            with Noise(server, other, scenario):
                taken = measure(server, one, seconds)
            if scenario == "stopped":
                os.kill(worker, signal.SIGKILL)
    figures = "  ".join(
        f"{name} n={len(ms)} median {statistics.median(ms):.1f} max {max(ms):.0f}"
        for name, ms in taken.items()
    )
    print(f"{scenario:10} {figures}", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    for scenario in sys.argv[2:] or ("quiet", "uploads", "downloads", "updates", "creates", "stopped"):
        run(scenario, seconds)


if __name__ == "__main__":
    main()
