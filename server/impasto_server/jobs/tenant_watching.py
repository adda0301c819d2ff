"""Watching all jobs of a tenant: which events each watcher gets, and which can be skipped."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Collection, Iterable, Sequence

from google.protobuf.duration_pb2 import Duration

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs.states import is_final

MAX_UNREAD_STATES = 1024
"""Maximum unread changes of state of one watcher, beside the jobs that its stream begins with."""

_BEHIND_SECONDS = 1.0

Place = tuple[str, int]
"""Kind of an event, and for a job event the number of the state: a newer event replaces the one there."""


def resume_event(retry_seconds: float) -> pb.JobEvent:
    """Returns the event that asks a watcher to come back after some seconds."""
    delay = Duration()
    delay.FromMilliseconds(round(retry_seconds * 1000))
    return pb.JobEvent(resume=pb.Resume(retry_delay=delay))


@dataclasses.dataclass
class _JobsEvents:
    """What a watcher has not read of one job.

    Attributes:
        state: the state that it was told last.
        states: how many changes of state it was told.
        unread: its unread events in order, each with its sequence number; None: the job was deleted. Watchers
            share the events.
    """

    state: pb.JobState = pb.JOB_STATE_UNSPECIFIED
    states: int = 0
    unread: dict[Place, tuple[int, pb.JobEvent] | None] = dataclasses.field(default_factory=dict)


class TenantWatcher:
    """A reader of the events of all jobs of a tenant.

    Each job's events come in order. The jobs take turns, so that none waits for the events of busier ones. A
    newer event replaces an unread one of the same job and kind: progress, preview, or a job event in the same
    state. Changes of state, and deletions, are kept, up to `MAX_UNREAD_STATES`: a reader with more unread
    loses them all and gets a `resume`. The events themselves are shared by all watchers, so that a slow
    reader costs little memory.

    Reading ends after a `resume`.
    """

    def __init__(self, *, omit_previews: bool = False, previews_of: Collection[str] = ()) -> None:
        """
        Args:
            omit_previews: whether it receives no previews.
            previews_of: the names of the jobs whose previews it receives; empty: those of all jobs.
        """
        self._omits_previews = omit_previews
        self._previews_of = frozenset(previews_of)
        # The beginning of the stream, which is read before everything else.
        self._first: collections.deque[pb.WatchJobsResponse] = collections.deque()
        self._jobs: dict[str, _JobsEvents] = {}
        # The names of the jobs with unread events, in the order of their turns.
        self._turns: dict[str, None] = {}
        self._unread_states = 0
        self._changed = asyncio.Event()
        # What it reads when nothing else is left.
        self._last: pb.WatchJobsResponse | None = None
        self._closed = False
        self._skipped_previews = 0
        self._last_sequence = 0

    def wants_previews_of(self, name: str) -> bool:
        """Whether it receives the previews of a job."""
        return not self._omits_previews and (not self._previews_of or name in self._previews_of)

    def begin(self, jobs: Iterable[pb.JobEvent]) -> None:
        """Puts the beginning of the stream: a `job` event of each unfinished job, and `listed`."""
        for event in jobs:
            self._first.append(pb.WatchJobsResponse(job=event.job.name, event=event))
            self._jobs[event.job.name] = _JobsEvents(event.job.state, 1)
        self._first.append(pb.WatchJobsResponse(listed=pb.Listed()))
        self._changed.set()

    def tell(self, name: str, event: pb.JobEvent, sequence: int | None = None) -> None:
        """Adds an event of a job.

        Args:
            name: the job.
            event: must never be changed afterwards.
            sequence: its number for this watcher; None: its own.
        """
        kind = str(event.WhichOneof("event"))
        if self._closed or (kind == "preview" and not self.wants_previews_of(name)):
            return
        job = self._jobs.get(name)
        if job is None:
            job = self._jobs[name] = _JobsEvents()
        place = kind, 0
        if kind == "job":
            if event.job.state != job.state:
                job.state = event.job.state
                job.states += 1
                self._put_state(name, job, (kind, 2 * job.states), event)
                return
            # The change of state itself stays.
            place = kind, 2 * job.states + 1
        if job.unread.pop(place, None) is not None and kind == "preview":
            self._skipped_previews += 1
        self._put(name, job, place, event, sequence)

    def tell_deleted(self, name: str) -> None:
        """Tells that a job was deleted."""
        if not self._closed:
            self._put_state(name, self._jobs.setdefault(name, _JobsEvents()), ("deleted", 0), None)

    def tell_resume(self, retry_seconds: float) -> None:
        """Asks to come back after some seconds. Nothing follows."""
        if not self._closed:
            self._closed = True
            self._last = pb.WatchJobsResponse(event=resume_event(retry_seconds))
            self._changed.set()

    @property
    def skipped_previews(self) -> int:
        """Number of previews that were replaced before this watcher read them."""
        return self._skipped_previews

    async def next(self, timeout: float | None = None) -> pb.WatchJobsResponse:
        """Waits for the next event.

        Args:
            timeout: maximum wait in seconds; None for no limit.

        Raises:
            asyncio.TimeoutError: no event came in time.
            StopAsyncIteration: there are no more events.
        """
        while True:
            response = self._take()
            if response is not None:
                return response
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), timeout)

    def heartbeat(self) -> pb.WatchJobsResponse:
        """Returns a heartbeat event."""
        return self._numbered(pb.WatchJobsResponse(event=pb.JobEvent(heartbeat=pb.Heartbeat())))

    def _put_state(self, name: str, job: _JobsEvents, place: Place, event: pb.JobEvent | None) -> None:
        if self._unread_states >= MAX_UNREAD_STATES:
            self._first.clear()
            self._jobs.clear()
            self._turns.clear()
            self.tell_resume(_BEHIND_SECONDS)
            return
        if event is None or is_final(event.job):
            # Nobody needs these any more, and a reader that stands still would collect them.
            job.unread.pop(("progress", 0), None)
            self._skipped_previews += job.unread.pop(("preview", 0), None) is not None
        self._unread_states += 1
        self._put(name, job, place, event)

    def _put(
        self,
        name: str,
        job: _JobsEvents,
        place: Place,
        event: pb.JobEvent | None,
        sequence: int | None = None,
    ) -> None:
        job.unread[place] = None if event is None else (sequence or event.sequence, event)
        self._turns[name] = None
        self._changed.set()

    def _take(self) -> pb.WatchJobsResponse | None:
        if self._first:
            return self._numbered(self._first.popleft())
        if not self._turns:
            last, self._last = self._last, None
            return None if last is None else self._numbered(last)
        name = next(iter(self._turns))
        del self._turns[name]
        job = self._jobs[name]
        place = next(iter(job.unread))
        sequence, event = job.unread.pop(place) or (0, None)
        self._unread_states -= place[0] == "deleted" or (place[0] == "job" and place[1] % 2 == 0)
        if job.unread:
            self._turns[name] = None
        elif event is None or (event.HasField("job") and is_final(event.job)):
            # Its last event: a name must not stay for each job that there ever was.
            del self._jobs[name]
        if event is None:
            return pb.WatchJobsResponse(job=name, deleted=pb.Deleted())
        response = pb.WatchJobsResponse(job=name, event=event)
        response.event.sequence = sequence
        return self._numbered(response)

    def _numbered(self, response: pb.WatchJobsResponse) -> pb.WatchJobsResponse:
        if response.HasField("event"):
            self._last_sequence = max(self._last_sequence, response.event.sequence)
            response.event.sequence = response.event.sequence or self._last_sequence
            response.event.skipped_previews = self._skipped_previews
        return response


class TenantWatchers:
    """The watchers of all tenants."""

    def __init__(self) -> None:
        self._of: dict[str, list[TenantWatcher]] = {}

    def of(self, tenant: str) -> Sequence[TenantWatcher]:
        """The watchers of one tenant."""
        return self._of.get(tenant, ())

    def enter(self, tenant: str, watcher: TenantWatcher) -> None:
        self._of.setdefault(tenant, []).append(watcher)

    def leave(self, tenant: str, watcher: TenantWatcher) -> None:
        self._of[tenant].remove(watcher)
        if not self._of[tenant]:
            del self._of[tenant]

    def tell_resume(self, retry_seconds: float) -> None:
        """Asks every watcher to come back after some seconds, because the server is shutting down."""
        for watchers in self._of.values():
            for watcher in watchers:
                watcher.tell_resume(retry_seconds)
