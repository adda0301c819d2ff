"""Requests: a caller's input as messages of `impasto/v1/style_transfer.proto`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration

from impasto.enums import RECIPE_ENUMS, format_number, number_of, words_of
from impasto.errors import invalid_field
from impasto.images import image_message
from impasto.recipe import (
    FIELD_ON_WIRE,
    FIELDS,
    ImageSource,
    PreviewFormat,
    Previews,
    Recipe,
    Region,
    Style,
    StyleSource,
)
from impasto.v1 import style_transfer_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

    from impasto.recipe import Settings


def job_spec(
    content: ImageSource | None,
    styles: StyleSource | Sequence[StyleSource],
    *,
    recipe: Recipe,
    start_image: ImageSource | None = None,
    texture: tuple[int, int] | None = None,
    regions: Sequence[Region] = (),
    selection: ImageSource | None = None,
    format: str | None = None,
) -> pb.JobSpec:
    """Return what to paint, as a message. Reads the files. Leaves out whatever is None.

    Args:
        format: the format in which the server keeps the result: "png" or "png16".

    Raises:
        InvalidRequest: a value does not fit into a message.
        OSError: a file cannot be read.
        TypeError: an image has an unsupported type.
    """
    each_style = _each_style(styles)
    if not each_style:
        raise invalid_field("spec.styles", "is empty; give at least one painting")
    if start_image is not None and recipe.start is None:
        recipe = dataclasses.replace(recipe, start="image")
    spec = pb.JobSpec(
        content=_image_if_given(content, "spec.content"),
        styles=[style_message(style, f"spec.styles[{i}]") for i, style in enumerate(each_style)],
        recipe=recipe_message(recipe),
        start_image=_image_if_given(start_image, "spec.start_image"),
        texture=None if texture is None else texture_message(texture),
        regions=[region_message(region, f"spec.regions[{i}]") for i, region in enumerate(_list(regions))],
        selection=_image_if_given(selection, "spec.selection"),
    )
    if format is not None:
        spec.result_format = format_number(format, "spec.result_format", ("png", "png16"))
    return spec


def images(spec: pb.JobSpec) -> list[pb.Image]:
    """Return every image of a specification. Changing one of them changes the specification."""
    found = [style.image for style in spec.styles]
    found += [getattr(spec, part) for part in ("content", "start_image", "selection") if spec.HasField(part)]
    for region in spec.regions:
        found.append(region.content_mask)
        if region.HasField("style_mask"):
            found.append(region.style_mask)
    return found


def stylize_request(
    spec: pb.JobSpec,
    *,
    previews: Previews | bool = True,
    request_id: str = "",
    title: str = "",
    priority: int = 0,
    keep_running: bool = False,
    linger: float = 0,
) -> pb.StylizeRequest:
    """Return the request of `Stylize`.

    Args:
        linger: seconds for which the job goes on after its caller has lost the stream.

    Raises:
        InvalidRequest: a value does not fit into a message.
        TypeError: `keep_running` is neither True nor False.
    """
    message = pb.StylizeRequest(spec=spec, preview=previews_message(previews))
    try:
        message.keep_running = keep_running
    except TypeError:
        raise TypeError(f"keep_running cannot be {keep_running!r}; give True or False") from None
    if linger:
        message.linger.CopyFrom(_duration(linger, "linger"))
    for name, value in (("request_id", request_id), ("title", title), ("priority", priority)):
        _set_field(message, name, value, "")
    return message


def create_job_request(
    spec: pb.JobSpec, *, previews: Previews | bool, request_id: str, title: str, priority: int
) -> pb.CreateJobRequest:
    """Return the request of `CreateJob`.

    Raises:
        InvalidRequest: a value does not fit into a message.
    """
    message = pb.CreateJobRequest(spec=spec, preview=previews_message(previews))
    for name, value in (("request_id", request_id), ("title", title), ("priority", priority)):
        _set_field(message, name, value, "")
    return message


def update_job_request(
    name: str,
    settings: Settings,
    *,
    title: str | None = None,
    priority: int | None = None,
    previews: Previews | bool | None = None,
) -> pb.UpdateJobRequest:
    """Return the request of `UpdateJob` that changes what is given. A setting that is None gets its default.

    Raises:
        InvalidRequest: nothing is given, or a value does not fit into a message.
        TypeError: a setting is unknown.
    """
    job = pb.Job(name=name, recipe=recipe_message(Recipe(**settings), "job.recipe"))
    paths = [f"recipe.{FIELDS[setting].wire_name}" for setting in settings]
    for field, value in (("title", title), ("priority", priority)):
        if value is not None:
            _set_field(job, field, value, "job")
            paths.append(field)
    if previews is not None:
        job.preview.CopyFrom(previews_message(previews))
        paths.append("preview.disabled")
        paths += [
            f"preview.{field.name}" for field, _ in job.preview.ListFields() if field.name != "disabled"
        ]
    if not paths:
        raise invalid_field(
            "update_mask", "names nothing to change; give a setting, a title, a priority or previews"
        )
    request = pb.UpdateJobRequest(job=job)
    request.update_mask.paths.extend(paths)
    return request


def list_jobs_request(states: Sequence[str], title: str = "") -> pb.ListJobsRequest:
    """Return the request of `ListJobs` for jobs in these states, with this in their title; empty for all.

    Raises:
        InvalidRequest: there is no such state.
        TypeError: the states are not a sequence.
    """
    request = pb.ListJobsRequest(page_size=200)
    _set_field(request, "title", title, "")
    if not isinstance(states, Iterable):
        raise TypeError(f"states cannot be {states!r}; give a list of states, or leave it out for all jobs")
    for state in [states] if isinstance(states, str) else states:
        try:
            request.states.append(number_of(pb.JobState, state))  # type: ignore[arg-type]
        except ValueError:
            choice = ", ".join(words_of(pb.JobState))
            raise invalid_field("states", f"cannot be {state!r}; give one of {choice}") from None
    return request


def get_preview_request(name: str, after_sequence: int, wait: float) -> pb.GetPreviewRequest:
    """Return the request of `GetPreview`; `wait` is in seconds.

    Raises:
        InvalidRequest: a value does not fit into a message.
    """
    request = pb.GetPreviewRequest(name=name, wait=_duration(wait, "wait"))
    _set_field(request, "after_sequence", after_sequence, "")
    return request


def download_request(
    sources: Mapping[str, str], *, format: str | None = None, max_side: int | None = None
) -> pb.DownloadImageRequest:
    """Return the request of `DownloadImage`, from the first byte on.

    Args:
        sources: what to download, as one of "result_of", "preview_of" and "sha256".

    Raises:
        InvalidRequest: not exactly one source is given, or there is no such format.
    """
    if len(sources) != 1:
        raise invalid_field(
            "source",
            f"is {' and '.join(sources) or 'missing'}; give one of result_of, preview_of, sha256",
        )
    request = pb.DownloadImageRequest()
    for name, value in sources.items():
        _set_field(request, name, value, "")
    if format is not None:
        request.format = format_number(format, "format")
    if max_side is not None:
        _set_field(request, "max_side", max_side, "")
    return request


def image_links_request(
    sources: Iterable[pb.DownloadImageRequest], lifetime: float | None
) -> pb.CreateImageLinksRequest:
    """Return the request of `CreateImageLinks`; `lifetime` is in seconds, None for the server's default.

    Raises:
        InvalidRequest: a value does not fit into a message.
    """
    request = pb.CreateImageLinksRequest(sources=sources)
    if lifetime is not None:
        request.lifetime.CopyFrom(_duration(lifetime, "lifetime"))
    return request


def upload_requests(
    data: bytes, sha256: str, offset: int, *, length: int, piece: int
) -> Iterator[pb.UploadImageRequest]:
    """Yield the messages that send `length` bytes of an image from `offset` on, `piece` bytes in each."""
    end = min(offset + length, len(data))
    first = pb.UploadImageRequest(sha256=sha256, size_bytes=len(data), offset=offset)
    if offset >= end:
        yield first
    for start in range(offset, end, piece):
        message = first if start == offset else pb.UploadImageRequest(offset=start)
        message.data = data[start : min(start + piece, end)]
        yield message


def recipe_message(recipe: Recipe, path: str = "spec.recipe") -> pb.Recipe:
    """Return a recipe as a message, without the fields that are None; `path` is its place in the request.

    Raises:
        InvalidRequest: a value does not fit into a message, or both an effort and evaluations are given.
    """
    if recipe.effort is not None and recipe.evaluations is not None:
        raise invalid_field(
            f"{path}.effort", "cannot be combined with a number of evaluations; give one of them"
        )
    message = pb.Recipe()
    for name, field in FIELDS.items():
        value = getattr(recipe, name)
        if value is None:
            continue
        if field.kind == "layers":
            for layer, weight in value:
                getattr(message, field.wire_name).add(layer=layer, weight=weight)
        else:
            _set_field(message, field.wire_name, value, path, RECIPE_ENUMS.get(field.wire_name))
    return message


def texture_message(size: tuple[int, int]) -> pb.TextureSize:
    """Return the width and height of a texture, in pixels, as a message."""
    try:
        width, height = size
    except (TypeError, ValueError):
        raise invalid_field("spec.texture", f"cannot be {size!r}; give (width, height) in pixels") from None
    message = pb.TextureSize()
    _set_field(message, "width", width, "spec.texture")
    _set_field(message, "height", height, "spec.texture")
    return message


def region_message(region: Region, path: str) -> pb.Region:
    """Return a region as a message; `path` is its place in the request."""
    if not isinstance(region, Region):
        raise invalid_field(path, f"cannot be {_type(region)}; give an impasto.Region(mask, style=0)")
    message = pb.Region(
        content_mask=image_message(region.content_mask, f"{path}.content_mask"),
        style_mask=_image_if_given(region.style_mask, f"{path}.style_mask"),
    )
    _set_field(message, "style", region.style, path)
    return message


def previews_message(previews: Previews | bool) -> pb.PreviewOptions:
    """Return which previews to send, as a message; False for none, True for the server's choice."""
    if not isinstance(previews, (bool, Previews)):
        raise invalid_field(
            "preview", f"cannot be {previews!r}; give True, False or impasto.Previews(format='jpeg')"
        )
    message = pb.PreviewOptions(disabled=previews is False)
    if isinstance(previews, Previews):
        if previews.min_interval is not None:
            message.min_interval.CopyFrom(_duration(previews.min_interval, "preview.min_interval"))
        if previews.format is not None:
            message.format = format_number(previews.format, "preview.format", get_args(PreviewFormat))
        for name in ("max_side", "max_bytes"):
            if getattr(previews, name) is not None:
                _set_field(message, name, getattr(previews, name), "preview")
    return message


