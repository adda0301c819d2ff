"""An Impasto server that paints nothing: the test decides its answers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image, PngImagePlugin

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc as pb_grpc

Script = Callable[[pb.StylizeRequest, grpc.ServicerContext], Iterator[pb.StylizeResponse]]

NETWORK = pb.FeatureNetwork(architecture="vgg16", weights="builtin", origin="from a test", sha256="0" * 64)
METADATA = {"recipe": {"objective": "balanced"}, "weights": "builtin"}


def png(width: int = 48, height: int = 32, *, metadata: dict[str, Any] = METADATA, turn: float = 0) -> bytes:
    """A result like a server's; `turn` (degrees) distinguishes it from others."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("impasto", json.dumps(metadata))
    file = io.BytesIO()
    picture = Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB")
    picture.save(file, "PNG", pnginfo=text)
    return file.getvalue()


def metadata_of(request: pb.StylizeRequest) -> dict[str, Any]:
    """The metadata in a server's result."""
    spec = request.spec
    told: dict[str, Any] = {
        "impasto": "9.9",
        "torch": "2.0",
        "memory_plan": {"method": "tiled", "tile_side": 512},
        "device": "a test",
        "network": {"architecture": "vgg16", "weights": "builtin", "origin": "a test", "sha256": "0" * 64},
        "recipe": {
            "objective": "balanced",
            "content_weight": 0.3,
            "effort": None,
            "evaluations": 4,
            "longest_side": 48,
            "seed": spec.recipe.seed,
            "precision": "float32",
            "color": "style",
            "content_layers": [],
            "style_layers": [[layer.layer, layer.weight] for layer in spec.recipe.style_layers],
            "stop_on_plateau": True,
            "something_new": 1,
        },
        "styles": [
            {"sha256": digest(style.image), "weight": style.weight if style.HasField("weight") else 1.0}
            for style in spec.styles
        ],
        "evaluations": 3,
    }
    for part in ("content", "start_image", "selection"):
        if spec.HasField(part):
            told[f"{part}_sha256"] = digest(getattr(spec, part))
    if spec.HasField("texture"):
        told["texture"] = {"width": spec.texture.width, "height": spec.texture.height}
    for region in spec.regions:
        entry = {"content_mask_sha256": digest(region.content_mask), "style": region.style}
        if region.HasField("style_mask"):
            entry["style_mask_sha256"] = digest(region.style_mask)
        told.setdefault("regions", []).append(entry)
    return told


def digest(image: pb.Image) -> str:
    """SHA-256 of an image's file."""
    return hashlib.sha256(image.encoded).hexdigest()


def jpeg(width: int, height: int, turn: float = 0) -> bytes:
    """A preview like a server's; `turn` (degrees) distinguishes it from others."""
    file = io.BytesIO()
    Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def job(state: pb.JobState.ValueType, **fields: object) -> pb.StylizeResponse:
    """The event of a job's new state."""
    told = pb.Job(name="jobs/fake", state=state, width=48, height=32, **fields)  # type: ignore[arg-type]
    return pb.StylizeResponse(event=pb.JobEvent(job=told))


def numbers(
    evaluation: int, evaluations: int = 4, *, scale: int = 1, preparing: float | None = None
) -> pb.Progress:
    """The progress of an evaluation, or that before a scale's first one, while the scale is prepared."""
    told = pb.Progress(
        evaluation=evaluation,
        evaluations=evaluations,
        scale=scale,
        scales=2,
        width=24 * scale,
        height=16 * scale,
        loss=1.5 / evaluation if evaluation else 0.0,
        content_loss=0.25 if evaluation else 0.0,
        style_loss=1.25 if evaluation else 0.0,
        preparing=preparing,
    )
    told.device_time.FromMilliseconds(100 * evaluation)
    if preparing is None:
        told.time_left.FromMilliseconds(100 * (evaluations - evaluation))
    return told


def preview(evaluation: int, *, scale: int = 1) -> pb.StylizeResponse:
    """A preview event."""
    width, height = 24 * scale, 16 * scale
    told = pb.Preview(
        data=jpeg(width, height, turn=30 * evaluation),
        format=pb.IMAGE_FORMAT_JPEG,
        width=width,
        height=height,
        evaluation=evaluation,
        scale=scale,
    )
    return pb.StylizeResponse(event=pb.JobEvent(preview=told, skipped_previews=evaluation))


