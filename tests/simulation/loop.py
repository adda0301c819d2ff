"""An event loop whose clock and order are simulated, from a seed."""

from __future__ import annotations

import asyncio
import asyncio.events
import collections
import contextlib
import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any

STEPS_AT_ONE_MOMENT = 20_000
"""More steps than this without any time passing mean an endless loop."""


class Stuck(Exception):
    """The loop runs on and on, but no time passes."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that the order in a set does not depend on addresses in memory."""

    def __init__(self, number: int, work: Any, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(work, loop=loop, **options)
        self._number = number

    def __hash__(self) -> int:
        # asyncio adds the task to a set before `__init__` has ended.
        return getattr(self, "_number", 0)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time. If none is ready, the clock jumps to the next timer.

    Attributes:
        steps: number of callbacks run.
    """

    # `asyncio.BaseEventLoop` keeps its callbacks in these.
    _ready: collections.deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, random: random.Random, *, now: float, in_order: bool) -> None:
        """
        Args:
            random: chooses the next of the ready callbacks.
            now: initial time in seconds.
            in_order: whether ready callbacks run in their order, as on asyncio's own loops.
        """
        super().__init__()
        self.steps = 0
        self._random = random
        self._in_order = in_order
        self._now = now
        self._until = now
        self._steps_now = 0
        self._halted = False
        self._dead = False
        self._made_tasks = 0
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._now

    @property
    def dead(self) -> bool:
        """Whether the loop was abandoned."""
        return self._dead

    @property
    def halted(self) -> bool:
        return self._halted

    def run(self, until: float) -> None:
        """Runs until a time, or until `halt`."""
        self._until = until
        if not self._halted:
            self.run_forever()

    def halt(self) -> None:
        """Stops for good after the current callback."""
        self._halted = True
        self.stop()

    def abandon(self) -> None:
        """Drops every task where it stands, as the death of a process does."""
        self._dead = True
        self._ready.clear()
        self._scheduled.clear()
        # The `finally` blocks of coroutines run now, in vain, since this loop does nothing any more.
        asyncio.events._set_running_loop(self)
        try:
            for task in sorted(asyncio.all_tasks(self), key=hash):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                for _ in range(20):
                    with contextlib.suppress(BaseException):
                        coroutine.close()
                        break
        finally:
            asyncio.events._set_running_loop(None)
            self.close()

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        if self._dead:
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if self._dead:
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._dead:
            super().call_exception_handler(context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        raise AssertionError("the simulated code uses a thread")

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> NumberedTask:
        self._made_tasks += 1
        return NumberedTask(self._made_tasks, work, loop, **options)

    def _write_to_self(self) -> None:
        """Does nothing: there is no selector to wake."""

    def _process_events(self, event_list: Any) -> None:
        """Does nothing: there are no events from outside."""

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not ready:
            self._steps_now = 0
            if not scheduled or scheduled[0].when() > self._until:
                self._now = max(self._now, self._until)
                self.stop()
                return
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer.cancelled():
                ready.append(timer)
        if not ready:
            return
        if not self._in_order and len(ready) > 1:
            # The chosen callback comes first; the others keep their order.
            ready.rotate(-self._random.randrange(len(ready)))
        handle = ready.popleft()
        if not handle.cancelled():
            self.steps += 1
            self._steps_now += 1
            if self._steps_now > STEPS_AT_ONE_MOMENT:
                raise Stuck(f"{STEPS_AT_ONE_MOMENT} steps without any time passing, the last: {handle!r}")
            handle._run()
