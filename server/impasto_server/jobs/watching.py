"""Watching a job: which events each watcher gets, in which order, and which can be skipped."""

from __future__ import annotations

from collections.abc import Callable, Collection

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, exhausted
from impasto_server.jobs.states import copied, is_final
from impasto_server.jobs.tenant_watching import TenantWatcher, resume_event
from impasto_server.mailbox import Mailbox

MAX_UNREAD = 64
"""Maximum unread events of one watcher."""

MAX_WATCHERS = 100
"""Maximum watchers of one job."""

_BEHIND_SECONDS = 1.0
_RETRY_SECONDS = 10.0


class Sequence:
    """Increasing numbers for the events of all jobs. They also increase across restarts of the server."""

    def __init__(self, generation: int) -> None:
        """
        Args:
            generation: number of times that the store has been opened, including this time.
        """
        self.last = generation << 32

    def next(self) -> int:
        self.last += 1
        return self.last


class Watcher:
    """A reader of a job's events: every change of state in order, and the newest event of each other kind.

    A slow reader costs little memory. A newer event replaces an unread one of the same kind: progress,
    preview, or a job event in the same state other than the first. A reader with `MAX_UNREAD` unread events
    loses them and gets a `resume` event instead; when it comes back, it starts with the job as it is then.

    Reading ends after the event of a final state or a `resume`, or raises the error given to `break_off`.

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
            event, kind = resume_event(_BEHIND_SECONDS), "resume"
        replaced = self._events.put(event, kind=place)
        self._skipped_previews += replaced and kind == "preview"
        if kind == "resume" or (kind == "job" and is_final(event.job)):
            self._events.close()

    def _replaceable(self, event: pb.JobEvent) -> str | None:
        """Returns the kind of unread event that this event replaces; None if it replaces none."""
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
        """Number of previews that were replaced before this watcher read them."""
        return self._skipped_previews

    async def next(self, timeout: float | None = None) -> pb.JobEvent:
        """Waits for the next event.

        Args:
            timeout: maximum wait in seconds; None for no limit.

        Raises:
            asyncio.TimeoutError: no event came in time.
            StopAsyncIteration: there are no more events.
        """
        event = await self._events.next(timeout)
        self._last_sequence = max(self._last_sequence, event.sequence)
        if not event.sequence:
            event.sequence = self._last_sequence
        event.skipped_previews = self._skipped_previews
        return event

    def heartbeat(self) -> pb.JobEvent:
        """Returns a heartbeat event."""
        return pb.JobEvent(
            sequence=self._last_sequence, heartbeat=pb.Heartbeat(), skipped_previews=self._skipped_previews
        )


class Audience:
    """The watchers of one job, and those who watch all jobs of its tenant.

    Attributes:
        preview: the event of the newest preview; None if there was none since the server started.
    """

    def __init__(
        self,
        name: str,
        sequence: Sequence,
        changed: Callable[[], None],
        of_tenant: Callable[[], Collection[TenantWatcher]],
    ) -> None:
        """
        Args:
            name: of the job.
            sequence: numbers the events.
            changed: called when a watcher of the job came or left.
            of_tenant: returns those who watch all jobs of its tenant.
        """
        self.preview: pb.JobEvent | None = None
        self._name = name
        self._sequence = sequence
        self._changed = changed
        self._of_tenant = of_tenant
        self._watchers: list[Watcher] = []

    def __bool__(self) -> bool:
        """Whether anybody watches the job."""
        return bool(self._watchers or self._of_tenant())

    @property
    def is_attended(self) -> bool:
        """Whether somebody watches this very job, or its previews. It should then get on."""
        return bool(self._watchers) or self.wants_previews

    @property
    def wants_previews(self) -> bool:
        return any(watcher.wants_previews for watcher in self._watchers) or any(
            watcher.wants_previews_of(self._name) for watcher in self._of_tenant()
        )

    def enter(self, job: pb.Job, *, after_sequence: int = 0, wants_previews: bool = True) -> Watcher:
        """Adds a watcher, whose first event is the job as it is now.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the job has the maximum of watchers.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            message = f"{job.name} has {MAX_WATCHERS} watchers, the maximum; end one of them first"
            raise CallError(exhausted("TOO_MANY_WATCHERS", job.name, message, _RETRY_SECONDS))
        watcher = Watcher(wants_previews=wants_previews)
        self._watchers.append(watcher)
        watcher.tell(pb.JobEvent(sequence=self._sequence.next(), job=job))
        if self.preview is not None and not is_final(job) and self.preview.sequence > after_sequence:
            # It gets a new number, because it comes after the first event.
            watcher.tell(pb.JobEvent(sequence=self._sequence.next(), preview=self.preview.preview))
        self._changed()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Removes a watcher. Does nothing if it was removed before."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._changed()

    def tell(self, event: pb.JobEvent) -> None:
        """Numbers an event and sends it to every watcher."""
        event.sequence = self._sequence.next()
        if event.HasField("preview"):
            self.preview = event
        for watcher in self._watchers:
            watcher.tell(copied(event))
        for everything in self._of_tenant():
            everything.tell(self._name, event)

    def tell_resume(self, retry_seconds: float) -> None:
        """Asks the job's watchers to come back after some seconds, because the server is shutting down."""
        for watcher in self._watchers:
            watcher.tell(resume_event(retry_seconds))

    def tell_deleted(self, error: Exception) -> None:
        """Tells that the job was deleted: the reading of its watchers ends with an error."""
        for watcher in self._watchers:
            watcher.break_off(error)
        for everything in self._of_tenant():
            everything.tell_deleted(self._name)
