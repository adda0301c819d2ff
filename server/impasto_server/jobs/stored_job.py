"""A job as the store has it: what is known of it, and how it changes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import BinaryIO, Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, not_found, reason_of, shutting_down
from impasto_server.contract.texts import shown
from impasto_server.jobs.states import copied, end_time, is_final, state_word
from impasto_server.jobs.tasks import Tasks
from impasto_server.jobs.watching import Audience, Sequence
from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record

_log = logging.getLogger(__name__)

Edit = Callable[[Record], None]
"""A change of a record, made on a copy."""


class Painting(Protocol):
    """A job's stay on a device, from its being placed there until nothing of it is left there.

    Attributes:
        off_device: set at the end of the stay.
    """

    off_device: asyncio.Event

    async def steer(self, recipe: pb.Recipe) -> pb.Recipe | None:
        """Has the worker go on with another recipe, until `settle`. Returns the recipe as it is run; None if
        the worker does not paint the job.

        Raises:
            CallError: the worker refuses the recipe, or does not answer.
        """

    def settle(self) -> None:
        """The recipe that the worker was asked about is stored, or never will be: the record holds again."""

    def follow(self) -> None:
        """Brings the worker up to the job's record, without waiting for it."""

    def suspend(self) -> None:
        """Has the worker end the stay with a checkpoint, without waiting for it."""

    def stop(self) -> None:
        """Ends the stay at once, without waiting for it."""


class Surroundings(Protocol):
    """What the jobs of one server share.

    Attributes:
        store: where jobs are kept.
        tasks: do the jobs' changes.
        sequence: numbers the events.
        draining: whether the server is shutting down: no caller may change a job any more.
    """

    store: AsyncStore
    tasks: Tasks
    sequence: Sequence
    draining: bool

    def moved(self, job: StoredJob) -> None:
        """What a job wants of the devices may have changed."""

    def gone(self, job: StoredJob) -> None:
        """A job is final or deleted."""

    def position(self, job: StoredJob) -> int:
        """The place that a waiting job has among its tenant's, from 1."""

    def count_end(self, state: str, reason: str) -> None:
        """A job became final, or was deleted before: for the metrics."""