def _image_if_given(source: ImageSource | None, path: str) -> pb.Image | None:
    return None if source is None else image_message(source, path)


def style_message(source: StyleSource, path: str) -> pb.Style:
    """Return a style and its weight as a message; `path` is its place in the request."""
    if isinstance(source, tuple) and len(source) != 2:
        raise invalid_field(path, "is a tuple that is no pair; give an image, or an image and its weight")
    if not isinstance(source, Style):
        source = Style(*source) if isinstance(source, tuple) else Style(source)
    message = pb.Style(image=image_message(source.image, f"{path}.image"))
    if source.weight is not None:
        _set_field(message, "weight", source.weight, path)
    return message


def _each_style(styles: StyleSource | Sequence[StyleSource]) -> list[StyleSource]:
    weighted = isinstance(styles, tuple) and len(styles) == 2 and isinstance(styles[1], (int, float))
    if isinstance(styles, (list, tuple)) and not weighted:
        return cast("list[StyleSource]", list(styles))
    return [cast("StyleSource", styles)]


def _list(regions: Sequence[Region]) -> Sequence[Region]:
    if not isinstance(regions, (list, tuple)):
        raise invalid_field("spec.regions", f"cannot be {_type(regions)}; give a list of impasto.Region")
    return regions


def _type(value: object) -> str:
    return f"of the type {type(value).__name__}"


