"""`Access` with every kind of handler, on a small server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from impasto_server.contract.errors import CallError, not_found
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway import access, reading
from impasto_server.gateway.access import Access
from impasto_server.gateway.answering import abort
from impasto_server.gateway.links import Links
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.open_calls import Right
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.tokens import Tokens
from impasto_server.store.errors import StoreError
from support.server_process import PATIENCE


class WatchedAccess(Access):
    """Records the tokens whose open calls it has checked."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.checked: list[str] = []
        super().__init__(settings, metrics, Links())

    def _lost_access(self, right: Right) -> status_pb2.Status | None:
        self.checked.append(right.token)
        return super()._lost_access(right)


class Echo:
    """Answers with the tenant's name. Streams repeat it for ever, and `open` counts those that run."""

    def __init__(self) -> None:
        self.access: WatchedAccess
        self.open = 0
        self.put_away = False
        self.error: Exception = ValueError()

    def _name(self) -> bytes:
        tenant = self.access.tenant()
        return f"{tenant.name}:{tenant.weight:g}".encode()

    async def unary(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return self._name()

    async def failing(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        raise self.error

    async def waiting(self, request: bytes, context: Any) -> bytes:
        self.open += 1
        try:
            await asyncio.sleep(60)
            return self._name()
        finally:
            self.open -= 1

    async def generator(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            while True:
                if self.put_away:
                    reading.put_away()
                yield self._name()
                await asyncio.sleep(0.02)
        finally:
            self.open -= 1

    async def writer(self, request: Any, context: Any) -> None:
        self.open += 1
        try:
            while True:
                await context.write(self._name())
                await asyncio.sleep(0.02)
        finally:
            self.open -= 1

    async def upload(self, requests: Any, context: Any) -> bytes:
        self.open += 1
        try:
            async for _ in requests:
                pass
            return self._name()
        finally:
            self.open -= 1


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Echo, Metrics, grpc.aio.Channel]]:
    echo, metrics = Echo(), Metrics()
    echo.access = WatchedAccess(settings, metrics)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Failing": grpc.unary_unary_rpc_method_handler(echo.failing),
        "Waiting": grpc.unary_unary_rpc_method_handler(echo.waiting),
        "Generator": grpc.unary_stream_rpc_method_handler(echo.generator),
        "Writer": grpc.unary_stream_rpc_method_handler(echo.writer),
        "Both": grpc.stream_stream_rpc_method_handler(echo.generator),
        "Upload": grpc.stream_unary_rpc_method_handler(echo.upload),
    }
    server = grpc.aio.server(interceptors=[echo.access])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield echo, metrics, channel
    await server.stop(None)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.05)


async def nothing() -> AsyncIterator[bytes]:
    """Requests that do not come, of a call that stays open."""
    await asyncio.Event().wait()
    yield b""


def begun(
    channel: grpc.aio.Channel,
    method: str,
    requests: Callable[[], AsyncIterator[bytes]] = endless,
    **options: Any,
) -> Any:
    path = f"/test.Echo/{method}"
    if method in ("Unary", "Failing", "Waiting"):
        return channel.unary_unary(path)(b"", **options)
    if method == "Upload":
        return channel.stream_unary(path)(requests(), **options)
    if method == "Both":
        return channel.stream_stream(path)(requests(), **options)
    return channel.unary_stream(path)(b"", **options)


