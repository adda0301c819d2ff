"""What no caller can do to a server, with real servers and real connections."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import PIL.Image
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc as pb_grpc
from impasto_server.gateway.tokens import Tokens
from support.raw_http2 import calling, framed
from support.samples import coded, stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
SERVICE = b"/impasto.v1.StyleTransfer/"
OK, INVALID_ARGUMENT, UNIMPLEMENTED, UNAUTHENTICATED = "0", "3", "12", "16"
Metadata = tuple[tuple[str, str], ...]


class Guarded:
    """A server with two tenants."""

    def __init__(self, server: ServerProcess, tokens: Tokens) -> None:
        self.server, self.tokens, self.address = server, tokens, server.address
        self.alice, self.bob = (
            (("authorization", f"Bearer {tokens.add(name)}"),) for name in ("alice", "bob")
        )

    def headers(self, metadata: Metadata) -> list[tuple[bytes, bytes]]:
        return [(key.encode(), value.encode()) for key, value in metadata]

    def create(self, metadata: Metadata) -> str:
        request = pb.CreateJobRequest(spec=stylize_request(recipe=ENDLESS).spec)
        return self.server.stub.CreateJob(request, timeout=PATIENCE, metadata=metadata).name


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    tokens = Tokens(tmp_path_factory.mktemp("tokens") / "tokens.json")
    tokens.add("nobody")
    more = ("--tokens-file", str(tokens.path), "--log-format", "json", "--max-streams-per-tenant", "5")
    with running_server(*CPU, *more) as server:
        yield Guarded(server, tokens)


def resident(pid: int) -> int:
    """Resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


