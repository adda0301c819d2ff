"""A job that is not over, or still being watched: what is known of it, and who is told."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.mailbox import Mailbox
from impasto_server.store.records import FINAL_STATES, Record


def new_name() -> str:
    """A name that cannot be guessed."""
    return f"jobs/{secrets.token_urlsafe(16)}"


def is_final(message: pb.Job) -> bool:
    """Whether a job is over."""
    return message.state in FINAL_STATES


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
    """One reader of a job's events: job events in order, of progress and previews the newest.

    Ends after the event of a final state or a `resume`, or raises what it was broken off with.

    Attributes:
        wants_previews: whether it is told of previews.
    """

    def __init__(self, *, wants_previews: bool) -> None:
        self.wants_previews = wants_previews
        self._events: Mailbox[pb.JobEvent] = Mailbox()
        self._skipped_previews = 0
        self._last_sequence = 0

    def tell(self, event: pb.JobEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "preview" and not self.wants_previews:
            return
        replaced = self._events.put(event, kind=None if kind == "job" else kind)
        self._skipped_previews += replaced and kind == "preview"
        if kind == "resume" or (kind == "job" and is_final(event.job)):
            self._events.close()

    def break_off(self, error: Exception) -> None:
        self._events.close(error)

    @property
    def skipped_previews(self) -> int:
        """Previews replaced before this watcher took them."""
        return self._skipped_previews

    async def next(self, timeout: float | None = None) -> pb.JobEvent:
        """The next event.

        Raises:
            asyncio.TimeoutError: there was none for so many seconds.
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


class Job:
    """A job and its way through the states; each change is an event to its watchers.

    Changes here are in memory: whoever makes one stores the record.

    Attributes:
        record: what is stored of it.
        preview_event: the newest preview; None if there has been none since the server started.
    """

    def __init__(self, record: Record, sequence: Sequence, watching_changed: Callable[[Job], None]) -> None:
        """
        Args:
            record: as it is stored.
            sequence: gives its events their numbers.
            watching_changed: called when a watcher came or went.
        """
        self.record = record
        self.preview_event: pb.JobEvent | None = None
        self._sequence = sequence
        self._watching_changed = watching_changed
        self._watchers: list[Watcher] = []

    @property
    def message(self) -> pb.Job:
        """The job as the contract shows it."""
        return self.record.job

    @property
    def name(self) -> str:
        return self.record.job.name

    @property
    def finished(self) -> bool:
        return is_final(self.message)

    @property
    def watchers(self) -> int:
        """How many watch it."""
        return len(self._watchers)

    @property
    def previews_wanted(self) -> bool:
        """Whether anyone is there to take previews."""
        return not self.message.preview.disabled and any(w.wants_previews for w in self._watchers)

    def watch(self, *, after_sequence: int = 0, wants_previews: bool = True) -> Watcher:
        """A new watcher; its first event is the job as it is now. `leave` ends its watching."""
        watcher = Watcher(wants_previews=wants_previews)
        self._watchers.append(watcher)
        watcher.tell(pb.JobEvent(sequence=self._sequence.next(), job=self.message))
        preview = self.preview_event
        if preview is not None and not self.finished and preview.sequence > after_sequence:
            # Numbered anew, behind the first event.
            watcher.tell(pb.JobEvent(sequence=self._sequence.next(), preview=preview.preview))
        self._watching_changed(self)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """The watcher does not watch any more. Harmless if it never did."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._watching_changed(self)

    def start(self, started: worker_pb2.Started, network: pb.FeatureNetwork, device: str) -> None:
        """The job has got a device."""
        self.message.MergeFrom(
            pb.Job(
                state=pb.JOB_STATE_RUNNING,
                width=started.width,
                height=started.height,
                device=device,
                bfloat16=started.bfloat16,
            )
        )
        self.message.bfloat16 = started.bfloat16
        self.message.queue_position = 0
        self.message.network.CopyFrom(network)
        self.message.memory_plan.CopyFrom(started.memory_plan)
        self.message.recipe.CopyFrom(started.recipe)
        if not self.message.HasField("start_time"):
            self.message.start_time.CopyFrom(now())
        self.tell_changed()

    def progress(self, progress: pb.Progress) -> None:
        self.message.progress.CopyFrom(progress)
        self._tell(pb.JobEvent(progress=progress))

    def preview(self, preview: pb.Preview) -> None:
        event = pb.JobEvent(preview=preview)
        self._tell(event)
        self.preview_event = event

    def succeed(self) -> None:
        """The record's job has been stored as SUCCEEDED, and its result is there."""
        assert self.message.state == pb.JOB_STATE_SUCCEEDED
        self.tell_changed()

    def end(self, end: pb.Job) -> None:
        """The job is over: its final state, and what goes with it. Told to no one yet."""
        assert not self.finished
        self.message.MergeFrom(end)
        self.message.queue_position = 0
        self.message.end_time.CopyFrom(now())

    def tell_changed(self) -> None:
        """Tells every watcher how the job is now."""
        self._tell(pb.JobEvent(job=self.message))

    def tell_resume(self, retry_seconds: float) -> None:
        """The server ends; whoever watches is to come back."""
        delay = Duration()
        delay.FromMilliseconds(round(retry_seconds * 1000))
        for watcher in self._watchers:
            watcher.tell(pb.JobEvent(resume=pb.Resume(retry_delay=delay)))

    def break_off(self, error: Exception) -> None:
        """Ends every watcher's reading with an error of the call; the job itself says nothing more."""
        for watcher in self._watchers:
            watcher.break_off(error)

    def _tell(self, event: pb.JobEvent) -> None:
        event.sequence = self._sequence.next()
        for watcher in self._watchers:
            own = pb.JobEvent()
            own.CopyFrom(event)
            watcher.tell(own)


def failure(error: status_pb2.Status, stop_reason: pb.StopReason = pb.STOP_REASON_UNSPECIFIED) -> pb.Job:
    """The end of a job that failed."""
    assert error.code != code_pb2.OK
    return pb.Job(state=pb.JOB_STATE_FAILED, error=error, stop_reason=stop_reason)


def cancellation() -> pb.Job:
    """The end of a job that someone cancelled."""
    return pb.Job(
        state=pb.JOB_STATE_CANCELLED,
        stop_reason=pb.STOP_REASON_CANCELLED,
        stop_message="The job was cancelled.",
    )


def now() -> Timestamp:
    """The time, as the contract has it."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment
