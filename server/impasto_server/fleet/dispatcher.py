"""Sees every job through: from the queue onto a device, through crashes and restarts, to its result."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.contract.errors import CallError, failed_precondition, internal, not_found, reason_of
from impasto_server.contract.images import images_of
from impasto_server.contract.previews import seconds
from impasto_server.contract.recipes import is_draft
from impasto_server.fleet.fleet import Fleet
from impasto_server.fleet.placement import Claim, Place, Placed, Served, plan
from impasto_server.fleet.worker_process import WorkerDied, WorkerProcess
from impasto_server.jobs.job import Job, Sequence, cancellation, failure, now
from impasto_server.store.store import CheckpointWriter, Record, Store, StoredImage, StoreError
from impasto_server.store.store_thread import StoreThread

_log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""A job at whose turn so many workers died, without its getting any further, is not tried again."""

_ALONE_AFTER = MAX_DEATHS - 1
"""Before its last try a job gets a device to itself, so that it harms nobody and nobody else is to blame."""

_TICK_SECONDS = 1.0
_RETURN_SECONDS = 60.0
"""For how long after a restart a job whose caller has to come back is kept for it."""
_STORE_RETRY_SECONDS = 5.0
_PREVIEWS_UNWANTED_SECONDS = 5.0
"""Previews go on for so long after the last one who wanted them has left: pollers come and go."""


class Observer(Protocol):
    """Who is told what the metrics count."""

    def job_ended(self, state: str, reason: str) -> None: ...

    def queue_waited(self, seconds: float) -> None: ...

    def first_preview(self, seconds: float) -> None: ...

    def evaluation(self, seconds: float, device: str) -> None: ...

    def device_seconds(self, tenant: str, seconds: float) -> None: ...

    def queue_length(self, jobs: int) -> None: ...


@dataclasses.dataclass(eq=False)
class _Run:
    """A job on a device.

    Attributes:
        job: which.
        worker: whose.
        task: sees to it until it is off the device.
        since: when it was placed.
        started: whether the worker has opened it.
        finished: whether its last evaluation is over.
        leaving: whether it has been told to make room.
        pausing: whether it is to be paused then.
        watched: what the worker was last told of its being watched.
        device_seconds: device time that has been charged for.
        evaluations: evaluations that have been counted.
    """

    job: Job
    worker: WorkerProcess
    since: float
    watched: bool
    task: asyncio.Task[None] | None = None
    started: bool = False
    finished: bool = False
    leaving: bool = False
    pausing: bool = False
    device_seconds: float = 0.0
    evaluations: int = 0


