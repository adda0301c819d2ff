"""Turns at something of which there are few."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.fleet.turns import Turns


class Bench:
    """Tasks that take turns, each until it is told to end."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str) -> None:
        """Asks for a turn for the tenant that is the name's first letter."""
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._take(name))
        await settled()

    async def _take(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.began.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settled()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_tenant_never_has_all_the_places() -> None:
    async def run() -> None:
        bench = Bench(3)
        for name in ("a1", "a2", "a3", "a4"):
            await bench.start(name)
        assert bench.began == ["a1", "a2"]
        await bench.start("b1")
        assert bench.began == ["a1", "a2", "b1"]
        await bench.end("b1")
        assert bench.began == ["a1", "a2", "b1"]
        await bench.end("a1")
        assert bench.began == ["a1", "a2", "b1", "a3"]

    asyncio.run(run())


def test_a_tenant_with_many_requests_waits_for_itself() -> None:
    async def run() -> None:
        bench = Bench(1)
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            await bench.start(name)
        for _ in range(6):
            await bench.end(bench.began[-1])
        assert bench.began == ["a1", "a2", "b1", "c1", "a3", "b2"]

    asyncio.run(run())


def test_a_cancelled_wait_and_a_cancelled_turn_leave_their_place_to_others() -> None:
    async def run() -> None:
        bench = Bench(1)
        for name in ("a1", "a2", "b1"):
            await bench.start(name)
        await bench.cancel("a2")
        await bench.cancel("a1")
        assert bench.began == ["a1", "b1"]
        await bench.start("a3")
        await bench.end("b1")
        assert bench.began == ["a1", "b1", "a3"]

    asyncio.run(run())


def test_a_wait_that_is_cancelled_as_its_turn_comes_gives_it_on() -> None:
    async def run() -> None:
        bench = Bench(1)
        for name in ("a1", "b1", "c1"):
            await bench.start(name)
        # In one go: the place is given to b1, whose task is cancelled before it runs.
        bench._ends["a1"].set()
        await asyncio.sleep(0)
        bench.tasks["b1"].cancel()
        await settled()
        assert bench.began[-1] == "c1"
        await bench.end("c1")
        await bench.start("d1")
        assert bench.began[-1] == "d1"

    asyncio.run(run())


@settings(max_examples=200, deadline=None)
@given(
    places=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(["start", "end", "cancel"]), st.integers(0, 2)), max_size=40),
)
def test_places_are_never_lost_nor_given_twice(places: int, steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        bench = Bench(places)
        running: Callable[[], list[str]] = lambda: [n for n in bench.began if not bench.tasks[n].done()]  # noqa: E731
        count = 0
        for what, which in steps:
            if what == "start":
                count += 1
                await bench.start(f"{'abc'[which]}{count}")
            elif what == "end" and running():
                await bench.end(running()[which % len(running())])
            elif what == "cancel" and bench.tasks:
                open_tasks = [name for name, task in bench.tasks.items() if not task.done()]
                if open_tasks:
                    await bench.cancel(open_tasks[which % len(open_tasks)])
            assert len(running()) <= places
        for _ in range(count + 1):
            for name in running():
                await bench.end(name)
        assert all(task.done() for task in bench.tasks.values())

    asyncio.run(run())


def test_there_is_at_least_one_place() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Turns(0)
