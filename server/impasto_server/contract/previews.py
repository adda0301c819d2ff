"""Preview options: their defaults and ranges."""

from __future__ import annotations

import dataclasses

from google.protobuf.duration_pb2 import Duration

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import PREVIEWS
from impasto_server.engine.recipe import RecipeError


@dataclasses.dataclass(frozen=True)
class PreviewWish:
    """The previews that a caller wants.

    Attributes:
        disabled: whether the caller wants none.
        format: an `ImageFormat` of `formats.PREVIEWS`.
        max_side: maximum longer side in pixels, 16 to 2048.
        max_bytes: maximum file size in bytes, 4096 to 524,288.
        min_interval: minimum time between two previews in seconds, 0.1 to 60.
    """

    disabled: bool = False
    format: pb.ImageFormat = pb.IMAGE_FORMAT_JPEG
    max_side: int = 512
    max_bytes: int = 98_304
    min_interval: float = 0.25


def preview_wish(options: pb.PreviewOptions) -> PreviewWish:
    """Converts the contract's options, which must have been checked."""
    wish = PreviewWish(disabled=options.disabled)
    if options.format:
        wish = dataclasses.replace(wish, format=options.format)
    if options.HasField("max_side"):
        wish = dataclasses.replace(wish, max_side=options.max_side)
    if options.HasField("max_bytes"):
        wish = dataclasses.replace(wish, max_bytes=options.max_bytes)
    if options.HasField("min_interval"):
        wish = dataclasses.replace(wish, min_interval=seconds(options.min_interval))
    return wish


def preview_faults(options: pb.PreviewOptions) -> list[RecipeError]:
    """Returns one fault for each field that is invalid."""
    faults = []
    if options.format and options.format not in PREVIEWS:
        faults.append(RecipeError("format", "is not a format of previews; give PNG, JPEG or WEBP"))
    if options.HasField("max_side") and not 16 <= options.max_side <= 2048:
        faults.append(RecipeError("max_side", f"is {options.max_side} px; give 16 to 2048"))
    if options.HasField("max_bytes") and not 4096 <= options.max_bytes <= 524_288:
        faults.append(RecipeError("max_bytes", f"is {options.max_bytes} bytes; give 4096 to 524288"))
    if options.HasField("min_interval") and not 0.1 <= seconds(options.min_interval) <= 60:
        faults.append(
            RecipeError("min_interval", f"is {seconds(options.min_interval):g} s; give 0.1 s to 60 s")
        )
    return faults


def seconds(duration: Duration) -> float:
    """Converts a duration to seconds."""
    return duration.seconds + duration.nanos / 1e9
