"""Pictures of our own, coded as callers want them."""

from __future__ import annotations

import io

import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import ACCEPTED

RESULT_FORMATS = (
    pb.IMAGE_FORMAT_PNG,
    pb.IMAGE_FORMAT_JPEG,
    pb.IMAGE_FORMAT_WEBP,
    pb.IMAGE_FORMAT_RGBA8,
)
"""What a result may be had as."""

_QUALITY = 95


def recoded(png: bytes, format: pb.ImageFormat) -> bytes:
    """A result in another format of `RESULT_FORMATS`. The same result always gives the same bytes.

    Only for what this project's workers have coded: decoding what strangers send is the workers' part.
    """
    if format == pb.IMAGE_FORMAT_PNG:
        return png
    with PIL.Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        profile = picture.info.get("icc_profile")
        if format == pb.IMAGE_FORMAT_RGBA8:
            return _rgba8(picture)
        output = io.BytesIO()
        if format == pb.IMAGE_FORMAT_JPEG:
            flat = _over_white(picture)
            flat.save(output, "JPEG", quality=_QUALITY, subsampling=0, icc_profile=profile)
        else:
            picture.save(output, "WEBP", quality=_QUALITY, icc_profile=profile or b"")
    return output.getvalue()


def png_of_raw(raw: pb.RawPixels) -> bytes:
    """Raw pixels as a PNG."""
    output = io.BytesIO()
    PIL.Image.frombytes("RGBA", (raw.width, raw.height), raw.rgba).save(output, "PNG", compress_level=1)
    return output.getvalue()


def format_of(data: bytes) -> tuple[pb.ImageFormat, int, int]:
    """How a checked image is coded, and its width and height in pixels as they are coded."""
    with PIL.Image.open(io.BytesIO(data), formats=list(ACCEPTED.values())) as header:
        format = next(format for format, name in ACCEPTED.items() if name == header.format)
        return format, header.width, header.height


def _over_white(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.mode == "RGB":
        return picture
    white = PIL.Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    return white.convert("RGB")


def _rgba8(picture: PIL.Image.Image) -> bytes:
    profile = picture.info.get("icc_profile")
    rgba = picture.convert("RGBA")
    if profile:
        from PIL import ImageCms

        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        alpha = rgba.getchannel("A")
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            rgb = ImageCms.profileToProfile(rgba.convert("RGB"), source, target)
        except (ImageCms.PyCMSError, OSError):
            # The worker has embedded it, so it is one; but a picture in slightly wrong colours beats none.
            rgb = rgba.convert("RGB")
        assert rgb is not None
        rgb.putalpha(alpha)
        rgba = rgb
    return rgba.tobytes()
