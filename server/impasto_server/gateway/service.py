"""The calls of `impasto.v1.StyleTransfer`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import hashlib
import importlib.metadata
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.contract.errors import (
    CallError,
    exhausted,
    failed_precondition,
    internal,
    invalid_argument,
    not_found,
    queue_full,
    unavailable,
)
from impasto_server.contract.formats import ACCEPTED
from impasto_server.contract.images import images_of
from impasto_server.contract.previews import seconds
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.engine.recipe import (
    MAX_EVALUATIONS,
    MAX_IMAGE_PIXELS,
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
)
from impasto_server.fleet.dispatcher import Dispatcher
from impasto_server.fleet.fleet import Fleet
from impasto_server.gateway.access import Access
from impasto_server.gateway.checks import check_request
from impasto_server.gateway.images import ImageFault, upright_size
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.pictures import RESULT_FORMATS, format_of, png_of_raw, recoded
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.steering import changed_job
from impasto_server.gateway.styles import BadPageToken as BadStylesToken
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.gateway.tokens import Tenant
from impasto_server.jobs.job import Job, Watcher, is_final, new_name, now
from impasto_server.store.store import (
    BadPageToken,
    DigestMismatch,
    MissingImage,
    QuotaExceeded,
    Record,
    RequestIdTaken,
    Store,
    StoreError,
    WrongOffset,
)

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_UPLOAD_BYTES = 256 * 1024 * 1024

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
_QUEUE_RETRY_SECONDS = 10.0
_RESTART_RETRY_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
_MAX_WAIT = 60.0
_DEFAULT_PAGE, _MAX_PAGE = 50, 200
_MAX_STYLES_PAGE = 50
_DIGEST = re.compile(r"[0-9a-f]{64}")

Q = TypeVar("Q")
R = TypeVar("R")


def _call(
    method: Callable[[StyleTransfer, Q, Context], Coroutine[Any, Any, R]],
) -> Callable[[StyleTransfer, Q, Context], Coroutine[Any, Any, R]]:
    """A call whose errors end it as callers are told of them."""

    @functools.wraps(method)
    async def answered(self: StyleTransfer, request: Q, context: Context, /) -> R:
        try:
            return await method(self, request, context)
        except CallError as error:
            ending = error.status
        except StoreError as error:
            _log.error("store failed method=%s error=%r", method.__name__, str(error))
            ending = exhausted("STORAGE", "server", str(error), _QUEUE_RETRY_SECONDS)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except grpc.aio.InternalError:
            # What could not be written: the caller is gone, and its cancellation on the way.
            raise asyncio.CancelledError from None
        except Exception:
            _log.exception("call failed method=%s", method.__name__)
            ending = internal()
        told = rpc_status.to_status(ending)
        await context.abort(told.code, told.details, told.trailing_metadata)
        raise AssertionError("abort raises")

    return answered


class StyleTransfer(style_transfer_pb2_grpc.StyleTransferServicer):
    """Checks calls, makes jobs of them, and tells callers how the jobs fare."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        store: Store,
        access: Access,
        metrics: Metrics,
        styles: StyleLibrary,
    ) -> None:
        """
        Args:
            settings: how the server is run.
            fleet: who paints.
            store: where jobs and images are kept.
            access: tells who calls.
            metrics: what is counted.
            styles: the named styles.
        """
        self._settings = settings
        self._fleet = fleet
        self._store = store
        self._access = access
        self._metrics = metrics
        self._styles = styles
        self._dispatcher = Dispatcher(
            fleet,
            store,
            metrics,
            weight_of=access.weight,
            max_resident=settings.max_resident,
            checkpoint_interval=settings.checkpoint_interval,
        )
        metrics.job_states(self._dispatcher.in_state, ("queued", "running", "paused"))
        metrics.worker_restarts(lambda: fleet.restarts)
        # Jobs of calls that are being checked: they count towards the limits.
        self._arriving: dict[str, int] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Takes up the jobs that there are. Once, before the first call."""
        await self._dispatcher.start()
        self._sweeper = asyncio.create_task(self._keep_sweeping())

    async def drain(self) -> None:
        """Refuses new jobs, tells watchers to come back, and takes every job off its device with its work."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dispatcher.drain(self._settings.drain)

    # A coroutine that writes, not an async generator: a generator whose caller is gone may never resume past
    # its `yield`, so its clean-up would wait for the garbage collector. The same goes for the other streams.
    @_call
    async def Stylize(  # type: ignore[override]
        self, request: pb.StylizeRequest, context: Context
    ) -> None:
        linger = None if request.keep_running else seconds(request.linger)
        job = await self._create(request, linger)
        watcher = job.watch(wants_previews=not request.preview.disabled)
        try:
            await self._relay(watcher, lambda event: context.write(pb.StylizeResponse(event=event)))
        finally:
            job.leave(watcher)
        if job.message.state == pb.JOB_STATE_SUCCEEDED:
            data = await self._result(job.name, pb.IMAGE_FORMAT_PNG)
            for chunk in _chunks(data, job.message.result, 0):
                await context.write(pb.StylizeResponse(result=chunk))

    @_call
    async def CreateJob(self, request: pb.CreateJobRequest, context: Context) -> pb.Job:
        return (await self._create(request, None)).message

    @_call
    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        record = await self._record(request.name)
        shown = self._shown(record)
        shown.spec.CopyFrom(record.spec)
        return shown

    @_call
    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        size = _page_size(request.page_size, _MAX_PAGE)
        for state in request.states:
            if state not in pb.JobState.values() or not state:
                remedy = f"names the unknown state {state}; give states such as JOB_STATE_RUNNING"
                raise CallError(invalid_argument([("states", remedy)]))
        tenant = self._access.tenant()
        # Told only once in what order: by the store, of what it has.
        listing = functools.partial(
            self._store.list,
            tenant.name,
            states=list(request.states),
            page_size=size,
            page_token=request.page_token,
        )
        try:
            records, token = await asyncio.to_thread(listing)
        except BadPageToken:
            raise CallError(_bad_page_token()) from None
        jobs = [self._shown(record) for record in records]
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token)

    @_call
    async def UpdateJob(self, request: pb.UpdateJobRequest, context: Context) -> pb.Job:
        job = await self._live_job(request.job.name)
        before = pb.Job()
        before.CopyFrom(job.message)
        before.spec.CopyFrom(job.record.spec)
        changed = changed_job(before, request)
        await self._dispatcher.update(job, changed)
        return job.message

    @_call
    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> pb.Job:
        job = await self._live_job(request.name)
        await self._dispatcher.pause(job)
        return job.message

    @_call
    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context) -> pb.Job:
        job = await self._live_job(request.name)
        await self._dispatcher.resume(job)
        return job.message

    @_call
    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.Job:
        job = await self._live_job(request.name)
        await self._dispatcher.cancel(job)
        return job.message

    @_call
    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Context) -> Empty:
        await self._dispatcher.delete(await self._record(request.name))
        return Empty()

    @_call
    async def WatchJob(  # type: ignore[override]
        self, request: pb.WatchJobRequest, context: Context
    ) -> None:
        job = await self._live_job(request.name)
        watcher = job.watch(after_sequence=request.after_sequence, wants_previews=not request.omit_previews)
        try:
            await self._relay(watcher, context.write)
        finally:
            job.leave(watcher)

    @_call
    async def GetPreview(self, request: pb.GetPreviewRequest, context: Context) -> pb.GetPreviewResponse:
        wait = seconds(request.wait)
        if not 0 <= wait <= _MAX_WAIT:
            remedy = f"is {wait:g} s; give 0 s to {_MAX_WAIT:g} s"
            raise CallError(invalid_argument([("wait", remedy)]))
        job = await self._live_job(request.name)
        deadline = time.monotonic() + wait
        # Also without waiting: who looks now and then wants previews to be made.
        watcher = job.watch(after_sequence=request.after_sequence)
        try:
            await self._await_preview(job, watcher, request.after_sequence, deadline)
        finally:
            job.leave(watcher)
        response = pb.GetPreviewResponse(job=job.message, sequence=request.after_sequence)
        event = job.preview_event
        if event is not None and event.sequence > request.after_sequence:
            response.preview.CopyFrom(event.preview)
            response.sequence = event.sequence
        return response

    @_call
    async def UploadImage(
        self, request: AsyncIterator[pb.UploadImageRequest], context: Context
    ) -> pb.UploadImageResponse:
        tenant = self._access.tenant()
        sha256, size, committed = "", 0, 0
        async for piece in request:
            if not sha256:
                sha256, size = piece.sha256, piece.size_bytes
                _check_upload(sha256, size)
                committed, complete = await asyncio.to_thread(
                    self._store.upload_offset, tenant.name, sha256, size
                )
                if complete:
                    return pb.UploadImageResponse(committed_bytes=size, complete=True)
            if not piece.data:
                continue
            committed = await self._append(tenant, sha256, size, piece)
            if committed >= size:
                await self._finish_upload(tenant, sha256, size)
                return pb.UploadImageResponse(committed_bytes=size, complete=True)
        if not sha256:
            raise CallError(invalid_argument([("sha256", "is missing; the first message gives it")]))
        return pb.UploadImageResponse(committed_bytes=committed, complete=False)

    @_call
    async def DownloadImage(  # type: ignore[override]
        self, request: pb.DownloadImageRequest, context: Context
    ) -> None:
        data, info = await self._downloaded(request)
        if request.offset > len(data):
            remedy = f"is {request.offset}, beyond the end of the {len(data)} bytes; give less"
            raise CallError(invalid_argument([("offset", remedy)]))
        for chunk in _chunks(data, info, request.offset):
            await context.write(chunk)

    @_call
    async def ListStyles(self, request: pb.ListStylesRequest, context: Context) -> pb.ListStylesResponse:
        size = _page_size(request.page_size, _MAX_STYLES_PAGE)
        try:
            styles, token = await self._styles.page(size, request.page_token)
        except BadStylesToken:
            raise CallError(_bad_page_token()) from None
        return pb.ListStylesResponse(styles=styles, next_page_token=token)

    @_call
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
            unfinished_jobs=self._dispatcher.unfinished(),
            tenant=self._access.tenant().name,
        )

    # Jobs.

    async def _create(self, request: pb.StylizeRequest | pb.CreateJobRequest, linger: float | None) -> Job:
        tenant = self._access.tenant()
        if self._dispatcher.draining:
            raise CallError(_shutdown_notice())
        with self._arrival(tenant, request.request_id):
            record = await asyncio.to_thread(self._new_record, request, tenant, linger)
            try:
                job = await self._dispatcher.submit(record)
            except RequestIdTaken:
                remedy = "was used for another request; give one that was never used"
                raise CallError(invalid_argument([("request_id", remedy)])) from None
            except MissingImage as error:
                raise CallError(_image_missing(str(error.sha256))) from None
        _log.info(
            "job accepted job=%s tenant=%s size=%dx%d",
            job.name,
            tenant.name,
            job.message.width,
            job.message.height,
        )
        return job

    @contextlib.contextmanager
    def _arrival(self, tenant: Tenant, request_id: str) -> Any:
        """A place for one job more.

        Raises:
            CallError: RESOURCE_EXHAUSTED: there is none.
        """
        known = bool(request_id) and self._store.by_request(tenant.name, request_id) is not None
        if not known:
            total = self._dispatcher.unfinished() + sum(self._arriving.values())
            if total >= self._settings.max_jobs:
                raise CallError(queue_full(self._settings.max_jobs, _QUEUE_RETRY_SECONDS))
            of_tenant = self._dispatcher.unfinished(tenant.name) + self._arriving.get(tenant.name, 0)
            limit = self._settings.max_jobs_per_tenant
            if of_tenant >= limit:
                message = (
                    f"you have {limit} unfinished jobs, as many as you may; try again when some are done"
                )
                raise CallError(
                    exhausted("TOO_MANY_JOBS", f"tenant:{tenant.name}", message, _QUEUE_RETRY_SECONDS)
                )
        self._arriving[tenant.name] = self._arriving.get(tenant.name, 0) + 1
        try:
            yield
        finally:
            self._arriving[tenant.name] -= 1
            if not self._arriving[tenant.name]:
                del self._arriving[tenant.name]

    def _new_record(
        self, request: pb.StylizeRequest | pb.CreateJobRequest, tenant: Tenant, linger: float | None
    ) -> Record:
        """Checks a request and stores its images. Not in the event loop: check sums and disks take time."""
        resolved = copy.deepcopy(request)
        self._fill_in_images(resolved.spec, tenant)
        checked = check_request(resolved)
        spec = self._with_images_stored(resolved.spec, tenant)
        digest = hashlib.sha256()
        for part in (spec, request.preview):
            digest.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
        digest.update(repr((request.title, request.priority, linger)).encode())
        spec.ClearField("recipe")
        return Record(
            job=pb.Job(
                name=new_name(),
                state=pb.JOB_STATE_QUEUED,
                recipe=recipe_to_proto(checked.recipe),
                width=checked.width,
                height=checked.height,
                create_time=now(),
                preview=request.preview,
                priority=request.priority,
                title=request.title,
            ),
            spec=spec,
            tenant=tenant.name,
            request_id=request.request_id,
            request_digest=digest.digest(),
            linger=linger,
            deaths=0,
            furthest=0,
            checkpoint=None,
        )

    def _fill_in_images(self, spec: pb.JobSpec, tenant: Tenant) -> None:
        """Puts their bytes in place of images that are named."""
        for path, image in images_of(spec):
            source = image.WhichOneof("source")
            if source == "sha256":
                if not _DIGEST.fullmatch(image.sha256):
                    remedy = "is no SHA-256; give 64 lower-case hexadecimal digits"
                    raise CallError(invalid_argument([(f"spec.{path}.sha256", remedy)]))
                stored = self._store.image(tenant.name, image.sha256)
                if stored is None:
                    raise CallError(_image_missing(image.sha256))
                data = stored.path.read_bytes()
                if stored.raw:
                    image.raw.ParseFromString(data)
                else:
                    image.encoded = data
            elif source == "style":
                found = self._styles.get(image.style)
                if found is None:
                    raise CallError(not_found(image.style))
                image.encoded = found

    def _with_images_stored(self, spec: pb.JobSpec, tenant: Tenant) -> pb.JobSpec:
        stored = pb.JobSpec()
        stored.CopyFrom(spec)
        for _, image in images_of(stored):
            raw = image.WhichOneof("source") == "raw"
            data = image.raw.SerializeToString(deterministic=True) if raw else image.encoded
            image.sha256 = self._put_image(tenant, data, raw)
        return stored

    def _put_image(self, tenant: Tenant, data: bytes, raw: bool) -> str:
        quota = self._settings.max_stored_bytes_per_tenant or None
        try:
            return self._store.put_image(tenant.name, data, raw=raw, quota_bytes=quota)
        except QuotaExceeded:
            raise CallError(_bytes_exceeded(tenant, quota or 0)) from None

    async def _record(self, name: str) -> Record:
        """A job of the caller's tenant.

        Raises:
            CallError: NOT_FOUND.
        """
        tenant = self._access.tenant()
        job = self._dispatcher.job(name, tenant.name)
        if job is not None:
            return job.record
        record = await asyncio.to_thread(self._store.get, name, tenant.name)
        if record is None:
            raise CallError(not_found(name))
        return record

    async def _live_job(self, name: str) -> Job:
        """The same, to be watched or changed."""
        if self._dispatcher.draining:
            raise CallError(_shutdown_notice())
        record = await self._record(name)
        job = self._dispatcher.job(name, record.tenant)
        return job if job is not None else self._dispatcher.finished_job(record)

    def _shown(self, record: Record) -> pb.Job:
        shown = self._dispatcher.shown(record)
        keep = self._settings.keep_results_for
        if is_final(shown) and keep is not None:
            shown.expire_time.FromNanoseconds(shown.end_time.ToNanoseconds() + round(keep * 1e9))
        return shown

    # Watching.

    async def _relay(self, watcher: Watcher, write: Callable[[pb.JobEvent], Awaitable[None]]) -> None:
        """Sends a watcher's events until they end."""
        self._metrics.watchers(+1)
        skipped = 0
        try:
            while True:
                try:
                    event = await watcher.next(self._settings.heartbeat_interval)
                except asyncio.TimeoutError:
                    event = watcher.heartbeat()
                except StopAsyncIteration:
                    return
                await write(event)
                if event.HasField("preview"):
                    self._metrics.preview_sent()
                self._metrics.previews_skipped(watcher.skipped_previews - skipped)
                skipped = watcher.skipped_previews
        finally:
            self._metrics.watchers(-1)

    async def _await_preview(self, job: Job, watcher: Watcher, after: int, deadline: float) -> None:
        while not job.finished:
            event = job.preview_event
            left = deadline - time.monotonic()
            if left <= 0 or (event is not None and event.sequence > after):
                return
            with contextlib.suppress(asyncio.TimeoutError, StopAsyncIteration):
                await watcher.next(left)
            if self._dispatcher.draining:
                return

    # Pictures.

    async def _downloaded(self, request: pb.DownloadImageRequest) -> tuple[bytes, pb.ImageInfo]:
        source = request.WhichOneof("source")
        if source is None:
            raise CallError(invalid_argument([("result_of", "is missing; name a job or an image")]))
        if source == "result_of":
            record = await self._record(request.result_of)
            if record.job.state != pb.JOB_STATE_SUCCEEDED:
                message = f"{record.job.name} has no result; it is {_state_word(record.job)}"
                raise CallError(failed_precondition("NO_RESULT", record.job.name, message))
            format = request.format or pb.IMAGE_FORMAT_PNG
            if format not in RESULT_FORMATS:
                remedy = "cannot be had; give PNG, JPEG, WEBP or RGBA8"
                raise CallError(invalid_argument([("format", remedy)]))
            data = await self._result(record.job.name, format)
            return data, _info(data, format, record.job.width, record.job.height)
        if request.format:
            remedy = "is given, but this image comes as it is; leave it out"
            raise CallError(invalid_argument([("format", remedy)]))
        if source == "preview_of":
            job = await self._live_job(request.preview_of)
            if job.preview_event is None:
                message = f"{job.name} has no preview yet; watch it, and one will be made"
                raise CallError(failed_precondition("NO_PREVIEW", job.name, message))
            preview = job.preview_event.preview
            return preview.data, _info(preview.data, preview.format, preview.width, preview.height)
        return await asyncio.to_thread(self._input, request.sha256, self._access.tenant())

    def _input(self, sha256: str, tenant: Tenant) -> tuple[bytes, pb.ImageInfo]:
        stored = self._store.image(tenant.name, sha256) if _DIGEST.fullmatch(sha256) else None
        if stored is None:
            raise CallError(not_found(f"image {sha256}"))
        data = stored.path.read_bytes()
        if stored.raw:
            data = png_of_raw(pb.RawPixels.FromString(data))
        return data, _info(data, *format_of(data))

    async def _result(self, name: str, format: pb.ImageFormat) -> bytes:
        def read() -> bytes:
            path = self._store.result_path(name)
            if path is None:
                # Deleted meanwhile, by its owner or by the retention.
                raise CallError(not_found(name))
            return recoded(path.read_bytes(), format)

        return await asyncio.to_thread(read)

    async def _append(self, tenant: Tenant, sha256: str, size: int, piece: pb.UploadImageRequest) -> int:
        quota = self._settings.max_stored_bytes_per_tenant or None
        append = functools.partial(self._store.append_upload, quota_bytes=quota)
        try:
            return await asyncio.to_thread(append, tenant.name, sha256, size, piece.offset, piece.data)
        except WrongOffset as error:
            message = f"the upload has come to byte {error.committed}, not {piece.offset}; go on from there"
            raise CallError(failed_precondition("WRONG_OFFSET", sha256, message)) from None
        except DigestMismatch as error:
            raise CallError(invalid_argument([("data", str(error))])) from None
        except QuotaExceeded:
            raise CallError(_bytes_exceeded(tenant, quota or 0)) from None

    async def _finish_upload(self, tenant: Tenant, sha256: str, size: int) -> None:
        quota = self._settings.max_stored_bytes_per_tenant or None
        finish = functools.partial(
            self._store.finish_upload, tenant.name, sha256, size, _check_image, quota_bytes=quota
        )
        try:
            await asyncio.to_thread(finish)
        except DigestMismatch:
            remedy = "is not that of the data that came; upload the image again"
            raise CallError(invalid_argument([("sha256", remedy)])) from None
        except QuotaExceeded:
            raise CallError(_bytes_exceeded(tenant, quota or 0)) from None

    async def _keep_sweeping(self) -> None:
        sweep = functools.partial(
            self._store.sweep, max_age=self._settings.keep_results_for, max_bytes=self._settings.keep_bytes
        )
        while True:
            try:
                deleted = await asyncio.to_thread(sweep, time.time())
            except StoreError as error:
                _log.error("old jobs cannot be deleted error=%r", str(error))
            else:
                for name in deleted:
                    _log.info("job deleted by retention job=%s", name)
            await asyncio.sleep(_SWEEP_SECONDS)


