"""The film of a painting: an animated WebP of its previews."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from impasto.job import Preview
from impasto.picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 120
MAX_SIDE = 800
LENGTH = 6.0
"""Seconds from the first preview to the finished picture, if there are enough previews."""
SLOWEST = 0.25
"""Seconds for which a preview is shown at most."""
HOLD = 1.5
"""Seconds for which the finished picture is shown."""


class Film:
    """Collects previews and makes a film of them. Keeps at most `MAX_FRAMES`, at equal distances."""

    def __init__(self) -> None:
        self._previews: list[Preview] = []
        self._every = 1
        self._seen = 0

    def add(self, preview: Preview) -> None:
        """Adds the next preview."""
        if self._seen % self._every == 0:
            self._previews.append(preview)
        self._seen += 1
        if len(self._previews) > MAX_FRAMES:
            del self._previews[1::2]
            self._every *= 2

    def webp(self, picture: Picture) -> bytes:
        """Returns the film. Frames are in sRGB, at most `MAX_SIDE` pixels; the last is the picture."""
        from PIL import Image

        last = in_srgb(picture.image)
        last.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        frames = (
            preview.image.convert("RGB").resize(last.size, Image.Resampling.BICUBIC)
            for preview in self._previews
        )
        step = min(SLOWEST, LENGTH / max(1, len(self._previews)))
        durations = [round(step * 1000)] * len(self._previews) + [round(HOLD * 1000)]
        first, *others = [*frames, last]
        file = io.BytesIO()
        first.save(
            file,
            "WEBP",
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            quality=82,
            method=3,
        )
        return file.getvalue()


def in_srgb(image: Image) -> Image:
    """Converts a picture to what previews are: opaque, 8 bits per channel, sRGB."""
    from PIL import ImageCms

    if image.mode.startswith("I"):
        # Pillow's own conversion would turn most of a 16-bit picture white.
        profile = image.info.get("icc_profile")
        image = image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")
        image.info["icc_profile"] = profile
    colours = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    profile = image.info.get("icc_profile")
    if not profile:
        return colours.convert("RGB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(colours, own, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        # A profile that is damaged or belongs to another colour space is ignored.
        return colours.convert("RGB")
    return converted if converted is not None else colours.convert("RGB")
