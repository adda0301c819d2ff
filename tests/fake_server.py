"""An Impasto server that paints nothing: what it answers is up to the test."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
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
    """A picture as a server makes it; turned by some degrees to tell it from others."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("impasto", json.dumps(metadata))
    file = io.BytesIO()
    picture = Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB")
    picture.save(file, "PNG", pnginfo=text)
    return file.getvalue()


def metadata_of(request: pb.StylizeRequest) -> dict[str, Any]:
    """What a server's picture says about its making."""
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
    """A preview as a server makes it; turned by some degrees to tell it from others."""
    file = io.BytesIO()
    Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def job(state: pb.JobState.ValueType, **fields: object) -> pb.StylizeResponse:
    """The event that a job is now in this state."""
    told = pb.Job(name="jobs/fake", state=state, width=48, height=32, **fields)  # type: ignore[arg-type]
    return pb.StylizeResponse(event=pb.JobEvent(job=told))


def numbers(evaluation: int, evaluations: int = 4, *, scale: int = 1) -> pb.Progress:
    """The numbers of an evaluation."""
    told = pb.Progress(
        evaluation=evaluation,
        evaluations=evaluations,
        scale=scale,
        scales=2,
        width=24 * scale,
        height=16 * scale,
        loss=1.5 / evaluation,
        content_loss=0.25,
        style_loss=1.25,
    )
    told.device_time.FromMilliseconds(100 * evaluation)
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
    """A job's events up to its end: two scales, with numbers and previews."""
    yield job(pb.JOB_STATE_QUEUED)
    yield job(pb.JOB_STATE_RUNNING, network=NETWORK, device="cpu")
    for evaluation in range(1, 5):
        scale = 1 + evaluation // 3
        yield pb.StylizeResponse(event=pb.JobEvent(progress=numbers(evaluation, scale=scale)))
        yield preview(evaluation, scale=scale)


def succeeded(**fields: object) -> pb.StylizeResponse:
    """The event that the job is done."""
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


def paint_recorded(
    request: pb.StylizeRequest, context: grpc.ServicerContext, *, turn: float = 0, width: int = 48
) -> Iterator[pb.StylizeResponse]:
    """As `paint`, with a picture that says how it was made."""
    yield from begin()
    yield succeeded()
    for chunk in chunks(png(width, metadata=metadata_of(request), turn=turn)):
        yield pb.StylizeResponse(result=chunk)


def paint_forever(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
    """A job that goes on until its caller leaves."""
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


class FakeServer(pb_grpc.StyleTransferServicer):
    """Answers as its script says.

    Attributes:
        address: where it listens.
        script: makes the answers of the next `Stylize`.
        requests: what was asked of it.
        left: set when a caller has left a `Stylize` before its end, or it has ended.
    """

    def __init__(self) -> None:
        self.address = ""
        self.script: Script = paint
        self.requests: list[pb.StylizeRequest] = []
        self.left = threading.Event()

    def Stylize(
        self, request: pb.StylizeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StylizeResponse]:
        self.requests.append(request)
        context.add_callback(self.left.set)
        yield from self.script(request, context)

    def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetServerInfoResponse:
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
            limits=pb.Limits(max_longest_side=4096, max_styles=8, max_unfinished_jobs=3, max_regions=7),
            unfinished_jobs=1,
        )


@contextlib.contextmanager
def serving(address: str = "127.0.0.1:0") -> Iterator[FakeServer]:
    """A fake server, by default on a free port of this machine."""
    fake = FakeServer()
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_StyleTransferServicer_to_server(fake, server)
    port = server.add_insecure_port(address)
    fake.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A fake server for one test."""
    with serving() as server:
        yield server