def _check_upload(sha256: str, size: int) -> None:
    faults = []
    if not _DIGEST.fullmatch(sha256):
        faults.append(("sha256", "is no SHA-256; give 64 lower-case hexadecimal digits"))
    if not 0 < size <= MAX_UPLOAD_BYTES:
        faults.append(("size_bytes", f"is {size}; give 1 to {MAX_UPLOAD_BYTES}"))
    if faults:
        raise CallError(invalid_argument(faults))


def _check_image(data: bytes) -> None:
    """
    Raises:
        CallError: INVALID_ARGUMENT: it is not an image that is accepted.
    """
    try:
        upright_size(pb.Image(encoded=data))
    except ImageFault as fault:
        raise CallError(invalid_argument([("data", str(fault))])) from None


def _page_size(wanted: int, most: int) -> int:
    if not 0 <= wanted <= most:
        raise CallError(invalid_argument([("page_size", f"is {wanted}; give 1 to {most}")]))
    return wanted or min(_DEFAULT_PAGE, most)


def _chunks(data: bytes, info: pb.ImageInfo, start: int) -> list[pb.ImageChunk]:
    chunks = [
        pb.ImageChunk(offset=offset, data=data[offset : offset + _CHUNK_BYTES])
        for offset in range(start, len(data), _CHUNK_BYTES)
    ] or [pb.ImageChunk(offset=start)]
    chunks[0].info.CopyFrom(info)
    return chunks


def _info(data: bytes, format: pb.ImageFormat, width: int, height: int) -> pb.ImageInfo:
    return pb.ImageInfo(
        format=format,
        width=width,
        height=height,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _state_word(job: pb.Job) -> str:
    return pb.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def _bad_page_token() -> status_pb2.Status:
    remedy = "is none that this call gave for the same request; begin without one"
    return invalid_argument([("page_token", remedy)])


def _image_missing(sha256: str) -> status_pb2.Status:
    message = f"the image {sha256} is not on the server; upload it first"
    return failed_precondition("IMAGE_MISSING", sha256, message)


def _bytes_exceeded(tenant: Tenant, quota: int) -> status_pb2.Status:
    message = (
        f"your images and results would take more than the {quota:,} bytes kept for you; delete some jobs"
    )
    return exhausted("TOO_MANY_BYTES", f"tenant:{tenant.name}", message)


def _shutdown_notice() -> status_pb2.Status:
    return unavailable(
        "SHUTTING_DOWN", "the server is shutting down; try again when it is back", _RESTART_RETRY_SECONDS
    )
