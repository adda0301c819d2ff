"""The events of a job on a device."""

from __future__ import annotations

import asyncio
import logging
from typing import BinaryIO

from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError
from impasto_server.jobs.states import failed, now
from impasto_server.jobs.stored_job import Painting, StoredJob, to_final, to_state
from impasto_server.store.blobs import file_digest
from impasto_server.store.errors import StoreError
from impasto_server.store.records import Record
from impasto_server.v1 import worker_pb2

_log = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 5.0
"""Time in seconds after which a failed write to the store is tried again."""


class PaintedJob(StoredJob):
    """A job that receives the events of its run.

    Every method that changes the record does so in a task of its own, because the run can be stopped
    meanwhile.
    """

    def was_left(self) -> None:
        """The job was loaded from the store. It waits for a device, unless it is paused."""
        self.queued_at = asyncio.get_running_loop().time()
        if self.state == pb.JOB_STATE_RUNNING:
            self.behind = True
            self._take(self._edited(to_state(pb.JOB_STATE_QUEUED)))

    async def started(
        self, started: worker_pb2.Started, network: pb.FeatureNetwork, device: str, told: pb.Recipe
    ) -> None:
        """The worker has started to paint.

        Args:
            started: the worker's message.
            network, device: what the worker paints with.
            told: the recipe that the worker was given, which can have been changed since.
        """

        def edit(record: Record) -> None:
            job = record.job
            if job.state == pb.JOB_STATE_QUEUED:
                job.state = pb.JOB_STATE_RUNNING
            job.width, job.height, job.device = started.width, started.height, device
            job.bfloat16 = started.bfloat16
            job.network.CopyFrom(network)
            job.memory_plan.CopyFrom(started.memory_plan)
            if job.recipe == told:
                job.recipe.CopyFrom(started.recipe)
            if not job.HasField("start_time"):
                job.start_time.CopyFrom(now())

        await self._shared.tasks.complete(self._note_unless_final(edit))

    def got_further(self, progress: pb.Progress) -> None:
        """An evaluation was made, or some targets of a scale were found. Targets alone are no progress,
        because they are computed again after each crash of the worker."""
        self.progress = progress
        if progress.evaluation > self._furthest:
            self._furthest, self.deaths = progress.evaluation, 0
        if self.state == pb.JOB_STATE_RUNNING:
            self.audience.tell(pb.JobEvent(progress=progress))

    def showed(self, preview: pb.Preview) -> None:
        """A preview was made."""
        if self.state == pb.JOB_STATE_RUNNING:
            self.audience.tell(pb.JobEvent(preview=preview))

    async def saved(self) -> None:
        """A checkpoint was stored. The progress that belongs to it is stored too."""
        await self._shared.tasks.complete(self._note_unless_final(lambda record: None, quiet=True))

    async def lost_worker(self, *, blamed: bool) -> None:
        """The job's worker crashed; if `blamed`, probably because of this job."""
        self.deaths += blamed
        _log.warning("job lost its worker job=%s deaths=%d", self.name, self.deaths)
        await self.saved()

    async def succeed(self, finished: worker_pb2.Finished, result: BinaryIO) -> None:
        """Stores the result, a PNG, however long that takes, and then publishes the success. Closes the
        file."""
        await self._shared.tasks.complete(self._succeed(finished, result))

    async def fail(
        self, error: status_pb2.Status, stop_reason: pb.StopReason = pb.STOP_REASON_UNSPECIFIED
    ) -> None:
        """Stores that the job failed, however long that takes, and then publishes the failure."""
        await self._shared.tasks.complete(self._become(failed(error, stop_reason), None))

    async def left_device(self, painting: Painting) -> None:
        """The run has ended. The job waits for a device again, unless it is paused or final."""
        await self._shared.tasks.complete(self._left_device(painting))

    async def _succeed(self, finished: worker_pb2.Finished, result: BinaryIO) -> None:
        with result:
            await self._store_result(finished, result)

    async def _store_result(self, finished: worker_pb2.Finished, result: BinaryIO) -> None:
        result.seek(0)
        sha256 = await self._shared.store.load(file_digest, result)
        is_deep = finished.result.bits == 16
        image = pb.ImageInfo(
            format=pb.IMAGE_FORMAT_PNG_16 if is_deep else pb.IMAGE_FORMAT_PNG,
            width=self.record.job.width,
            height=self.record.job.height,
            size_bytes=result.tell(),
            sha256=sha256,
        )
        end = pb.Job(
            state=pb.JOB_STATE_SUCCEEDED,
            stop_reason=finished.stop_reason,
            stop_message=finished.stop_message,
            result=image,
        )
        await self._become(end, result)

    async def _become(self, end: pb.Job, result: BinaryIO | None) -> None:
        while True:
            async with self._lock:
                if self.final or self.deleted:
                    return
                try:
                    await self._change(to_final(end), result=result)
                    return
                except CallError:
                    # In the store the job is already final or deleted.
                    return
                except StoreError as error:
                    _log.error("the end of a job cannot be stored yet job=%s error=%r", self.name, str(error))
            if self._shared.draining:
                # The job continues from its checkpoint after the restart.
                return
            await asyncio.sleep(STORE_RETRY_SECONDS)

    async def _left_device(self, painting: Painting) -> None:
        async with self._lock:
            if self.painting is painting:
                self.painting = None
            painting.off_device.set()
            if not self.final and not self.deleted:
                if self.state == pb.JOB_STATE_RUNNING:
                    self.queued_at = asyncio.get_running_loop().time()
                    await self._note(to_state(pb.JOB_STATE_QUEUED))
                else:
                    await self._note(lambda record: None, quiet=True)
        self._shared.moved(self)
