"""Every call of the service, with the retries, reconnections and checks of a client, as steps without I/O."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Generator
from numbers import Real
from typing import Any, TypeAlias

from impasto import images, methods, requests, wire
from impasto.diagnosis import Finding
from impasto.errors import (
    DataLoss,
    DeadlineExceeded,
    ImpastoError,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unreachable,
    from_call,
    invalid_field,
)
from impasto.job import (
    ContactLost,
    Estimate,
    Event,
    ImageLinks,
    Job,
    JobsEvent,
    NamedStyle,
    NewestPreview,
    ServerInfo,
)
from impasto.patience import Patience
from impasto.picture import CodedImage, Picture, Pieces
from impasto.recipe import UploadedImage
from impasto.steps import AnyStep, Begin, Call, Diagnose, Receive, Send, Sleep, Steps
from impasto.transport import Endpoint, Method, Request, Response, TransportError
from impasto.v1 import style_transfer_pb2 as pb
from impasto.watching import Watched

DEFAULT_TIMEOUT = 10.0
DEFAULT_PATIENCE = 60.0
SILENCE = 45.0
"""Seconds without a message after which a stream counts as broken. A server sends a heartbeat after 15."""
LINGER = 30.0
"""Seconds for which a job goes on without its caller, who can reconnect until then."""
CANCEL_TIMEOUT = 5.0
"""Longest wait, in seconds, for the server to learn that a caller leaves a job."""
INLINE_BYTES = 3 * 2**20
"""Largest request in bytes that is sent with its images. Larger ones get their largest images uploaded first.
gRPC's default limit is 4 MiB."""
UPLOAD_PIECE = 256 * 2**10
"""Bytes in one message of an upload."""
UPLOAD_STRETCH = 4 * 2**20
"""Bytes that one call uploads: few enough for a slow line to meet the call's deadline."""
UPLOAD_TIMEOUT = 60.0
"""Deadline in seconds of a call that uploads."""
LONGEST = 30 * 86400.0
"""Longest deadline in seconds, as servers have it. A longer one is left out: gRPC stacks may take a deadline
that they cannot represent for one that has passed."""
EMPTY_STREAMS = 8
"""Consecutive streams without a new message after which the server counts as broken."""

Following: TypeAlias = "Generator[AnyStep | Event, Any, Picture]"
"""Steps to a picture, with events for the caller between them."""


