"""A job as it is stored, and how it changes."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import BinaryIO, Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, not_found, reason_of, shutting_down
from impasto_server.contract.texts import shown
from impasto_server.jobs.states import copied, end_time, is_final, state_word
from impasto_server.jobs.tasks import Tasks
from impasto_server.jobs.tenant_watching import TenantWatchers
from impasto_server.jobs.watching import Audience, Sequence
from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record

_log = logging.getLogger(__name__)

Edit = Callable[[Record], None]
"""A change of a record. It is made on a copy."""


class Painting(Protocol):
    """A job's run on a device, from its placement until nothing of it is left on the device.

    Attributes:
        off_device: set at the end of the run.
    """

    off_device: asyncio.Event

    async def steer(self, recipe: pb.Recipe) -> pb.Recipe | None:
        """Has the worker continue with another recipe until `settle` is called.

        Returns:
            The recipe as the worker runs it; None if the worker does not paint the job.

        Raises:
            CallError: the worker refuses the recipe, or does not answer.
        """

    def settle(self) -> None:
        """Ends `steer`: the recipe is stored, or will never be. The worker follows the job's record again."""

    def follow(self) -> None:
        """Sends the worker the changes of the job's record. Returns at once."""

    def suspend(self) -> None:
        """Has the worker end the run with a checkpoint. Returns at once."""

    def stop(self) -> None:
        """Ends the run without a checkpoint. Returns at once."""


class Surroundings(Protocol):
    """The environment that the jobs of a server share.

    Attributes:
        store: keeps the jobs.
        tasks: run the jobs' changes.
        sequence: numbers the events.
        tenant_watchers: those who watch all jobs of a tenant.
        draining: whether the server is shutting down, when callers can no longer change jobs.
    """

    store: AsyncStore
    tasks: Tasks
    sequence: Sequence
    tenant_watchers: TenantWatchers
    draining: bool

    def moved(self, job: StoredJob) -> None:
        """A job has changed, so its placement may have to change."""

    def gone(self, job: StoredJob) -> None:
        """A job has become final or was deleted."""

    def position(self, job: StoredJob) -> int:
        """Returns a waiting job's position among its tenant's waiting jobs, from 1."""

    def count_end(self, state: str, reason: str) -> None:
        """Counts a job that became final, or was deleted before that, for the metrics."""


