"""The events that watchers receive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, unavailable
from impasto_server.jobs.states import cancelled, end_time, new_name, now
from impasto_server.jobs.watching import MAX_WATCHERS, Audience, Sequence
from impasto_server.mailbox import Mailbox
from support.live_jobs import kinds, read

QUEUED, RUNNING = pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING


def job_event(state: pb.JobState, **fields: int) -> pb.JobEvent:
    return pb.JobEvent(job=pb.Job(state=state, **fields))  # type: ignore[arg-type]


def audience(changed: Callable[[], None] = lambda: None) -> Audience:
    return Audience("jobs/a", Sequence(1), changed, tuple)


def paint(watched: Audience, evaluations: int = 3) -> None:
    watched.tell(job_event(RUNNING))
    for evaluation in range(1, evaluations + 1):
        watched.tell(pb.JobEvent(progress=pb.Progress(evaluation=evaluation)))
        watched.tell(pb.JobEvent(preview=pb.Preview(evaluation=evaluation)))
    watched.tell(job_event(pb.JOB_STATE_SUCCEEDED))


def heard(*, wants_previews: bool = True) -> list[pb.JobEvent]:
    """The events of a watcher that reads nothing until the job is final."""

    async def run() -> list[pb.JobEvent]:
        watched = audience()
        watcher = watched.enter(pb.Job(state=QUEUED), wants_previews=wants_previews)
        paint(watched)
        return await read(watcher)

    return asyncio.run(run())


def test_a_slow_watcher_gets_every_state_and_the_newest_of_all_other_events() -> None:
    events = heard()
    assert kinds(events) == ["job", "job", "progress", "preview", "job"]
    states = [event.job.state for event in events if event.HasField("job")]
    assert states == [QUEUED, RUNNING, pb.JOB_STATE_SUCCEEDED]
    assert events[2].progress.evaluation == 3
    assert events[3].preview.evaluation == 3
    assert events[-1].skipped_previews == 2


def test_unread_events_are_bounded_by_the_changes_of_state() -> None:
    async def run() -> list[pb.JobEvent]:
        watched = audience()
        watcher = watched.enter(pb.Job(state=QUEUED, queue_position=1000))
        for position in range(999, 0, -1):
            watched.tell(job_event(QUEUED, queue_position=position))
        watched.tell(job_event(RUNNING))
        watched.tell(job_event(QUEUED, queue_position=1))
        watched.tell(job_event(RUNNING))
        watched.tell_resume(1.0)
        return await read(watcher)

    events = asyncio.run(run())
    told = [(event.job.state, event.job.queue_position) for event in events[:-1]]
    assert told == [(QUEUED, 1000), (QUEUED, 1), (RUNNING, 0), (QUEUED, 1), (RUNNING, 0)]


def test_nothing_follows_the_event_that_asks_to_come_back() -> None:
    async def run() -> list[pb.JobEvent]:
        watched = audience()
        watcher = watched.enter(pb.Job(state=QUEUED))
        watched.tell_resume(1.0)
        # The job is still being painted while the server ends.
        watched.tell(pb.JobEvent(progress=pb.Progress(evaluation=2)))
        watched.tell(pb.JobEvent(preview=pb.Preview(evaluation=2)))
        return await read(watcher)

    assert kinds(asyncio.run(run())) == ["job", "resume"]


def test_a_watcher_can_omit_previews() -> None:
    assert "preview" not in kinds(heard(wants_previews=False))


def test_sequence_numbers_increase_across_restarts() -> None:
    sequences = [event.sequence for event in heard()]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] < Sequence(2).next() < 2**53


def test_a_later_watcher_gets_the_newest_preview_once() -> None:
    async def run() -> list[list[pb.JobEvent]]:
        watched = audience()
        watched.tell(pb.JobEvent(preview=pb.Preview(evaluation=7)))
        assert watched.preview is not None
        heard = []
        for after in (0, watched.preview.sequence):
            watcher = watched.enter(pb.Job(state=RUNNING), after_sequence=after)
            watched.tell_resume(1.0)
            heard.append(await read(watcher))
            watched.leave(watcher)
        return heard

    first, again = asyncio.run(run())
    assert kinds(first) == ["job", "preview", "resume"]
    assert first[1].preview.evaluation == 7
    assert kinds(again) == ["job", "resume"]


def test_a_heartbeat_has_the_sequence_number_of_the_previous_event() -> None:
    async def run() -> tuple[int, pb.JobEvent]:
        watcher = audience().enter(pb.Job(state=QUEUED))
        first = await watcher.next()
        with pytest.raises(asyncio.TimeoutError):
            await watcher.next(0.01)
        return first.sequence, watcher.heartbeat()

    sequence, heartbeat = asyncio.run(run())
    assert heartbeat.HasField("heartbeat")
    assert heartbeat.sequence == sequence


def test_previews_are_wanted_while_a_watcher_takes_them() -> None:
    changes: list[bool] = []
    watched = audience(lambda: changes.append(watched.wants_previews))

    async def run() -> None:
        quiet = watched.enter(pb.Job(state=QUEUED), wants_previews=False)
        curious = watched.enter(pb.Job(state=QUEUED))
        watched.leave(curious)
        watched.leave(curious)
        watched.leave(quiet)

    asyncio.run(run())
    assert changes == [False, True, False, False]


def test_a_watcher_that_is_ended_with_an_error_raises_it() -> None:
    async def watch() -> None:
        watched = audience()
        reading = asyncio.create_task(read(watched.enter(pb.Job(state=QUEUED))))
        await asyncio.sleep(0)
        watched.tell_deleted(CallError(unavailable("GONE", "gone", 1)))
        await reading

    with pytest.raises(CallError, match="gone"):
        asyncio.run(watch())


def test_a_mailbox_gives_items_in_the_order_in_which_they_were_last_put() -> None:
    async def read_all() -> list[int]:
        mailbox: Mailbox[int] = Mailbox()
        assert not mailbox.put(1, kind="a")
        assert not mailbox.put(2)
        assert mailbox.put(3, kind="a")
        assert not mailbox.put(4)
        mailbox.close()
        return [item async for item in mailbox]

    assert asyncio.run(read_all()) == [2, 3, 4]


def test_job_names_cannot_be_guessed() -> None:
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("jobs/") and len(name) >= 5 + 22 for name in names)


@pytest.mark.parametrize("field", ["create_time", "start_time"])
def test_the_end_time_of_a_job_is_never_before_its_creation_or_start(field: str) -> None:
    later = now()
    later.seconds += 3600
    job = pb.Job(**{field: later})  # type: ignore[arg-type]
    job.MergeFrom(cancelled())
    assert end_time(job) == later


def test_a_watcher_with_too_many_unread_events_is_told_to_come_back() -> None:
    async def run() -> tuple[list[pb.JobEvent], list[pb.JobEvent]]:
        watched = audience()
        slow = watched.enter(pb.Job(state=QUEUED))
        quick = watched.enter(pb.Job(state=QUEUED))
        await slow.next()
        heard = []
        for number in range(1000):
            watched.tell(job_event(RUNNING if number % 2 else QUEUED, queue_position=number))
            heard.append(await quick.next())
        watched.tell(job_event(pb.JOB_STATE_SUCCEEDED))
        return await read(slow), [*heard, *await read(quick)]

    slow, quick = asyncio.run(run())
    assert kinds(slow) == ["resume"]
    assert slow[0].resume.retry_delay.seconds == 1
    assert kinds(quick) == ["job"] * 1002
    assert quick[-1].job.state == pb.JOB_STATE_SUCCEEDED


def test_a_watcher_that_is_told_to_come_back_knows_its_last_sequence_number() -> None:
    async def run() -> tuple[int, list[pb.JobEvent]]:
        watched = audience()
        watcher = watched.enter(pb.Job(state=QUEUED))
        first = await watcher.next()
        for number in range(1000):
            watched.tell(job_event(RUNNING if number % 2 else QUEUED))
        return first.sequence, await read(watcher)

    sequence, events = asyncio.run(run())
    assert [event.sequence for event in events] == [sequence]


def test_the_number_of_watchers_of_a_job_is_limited() -> None:
    async def run() -> None:
        watched = audience()
        watchers = [watched.enter(pb.Job(name="jobs/a", state=QUEUED)) for _ in range(MAX_WATCHERS)]
        with pytest.raises(CallError, match="jobs/a has 100 watchers"):
            watched.enter(pb.Job(name="jobs/a", state=QUEUED))
        assert len(watched._watchers) == MAX_WATCHERS
        watched.leave(watchers[7])
        watched.enter(pb.Job(state=QUEUED))

    asyncio.run(run())