async def error_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of the error with which a call ends."""

    async def taken() -> None:
        if not hasattr(call, "read"):
            await call
            return
        async for _ in call:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await taken()
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    if status is None:
        return caught.value.code(), ""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "impasto"
    return caught.value.code(), info.reason


async def until_so(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was so")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


KINDS = ["Unary", "Generator", "Writer", "Both", "Upload"]
STREAMS = KINDS[1:]


@pytest.mark.parametrize("method", ["Unary", "Generator", "Writer", "Both"])
def test_each_kind_of_handler_knows_its_caller(method: str, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    callers = {f"tenant{n}:{n + 1}": tokens.add(f"tenant{n}", n + 1) for n in range(4)}

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (_, _, channel):

            async def asked(token: str) -> set[bytes]:
                call = begun(channel, method, metadata=bearer(token))
                if method == "Unary":
                    return {await call}
                seen = {await call.read() for _ in range(10)}
                call.cancel()
                return seen

            for _ in range(3):
                # All at the same time: none may see another's name.
                answers = await asyncio.gather(*(asked(token) for token in callers.values()))
                assert answers == [{name.encode()} for name in callers]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (CallError(not_found("jobs/x")), "NOT_FOUND", "NOT_FOUND"),
        (StoreError("the disk is full"), "RESOURCE_EXHAUSTED", "STORAGE"),
        (ValueError("a bug"), "INTERNAL", "INTERNAL"),
    ],
)
def test_a_failed_call_is_counted_before_its_caller_is_answered(
    error: Exception, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float | None] = []

    async def run() -> None:
        async with serving(Settings(private=True)) as (echo, metrics, channel):
            echo.error = error

            async def telling(context: Any, ending: Any) -> None:
                labels = {"method": "Failing", "code": code}
                counted.append(metrics.registry.get_sample_value("impasto_call_seconds_count", labels))
                await abort(context, ending)

            monkeypatch.setattr(access, "abort", telling)
            assert await error_of(begun(channel, "Failing")) == (grpc.StatusCode[code], reason)

    asyncio.run(run())
    assert counted == [1]


@pytest.mark.parametrize("method", KINDS)
def test_a_caller_without_a_valid_token_is_refused_by_every_handler(method: str, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.add("a")

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (echo, _, channel):
            for metadata in ((), bearer("x"), (("authorization", "Bearer"),)):
                # To grpc.aio, a message that is written while the call is being refused is an internal error.
                ended = await error_of(begun(channel, method, nothing, metadata=metadata))
                assert ended == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")
            assert echo.open == 0

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("method", [*STREAMS, "Waiting"])
def test_the_calls_of_a_removed_token_end(method: str, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    gone, stays = tokens.add("gone"), tokens.add("stays")

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (echo, metrics, channel):
            calls = [begun(channel, method, metadata=bearer(token)) for token in (gone, stays)]
            await until_so(lambda: echo.open == 2 and {gone, stays} <= {*echo.access.checked})
            assert echo.open == 2
            # Removed by another process, as `impasto-server token remove` does.
            Tokens(tokens.path).remove("gone")
            assert await error_of(calls[0]) == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")
            await until_so(lambda: echo.open == 1)
            assert not calls[1].done()
            calls[1].cancel()
            await until_so(lambda: echo.open == 0)
            count = {"method": method, "code": "UNAUTHENTICATED"}
            assert metrics.registry.get_sample_value("impasto_call_seconds_count", count) == 1

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("with_tokens", [False, True])
@pytest.mark.parametrize("method", STREAMS)
def test_a_stream_ends_at_the_maximum_duration(method: str, with_tokens: bool, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    metadata = bearer(tokens.add("a")) if with_tokens else ()
    settings = Settings(max_deadline=0.3, **({"tokens_file": tokens.path} if with_tokens else {}))

    async def run() -> None:
        async with serving(settings) as (echo, _, channel):
            begin = time.monotonic()
            call = begun(channel, method, metadata=metadata, timeout=3600)
            code, reason = await error_of(call)
            # gRPC can lose the trailers of an answer that comes while messages are being sent.
            if reason or method != "Upload":
                assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "MAX_DEADLINE")
            assert time.monotonic() - begin > 0.25
            await until_so(lambda: echo.open == 0)

    asyncio.run(run())


@pytest.mark.parametrize("method", STREAMS)
def test_the_handler_ends_when_its_caller_leaves(method: str, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    metadata = bearer(tokens.add("a"))

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (echo, _, channel):
            await begun(channel, "Unary", metadata=metadata)
            before = len(asyncio.all_tasks())
            for timeout in (None, 0.1):
                calls = [begun(channel, method, metadata=metadata, timeout=timeout) for _ in range(5)]
                if timeout is None:
                    await until_so(lambda: echo.open == 5)
                    for call in calls:
                        call.cancel()
                await until_so(lambda: echo.open == 0)
                await asyncio.gather(*(call.code() for call in calls))
                del calls
                await until_so(lambda: len(asyncio.all_tasks()) <= before)

    asyncio.run(run())


def test_a_damaged_file_of_tokens_does_not_end_streams(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    token = tokens.add("a")
    good = tokens.path.read_bytes()

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (echo, _, channel):
            call = begun(channel, "Writer", metadata=bearer(token))
            await until_so(lambda: echo.open == 1)
            tokens.path.write_text("{")
            while await begun(channel, "Unary", metadata=bearer(token)).code() == grpc.StatusCode.OK:
                pass
            assert (await error_of(begun(channel, "Unary", metadata=bearer(token))))[1] == "INTERNAL"
            echo.access.checked.clear()
            await until_so(lambda: len(echo.access.checked) == 2)
            assert echo.open == 1
            tokens.path.write_bytes(good)
            while await begun(channel, "Unary", metadata=bearer(token)).code() != grpc.StatusCode.OK:
                pass
            assert await begun(channel, "Unary", metadata=bearer(token)) == b"a:1"
            assert echo.open == 1
            call.cancel()
            await until_so(lambda: echo.open == 0)

    asyncio.run(run())


def test_without_tokens_there_is_one_tenant(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(Settings(data_dir=tmp_path)) as (_, _, channel):
            assert await begun(channel, "Unary") == b":1"

    asyncio.run(run())


def test_an_invalid_file_of_tokens_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("[]")
    for settings in (Settings(data_dir=tmp_path), Settings(tokens_file=tmp_path / "tokens.json")):
        with pytest.raises(ConfigurationError, match="is not a file of tokens"):
            Access(settings, Metrics(), Links())
    # A private server does not use tokens.
    assert not Access(Settings(data_dir=tmp_path, private=True), Metrics(), Links()).uses_tokens


SLOW = "/test.Echo/Unary"


def short_patience(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Limits for `Unary`: one message at a time, with a short timeout."""
    kind = reading.Kind(**{"most_bytes": 100, "seconds": 0.5, "at_once": 1, **fields})
    monkeypatch.setitem(reading._KINDS, SLOW, kind)
    monkeypatch.setattr(reading, "SMALL", kind)


