"""Pillow images and NumPy arrays as files that a server accepts.

Neither library is imported here: a caller who has such an image has imported its library.
"""

from __future__ import annotations

import array
import io
import math
import sys
from typing import TYPE_CHECKING, Any

from impasto import png

if TYPE_CHECKING:
    from PIL.Image import Image

_SAVED = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")
_ORIENTATION = 0x0112
_PROFILE_SPACES = {"CMYK": b"CMYK", **dict.fromkeys(("1", "L", "LA", "I;16"), b"GRAY")}
_SLACK = 1e-3
"""How far a float may be outside 0 to 1: resampling may overshoot a little."""


def is_pillow(source: object) -> bool:
    """Return whether an object is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def is_array(source: object) -> bool:
    """Return whether an object is a NumPy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(source, numpy.ndarray)


# Pillow.


def pillow_file(image: Image) -> bytes:
    """Return a Pillow image as a PNG, or as a TIFF if it is in CMYK. The file has the image's Exif
    orientation.

    Some modes have no fixed range, so the largest value decides: mode "I" has 8 bits up to 255, else 16 bits;
    the range of mode "F" is 0 to 1, 0 to 255 or 0 to 65,535, the first that contains the largest value.

    Raises:
        ValueError: it has no pixels, or pixels that cannot be sent; the message is a clause that follows the
            image's name.
    """
    if not image.width or not image.height:
        raise ValueError(f"is {image.width} × {image.height}: it has no pixels; give one with pixels")
    from PIL import ImageOps

    try:
        image.load()
    except Exception as error:
        # Pillow's decoders raise nearly every kind of exception for damaged files.
        raise ValueError(f"cannot be read by Pillow ({error}); give another file") from None
    orientation = _orientation(image)
    if image.mode.startswith(("I", "F")):
        upright = image if orientation == 1 else ImageOps.exif_transpose(image)
        image, orientation = _grey(upright), 1
    return _saved(_savable(image), orientation)


