"""Every call of the service, with all that a client does by itself: as steps, without I/O of its own.

`impasto.Client` carries them out with threads; the same steps serve asyncio and any transport.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Generator
from typing import Any, TypeAlias

from impasto import images, wire
from impasto.diagnosis import Finding
from impasto.errors import (
    DataLoss,
    DeadlineExceeded,
    ImpastoError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unreachable,
    from_call,
    invalid_field,
)
from impasto.job import Event, Job, NamedStyle, NewestPreview, ServerInfo
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
"""Seconds without a message after which a stream counts as broken; a server sends a heartbeat after 15."""
LINGER = 30.0
"""Seconds that a job outlives a caller who lost the stream, and in which he can come back."""
CANCEL_TIMEOUT = 5.0
"""Seconds that someone who leaves a job waits at most for the server to know."""
INLINE_BYTES = 3 * 2**20
"""Size of a request beyond which its largest images are uploaded first. By gRPC's own defaults 4 MiB is too
much."""
UPLOAD_PIECE = 256 * 2**10
UPLOAD_STRETCH = 4 * 2**20
"""Bytes uploaded in one call, so that a slow line does not meet the call's deadline and progress is known."""
UPLOAD_TIMEOUT = 60.0
LONGEST = 30 * 86400.0
"""Seconds that a deadline lies ahead at most, the longest that a server gives. What is to take longer has
none: stacks take a deadline that is beyond what they can count for one that has passed."""
EMPTY_STREAMS = 8
"""Streams that the server may end one after the other, without a word new, before it counts as broken."""

Following: TypeAlias = "Generator[AnyStep | Event, Any, Picture]"
"""Steps, and events for the caller between them, to a picture."""