class Dispatcher:
    """The jobs that are not over, the queue, and who is on which device.

    What it acknowledges is in the store first.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: Store,
        observer: Observer,
        *,
        weight_of: Callable[[str], float],
        max_resident: int,
        checkpoint_interval: float,
    ) -> None:
        """
        Args:
            fleet: the workers.
            store: where jobs are kept.
            observer: for the metrics.
            weight_of: a tenant's share of the devices beside the others'.
            max_resident: jobs on a device at a time.
            checkpoint_interval: seconds of device time between two checkpoints of a job, at least.
        """
        self._fleet = fleet
        self._files = store
        self._store = StoreThread(store)
        self._observer = observer
        self._weight_of = weight_of
        self._max_resident = max_resident
        self._checkpoint_interval = checkpoint_interval
        self._sequence = Sequence(store.generation)
        self._jobs: dict[str, Job] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._runs: dict[str, _Run] = {}
        self._too_small: dict[str, frozenset[str]] = {}
        self._queued_at: dict[str, float] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._served = Served()
        self._wake = asyncio.Event()
        self._draining = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # Life.

    async def start(self) -> None:
        """Takes up the jobs that an earlier server left, and begins to place jobs."""
        for record in await self._store(self._files.unfinished):
            job = self._enter(record)
            if job.message.state != pb.JOB_STATE_PAUSED:
                job.message.state = pb.JOB_STATE_QUEUED
                self._queued_at[job.name] = time.monotonic()
            if record.linger is not None:
                self._linger(job, max(record.linger, _RETURN_SECONDS))
        if self._jobs:
            _log.info("jobs taken up jobs=%d", len(self._jobs))
        self._spawn(self._keep_placing())
        self._spawn(self._keep_time())

    async def drain(self, seconds: float) -> None:
        """Takes every job off its device with a checkpoint, in so many seconds at most, and tells watchers to
        come back. No job is placed any more."""
        self._draining = True
        for job in list(self._jobs.values()):
            job.tell_resume(_TICK_SECONDS)
        for handle in self._lingering.values():
            handle.cancel()
        runs = [run for run in self._runs.values() if run.task is not None]
        for run in runs:
            self._spawn(self._suspend(run))
        tasks = [run.task for run in runs if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in [*tasks, *self._tasks]:
            task.cancel()
        await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)
        await self._store.close()

    @property
    def draining(self) -> bool:
        """Whether no job is placed any more."""
        return self._draining

    # Questions.

    def unfinished(self, tenant: str | None = None) -> int:
        """How many jobs are not over: all, or a tenant's."""
        return sum(
            not job.finished and (tenant is None or job.record.tenant == tenant)
            for job in self._jobs.values()
        )

    def in_state(self, state: str) -> int:
        """How many jobs that are not over are in a state, as "running". For any thread."""
        number = pb.JobState.Value(f"JOB_STATE_{state.upper()}")
        return sum(job.message.state == number for job in list(self._jobs.values()))

    def job(self, name: str, tenant: str) -> Job | None:
        """A job that is not over or still being watched, if it is the tenant's."""
        job = self._jobs.get(name)
        return job if job is not None and job.record.tenant == tenant else None

    def shown(self, record: Record) -> pb.Job:
        """A job of the store as it is now."""
        job = self._jobs.get(record.job.name)
        return _copied(job.message if job is not None else record.job)

    def finished_job(self, record: Record) -> Job:
        """A job that is over, to be watched: its last event comes again."""
        return Job(record, self._sequence, lambda _: None)

    # Calls.

    async def submit(self, record: Record) -> Job:
        """Stores a new job and queues it; or returns the one that there is, if the same was asked before.

        Raises:
            RequestIdTaken, MissingImage, StoreError: it was not stored.
        """
        stored = await self._store(self._files.create, record)
        known = self._jobs.get(stored.job.name)
        if known is not None:
            return known
        if stored.job.name != record.job.name:
            return Job(stored, self._sequence, lambda _: None)
        job = self._enter(stored)
        self._queued_at[job.name] = time.monotonic()
        if stored.linger is not None:
            self._linger(job, stored.linger + _TICK_SECONDS)
        self._update_positions([job])
        self._wake.set()
        return job

    async def pause(self, job: Job) -> None:
        """Takes a job off its device, or out of the queue.

        Raises:
            CallError: FAILED_PRECONDITION: it is over.
        """
        run = self._runs.get(job.name)
        if run is not None and not job.finished:
            run.pausing = True
            await self._suspend(run)
            assert run.task is not None
            await asyncio.wait({run.task})
        async with self._lock(job):
            _refuse_if_over(job)
            if job.message.state != pb.JOB_STATE_PAUSED and job.name not in self._runs:
                await self._pause(job)

    async def resume(self, job: Job) -> None:
        """Queues a paused job again.

        Raises:
            CallError: FAILED_PRECONDITION: it is over.
        """
        run = self._runs.get(job.name)
        if run is not None:
            run.pausing = False
        async with self._lock(job):
            _refuse_if_over(job)
            if job.message.state == pb.JOB_STATE_PAUSED:
                await self._requeue(job)

    async def cancel(self, job: Job) -> None:
        """Cancels a job.

        Raises:
            CallError: FAILED_PRECONDITION: it succeeded or failed.
        """
        async with self._lock(job):
            if job.message.state == pb.JOB_STATE_CANCELLED:
                return
            _refuse_if_over(job)
            await self._end(job, cancellation())
        await self._leave_device(job)

    async def delete(self, record: Record) -> None:
        """Deletes a job, cancelling it first if need be."""
        job = self._jobs.get(record.job.name)
        if job is not None:
            with contextlib.suppress(CallError):
                await self.cancel(job)
            job.break_off(CallError(not_found(job.name)))
            self._forget(job)
        await self._store(self._files.delete, record.job.name)
        _log.info("job deleted job=%s", record.job.name)

    async def update(self, job: Job, changed: pb.Job) -> None:
        """Changes a job: recipe, preview, priority and title become those of `changed`.

        Raises:
            CallError: FAILED_PRECONDITION: it is over; INVALID_ARGUMENT: its worker refuses the recipe.
        """
        async with self._lock(job):
            _refuse_if_over(job)
            before = _copied(job.message)
            request = worker_pb2.UpdateRunRequest(job_name=job.name, priority=changed.priority)
            if changed.recipe != before.recipe:
                request.recipe.CopyFrom(changed.recipe)
            if changed.preview != before.preview:
                request.preview.CopyFrom(changed.preview)
            # In the store, and so in every later run, before it is acknowledged.
            for field in ("recipe", "preview"):
                getattr(job.message, field).CopyFrom(getattr(changed, field))
            job.message.priority, job.message.title = changed.priority, changed.title
            try:
                run = self._runs.get(job.name)
                answer = await run.worker.update(request) if run is not None else None
                if answer is not None and answer.HasField("recipe"):
                    job.message.recipe.CopyFrom(answer.recipe)
                await self._save(job)
            except BaseException:
                for field in ("recipe", "preview"):
                    getattr(job.message, field).CopyFrom(getattr(before, field))
                job.message.priority, job.message.title = before.priority, before.title
                raise
            job.tell_changed()
            self._wake.set()

    # Watching.

    def _watching_changed(self, job: Job) -> None:
        if handle := self._lingering.pop(job.name, None):
            handle.cancel()
        if job.finished:
            if not job.watchers:
                self._forget(job)
            return
        if not job.watchers and job.record.linger is not None and not self._draining:
            self._linger(job, job.record.linger)
        loop = asyncio.get_running_loop()
        delay = 0.0 if job.previews_wanted else _PREVIEWS_UNWANTED_SECONDS
        loop.call_later(delay, lambda: self._spawn(self._tell_watched(job)))
        if job.watchers:
            self._wake.set()

    async def _tell_watched(self, job: Job) -> None:
        run = self._runs.get(job.name)
        wanted = job.previews_wanted
        if run is None or run.watched == wanted:
            return
        run.watched = wanted
        with contextlib.suppress(CallError):
            await run.worker.update(worker_pb2.UpdateRunRequest(job_name=job.name, watched=wanted))

    def _linger(self, job: Job, seconds: float) -> None:
        def cancel() -> None:
            self._lingering.pop(job.name, None)
            if not job.watchers and not job.finished and not self._draining:
                _log.info("job's caller is gone job=%s", job.name)
                self._spawn(self._cancel_quietly(job))

        self._lingering[job.name] = asyncio.get_running_loop().call_later(seconds, cancel)

    async def _cancel_quietly(self, job: Job) -> None:
        with contextlib.suppress(CallError):
            await self.cancel(job)

    # Placing.

    async def _keep_placing(self) -> None:
        while not self._draining:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._place()
            except Exception:
                _log.exception("jobs cannot be placed")

    async def _keep_time(self) -> None:
        """What changes by itself: who has had how much, who is ready, positions in the queue."""
        while not self._draining:
            change = self._fleet.change
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(change.wait(), _TICK_SECONDS)
            self._wake.set()
            self._update_positions(job for job in self._jobs.values() if job.watchers)

    def _place(self) -> None:
        waiting = [job for job in self._jobs.values() if self._is_waiting(job)]
        self._observer.queue_length(len(waiting))
        self._served.keep({job.record.tenant for job in self._jobs.values() if not job.finished})
        if not waiting:
            return
        now_ = time.monotonic()
        workers = {worker.key: worker for worker in self._fleet.ready_workers}
        places = []
        for key, worker in workers.items():
            runs = [run for run in self._runs.values() if run.worker is worker]
            placed = [
                Placed(claim=self._claim(run.job), seconds=now_ - run.since, leaving=run.leaving)
                for run in runs
            ]
            planned = sum(run.job.message.memory_plan.estimated_bytes for run in runs if run.started)
            places.append(
                Place(
                    device=key,
                    slots=self._max_resident,
                    jobs=placed,
                    free_bytes=worker.memory_bytes - planned,
                )
            )
        todo = plan([self._claim(job) for job in waiting], places, self._served)
        for name in todo.suspend:
            _log.info("job makes room job=%s", name)
            self._spawn(self._suspend(self._runs[name]))
        for name, key in todo.start:
            self._start(self._jobs[name], workers[key])

    def _is_waiting(self, job: Job) -> bool:
        return job.message.state == pb.JOB_STATE_QUEUED and job.name not in self._runs

    def _claim(self, job: Job) -> Claim:
        message = job.message
        begun = message.HasField("progress")
        return Claim(
            name=job.name,
            tenant=job.record.tenant,
            weight=self._weight_of(job.record.tenant),
            priority=message.priority,
            created=message.create_time.ToNanoseconds(),
            interactive=not begun and (job.watchers > 0 or is_draft(message)),
            watched=job.watchers > 0,
            alone=job.record.deaths >= _ALONE_AFTER,
            too_small=self._too_small.get(job.name, frozenset()),
        )

    def _start(self, job: Job, worker: WorkerProcess) -> None:
        run = _Run(job, worker, time.monotonic(), watched=job.previews_wanted)
        self._runs[job.name] = run
        run.task = asyncio.create_task(self._see_to(run))

    async def _suspend(self, run: _Run) -> None:
        run.leaving = True
        await run.worker.suspend(run.job.name)

    def _update_positions(self, jobs: Iterable[Job]) -> None:
        """Tells the watchers of queued jobs where these stand, if that has changed."""
        for job in jobs:
            if self._is_waiting(job) and job.message.queue_position != (position := self._position(job)):
                job.message.queue_position = position
                job.tell_changed()

    def _position(self, job: Job) -> int:
        """A queued job's place among its tenant's queued jobs, from 1."""
        mine = self._rank(job)
        return 1 + sum(
            other.record.tenant == job.record.tenant and self._is_waiting(other) and self._rank(other) < mine
            for other in self._jobs.values()
        )

    @staticmethod
    def _rank(job: Job) -> tuple[int, int]:
        return -job.message.priority, job.message.create_time.ToNanoseconds()

    # On a device.

    async def _see_to(self, run: _Run) -> None:
        """Has a job painted, until it is off its device, for whatever reason."""
        job = run.job
        try:
            await self._paint(run)
        except asyncio.CancelledError:
            # By whoever ended the job, or because the server ends.
            raise
        except WorkerDied as error:
            await self._blame(run, error)
        except Exception as error:
            _log.exception("painting failed job=%s", job.name)
            ending = error.status if isinstance(error, CallError) else internal()
            async with self._lock(job):
                if not job.finished:
                    await self._end(job, failure(ending))
        finally:
            self._runs.pop(job.name, None)
            self._wake.set()
        async with self._lock(job):
            if job.message.state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING) and not self._draining:
                await (self._pause(job) if run.pausing else self._requeue(job))
            elif self._draining and not job.finished:
                job.message.state = pb.JOB_STATE_PAUSED if run.pausing else pb.JOB_STATE_QUEUED
                await self._save(job)

    async def _paint(self, run: _Run) -> None:
        job = run.job
        begin, images, checkpoint = await asyncio.to_thread(self._inputs, run)
        result = bytearray()
        finished: worker_pb2.Finished | None = None
        saving = _Saving(self._files, job.name)
        try:
            responses = run.worker.run(begin, images, checkpoint)
            async with contextlib.aclosing(responses):
                async for response in responses:
                    payload = response.WhichOneof("payload")
                    if payload == "started":
                        await self._on_started(run, response.started)
                    elif payload == "progress":
                        self._on_progress(run, response.progress)
                    elif payload == "preview":
                        self._on_preview(job, response.preview)
                    elif payload == "checkpoint":
                        if await saving.take(response.checkpoint):
                            job.record.checkpoint = response.checkpoint.evaluation
                            await self._save(job, durable=False)
                    elif payload == "finished":
                        run.finished, finished = True, response.finished
                    elif payload == "result":
                        result += response.result.data
        finally:
            await saving.close()
        if finished is not None:
            await self._on_finished(run, finished, bytes(result))

    def _inputs(self, run: _Run) -> tuple[worker_pb2.Begin, list[tuple[str, StoredImage]], Path | None]:
        """
        Raises:
            CallError: an image is not there any more.
        """
        record = run.job.record
        message = record.job
        checkpoint = self._files.checkpoint_path(message.name)
        begin = worker_pb2.Begin(
            job_name=message.name,
            spec=record.spec,
            preview=message.preview,
            tenant=record.tenant,
            tenant_weight=self._weight_of(record.tenant),
            priority=message.priority,
            create_time_ns=message.create_time.ToNanoseconds(),
            watched=run.watched,
            resumes=checkpoint is not None,
        )
        begin.spec.recipe.CopyFrom(message.recipe)
        begin.checkpoint_interval.FromNanoseconds(round(self._checkpoint_interval * 1e9))
        images: dict[str, StoredImage] = {}
        for _, image in images_of(record.spec):
            stored = self._files.image(record.tenant, image.sha256)
            if stored is None:
                raise CallError(
                    failed_precondition("IMAGE_LOST", image.sha256, f"the image {image.sha256} is not there")
                )
            images[image.sha256] = stored
        return begin, list(images.items()), checkpoint

    async def _on_started(self, run: _Run, started: worker_pb2.Started) -> None:
        job = run.job
        run.started = True
        run.evaluations = started.evaluation
        if started.evaluation and job.message.HasField("progress"):
            run.device_seconds = seconds(job.message.progress.device_time)
        queued_at = self._queued_at.pop(job.name, None)
        if queued_at is not None and not job.message.HasField("start_time"):
            self._observer.queue_waited(time.monotonic() - queued_at)
        job.start(started, run.worker.network, run.worker.device)
        await self._save(job, durable=False)

    def _on_progress(self, run: _Run, progress: pb.Progress) -> None:
        job = run.job
        total = seconds(progress.device_time)
        spent = max(0.0, total - run.device_seconds)
        made = progress.evaluation - run.evaluations
        run.device_seconds, run.evaluations = total, progress.evaluation
        self._served.charge(job.record.tenant, spent, self._weight_of(job.record.tenant))
        self._observer.device_seconds(job.record.tenant, spent)
        if made > 0:
            self._observer.evaluation(spent / made, run.worker.device)
        if progress.evaluation > job.record.furthest:
            job.record.furthest, job.record.deaths = progress.evaluation, 0
        job.progress(progress)

    def _on_preview(self, job: Job, preview: pb.Preview) -> None:
        if job.preview_event is None:
            waited = time.time() - job.message.start_time.ToNanoseconds() / 1e9
            self._observer.first_preview(max(0.0, waited))
        job.preview(preview)

    async def _on_finished(self, run: _Run, finished: worker_pb2.Finished, result: bytes) -> None:
        job = run.job
        if not finished.HasField("error"):
            await self._succeed(job, finished, result)
            return
        if reason_of(finished.error) == "DOES_NOT_FIT" and self._has_larger_device(run.worker):
            _log.info("job needs a larger device job=%s device=%s", job.name, run.worker.device)
            known = self._too_small.get(job.name, frozenset())
            self._too_small[job.name] = known | {run.worker.key}
            return
        async with self._lock(job):
            if not job.finished:
                await self._end(job, failure(finished.error, finished.stop_reason))

    def _has_larger_device(self, worker: WorkerProcess) -> bool:
        return any(other.memory_bytes > worker.memory_bytes for other in self._fleet.ready_workers)

    async def _succeed(self, job: Job, finished: worker_pb2.Finished, result: bytes) -> None:
        """Stores the result, and only then says that it is there."""
        async with self._lock(job):
            if job.finished:
                return
            ended = dataclasses.replace(job.record, job=_copied(job.message))
            ended.job.MergeFrom(
                pb.Job(
                    state=pb.JOB_STATE_SUCCEEDED,
                    stop_reason=finished.stop_reason,
                    stop_message=finished.stop_message,
                    end_time=now(),
                    result=pb.ImageInfo(
                        format=pb.IMAGE_FORMAT_PNG,
                        width=job.message.width,
                        height=job.message.height,
                        size_bytes=len(result),
                        sha256=hashlib.sha256(result).hexdigest(),
                    ),
                )
            )
        while True:
            async with self._lock(job):
                if job.finished:
                    return
                try:
                    # Shielded: a result that is being stored is stored, whoever ends this task.
                    await asyncio.shield(self._store(self._files.finish, ended, result))
                except StoreError as error:
                    _log.error("result cannot be stored, trying again job=%s error=%r", job.name, str(error))
                else:
                    job.record = ended
                    self._observer.job_ended("succeeded", "")
                    _log.info("job ended job=%s state=succeeded evaluations=%d", job.name, ended.furthest)
                    job.succeed()
                    self._over(job)
                    return
            await asyncio.sleep(_STORE_RETRY_SECONDS)

    async def _blame(self, run: _Run, error: WorkerDied) -> None:
        """A worker died: its job goes on elsewhere, unless it seems to be what kills workers."""
        job = run.job
        # Between turns, images are decoded and results coded: those who are at that may be to blame.
        suspect = error.turn_of == job.name or (not error.turn_of and (not run.started or run.finished))
        async with self._lock(job):
            if job.finished:
                return
            job.record.deaths += suspect
            _log.warning("job lost its worker job=%s deaths=%d", job.name, job.record.deaths)
            if job.record.deaths < MAX_DEATHS:
                return
            message = (
                f"the worker died {MAX_DEATHS} times when it was this job's turn, so it is not tried again; "
                "another size or other images may do"
            )
            await self._end(job, failure(internal("JOB_KILLS_WORKER", message)))

    # States.

    def _enter(self, record: Record) -> Job:
        job = Job(record, self._sequence, self._watching_changed)
        self._jobs[job.name] = job
        return job

    def _lock(self, job: Job) -> asyncio.Lock:
        return self._locks.setdefault(job.name, asyncio.Lock())

    async def _requeue(self, job: Job) -> None:
        self._queued_at[job.name] = time.monotonic()
        job.message.state = pb.JOB_STATE_QUEUED
        job.message.queue_position = self._position(job)
        await self._save(job)
        job.tell_changed()
        self._wake.set()

    async def _pause(self, job: Job) -> None:
        job.message.state = pb.JOB_STATE_PAUSED
        job.message.queue_position = 0
        await self._save(job)
        job.tell_changed()
        _log.info("job paused job=%s", job.name)

    async def _end(self, job: Job, end: pb.Job) -> None:
        """Ends a job without a result; its lock must be held."""
        job.end(end)
        await self._save(job)
        state = _word(pb.JobState.Name(end.state))
        self._observer.job_ended(state, reason_of(end.error))
        _log.info("job ended job=%s state=%s error=%r", job.name, state, end.error.message)
        job.tell_changed()
        self._over(job)

    def _over(self, job: Job) -> None:
        self._too_small.pop(job.name, None)
        self._queued_at.pop(job.name, None)
        if not job.watchers:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._jobs.get(job.name) is job:
            del self._jobs[job.name]
        if handle := self._lingering.pop(job.name, None):
            handle.cancel()
        self._locks.pop(job.name, None)

    async def _leave_device(self, job: Job) -> None:
        run = self._runs.get(job.name)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.wait({run.task})

    async def _save(self, job: Job, *, durable: bool = True) -> None:
        # A copy: the event loop goes on changing the job while the thread writes it.
        record = dataclasses.replace(job.record, job=_copied(job.message))
        await self._store(functools.partial(self._files.save, durable=durable), record)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Saving:
    """The checkpoints of a job as they come in, piece by piece.

    One that cannot be written is no reason to stop: the last one is still there.
    """

    def __init__(self, store: Store, job_name: str) -> None:
        self._store = store
        self._job_name = job_name
        self._writer: CheckpointWriter | None = None

    async def take(self, chunk: worker_pb2.CheckpointChunk) -> bool:
        """Takes a piece; tells whether a checkpoint is complete with it."""
        try:
            if chunk.offset == 0:
                await self.close()
                self._writer = await asyncio.to_thread(
                    self._store.checkpoint_writer, self._job_name, chunk.evaluation
                )
            if self._writer is None:
                return False
            await asyncio.to_thread(self._writer.write, chunk.data)
            if chunk.offset + len(chunk.data) < chunk.size_bytes:
                return False
            writer, self._writer = self._writer, None
            await asyncio.to_thread(writer.commit)
        except StoreError as error:
            _log.error("checkpoint cannot be stored job=%s error=%r", self._job_name, str(error))
            await self.close()
            return False
        return True

    async def close(self) -> None:
        """Gives up what is not complete."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.shield(asyncio.to_thread(writer.abort))


def _refuse_if_over(job: Job) -> None:
    if job.finished:
        word = _word(pb.JobState.Name(job.message.state))
        raise CallError(
            failed_precondition("JOB_IS_OVER", job.name, f"{job.name} is over already: it {_ENDED[word]}")
        )


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


def _copied(job: pb.Job) -> pb.Job:
    copy = pb.Job()
    copy.CopyFrom(job)
    return copy


def _word(state: str) -> str:
    return state.removeprefix("JOB_STATE_").lower()
