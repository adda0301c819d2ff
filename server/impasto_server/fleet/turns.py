"""Turns at something of which there are few, shared fairly among tenants."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator


class Turns:
    """Places that tenants take for a while. A tenant with many requests waits for itself, not others for it.

    A free place goes to the waiting tenant that has the fewest places, and among those to the one that has
    waited longest since its last turn. While there are several places, one tenant cannot have them all.
    """

    def __init__(self, places: int) -> None:
        """
        Args:
            places: how many turns there are at a time.

        Raises:
            ValueError: there is none.
        """
        if places < 1:
            raise ValueError(f"there are {places} places; give at least 1")
        self._places = places
        self._most = max(1, places - 1)
        self._taken: Counter[str] = Counter()
        # Tenants that wait; the one whose last turn is longest ago comes first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Waits for a place and has it until the end of the block."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
            self._give()

    async def _take(self, tenant: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(waiter)
        self._give()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._taken[tenant] -= 1
            else:
                self._leave(tenant, waiter)
            self._give()
            raise

    def _give(self) -> None:
        while self._taken.total() < self._places:
            able = [tenant for tenant in self._waiting if self._taken[tenant] < self._most]
            if not able:
                return
            tenant = min(able, key=lambda each: self._taken[each])
            waiter = self._waiting[tenant].popleft()
            if self._waiting[tenant]:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not waiter.done():
                self._taken[tenant] += 1
                waiter.set_result(None)

    def _leave(self, tenant: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiting.get(tenant)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[tenant]
