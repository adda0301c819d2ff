"""Workers that hang get no jobs and are replaced, and nothing waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.fleet.local import LocalFleet, told_apart
from impasto_server.fleet.local_process import LocalLauncher
from impasto_server.fleet.start_watch import START_SECONDS, StartWatch
from impasto_server.fleet.worker_process import WorkerDied, WorkerProcess
from impasto_server.v1 import worker_pb2
from impasto_server.worker.heartbeat import Heartbeat
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, children, is_alive
from support.worker_process import STYLE, named, samples_of, with_pictures

ARGUMENTS = ["--weights", "builtin", "--max-resident", "8", "--log-level", "info"]
TIMEOUT = 4.0


class Keeper:
    """A worker that is kept alive.

    Attributes:
        worker: the worker.
        keeper: keeps it alive until it is cancelled.
    """

    def __init__(self, folder: Path, *, start_timeout: float = START_SECONDS, **arguments: Any) -> None:
        self._change = asyncio.Event()
        self._folder = folder
        self.worker = WorkerProcess(
            "cpu",
            key="worker-0",
            launcher=LocalLauncher(folder / "socket", start_timeout=start_timeout),
            arguments=ARGUMENTS,
            changed=self._change.set,
            **{"timeout": TIMEOUT, "turn_timeout": 600.0, **arguments},
        )
        self.keeper = asyncio.create_task(self.worker.keep_alive())

    @property
    def pid(self) -> int:
        assert self.worker.info is not None
        return self.worker.info.process_id

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Waits for a change that the worker reports by its `changed`."""

        async def wait() -> None:
            while not is_so():
                self._change.clear()
                await self._change.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    def painting(
        self, name: str, content: bytes, recipe: pb.Recipe
    ) -> tuple[asyncio.Event, asyncio.Task[None]]:
        """Starts to paint a job.

        Returns:
            An event that is set by the first progress, and a task for the end.
        """
        spec = stylize_request(recipe=recipe).spec
        spec.content.CopyFrom(named(content))
        spec.styles[0].image.CopyFrom(named(STYLE))
        begin = worker_pb2.Begin(job_name=name, spec=spec, tenant="one", tenant_weight=1.0)
        begin, pictures = with_pictures(begin, (content, STYLE))
        progressed = asyncio.Event()

        async def paint() -> None:
            async for response in self.worker.run(begin, samples_of(begin, pictures), None):
                if response.HasField("progress"):
                    progressed.set()

        return progressed, asyncio.create_task(paint())


@contextlib.asynccontextmanager
async def kept(folder: Path, **arguments: Any) -> AsyncIterator[Keeper]:
    keeper = Keeper(folder, **arguments)
    try:
        await keeper.until(lambda: keeper.worker.ready)
        yield keeper
    finally:
        keeper.keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper.keeper


def run(check: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(check, 3 * PATIENCE))


async def seconds_of(work: Awaitable[Any]) -> float:
    begin = time.monotonic()
    await work
    return time.monotonic() - begin


async def refused(update: Awaitable[Any], reason: str = "INVALID_FIELD") -> None:
    with pytest.raises(CallError) as caught:
        await update
    assert reason_of(caught.value.status) == reason


ENDLESS = pb.Recipe(evaluations=100_000)
RECIPE = worker_pb2.UpdateRunRequest(job_name="jobs/1", recipe=pb.Recipe(seed=7))
PRIORITY = worker_pb2.UpdateRunRequest(job_name="jobs/1", priority=2)


@pytest.mark.slow
def test_a_stopped_worker_gets_no_jobs_delays_nothing_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def check() -> None:
        async with kept(tmp_path, timeout=4 * TIMEOUT) as keeper:
            worker = keeper.worker
            progressed, painting = keeper.painting("jobs/1", coded(photo()), ENDLESS)
            await progressed.wait()
            assert await worker.update(PRIORITY) is not None
            refusal = asyncio.create_task(refused(worker.update(RECIPE)))
            assert await seconds_of(refusal) < TIMEOUT, "a refusal is no death to wait for"
            os.kill(keeper.pid, signal.SIGSTOP)
            # A call in progress ends when the worker counts as silent, not at its own timeout.
            waiting = asyncio.create_task(refused(worker.update(PRIORITY), "WORKER_BUSY"))
            await keeper.until(lambda: not worker.ready)
            assert await seconds_of(waiting) < TIMEOUT
            assert not worker.responsive
            assert await seconds_of(refused(worker.update(PRIORITY), "WORKER_BUSY")) < TIMEOUT
            assert await seconds_of(worker.suspend("jobs/1")) < TIMEOUT
            begin = time.monotonic()
            device = await worker.describe()
            assert time.monotonic() - begin < TIMEOUT
            assert (device.name, device.state) == ("cpu", pb.DEVICE_STATE_STARTING)
            with pytest.raises(WorkerDied) as caught:
                await keeper.painting("jobs/2", coded(photo()), ENDLESS)[1]
            assert not caught.value.blames
            os.kill(keeper.pid, signal.SIGCONT)
            await keeper.until(lambda: worker.ready)
            assert (await worker.describe()).state == pb.DEVICE_STATE_READY
            assert await worker.update(PRIORITY) is not None
            assert worker.restarts == 0
            assert not painting.done()
            painting.cancel()
            await asyncio.wait({painting})
            assert painting.cancelled()

    run(check())
    told = [record for record in caplog.records if "answer" in record.message]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]


