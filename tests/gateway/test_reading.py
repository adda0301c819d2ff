"""Messages are read fairly, whatever their senders do."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from impasto_server.contract.errors import CallError, reason_of
from impasto_server.gateway import reading
from impasto_server.gateway.reading import MAX_REQUEST_BYTES, WITH_IMAGES, Reading


class Sender:
    """The context of a call whose message arrives when the test says so."""

    def __init__(self, message: bytes | None = None) -> None:
        self.asked = asyncio.Event()
        self._message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if message is not None:
            self.send(message)

    def send(self, message: bytes) -> None:
        self._message.set_result(message)

    async def read(self) -> bytes:
        self.asked.set()
        return await asyncio.shield(self._message)


def begun(taking: Reading, tenant: str, sender: Sender) -> asyncio.Task[Any]:
    async def call() -> Any:
        with taking.of(tenant):
            return await taking.message(sender, WITH_IMAGES, None)

    return asyncio.create_task(call())


def refusal(call: asyncio.Task[Any]) -> tuple[int, str, str]:
    error = call.exception()
    assert isinstance(error, CallError)
    return error.status.code, reason_of(error.status), error.status.message


def test_half_sent_requests_make_room_for_a_tenant_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FAIR_SECONDS", 0.3)
    monkeypatch.setattr(reading, "_PRESS_SECONDS", 0.02)

    async def run() -> None:
        taking = Reading(4 * MAX_REQUEST_BYTES)
        slow = []
        for tenant in ("alice", "carol", "alice", "carol"):
            sender = Sender()
            slow.append(begun(taking, tenant, sender))
            await sender.asked.wait()
        assert await asyncio.wait_for(begun(taking, "bob", Sender(b"small")), 20) == b"small"
        ended = [call for call in slow if call.done()]
        # The request that had waited longest.
        assert ended == slow[:1]
        code, reason, message = refusal(ended[0])
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "SLOW_REQUEST")
        assert "while others waited" in message
        for call in slow:
            call.cancel()
        await asyncio.wait(slow)
        assert taking.held_bytes == 0

    asyncio.run(run())


def test_slow_requests_may_go_on_while_no_other_tenant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FAIR_SECONDS", 0.0)
    monkeypatch.setattr(reading, "_PRESS_SECONDS", 0.01)
    monkeypatch.setattr(reading, "_WAIT_SECONDS", 0.3)

    async def run() -> None:
        taking = Reading(4 * MAX_REQUEST_BYTES)
        senders = [Sender() for _ in range(2)]
        slow = [begun(taking, "alice", sender) for sender in senders]
        third = begun(taking, "alice", Sender(b"x"))
        await asyncio.wait({third})
        code, reason, message = refusal(third)
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "TOO_MANY_REQUESTS")
        assert "requests of yours" in message
        # Another tenant has memory, and sends just as slowly.
        other = Sender()
        late = begun(taking, "bob", other)
        await other.asked.wait()
        for sender in (*senders, other):
            sender.send(b"late")
        assert [await call for call in (*slow, late)] == [b"late"] * 3

    asyncio.run(run())


def test_a_message_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        kind = reading.Kind(1000, 0.05, 1)
        taking = Reading(4 * MAX_REQUEST_BYTES)
        taking._turns[kind] = reading.Shares(1)
        with taking.of("alice"), pytest.raises(CallError, match=r"did not arrive within 0\.05 s; send"):
            await taking.message(Sender(), kind, None)

    asyncio.run(run())
