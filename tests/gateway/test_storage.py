"""A real server on a full disk, on a folder that cannot be written, and with damaged files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import stylize_request
from support.server_process import PATIENCE, running_server

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of a few MiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: that needs root and CAP_SYS_ADMIN")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def _fill(path: Path) -> None:
    """Fills the disk with a file."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError as error:
            assert error.errno == errno.ENOSPC


@pytest.mark.slow
def test_a_full_disk_refuses_the_call_and_loses_nothing(small_disk: Path) -> None:
    with running_server(*CPU, "--data-dir", str(small_disk / "data")) as server:
        server.ready()
        steady = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=200)
        first = server.stub.CreateJob(
            pb.CreateJobRequest(spec=stylize_request(recipe=steady).spec), timeout=PATIENCE
        )
        ballast = small_disk / "ballast"
        _fill(ballast)
        request = pb.CreateJobRequest(spec=stylize_request().spec)
        request.spec.content.raw.CopyFrom(pb.RawPixels(width=500, height=400, rgba=os.urandom(800_000)))
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.CreateJob(request, timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        status = rpc_status.from_call(caught.value)
        info = error_details_pb2.ErrorInfo()
        assert status is not None
        assert any(detail.Unpack(info) for detail in status.details)
        assert info.reason == "STORAGE"
        assert "room" in caught.value.details()

        ballast.unlink()
        assert server.stub.CreateJob(request, timeout=PATIENCE).name
        *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=first.name), timeout=PATIENCE)
        assert last.job.state == pb.JOB_STATE_SUCCEEDED
        assert not list(small_disk.rglob("*.tmp"))


def refused(*arguments: str) -> str:
    command = [sys.executable, "-m", "impasto_server", "serve", *CPU, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


def test_a_damaged_database_ends_the_server_with_a_message_and_is_not_changed(tmp_path: Path) -> None:
    with running_server(*CPU, "--data-dir", str(tmp_path)) as server:
        server.stub.CreateJob(pb.CreateJobRequest(spec=stylize_request().spec), timeout=PATIENCE)
    (database,) = tmp_path.glob("*.sqlite*")
    data = bytearray(database.read_bytes())
    data[: len(data) // 2] = os.urandom(len(data) // 2)
    database.write_bytes(data)
    said = refused("--data-dir", str(tmp_path))
    assert "damaged" in said
    assert database.name in said
    assert database.read_bytes() == data


def test_a_data_folder_that_cannot_be_made_ends_the_server_with_a_message(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    said = refused("--data-dir", str(file / "data"))
    assert said.startswith(f"impasto-server: the data folder {file / 'data'} cannot be made (")
    assert said.endswith("; give another one with --data-dir")


def test_an_upload_beyond_the_quota_is_refused_before_it_is_complete(tmp_path: Path) -> None:
    with running_server(*CPU, "--data-dir", str(tmp_path), "--max-stored-bytes-per-tenant", "1MiB") as server:

        def pieces() -> Iterator[pb.UploadImageRequest]:
            for offset in range(0, 8 << 20, 256 << 10):
                yield pb.UploadImageRequest(
                    sha256="a" * 64, size_bytes=8 << 20, offset=offset, data=bytes(256 << 10)
                )

        with pytest.raises(grpc.RpcError) as caught:
            server.stub.UploadImage(pieces(), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.part")) <= 1 << 20
