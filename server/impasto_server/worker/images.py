"""From what callers send to what the engine paints: upright 8-bit sRGB, with alpha and profile kept aside."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging

import numpy as np
import PIL.Image
from PIL import ImageChops, ImageCms, ImageOps, ImageStat, TiffImagePlugin

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import ACCEPTED

_log = logging.getLogger(__name__)

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_BITS_PER_SAMPLE = 258


class DamagedImage(Exception):
    """The pixels of an image cannot be decoded."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        rgb: mode RGB, sRGB, upright.
        alpha: mode L, of the same size; None if the image has none.
        profile: the ICC profile that a result made from it should have; None if it has none.
        sha256: of what was sent: the file's bytes, or the raw pixels'.
    """

    rgb: PIL.Image.Image
    alpha: PIL.Image.Image | None
    profile: bytes | None
    sha256: str


@dataclasses.dataclass(frozen=True)
class Mask:
    """A decoded mask.

    Attributes:
        levels: mode L, upright: white inside, black outside.
        sha256: of what was sent.
    """

    levels: PIL.Image.Image
    sha256: str


def decode(image: pb.Image) -> Picture:
    """Decodes an image that the gateway has checked.

    Raises:
        DamagedImage: its pixels cannot be decoded.
    """
    if image.WhichOneof("source") == "raw":
        return _from_raw(image.raw)
    opened = _opened(image.encoded)
    colors, alpha = _without_alpha(_in_8_bits(_upright(opened)))
    rgb, profile = _in_srgb(colors, opened.info.get("icc_profile"))
    if alpha is not None:
        rgb = _fill_hidden(rgb, alpha)
    return Picture(rgb, alpha, profile, _sha256(image.encoded))


def decode_mask(image: pb.Image) -> Mask:
    """Decodes an image that the gateway has checked as a mask: its luminance over black.

    A colour profile is left aside: a mask's levels are numbers, not colours.

    Raises:
        DamagedImage: its pixels cannot be decoded.
    """
    colors: PIL.Image.Image
    alpha: PIL.Image.Image | None
    if image.WhichOneof("source") == "raw":
        raw = image.raw
        colors = PIL.Image.frombytes("RGBA", (raw.width, raw.height), raw.rgba)
        alpha = colors.getchannel("A")
        digest = _sha256(raw.rgba)
    else:
        colors, alpha = _without_alpha(_in_8_bits(_upright(_opened(image.encoded))))
        digest = _sha256(image.encoded)
    levels = colors.getchannel("L") if colors.mode == "LAB" else colors.convert("RGB").convert("L")
    if alpha is not None:
        levels = ImageChops.multiply(levels, alpha)
    return Mask(levels, digest)


def _opened(data: bytes) -> PIL.Image.Image:
    try:
        opened: PIL.Image.Image = PIL.Image.open(io.BytesIO(data), formats=list(ACCEPTED.values()))
        opened.load()
    except Exception as error:
        # Pillow's decoders raise nearly every kind of exception for damaged files.
        raise DamagedImage(f"is damaged: its pixels cannot be decoded ({error})") from error
    return opened


def _from_raw(raw: pb.RawPixels) -> Picture:
    rgba = PIL.Image.frombytes("RGBA", (raw.width, raw.height), raw.rgba)
    alpha = rgba.getchannel("A")
    return Picture(_fill_hidden(rgba.convert("RGB"), alpha), alpha, None, _sha256(raw.rgba))


def with_profile(picture: PIL.Image.Image, profile: bytes) -> tuple[PIL.Image.Image, bytes]:
    """An sRGB picture in the colours of a profile, and the profile to embed: sRGB if that cannot be had."""
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return _converted(picture, _SRGB, target), profile
    except (ImageCms.PyCMSError, OSError) as error:
        _log.warning("profile cannot be written in, using sRGB error=%r", str(error))
        return picture, _SRGB.tobytes()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:
        # A broken EXIF block is no reason to refuse a good picture; the gateway ignores it as well.
        _log.warning("EXIF ignored error=%r", str(error))
    return image


def _in_8_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey images of more than 8 bits scaled to 8; others as they are."""
    if image.mode == "F":
        # Floating point has no agreed white: 1 is usual, and what goes beyond it sets its own.
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=1.0, neginf=0.0)
        white = max(1.0, float(values.max()))
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        bits = 16
        if image.mode == "I" and isinstance(image, TiffImagePlugin.TiffImageFile):
            bits = int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])
        white = float(2**bits - 1)
    else:
        return image
    return PIL.Image.fromarray((values / white * 255).clip(0, 255).round().astype(np.uint8), "L")


def _without_alpha(image: PIL.Image.Image) -> tuple[PIL.Image.Image, PIL.Image.Image | None]:
    """The colours (L, RGB, CMYK or LAB), and alpha if there is any, be it one transparent colour."""
    if image.mode in ("1", "L", "LA", "La"):
        if image.mode in ("LA", "La") or "transparency" in image.info:
            image = image.convert("LA")
            return image.getchannel("L"), image.getchannel("A")
        return image.convert("L"), None
    if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    if image.mode in ("CMYK", "LAB"):
        return image, None
    return image.convert("RGB"), None


def _in_srgb(colors: PIL.Image.Image, profile: bytes | None) -> tuple[PIL.Image.Image, bytes | None]:
    """The colours in sRGB, and the profile for a result: their own, or sRGB if that is not for RGB."""
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = own.profile.xcolor_space.strip()
            if space == "RGB":
                return _converted(colors.convert("RGB"), own, _SRGB), profile
            if space == {"L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}.get(colors.mode):
                return _converted(colors, own, _SRGB), _SRGB.tobytes()
            _log.warning("profile ignored: it is for %s, the image is %s", space, colors.mode)
        except (ImageCms.PyCMSError, OSError) as error:
            _log.warning("profile ignored error=%r", str(error))
    if colors.mode == "LAB":
        return _converted(colors, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), _SRGB), None
    return colors.convert("RGB"), None


def _converted(
    image: PIL.Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile
) -> PIL.Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        source,
        target,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return converted


def _fill_hidden(rgb: PIL.Image.Image, alpha: PIL.Image.Image) -> PIL.Image.Image:
    """Gives pixels that cannot be seen the mean colour of those that can.

    What lies under alpha 0 is arbitrary, often black, and the optimiser would paint its edges. Pixels that
    shine through a little keep their colour: the result gets the same alpha back.
    """
    seen = alpha.point([0] + [255] * 255)
    if seen.getextrema() != (0, 255):
        return rgb
    mean = ImageStat.Stat(rgb, mask=seen).mean
    background = PIL.Image.new("RGB", rgb.size, tuple(round(value) for value in mean))
    return PIL.Image.composite(rgb, background, seen)
