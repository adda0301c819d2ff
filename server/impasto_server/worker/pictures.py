"""From pictures to bytes: previews that fit, and the result with all that belongs to it."""

from __future__ import annotations

import io
import json
from typing import Any

import PIL.Image
from PIL import PngImagePlugin

from impasto_server.contract.formats import PREVIEWS
from impasto_server.contract.previews import PreviewWish
from impasto_server.worker.images import with_profile

METADATA_KEY = "impasto"

_QUALITIES = (85, 70, 50, 30)


def code_preview(picture: PIL.Image.Image, wish: PreviewWish) -> tuple[bytes, int, int]:
    """A picture coded to fit `wish.max_bytes`: more coarsely first, then smaller.

    Returns:
        The bytes, and width and height in pixels.
    """
    name = PREVIEWS[wish.format]
    # PNG knows no quality.
    qualities: tuple[int | None, ...] = (None,) if name == "PNG" else _QUALITIES
    while True:
        for quality in qualities:
            stream = io.BytesIO()
            # WebP's slower methods take several times as long for a tenth of the size.
            options = {} if quality is None else {"quality": quality, "method": 1}
            picture.save(stream, name, **options)
            if stream.tell() <= wish.max_bytes:
                return stream.getvalue(), *picture.size
        factor = min(0.8, (wish.max_bytes / stream.tell()) ** 0.5)
        size = max(1, int(picture.width * factor)), max(1, int(picture.height * factor))
        picture = picture.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)


def code_result(
    picture: PIL.Image.Image,
    *,
    alpha: PIL.Image.Image | None,
    profile: bytes | None,
    metadata: dict[str, Any],
) -> bytes:
    """The result as PNG.

    Args:
        picture: mode RGB, sRGB.
        alpha: mode L, of the picture's size.
        profile: ICC profile to convert to and to embed; None leaves the picture untagged.
        metadata: how it was made; written as JSON into the text entry `METADATA_KEY`.
    """
    if profile is not None:
        picture, profile = with_profile(picture, profile)
    if alpha is not None:
        picture.putalpha(alpha)
    text = PngImagePlugin.PngInfo()
    text.add_text(METADATA_KEY, json.dumps(metadata))
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=text, icc_profile=profile)
    return stream.getvalue()


def resized_alpha(alpha: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    """Alpha (mode L) of another size in pixels."""
    # Bilinear, because Lanczos would ring along the edges of what is transparent.
    return alpha.resize(size, PIL.Image.Resampling.BILINEAR)