class StoredJob:
    """What is known of a job, and the two ways in which it changes.

    `record` is what the store has. It is never changed in place: a change is made on a copy, which takes the
    record's place once it is stored, and is then published. What a caller asks for (`_change`) is refused if
    it cannot be stored. What simply happened (`_note`: the worker began, or died) is shown at once, and
    stored as soon as that is possible.

    Attributes:
        record: the job as it is stored.
        audience: its watchers.
        progress: the newest numbers; None before the first. Stored with the next change.
        deaths: workers that died at its turn without its having got any further. Stored with the next change.
        queue_position: its place among its tenant's queued jobs, from 1; 0 while it is not known.
        queued_at: time of the event loop at which it began to wait for a device.
        too_small: keys of the workers on whose devices it does not fit.
        painting: its stay on a device; None while it is on none.
        behind: whether something that happened is not stored yet.
        deleted: whether it is deleted.
    """

    def __init__(self, record: Record, surroundings: Surroundings) -> None:
        self.record = record
        self.audience = Audience(surroundings.sequence, self._on_audience_changed)
        self.progress: pb.Progress | None = None
        if record.job.HasField("progress"):
            self.progress = copied(record.job.progress)
        self.deaths = record.deaths
        self.queue_position = self._published_position = 0
        self.queued_at = 0.0
        self.too_small: frozenset[str] = frozenset()
        self.painting: Painting | None = None
        self.behind = False
        self.deleted = False
        self._furthest = record.furthest
        self._shared = surroundings
        # Held for each change of the record; never while a worker is waited for.
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
        """Whether it wants a device and has none."""
        return self.state == pb.JOB_STATE_QUEUED and self.painting is None and not self.deleted

    @property
    def rank(self) -> tuple[int, int]:
        """Orders the waiting jobs of one tenant: less goes first."""
        return -self.record.job.priority, self.record.number

    def message(self) -> pb.Job:
        """The job as the contract shows it, without `spec`. The caller may keep and change it."""
        message: pb.Job = copied(self.record.job)
        # An earlier version took whatever title it was given.
        message.title = shown(message.title)
        if not self.final:
            if self.progress is not None:
                message.progress.CopyFrom(self.progress)
            if self.state == pb.JOB_STATE_QUEUED:
                message.queue_position = self.queue_position
        return message

    def publish(self) -> None:
        """Tells every watcher how the job is now."""
        self._published_position = self.queue_position
        self.audience.tell(pb.JobEvent(job=self.message()))

    def publish_position(self) -> None:
        """Tells every watcher of the job's place in the queue, if that has changed."""
        if self.audience and self.queue_position != self._published_position:
            self.publish()

    async def store_what_happened(self) -> None:
        """Stores what could not be stored when it happened."""
        if self.behind:
            await self._shared.tasks.complete(self._note_unless_final(_as_it_is, quiet=True))

    # How it changes. Except for the next method, the lock is held.

    async def _note_unless_final(self, edit: Edit, *, quiet: bool = False) -> None:
        async with self._lock:
            if not self.final and not self.deleted:
                await self._note(edit, quiet=quiet)

    async def _change(self, edit: Edit, *, result: BinaryIO | None = None) -> None:
        """Makes a change on a copy, stores it durably, and only then shows it.

        Args:
            edit: the change.
            result: the picture, if the job SUCCEEDED by it.

        Raises:
            StoreError: it cannot be stored; the job is as it was.
            CallError: the store has the job as final or deleted.
        """
        record = self._edited(edit)
        store = self._shared.store
        if result is not None:
            stored = await store.files(store.store.results.finish, record, result)
        else:
            # A job that becomes final frees room, so it may use what is kept for a full disk.
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
        """Shows what happened, and stores it if that is possible now; else `behind` says so."""
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
        """The store has the job as final or deleted, which happens if an error came after that was stored: so
        it is."""
        store = self._shared.store
        record = await store.read(store.store.jobs.get, self.name)
        _log.warning("a job is final or deleted already job=%s", self.name)
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
        self.audience.break_off(CallError(not_found(self.name)))
        self._leave()

    def _take(self, record: Record) -> None:
        was_queued, self.record = self.state == pb.JOB_STATE_QUEUED, record
        if self.state == pb.JOB_STATE_QUEUED and not was_queued:
            self.queue_position = self._shared.position(self)

    def _edited(self, edit: Edit) -> Record:
        """The record with what has happened since it was stored, and a change."""
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
        """It is final or deleted: nothing happens to it any more."""
        self._stop_painting()
        self._shared.gone(self)

    def _stop_painting(self) -> None:
        if self.painting is not None:
            self.painting.stop()

    def _on_audience_changed(self) -> None:
        """A watcher came or left."""

    # What may be asked of it.

    def _check_changeable(self) -> None:
        """
        Raises:
            CallError: the server is shutting down, or the job is final or deleted.
        """
        self._check_not_draining()
        if self.deleted:
            raise CallError(not_found(self.name))
        if self.final:
            how = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}
            message = f"{self.name} cannot be changed any more: it {how[state_word(self.record.job)]}"
            raise CallError(failed_precondition("JOB_IS_OVER", self.name, message))

    def _check_not_draining(self) -> None:
        if self._shared.draining:
            raise CallError(shutting_down())


def to_state(state: pb.JobState) -> Edit:
    """The change into a state that is not final."""

    def edit(record: Record) -> None:
        record.job.state = state

    return edit


def to_final(end: pb.Job) -> Edit:
    """The change into a final state, given with what goes with it."""

    def edit(record: Record) -> None:
        record.job.MergeFrom(end)
        record.job.end_time.CopyFrom(end_time(record.job))

    return edit


def _as_it_is(record: Record) -> None:
    """No change but what has happened since the record was stored."""
