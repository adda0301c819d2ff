from __future__ import annotations

import asyncio

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.contract.errors import CallError, unavailable
from impasto_server.jobs.job import Job, Sequence, Watcher, cancellation, new_name, now
from impasto_server.mailbox import Mailbox
from impasto_server.store.store import Record


def record(**fields: object) -> Record:
    job = pb.Job(name=new_name(), state=pb.JOB_STATE_QUEUED, create_time=now(), **fields)  # type: ignore[arg-type]
    return Record(job, pb.JobSpec(), "", "", b"", None, 0, 0, None)


def new_job(generation: int = 1, **fields: object) -> Job:
    return Job(record(**fields), Sequence(generation), lambda _: None)


async def read(watcher: Watcher) -> list[pb.JobEvent]:
    events = []
    try:
        while True:
            events.append(await watcher.next())
    except StopAsyncIteration:
        return events


def paint(job: Job, evaluations: int = 3) -> None:
    job.start(worker_pb2.Started(width=20, height=10), pb.FeatureNetwork(weights="builtin"), "cpu")
    for evaluation in range(1, evaluations + 1):
        job.progress(pb.Progress(evaluation=evaluation))
        job.preview(pb.Preview(evaluation=evaluation))
    job.message.state = pb.JOB_STATE_SUCCEEDED
    job.succeed()


def watched(**options: bool) -> list[pb.JobEvent]:
    """What a watcher hears of a job if it reads nothing until that is over."""

    async def run() -> list[pb.JobEvent]:
        job = new_job()
        watcher = job.watch(**options)
        paint(job)
        return await read(watcher)

    return asyncio.run(run())


def kinds(events: list[pb.JobEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def test_nothing_follows_the_word_to_come_back() -> None:
    async def run() -> list[pb.JobEvent]:
        job = new_job()
        watcher = job.watch()
        job.tell_resume(1.0)
        # It is still being painted while the server ends.
        job.progress(pb.Progress(evaluation=2))
        job.preview(pb.Preview(evaluation=2))
        return await read(watcher)

    assert kinds(asyncio.run(run())) == ["job", "resume"]


def test_a_slow_watcher_gets_every_state_and_the_newest_of_the_rest() -> None:
    events = watched()
    assert kinds(events) == ["job", "job", "progress", "preview", "job"]
    assert [event.job.state for event in events if event.HasField("job")] == [
        pb.JOB_STATE_QUEUED,
        pb.JOB_STATE_RUNNING,
        pb.JOB_STATE_SUCCEEDED,
    ]
    assert events[2].progress.evaluation == 3
    assert events[3].preview.evaluation == 3
    assert events[-1].skipped_previews == 2


def test_previews_can_be_left_out_by_one_watcher() -> None:
    assert "preview" not in kinds(watched(wants_previews=False))


def test_sequences_grow_across_restarts_too() -> None:
    sequences = [event.sequence for event in watched()]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] < Sequence(2).next() < 2**53


def test_who_comes_later_gets_the_newest_preview_once() -> None:
    async def run() -> tuple[list[pb.JobEvent], list[pb.JobEvent]]:
        job = new_job()
        job.start(worker_pb2.Started(), pb.FeatureNetwork(), "cpu")
        job.preview(pb.Preview(evaluation=7))
        assert job.preview_event is not None
        heard = []
        for after in (0, job.preview_event.sequence):
            watcher = job.watch(after_sequence=after)
            job.tell_resume(1.0)
            heard.append(await read(watcher))
            job.leave(watcher)
        return heard[0], heard[1]

    first, again = asyncio.run(run())
    assert kinds(first) == ["job", "preview", "resume"]
    assert first[1].preview.evaluation == 7
    assert kinds(again) == ["job", "resume"]


def test_heartbeats_have_the_sequence_of_what_came_before() -> None:
    async def run() -> tuple[int, pb.JobEvent]:
        job = new_job()
        watcher = job.watch()
        first = await watcher.next()
        with pytest.raises(asyncio.TimeoutError):
            await watcher.next(0.01)
        return first.sequence, watcher.heartbeat()

    sequence, heartbeat = asyncio.run(run())
    assert heartbeat.HasField("heartbeat")
    assert heartbeat.sequence == sequence


def test_previews_are_wanted_while_someone_takes_them() -> None:
    async def run() -> None:
        changes: list[bool] = []
        job = Job(record(), Sequence(1), lambda job: changes.append(job.previews_wanted))
        quiet = job.watch(wants_previews=False)
        assert not job.previews_wanted
        curious = job.watch()
        job.leave(curious)
        job.leave(curious)
        job.leave(quiet)
        assert changes == [False, True, False, False]
        job.message.preview.disabled = True
        job.watch()
        assert not job.previews_wanted

    asyncio.run(run())


def test_job_names_cannot_be_guessed() -> None:
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("jobs/") and len(name) >= 5 + 22 for name in names)


def test_an_end_is_told_when_it_is_stored() -> None:
    async def run() -> list[pb.JobEvent]:
        job = new_job()
        watcher = job.watch()
        job.end(cancellation())
        assert job.finished
        assert job.message.HasField("end_time")
        job.tell_changed()
        return await read(watcher)

    assert kinds(asyncio.run(run())) == ["job", "job"]


def test_a_broken_job_ends_its_watchers_with_the_error() -> None:
    async def watch() -> None:
        job = new_job()
        watcher = job.watch()
        reading = asyncio.create_task(read(watcher))
        await asyncio.sleep(0)
        job.break_off(CallError(unavailable("GONE", "gone", 1)))
        await reading

    with pytest.raises(CallError, match="gone"):
        asyncio.run(watch())


def test_a_mailbox_gives_items_in_the_order_of_their_last_putting() -> None:
    async def read_all() -> list[int]:
        mailbox: Mailbox[int] = Mailbox()
        assert not mailbox.put(1, kind="a")
        assert not mailbox.put(2)
        assert mailbox.put(3, kind="a")
        assert not mailbox.put(4)
        mailbox.close()
        return [item async for item in mailbox]

    assert asyncio.run(read_all()) == [2, 3, 4]
