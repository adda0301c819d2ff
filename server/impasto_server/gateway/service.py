"""The calls of `impasto.v1.StyleTransfer`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto.worker.v1 import worker_pb2
from impasto_server.engine.recipe import (
    MAX_EVALUATIONS,
    MAX_IMAGE_PIXELS,
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
)
from impasto_server.fleet.fleet import Fleet
from impasto_server.gateway.checks import check_stylize
from impasto_server.jobs.errors import CallError, queue_full, status, unavailable
from impasto_server.jobs.formats import ACCEPTED
from impasto_server.jobs.job import Job
from impasto_server.jobs.recipes import recipe_to_proto

if TYPE_CHECKING:
    StylizeContext = grpc.aio.ServicerContext[pb.StylizeRequest, pb.StylizeResponse]

MAX_REQUEST_BYTES = 64 * 1024 * 1024

_log = logging.getLogger(__name__)

_QUEUE_RETRY_SECONDS = 10.0
_RESTART_RETRY_SECONDS = 10.0


class StyleTransfer(style_transfer_pb2_grpc.StyleTransferServicer):
    """Checks calls, makes jobs of them, and tells callers how the jobs fare."""

    def __init__(self, fleet: Fleet, *, max_jobs: int) -> None:
        """
        Args:
            fleet: who paints.
            max_jobs: jobs accepted at a time; a job counts until its caller has taken the result.
        """
        self._fleet = fleet
        self._max_jobs = max_jobs
        self._jobs: set[Job] = set()
        self._shutting_down = False

    def shut_down(self) -> None:
        """Refuses new jobs and ends the calls of those there are."""
        self._shutting_down = True
        for job in self._jobs:
            job.break_off(CallError(_shutdown_notice()))

    # A coroutine that writes, not an async generator: a generator whose caller is gone may never resume past
    # its `yield`, so its clean-up would wait for the garbage collector.
    async def Stylize(  # type: ignore[override]
        self,
        request: pb.StylizeRequest,
        context: StylizeContext,
    ) -> None:
        try:
            await self._stylize(request, context)
        except CallError as error:
            await _abort(context, error.status)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("call failed method=Stylize")
            await _abort(context, _internal_error())

    async def GetServerInfo(
        self,
        request: pb.GetServerInfoRequest,
        context: grpc.aio.ServicerContext[pb.GetServerInfoRequest, pb.GetServerInfoResponse],
    ) -> pb.GetServerInfoResponse:
        ready = self._fleet.ready_workers
        return pb.GetServerInfoResponse(
            version=importlib.metadata.version("impasto"),
            devices=await self._fleet.describe_devices(),
            network=ready[0].network if ready else None,
            accepted_formats=ACCEPTED,
            limits=pb.Limits(
                max_request_bytes=MAX_REQUEST_BYTES,
                max_image_pixels=MAX_IMAGE_PIXELS,
                max_longest_side=MAX_LONGEST_SIDE,
                max_styles=MAX_STYLES,
                max_evaluations=MAX_EVALUATIONS,
                max_unfinished_jobs=self._max_jobs,
                max_regions=MAX_REGIONS,
            ),
            unfinished_jobs=sum(not job.finished for job in self._jobs),
        )

    async def _stylize(
        self,
        request: pb.StylizeRequest,
        context: StylizeContext,
    ) -> None:
        # In a thread: the check sums of a large file take long enough to keep others waiting.
        checked = await asyncio.to_thread(check_stylize, request)
        if self._shutting_down:
            raise CallError(_shutdown_notice())
        if len(self._jobs) >= self._max_jobs:
            raise CallError(queue_full(self._max_jobs, _QUEUE_RETRY_SECONDS))

        job = Job(recipe_to_proto(checked.recipe), checked.width, checked.height)
        _log.info("job accepted job=%s size=%dx%d", job.message.name, checked.width, checked.height)
        self._jobs.add(job)
        painting = asyncio.create_task(self._paint(job, request))
        try:
            async for event in job.watch():
                await context.write(pb.StylizeResponse(event=event))
            for chunk in await painting:
                await context.write(pb.StylizeResponse(result=chunk))
        finally:
            painting.cancel()
            job.cancel()
            self._jobs.discard(job)
            _log.info("job left job=%s state=%s", job.message.name, pb.JobState.Name(job.message.state))

    async def _paint(self, job: Job, request: pb.StylizeRequest) -> list[pb.ImageChunk]:
        """Has the job painted, tells it what happens, and returns the result's chunks."""
        result: list[pb.ImageChunk] = []
        finished: worker_pb2.Finished | None = None
        run = worker_pb2.RunRequest(job_name=job.message.name, spec=request.spec, preview=request.preview)
        try:
            async with self._fleet.worker() as worker, contextlib.aclosing(worker.run(run)) as responses:
                async for response in responses:
                    payload = response.WhichOneof("payload")
                    if payload == "started":
                        job.start(response.started, worker.network, worker.device)
                    elif payload == "progress":
                        job.progress(response.progress)
                    elif payload == "preview":
                        job.preview(response.preview)
                    elif payload == "finished":
                        finished = response.finished
                    elif payload == "result":
                        result.append(response.result)
            if finished is None:
                raise AssertionError("the worker ended its answer without `finished`")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, CallError):
                _log.exception("painting failed job=%s", job.message.name)
                error = CallError(_internal_error())
            job.break_off(error)
            return []
        if finished.HasField("error"):
            job.fail(finished.error, finished.stop_reason)
        else:
            # Only now, so that SUCCEEDED means that the result is here whatever becomes of the worker.
            job.succeed(finished.stop_reason, finished.stop_message)
        return result


def _shutdown_notice() -> status_pb2.Status:
    return unavailable(
        "SHUTTING_DOWN", "the server is shutting down; try again when it is back", _RESTART_RETRY_SECONDS
    )


def _internal_error() -> status_pb2.Status:
    return status(
        grpc.StatusCode.INTERNAL, "INTERNAL", "the server met an error of its own; its log says more"
    )


async def _abort(context: StylizeContext, error: status_pb2.Status) -> None:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)
