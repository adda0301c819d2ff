"""The events of all jobs of a tenant, for one watcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs.tenant_watching import MAX_UNREAD_STATES, TenantWatcher
from impasto_server.jobs.watching import Audience, Sequence
from support.live_jobs import created, registry_in
from support.stored_jobs import new_record

QUEUED, RUNNING, SUCCEEDED = pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED

Told = tuple[str, str | None]


def job_event(name: str, state: pb.JobState, **fields: int) -> pb.JobEvent:
    return pb.JobEvent(sequence=1, job=pb.Job(name=name, state=state, **fields))  # type: ignore[arg-type]


def preview(evaluation: int = 1) -> pb.JobEvent:
    return pb.JobEvent(sequence=2, preview=pb.Preview(evaluation=evaluation))


def progress(evaluation: int = 1) -> pb.JobEvent:
    return pb.JobEvent(sequence=3, progress=pb.Progress(evaluation=evaluation))


async def unread(watcher: TenantWatcher) -> list[pb.WatchJobsResponse]:
    """What a watcher has not read yet."""
    responses = []
    try:
        while True:
            responses.append(await watcher.next(0.001))
    except (asyncio.TimeoutError, StopAsyncIteration):
        return responses


def told(responses: list[pb.WatchJobsResponse]) -> list[Told]:
    """The job, and the kind, of each event."""
    return [
        (each.job, each.event.WhichOneof("event") if each.HasField("event") else each.WhichOneof("payload"))
        for each in responses
    ]


def heard(tell: Callable[[TenantWatcher], None], **wishes: object) -> list[pb.WatchJobsResponse]:
    """What a watcher reads that reads nothing before everything has happened."""

    async def run() -> list[pb.WatchJobsResponse]:
        watcher = TenantWatcher(**wishes)  # type: ignore[arg-type]
        tell(watcher)
        return await unread(watcher)

    return asyncio.run(run())


def test_the_unfinished_jobs_come_first_then_listed_then_what_happens() -> None:
    def tell(watcher: TenantWatcher) -> None:
        watcher.begin([job_event("jobs/a", RUNNING), job_event("jobs/b", QUEUED)])
        watcher.tell("jobs/a", progress())
        watcher.tell("jobs/c", job_event("jobs/c", QUEUED))

    expected = [
        ("jobs/a", "job"),
        ("jobs/b", "job"),
        ("", "listed"),
        ("jobs/a", "progress"),
        ("jobs/c", "job"),
    ]
    assert told(heard(tell)) == expected


def test_a_slow_watcher_gets_every_state_and_the_newest_of_all_other_events_of_each_job() -> None:
    def tell(watcher: TenantWatcher) -> None:
        for name in ("jobs/a", "jobs/b"):
            watcher.tell(name, job_event(name, QUEUED, queue_position=2))
            watcher.tell(name, job_event(name, QUEUED, queue_position=1))
            watcher.tell(name, job_event(name, RUNNING))
            for evaluation in (1, 2, 3):
                watcher.tell(name, progress(evaluation))
                watcher.tell(name, preview(evaluation))

    responses = heard(tell)
    # The jobs take turns.
    assert [each.job for each in responses] == ["jobs/a", "jobs/b"] * 5
    of_a = [each.event for each in responses if each.job == "jobs/a"]
    assert [(event.job.state, event.job.queue_position) for event in of_a[:3]] == [
        (QUEUED, 2),
        (QUEUED, 1),
        (RUNNING, 0),
    ]
    assert (of_a[3].progress.evaluation, of_a[4].preview.evaluation) == (3, 3)
    assert responses[-1].event.skipped_previews == 4


def test_a_busy_job_does_not_hold_back_others() -> None:
    async def run() -> list[str]:
        watcher = TenantWatcher()
        names = [f"jobs/{i}" for i in range(10)]
        read = []
        for evaluation in range(100):
            # Ten previews for each that is read.
            for name in names:
                watcher.tell(name, preview(evaluation))
            read.append((await watcher.next()).job)
        return read

    read = asyncio.run(run())
    assert [read.count(f"jobs/{i}") for i in range(10)] == [10] * 10


def test_previews_and_progress_of_a_job_that_is_over_are_dropped() -> None:
    def tell(watcher: TenantWatcher) -> None:
        watcher.tell("jobs/a", job_event("jobs/a", RUNNING))
        watcher.tell("jobs/a", progress())
        watcher.tell("jobs/a", preview())
        watcher.tell("jobs/a", job_event("jobs/a", SUCCEEDED))
        watcher.tell_deleted("jobs/a")

    assert told(heard(tell)) == [("jobs/a", "job"), ("jobs/a", "job"), ("jobs/a", "deleted")]


def test_previews_are_for_those_who_want_them() -> None:
    def tell(watcher: TenantWatcher) -> None:
        watcher.tell("jobs/a", preview())
        watcher.tell("jobs/b", preview())

    assert told(heard(tell, omit_previews=True)) == []
    assert told(heard(tell, previews_of=["jobs/b", "jobs/unknown"])) == [("jobs/b", "preview")]


def test_a_watcher_with_too_many_unread_states_is_asked_to_come_back() -> None:
    def tell(watcher: TenantWatcher) -> None:
        # The jobs that the stream begins with do not count.
        watcher.begin([job_event(f"jobs/{i}", QUEUED) for i in range(2 * MAX_UNREAD_STATES)])
        for i in range(MAX_UNREAD_STATES):
            watcher.tell(f"jobs/{i}", job_event(f"jobs/{i}", RUNNING))

    def tell_more(watcher: TenantWatcher) -> None:
        tell(watcher)
        watcher.tell_deleted("jobs/0")
        watcher.tell("jobs/1", progress())

    assert len(heard(tell)) == 3 * MAX_UNREAD_STATES + 1
    [only] = heard(tell_more)
    assert only.event.HasField("resume")
    assert only.job == ""


def test_reading_makes_room() -> None:
    async def run() -> None:
        watcher = TenantWatcher()
        for i in range(3 * MAX_UNREAD_STATES):
            name = f"jobs/{i // 3}"
            if i % 3 == 2:
                watcher.tell_deleted(name)
            else:
                watcher.tell(name, job_event(name, (QUEUED, SUCCEEDED)[i % 3]))
            await watcher.next()
        assert await unread(watcher) == []
        # Nothing is kept of jobs that are over.
        assert not watcher._jobs

    asyncio.run(run())


def test_nothing_follows_the_event_that_asks_to_come_back() -> None:
    def tell(watcher: TenantWatcher) -> None:
        watcher.begin([job_event("jobs/a", QUEUED)])
        watcher.tell("jobs/a", job_event("jobs/a", RUNNING))
        watcher.tell_resume(1.0)
        watcher.tell("jobs/a", progress())
        watcher.tell_deleted("jobs/a")

    assert told(heard(tell)) == [("jobs/a", "job"), ("", "listed"), ("jobs/a", "job"), ("", "resume")]


def test_watchers_share_events_and_each_numbers_its_own() -> None:
    async def run() -> None:
        watchers = [TenantWatcher(), TenantWatcher()]
        watched = Audience("jobs/a", Sequence(1), lambda: None, lambda: watchers)
        for evaluation in (1, 2):
            watched.tell(pb.JobEvent(preview=pb.Preview(data=b"p", evaluation=evaluation)))
        assert watched.preview is not None
        [first], [second] = [await unread(watcher) for watcher in watchers]
        assert first == second
        assert first.event.skipped_previews == 1
        assert first.event.sequence == watched.preview.sequence
        assert watched.preview.skipped_previews == 0
        assert watchers[0].heartbeat().event.sequence == first.event.sequence

    asyncio.run(run())


# With real jobs.


def test_all_jobs_of_the_tenant_and_no_others_are_watched(tmp_path: Path) -> None:
    async def run() -> list[pb.WatchJobsResponse]:
        async with registry_in(tmp_path) as registry:
            before = await created(registry)
            watcher = TenantWatcher()
            with registry.watching("anna", watcher):
                later = await created(registry)
                other = await created(registry, tenant="ben")
                await before.pause()
                await before.delete()
                await later.cancel()
                await other.cancel()
                # It is final, and not in the registry any more.
                await (await registry.get(later.name, "anna")).delete()
                return [*await unread(watcher), pb.WatchJobsResponse(job=later.name)]

    *responses, end = asyncio.run(run())
    first, later = responses[0].job, end.job
    of_first = [each for each in responses if each.job == first]
    of_later = [each for each in responses if each.job == later]
    assert told(of_first) == [(first, "job"), (first, "job"), (first, "deleted")]
    assert told(of_later) == [(later, "job"), (later, "job"), (later, "deleted")]
    assert of_later[0].event.job.queue_position == 2
    assert len(responses) == 7
    assert {each.job for each in responses} == {first, later, ""}


def test_previews_are_made_for_a_watcher_that_wants_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            first, second = await created(registry), await created(registry)
            other = await created(registry, tenant="ben")
            assert not first.previews_wanted
            with registry.watching("anna", TenantWatcher()):
                assert first.previews_wanted
                assert not other.previews_wanted
                # It is no hindrance to a hundred watchers of its own.
                assert len(first.audience._watchers) == 0
            with registry.watching("anna", TenantWatcher(omit_previews=True)):
                assert not first.previews_wanted
                assert first.audience
                assert not first.audience.is_attended
            with registry.watching("anna", TenantWatcher(previews_of=[second.name])):
                assert not first.previews_wanted
                assert second.previews_wanted
            assert not second.previews_wanted
            assert not second.audience

    asyncio.run(run())


def test_the_newest_preview_comes_after_the_list(tmp_path: Path) -> None:
    async def run() -> list[pb.WatchJobsResponse]:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.audience.tell(pb.JobEvent(preview=pb.Preview(evaluation=4)))
            watcher = TenantWatcher()
            with registry.watching("anna", watcher):
                return await unread(watcher)

    first, listed, last = asyncio.run(run())
    assert listed.HasField("listed")
    assert last.event.preview.evaluation == 4
    assert last.event.sequence > first.event.sequence


def test_whoever_watches_all_jobs_keeps_a_job_alive_that_lingers(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            record = new_record()
            record.linger = 0.0
            job = await registry.create(record)
            own = job.watch()
            watcher = TenantWatcher()
            with registry.watching("anna", watcher):
                job.audience.leave(own)
                # The timer of a job that nobody watches would have run out.
                for _ in range(5):
                    await asyncio.sleep(0)
                await registry.tasks.join(1.0)
                assert job.state == QUEUED
            while not job.final:  # noqa: ASYNC110 - a watcher would keep it alive
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_watchers_are_asked_to_come_back_when_the_server_shuts_down(tmp_path: Path) -> None:
    async def run() -> list[pb.WatchJobsResponse]:
        async with registry_in(tmp_path) as registry:
            watcher = TenantWatcher()
            with registry.watching("anna", watcher):
                registry.begin_drain()
                responses = await unread(watcher)
                with pytest.raises(StopAsyncIteration):
                    await watcher.next()
                return responses

    assert told(asyncio.run(run())) == [("", "listed"), ("", "resume")]