@pytest.mark.slow
def test_a_worker_that_stays_silent_is_replaced_and_no_job_is_blamed(tmp_path: Path) -> None:
    async def check() -> None:
        async with kept(tmp_path) as keeper:
            worker, stopped = keeper.worker, keeper.pid
            progressed, painting = keeper.painting("jobs/1", coded(photo()), ENDLESS)
            await progressed.wait()
            begin = time.monotonic()
            os.kill(stopped, signal.SIGSTOP)
            with pytest.raises(WorkerDied) as caught:
                await painting
            assert time.monotonic() - begin > TIMEOUT / 2
            assert (caught.value.turn_of, caught.value.blames) == ("", False)
            assert f"{TIMEOUT:g} s without an answer" in caught.value.status.message
            await keeper.until(lambda: worker.ready)
            assert worker.restarts == 1
            assert keeper.pid != stopped
            assert not is_alive(stopped)

    run(check())


@pytest.mark.slow
def test_a_worker_whose_turn_does_not_end_is_killed_and_its_job_is_blamed(tmp_path: Path) -> None:
    # An evaluation of half a megapixel takes longer than the limit.
    recipe = pb.Recipe(objective=pb.OBJECTIVE_REPORT, longest_side=700, evaluations=50)

    async def check() -> None:
        async with kept(tmp_path, turn_timeout=0.1) as keeper:
            _, painting = keeper.painting("jobs/slow", coded(photo(700, 700)), recipe)
            with pytest.raises(WorkerDied) as caught:
                await painting
            assert (caught.value.turn_of, caught.value.blames) == ("jobs/slow", True)
            assert "turn that lasted more than 0.1 s" in caught.value.status.message
            await keeper.until(lambda: keeper.worker.restarts == 1 and keeper.worker.ready)

    run(check())


def test_a_killed_worker_blames_the_job_of_its_turn_and_the_next_worker_none(tmp_path: Path) -> None:
    async def check() -> None:
        async with kept(tmp_path) as keeper:
            progressed, painting = keeper.painting("jobs/1", coded(photo()), ENDLESS)
            await progressed.wait()
            os.kill(keeper.pid, signal.SIGKILL)
            with pytest.raises(WorkerDied) as caught:
                await painting
            assert caught.value.blames
            assert caught.value.turn_of in ("jobs/1", "")
            with pytest.raises(WorkerDied) as not_ready:
                await keeper.painting("jobs/1", coded(photo()), ENDLESS)[1]
            assert (not_ready.value.turn_of, not_ready.value.blames) == ("", False)

    run(check())


@pytest.mark.slow
@pytest.mark.parametrize("known", [False, True])
def test_a_shutdown_does_not_wait_for_a_stopped_worker(tmp_path: Path, known: bool) -> None:
    async def check() -> None:
        async with kept(tmp_path) as keeper:
            pid = keeper.pid
            os.kill(pid, signal.SIGSTOP)
            if known:
                await keeper.until(lambda: not keeper.worker.responsive)
            begin = time.monotonic()
            keeper.keeper.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeper.keeper
            assert time.monotonic() - begin < TIMEOUT
            assert not is_alive(pid)

    run(check())


@pytest.mark.slow
def test_a_worker_is_not_killed_because_the_gateway_itself_was_stopped(tmp_path: Path) -> None:
    async def check() -> None:
        async with kept(tmp_path, timeout=1.0) as keeper:
            for _ in range(3):
                time.sleep(1.5)  # noqa: ASYNC251 - keeps the event loop busy
                await asyncio.sleep(0)
            await keeper.until(lambda: keeper.worker.ready)
            assert keeper.worker.restarts == 0

    run(check())


@pytest.mark.slow
def test_the_fleet_gives_no_jobs_to_a_silent_worker_and_names_devices_uniquely() -> None:
    async def check() -> None:
        fleet = LocalFleet(
            ["cpu", "cpu"],
            [*ARGUMENTS, "--cpu-share", "2"],
            max_resident=8,
            worker_timeout=4 * TIMEOUT,
            turn_timeout=600.0,
        )
        async with fleet:

            async def until_ready(number: int) -> None:
                while len(fleet.ready_workers) != number:
                    await asyncio.wait_for(fleet.change.wait(), PATIENCE)

            readiness = fleet.readiness()
            assert not await anext(readiness)
            assert await anext(readiness)
            await until_ready(2)
            assert [worker.device for worker in fleet.ready_workers] == ["cpu:0", "cpu:1"]
            assert [device.name for device in await fleet.describe_devices()] == ["cpu:0", "cpu:1"]
            infos = [worker.info for worker in fleet.ready_workers]
            first, second = (info.process_id for info in infos if info is not None)
            os.kill(first, signal.SIGSTOP)
            await until_ready(1)
            assert [worker.device for worker in fleet.ready_workers] == ["cpu:1"]
            os.kill(second, signal.SIGSTOP)
            assert not await anext(readiness)
            for pid in (first, second):
                os.kill(pid, signal.SIGCONT)
            assert await anext(readiness)
            await until_ready(2)
            assert fleet.restarts == 0

    run(check())


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_is_started_again_later(tmp_path: Path) -> None:
    folder = tmp_path / "later"

    async def check() -> None:
        keeper = Keeper(folder)
        while keeper.worker.restarts < 2:  # noqa: ASYNC110 - nobody is told of that
            await asyncio.sleep(0.01)
        assert not keeper.worker.ready
        folder.mkdir()
        await keeper.until(lambda: keeper.worker.ready)
        keeper.keeper.cancel()
        await asyncio.wait({keeper.keeper})

    run(check())