class StoredJob:
    """A job's record, and the two ways in which it changes.

    `record` is never changed in place. A change is made on a copy; the copy is stored, replaces the record,
    and is then published. A change that a caller asks for (`_change`) is refused if it cannot be stored. An
    event (`_note`, such as the start or crash of a worker) is published at once, and stored as soon as
    possible.

    Attributes:
        record: the job as it is stored.
        audience: its watchers.
        progress: the latest progress; None before the first. Stored with the next change.
        deaths: number of workers that crashed in this job's turn since its last progress. Stored with the
            next change.
        queued_at: event-loop time at which it began to wait for a device.
        too_small: keys of the workers on whose devices it does not fit.
        painting: its current run; None while it is on no device.
        behind: whether an event is not stored yet.
        deleted: whether it is deleted.
    """

    def __init__(self, record: Record, surroundings: Surroundings) -> None:
        self.record = record
        of_tenant = functools.partial(surroundings.tenant_watchers.of, record.tenant)
        self.audience = Audience(record.job.name, surroundings.sequence, self._on_audience_changed, of_tenant)
        self.progress: pb.Progress | None = None
        if record.job.HasField("progress"):
            self.progress = copied(record.job.progress)
        self.deaths = record.deaths
        self._published_position = 0
        self.queued_at = 0.0
        self.too_small: frozenset[str] = frozenset()
        self.painting: Painting | None = None
        self.behind = False
        self.deleted = False
        self._furthest = record.furthest
        self._shared = surroundings
        # Held for each change of the record, but never while waiting for a worker.
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.record.job.name

    @property
    def tenant(self) -> str:
        return self.record.tenant

    @property
    def state(self) -> pb.JobState:
        return self.record.job.state

    @property
    def final(self) -> bool:
        return is_final(self.record.job)

    @property
    def waiting(self) -> bool:
        """Whether the job waits for a device."""
        return self.state == pb.JOB_STATE_QUEUED and self.painting is None and not self.deleted

    @property
    def has_started(self) -> bool:
        """Whether it was ever on a device."""
        return self.record.job.HasField("start_time")

    @property
    def queue_position(self) -> int:
        """Its position among its tenant's waiting jobs, from 1."""
        return self._shared.position(self)

    @property
    def rank(self) -> tuple[int, int]:
        """The order of a tenant's waiting jobs: the smallest goes first."""
        return -self.record.job.priority, self.record.number

    def message(self) -> pb.Job:
        """Returns the job as a message of its own, without `spec`."""
        message: pb.Job = copied(self.record.job)
        # Earlier versions did not check titles.
        message.title = shown(message.title)
        if not self.final:
            if self.progress is not None:
                message.progress.CopyFrom(self.progress)
            if self.state == pb.JOB_STATE_QUEUED:
                message.queue_position = self.queue_position
        return message

    def publish(self) -> None:
        """Sends the job as it is now to every watcher."""
        self._published_position = self.queue_position
        self.audience.tell(pb.JobEvent(job=self.message()))

    def publish_position(self) -> None:
        """Sends the job to every watcher if its position in the queue has changed."""
        if self.audience and self.queue_position != self._published_position:
            self.publish()

    async def store_what_happened(self) -> None:
        """Stores events that could not be stored when they happened."""
        if self.behind:
            await self._shared.tasks.complete(self._note_unless_final(_as_it_is, quiet=True))

    # Changes. All methods but the next need the lock.

    async def _note_unless_final(self, edit: Edit, *, quiet: bool = False) -> None:
        async with self._lock:
            if not self.final and not self.deleted:
                await self._note(edit, quiet=quiet)

    async def _change(self, edit: Edit, *, result: BinaryIO | None = None) -> None:
        """Makes a change on a copy, stores it durably, and then publishes it.

        Args:
            edit: the change.
            result: the picture, if the change makes the job succeed.

        Raises:
            StoreError: the change cannot be stored; the job is unchanged.
            CallError: in the store, the job is final or deleted.
        """
        record = self._edited(edit)
        store = self._shared.store
        if result is not None:
            stored = await store.files(store.store.results.finish, record, result)
        else:
            # A job that becomes final frees space, so it may use the reserve for a full disk.
            final = is_final(record.job)
            stored = await store.change(store.store.jobs.save, record, with_reserve=final)
        if not stored:
            await self._take_from_store()
            self._check_changeable()
        self.behind = False
        self._take(record)
        self.publish()
        if self.final:
            self._on_final()
        self._shared.moved(self)

    async def _note(self, edit: Edit, *, quiet: bool = False) -> None:
        """Publishes an event, and stores it if possible; otherwise sets `behind`."""
        record = self._edited(edit)
        store = self._shared.store
        try:
            stored = await store.change(store.store.jobs.save, record, durable=False)
        except StoreError as error:
            if not self.behind:
                _log.error("a job's state cannot be stored yet job=%s error=%r", self.name, str(error))
            self.behind = True
        else:
            self.behind = False
            if not stored:
                await self._take_from_store()
                return
        self._take(record)
        if not quiet:
            self.publish()
        self._shared.moved(self)

    async def _take_from_store(self) -> None:
        """Takes over that the job is final or deleted in the store.

        This happens if a change was stored and an error came after that.
        """
        store = self._shared.store
        record = await store.read(store.store.jobs.get, self.name)
        _log.warning("a job is already final or deleted job=%s", self.name)
        if record is None:
            self._become_deleted()
        else:
            self.record = record
            self.publish()
            self._on_final()

    def _become_deleted(self) -> None:
        self.deleted = True
        if not self.final:
            self._shared.count_end("cancelled", "")
        self.audience.tell_deleted(CallError(not_found(self.name)))
        self._leave()

    def _take(self, record: Record) -> None:
        self.record = record

    def _edited(self, edit: Edit) -> Record:
        """Returns a copy of the record with the latest progress and a change."""
        record = dataclasses.replace(
            self.record, job=copied(self.record.job), furthest=self._furthest, deaths=self.deaths
        )
        if self.progress is not None:
            record.job.progress.CopyFrom(self.progress)
        edit(record)
        return record

    def _on_final(self) -> None:
        job = self.record.job
        word, reason = state_word(job), reason_of(job.error)
        self._shared.count_end(word, reason)
        _log.info(
            "job final job=%s state=%s evaluations=%d error=%r",
            self.name,
            word,
            self.record.furthest,
            job.error.message,
        )
        self._leave()

    def _leave(self) -> None:
        """Ends the run and leaves the registry, because the job is final or deleted."""
        self._stop_painting()
        self._shared.gone(self)

    def _stop_painting(self) -> None:
        if self.painting is not None:
            self.painting.stop()

    def _on_audience_changed(self) -> None:
        """Called when a watcher came or left."""

    # Checks.

    def _check_changeable(self) -> None:
        """Checks that a caller may change the job.

        Raises:
            CallError: the server is shutting down, or the job is final or deleted.
        """
        self._check_not_draining()
        if self.deleted:
            raise CallError(not_found(self.name))
        if self.final:
            how = {"succeeded": "has succeeded", "failed": "has failed", "cancelled": "was cancelled"}
            message = f"{self.name} {how[state_word(self.record.job)]}, and a final job cannot be changed"
            raise CallError(failed_precondition("JOB_IS_OVER", self.name, message))

    def _check_not_draining(self) -> None:
        if self._shared.draining:
            raise CallError(shutting_down())


def to_state(state: pb.JobState) -> Edit:
    """Returns the change to a state that is not final."""

    def edit(record: Record) -> None:
        record.job.state = state

    return edit


def to_final(end: pb.Job) -> Edit:
    """Returns the change to a final state, given as the fields that change."""

    def edit(record: Record) -> None:
        record.job.MergeFrom(end)
        record.job.held = record.stays_paused = False
        record.job.end_time.CopyFrom(end_time(record.job))

    return edit


def _as_it_is(record: Record) -> None:
    """Changes nothing: the record is stored with its latest progress."""
