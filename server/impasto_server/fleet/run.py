"""The run of a job on a worker: sends the worker its inputs and changes, and handles its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, internal, reason_of
from impasto_server.contract.pictures import Intake, Samples
from impasto_server.contract.previews import seconds
from impasto_server.fleet.job_pictures import JobPictures
from impasto_server.fleet.saving import Saving
from impasto_server.fleet.telling import Telling
from impasto_server.fleet.worker_process import WorkerDied
from impasto_server.fleet.workers import Worker
from impasto_server.jobs.job import Job
from impasto_server.jobs.tasks import Tasks
from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record
from impasto_server.temporary import anonymous_file
from impasto_server.v1 import worker_pb2

_log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""A job fails if this many workers crash in its turn without any progress in between."""

_RETRY_SECONDS = 2.0
"""Time in seconds after which a job is tried again that could not start because of a fault of the store."""


class Observer(Protocol):
    """Receives the events that the metrics count."""

    def queue_waited(self, seconds: float) -> None: ...

    def first_preview(self, seconds: float) -> None: ...

    def worked(self, tenant: str, device: str, seconds: float, evaluations: int) -> None: ...


class Run:
    """One execution of a job on a worker, from its placement until it is off the device.

    Attributes:
        job: the job.
        worker: paints the job.
        since: event-loop time at which the job was placed.
        leaving: whether it was told to leave with a checkpoint.
        started: whether the worker has started to paint.
        painted: whether the last evaluation is made, and only the result must be encoded and sent.
        off_device: set once nothing of the job is on the device any more.
    """

    def __init__(
        self,
        job: Job,
        worker: Worker,
        *,
        store: AsyncStore,
        intake: Intake,
        tasks: Tasks,
        observer: Observer,
        weight: float,
        checkpoint_interval: float,
        charge: Callable[[str, float], None],
        has_larger_device: Callable[[Worker], bool],
    ) -> None:
        """
        Args:
            job: the job to paint. Its `painting` becomes this run.
            worker: paints the job.
            store: has images, checkpoints and results.
            intake: decodes the images and encodes the result.
            tasks: run work that goes on if this run is stopped.
            observer: for the metrics.
            weight: the tenant's share of the worker's time relative to other tenants there.
            checkpoint_interval: minimum device time in seconds between two checkpoints.
            charge: called with a tenant and the seconds of device time that it used.
            has_larger_device: whether another worker has more memory than the given one.
        """
        loop = asyncio.get_running_loop()
        self.job = job
        self.worker = worker
        self.since = loop.time()
        self.leaving = False
        self.started = False
        self.painted = False
        self.off_device = asyncio.Event()
        self._store = store
        self._intake = intake
        self._tasks = tasks
        self._observer = observer
        self._weight = weight
        self._checkpoint_interval = checkpoint_interval
        self._charge = charge
        self._has_larger_device = has_larger_device
        self._telling = Telling(job, worker, tasks, self.off_device)
        self._suspending = False
        self._device_seconds = 0.0
        self._evaluations = 0
        self._stopped = False
        self._work: asyncio.Task[None] | None = None
        job.painting = self
        tasks.start(self._stay())

    # Called by the job.

    async def steer(self, recipe: pb.Recipe) -> pb.Recipe | None:
        """See `Painting`."""
        return await self._telling.steer(recipe)

    def settle(self) -> None:
        """See `Painting`."""
        self._telling.settle()

    def follow(self) -> None:
        """See `Painting`."""
        self._telling.follow()

    def suspend(self) -> None:
        """See `Painting`."""
        self.leaving = True
        if self.started and not self._suspending:
            self._suspending = True
            self._tasks.start(self._suspend())

    def stop(self) -> None:
        """See `Painting`."""
        self._stopped = True
        if self._work is not None:
            self._work.cancel()

    def remind(self) -> None:
        """Repeats to the worker what it did not receive, for example because it hung for a while."""
        if self.leaving:
            self.suspend()
        self._telling.remind()

    async def _suspend(self) -> None:
        try:
            await self.worker.suspend(self.job.name)
        finally:
            self._suspending = False

    # The run itself.

    async def _stay(self) -> None:
        """Does the whole run. Only the work in it can be cancelled, so that its end is always reported."""
        if not self._stopped:
            self._work = asyncio.get_running_loop().create_task(self._work_and_judge())
            await asyncio.wait({self._work})
        await self.job.left_device(self)

    async def _work_and_judge(self) -> None:
        job = self.job
        try:
            await self._paint()
        except WorkerDied as error:
            await self._on_worker_died(error)
        except (StoreError, OSError) as error:
            # This is not the job's fault: it is tried again.
            _log.error("job cannot be painted yet job=%s error=%r", job.name, str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        except CallError as error:
            _log.error("painting failed job=%s error=%r", job.name, str(error))
            await job.fail(error.status)
        except Exception:
            _log.exception("painting failed job=%s", job.name)
            await job.fail(internal())

    async def _paint(self) -> None:
        told = self._telling.begin()
        pictures = JobPictures(self.job.record, self._store, self._intake)
        with anonymous_file() as painted:
            await pictures.find()
            begin, checkpoint = await self._store.load(self._inputs, self.job.record, told)
            if self.leaving:
                return
            begin.pictures.extend(pictures.about)
            begin.result_bits = pictures.result_bits
            finished = await self._work_through(begin, pictures, checkpoint, painted)
            if finished is not None:
                await self._on_finished(finished, pictures, painted)

    async def _work_through(
        self, begin: worker_pb2.Begin, pictures: JobPictures, checkpoint: Path | None, painted: BinaryIO
    ) -> worker_pb2.Finished | None:
        """Has the worker paint, and receives the samples of the painting.

        Returns:
            The worker's last message; None if the job left the device before it was finished.
        """
        finished: worker_pb2.Finished | None = None
        async with (
            contextlib.aclosing(Saving(self._store, self._tasks, self.job.name)) as saving,
            contextlib.aclosing(self.worker.run(begin, pictures.decoded(), checkpoint)) as responses,
        ):
            async for response in responses:
                payload = response.WhichOneof("payload")
                if payload == "started":
                    await self._on_started(response.started, begin.spec.recipe)
                elif payload == "progress":
                    self._on_progress(response.progress)
                elif payload == "preview":
                    self._on_preview(response.preview)
                elif payload == "checkpoint":
                    if await saving.take(response.checkpoint):
                        await self.job.saved()
                elif payload == "finished":
                    self.painted, finished = True, response.finished
                elif payload == "result":
                    painted.write(response.result.data)
        return finished

    def _inputs(
        self, record: Record, told: worker_pb2.UpdateRunRequest
    ) -> tuple[worker_pb2.Begin, Path | None]:
        message = record.job
        checkpoint = self._store.store.checkpoints.path(message.name)
        begin = worker_pb2.Begin(
            job_name=message.name,
            spec=record.spec,
            preview=told.preview,
            tenant=record.tenant,
            tenant_weight=self._weight,
            priority=told.priority,
            number=record.number,
            watched=told.watched,
            resumes=checkpoint is not None,
        )
        begin.spec.recipe.CopyFrom(told.recipe)
        begin.checkpoint_interval.FromNanoseconds(round(self._checkpoint_interval * 1e9))
        return begin, checkpoint

    async def _on_started(self, started: worker_pb2.Started, told: pb.Recipe) -> None:
        job = self.job
        self.started = True
        self._evaluations = started.evaluation
        if started.evaluation and job.progress is not None:
            self._device_seconds = seconds(job.progress.device_time)
        if not job.record.job.HasField("start_time"):
            self._observer.queue_waited(asyncio.get_running_loop().time() - job.queued_at)
        _log.info(
            "job started job=%s device=%s evaluation=%d", job.name, self.worker.device, started.evaluation
        )
        await job.started(started, self.worker.network, self.worker.device, told)
        # Changes from before the worker knew the job.
        if self.leaving:
            self.suspend()
        self._telling.begun(told, started.recipe)

    def _on_progress(self, progress: pb.Progress) -> None:
        total = seconds(progress.device_time)
        spent = max(0.0, total - self._device_seconds)
        made = progress.evaluation - self._evaluations
        self._device_seconds, self._evaluations = total, progress.evaluation
        self._charge(self.job.tenant, spent)
        self._observer.worked(self.job.tenant, self.worker.device, spent, made)
        self.job.got_further(progress)

    def _on_preview(self, preview: pb.Preview) -> None:
        if self.job.audience.preview is None:
            self._observer.first_preview(asyncio.get_running_loop().time() - self.since)
        self.job.showed(preview)

    async def _on_finished(
        self, finished: worker_pb2.Finished, pictures: JobPictures, painted: BinaryIO
    ) -> None:
        if not finished.HasField("error"):
            about = finished.result
            made_from = _made_from(self.job.record.spec)
            metadata = json.dumps(json.loads(about.metadata) | made_from)
            samples = Samples(painted, about.width, about.height, 3, about.bits)
            await self.job.succeed(finished, await pictures.result(samples, metadata))
        elif reason_of(finished.error) == "DOES_NOT_FIT" and self._has_larger_device(self.worker):
            _log.info("job needs a larger device job=%s device=%s", self.job.name, self.worker.device)
            self.job.too_small |= {self.worker.key}
        else:
            await self.job.fail(finished.error, finished.stop_reason)

    async def _on_worker_died(self, error: WorkerDied) -> None:
        """Has the job continue on another worker, unless it seems to be the cause of the crashes."""
        job = self.job
        # Between turns, inputs are loaded and results are sent: the jobs in these phases can be the cause.
        suspect = error.turn_of == job.name or (not error.turn_of and (not self.started or self.painted))
        await job.lost_worker(blamed=error.blames and suspect)
        if job.deaths >= MAX_DEATHS:
            message = (
                f"the worker crashed {MAX_DEATHS} times while it painted this job, without progress; try "
                "another size or other images"
            )
            await job.fail(internal("JOB_KILLS_WORKER", message))


def _made_from(spec: pb.JobSpec) -> dict[str, object]:
    """Returns the images' SHA-256 digests and their use, for the result's metadata."""
    made_from: dict[str, object] = {}
    if spec.HasField("texture"):
        made_from["texture"] = {"width": spec.texture.width, "height": spec.texture.height}
    for field in ("content", "selection", "start_image"):
        if spec.HasField(field):
            made_from[f"{field}_sha256"] = getattr(spec, field).sha256
    made_from["styles"] = [
        {"sha256": style.image.sha256, "weight": style.weight if style.HasField("weight") else 1.0}
        for style in spec.styles
    ]
    if spec.regions:
        made_from["regions"] = [_region(region) for region in spec.regions]
    return made_from


def _region(region: pb.Region) -> dict[str, object]:
    entry: dict[str, object] = {"content_mask_sha256": region.content_mask.sha256, "style": region.style}
    if region.HasField("style_mask"):
        entry["style_mask_sha256"] = region.style_mask.sha256
    return entry
