"""Measures a server under load: a stalled watcher, many watchers and tenants, many jobs one after another.

python tests/soak/load.py stalled|crowd|rounds [N]
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.gateway.tokens import Tokens
from support.samples import coded, photo, stylize_request
from support.server_process import ServerProcess, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
MIB = 1 << 20


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such process")


def create(
    server: ServerProcess, recipe: pb.Recipe, side: int = 32, metadata: tuple[tuple[str, str], ...] = ()
) -> str:
    spec = stylize_request(coded(photo(side, side)), recipe=recipe).spec
    preview = pb.PreviewOptions(format=pb.IMAGE_FORMAT_PNG, max_bytes=524_288)
    preview.min_interval.nanos = 100_000_000
    request = pb.CreateJobRequest(spec=spec, preview=preview)
    return server.stub.CreateJob(request, timeout=60, metadata=metadata).name


def stalled(seconds: float = 30.0) -> dict[str, float]:
    """Measures a watcher that reads nothing for a while although previews are sent."""
    with running_server(*CPU) as server:
        server.ready()
        name = create(server, ENDLESS, side=200)
        brisk = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=600)
        taken: list[float] = []

        def read() -> None:
            with contextlib.suppress(grpc.RpcError):
                for event in brisk:
                    if event.HasField("preview"):
                        taken.append(time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: len(taken), lambda count: count > 10)
        before = resident_bytes(server.process.pid)
        progress = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60).progress.evaluation
        begin = time.monotonic()
        with grpc.insecure_channel(server.address, [("grpc.http2.bdp_probe", 0)]) as channel:
            stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
            lazy = stub.WatchJob(pb.WatchJobRequest(name=name), timeout=600)
            next(lazy)
            time.sleep(seconds)
            grown = resident_bytes(server.process.pid) - before
            now = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60).progress.evaluation
            rate_with = (now - progress) / (time.monotonic() - begin)
            # Reads the events sent before it stalled, and then the newest.
            newest = 0
            deadline = time.monotonic() + 1.0
            skipped = 0
            for event in lazy:
                skipped = event.skipped_previews
                newest = max(newest, event.preview.evaluation)
                if time.monotonic() > deadline:
                    break
            behind = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60).progress.evaluation - newest
            lazy.cancel()
        progress, begin = now, time.monotonic()
        time.sleep(seconds / 3)
        now = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60).progress.evaluation
        rate_without = (now - progress) / (time.monotonic() - begin)
        brisk.cancel()
        reader.join()
    return {
        "gateway grew by MiB": grown / MIB,
        "evaluations a second with it": rate_with,
        "and without": rate_without,
        "previews skipped for it": skipped,
        "evaluations behind once it reads": behind,
    }


def crowd(watchers: int = 200, tenants: int = 50, jobs_each: int = 10) -> dict[str, float]:
    """Measures small calls while one job has many watchers and many tenants have queued jobs."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = Tokens(Path(folder) / "tokens.json")
        bearers = [(("authorization", f"Bearer {tokens.add(f't{i}')}"),) for i in range(tenants)]
        with running_server(*CPU, "--tokens-file", str(tokens.path)) as server, _ready(server, bearers[0]):
            watched = create(server, ENDLESS, metadata=bearers[0])
            names = [
                (create(server, ENDLESS, metadata=bearer), bearer)
                for bearer in bearers
                for _ in range(jobs_each)
            ]
            streams = [
                server.stub.WatchJob(pb.WatchJobRequest(name=watched), timeout=600, metadata=bearers[0])
                for _ in range(watchers)
            ]
            counts = [0] * watchers

            def read(number: int) -> None:
                with contextlib.suppress(grpc.RpcError):
                    for _ in streams[number]:
                        counts[number] += 1

            threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(watchers)]
            for thread in threads:
                thread.start()
            until(lambda: min(counts), lambda count: count > 0)
            times = []
            for i in range(300):
                name, bearer = names[i * 7 % len(names)]
                begin = time.perf_counter()
                if i % 3 == 0:
                    server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60, metadata=bearer)
                elif i % 3 == 1:
                    server.stub.ListJobs(pb.ListJobsRequest(page_size=10), timeout=60, metadata=bearer)
                else:
                    server.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=60, metadata=bearer)
                times.append(time.perf_counter() - begin)
                time.sleep(0.02)
            for stream in streams:
                stream.cancel()
    ordered = sorted(times)
    return {
        "jobs": len(names) + 1,
        "watchers": watchers,
        "small calls, median ms": 1000 * statistics.median(times),
        "95th of 100, ms": 1000 * ordered[int(0.95 * len(ordered))],
        "longest, ms": 1000 * ordered[-1],
        "events a watcher got": statistics.mean(counts),
    }


@contextlib.contextmanager
def _ready(server: ServerProcess, metadata: tuple[tuple[str, str], ...]) -> Iterator[None]:
    def states() -> list[int]:
        info = server.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=60, metadata=metadata)
        return [device.state for device in info.devices]

    until(states, lambda found: found == [pb.DEVICE_STATE_READY])
    yield


def rounds(number: int = 2000) -> dict[str, float]:
    """Submits, runs and deletes jobs, and measures how much memory the server keeps."""
    with running_server(*CPU) as server:
        server.ready()
        (worker,) = server.worker_pids()

        def one() -> None:
            name = create(server, pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1))
            *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=60)
            assert last.job.state == pb.JOB_STATE_SUCCEEDED
            server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=60)

        for _ in range(100):
            one()
        before = resident_bytes(server.process.pid), resident_bytes(worker)
        begin = time.monotonic()
        for _ in range(number):
            one()
        after = resident_bytes(server.process.pid), resident_bytes(worker)
        took = time.monotonic() - begin
    return {
        "rounds": number,
        "gateway grew by MiB": (after[0] - before[0]) / MIB,
        "worker grew by MiB": (after[1] - before[1]) / MIB,
        "ms a round": 1000 * took / number,
    }


def main() -> None:
    what = {"stalled": stalled, "crowd": crowd, "rounds": rounds}
    if len(sys.argv) < 2 or sys.argv[1] not in what:
        sys.exit(__doc__)
    figures = what[sys.argv[1]](*map(int, sys.argv[2:]))  # type: ignore[operator]
    for name, value in figures.items():
        print(f"{name:36} {value:10.2f}")


if __name__ == "__main__":
    main()
