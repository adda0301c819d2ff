"""The limits for bodies: what has not arrived takes no memory, and the slow make room for others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

try:
    from connectrpc.errors import ConnectError
except ImportError:
    pytest.skip("connectrpc has no version for this Python, so a server has no page", allow_module_level=True)

from impasto_server.web import bodies
from impasto_server.web.bodies import PIECE, WITH_IMAGES, Bodies, Body

MEMORY = 128 << 20
LARGE = 64 << 20


class Sender:
    """A request, of which parts are sent by hand."""

    def __init__(self, memory: Bodies, tenant: str, length: int = LARGE, **about: Any) -> None:
        self._parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.body: Body = memory.begin(about.get("kind", WITH_IMAGES), length, streams=False)
        self.body.admit(tenant)
        self.receive: Callable[[], Awaitable[Any]] = self.body.reader(self._parts.get)

    async def send(self, size: int, *, more: bool = True) -> None:
        """Sends a part, and waits until it is received."""
        self._parts.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})
        await self.receive()


def run(test: Awaitable[None]) -> None:
    async def within() -> None:
        await asyncio.wait_for(test, 60)

    asyncio.run(within())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "FAIR_SECONDS", 0.05)
    monkeypatch.setattr(bodies, "_PRESS_SECONDS", 0.01)


def test_requests_that_only_announce_their_size_keep_nobody_waiting() -> None:
    async def check() -> None:
        memory = Bodies(MEMORY)
        for tenant in ("alice", "alice", "bob", "bob"):
            await Sender(memory, tenant).send(10)
        carol = Sender(memory, "carol")
        await carol.send(LARGE, more=False)
        assert carol.body.size == LARGE

    run(check())


def test_a_slow_request_ends_when_others_wait() -> None:
    async def check() -> None:
        memory = Bodies(MEMORY)
        slow = [Sender(memory, tenant) for tenant in ("alice", "bob")]
        for each in slow:
            await each.send(2 << 20)
            assert each.body.size == LARGE
        waits = [asyncio.create_task(each.receive()) for each in slow]
        carol = asyncio.create_task(Sender(memory, "carol").send(LARGE, more=False))
        ended, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait, each in zip(waits, slow, strict=True):
            if wait in ended:
                with pytest.raises(ConnectError, match="while others waited"):
                    wait.result()
                each.body.close()
            else:
                wait.cancel()
        assert len(ended) == 1
        await carol

    run(check())


def test_a_tenant_cannot_press_its_own_requests() -> None:
    async def check() -> None:
        memory = Bodies(MEMORY)
        first, second = Sender(memory, "alice"), Sender(memory, "alice")
        await first.send(2 << 20)
        waiting = asyncio.create_task(second.send(2 << 20))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await first.send(LARGE - (2 << 20), more=False)
        first.body.close()
        await waiting

    run(check())


def test_small_requests_go_past_large_ones_that_wait() -> None:
    async def check() -> None:
        memory = Bodies(MEMORY)
        for tenant in ("alice", "bob"):
            await Sender(memory, tenant).send(LARGE, more=False)
        waiting = asyncio.create_task(Sender(memory, "alice").send(2 << 20))
        await Sender(memory, "alice", 20_000).send(20_000, more=False)
        await Sender(memory, "alice", 4 << 20, kind=PIECE).send(1000)
        assert not waiting.done()
        waiting.cancel()

    run(check())


def test_all_memory_is_given_back() -> None:
    async def check() -> None:
        memory = Bodies(MEMORY)
        for _ in range(20):
            sender = Sender(memory, "alice")
            for _ in range(8):
                await sender.send(400_000)
            sender.body.release()
            sender.body.close()
        both = [Sender(memory, tenant) for tenant in ("alice", "bob")]
        for each in both:
            await each.send(LARGE, more=False)

    run(check())
