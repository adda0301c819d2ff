"""A job: its watchers, and the changes that callers ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, not_found
from impasto_server.jobs.painted_job import STORE_RETRY_SECONDS, PaintedJob
from impasto_server.jobs.states import cancelled
from impasto_server.jobs.stored_job import Painting, Surroundings, to_final, to_state
from impasto_server.jobs.watching import Watcher
from impasto_server.store.errors import StoreError
from impasto_server.store.records import Record

_log = logging.getLogger(__name__)

PREVIEWS_UNWANTED_SECONDS = 5.0
"""Time for which previews go on after the last watcher who wanted them has left: pollers come and go."""

Wanted = Callable[[pb.Job], pb.Job]
"""Takes the job as it is, with `spec`, and returns it as the caller wants it. May raise `CallError`."""


class Job(PaintedJob):
    """A job that owns its life: each change is one method, which runs under its lock as a task of its own.

    A caller who leaves only stops waiting; the change is completed. A repeated call completes what an earlier
    one left undone. The methods that change the job raise `StoreError`, or `CallError` if the job is final or
    deleted or the server is shutting down. The job is then unchanged.
    """

    def __init__(self, record: Record, surroundings: Surroundings) -> None:
        super().__init__(record, surroundings)
        # Held while a worker is asked about a recipe, so that it is asked about only one at a time.
        self._steering = asyncio.Lock()
        self._leave_timer: asyncio.TimerHandle | None = None
        self._follow_timer: asyncio.TimerHandle | None = None

    # Watching.

    @property
    def previews_wanted(self) -> bool:
        return not self.record.job.preview.disabled and self.audience.wants_previews

    def watch(self, *, after_sequence: int = 0, wants_previews: bool = True) -> Watcher:
        """Adds a watcher, whose first event is the job as it is now. `audience.leave` removes it.

        Raises:
            CallError: NOT_FOUND: the job has just been deleted. RESOURCE_EXHAUSTED: it has too many watchers.
        """
        if self.deleted:
            raise CallError(not_found(self.name))
        return self.audience.enter(
            self.message(), after_sequence=after_sequence, wants_previews=wants_previews
        )

    def cancel_unless_watched(self, seconds: float) -> None:
        """Cancels the job after some seconds, unless a watcher comes before."""

        def leave() -> None:
            self._leave_timer = None
            if not self._shared.draining:
                _log.info("job has no watcher and is cancelled job=%s", self.name)
                self._shared.tasks.start(self._cancel_unwatched())

        self._stop_timer()
        self._leave_timer = asyncio.get_running_loop().call_later(seconds, leave)

    async def _cancel_unwatched(self) -> None:
        while not self.audience and not self._shared.draining:
            try:
                await self._cancel()
            except StoreError as error:
                _log.error("a job cannot be cancelled yet job=%s error=%r", self.name, str(error))
                await asyncio.sleep(STORE_RETRY_SECONDS)
            except CallError:
                # The job has become final by itself.
                return
            else:
                return

    def on_tenant_watched(self) -> None:
        """Called when someone began, or ceased, to watch all jobs of the tenant."""
        if not self.final and not self.deleted:
            # A timer that runs is left alone: after a restart it gives the job's own watcher time to return.
            if self._leave_timer is None:
                self._cancel_later()
            self._on_wishes_changed()

    def _on_audience_changed(self) -> None:
        self._stop_timer()
        if not self.final and not self.deleted:
            self._cancel_later()
            self._on_wishes_changed()

    def _cancel_later(self) -> None:
        if not self.audience and self.record.linger is not None and not self._shared.draining:
            self.cancel_unless_watched(self.record.linger)

    def _on_wishes_changed(self) -> None:
        if self._follow_timer is not None:
            self._follow_timer.cancel()
        delay = 0.0 if self.previews_wanted else PREVIEWS_UNWANTED_SECONDS
        self._follow_timer = asyncio.get_running_loop().call_later(delay, self._follow)
        self._shared.moved(self)

    def _follow(self) -> None:
        if self.painting is not None:
            self.painting.follow()

    def _stop_timer(self) -> None:
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None

    def _leave(self) -> None:
        self._stop_timer()
        if self._follow_timer is not None:
            self._follow_timer.cancel()
        super()._leave()

    # What callers ask for.

    async def pause(self) -> None:
        """Takes the job off its device with a checkpoint, or out of the queue."""
        await self._shared.tasks.complete(self._pause())

    async def resume(self) -> None:
        """Queues the job again if it is paused."""
        await self._shared.tasks.complete(self._resume())

    async def hold(self) -> None:
        """Pauses the job, and keeps its owner from resuming it. Does nothing if it is held already."""
        await self._shared.tasks.complete(self._hold())

    async def release(self) -> None:
        """Ends a hold: the job is queued again, unless its owner has paused it."""
        await self._shared.tasks.complete(self._release())

    async def cancel(self) -> None:
        """Cancels the job. Does nothing if it is already cancelled."""
        await self._shared.tasks.complete(self._cancel())

    async def delete(self) -> None:
        """Deletes the job with its result and checkpoint."""
        await self._shared.tasks.complete(self._delete())

    async def update(self, wanted: Wanted) -> None:
        """Changes recipe, preview options, priority and title to those that `wanted` returns.

        `wanted` can be called several times, because other changes can come in between.
        """
        await self._shared.tasks.complete(self._update(wanted))

    async def _pause(self) -> None:
        async with self._lock:
            self._check_changeable()
            record = self.record
            if record.job.held and not record.stays_paused:
                await self._change(_to_stay_paused)
            elif self.state != pb.JOB_STATE_PAUSED:
                await self._change(to_state(pb.JOB_STATE_PAUSED))
                _log.info("job paused job=%s", self.name)
            self._suspend_painting()

    async def _resume(self) -> None:
        async with self._lock:
            self._check_changeable()
            if self.record.job.held:
                message = f"{self.name} is held by the server's administrator; wait until it is released"
                raise CallError(failed_precondition("HELD", self.name, message))
            if self.state == pb.JOB_STATE_PAUSED:
                self.queued_at = asyncio.get_running_loop().time()
                await self._change(to_state(pb.JOB_STATE_QUEUED))

    async def _hold(self) -> None:
        async with self._lock:
            self._check_changeable()
            if not self.record.job.held:
                await self._change(_to_held)
            self._suspend_painting()

    async def _release(self) -> None:
        async with self._lock:
            self._check_changeable()
            if self.record.job.held:
                self.queued_at = asyncio.get_running_loop().time()
                await self._change(_to_released)

    def _suspend_painting(self) -> None:
        if self.painting is not None:
            self.painting.suspend()

    async def _cancel(self) -> None:
        async with self._lock:
            self._check_not_draining()
            if self.state != pb.JOB_STATE_CANCELLED or self.deleted:
                self._check_changeable()
                await self._change(to_final(cancelled()))
            self._stop_painting()

    async def _delete(self) -> None:
        async with self._lock:
            self._check_not_draining()
            store = self._shared.store
            await store.change(store.store.jobs.delete, self.name)
            if not self.deleted:
                _log.info("job deleted job=%s", self.name)
                self._become_deleted()

    async def _update(self, wanted: Wanted) -> None:
        async with self._lock:
            self._check_changeable()
            changed = wanted(self._with_spec())
            if changed.recipe == self.record.job.recipe:
                await self._take_over(changed)
                return
        async with self._steering:
            await self._steer(wanted)

    async def _steer(self, wanted: Wanted) -> None:
        """Updates the recipe. A worker that paints the job is asked first, without the job's lock, so that
        nothing else waits for its answer."""
        asked: Painting | None = None
        answer: pb.Recipe | None = None
        try:
            while True:
                async with self._lock:
                    self._check_changeable()
                    changed = wanted(self._with_spec())
                    painting = self.painting
                    if painting is None or painting is asked:
                        if painting is not None and answer is not None:
                            changed.recipe.CopyFrom(answer)
                        await self._take_over(changed)
                        return
                answer = await painting.steer(changed.recipe)
                asked = painting
        finally:
            if asked is not None:
                asked.settle()

    async def _take_over(self, changed: pb.Job) -> None:
        def edit(record: Record) -> None:
            record.job.recipe.CopyFrom(changed.recipe)
            record.job.preview.CopyFrom(changed.preview)
            record.job.priority, record.job.title = changed.priority, changed.title

        await self._change(edit)
        self._follow()

    def _with_spec(self) -> pb.Job:
        message = self.message()
        message.spec.CopyFrom(self.record.spec)
        return message


def _to_stay_paused(record: Record) -> None:
    record.stays_paused = True


def _to_held(record: Record) -> None:
    record.stays_paused = record.job.state == pb.JOB_STATE_PAUSED
    record.job.held, record.job.state = True, pb.JOB_STATE_PAUSED


def _to_released(record: Record) -> None:
    if not record.stays_paused:
        record.job.state = pb.JOB_STATE_QUEUED
    record.job.held = record.stays_paused = False
