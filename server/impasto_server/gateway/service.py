"""The calls of `impasto.v1.StyleTransfer`."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.contract.errors import CallError, invalid_argument, shutting_down
from impasto_server.contract.formats import ACCEPTED
from impasto_server.contract.pictures import Intake
from impasto_server.contract.previews import seconds
from impasto_server.engine.recipe import (
    MAX_EVALUATIONS,
    MAX_IMAGE_PIXELS,
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
)
from impasto_server.fleet.fleet import Fleet
from impasto_server.fleet.placer import Placer
from impasto_server.gateway.access import Access
from impasto_server.gateway.answering import bad_page_token
from impasto_server.gateway.checks import check_title
from impasto_server.gateway.downloads import Download, Downloads
from impasto_server.gateway.estimating import Estimates
from impasto_server.gateway.job_lists import MAX_PAGE, as_it_is_now, page_size, shown_job, wanted_states
from impasto_server.gateway.links import Links
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.reading import MAX_REQUEST_BYTES, put_away
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.steering import changed_job
from impasto_server.gateway.styles import BadPageToken as BadStylesToken
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.gateway.submission import Submissions
from impasto_server.gateway.uploading import MAX_UPLOAD_BYTES, only, take_upload
from impasto_server.gateway.watching import newer_preview, relay
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.tenant_watching import TenantWatcher
from impasto_server.shares import acting_for

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_MAX_WAIT = 60.0
_MAX_STYLES_PAGE = 50
_MAX_PREVIEWS_OF = 200


class StyleTransfer(style_transfer_pb2_grpc.StyleTransferServicer):
    """Answers the calls. Changes of a job are the job's methods; images and results are the store's.

    Calls that stream are coroutines that write, not async generators: a generator whose caller is gone may
    never resume after its `yield`, and its clean-up would wait for the garbage collector.
    """

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        registry: Registry,
        access: Access,
        metrics: Metrics,
        styles: StyleLibrary,
        intake: Intake,
        placer: Placer,
        links: Links,
        page: Callable[[], pb.WebPage | None],
    ) -> None:
        """
        Args:
            settings: of the server.
            fleet: the workers, described to callers.
            registry: the jobs.
            access: identifies the callers.
            metrics: counts watchers and previews.
            styles: the named styles.
            intake: reads pictures.
            placer: knows where a new job would be painted.
            links: makes links of pictures.
            page: returns the server's page; None if it has none.
        """
        self._settings = settings
        self._fleet = fleet
        self._registry = registry
        self._store = registry.store
        self._access = access
        self._metrics = metrics
        self._styles = styles
        self._intake = intake
        self._links = links
        self._page = page
        self._downloads = Downloads(registry, intake)
        self._submissions = Submissions(registry.store, styles, intake)
        self._estimates = Estimates(self._submissions, placer, intake)

    # Making jobs.

    async def Stylize(  # type: ignore[override]
        self, request: pb.StylizeRequest, context: Context
    ) -> None:
        linger = None if request.keep_running else seconds(request.linger)
        job = await self._create(request, linger)
        wants_previews = not request.preview.disabled
        del request
        watcher = job.watch(wants_previews=wants_previews)
        try:
            last = await self._relay(watcher, lambda event: context.write(pb.StylizeResponse(event=event)))
        finally:
            job.audience.leave(watcher)
        if last is not None and last.job.state == pb.JOB_STATE_SUCCEEDED:
            result = await self._downloads.result(job)
            await self._send(result, 0, lambda chunk: context.write(pb.StylizeResponse(result=chunk)))

    async def CreateJob(self, request: pb.CreateJobRequest, context: Context) -> pb.Job:
        return (await self._create(request, None)).message()

    async def EstimateJob(self, request: pb.EstimateJobRequest, context: Context) -> pb.EstimateJobResponse:
        if self._registry.draining:
            raise CallError(shutting_down())
        tenant = self._access.tenant().name
        return await self._estimates.estimate(request, tenant, self._access.weight(tenant))

    async def _create(self, request: pb.StylizeRequest | pb.CreateJobRequest, linger: float | None) -> Job:
        tenant = self._access.tenant().name
        if self._registry.draining:
            raise CallError(shutting_down())
        # Check first, so that nothing is stored for a job that would be refused.
        if not await self._registry.is_known(tenant, request.request_id):
            self._registry.check_room(tenant)
        record = await self._submissions.record(request, tenant, linger)
        put_away()
        return await self._registry.create(record)

    # Jobs.

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        job = await self._job(request.name)
        shown = self._shown(job.message())
        shown.spec.CopyFrom(job.record.spec)
        return shown

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        if faults := check_title(request.title, "title"):
            raise CallError(invalid_argument(faults))
        records, token = await self._store.read(
            self._store.store.jobs.list,
            self._access.tenant().name,
            title=request.title,
            states=wanted_states(request.states),
            page_size=page_size(request.page_size, MAX_PAGE),
            page_token=request.page_token,
        )
        jobs = [self._shown(as_it_is_now(record, self._registry)) for record in records]
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: Context) -> pb.Job:
        job = await self._job(request.job.name)
        await job.update(functools.partial(changed_job, request=request))
        return self._shown(job.message())

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> pb.Job:
        job = await self._job(request.name)
        await job.pause()
        return self._shown(job.message())

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context) -> pb.Job:
        job = await self._job(request.name)
        await job.resume()
        return self._shown(job.message())

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.Job:
        job = await self._job(request.name)
        await job.cancel()
        return self._shown(job.message())

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Context) -> Empty:
        job = await self._job(request.name)
        await job.delete()
        return Empty()

    async def _job(self, name: str) -> Job:
        return await self._registry.get(name, self._access.tenant().name)

    def _shown(self, message: pb.Job) -> pb.Job:
        return shown_job(message, self._settings.keep_results_for)

    # Watching.

    async def WatchJob(  # type: ignore[override]
        self, request: pb.WatchJobRequest, context: Context
    ) -> None:
        job = await self._watchable(request.name)
        watcher = job.watch(after_sequence=request.after_sequence, wants_previews=not request.omit_previews)
        try:
            await self._relay(watcher, context.write)
        finally:
            job.audience.leave(watcher)

    async def WatchJobs(  # type: ignore[override]
        self, request: pb.WatchJobsRequest, context: Context
    ) -> None:
        if len(request.previews_of) > _MAX_PREVIEWS_OF:
            remedy = f"has {len(request.previews_of)} names; give at most {_MAX_PREVIEWS_OF}, or none for all"
            raise CallError(invalid_argument([("previews_of", remedy)]))
        if self._registry.draining:
            raise CallError(shutting_down())
        watcher = TenantWatcher(omit_previews=request.omit_previews, previews_of=request.previews_of)
        with self._registry.watching(self._access.tenant().name, watcher):
            await self._relay(watcher, context.write)

    async def GetPreview(self, request: pb.GetPreviewRequest, context: Context) -> pb.GetPreviewResponse:
        wait = seconds(request.wait)
        if not 0 <= wait <= _MAX_WAIT:
            remedy = f"is {wait:g} s; give 0 s to {_MAX_WAIT:g} s"
            raise CallError(invalid_argument([("wait", remedy)]))
        job = await self._watchable(request.name)
        # Also for a caller that does not wait: previews are made only while somebody watches.
        watcher = job.watch(after_sequence=request.after_sequence)
        try:
            event = await newer_preview(job, watcher, request.after_sequence, wait)
        finally:
            job.audience.leave(watcher)
        if event is None:
            return pb.GetPreviewResponse(job=job.message(), sequence=request.after_sequence)
        return pb.GetPreviewResponse(job=job.message(), sequence=event.sequence, preview=event.preview)

    async def _watchable(self, name: str) -> Job:
        if self._registry.draining:
            raise CallError(shutting_down())
        return await self._job(name)

    async def _relay(self, watcher: Any, write: Any) -> Any:
        return await relay(
            watcher, write, heartbeat_interval=self._settings.heartbeat_interval, metrics=self._metrics
        )

    # Images and styles.

    async def UploadImage(
        self, request: AsyncIterator[pb.UploadImageRequest], context: Context
    ) -> pb.UploadImageResponse:
        return await take_upload(request, self._access.tenant().name, self._store, self._intake)

    async def UploadImagePiece(
        self, request: pb.UploadImagePieceRequest, context: Context
    ) -> pb.UploadImageResponse:
        return await take_upload(only(request), self._access.tenant().name, self._store, self._intake)

    async def CreateImageLinks(
        self, request: pb.CreateImageLinksRequest, context: Context
    ) -> pb.CreateImageLinksResponse:
        has_page = self._page() is not None
        return self._links.create(request, self._access.tenant().name, has_page=has_page)

    async def DownloadImage(  # type: ignore[override]
        self, request: pb.DownloadImageRequest, context: Context
    ) -> None:
        # A caller with a link takes nothing of what its owner may use.
        download = await self._downloads.find(request, self._access.tenant().name, payer=acting_for.get())
        await self._send(download, request.offset, context.write)

    async def _send(self, download: Download, offset: int, write: Any) -> None:
        with contextlib.closing(download):
            async with contextlib.aclosing(download.chunks(self._store, offset)) as chunks:
                async for chunk in chunks:
                    await write(chunk)

    async def ListStyles(self, request: pb.ListStylesRequest, context: Context) -> pb.ListStylesResponse:
        size = page_size(request.page_size, _MAX_STYLES_PAGE)
        try:
            styles, token = await self._styles.page(size, request.page_token)
        except BadStylesToken:
            raise CallError(bad_page_token()) from None
        return pb.ListStylesResponse(styles=styles, next_page_token=token)

    # The server.

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
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
                max_unfinished_jobs=self._settings.max_jobs,
                max_regions=MAX_REGIONS,
                max_upload_bytes=MAX_UPLOAD_BYTES,
                max_unfinished_jobs_of_tenant=self._settings.max_jobs_per_tenant,
                max_stored_bytes_of_tenant=self._settings.max_stored_bytes_per_tenant,
            ),
            unfinished_jobs=self._registry.unfinished(),
            tenant=self._access.tenant().name,
            administrator=self._access.tenant().administrator,
            page=self._page(),
        )
