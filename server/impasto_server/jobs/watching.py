"""Watching a job: what each watcher is told, in which order, and what may be skipped."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, exhausted
from impasto_server.jobs.states import copied, is_final
from impasto_server.mailbox import Mailbox

MAX_UNREAD = 64
"""Events that wait for one watcher, at most."""

MAX_WATCHERS = 100
"""Watchers of one job."""

_BEHIND_SECONDS = 1.0
_RETRY_SECONDS = 10.0


class Sequence:
    """Numbers that grow, for the events of all jobs, across restarts of the server too."""

    def __init__(self, generation: int) -> None:
        """
        Args:
            generation: how often the server's store has been opened, this time included.
        """
        self.last = generation << 32

    def next(self) -> int:
        self.last += 1
        return self.last


class Watcher:
    """One reader of a job's events: every change of its state in order, and the newest of all else.

    A slow reader costs little: of progress, of previews, and of job events in one state after the first, a
    newer event takes the place of one that was not read. A reader that leaves `MAX_UNREAD` events unread is
    told to come back, which begins with the job as it is then, and nothing else.

    Ends after the event of a final state or a `resume`, or raises the error that it was broken off with.

    Attributes:
        wants_previews: whether it receives previews.
    """

    def __init__(self, *, wants_previews: bool) -> None:
        self.wants_previews = wants_previews
        self._events: Mailbox[pb.JobEvent] = Mailbox()
        self._skipped_previews = 0
        self._last_sequence = 0
        self._state = pb.JOB_STATE_UNSPECIFIED
        self._states = 0

    def tell(self, event: pb.JobEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "preview" and not self.wants_previews:
            return
        place = self._replaceable(event)
        if place is None and len(self._events) >= MAX_UNREAD:
            self._events.clear()
            event, kind = _resume(_BEHIND_SECONDS), "resume"
        replaced = self._events.put(event, kind=place)
        self._skipped_previews += replaced and kind == "preview"
        if kind == "resume" or (kind == "job" and is_final(event.job)):
            self._events.close()

    def _replaceable(self, event: pb.JobEvent) -> str | None:
        """What unread event this one takes the place of; None: of none."""
        if not event.HasField("job"):
            return str(event.WhichOneof("event"))
        if event.job.state != self._state:
            self._state = event.job.state
            self._states += 1
            return None
        return f"job in state {self._states}"

    def break_off(self, error: Exception) -> None:
        self._events.close(error)

    @property
    def skipped_previews(self) -> int:
        """Previews that were replaced before this watcher took them."""
        return self._skipped_previews

    async def next(self, timeout: float | None = None) -> pb.JobEvent:
        """The next event.

        Args:
            timeout: seconds to wait for it at most; None for no limit.

        Raises:
            asyncio.TimeoutError: there was none in that time.
            StopAsyncIteration: there are no more.
        """
        event = await self._events.next(timeout)
        self._last_sequence = max(self._last_sequence, event.sequence)
        if not event.sequence:
            event.sequence = self._last_sequence
        event.skipped_previews = self._skipped_previews
        return event

    def heartbeat(self) -> pb.JobEvent:
        """An event that says that nothing happened."""
        return pb.JobEvent(
            sequence=self._last_sequence, heartbeat=pb.Heartbeat(), skipped_previews=self._skipped_previews
        )


class Audience:
    """The watchers of one job.

    Attributes:
        preview: the event of the newest preview; None if there has been none since the server started.
    """

    def __init__(self, sequence: Sequence, changed: Callable[[], None]) -> None:
        """
        Args:
            sequence: gives the events their numbers.
            changed: called when a watcher came or left.
        """
        self.preview: pb.JobEvent | None = None
        self._sequence = sequence
        self._changed = changed
        self._watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def wants_previews(self) -> bool:
        return any(watcher.wants_previews for watcher in self._watchers)

    def enter(self, job: pb.Job, *, after_sequence: int = 0, wants_previews: bool = True) -> Watcher:
        """A new watcher, whose first event is the job as it is now.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the job has as many as it may.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            message = f"{job.name} has {MAX_WATCHERS} watchers, as many as it may; end some of them"
            raise CallError(exhausted("TOO_MANY_WATCHERS", job.name, message, _RETRY_SECONDS))
        watcher = Watcher(wants_previews=wants_previews)
        self._watchers.append(watcher)
        watcher.tell(pb.JobEvent(sequence=self._sequence.next(), job=job))
        if self.preview is not None and not is_final(job) and self.preview.sequence > after_sequence:
            # Numbered anew, since it comes after the first event.
            watcher.tell(pb.JobEvent(sequence=self._sequence.next(), preview=self.preview.preview))
        self._changed()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Ends a watcher's watching. Harmless if it had ended."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._changed()

    def tell(self, event: pb.JobEvent) -> None:
        """Gives every watcher an event, with a number of its own."""
        event.sequence = self._sequence.next()
        if event.HasField("preview"):
            self.preview = event
        for watcher in self._watchers:
            watcher.tell(copied(event))

    def tell_resume(self, retry_seconds: float) -> None:
        """The server is ending: asks every watcher to come back after so many seconds."""
        for watcher in self._watchers:
            watcher.tell(_resume(retry_seconds))

    def break_off(self, error: Exception) -> None:
        """Ends every watcher's reading with an error."""
        for watcher in self._watchers:
            watcher.break_off(error)


def _resume(retry_seconds: float) -> pb.JobEvent:
    delay = Duration()
    delay.FromMilliseconds(round(retry_seconds * 1000))
    return pb.JobEvent(resume=pb.Resume(retry_delay=delay))
