"""However a stream ends, nothing of it remains: no watcher, job, thread or open file."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.samples import coded, stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
ROUNDS = 8


@pytest.fixture(scope="module")
def counted() -> Iterator[ServerProcess]:
    more = ("--metrics-port", "0", "--heartbeat-interval", "100ms")
    with running_server("--private", "--device", "cpu", "--weights", "builtin", *more) as server:
        server.ready()
        yield server


def watchers(server: ServerProcess) -> float:
    address = re.search(r"event=metrics address=(\S+)", server.log)
    assert address is not None
    with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=PATIENCE) as answer:
        found = re.search(r"^impasto_watchers (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def left(server: ServerProcess) -> tuple[float, int, int]:
    """Watchers, unfinished jobs, and jobs on the device."""
    info = server.info()
    return watchers(server), info.unfinished_jobs, info.devices[0].resident_jobs


def open_files(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def large_image() -> bytes:
    """About a megabyte, so that a stream of it can be left in the middle."""
    noise = PIL.Image.frombytes("RGB", (600, 600), os.urandom(600 * 600 * 3))
    return coded(noise)


def streams(server: ServerProcess, image: str, job: str) -> dict[str, Callable[..., object]]:
    data = large_image()

    def upload() -> Iterator[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        yield pb.UploadImageRequest(offset=0, data=data[:1000])
        # Then nothing more until the call has ended.
        threading.Event().wait(2)

    stub = server.stub
    return {
        "Stylize": lambda timeout: stub.Stylize(stylize_request(recipe=ENDLESS), timeout=timeout),
        "WatchJob": lambda timeout: stub.WatchJob(pb.WatchJobRequest(name=job), timeout=timeout),
        "DownloadImage": lambda timeout: stub.DownloadImage(
            pb.DownloadImageRequest(sha256=image), timeout=timeout
        ),
        "UploadImage": lambda timeout: stub.UploadImage.future(upload(), timeout=timeout),
    }


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect", "error"])
@pytest.mark.parametrize("call", ["Stylize", "WatchJob", "DownloadImage", "UploadImage"])
def test_nothing_remains_of_a_stream(counted: ServerProcess, call: str, how: str) -> None:
    data = large_image()
    image = hashlib.sha256(data).hexdigest()
    header = pb.UploadImageRequest(sha256=image, size_bytes=len(data), data=data)
    assert counted.stub.UploadImage(iter([header]), timeout=PATIENCE).complete
    spec = stylize_request(recipe=ENDLESS).spec
    job = counted.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE).name
    try:
        before = open_files(counted)
        for _ in range(ROUNDS):
            _end(counted, call, how, image, job)
        until(lambda: left(counted)[:2], lambda found: found == (0, 1))
        until(lambda: open_files(counted), lambda count: count <= before + 2)
    finally:
        counted.stub.DeleteJob(pb.DeleteJobRequest(name=job), timeout=PATIENCE)
    until(lambda: left(counted), lambda found: found == (0, 0, 0))
    assert "call failed" not in counted.log, counted.log[-3000:]


def _end(server: ServerProcess, call: str, how: str, image: str, job: str) -> None:
    if how == "error":
        begin = streams(server, "f" * 64, "jobs/none")[call]
        bad = {
            "Stylize": lambda: list(server.stub.Stylize(pb.StylizeRequest(), timeout=PATIENCE)),
            "UploadImage": lambda: server.stub.UploadImage(
                iter([pb.UploadImageRequest(sha256="no")]), timeout=PATIENCE
            ),
        }.get(call, lambda: list(begin(PATIENCE)))  # type: ignore[call-overload]
        with pytest.raises(grpc.RpcError):
            bad()
        return
    if how == "disconnect":
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            other = type("Other", (), {"stub": style_transfer_pb2_grpc.StyleTransferStub(channel)})
            stream = streams(other, image, job)[call](PATIENCE)  # type: ignore[arg-type]
            if call != "UploadImage":
                next(stream)  # type: ignore[call-overload]
        return
    stream = streams(server, image, job)[call](0.3 if how == "deadline" else PATIENCE)
    try:
        if call == "UploadImage":
            if how == "deadline":
                stream.result()  # type: ignore[attr-defined]
        else:
            next(stream)  # type: ignore[call-overload]
            if how == "deadline":
                list(stream)  # type: ignore[call-overload]
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    finally:
        stream.cancel()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("call", ["Stylize", "WatchJob", "DownloadImage", "UploadImage"])
def test_a_shutdown_ends_a_stream_and_leaves_no_open_file(call: str) -> None:
    with running_server("--port", "0", "--device", "cpu", "--weights", "builtin") as server:
        data = large_image()
        image = hashlib.sha256(data).hexdigest()
        header = pb.UploadImageRequest(sha256=image, size_bytes=len(data), data=data)
        assert server.stub.UploadImage(iter([header]), timeout=PATIENCE).complete
        spec = stylize_request(recipe=ENDLESS).spec
        job = server.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE).name
        stream = streams(server, image, job)[call](PATIENCE)
        if call != "UploadImage":
            next(stream)  # type: ignore[call-overload]
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        stream.cancel()  # type: ignore[attr-defined]
        assert not list(server.folder.glob("impasto*"))
        assert "Traceback" not in server.log