_CHOICES = {
    FieldDescriptor.TYPE_STRING: "a text",
    FieldDescriptor.TYPE_INT32: "a whole number",
    FieldDescriptor.TYPE_UINT32: f"a whole number from 0 to {2**32 - 1}",
    FieldDescriptor.TYPE_DOUBLE: "a number",
    FieldDescriptor.TYPE_BOOL: "True or False",
}


def _set_field(message: Any, name: str, value: Any, path: str, enum: EnumTypeWrapper | None = None) -> None:
    try:
        setattr(message, name, value if enum is None else number_of(enum, value))
    except (TypeError, ValueError):
        if enum is None:
            choice = _CHOICES[message.DESCRIPTOR.fields_by_name[name].type]
            if isinstance(message, pb.Recipe) and "number" in (field := FIELD_ON_WIRE[name]).kind:
                choice = field.values()  # Narrower than what the message can hold.
        else:
            choice = f"one of {', '.join(words_of(enum))}"
        raise invalid_field(
            f"{path}.{name}" if path else name, f"cannot be {value!r}; give {choice}"
        ) from None


def _duration(seconds: float, field: str) -> Duration:
    duration = Duration()
    try:
        duration.FromNanoseconds(round(seconds * 1e9))
    except (OverflowError, TypeError, ValueError):
        raise invalid_field(field, f"cannot be {seconds!r}; give seconds") from None
    return duration
