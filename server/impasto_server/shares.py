"""A limited resource that tenants share fairly."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import math
from collections.abc import AsyncIterator

acting_for: contextvars.ContextVar[str] = contextvars.ContextVar("acting_for", default="")
"""The tenant for whom the current task works; empty for the server's own work."""


class Shares:
    """A limited amount of something, from which tenants take and to which they give back.

    A tenant that has its full share waits until it gives something back. Of the tenants that wait, the one
    that has the least goes first. As long as the shares of the active tenants fit into the total, no tenant
    takes what another needs.
    """

    def __init__(self, each: int, total: float = math.inf) -> None:
        """
        Args:
            each: maximum amount for one tenant.
            total: maximum amount for all tenants together.
        """
        self._each = each
        self._total = total
        self._had: collections.Counter[str] = collections.Counter()
        self._taken = 0
        self._waiting: dict[str, collections.deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def taken(self) -> int:
        """The amount that all tenants have together."""
        return self._taken

    def of(self, tenant: str) -> int:
        """The amount that a tenant has."""
        return self._had[tenant]

    async def take(self, tenant: str, amount: int, seconds: float) -> None:
        """Waits until an amount is free, and takes it.

        Args:
            tenant: who takes it.
            amount: at most `each`.
            seconds: maximum wait; `math.inf` for no limit.

        Raises:
            asyncio.TimeoutError: the amount did not become free in time.
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
        """Waits until an amount is free, takes it, and gives it back at the end of the block."""
        await self.take(tenant, amount, math.inf)
        try:
            yield
        finally:
            self.give_back(tenant, amount)

    def give_back(self, tenant: str, amount: int) -> None:
        """Gives back an amount that was taken, or a part of it."""
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
            # Among tenants that have the same amount, the first in the dict: the one that waits longest.
            tenant = min(able, key=self._had.__getitem__)
            amount, granted = wait = self._waiting[tenant][0]
            # Smaller requests may not overtake, or a large one would wait for ever.
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
        # A tenant with more requests goes to the end of the line.
        del self._waiting[tenant]
        if queue:
            self._waiting[tenant] = queue
