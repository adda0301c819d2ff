"""Encodes previews within a maximum size."""

from __future__ import annotations

import io

import PIL.Image

from impasto_server.contract.formats import PREVIEWS
from impasto_server.contract.previews import PreviewWish

_QUALITIES = (85, 70, 50, 30)


def code_preview(picture: PIL.Image.Image, wish: PreviewWish) -> tuple[bytes, int, int]:
    """Encodes a picture within `wish.max_bytes`, first at a lower quality, then at a smaller size.

    Returns:
        The bytes, and the width and height in pixels.
    """
    name = PREVIEWS[wish.format]
    # PNG has no quality setting.
    qualities: tuple[int | None, ...] = (None,) if name == "PNG" else _QUALITIES
    while True:
        for quality in qualities:
            stream = io.BytesIO()
            # WebP's slower methods take several times as long to save a tenth of the size.
            options = {} if quality is None else {"quality": quality, "method": 1}
            picture.save(stream, name, **options)
            if stream.tell() <= wish.max_bytes:
                return stream.getvalue(), *picture.size
        factor = min(0.8, (wish.max_bytes / stream.tell()) ** 0.5)
        size = max(1, int(picture.width * factor)), max(1, int(picture.height * factor))
        picture = picture.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
