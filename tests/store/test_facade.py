"""The store for an event loop: which calls wait for which, and what happens if a caller is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from impasto_server.shares import acting_for
from impasto_server.store import database
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import DATABASE, DiskFull, Store, StoreBusy, StoreClosed
from support.stored_jobs import image_bytes, make_job, new_record, write_checkpoint

T = TypeVar("T")


class Gate:
    """A method that blocks its thread until it is released."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.opened.wait(20)
        return "through"

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 20)


def test_changes_are_made_one_after_the_other_in_their_order(store: Store) -> None:
    async def run() -> list[int]:
        facade, gate = AsyncStore(store), Gate()
        made: list[int] = []
        first = asyncio.ensure_future(facade.change(gate))
        changes = [asyncio.ensure_future(facade.change(made.append, number)) for number in range(50)]
        await gate.until_entered()
        assert not made
        gate.opened.set()
        assert await first == "through"
        await asyncio.gather(*changes)
        await facade.close()
        return made

    assert asyncio.run(run()) == list(range(50))


def test_a_change_is_made_even_if_its_caller_is_cancelled(store: Store) -> None:
    async def run() -> None:
        facade, gate = AsyncStore(store), Gate()
        record = new_record()
        first = asyncio.ensure_future(facade.change(gate))
        begun = asyncio.ensure_future(facade.change(store.jobs.create, record))
        await gate.until_entered()
        for caller in (first, begun):
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        assert store.jobs.get(record.job.name) is None
        gate.opened.set()
        await facade.close()
        assert store.jobs.get(record.job.name) == record

    asyncio.run(run())


def test_errors_reach_the_caller_and_do_not_stop_later_changes(store: Store) -> None:
    def fail() -> None:
        raise DiskFull("no room")

    async def run() -> None:
        facade = AsyncStore(store)
        failing = asyncio.ensure_future(facade.change(fail))
        record = await facade.change(store.jobs.create, new_record())
        with pytest.raises(DiskFull):
            await failing
        assert await facade.read(store.jobs.get, record.job.name, tenant="anna") == record
        with pytest.raises(DiskFull):
            await facade.read(fail)
        with pytest.raises(DiskFull):
            await facade.files(fail)
        await facade.close()

    asyncio.run(run())


def test_reads_do_not_wait_for_a_change_that_waits_for_another_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.0)
    store = Store(folder)

    async def run() -> None:
        facade = AsyncStore(store)
        record = await facade.change(store.jobs.create, new_record())
        with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            change = asyncio.ensure_future(facade.change(store.jobs.save, record))
            for _ in range(20):
                assert await facade.read(store.jobs.get, record.job.name) == record
            assert not change.done()
            with pytest.raises(StoreBusy):
                await change
            other.execute("ROLLBACK")
        assert await facade.change(store.jobs.save, record)
        await facade.close()

    asyncio.run(run())
    store.close()


def test_files_are_read_while_many_writes_wait_for_another_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.0)
    store = Store(folder)

    async def run() -> None:
        facade = AsyncStore(store)
        sha256 = await facade.files(store.images.put, "anna", b"picture")
        with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [
                asyncio.ensure_future(facade.files(store.images.put, "anna", b"new")) for _ in range(12)
            ]
            for _ in range(20):
                assert await facade.load(image_bytes, store, "anna", sha256) == b"picture"
            assert not any(write.done() for write in writes)
            other.execute("ROLLBACK")
        await asyncio.gather(*writes, return_exceptions=True)
        await facade.close()

    asyncio.run(run())
    store.close()


def test_a_change_does_not_wait_for_the_flush_of_large_files(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, fsync = Gate(), os.fsync

    def slow_for_files(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder / "temporary")):
            gate()
        fsync(descriptor)

    async def run() -> None:
        facade = AsyncStore(store)
        record = await facade.change(store.jobs.create, new_record())
        monkeypatch.setattr(os, "fsync", slow_for_files)
        files = [
            asyncio.ensure_future(facade.files(store.images.put, "anna", bytes(1 << 20))),
            asyncio.ensure_future(facade.files(write_checkpoint, store, record.job.name, 1, b"checkpoint")),
        ]
        await gate.until_entered()
        assert await facade.change(store.jobs.save, record)
        assert await facade.read(store.jobs.get, record.job.name) == record
        assert not any(file.done() for file in files)
        gate.opened.set()
        await asyncio.gather(*files)
        assert store.checkpoints.path(record.job.name) is not None
        await facade.close()

    asyncio.run(run())


