"""The calls of `impasto_server.v1.WorkerService`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import status
from impasto_server.contract.previews import preview_wish
from impasto_server.contract.recipes import recipe_from_proto, recipe_to_proto
from impasto_server.engine.recipe import RecipeError
from impasto_server.shares import Shares
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.worker.commission import Equipment
from impasto_server.worker.estimate import estimate
from impasto_server.worker.failures import failure_of, refusal_of
from impasto_server.worker.handover import BadHandover, pictures_bytes, receive_begin
from impasto_server.worker.painter import NotHere, Painter
from impasto_server.worker.run_call import RunCall, Workshop, too_large

if TYPE_CHECKING:
    from impasto_server.worker.run_call import RunContext


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """Paints on one device."""

    def __init__(
        self,
        painter: Painter,
        *,
        device: pb.Device,
        equipment: Equipment,
        other_devices: list[str],
        max_resident: int,
    ) -> None:
        """
        Args:
            painter: gives the jobs their turns.
            device: name and description of the device, and the memory that jobs may use.
            equipment: the network and caches.
            other_devices: the machine's other devices, for `GetWorkerInfo`.
            max_resident: maximum number of jobs on the device at a time; the other jobs wait.
        """
        self._workshop = Workshop(
            painter,
            device,
            equipment,
            places=asyncio.Semaphore(max_resident),
            pictures=Shares(device.memory_bytes, device.memory_bytes),
            images=ThreadPoolExecutor(2, thread_name_prefix="images"),
        )
        self._other_devices = other_devices
        self._calls: dict[str, RunCall] = {}

    async def GetWorkerInfo(
        self,
        request: worker_pb2.GetWorkerInfoRequest,
        context: grpc.aio.ServicerContext[worker_pb2.GetWorkerInfoRequest, worker_pb2.GetWorkerInfoResponse],
    ) -> worker_pb2.GetWorkerInfoResponse:
        device = pb.Device(resident_jobs=self._workshop.painter.resident)
        device.MergeFrom(self._workshop.device)
        network = self._workshop.equipment.network
        told = pb.FeatureNetwork(
            architecture=network.architecture,
            weights=network.weights_name,
            origin=network.origin,
            sha256=network.sha256,
        )
        return worker_pb2.GetWorkerInfoResponse(
            device=device, network=told, process_id=os.getpid(), other_devices=self._other_devices
        )

    async def EstimateRun(
        self,
        request: worker_pb2.EstimateRunRequest,
        context: grpc.aio.ServicerContext[worker_pb2.EstimateRunRequest, worker_pb2.EstimateRunResponse],
    ) -> worker_pb2.EstimateRunResponse:
        workshop = self._workshop
        memory_bytes = workshop.device.memory_bytes
        try:
            needed = pictures_bytes(request.pictures)
            if needed > memory_bytes:
                await _abort(context, too_large(needed, memory_bytes))
            return estimate(
                request,
                workshop.equipment,
                free_bytes=workshop.painter.free_bytes,
                memory_bytes=memory_bytes,
            )
        except RecipeError as error:
            await _abort(context, failure_of(error))
        except BadHandover as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def Ping(
        self,
        request: worker_pb2.PingRequest,
        context: grpc.aio.ServicerContext[worker_pb2.PingRequest, worker_pb2.PingResponse],
    ) -> worker_pb2.PingResponse:
        work = self._workshop.painter.at_work
        response = worker_pb2.PingResponse()
        if work is not None:
            response.job_name = work.job_name
            response.duration.FromNanoseconds(round((time.monotonic() - work.since) * 1e9))
        return response

    # A coroutine that writes, because the clean-up of an async generator might not run in a cancelled call.
    async def Run(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[worker_pb2.RunRequest],
        context: RunContext,
    ) -> None:
        try:
            call = RunCall(await receive_begin(request_iterator), context, self._workshop)
            # An earlier call for the same job, which the gateway has given up, may not have ended yet.
            while call.job_name in self._calls:
                await self._calls[call.job_name].ended.wait()
            self._calls[call.job_name] = call
            try:
                await call.run(request_iterator)
            finally:
                del self._calls[call.job_name]
        except BadHandover as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def UpdateRun(
        self,
        request: worker_pb2.UpdateRunRequest,
        context: grpc.aio.ServicerContext[worker_pb2.UpdateRunRequest, worker_pb2.UpdateRunResponse],
    ) -> worker_pb2.UpdateRunResponse:
        call = await self._call_of(request.job_name, context)
        await call.prepared.wait()
        try:
            if call.painting is None:
                raise NotHere
            update = self._workshop.painter.update(
                call.painting,
                recipe=recipe_from_proto(request.recipe) if request.HasField("recipe") else None,
                wish=preview_wish(request.preview) if request.HasField("preview") else None,
                watched=request.watched if request.HasField("watched") else None,
                priority=request.priority if request.HasField("priority") else None,
            )
            recipe = await asyncio.wrap_future(update)
        except NotHere:
            await _abort_not_here(request.job_name, context)
        except RecipeError as error:
            await _abort(context, refusal_of(error))
        except Exception as error:
            await _abort(context, failure_of(error))
        return worker_pb2.UpdateRunResponse(recipe=recipe_to_proto(recipe))

    async def SuspendRun(
        self,
        request: worker_pb2.SuspendRunRequest,
        context: grpc.aio.ServicerContext[worker_pb2.SuspendRunRequest, worker_pb2.SuspendRunResponse],
    ) -> worker_pb2.SuspendRunResponse:
        (await self._call_of(request.job_name, context)).suspend()
        return worker_pb2.SuspendRunResponse()

    async def _call_of(self, job_name: str, context: grpc.aio.ServicerContext[Any, Any]) -> RunCall:
        if job_name not in self._calls:
            await _abort_not_here(job_name, context)
        return self._calls[job_name]


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: status_pb2.Status) -> NoReturn:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)


async def _abort_not_here(job_name: str, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    message = f"{job_name} does not run on this worker"
    await _abort(context, status(grpc.StatusCode.NOT_FOUND, "NO_SUCH_RUN", message))
