from __future__ import annotations

import asyncio

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.jobs.errors import CallError, unavailable
from impasto_server.jobs.job import Job, Watcher
from impasto_server.jobs.mailbox import Mailbox


async def read(watcher: Watcher) -> list[pb.JobEvent]:
    return [event async for event in watcher]


def painted_job() -> tuple[Job, list[pb.JobEvent]]:
    """A job whose only watcher reads nothing until it is over."""

    async def paint() -> tuple[Job, list[pb.JobEvent]]:
        job = Job(pb.Recipe(evaluations=3), 20, 10)
        watcher = job.watch()
        job.start(worker_pb2.Started(width=20, height=10), pb.FeatureNetwork(weights="builtin"), "cpu")
        for evaluation in (1, 2, 3):
            job.progress(pb.Progress(evaluation=evaluation))
            job.preview(pb.Preview(evaluation=evaluation))
        job.succeed(pb.STOP_REASON_COMPLETED, "done")
        return job, await read(watcher)

    return asyncio.run(paint())


def test_a_slow_watcher_gets_every_state_and_the_newest_of_the_rest() -> None:
    _, events = painted_job()
    assert [event.WhichOneof("event") for event in events] == ["job", "job", "progress", "preview", "job"]
    assert [event.job.state for event in events if event.HasField("job")] == [
        pb.JOB_STATE_QUEUED,
        pb.JOB_STATE_RUNNING,
        pb.JOB_STATE_SUCCEEDED,
    ]
    assert events[2].progress.evaluation == 3
    assert events[3].preview.evaluation == 3
    assert events[-1].skipped_previews == 2


def test_sequences_grow() -> None:
    _, events = painted_job()
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))


def test_the_job_tells_when_it_was_made_begun_and_ended() -> None:
    job, _ = painted_job()
    message = job.message
    assert message.create_time.ToNanoseconds() <= message.start_time.ToNanoseconds()
    assert message.start_time.ToNanoseconds() <= message.end_time.ToNanoseconds()
    assert job.finished


def test_job_names_cannot_be_guessed() -> None:
    names = {Job(pb.Recipe(), 1, 1).message.name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("jobs/") and len(name) >= 5 + 22 for name in names)


def test_cancelling_a_finished_job_changes_nothing() -> None:
    job, _ = painted_job()
    job.cancel()
    assert job.message.state == pb.JOB_STATE_SUCCEEDED


def test_a_broken_job_ends_its_watchers_with_the_error() -> None:
    async def watch() -> None:
        job = Job(pb.Recipe(), 1, 1)
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
