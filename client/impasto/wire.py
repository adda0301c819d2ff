"""The server's messages, those of `impasto/v1/style_transfer.proto`, as plain data."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING, Any

from impasto.enums import RECIPE_ENUMS, image_format, word_of
from impasto.errors import from_job
from impasto.job import (
    Device,
    Estimate,
    FeatureNetwork,
    ImageLinks,
    Job,
    JobChanged,
    JobDeleted,
    JobsEvent,
    JobsListed,
    Limits,
    MemoryPlan,
    NamedStyle,
    NewestPreview,
    Preview,
    Progress,
    ServerInfo,
    WebPage,
)
from impasto.recipe import FIELD_ON_WIRE, Recipe
from impasto.v1 import style_transfer_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
    from google.protobuf.timestamp_pb2 import Timestamp


def job(message: pb.Job) -> Job:
    """Return a job as plain data."""
    return Job(
        name=message.name,
        state=word_of(pb.JobState, message.state),
        recipe=recipe(message.recipe),
        width=message.width,
        height=message.height,
        progress=progress(message.progress) if message.HasField("progress") else None,
        error=from_job(message.error) if message.HasField("error") else None,
        stop_reason=_word_if_set(pb.StopReason, message.stop_reason),
        stop_message=message.stop_message,
        create_time=_time(message.create_time) if message.HasField("create_time") else None,
        start_time=_time(message.start_time) if message.HasField("start_time") else None,
        end_time=_time(message.end_time) if message.HasField("end_time") else None,
        network=network(message.network) if message.HasField("network") else None,
        device=message.device,
        bfloat16=message.bfloat16,
        memory_plan=memory_plan(message.memory_plan) if message.HasField("memory_plan") else None,
        title=message.title,
        held=message.held,
        priority=message.priority,
        queue_position=message.queue_position or None,
        expire_time=_time(message.expire_time) if message.HasField("expire_time") else None,
    )


def jobs_event(message: pb.WatchJobsResponse) -> JobsEvent | None:
    """Return an event of one of several jobs as plain data; None for one that callers do not need."""
    kind = message.WhichOneof("payload")
    if kind == "listed":
        return JobsEvent("", JobsListed())
    if kind == "deleted":
        return JobsEvent(message.job, JobDeleted())
    event = message.event
    if event.HasField("job"):
        return JobsEvent(message.job, JobChanged(job(event.job)))
    if event.HasField("progress"):
        return JobsEvent(message.job, progress(event.progress))
    if event.HasField("preview"):
        return JobsEvent(message.job, preview(event.preview))
    return None


def image_links(message: pb.CreateImageLinksResponse) -> ImageLinks:
    """Return addresses of pictures as plain data."""
    return ImageLinks(tuple(link.path for link in message.links), _time(message.expire_time))


def estimate(message: pb.EstimateJobResponse) -> Estimate:
    """Return what painting a job would take as plain data."""
    return Estimate(
        recipe=recipe(message.recipe),
        width=message.width,
        height=message.height,
        device=message.device,
        memory_plan=memory_plan(message.memory_plan),
        device_time=_seconds(message.device_time) if message.HasField("device_time") else None,
        time_left=_seconds(message.time_left) if message.HasField("time_left") else None,
        other_jobs=message.other_jobs,
    )


def newest_preview(message: pb.GetPreviewResponse) -> NewestPreview:
    """Return a job with its newest preview as plain data."""
    return NewestPreview(
        job(message.job), preview(message.preview) if message.HasField("preview") else None, message.sequence
    )


def named_style(message: pb.NamedStyle) -> NamedStyle:
    """Return a style that the server offers as plain data."""
    return NamedStyle(message.name, message.title, message.width, message.height, message.thumbnail)


def recipe(message: pb.Recipe) -> Recipe:
    """Return a recipe as plain data. A field that is not set is None."""
    values: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        field = FIELD_ON_WIRE.get(descriptor.name)
        if field is None:
            continue
        enum = RECIPE_ENUMS.get(descriptor.name)
        if field.kind == "layers":
            values[field.name] = [(layer.layer, layer.weight) for layer in value]
        else:
            values[field.name] = word_of(enum, value) if enum else value
    return Recipe(**values)


def progress(message: pb.Progress) -> Progress:
    """Return a job's progress as plain data."""
    return Progress(
        evaluation=message.evaluation,
        evaluations=message.evaluations,
        scale=message.scale,
        scales=message.scales,
        width=message.width,
        height=message.height,
        loss=message.loss,
        content_loss=message.content_loss,
        style_loss=message.style_loss,
        tv_loss=message.tv_loss,
        device_time=_seconds(message.device_time),
        time_left=_seconds(message.time_left) if message.HasField("time_left") else None,
        preparing=message.preparing if message.HasField("preparing") else None,
    )


def memory_plan(message: pb.MemoryPlan) -> MemoryPlan:
    """Return how an evaluation fits into memory as plain data."""
    return MemoryPlan(
        word_of(pb.MemoryMethod, message.method), message.estimated_bytes, message.tile_side or None
    )


def preview(message: pb.Preview) -> Preview:
    """Return a preview as plain data."""
    return Preview(
        data=message.data,
        format=word_of(pb.ImageFormat, message.format),
        width=message.width,
        height=message.height,
        evaluation=message.evaluation,
        scale=message.scale,
    )


def network(message: pb.FeatureNetwork) -> FeatureNetwork:
    """Return a feature network as plain data."""
    return FeatureNetwork(message.architecture, message.weights, message.origin, message.sha256)


def server_info(message: pb.GetServerInfoResponse) -> ServerInfo:
    """Return what a server says about itself as plain data."""
    limits = message.limits
    return ServerInfo(
        version=message.version,
        devices=tuple(
            Device(
                name=device.name,
                description=device.description,
                state=word_of(pb.DeviceState, device.state),
                auto_precision=_word_if_set(pb.Precision, device.auto_precision),
                resident_jobs=device.resident_jobs,
                restarts=device.restarts,
                memory_bytes=device.memory_bytes or None,
                machine=device.machine,
            )
            for device in message.devices
        ),
        network=network(message.network) if message.HasField("network") else None,
        accepted_formats=tuple(image_format(number) for number in message.accepted_formats),
        limits=Limits(
            max_request_bytes=limits.max_request_bytes,
            max_image_pixels=limits.max_image_pixels,
            max_longest_side=limits.max_longest_side,
            max_styles=limits.max_styles,
            max_evaluations=limits.max_evaluations,
            max_unfinished_jobs=limits.max_unfinished_jobs,
            max_regions=limits.max_regions,
            max_upload_bytes=limits.max_upload_bytes,
            max_unfinished_jobs_of_tenant=limits.max_unfinished_jobs_of_tenant,
            max_stored_bytes_of_tenant=limits.max_stored_bytes_of_tenant,
        ),
        unfinished_jobs=message.unfinished_jobs,
        tenant=message.tenant,
        page=WebPage(message.page.url, message.page.port) if message.HasField("page") else None,
        administrator=message.administrator,
    )


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=timezone.utc)


def _seconds(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9


def _word_if_set(enum: EnumTypeWrapper, number: int) -> str | None:
    return word_of(enum, number) if number else None
