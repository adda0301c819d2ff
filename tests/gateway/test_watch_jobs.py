"""All of a tenant's jobs in one stream, over a real server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.gateway.tokens import Tokens
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server

ENDLESS = pb.Recipe(evaluations=100_000)
PREVIEWS = pb.PreviewOptions()
PREVIEWS.min_interval.FromMilliseconds(100)


@pytest.fixture(scope="module")
def mock() -> Iterator[ServerProcess]:
    """A mock server with a short heartbeat, whose jobs every test deletes."""
    arguments = ("--mock", "--port", "0", "--mock-evaluation-time", "5ms", "--heartbeat-interval", "200ms")
    with running_server(*arguments) as server:
        server.ready()
        yield server


def create(server: ServerProcess, recipe: pb.Recipe | None = None, **options: object) -> str:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=recipe).spec, preview=PREVIEWS)
    return server.stub.CreateJob(request, timeout=PATIENCE, **options).name  # type: ignore[arg-type]


def delete(server: ServerProcess, name: str) -> None:
    server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE)


class Stream:
    """A stream of all jobs."""

    def __init__(
        self,
        server: ServerProcess,
        stub: style_transfer_pb2_grpc.StyleTransferStub | None = None,
        metadata: object = None,
        **fields: object,
    ) -> None:
        request = pb.WatchJobsRequest(**fields)  # type: ignore[arg-type]
        self.call = (stub or server.stub).WatchJobs(request, timeout=PATIENCE, metadata=metadata)  # type: ignore[arg-type]

    def until(self, name: str, kind: str, state: str = "") -> list[pb.WatchJobsResponse]:
        """Reads until an event of a job, and returns all that came."""
        read = []
        for response in self.call:
            read.append(response)
            event = response.event
            found = event.WhichOneof("event") or response.WhichOneof("payload")
            is_state = not state or pb.JobState.Name(event.job.state) == f"JOB_STATE_{state}"
            if response.job == name and found == kind and is_state:
                return read
        raise AssertionError(f"the stream ended: {read}")


def test_jobs_are_seen_from_their_creation_to_their_deletion(mock: ServerProcess) -> None:
    stream = Stream(mock)
    assert len(stream.until("", "listed")) == 1
    first = create(mock, ENDLESS)
    before = stream.until(first, "preview")
    assert before[0].event.job.name == first
    second = create(mock)
    stream.until(second, "job", "SUCCEEDED")
    # Someone who comes later.
    late = Stream(mock, omit_previews=True)
    began = late.until("", "listed")
    assert [each.job for each in began] == [first, ""]
    delete(mock, second)
    delete(mock, first)
    for each in (stream, late):
        read = each.until(first, "deleted")
        assert any(response.job == second and response.HasField("deleted") for response in read)
        sequences = [r.event.sequence for r in read if r.job == first and r.HasField("event")]
        assert sequences == sorted(set(sequences))
        assert each is stream or not any(response.event.HasField("preview") for response in read)
        each.until("", "heartbeat")
        each.call.cancel()


def test_previews_only_of_the_jobs_that_are_named(mock: ServerProcess) -> None:
    first, second = create(mock, ENDLESS), create(mock, ENDLESS)
    stream = Stream(mock, previews_of=[second])
    read = stream.until(second, "preview") + stream.until(second, "preview")
    assert not any(each.job == first and each.event.HasField("preview") for each in read)
    stream.call.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        next(Stream(mock, previews_of=["jobs/a"] * 201).call)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for name in (first, second):
        delete(mock, name)


def test_a_tenant_sees_its_own_jobs_until_its_token_is_removed(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    bearer = {name: [("authorization", f"Bearer {tokens.add(name)}")] for name in ("anna", "ben")}
    with running_server("--mock", "--port", "0", "--data-dir", str(tmp_path)) as server:
        stream = Stream(server, metadata=bearer["anna"])
        stream.until("", "listed")
        create(server, metadata=bearer["ben"])
        own = create(server, metadata=bearer["anna"])
        read = stream.until(own, "job", "SUCCEEDED")
        assert {each.job for each in read} <= {own, ""}
        tokens.remove("anna")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream.call)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_stream_of_a_server_that_shuts_down_asks_to_come_back() -> None:
    with running_server("--mock", "--port", "0") as server:
        stream = Stream(server)
        stream.until("", "listed")
        server.process.send_signal(signal.SIGTERM)
        *_, last = stream.call
        assert last.event.resume.retry_delay.ToMilliseconds() > 0
        assert stream.call.code() == grpc.StatusCode.OK


def test_without_watchers_of_previews_there_are_none(mock: ServerProcess) -> None:
    name = create(mock, ENDLESS)
    stream = Stream(mock, omit_previews=True)
    stream.until(name, "progress")
    stream.until(name, "progress")
    download = mock.stub.DownloadImage(pb.DownloadImageRequest(preview_of=name), timeout=PATIENCE)
    with pytest.raises(grpc.RpcError) as caught:
        list(download)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    stream.call.cancel()
    delete(mock, name)


def test_a_reader_that_stalls_gets_what_is_new_and_not_what_it_missed() -> None:
    busy = ("--mock-evaluation-time", "2ms", "--max-resident", "40")
    # Without a window that grows, gRPC sends 64 KiB ahead of a reader.
    own = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    with (
        running_server("--mock", "--port", "0", *busy) as server,
        grpc.insecure_channel(server.address, options=own) as channel,
    ):
        jobs = [create(server, ENDLESS) for _ in range(40)]
        stalled = Stream(server, style_transfer_pb2_grpc.StyleTransferStub(channel))
        live = Stream(server)
        stalled.until("", "listed")
        live.until("", "listed")
        missed = 1500
        for _ in range(missed):
            next(live.call)
        server.stub.CancelJob(pb.CancelJobRequest(name=jobs[0]), timeout=PATIENCE)
        read = stalled.until(jobs[0], "job", "CANCELLED")
        # What lies in the connection, and a progress and a preview of each job in the gateway.
        assert len(read) < missed / 2