def silent(channel: grpc.aio.Channel, metadata: Any) -> Any:
    """A call whose message never arrives."""
    return channel.stream_unary(SLOW)(metadata=metadata)


def test_a_call_whose_message_never_arrives_ends_and_lets_the_next_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_patience(monkeypatch)
    tokens = Tokens(tmp_path / "tokens.json")
    metadata = bearer(tokens.add("a"))

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (_, _, channel):
            waits = [silent(channel, metadata) for _ in range(2)]
            await waits[0].wait_for_connection()
            assert await begun(channel, "Unary", metadata=metadata, timeout=20) == b"a:1"
            for wait in waits:
                assert await error_of(wait) == (grpc.StatusCode.DEADLINE_EXCEEDED, "SLOW_REQUEST")

    asyncio.run(run())


def test_tenants_do_not_wait_for_messages_of_other_tenants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_patience(monkeypatch, seconds=60.0)
    tokens = Tokens(tmp_path / "tokens.json")
    a, b = bearer(tokens.add("a")), bearer(tokens.add("b"))

    async def run() -> None:
        async with serving(Settings(tokens_file=tokens.path)) as (_, _, channel):
            waits = [silent(channel, a) for _ in range(3)]
            await waits[0].wait_for_connection()
            assert await begun(channel, "Unary", metadata=b, timeout=20) == b"b:1"
            for wait in waits:
                wait.cancel()
            assert await begun(channel, "Unary", metadata=a, timeout=20) == b"a:1"

    asyncio.run(run())


def test_a_call_that_waits_too_long_is_told_when_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_patience(monkeypatch, seconds=60.0)
    monkeypatch.setattr(reading, "_WAIT_SECONDS", 0.1)

    async def run() -> None:
        async with serving(Settings(data_dir=tmp_path)) as (_, _, channel):
            wait = silent(channel, ())
            await wait.wait_for_connection()
            call = begun(channel, "Unary")
            assert await error_of(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
            status = rpc_status.from_call(await caught(call))  # type: ignore[arg-type]
            retry = error_details_pb2.RetryInfo()
            assert any(detail.Unpack(retry) for detail in status.details)
            wait.cancel()

    asyncio.run(run())


async def caught(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def test_a_message_that_is_too_large_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_patience(monkeypatch)

    async def run() -> None:
        async with serving(Settings(data_dir=tmp_path)) as (_, _, channel):
            call = channel.unary_unary(SLOW)(bytes(101))
            assert await error_of(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
            assert "101 bytes; send at most 100" in str(await call.details())
            assert await channel.unary_unary(SLOW)(bytes(100)) == b":1"

    asyncio.run(run())


@pytest.mark.parametrize("how", ["answered", "put away", "left", "refused"])
def test_memory_for_a_large_request_is_given_back(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reading._KINDS, SLOW, reading.WITH_IMAGES)
    monkeypatch.setitem(reading._KINDS, "/test.Echo/Generator", reading.WITH_IMAGES)
    half = 128 << 20

    async def run() -> None:
        async with serving(Settings(data_dir=tmp_path, max_request_memory=2 * half)) as (echo, _, channel):
            room = echo.access.reading
            if how == "answered":
                await channel.unary_unary(SLOW)(bytes(1000))
            elif how == "refused":
                await error_of(silent_end(channel))
            elif how == "left":
                calls = [silent(channel, ()) for _ in range(2)]
                await until_so(lambda: room.held_bytes == half)
                for call in calls:
                    call.cancel()
            else:
                call = channel.unary_stream("/test.Echo/Generator")(bytes(1000))
                await until_so(lambda: echo.open == 1)
                assert room.held_bytes == 1000
                echo.put_away = True
                await until_so(lambda: room.held_bytes == 0)
                call.cancel()
            await until_so(lambda: room.held_bytes == 0)

    asyncio.run(run())


def silent_end(channel: grpc.aio.Channel) -> Any:
    """A call that ends without a message."""

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    return channel.stream_unary(SLOW)(nothing())
