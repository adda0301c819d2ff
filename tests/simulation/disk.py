"""The store's work on the simulated loop: it takes time, may be refused, and may be followed by a kill."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from typing import Any, TypeVar

from impasto_server.store.checkpoints import CheckpointWriter
from impasto_server.store.errors import DiskFull, StoreBusy
from impasto_server.store.facade import READ

T = TypeVar("T")


class Disk:
    """A `Runner` that does the store's work inline, after a while.

    Attributes:
        calm: whether nothing goes wrong from now on.
        full: whether the disk is full.
        works: number of pieces of work done or refused.
        under_way: number of pieces of work in progress.
        die_after: number of pieces of work after which the server is killed; None: it is not killed.
    """

    def __init__(
        self, random: random.Random, note: Callable[[str], None], kill: Callable[[], None], *, trouble: float
    ) -> None:
        """
        Args:
            random: decides what happens.
            note: called with a line about each piece of work.
            kill: kills the server.
            trouble: probability that work is refused or takes long, 0 to 1.
        """
        self.calm = False
        self.full = False
        self.works = 0
        self.under_way = 0
        self.die_after: int | None = None
        self._random = random
        self._note = note
        self._kill = kill
        self._trouble = trouble
        self._busy = 0.0
        self._busy_since = 0.0

    def busy_seconds(self) -> float:
        """Total time during which work was in progress."""
        since = asyncio.get_running_loop().time() - self._busy_since if self.under_way else 0.0
        return self._busy + since

    async def run(self, lane: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        if not self.under_way:
            self._busy_since = loop.time()
        self.under_way += 1
        name = _name(work)
        try:
            await asyncio.sleep(self._seconds())
            self.works += 1
            self._refuse(lane, name, work)
            try:
                result = work()
            except Exception as error:
                self._note(f"store {name}: {error!r}")
                raise
            self._note(f"store {name}: done")
            if self.works == self.die_after:
                self._kill()
            if self._random.random() < 0.3:
                # The work is done, and nobody knows it yet.
                await asyncio.sleep(self._seconds())
            return result
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._busy += loop.time() - self._busy_since

    def _seconds(self) -> float:
        if not self.calm and self._random.random() < self._trouble / 4:
            return self._random.uniform(0.5, 6.0)
        return self._random.choice((0.0, 0.001, 0.01, 0.05))

    def _refuse(self, lane: str, name: str, work: Callable[[], Any]) -> None:
        if self.calm or not isinstance(work, functools.partial):
            return
        # Reads need no space; changes that free space have the reserve.
        spared = lane == READ or work.keywords.get("with_reserve") or name in ("delete", "abort")
        if self.full and not spared and not name.startswith(("_", "<")):
            self._note(f"store {name}: full")
            _abort(work)
            raise DiskFull("there is no room; make room on the disk")
        if lane != READ and self._random.random() < self._trouble / 5 and name not in ("abort", "<lambda>"):
            self._note(f"store {name}: busy")
            _abort(work)
            raise StoreBusy("another process has locked the database; try again")


def _abort(work: functools.partial[Any]) -> None:
    """Aborts a checkpoint that cannot be written, as `CheckpointWriter` does."""
    writer = getattr(work.func, "__self__", None)
    if isinstance(writer, CheckpointWriter):
        writer.abort()


def _name(work: Callable[[], Any]) -> str:
    function = work.func if isinstance(work, functools.partial) else work
    return str(getattr(function, "__name__", "work"))