def begin() -> Iterator[pb.StylizeResponse]:
    """A job's events except the last: two scales, with progress and previews."""
    yield job(pb.JOB_STATE_QUEUED)
    yield job(pb.JOB_STATE_RUNNING, network=NETWORK, device="cpu")
    for evaluation in range(1, 5):
        scale = 1 + evaluation // 3
        yield pb.StylizeResponse(event=pb.JobEvent(progress=numbers(evaluation, scale=scale)))
        yield preview(evaluation, scale=scale)


def begin_with_targets() -> Iterator[pb.StylizeResponse]:
    """As `begin`, for a job whose targets take a while to compute at both scales."""
    scales = set()
    for response in begin():
        scale = response.event.progress.scale
        if scale and scale not in scales:
            scales.add(scale)
            made = response.event.progress.evaluation - 1
            for share in (0.4, 0.8):
                found = numbers(made, scale=scale, preparing=share)
                yield pb.StylizeResponse(event=pb.JobEvent(progress=found))
        yield response


def succeeded(**fields: object) -> pb.StylizeResponse:
    """The event of a job that succeeded."""
    return job(
        pb.JOB_STATE_SUCCEEDED,
        network=NETWORK,
        device="cpu",
        progress=numbers(4, scale=2),
        stop_reason=pb.STOP_REASON_COMPLETED,
        stop_message="all evaluations were made",
        recipe=pb.Recipe(objective=pb.OBJECTIVE_BALANCED, evaluations=4, longest_side=48),
        **fields,
    )


