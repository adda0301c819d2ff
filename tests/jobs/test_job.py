"""A job owns its life: a change is stored before it is published, and completed even if its caller leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument, reason_of, unavailable
from impasto_server.jobs import painted_job
from impasto_server.jobs.job import Job
from impasto_server.store.errors import DiskFull
from impasto_server.store.job_table import JobTable
from impasto_server.v1 import worker_pb2
from support.live_jobs import Ends, Stay, created, kinds, on_disk, read, registry_in
from support.stored_jobs import new_record

QUEUED, PAUSED, CANCELLED = pb.JOB_STATE_QUEUED, pb.JOB_STATE_PAUSED, pb.JOB_STATE_CANCELLED


class Disk:
    """The disk of every store. A test can make it full or slow.

    Attributes:
        full: whether a write is refused.
        may_write: writes wait until this is set.
        writing: set when a write begins.
    """

    def __init__(self) -> None:
        self.full = False
        self.may_write = threading.Event()
        self.may_write.set()
        self.writing = threading.Event()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            disk.writing.set()
            assert disk.may_write.wait(60)
            if disk.full:
                raise DiskFull("there is no room")
            return method(*args, **kwargs)

        return call

    for name in ("create", "save", "delete"):
        monkeypatch.setattr(JobTable, name, guarded(getattr(JobTable, name)))
    yield disk
    disk.may_write.set()


def with_title(title: str) -> Callable[[pb.Job], pb.Job]:
    def wanted(job: pb.Job) -> pb.Job:
        job.title = title
        return job

    return wanted


def with_weight(weight: float) -> Callable[[pb.Job], pb.Job]:
    def wanted(job: pb.Job) -> pb.Job:
        job.recipe.content_weight = weight
        return job

    return wanted


def with_priority(priority: int) -> Callable[[pb.Job], pb.Job]:
    def wanted(job: pb.Job) -> pb.Job:
        job.priority = priority
        return job

    return wanted


Change = Callable[[Job], Awaitable[None]]
CHANGES: dict[str, tuple[Change, pb.JobState, str]] = {
    "pause": (lambda job: job.pause(), PAUSED, "suspend"),
    "cancel": (lambda job: job.cancel(), CANCELLED, "stop"),
    "update": (lambda job: job.update(with_title("new")), QUEUED, "follow"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_caller_leaves_is_completed(tmp_path: Path, disk: Disk, change: str) -> None:
    do, state, said = CHANGES[change]

    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            watcher = job.watch()
            disk.may_write.clear()
            disk.writing.clear()
            call = asyncio.ensure_future(do(job))
            await asyncio.to_thread(disk.writing.wait, 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # Nothing is published before it is stored.
            assert (job.state, job.message().title) == (QUEUED, "")
            disk.may_write.set()
            await watcher.next()
            event = await watcher.next(60)
            assert event.job.state == job.state == state
            stored = on_disk(registry, job)
            assert stored is not None
            assert (stored.state, stored.title) == (state, "new" if change == "update" else "")
            await stay.told(said)

    asyncio.run(run())


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_cannot_be_stored_is_refused_every_time(
    tmp_path: Path, disk: Disk, change: str
) -> None:
    do, state, _ = CHANGES[change]

    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            before, watcher = job.message(), job.watch()
            disk.full = True
            for _ in range(3):
                with pytest.raises(DiskFull):
                    await do(job)
                assert job.message() == before
            disk.full = False
            await do(job)
            assert job.state == state
            registry.begin_drain()
            # The watcher received only the change that was made.
            told = [event.job.state for event in await read(watcher) if event.HasField("job")]
            assert told == [QUEUED, state]

    asyncio.run(run())


def test_simultaneous_updates_of_different_fields_all_apply(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = Stay()
            changes = (with_weight(3.0), with_title("bird"), with_priority(7))
            await asyncio.gather(*(job.update(change) for change in changes))
            for message in (job.message(), on_disk(registry, job)):
                assert message is not None
                held = (message.recipe.content_weight, message.title, message.priority)
                assert held == (3.0, "bird", 7)

    asyncio.run(run())


def test_a_refused_recipe_changes_nothing_and_undoes_no_other_change(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            stay.answers = [CallError(invalid_argument([("job.recipe.content_weight", "is odd")]))]
            stay.may_answer.clear()
            refused = asyncio.ensure_future(job.update(with_weight(9.0)))
            await stay.asked.wait()
            await job.update(with_title("bird"))
            stay.may_answer.set()
            with pytest.raises(CallError, match="is odd"):
                await refused
            message = on_disk(registry, job)
            assert message == job.record.job
            assert message.title == "bird"
            assert not message.recipe.HasField("content_weight")

    asyncio.run(run())


def test_other_changes_do_not_wait_while_a_worker_is_asked_about_a_recipe(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            stay.may_answer.clear()
            steering = asyncio.ensure_future(job.update(with_weight(9.0)))
            await stay.asked.wait()
            await job.update(with_title("bird"))
            await job.pause()
            await job.resume()
            await job.cancel()
            stay.may_answer.set()
            with pytest.raises(CallError) as caught:
                await steering
            assert reason_of(caught.value.status) == "JOB_IS_OVER"
            message = on_disk(registry, job)
            assert message is not None
            assert message.state == CANCELLED
            assert not message.recipe.HasField("content_weight")

    asyncio.run(run())


def test_a_recipe_changed_while_the_job_moves_reaches_the_second_worker(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = first = Stay()
            first.may_answer.clear()
            steering = asyncio.ensure_future(job.update(with_weight(9.0)))
            await first.asked.wait()
            await job.left_device(first)
            job.painting = second = Stay()
            second.answers = [pb.Recipe(content_weight=9.0, seed=5)]
            first.may_answer.set()
            await steering
            assert second.said[0] == "steer"
            assert job.record.job.recipe == pb.Recipe(content_weight=9.0, seed=5)

    asyncio.run(run())


def test_a_worker_goes_back_to_the_stored_recipe_if_the_new_one_cannot_be_stored(
    tmp_path: Path, disk: Disk
) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            disk.full = True
            with pytest.raises(DiskFull):
                await job.update(with_weight(9.0))
            assert stay.said == ["steer", "settle"]
            assert not job.record.job.recipe.HasField("content_weight")

    asyncio.run(run())


def test_events_of_a_job_on_a_full_disk_are_stored_later_and_end_nothing(tmp_path: Path, disk: Disk) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            disk.full = True
            started = worker_pb2.Started(width=8, height=6, recipe=pb.Recipe(seed=1))
            await job.started(started, pb.FeatureNetwork(), "cpu", pb.Recipe())
            assert (job.state, job.behind) == (pb.JOB_STATE_RUNNING, True)
            await job.lost_worker(blamed=True)
            await job.left_device(stay)
            assert (job.state, job.behind, job.deaths) == (QUEUED, True, 1)
            disk.full = False
            await job.store_what_happened()
            assert not job.behind
            stored = registry.store.store.jobs.get(job.name)
            assert stored is not None
            assert (stored.job, stored.deaths) == (job.record.job, 1)
            assert stored.job.width == 8

    asyncio.run(run())


def test_found_targets_do_not_count_as_progress_when_a_worker_dies(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            deaths = []
            for _ in range(3):
                # Each time from the checkpoint to the end of the first scale, and equally far into the next.
                for progress in (
                    pb.Progress(evaluation=19, scale=1),
                    pb.Progress(evaluation=20, scale=1),
                    *(pb.Progress(evaluation=20, scale=2, preparing=share / 10) for share in range(1, 10)),
                ):
                    job.got_further(progress)
                assert job.message().progress.preparing == 0.9
                await job.lost_worker(blamed=True)
                deaths.append(job.deaths)
            assert deaths == [1, 2, 3]
            job.got_further(pb.Progress(evaluation=21, scale=2))
            assert job.deaths == 0
            assert not job.message().progress.HasField("preparing")

    asyncio.run(run())


def test_a_job_is_published_as_failed_only_once_that_is_stored(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painted_job, "STORE_RETRY_SECONDS", 0.01)
    ends = Ends()

    async def run() -> None:
        async with registry_in(tmp_path, ends=ends) as registry:
            job = await created(registry)
            watcher = job.watch()
            disk.full = True
            disk.writing.clear()
            failing = asyncio.ensure_future(job.fail(unavailable("WHY", "why", 1)))
            for _ in range(3):
                await asyncio.to_thread(disk.writing.wait, 60)
                disk.writing.clear()
                assert not job.final
            disk.full = False
            await failing
            assert kinds(await read(watcher)) == ["job", "job"]
            assert on_disk(registry, job) == job.record.job
            assert registry.unfinished() == 0

    asyncio.run(run())
    assert ends.states == ["failed"]


def test_deleting_a_job_ends_its_watchers_and_its_run(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            reading = asyncio.ensure_future(read(job.watch()))
            await asyncio.sleep(0)
            await job.delete()
            with pytest.raises(CallError) as caught:
                await reading
            assert reason_of(caught.value.status) == "NOT_FOUND"
            assert stay.said[-1] == "stop"
            assert (on_disk(registry, job), registry.unfinished()) == (None, 0)
            await job.delete()
            with pytest.raises(CallError) as caught:
                await job.pause()
            assert reason_of(caught.value.status) == "NOT_FOUND"

    asyncio.run(run())


def test_a_job_whose_last_watcher_left_is_cancelled_unless_another_comes(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            record = new_record()
            record.linger = 0.0
            job = await registry.create(record)
            first, second = job.watch(), job.watch()

            async def another_is_cancelled() -> None:
                record = new_record()
                record.linger = 0.0
                other = await registry.create(record)
                watcher = other.watch()
                stay = other.painting = Stay()
                other.audience.leave(watcher)
                await stay.told("stop")
                assert other.state == CANCELLED

            job.audience.leave(first)
            await another_is_cancelled()
            assert job.state == QUEUED
            job.audience.leave(second)
            later = job.watch()
            await another_is_cancelled()
            assert job.state == QUEUED
            stay = job.painting = Stay()
            job.audience.leave(later)
            await stay.told("stop")
            assert job.state == CANCELLED

    asyncio.run(run())


def test_a_server_that_is_shutting_down_refuses_every_change(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            registry.begin_drain()
            calls: list[Callable[[], Awaitable[Any]]] = [
                job.pause,
                job.resume,
                job.cancel,
                job.delete,
                lambda: job.update(with_title("x")),
                lambda: created(registry),
            ]
            for call in calls:
                with pytest.raises(CallError) as caught:
                    await call()
                assert reason_of(caught.value.status) == "SHUTTING_DOWN"
            assert on_disk(registry, job) == job.record.job
            assert len(registry.store.store.jobs.unfinished()) == 1

    asyncio.run(run())