@contextlib.contextmanager
def weighed(server: ServerProcess) -> Iterator[list[int]]:
    """Measures the maximum growth of the gateway's memory during the block, in MiB: a list of one number."""
    grown: list[int] = []
    before, most, over = resident(server.process.pid), 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, resident(server.process.pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield grown
    finally:
        over.set()
        thread.join()
        grown.append(most - before)


def ending(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "impasto"
    return error.code(), info.reason


def refusal(call: object, *arguments: object, **options: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=PATIENCE, **options)  # type: ignore[operator]
    return ending(caught.value)


def complaints(server: ServerProcess) -> list[str]:
    """The lines of the log that report something unusual."""
    return [line for line in server.log.splitlines() if json.loads(line)["level"] not in ("INFO", "DEBUG")]


def test_a_caller_without_a_token_is_refused_before_its_request_is_read(guarded: Guarded) -> None:
    names = [method.name for method in pb.DESCRIPTOR.services_by_name["StyleTransfer"].methods]
    paths = [SERVICE + name.encode() for name in (*names, "Nothing")]
    paths.append(b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    with calling(guarded.address) as caller:
        for path in paths:
            assert caller.status(caller.open(path)) == UNAUTHENTICATED, path
            wrong = [(b"authorization", b"Bearer \xff\xfe")]
            assert caller.status(caller.open(path, wrong)) == UNAUTHENTICATED, path


def large_messages(address: str, method: str, metadata: Metadata) -> list[grpc.StatusCode]:
    """The endings of 12 simultaneous calls with 60 MiB each."""
    message = stylize_request(bytes(60 << 20)).SerializeToString()
    codes: list[grpc.StatusCode] = []

    def call() -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            try:
                channel.unary_unary(method)(message, timeout=PATIENCE, metadata=metadata)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


def test_large_messages_without_a_token_take_no_memory(guarded: Guarded) -> None:
    with weighed(guarded.server) as grown:
        codes = large_messages(guarded.address, "/impasto.v1.StyleTransfer/CreateJob", ())
    # The refusal can arrive while the message is still being sent.
    assert grpc.StatusCode.OK not in codes
    assert grpc.StatusCode.UNAUTHENTICATED in codes
    assert grown[0] < 60


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GetJob", "CreateJob"])
def test_only_a_few_large_messages_of_a_tenant_are_read_at_the_same_time(
    guarded: Guarded, method: str
) -> None:
    with weighed(guarded.server) as grown:
        codes = large_messages(guarded.address, f"/impasto.v1.StyleTransfer/{method}", guarded.alice)
    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}
    assert grown[0] < 8 * 60


def test_a_job_does_not_keep_its_request_in_memory(guarded: Guarded) -> None:
    noise = PIL.Image.effect_noise((2000, 2000), 80).convert("RGB")
    image = coded(noise, compress_level=0)
    request = stylize_request(recipe=ENDLESS)
    with weighed(guarded.server) as grown:
        for number in range(10):
            request.spec.content.encoded = image + bytes([number])
            create = pb.CreateJobRequest(spec=request.spec)
            guarded.server.stub.CreateJob(create, timeout=PATIENCE, metadata=guarded.bob)
    assert len(image) > 11 << 20
    assert grown[0] < 80


def test_a_message_of_a_million_fields_is_refused_before_it_is_parsed(guarded: Guarded) -> None:
    message = b"\x0a\x80\x80\x80\x10" + b"\x12\x00" * (1 << 24)
    with weighed(guarded.server) as grown:
        create = guarded.server.channel.unary_unary("/impasto.v1.StyleTransfer/CreateJob")
        assert refusal(create, message, metadata=guarded.alice) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
        )
    assert grown[0] < 200
    request = pb.UpdateJobRequest(update_mask=FieldMask(paths=["x"] * 5000))
    refused = refusal(guarded.server.stub.UpdateJob, request, metadata=guarded.alice)
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_a_malformed_message_is_an_invalid_argument_and_is_not_logged(guarded: Guarded) -> None:
    for method in ("GetJob", "CreateJob", "UpdateJob"):
        call = guarded.server.channel.unary_unary(f"/impasto.v1.StyleTransfer/{method}")
        refused = refusal(call, b"\xff\xff\xff", metadata=guarded.alice)
        assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert refusal(call, b"\xff\xff\xff") == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")
    for method in ("WatchJob", "Stylize", "DownloadImage"):
        stream = guarded.server.channel.unary_stream(f"/impasto.v1.StyleTransfer/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(b"\xff\xff\xff", timeout=PATIENCE, metadata=guarded.alice))
        assert ending(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    upload = guarded.server.channel.stream_unary("/impasto.v1.StyleTransfer/UploadImage")
    refused = refusal(upload, iter([b"\xff\xff\xff"]), metadata=guarded.alice)
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert complaints(guarded.server) == []


def test_a_call_without_its_message_is_an_invalid_argument(guarded: Guarded) -> None:
    with calling(guarded.address) as caller:
        stream = caller.open(SERVICE + b"GetJob", guarded.headers(guarded.alice))
        caller.send(stream, b"", end=True)
        assert caller.status(stream) == INVALID_ARGUMENT


@pytest.mark.parametrize(
    "path", ["/impasto.v1.StyleTransfer/Nothing", "/a.B/C", "/x", "/grpc.health.v2.Health/Check"]
)
def test_a_call_of_an_unknown_method_is_unimplemented(guarded: Guarded, path: str) -> None:
    call = guarded.server.channel.unary_unary(path)
    refused = refusal(call, b"anything", metadata=guarded.alice)
    assert refused == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    assert refusal(call, b"anything") == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")


@pytest.mark.parametrize("path", [b"/\xff\xfe/x", SERVICE + b"\xc3\x28", b"\x80", b"", b"/", b"no/slash"])
def test_a_method_name_that_is_not_utf_8_does_not_end_the_server(guarded: Guarded, path: bytes) -> None:
    with calling(guarded.address) as caller:
        assert caller.status(caller.open(path)) == UNAUTHENTICATED
        assert caller.status(caller.open(path, guarded.headers(guarded.alice))) == UNIMPLEMENTED
    guarded.server.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE, metadata=guarded.alice)
    assert complaints(guarded.server) == []


def test_compressed_requests_are_refused_before_they_are_decompressed(guarded: Guarded) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        guarded.server.stub.GetJob(
            pb.GetJobRequest(name="jobs/" + "x" * 2000),
            timeout=PATIENCE,
            metadata=guarded.alice,
            compression=grpc.Compression.Gzip,
        )
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_health_checks_are_answered_whatever_other_callers_do(guarded: Guarded) -> None:
    with calling(guarded.address) as caller:
        silent = [caller.open(b"/grpc.health.v1.Health/Check") for _ in range(50)]
        stub = health_pb2_grpc.HealthStub(guarded.server.channel)
        until(
            lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status,
            lambda status: status == health_pb2.HealthCheckResponse.SERVING,
        )
        # A health check whose request never arrives gets the health of the whole server.
        assert {caller.status(stream) for stream in silent} == {OK}
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="another"), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_unfinished_requests_of_a_tenant_do_not_delay_others(guarded: Guarded) -> None:
    job = guarded.create(guarded.bob)
    with contextlib.ExitStack() as stack:
        for method in (b"GetJob", b"CreateJob", b"UploadImage") * 5:
            caller = stack.enter_context(calling(guarded.address))
            stream = caller.open(SERVICE + method, guarded.headers(guarded.alice))
            caller.send(stream, framed(b"", claimed=60 << 20))
        # It would take half a minute or more if they had to wait for the others' slots.
        for _ in range(20):
            guarded.server.stub.GetJob(pb.GetJobRequest(name=job), timeout=4, metadata=guarded.bob)
        request = pb.CreateJobRequest(spec=stylize_request(recipe=ENDLESS).spec)
        guarded.server.stub.CreateJob(request, timeout=4, metadata=guarded.bob)


@pytest.mark.slow
def test_a_call_ends_if_its_message_never_arrives(guarded: Guarded) -> None:
    with calling(guarded.address) as caller:
        stream = caller.open(SERVICE + b"GetJob", guarded.headers(guarded.bob))
        assert caller.status(stream, 30) == "4"


def test_a_tenant_at_its_limit_of_streams_can_make_all_other_calls(guarded: Guarded) -> None:
    job = guarded.create(guarded.alice)
    stub, request = guarded.server.stub, pb.WatchJobRequest(name=job)
    streams = [stub.WatchJob(request, timeout=PATIENCE, metadata=guarded.alice) for _ in range(5)]
    for stream in streams:
        next(iter(stream))
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(stub.WatchJob(request, timeout=PATIENCE, metadata=guarded.alice)))
    assert ending(caught.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    preview = pb.GetPreviewRequest(name=job)
    refused = refusal(stub.GetPreview, preview, metadata=guarded.alice)
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    other = guarded.create(guarded.bob)
    next(iter(stub.WatchJob(pb.WatchJobRequest(name=other), timeout=PATIENCE, metadata=guarded.bob)))
    stub.CancelJob(pb.CancelJobRequest(name=job), timeout=PATIENCE, metadata=guarded.alice)
    for stream in streams:
        list(stream)

    def again() -> bool:
        try:
            list(stub.WatchJob(request, timeout=PATIENCE, metadata=guarded.alice))
        except grpc.RpcError:
            return False
        return True

    until(again, bool)


def test_removing_a_token_ends_a_call_that_waits_for_a_preview(guarded: Guarded) -> None:
    metadata = (("authorization", f"Bearer {guarded.tokens.add('gone')}"),)
    job = until(
        lambda: _created(guarded, metadata),
        lambda name: name != "",
    )
    stub = guarded.server.stub
    stub.PauseJob(pb.PauseJobRequest(name=job), timeout=PATIENCE, metadata=metadata)
    request = pb.GetPreviewRequest(name=job, after_sequence=1 << 60)
    request.wait.FromSeconds(55)
    waiting = stub.GetPreview.future(request, timeout=50, metadata=metadata)
    # On one connection a later call can arrive later; test_interceptor.py checks the exact time.
    stub.GetJob(pb.GetJobRequest(name=job), timeout=PATIENCE, metadata=metadata)
    guarded.tokens.remove("gone")
    with pytest.raises(grpc.RpcError):
        waiting.result()
    assert ending(waiting) == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")


def _created(guarded: Guarded, metadata: Metadata) -> str:
    """The name of a new job; empty while the server does not accept the token."""
    with contextlib.suppress(grpc.RpcError):
        return guarded.create(metadata)
    return ""


def test_every_line_of_a_json_log_is_json(guarded: Guarded) -> None:
    log = guarded.server.log
    assert log
    for line in log.splitlines():
        assert isinstance(json.loads(line)["event"], str), line
    processes = {json.loads(line)["process"] for line in log.splitlines()}
    assert processes == {"gateway", "worker"}


@pytest.mark.slow
def test_a_process_with_a_low_limit_of_open_files_keeps_a_reserve() -> None:
    limit = ("sh", "-c", 'ulimit -S -n 300; ulimit -H -n 400; exec "$@"', "sh")
    with running_server(*CPU, within=limit) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        (files,) = (line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
        assert files == ["400", "400"]
        server.ready()
        host, _, port = server.address.rpartition(":")
        job = server.stub.CreateJob(
            pb.CreateJobRequest(spec=stylize_request(recipe=ENDLESS).spec), timeout=PATIENCE
        )
        with contextlib.ExitStack() as stack:
            for _ in range(600):
                stack.enter_context(socket.create_connection((host, int(port))))
            for _ in range(5):
                spec = stylize_request(recipe=ENDLESS).spec
                server.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE)
                assert server.stub.GetJob(pb.GetJobRequest(name=job.name), timeout=PATIENCE).name
            assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 350
        with grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.StyleTransferStub(channel)
            stub.GetJob(pb.GetJobRequest(name=job.name), timeout=PATIENCE, wait_for_ready=True)


def test_reflection_answers_one_question_after_another(guarded: Guarded) -> None:
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(guarded.server.channel)
    questions: queue.Queue[reflection_pb2.ServerReflectionRequest | None] = queue.Queue()
    answers = stub.ServerReflectionInfo(iter(questions.get, None), timeout=PATIENCE, metadata=guarded.alice)
    for _ in range(3):
        questions.put(ask)
        names = [service.name for service in next(answers).list_services_response.service]
        assert "impasto.v1.StyleTransfer" in names
        # Meanwhile other calls are answered.
        guarded.server.stub.ListJobs(pb.ListJobsRequest(), timeout=4, metadata=guarded.alice)
    questions.put(None)


@pytest.mark.slow
def test_a_silent_connection_is_closed(guarded: Guarded) -> None:
    host, _, port = guarded.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as silent:
        # The server's first bytes, then the end.
        while silent.recv(1 << 16):
            pass


@pytest.mark.parametrize("title", ["\x1b]0;gone\x07", "a\nb", "\x9b2J", "a\u202eb", "\u2028", "\x7f"])
def test_a_title_with_control_characters_is_refused(guarded: Guarded, title: str) -> None:
    stub = guarded.server.stub
    for field in ("title", "request_id"):
        request = pb.CreateJobRequest(spec=stylize_request().spec, **{field: title})
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateJob(request, timeout=PATIENCE, metadata=guarded.alice)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details().startswith(f"{field} contains the control character U+")
    job = pb.Job(name=guarded.create(guarded.alice), title=title)
    update = pb.UpdateJobRequest(job=job, update_mask=FieldMask(paths=["title"]))
    with pytest.raises(grpc.RpcError) as caught:
        stub.UpdateJob(update, timeout=PATIENCE, metadata=guarded.alice)
    assert caught.value.details().startswith("job.title contains the control character U+")


@pytest.mark.parametrize("title", ["Sørine 🎨", "كلب\u200f", "👩\u200d🎨"])
def test_a_title_can_have_any_language(guarded: Guarded, title: str) -> None:
    request = pb.CreateJobRequest(spec=stylize_request().spec, title=title)
    job = guarded.server.stub.CreateJob(request, timeout=PATIENCE, metadata=guarded.alice)
    assert job.title == title


def test_errors_quote_text_without_its_control_characters(guarded: Guarded) -> None:
    request = pb.GetJobRequest(name="jobs/\x1b[2J")
    with pytest.raises(grpc.RpcError) as caught:
        guarded.server.stub.GetJob(request, timeout=PATIENCE, metadata=guarded.alice)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "\x1b" not in caught.value.details()
