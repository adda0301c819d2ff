"""Estimates of jobs that are not created."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument, reason_of, unavailable
from impasto_server.contract.pictures import Intake, PictureFault, Samples
from impasto_server.contract.previews import seconds
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.fleet.job_pictures import wanted_pictures
from impasto_server.fleet.outlook import time_left
from impasto_server.fleet.placer import Placer
from impasto_server.gateway.checks import CheckedRequest
from impasto_server.gateway.reading import put_away
from impasto_server.gateway.submission import Images, Submissions
from impasto_server.v1 import worker_pb2

_RETRY_SECONDS = 5.0


class Estimates:
    """Answers what a job would take."""

    def __init__(self, submissions: Submissions, placer: Placer, intake: Intake) -> None:
        """
        Args:
            submissions: checks the requests.
            placer: knows the devices and their jobs.
            intake: reads the pictures.
        """
        self._submissions = submissions
        self._placer = placer
        self._intake = intake

    async def estimate(
        self, request: pb.EstimateJobRequest, tenant: str, weight: float
    ) -> pb.EstimateJobResponse:
        """Returns what a job would take. Nothing is stored.

        Args:
            request: from a caller. Its images are replaced by digests in place.
            tenant: the caller.
            weight: the caller's share of device time relative to other tenants.

        Raises:
            CallError: the request is invalid, names an image or a style that does not exist, or needs more
                memory than any device has; or no device is ready.
        """
        checked, images = await self._submissions.examine(request, tenant)
        asked = await self._request_of(request.spec, checked, images, tenant)
        put_away()
        too_small: frozenset[str] = frozenset()
        does_not_fit: CallError | None = None
        while True:
            outlook = self._placer.outlook(tenant, too_small)
            if outlook is None:
                raise does_not_fit or CallError(_no_device())
            try:
                told = await outlook.worker.estimate(asked)
            except CallError as error:
                if reason_of(error.status) != "DOES_NOT_FIT":
                    raise
                # As a job does, it asks larger devices.
                does_not_fit, too_small = error, too_small | {outlook.worker.key}
                continue
            if told is None:
                raise CallError(_no_device())
            response = pb.EstimateJobResponse(
                recipe=told.recipe,
                width=checked.width,
                height=checked.height,
                device=outlook.worker.device,
                memory_plan=told.memory_plan,
                other_jobs=outlook.other_jobs,
            )
            if told.HasField("device_time"):
                response.device_time.CopyFrom(told.device_time)
                left = time_left(tenant, seconds(told.device_time), weight, outlook.loads)
                response.time_left.FromNanoseconds(round(left * 1e9))
            return response

    async def _request_of(
        self, spec: pb.JobSpec, checked: CheckedRequest, images: Images, tenant: str
    ) -> worker_pb2.EstimateRunRequest:
        """Returns the request for a worker, and forgets the images."""
        size = checked.width, checked.height
        bits, selected = 8, None
        if spec.result_format == pb.IMAGE_FORMAT_PNG_16:
            bits = 16
        if spec.HasField("selection"):
            with _faults_at("selection"):
                async with images.opened(spec.selection) as source:
                    samples = await self._intake.decode_mask(tenant, source, size)
            with samples.file:
                selected = await asyncio.to_thread(_box_of, samples)
            # Samples outside the selection keep all their bits.
            with _faults_at("content"):
                async with images.opened(spec.content) as source:
                    bits = max(bits, (await self._intake.describe(tenant, source)).bits)
        images.forget()
        wanted = wanted_pictures(spec, checked.recipe, size, images.sizes, bits)
        asked = worker_pb2.EstimateRunRequest(pictures=[picture for _, picture in wanted], selected=selected)
        asked.spec.CopyFrom(spec)
        asked.spec.recipe.CopyFrom(recipe_to_proto(checked.recipe))
        return asked


@contextlib.contextmanager
def _faults_at(path: str) -> Iterator[None]:
    """Turns the fault of an image at a path of the specification into an error of the call."""
    try:
        yield
    except PictureFault as fault:
        raise CallError(invalid_argument([(f"spec.{path}", str(fault))])) from None


def _box_of(mask: Samples) -> worker_pb2.Box:
    """Returns the smallest box around what is not black; an empty box if all is black."""
    width, height = mask.width, mask.height
    mask.file.seek(0)
    left, top, right, bottom = width, height, 0, 0
    for y in range(height):
        row = mask.file.read(width)
        begun = row.lstrip(b"\0")
        if begun:
            top, bottom = min(top, y), y + 1
            left, right = min(left, width - len(begun)), max(right, len(row.rstrip(b"\0")))
    if not right:
        return worker_pb2.Box()
    return worker_pb2.Box(left=left, top=top, right=right, bottom=bottom)


def _no_device() -> status_pb2.Status:
    return unavailable("NO_DEVICE", "no device of the server is ready; try again", _RETRY_SECONDS)