def test_closing_waits_for_calls_in_progress_and_refuses_later_ones(store: Store) -> None:
    async def run() -> None:
        facade, gates = AsyncStore(store), [Gate() for _ in range(4)]
        lanes = facade.change, facade.read, facade.files, facade.load
        calls = [asyncio.ensure_future(lane(gate)) for lane, gate in zip(lanes, gates, strict=True)]
        for gate in gates:
            await gate.until_entered()
        closing = asyncio.ensure_future(facade.close())
        for gate in gates:
            await asyncio.sleep(0)
            assert not closing.done()
            gate.opened.set()
        await closing
        assert [call.result() for call in calls] == ["through"] * 4
        for lane in lanes:
            with pytest.raises(StoreClosed, match="shutting down"):
                await lane(store.jobs.unfinished)
        await facade.close()
        assert facade.store.jobs.unfinished() == []

    asyncio.run(run())


class Shuffled:
    """A runner that does the work in the event loop's thread, after a random number of loop iterations."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def run(self, lane: str, work: Callable[[], T]) -> T:
        assert lane in ("change", "read", "files", "load")
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)
        return work()


@pytest.mark.parametrize("seed", range(5))
def test_another_runner_keeps_the_order_of_changes(store: Store, seed: int) -> None:
    async def run() -> None:
        facade = AsyncStore(store, Shuffled(seed))
        threads = []
        made: list[int] = []
        changes = [asyncio.ensure_future(facade.change(made.append, number)) for number in range(20)]
        changes[3].cancel()
        threads.append(await facade.read(threading.get_ident))
        threads.append(await facade.files(threading.get_ident))
        threads.append(await facade.load(threading.get_ident))
        threads.append(await facade.change(threading.get_ident))
        # The call of a caller that was cancelled before it began is not made.
        assert made == [number for number in range(20) if number != 3]
        assert set(threads) == {threading.get_ident()}
        record = await facade.change(make_job, store)
        assert await facade.read(store.jobs.get, record.job.name) == record
        await facade.close()

    asyncio.run(run())


@pytest.mark.parametrize("lane", ["load", "files"])
def test_one_tenants_large_files_do_not_make_another_tenant_wait(store: Store, lane: str) -> None:
    async def run() -> None:
        facade, gates = AsyncStore(store), [Gate() for _ in range(50)]
        do: Callable[[Callable[[], str]], Any] = getattr(facade, lane)

        async def of(tenant: str, work: Callable[[], str]) -> str:
            acting_for.set(tenant)
            return str(await do(work))

        calls = [asyncio.create_task(of("alice", gate)) for gate in gates]
        await gates[0].until_entered()
        await gates[1].until_entered()
        assert await asyncio.wait_for(of("bob", lambda: "small"), 20) == "small"
        assert not any(gate.entered.is_set() for gate in gates[2:])
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*calls) == ["through"] * 50
        await facade.close()

    asyncio.run(run())


def test_a_caller_cancelled_before_its_turn_loads_nothing(store: Store) -> None:
    async def run() -> None:
        facade, gates = AsyncStore(store), [Gate() for _ in range(3)]
        calls = [asyncio.create_task(facade.load(gate)) for gate in gates]
        await gates[1].until_entered()
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        for gate in gates:
            gate.opened.set()
        assert await calls[0] == "through"
        # A call that has begun is finished, and releases its turn.
        assert [await facade.load(lambda: "on") for _ in range(5)] == ["on"] * 5
        await facade.close()
        assert not gates[2].entered.is_set()
        with pytest.raises(StoreClosed):
            await facade.load(gates[2])

    asyncio.run(run())