def _orientation(image: Image) -> int:
    """The image's Exif orientation, 1 to 8; 1, for upright, if it has none."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return 1  # Pillow raises many kinds of exceptions for damaged Exif data.
    return orientation if isinstance(orientation, int) and 2 <= orientation <= 8 else 1


def _savable(image: Image) -> Image:
    """The image in a mode that a PNG or a TIFF can have, with the same colours."""
    mode = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA", "HSV": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}.get(
        image.mode
    )
    if mode is not None:
        return image.convert(mode)
    if image.mode in _SAVED:
        return image
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if converted is not None:
            converted.info.pop("icc_profile", None)
            return converted
    raise ValueError(f"has Pillow's mode {image.mode}, which is not supported; give image.convert('RGB')")


def _saved(image: Image, orientation: int) -> bytes:
    from PIL import Image as pillow

    exif = pillow.Exif()
    if orientation != 1:
        exif[_ORIENTATION] = orientation
    profile = image.info.get("icc_profile")
    # A profile of another colour space is left over from a conversion.
    if profile and profile[16:20] != _PROFILE_SPACES.get(image.mode, b"RGB "):
        profile = None
    file = io.BytesIO()
    try:
        if image.mode == "CMYK":
            image.save(file, "TIFF", exif=exif, icc_profile=profile)
        else:
            image.save(file, "PNG", exif=exif, icc_profile=profile, compress_level=1)
    except Exception as error:
        raise ValueError(f"cannot be saved by Pillow ({error}); give image.convert('RGB')") from None
    return file.getvalue()


def _grey(image: Image) -> Image:
    """An image of mode I, I;16 or F, converted to mode L or I;16."""
    if image.mode.startswith("I;16"):
        return _sixteen(image)
    lowest, highest = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if image.mode == "F" and not math.isfinite(sum(array.array("f", image.tobytes()))):
        raise ValueError("has infinite or NaN pixels; give finite values")
    slack, *ranges = (_SLACK, 1, 255, 65535) if image.mode == "F" else (0, 255, 65535)
    full = next((full for full in ranges if highest <= full + slack), None)
    if full is None or lowest < -slack:
        raise ValueError(
            f"has Pillow's mode {image.mode} with values from {lowest:g} to {highest:g}, so it is unclear "
            f"which value is white; scale them to 0–{ranges[0]}"
        )
    if image.mode == "I":
        return image.convert("L" if full == 255 else "I;16")
    return image.point(lambda value: value * (65535 / full) + 0.5).convert("I").convert("I;16")


def _sixteen(image: Image) -> Image:
    """An image of mode I;16, I;16B, I;16L or I;16N, converted to mode I;16."""
    if image.mode == "I;16":
        return image
    words = array.array("H", image.tobytes())
    if image.mode == "I;16B" or (image.mode == "I;16N" and sys.byteorder == "big"):
        words.byteswap()
    from PIL import Image as pillow

    converted = pillow.frombytes("I;16", image.size, words.tobytes())
    converted.info = image.info
    return converted


# NumPy.


def array_file(pixels: Any) -> bytes:
    """Return a NumPy array as a PNG.

    Args:
        pixels: an array of uint8, uint16, bool, or of floats from 0 to 1, which become 16 bits. Its shape is
            height × width for grey, or height × width × channels: 1 for grey, 2 for grey with alpha, 3 for
            RGB, 4 for RGBA. It is in sRGB with straight alpha.

    Raises:
        ValueError: it has another type or shape; the message is a clause that follows the image's name.
    """
    import numpy as np

    shape = pixels.shape
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and shape[2] not in (1, 2, 3, 4)):
        turned = ""
        if pixels.ndim == 3 and shape[0] in (1, 3, 4):
            turned = "; this looks like channels first: give array.transpose(1, 2, 0)"
        elif pixels.ndim == 4:
            turned = "; it may have several images: give one of them"
        raise ValueError(
            f"is an array of the shape {_shape(shape)}; give height × width, or height × width × 1, 3 or 4 "
            f"channels{turned}"
        )
    if 0 in shape:
        raise ValueError(f"is an array of the shape {_shape(shape)}, without pixels; give one with pixels")
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        samples, bits = pixels.astype(np.uint8) * np.uint8(255), 8
    elif kind == "u" and size in (1, 2):
        samples, bits = pixels, 8 * size
    elif kind == "f":
        _check_floats(pixels.dtype, float(pixels.min()), float(pixels.max()))
        samples, bits = np.rint(pixels.clip(0, 1).astype(np.float64) * 65535).astype(np.uint16), 16
    elif kind in "iu":
        # White may be 1 in a mask, 255 in a picture, and 4095 in a camera's raw file: do not guess.
        raise ValueError(
            f"is an array of {pixels.dtype} with values from {pixels.min()} to {pixels.max()}; give uint8 "
            "(0 to 255) or uint16 (0 to 65535). Scale the values to that range first: array.astype alone "
            "would cut off larger values"
        )
    else:
        raise ValueError(f"is an array of {pixels.dtype}; give uint8, uint16, bool, or floats from 0 to 1")
    channels = shape[2] if pixels.ndim == 3 else 1
    # `asarray` makes a plain array of a masked one.
    plain = np.ascontiguousarray(np.asarray(samples), dtype=np.dtype(f"<u{bits // 8}"))
    return png.write(shape[1], shape[0], channels, bits, plain.tobytes())


def _check_floats(kind: object, lowest: float, highest: float) -> None:
    """Check that floats are from 0 to 1.

    Raises:
        ValueError: they are not; the message is a clause that follows the image's name.
    """
    if -_SLACK <= lowest <= highest <= 1 + _SLACK:
        return
    said = f"is an array of {kind} with values from {lowest:g} to {highest:g}"
    if math.isnan(lowest) or math.isnan(highest):
        raise ValueError(f"is an array of {kind} with NaN in it; replace NaN, and give 0 to 1")
    if math.isinf(lowest) or math.isinf(highest):
        raise ValueError(f"{said}; replace what is infinite, and give 0 to 1")
    if lowest < -_SLACK:
        hint = (
            ": if the range is -1 to 1, give (array + 1) / 2" if max(-lowest, highest) <= 1 + _SLACK else ""
        )
        raise ValueError(f"{said}; give 0 to 1{hint}")
    full = next((full for full in (255, 65535) if highest <= full), None)
    raise ValueError(f"{said}; give 0 to 1" + (f", for example array / {full}" if full else ""))


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "of a single value"
