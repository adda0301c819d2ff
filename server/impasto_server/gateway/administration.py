"""The calls of `impasto.v1.Admin`. `Access` lets only administrators make them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc.aio

from impasto.v1 import admin_pb2, admin_pb2_grpc
from impasto_server.contract.errors import CallError, invalid_argument
from impasto_server.contract.previews import seconds
from impasto_server.gateway.job_lists import MAX_PAGE, as_it_is_now, page_size, shown_job, wanted_states
from impasto_server.gateway.server_status import StatusTaker
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)

_LEAST_INTERVAL, _MOST_INTERVAL, _DEFAULT_INTERVAL = 0.5, 60.0, 2.0


class Administration(admin_pb2_grpc.AdminServicer):
    """Answers the calls, and logs who has changed which job."""

    def __init__(
        self,
        status: StatusTaker,
        registry: Registry,
        *,
        keep_results_for: float,
        caller: Callable[[], str],
    ) -> None:
        """
        Args:
            status: takes the state of the server.
            registry: the jobs.
            keep_results_for: how long final jobs are kept, in seconds.
            caller: names the administrator who makes the current call, for the log.
        """
        self._status = status
        self._registry = registry
        self._keep_results_for = keep_results_for
        self._caller = caller

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Context
    ) -> admin_pb2.ServerStatus:
        return await self._status.take()

    async def WatchStatus(  # type: ignore[override]
        self, request: admin_pb2.WatchStatusRequest, context: Context
    ) -> None:
        interval = seconds(request.interval) if request.HasField("interval") else _DEFAULT_INTERVAL
        if not _LEAST_INTERVAL <= interval <= _MOST_INTERVAL:
            remedy = f"is {interval:g} s; give {_LEAST_INTERVAL:g} s to {_MOST_INTERVAL:g} s"
            raise CallError(invalid_argument([("interval", remedy)]))
        while True:
            await context.write(await self._status.take())
            await asyncio.sleep(interval)

    async def ListAllJobs(
        self, request: admin_pb2.ListAllJobsRequest, context: Context
    ) -> admin_pb2.ListAllJobsResponse:
        store = self._registry.store
        records, token = await store.read(
            store.store.jobs.list,
            request.tenant if request.HasField("tenant") else None,
            states=wanted_states(request.states),
            page_size=page_size(request.page_size, MAX_PAGE),
            page_token=request.page_token,
        )
        jobs = [
            admin_pb2.TenantJob(
                tenant=record.tenant,
                job=shown_job(as_it_is_now(record, self._registry), self._keep_results_for),
            )
            for record in records
        ]
        return admin_pb2.ListAllJobsResponse(jobs=jobs, next_page_token=token)

    async def CancelAnyJob(
        self, request: admin_pb2.CancelAnyJobRequest, context: Context
    ) -> admin_pb2.TenantJob:
        job = await self._found(request.name)
        await job.cancel()
        return self._done("cancel", job)

    async def PauseAnyJob(
        self, request: admin_pb2.PauseAnyJobRequest, context: Context
    ) -> admin_pb2.TenantJob:
        job = await self._found(request.name)
        await job.pause()
        return self._done("pause", job)

    async def ResumeAnyJob(
        self, request: admin_pb2.ResumeAnyJobRequest, context: Context
    ) -> admin_pb2.TenantJob:
        job = await self._found(request.name)
        await job.resume()
        return self._done("resume", job)

    async def HoldJob(self, request: admin_pb2.HoldJobRequest, context: Context) -> admin_pb2.TenantJob:
        job = await self._found(request.name)
        await job.hold()
        return self._done("hold", job)

    async def ReleaseJob(self, request: admin_pb2.ReleaseJobRequest, context: Context) -> admin_pb2.TenantJob:
        job = await self._found(request.name)
        await job.release()
        return self._done("release", job)

    async def _found(self, name: str) -> Job:
        return await self._registry.get(name, None)

    def _done(self, what: str, job: Job) -> admin_pb2.TenantJob:
        _log.info(
            "administrator has changed a job by=%r action=%s job=%s tenant=%r",
            self._caller(),
            what,
            job.name,
            job.tenant,
        )
        return admin_pb2.TenantJob(tenant=job.tenant, job=shown_job(job.message(), self._keep_results_for))
