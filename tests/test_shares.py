"""`Shares`: a limited resource that tenants share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from impasto_server.shares import Shares

SOON = 0.05
LONG = 20.0


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), LONG)

    asyncio.run(bounded())


async def taking(shares: Shares, tenant: str, amount: int = 1) -> asyncio.Task[None]:
    """A task that takes an amount, and waits until it is free."""
    task = asyncio.create_task(shares.take(tenant, amount, LONG))
    await asyncio.sleep(0)
    return task


def test_a_tenant_at_its_limit_waits_and_others_do_not() -> None:
    async def work() -> None:
        shares = Shares(2)
        for _ in range(2):
            await shares.take("a", 1, SOON)
        with pytest.raises(asyncio.TimeoutError):
            await shares.take("a", 1, SOON)
        for _ in range(2):
            await shares.take("b", 1, SOON)
        waiting = await taking(shares, "a")
        assert not waiting.done()
        shares.give_back("b", 1)
        await asyncio.sleep(0)
        assert not waiting.done()
        shares.give_back("a", 1)
        await waiting

    run(work)


def test_the_tenant_that_has_least_goes_first() -> None:
    async def work() -> None:
        shares = Shares(3, total=4)
        await shares.take("a", 3, SOON)
        await shares.take("b", 1, SOON)
        more_b = await taking(shares, "b")
        c = await taking(shares, "c")
        shares.give_back("a", 1)
        await c
        assert not more_b.done()
        shares.give_back("a", 1)
        await more_b

    run(work)


def test_equal_tenants_take_turns() -> None:
    async def work() -> None:
        shares = Shares(1, total=1)
        await shares.take("a", 1, SOON)
        waits = [(tenant, await taking(shares, tenant)) for tenant in ("b", "b", "c", "c")]
        served = []
        had = "a"
        for _ in range(4):
            shares.give_back(had, 1)
            await asyncio.wait({task for _, task in waits}, return_when=asyncio.FIRST_COMPLETED)
            ((had, task),) = [wait for wait in waits if wait[1].done()]
            waits.remove((had, task))
            served.append(had)
        assert served == ["b", "c", "b", "c"]
        shares.give_back(had, 1)
        assert shares.taken == 0

    run(work)


def test_small_requests_do_not_starve_a_large_one() -> None:
    async def work() -> None:
        shares = Shares(4, total=4)
        await shares.take("a", 2, SOON)
        large = await taking(shares, "b", 4)
        small = await taking(shares, "c", 1)
        assert not small.done()
        shares.give_back("a", 2)
        await large
        assert not small.done()
        shares.give_back("b", 4)
        await small

    run(work)


def test_nothing_is_lost_when_waiting_is_cancelled() -> None:
    async def work() -> None:
        shares = Shares(1, total=1)
        await shares.take("a", 1, SOON)
        left, served, stays = [await taking(shares, tenant) for tenant in ("b", "c", "d")]
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        shares.give_back("a", 1)
        # It has been granted the amount, but does not know it yet.
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        await stays
        shares.give_back("d", 1)
        assert shares.taken == 0
        await shares.take("e", 1, SOON)

    run(work)