def chunks(data: bytes, size: int = 500) -> list[pb.ImageChunk]:
    """A picture in pieces."""
    pieces = [pb.ImageChunk(offset=i, data=data[i : i + size]) for i in range(0, len(data), size)]
    pieces[0].info.CopyFrom(
        pb.ImageInfo(
            format=pb.IMAGE_FORMAT_PNG,
            width=48,
            height=32,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    )
    return pieces


def paint(
    request: pb.StylizeRequest | None = None, context: grpc.ServicerContext | None = None
) -> Iterator[pb.StylizeResponse]:
    """The whole stream of a job that succeeds."""
    yield from begin()
    yield succeeded()
    for chunk in chunks(png()):
        yield pb.StylizeResponse(result=chunk)


def paint_with_targets(
    request: pb.StylizeRequest, context: grpc.ServicerContext
) -> Iterator[pb.StylizeResponse]:
    """As `paint`, for a job whose targets take a while to compute."""
    yield from begin_with_targets()
    yield succeeded()
    for chunk in chunks(png()):
        yield pb.StylizeResponse(result=chunk)


def paint_as(
    picture: bytes, request: pb.StylizeRequest, context: grpc.ServicerContext
) -> Iterator[pb.StylizeResponse]:
    """As `paint`, with another picture."""
    yield from begin()
    yield succeeded()
    for chunk in chunks(picture):
        yield pb.StylizeResponse(result=chunk)


def paint_recorded(
    request: pb.StylizeRequest, context: grpc.ServicerContext, *, turn: float = 0, width: int = 48
) -> Iterator[pb.StylizeResponse]:
    """As `paint`, with a result that says how it was made."""
    yield from begin()
    yield succeeded()
    for chunk in chunks(png(width, metadata=metadata_of(request), turn=turn)):
        yield pb.StylizeResponse(result=chunk)


def paint_forever(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
    """A job that goes on until its call is cancelled."""
    yield from begin()
    while context.is_active():
        yield preview(4, scale=2)
        threading.Event().wait(0.05)


def refuse(code: grpc.StatusCode, message: str, *details: Message) -> Script:
    """A script that ends the call with an error."""

    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        context.abort_with_status(rpc_status.to_status(status(code, message, *details)))
        yield  # type: ignore[misc]

    return script


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """A `google.rpc.Status` with details."""
    told = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        told.details.add().Pack(detail)
    return told


def bad_request(**fields: str) -> error_details_pb2.BadRequest:
    """A `BadRequest` about fields; "__" stands for "."."""
    told = error_details_pb2.BadRequest()
    for field, sentence in fields.items():
        told.field_violations.add(field=field.replace("__", "."), description=sentence)
    return told


WatchScript = Callable[[pb.WatchJobRequest, grpc.ServicerContext], Iterator[pb.JobEvent]]


def events(*responses: pb.StylizeResponse) -> list[pb.JobEvent]:
    """The events of a stream of `Stylize`, numbered from 1; without the picture."""
    found = [response.event for response in responses if response.WhichOneof("payload") == "event"]
    for number, event in enumerate(found, 1):
        event.sequence = number
    return found


def course() -> list[pb.JobEvent]:
    """All events of a job that succeeds, numbered."""
    return events(*begin(), succeeded())


def heartbeat(sequence: int) -> pb.JobEvent:
    return pb.JobEvent(sequence=sequence, heartbeat=pb.Heartbeat())


def resume(sequence: int, milliseconds: int = 0) -> pb.JobEvent:
    """The event with which the server ends a stream and asks the client to call again."""
    told = pb.JobEvent(sequence=sequence)
    told.resume.retry_delay.FromMilliseconds(milliseconds)
    return told


def snapshot(log: list[pb.JobEvent]) -> pb.JobEvent:
    """The event that a stream begins with after these events: the current job."""
    newest = next(event for event in reversed(log) if event.HasField("job"))
    return pb.JobEvent(sequence=log[-1].sequence, job=newest.job)


def estimate() -> pb.EstimateJobResponse:
    """An estimate of a job that is painted in tiles, beside two other jobs."""
    made = pb.EstimateJobResponse(
        recipe=pb.Recipe(objective=pb.OBJECTIVE_GATYS, evaluations=1200),
        width=300,
        height=200,
        device="cuda:0",
        memory_plan=pb.MemoryPlan(method=pb.MEMORY_METHOD_TILED, estimated_bytes=3000 << 20, tile_side=512),
        other_jobs=2,
    )
    made.device_time.FromMilliseconds(2500)
    made.time_left.FromSeconds(185)
    return made


class FakeServer(pb_grpc.StyleTransferServicer):
    """A server that answers as its scripts say.

    Attributes:
        address: HOST:PORT.
        script: makes the answers of the next `Stylize`; events without a sequence are numbered.
        watch_script: makes the answers of the next `WatchJob`; by default the events in `log`.
        log: events of the job.
        requests: requests of `Stylize`.
        calls: every call: its name, its request (for an upload, the list of requests) and its metadata.
        faults: errors with which the next calls of a name end.
        token: token that callers must send; None: they need none.
        jobs: the jobs by name, oldest first.
        estimate: the answer to `EstimateJob`.
        images: whole uploads by digest; `parts`: unfinished uploads.
        result: the picture to download.
        breaks: numbers of bytes after which the next uploads or downloads are interrupted.
        sent: number of responses that streams of `Stylize` have sent.
        left: set when a `Stylize` has ended, or its caller cancelled it.
        cancelled: set when a job was cancelled by name.
    """

    def __init__(self) -> None:
        self.address = ""
        self.script: Script = paint
        self.watch_script: WatchScript = self._watch
        self.log: list[pb.JobEvent] = course()
        self.requests: list[pb.StylizeRequest] = []
        self.calls: list[tuple[str, Any, dict[str, str]]] = []
        self.faults: dict[str, list[status_pb2.Status]] = {}
        self.token: str | None = None
        self.jobs: dict[str, pb.Job] = {}
        self.estimate = estimate()
        self.images: dict[str, bytes] = {}
        self.parts: dict[str, bytearray] = {}
        self.result = png()
        self.breaks: list[int] = []
        self.sent = 0
        self.left = threading.Event()
        self.cancelled = threading.Event()

    def called(self, name: str) -> list[Any]:
        """The requests of a call."""
        return [request for called, request, _ in list(self.calls) if called == name]

    def Stylize(
        self, request: pb.StylizeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StylizeResponse]:
        self._enter("Stylize", request, context)
        self.requests.append(request)
        context.add_callback(self.left.set)
        sequence = 0
        for response in self.script(request, context):
            if response.WhichOneof("payload") == "event":
                sequence = response.event.sequence = response.event.sequence or sequence + 1
            yield response
            self.sent += 1

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        self._enter("WatchJob", request, context)
        yield from self.watch_script(request, context)

    def _watch(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        done = [event for event in self.log if event.sequence <= request.after_sequence]
        yield snapshot(done or self.log[:1])
        yield from self.log[max(1, len(done)) :]

    def CreateJob(self, request: pb.CreateJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("CreateJob", request, context)
        made = pb.Job(
            name=f"jobs/{len(self.jobs):04}fake",
            state=pb.JOB_STATE_QUEUED,
            title=request.title,
            priority=request.priority,
            recipe=request.spec.recipe,
            queue_position=len(self.jobs) + 1,
        )
        made.create_time.GetCurrentTime()
        self.jobs[made.name] = made
        return made

    def EstimateJob(
        self, request: pb.EstimateJobRequest, context: grpc.ServicerContext
    ) -> pb.EstimateJobResponse:
        self._enter("EstimateJob", request, context)
        return self.estimate

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("GetJob", request, context)
        return self._job(request.name, context)

    def ListJobs(self, request: pb.ListJobsRequest, context: grpc.ServicerContext) -> pb.ListJobsResponse:
        self._enter("ListJobs", request, context)
        jobs = [
            job for job in reversed(self.jobs.values()) if not request.states or job.state in request.states
        ]
        # Always two jobs on a page: a page may have fewer than requested.
        start = int(request.page_token or 0)
        return pb.ListJobsResponse(
            jobs=jobs[start : start + 2], next_page_token=str(start + 2) if start + 2 < len(jobs) else ""
        )

    def UpdateJob(self, request: pb.UpdateJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("UpdateJob", request, context)
        job = self._job(request.job.name, context)
        request.update_mask.MergeMessage(request.job, job)
        return job

    def PauseJob(self, request: pb.PauseJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("PauseJob", request, context)
        return self._moved(request.name, pb.JOB_STATE_PAUSED, context)

    def ResumeJob(self, request: pb.ResumeJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("ResumeJob", request, context)
        return self._moved(request.name, pb.JOB_STATE_QUEUED, context)

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._enter("CancelJob", request, context)
        self.cancelled.set()
        if request.name == "jobs/fake":
            return pb.Job(name=request.name, state=pb.JOB_STATE_CANCELLED)
        return self._moved(request.name, pb.JOB_STATE_CANCELLED, context)

    def DeleteJob(self, request: pb.DeleteJobRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._enter("DeleteJob", request, context)
        del self.jobs[self._job(request.name, context).name]
        return empty_pb2.Empty()

    def GetPreview(
        self, request: pb.GetPreviewRequest, context: grpc.ServicerContext
    ) -> pb.GetPreviewResponse:
        self._enter("GetPreview", request, context)
        answer = pb.GetPreviewResponse(job=self._job(request.name, context), sequence=request.after_sequence)
        newest = next(event for event in reversed(self.log) if event.HasField("preview"))
        if newest.sequence > request.after_sequence:
            answer.preview.CopyFrom(newest.preview)
            answer.sequence = newest.sequence
        return answer

    def UploadImage(
        self, requests: Iterator[pb.UploadImageRequest], context: grpc.ServicerContext
    ) -> pb.UploadImageResponse:
        taken: list[pb.UploadImageRequest] = []
        self._enter("UploadImage", taken, context)
        first = next(requests)
        taken.append(first)
        if first.sha256 in self.images:
            return pb.UploadImageResponse(committed_bytes=first.size_bytes, complete=True)
        part = self.parts.setdefault(first.sha256, bytearray())
        break_at = self.breaks.pop(0) if self.breaks and first.data else None
        for request in itertools.chain([first], requests):
            if request is not first:
                taken.append(request)
            if request.data and request.offset != len(part):
                self._abort(context, status(grpc.StatusCode.FAILED_PRECONDITION, "not there"))
            part += request.data
            if break_at is not None and len(part) >= break_at:
                self._abort(context, status(grpc.StatusCode.UNAVAILABLE, "the line broke"))
        complete = len(part) == first.size_bytes
        if complete:
            data = bytes(self.parts.pop(first.sha256))
            if hashlib.sha256(data).hexdigest() != first.sha256:
                self._abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, "is not what it says"))
            self.images[first.sha256] = data
        return pb.UploadImageResponse(
            committed_bytes=first.size_bytes if complete else len(part), complete=complete
        )

    def DownloadImage(
        self, request: pb.DownloadImageRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ImageChunk]:
        self._enter("DownloadImage", request, context)
        data = self.images.get(request.sha256, self.result)
        break_at = self.breaks.pop(0) if self.breaks else None
        whole = chunks(data)[0].info
        if request.offset > len(data):
            self._abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, "beyond the end"))
        for offset in range(request.offset, len(data), 500):
            if break_at is not None and offset >= break_at:
                self._abort(context, status(grpc.StatusCode.UNAVAILABLE, "the line broke"))
            piece = pb.ImageChunk(offset=offset, data=data[offset : offset + 500])
            if offset == request.offset:
                piece.info.CopyFrom(whole)
                piece.info.format = request.format or pb.IMAGE_FORMAT_PNG
            yield piece

    def ListStyles(
        self, request: pb.ListStylesRequest, context: grpc.ServicerContext
    ) -> pb.ListStylesResponse:
        self._enter("ListStyles", request, context)
        names = ["great-wave", "starry-night", "the-scream"]
        start = int(request.page_token or 0)
        return pb.ListStylesResponse(
            styles=[
                pb.NamedStyle(
                    name=f"styles/{name}",
                    title=name.replace("-", " ").title(),
                    width=400,
                    height=300,
                    thumbnail=jpeg(40, 30),
                )
                for name in names[start : start + 2]
            ],
            next_page_token="2" if not start else "",
        )

    def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetServerInfoResponse:
        self._enter("GetServerInfo", request, context)
        return pb.GetServerInfoResponse(
            version="9.9",
            devices=[
                pb.Device(
                    name="cpu",
                    description="a test",
                    state=pb.DEVICE_STATE_READY,
                    auto_precision=pb.PRECISION_BFLOAT16,
                    memory_bytes=3 * 2**30,
                )
            ],
            network=NETWORK,
            accepted_formats=[pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_JPEG],
            limits=pb.Limits(
                max_longest_side=4096,
                max_styles=8,
                max_unfinished_jobs=3,
                max_regions=7,
                max_upload_bytes=2**28,
            ),
            unfinished_jobs=1,
            tenant="a tenant" if self.token else "",
        )

    def _enter(self, name: str, request: Any, context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        self.calls.append((name, request, metadata))
        if self.token is not None and metadata.get("authorization") != f"Bearer {self.token}":
            self._abort(context, status(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or unknown"))
        if self.faults.get(name):
            self._abort(context, self.faults[name].pop(0))

    def _abort(self, context: grpc.ServicerContext, told: status_pb2.Status) -> NoReturn:
        context.abort_with_status(rpc_status.to_status(told))
        raise AssertionError

    def _job(self, name: str, context: grpc.ServicerContext) -> pb.Job:
        if name not in self.jobs:
            self._abort(context, status(grpc.StatusCode.NOT_FOUND, f"there is no job {name}"))
        return self.jobs[name]

    def _moved(self, name: str, state: pb.JobState.ValueType, context: grpc.ServicerContext) -> pb.Job:
        job = self._job(name, context)
        if job.state in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED):
            unmet = error_details_pb2.PreconditionFailure()
            unmet.violations.add(type="JOB_STATE", subject=name, description="the job has ended")
            self._abort(context, status(grpc.StatusCode.FAILED_PRECONDITION, f"{name} has ended", unmet))
        job.state = state
        return job


class Running:
    """A server that can be stopped and started again on the same port.

    Args:
        credentials: TLS credentials; None: plaintext.
    """

    def __init__(
        self, fake: FakeServer, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self._fake = fake
        self._credentials = credentials
        self._address = address
        self.start()

    def start(self) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 * 2**20)],
        )
        pb_grpc.add_StyleTransferServicer_to_server(self._fake, self._server)
        if self._credentials is None:
            port = self._server.add_insecure_port(self._address)
        else:
            port = self._server.add_secure_port(self._address, self._credentials)
        if not self._address.startswith("unix:"):
            self._address = f"127.0.0.1:{port}"
        self._fake.address = self._address
        self._server.start()

    def stop(self) -> None:
        """Stops the server and breaks all calls."""
        self._server.stop(None).wait()


@contextlib.contextmanager
def running(
    address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[FakeServer, Running]]:
    """A fake server that can be stopped and started again, by default on a free port of this machine."""
    fake = FakeServer()
    server = Running(fake, address, credentials)
    try:
        yield fake, server
    finally:
        server.stop()


@contextlib.contextmanager
def serving(
    address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> Iterator[FakeServer]:
    """A fake server, by default on a free port of this machine."""
    with running(address, credentials) as (fake, _):
        yield fake


class Line:
    """A connection between callers and a server that can be broken, or go silent.

    Attributes:
        address: HOST:PORT for callers.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    caller.close()
                    continue
                self._sockets += [caller, server]
                for source, target in ((caller, server), (server, caller)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Breaks every connection, without any last data on either side."""
        sockets, self._sockets = self._sockets, []
        for end in sockets:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def silence(self) -> None:
        """Stops passing data on, but keeps the connections open."""
        self._flows.clear()

    def flow(self) -> None:
        """Carries again."""
        self._flows.set()

    def close(self) -> None:
        self._listener.close()
        self._flows.set()
        self.cut()


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A fake server for one test."""
    with serving() as server:
        yield server


@pytest.fixture
def line(fake: FakeServer) -> Iterator[Line]:
    """A connection to the fake server that can be broken."""
    laid = Line(fake.address)
    yield laid
    laid.close()