async def successor(old: int, before: list[int]) -> int:
    """Waits for the worker that replaces another, and returns its process ID."""
    while True:
        if new := [pid for pid in children(os.getpid()) if pid not in (old, *before)]:
            return new[0]
        await asyncio.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["", "importing torch"])
def test_a_worker_that_is_stopped_while_it_starts_is_replaced_and_no_job_is_blamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    watch = StartWatch(tmp_path / "socket.start", 1.0)

    async def check() -> None:
        before = children(os.getpid())
        async with kept(tmp_path, timeout=1.0, start_timeout=6.0) as keeper:
            worker = keeper.worker
            os.kill(keeper.pid, signal.SIGKILL)
            stopped = await successor(keeper.pid, before)
            while step and watch.step != step:  # noqa: ASYNC110 - nobody is told of that
                await asyncio.sleep(0.002)
            os.kill(stopped, signal.SIGSTOP)
            begin = time.monotonic()
            await keeper.until(lambda: worker.ready)
            assert time.monotonic() - begin > 6.0 - 1.0, "it had that much time"
            assert keeper.pid != stopped
            assert not is_alive(stopped)
            assert worker.restarts == 2

    run(check())
    (killed,) = [record for record in caplog.records if "worker killed" in record.message]
    assert f"no sign of life for 6 s while it started, at {step}" in killed.message
    assert "job=" not in killed.message, "no job is blamed"


@pytest.mark.slow
def test_a_slow_start_is_tolerated_while_the_worker_gives_signs_of_life(tmp_path: Path) -> None:
    watch = StartWatch(tmp_path / "start", 2.0)

    async def check() -> None:
        watch.prepare()
        heartbeat = Heartbeat(watch.path, "loading weights")
        hung = asyncio.create_task(watch.until_hung())
        await asyncio.wait({hung}, timeout=5.0)
        assert not hung.done()
        heartbeat.enter("downloading weights")
        heartbeat.stop()
        await asyncio.wait_for(hung, PATIENCE)
        assert hung.result() == "no sign of life for 2 s while it started, at downloading weights"

    run(check())


def test_a_step_of_the_start_that_takes_too_long_ends_the_signs_of_life(tmp_path: Path) -> None:
    watch = StartWatch(tmp_path / "start", 2.0)

    async def check() -> None:
        heartbeat = Heartbeat(watch.path, "importing torch")
        heartbeat.enter("loading weights", at_most=0.5)
        await asyncio.wait_for(watch.until_hung(), PATIENCE)
        heartbeat.stop()

    run(check())


@pytest.mark.slow
def test_a_worker_that_cannot_be_monitored_is_replaced_and_no_job_is_blamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unexpected(Exception):
        pass

    async def check() -> None:
        async with kept(tmp_path) as keeper:
            worker, told = keeper.worker, keeper._change.set
            progressed, painting = keeper.painting("jobs/1", coded(photo()), ENDLESS)
            await progressed.wait()

            def fail() -> None:
                keeper.worker._life._changed = told  # type: ignore[union-attr]
                raise Unexpected

            assert worker._life is not None
            worker._life._changed = fail
            first = keeper.pid
            # The silence is reported by a callback, which fails.
            os.kill(first, signal.SIGSTOP)
            with pytest.raises(WorkerDied) as caught:
                await painting
            assert (caught.value.turn_of, caught.value.blames) == ("", False)
            await keeper.until(lambda: worker.ready)
            assert not is_alive(first)

    run(check())
    assert any(
        "worker cannot be monitored" in record.message and record.exc_info for record in caplog.records
    )


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        (["auto"], [None]),
        (["cpu"], [None]),
        (["cuda:0", "cuda:1"], [None, None]),
        (["cpu", "cpu", "cuda:0"], ["cpu:0", "cpu:1", None]),
        (["cpu:0", "cpu", "cpu"], [None, "cpu:1", "cpu:2"]),
        (["cuda:0", "cuda:0"], ["cuda:0/0", "cuda:0/1"]),
    ],
)
def test_workers_on_the_same_device_are_numbered(devices: list[str], names: list[str | None]) -> None:
    assert told_apart(devices) == names