class Calls:
    """The calls of one client.

    Args:
        endpoint: the server.
        timeout: deadline of every call with one answer, in seconds, over all attempts.
        patience: how long to go on without contact, in seconds.
        dials: whether the transport connects to the address itself, so that a socket of our own can find out
            why it failed.

    Raises:
        ValueError: a time is not above 0.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, patience: float, dials: bool) -> None:
        for name, seconds in (("timeout", timeout), ("patience", patience)):
            if not seconds > 0:
                raise ValueError(f"{name} is {seconds:g}; give seconds above 0, or math.inf for no end")
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
        """Makes a call that is safe to repeat, again and again as long as the server is not available.

        Raises:
            ImpastoError: it failed, or there was no answer in time.
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
        return wire.server_info((yield from self.unary(wire.GET_SERVER_INFO, pb.GetServerInfoRequest())))

    def job(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(wire.GET_JOB, pb.GetJobRequest(name=name))))

    def jobs(self, request: pb.ListJobsRequest) -> Steps[tuple[list[Job], pb.ListJobsRequest | None]]:
        """A page of jobs, and the request for the next one; None after the last."""
        response = yield from self.unary(wire.LIST_JOBS, request)
        following = pb.ListJobsRequest()
        following.CopyFrom(request)
        following.page_token = response.next_page_token
        return [wire.job(job) for job in response.jobs], following if response.next_page_token else None

    def styles(
        self, request: pb.ListStylesRequest
    ) -> Steps[tuple[list[NamedStyle], pb.ListStylesRequest | None]]:
        """A page of styles, and the request for the next one; None after the last."""
        response = yield from self.unary(wire.LIST_STYLES, request)
        following = pb.ListStylesRequest(page_size=request.page_size, page_token=response.next_page_token)
        found = [wire.named_style(style) for style in response.styles]
        return found, following if response.next_page_token else None

    def create_job(self, request: pb.CreateJobRequest) -> Steps[Job]:
        request.request_id = request.request_id or str(uuid.uuid4())
        yield from self.lighten(request.spec)
        return wire.job((yield from self.unary(wire.CREATE_JOB, request)))

    def update_job(self, request: pb.UpdateJobRequest) -> Steps[Job]:
        return wire.job((yield from self.unary(wire.UPDATE_JOB, request)))

    def pause(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(wire.PAUSE_JOB, pb.PauseJobRequest(name=name))))

    def resume(self, name: str) -> Steps[Job]:
        return wire.job((yield from self.unary(wire.RESUME_JOB, pb.ResumeJobRequest(name=name))))

    def cancel(self, name: str, *, timeout: float | None = None) -> Steps[Job]:
        request = pb.CancelJobRequest(name=name)
        return wire.job((yield from self.unary(wire.CANCEL_JOB, request, timeout=timeout)))

    def delete(self, name: str) -> Steps[None]:
        """Deletes a job. One that an attempt without an answer may have deleted is deleted."""
        patience = Patience(self.timeout)
        patience.lost()
        maybe_done = False
        while True:
            try:
                yield Call(wire.DELETE_JOB, pb.DeleteJobRequest(name=name), patience.left())
                self._contacted = True
                return
            except TransportError as error:
                if error.code == "NOT_FOUND" and maybe_done:
                    return
                maybe_done = maybe_done or not error.unreached
                yield Sleep((yield from self._delay(error, patience)))

    def preview(self, request: pb.GetPreviewRequest) -> Steps[NewestPreview]:
        timeout = min(self.timeout + request.wait.seconds, LONGEST)
        return wire.newest_preview((yield from self.unary(wire.GET_PREVIEW, request, timeout=timeout)))

    # Images.

    def lighten(self, spec: pb.JobSpec) -> Steps[None]:
        """Uploads the largest images of a specification that is too large to send, and names them instead.

        Raises:
            ImpastoError: an upload failed.
        """
        # Raw pixels become a PNG, which takes a moment: only where they have to go by themselves.
        files = [image for image in wire.images(spec) if image.WhichOneof("source") in ("encoded", "raw")]
        for image in sorted(files, key=lambda image: image.ByteSize(), reverse=True):
            if spec.ByteSize() <= INLINE_BYTES:
                return
            is_file = image.WhichOneof("source") == "encoded"
            file = image.encoded if is_file else images.image_file(images.raw_pixels(image.raw))
            uploaded = yield from self.upload(file)
            image.sha256 = uploaded.sha256

    def upload(self, data: bytes) -> Steps[UploadedImage]:
        """Uploads an image's file, from where the server has it already on.

        Raises:
            ImpastoError: it is refused, or contact was lost for too long.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        patience = Patience(self.patience)
        known = -1
        asked = False
        offset = 0
        while True:
            length = UPLOAD_STRETCH if asked else 0
            requests = list(wire.upload_requests(data, sha256, offset, length=length, piece=UPLOAD_PIECE))
            try:
                timeout = UPLOAD_TIMEOUT if asked else self.timeout
                answer: pb.UploadImageResponse = yield Send(wire.UPLOAD_IMAGE, requests, timeout)
            except TransportError as error:
                # Where the server stands after that, it has to say again.
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
                told = DataLoss(f"the upload does not get beyond {offset} of {len(data)} bytes")
            yield Sleep(patience.delay(told))

    def download(self, request: pb.DownloadImageRequest) -> Steps[CodedImage]:
        """An image, whole and checked.

        Raises:
            ImpastoError: there is none, it was damaged, or contact was lost for too long.
        """
        pieces = Pieces()
        yield from self._download(request, pieces)
        return pieces.image()

    def _download(self, request: pb.DownloadImageRequest, pieces: Pieces) -> Steps[None]:
        """Adds to the pieces what is missing."""
        patience = Patience(self.patience)
        while not pieces.complete:
            request.offset = pieces.received
            pieces.begin()
            try:
                yield Begin(wire.DOWNLOAD_IMAGE, request, None)
                # A result that is to be coded otherwise is, before the first piece.
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
                # A newer preview, or a result coded anew, may be shorter than what is here.
                if error.code == "INVALID_ARGUMENT" and pieces.received:
                    pieces.forget()
                    yield Sleep(patience.delay(self.error(error)))
                else:
                    yield Sleep((yield from self._delay(error, patience)))

    # Paintings.

    def stylize(
        self, watched: Watched, request: pb.StylizeRequest, *, timeout: float | None = None
    ) -> Following:
        """Has a picture painted, and tells what happens until it is there.

        Raises:
            ImpastoError: it is refused, failed, was cancelled, or contact was lost for too long.
        """
        request.request_id = request.request_id or str(uuid.uuid4())
        deadline = _deadline(timeout)
        yield from self.lighten(request.spec)
        return (yield from self._follow(watched, request, deadline))

    def watch(self, watched: Watched, *, previews: bool = True, timeout: float | None = None) -> Following:
        """Tells what happens to a job, `watched.name`, until its picture is there.

        Raises:
            ImpastoError: it failed, was cancelled, or contact was lost for too long.
        """
        deadline = _deadline(timeout)
        return (yield from self._follow(watched, None, deadline, omit_previews=not previews))

    def abandon(self, watched: Watched) -> Steps[None]:
        """Cancels a job whose caller leaves. What goes wrong is passed over: the server does it too."""
        try:
            if not watched.name and watched.asked is not None:
                # It may just have been accepted: the same request again tells its name.
                yield Begin(wire.STYLIZE, watched.asked, CANCEL_TIMEOUT)
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
                yield Begin(wire.STYLIZE, stylize, left)
                timeout = SILENCE
            else:
                request = pb.WatchJobRequest(
                    name=watched.name, after_sequence=watched.sequence, omit_previews=omit_previews
                )
                yield Begin(wire.WATCH_JOB, request, left)
                # A server answers at once with the job as it is.
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
                # An answer that takes too long is no more than a connection that broke.
                delay = yield from self._delay(error, patience, broke=bool(watched.name))
            else:
                if lost is None:
                    break
                delay = patience.delay(lost)
            if deadline is not None and time.monotonic() + delay >= deadline:
                raise DeadlineExceeded("the painting took longer than was allowed")
            yield Sleep(delay)
        job = watched.succeeded()
        if not pieces.complete:
            yield from self._download(pb.DownloadImageRequest(result_of=job.name), pieces)
        return pieces.picture(job)

    def _ended(self, watched: Watched, patience: Patience) -> ImpastoError | None:
        """Why a stream that ended OK is to be taken up again; None if it is not."""
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
        """Seconds after which a call that failed is worth making again.

        Raises:
            ImpastoError: it is not, or it was tried for long enough.
        """
        told = self.error(error, broke=broke)
        if error.code != "UNAVAILABLE":
            raise told
        # Where nobody ever answered, the address is wrong, or no server has been started.
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
        return Unreachable(said, cause=finding.cause, remedy=finding.remedy)

    def error(self, error: TransportError, *, broke: bool = False) -> ImpastoError:
        """The error of a call; in words of our own where it is the transport's and not the server's.

        Args:
            broke: there was contact before, on the same errand.
        """
        told = from_call(error.code, error.message, error.details)
        if isinstance(told, Unauthenticated) and not self._endpoint.metadata:
            return _said(told, f"{told.message}; the server at {self.address} asks for a token")
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
    """When so many seconds are over, as `time.monotonic` tells it; None for never."""
    if timeout is None:
        return None
    if not timeout > 0:
        raise invalid_field("timeout", f"is {timeout:g}; give seconds above 0, or None for no limit")
    return time.monotonic() + timeout


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
    """The event and the piece of the picture in a message of `Stylize` or `WatchJob`."""
    if isinstance(message, pb.JobEvent):
        return message, None
    kind = message.WhichOneof("payload")
    return (message.event if kind == "event" else None), (message.result if kind == "result" else None)