class Calls:
    """The calls of one client.

    Args:
        endpoint: the server.
        timeout: deadline of each call with one answer, in seconds, over all attempts.
        patience: how long to go on without contact to the server, in seconds.
        dials: whether the transport connects to the address itself. If so, a socket opened here can find out
            why the transport failed.

    Raises:
        ValueError: a time is not above 0.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, patience: float, dials: bool) -> None:
        for name, seconds in (("timeout", timeout), ("patience", patience)):
            if not _is_positive(seconds):
                raise ValueError(f"{name} is {seconds!r}; give seconds above 0, or math.inf for no limit")
        self.address = endpoint.address
        self._endpoint = endpoint
        self._dials = dials
        self.timeout = min(timeout, LONGEST)
        self.patience = min(patience, LONGEST)
        self._contacted = False

    # Single answers.

    def unary(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None = None
    ) -> Steps[Response]:
        """Makes a call that is safe to repeat; repeats it while the server is unavailable.

        Raises:
            ImpastoError: the call failed, or there was no answer in time.
        """
        patience = Patience(self.timeout if timeout is None else timeout)
        patience.lost()
        while True:
            try:
                response: Response = yield Call(method, request, patience.left())
                self._contacted = True
                return response
            except TransportError as error:
                yield Sleep((yield from self._delay(error, patience)))

    def info(self) -> Steps[ServerInfo]:
        return wire.server_info((yield from self.unary(methods.GET_SERVER_INFO, pb.GetServerInfoRequest())))

    def job(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(methods.GET_JOB, pb.GetJobRequest(name=name))))

    def jobs(self, request: pb.ListJobsRequest) -> Steps[tuple[list[Job], pb.ListJobsRequest | None]]:
        """Returns a page of jobs and the request for the next page; None after the last."""
        response = yield from self.unary(methods.LIST_JOBS, request)
        following = pb.ListJobsRequest()
        following.CopyFrom(request)
        following.page_token = response.next_page_token
        return [wire.job(job) for job in response.jobs], following if response.next_page_token else None

    def styles(
        self, request: pb.ListStylesRequest
    ) -> Steps[tuple[list[NamedStyle], pb.ListStylesRequest | None]]:
        """Returns a page of styles and the request for the next page; None after the last."""
        response = yield from self.unary(methods.LIST_STYLES, request)
        following = pb.ListStylesRequest(page_size=request.page_size, page_token=response.next_page_token)
        found = [wire.named_style(style) for style in response.styles]
        return found, following if response.next_page_token else None

    def create_job(self, request: pb.CreateJobRequest) -> Steps[Job]:
        request.request_id = request.request_id or str(uuid.uuid4())
        yield from self.lighten(request.spec)
        return wire.job((yield from self.unary(methods.CREATE_JOB, request)))

    def estimate(self, request: pb.EstimateJobRequest) -> Steps[Estimate]:
        yield from self.lighten(request.spec)
        try:
            return wire.estimate((yield from self.unary(methods.ESTIMATE_JOB, request)))
        except ImpastoError as error:
            if error.code != "UNIMPLEMENTED":
                raise
            raise ServerError(
                "the server cannot estimate jobs, because it is older than this client; update the server",
                code=error.code,
            ) from None

    def update_job(self, request: pb.UpdateJobRequest) -> Steps[Job]:
        return wire.job((yield from self.unary(methods.UPDATE_JOB, request)))

    def pause(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(methods.PAUSE_JOB, pb.PauseJobRequest(name=name))))

    def resume(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(methods.RESUME_JOB, pb.ResumeJobRequest(name=name))))

    def cancel(self, name: str, *, timeout: float | None = None) -> Steps[Job]:
        request = pb.CancelJobRequest(name=name)
        return wire.job((yield from self.unary(methods.CANCEL_JOB, request, timeout=timeout)))

    def delete(self, name: str) -> Steps[None]:
        """Deletes a job. If an attempt without an answer may have deleted it, NOT_FOUND counts as success."""
        patience = Patience(self.timeout)
        patience.lost()
        maybe_done = False
        while True:
            try:
                yield Call(methods.DELETE_JOB, pb.DeleteJobRequest(name=name), patience.left())
                self._contacted = True
                return
            except TransportError as error:
                if error.code == "NOT_FOUND" and maybe_done:
                    return
                maybe_done = maybe_done or not error.unreached
                yield Sleep((yield from self._delay(error, patience)))

    def preview(self, request: pb.GetPreviewRequest) -> Steps[NewestPreview]:
        timeout = min(self.timeout + request.wait.seconds, LONGEST)
        return wire.newest_preview((yield from self.unary(methods.GET_PREVIEW, request, timeout=timeout)))

    def watch_jobs(self, request: pb.WatchJobsRequest) -> Generator[AnyStep | JobsEvent, Any, None]:
        """Yields the events of all jobs, for ever; connects again when the connection breaks.

        Raises:
            ImpastoError: contact was lost for too long, or the server has no such call.
        """
        patience = Patience(self.patience)
        while True:
            yield Begin(methods.WATCH_JOBS, request, None)
            # A server answers at once with the unfinished jobs.
            timeout = self.timeout
            lost: ImpastoError = DataLoss("the server's stream ended")
            began = False
            try:
                while True:
                    message: pb.WatchJobsResponse | None = yield Receive(timeout)
                    if message is None:
                        break
                    self._contacted, timeout, began = True, SILENCE, True
                    patience.heard(news=True)
                    if message.event.HasField("resume"):
                        delay = message.event.resume.retry_delay
                        after = delay.seconds + delay.nanos / 1e9
                        lost = Unavailable("the server ended the stream", retry_after=after)
                        continue
                    event = wire.jobs_event(message)
                    if event is not None:
                        yield event
                wait = patience.delay(lost)
            except TransportError as error:
                lost = self.error(error, broke=began)
                wait = yield from self._delay(error, patience, broke=began)
            if began:
                yield JobsEvent("", ContactLost(lost))
            yield Sleep(wait)

    # Images.

    def image_links(self, request: pb.CreateImageLinksRequest) -> Steps[ImageLinks]:
        return wire.image_links((yield from self.unary(methods.CREATE_IMAGE_LINKS, request)))

    def lighten(self, spec: pb.JobSpec) -> Steps[None]:
        """Makes a specification small enough to send: uploads its largest images and refers to them.

        Raises:
            ImpastoError: an upload failed.
        """
        # Coding raw pixels as a PNG takes time, so it is done only for an upload.
        files = [image for image in requests.images(spec) if image.WhichOneof("source") in ("encoded", "raw")]
        for image in sorted(files, key=lambda image: image.ByteSize(), reverse=True):
            if spec.ByteSize() <= INLINE_BYTES:
                return
            is_file = image.WhichOneof("source") == "encoded"
            file = image.encoded if is_file else images.image_file(images.raw_pixels(image.raw))
            uploaded = yield from self.upload(file)
            image.sha256 = uploaded.sha256

    def upload(self, data: bytes) -> Steps[UploadedImage]:
        """Uploads an image's file, except for the bytes that the server has already.

        Raises:
            ImpastoError: the server refused it, or contact was lost for too long.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        patience = Patience(self.patience)
        known = -1
        asked = False
        offset = 0
        while True:
            length = UPLOAD_STRETCH if asked else 0
            pieces = requests.upload_requests(data, sha256, offset, length=length, piece=UPLOAD_PIECE)
            try:
                timeout = UPLOAD_TIMEOUT if asked else self.timeout
                answer: pb.UploadImageResponse = yield Send(methods.UPLOAD_IMAGE, list(pieces), timeout)
            except TransportError as error:
                # Ask the server again how much it has.
                asked, offset = False, 0
                if error.code not in ("FAILED_PRECONDITION", "DEADLINE_EXCEEDED"):
                    yield Sleep((yield from self._delay(error, patience)))
                    continue
                told: ImpastoError = self.error(error)
            else:
                self._contacted = True
                if answer.complete:
                    return UploadedImage(sha256)
                asked, offset = True, answer.committed_bytes
                if offset > known:
                    known = offset
                    patience.heard(news=True)
                    continue
                told = DataLoss(f"the upload stopped at {offset} of {len(data)} bytes")
            yield Sleep(patience.delay(told))

    def download(self, request: pb.DownloadImageRequest) -> Steps[CodedImage]:
        """Downloads an image and checks it.

        Raises:
            ImpastoError: there is no such image, it was damaged, or contact was lost for too long.
        """
        pieces = Pieces()
        yield from self._download(request, pieces)
        return pieces.image()

    def _download(self, request: pb.DownloadImageRequest, pieces: Pieces) -> Steps[None]:
        """Downloads the pieces that are missing."""
        patience = Patience(self.patience)
        while not pieces.complete:
            request.offset = pieces.received
            pieces.begin()
            try:
                yield Begin(methods.DOWNLOAD_IMAGE, request, None)
                # Converting a result to another format delays the first piece.
                timeout = min(SILENCE, max(self.timeout, patience.left()))
                while True:
                    chunk: pb.ImageChunk | None = yield Receive(timeout)
                    self._contacted = True
                    if chunk is None or not pieces.add(chunk):
                        break
                    patience.heard(news=True)
                if not pieces.complete:
                    yield Sleep(patience.delay(DataLoss(pieces.missing())))
            except TransportError as error:
                # A newer preview, or a result that was coded again, may be shorter than the bytes received.
                if error.code == "INVALID_ARGUMENT" and pieces.received:
                    pieces.forget()
                    yield Sleep(patience.delay(self.error(error)))
                else:
                    yield Sleep((yield from self._delay(error, patience)))

    # Paintings.

    def stylize(
        self, watched: Watched, request: pb.StylizeRequest, *, timeout: float | None = None
    ) -> Following:
        """Creates a job and follows it to its picture.

        Raises:
            ImpastoError: the job was refused, failed or was cancelled, or contact was lost for too long.
        """
        request.request_id = request.request_id or str(uuid.uuid4())
        deadline = _deadline(timeout)
        yield from self.lighten(request.spec)
        return (yield from self._follow(watched, request, deadline))

    def watch(self, watched: Watched, *, previews: bool = True, timeout: float | None = None) -> Following:
        """Follows the job `watched.name` to its picture.

        Raises:
            ImpastoError: the job failed or was cancelled, or contact was lost for too long.
        """
        deadline = _deadline(timeout)
        return (yield from self._follow(watched, None, deadline, omit_previews=not previews))

    def abandon(self, watched: Watched) -> Steps[None]:
        """Cancels a job whose caller leaves. Ignores errors: the server cancels such a job itself."""
        try:
            if not watched.name and watched.asked is not None:
                # The server may just have accepted it: repeating the request returns its name.
                yield Begin(methods.STYLIZE, watched.asked, CANCEL_TIMEOUT)
                response: pb.StylizeResponse | None = yield Receive(CANCEL_TIMEOUT)
                if response is not None:
                    watched.name = response.event.job.name
            if watched.name and not watched.is_final:
                watched.job = yield from self.cancel(watched.name, timeout=CANCEL_TIMEOUT)
        except (ImpastoError, TransportError):
            return

    def _follow(
        self,
        watched: Watched,
        stylize: pb.StylizeRequest | None,
        deadline: float | None,
        *,
        omit_previews: bool = False,
    ) -> Following:
        patience = Patience(self.patience)
        pieces = Pieces()
        while not watched.is_final:
            watched.begin()
            pieces.begin()
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            left = left if left is not None and left <= LONGEST else None
            if stylize is not None and not watched.name:
                watched.asked = stylize
                yield Begin(methods.STYLIZE, stylize, left)
                timeout = SILENCE
            else:
                request = pb.WatchJobRequest(
                    name=watched.name, after_sequence=watched.sequence, omit_previews=omit_previews
                )
                yield Begin(methods.WATCH_JOB, request, left)
                # A server answers at once with the job's state.
                timeout = self.timeout
            try:
                while True:
                    message = yield Receive(timeout)
                    if message is None:
                        break
                    self._contacted = True
                    timeout = SILENCE
                    event, piece = _parts(message)
                    if piece is not None:
                        pieces.add(piece)
                    if event is None:
                        continue
                    known = watched.sequence
                    told = watched.take(event)
                    patience.heard(news=watched.sequence > known)
                    if told is not None:
                        yield told
                lost = self._ended(watched, patience)
            except TransportError as error:
                if watched.is_final:
                    break
                if deadline is not None and error.code == "DEADLINE_EXCEEDED":
                    raise self.error(error) from None
                # An answer that takes too long counts as a broken connection.
                delay = yield from self._delay(error, patience, broke=bool(watched.name))
            else:
                if lost is None:
                    break
                delay = patience.delay(lost)
            if deadline is not None and time.monotonic() + delay >= deadline:
                raise DeadlineExceeded("the painting took longer than its timeout")
            yield Sleep(delay)
        job = watched.succeeded()
        if not pieces.complete:
            yield from self._download(pb.DownloadImageRequest(result_of=job.name), pieces)
        return pieces.picture(job)

    def _ended(self, watched: Watched, patience: Patience) -> ImpastoError | None:
        """Returns why to reconnect after a stream that ended with OK; None if its job is final.

        Raises:
            DataLoss: the server keeps ending streams before the job is final.
        """
        if watched.is_final:
            return None
        if watched.resume_delay is not None:
            return Unavailable("the server is shutting down", retry_after=watched.resume_delay)
        told = DataLoss("the server's stream ended before the job did")
        if not watched.name or patience.attempts >= EMPTY_STREAMS:
            raise told
        return told

    # Errors.

    def _delay(self, error: TransportError, patience: Patience, *, broke: bool = False) -> Steps[float]:
        """Returns the seconds after which to repeat a failed call.

        Raises:
            ImpastoError: repeating cannot help, or it was repeated for long enough.
        """
        told = self.error(error, broke=broke)
        if error.code != "UNAVAILABLE":
            raise told
        # If nothing ever answered, the address is wrong or no server was started.
        if not self._contacted and not told.reason:
            finding: Finding | None = (yield Diagnose(self._endpoint)) if self._dials else None
            if finding is not None:
                raise self._unreachable(finding)
            if error.unreached:
                raise told
        if not error.unreached:
            self._contacted = True
        return patience.delay(told)

    def _unreachable(self, finding: Finding) -> Unreachable:
        said = f"no server answers at {self.address} ({finding.cause})"
        if finding.remedy:
            said = f"{self.address} cannot be used: {finding.cause}; {finding.remedy}"
        return Unreachable(said, cause=finding.cause, remedy=finding.remedy, kind=finding.kind)

    def error(self, error: TransportError, *, broke: bool = False) -> ImpastoError:
        """Returns the error of a call. A transport's own error is put into our words.

        Args:
            broke: whether there was contact before, for the same painting or transfer.
        """
        told = from_call(error.code, error.message, error.details)
        if isinstance(told, Unauthenticated) and not self._endpoint.metadata:
            return _said(told, f"{told.message}; the server at {self.address} needs a token")
        if told.reason:
            return told
        # "failed to connect to all addresses; last error: UNKNOWN: ipv4:…: Connection refused (111)"
        cause = error.message.rpartition(": ")[2].rstrip("]")
        if isinstance(told, Unavailable) and not told.violations:
            if error.unreached or not broke:
                return Unreachable(
                    f"no server answers at {self.address} ({cause})", retry_after=told.retry_after
                )
            return Unavailable(
                f"the connection to {self.address} broke ({cause})", retry_after=told.retry_after
            )
        if isinstance(told, ResourceExhausted) and error.details is None:
            return _said(told, f"the request is too large to send ({cause}); give fewer or smaller images")
        return told


def _deadline(timeout: float | None) -> float | None:
    """The time, on the clock of `time.monotonic`, after this many seconds; None for never."""
    if timeout is None:
        return None
    if not _is_positive(timeout):
        raise invalid_field("timeout", f"is {timeout!r}; give seconds above 0, or None for no limit")
    return time.monotonic() + timeout


def _is_positive(seconds: object) -> bool:
    return isinstance(seconds, Real) and float(seconds) > 0


def _said(error: ImpastoError, message: str) -> ImpastoError:
    return type(error)(
        message,
        code=error.code,
        fields=error.fields,
        violations=error.violations,
        reason=error.reason,
        retry_after=error.retry_after,
    )


def _parts(message: Any) -> tuple[pb.JobEvent | None, pb.ImageChunk | None]:
    """The event, or the piece of the picture, in a message of `Stylize` or `WatchJob`."""
    if isinstance(message, pb.JobEvent):
        return message, None
    kind = message.WhichOneof("payload")
    return (message.event if kind == "event" else None), (message.result if kind == "result" else None)
