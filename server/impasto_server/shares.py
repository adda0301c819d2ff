"""Something of which there is only so much, shared by tenants: who waits is served in turn."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import math
from collections.abc import AsyncIterator

acting_for: contextvars.ContextVar[str] = contextvars.ContextVar("acting_for", default="")
"""The tenant whose work the current task does; empty for the server's own."""


class Shares:
    """An amount that tenants take from and give back.

    A tenant that has its share waits for its own; the tenant that has least goes first. So one tenant never
    takes what another needs, as long as the shares of those who are at work fit into the whole.
    """

    def __init__(self, each: int, total: float = math.inf) -> None:
        """
        Args:
            each: what one tenant may have at a time, at most.
            total: what all may have together.
        """
        self._each = each
        self._total = total
        self._had: collections.Counter[str] = collections.Counter()
        self._taken = 0
        self._waiting: dict[str, collections.deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def taken(self) -> int:
        """What all tenants have together."""
        return self._taken

    def of(self, tenant: str) -> int:
        """What a tenant has."""
        return self._had[tenant]

    async def take(self, tenant: str, amount: int, seconds: float) -> None:
        """Takes an amount (at most `each`), once there is so much.

        Args:
            tenant: who takes it.
            amount: how much.
            seconds: to wait at most; `math.inf` for ever.

        Raises:
            asyncio.TimeoutError: there was not so much in time.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait = amount, granted
        self._waiting.setdefault(tenant, collections.deque()).append(wait)
        self._serve()
        if granted.done():
            return
        try:
            await asyncio.wait({granted}, timeout=None if seconds == math.inf else seconds)
            if not granted.done():
                raise asyncio.TimeoutError
        except BaseException:
            if granted.done():
                self.give_back(tenant, amount)
            else:
                self._forget(tenant, wait)
            raise

    @contextlib.asynccontextmanager
    async def held(self, tenant: str, amount: int) -> AsyncIterator[None]:
        """Takes an amount, once there is so much, and gives it back at the end of the block."""
        await self.take(tenant, amount, math.inf)
        try:
            yield
        finally:
            self.give_back(tenant, amount)

    def give_back(self, tenant: str, amount: int) -> None:
        """Gives back what was taken, or a part of it."""
        self._had[tenant] -= amount
        if not self._had[tenant]:
            del self._had[tenant]
        self._taken -= amount
        self._serve()

    def _serve(self) -> None:
        while True:
            able = [
                tenant
                for tenant, queue in self._waiting.items()
                if self._had[tenant] + queue[0][0] <= self._each
            ]
            if not able:
                return
            # Of those that have as much, the one whose wait began first: a dict keeps that order.
            tenant = min(able, key=self._had.__getitem__)
            amount, granted = wait = self._waiting[tenant][0]
            # Nobody who needs less is let by, or a large request would wait for ever.
            if self._taken + amount > self._total:
                return
            self._forget(tenant, wait)
            self._had[tenant] += amount
            self._taken += amount
            granted.set_result(None)

    def _forget(self, tenant: str, wait: tuple[int, asyncio.Future[None]]) -> None:
        queue = self._waiting.get(tenant)
        if queue is None:
            return
        with contextlib.suppress(ValueError):
            queue.remove(wait)
        # At the end of the line again, if more of it wait.
        del self._waiting[tenant]
        if queue:
            self._waiting[tenant] = queue
