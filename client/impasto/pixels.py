"""Images of Pillow and arrays of NumPy as files that a server takes.

Neither is imported before it is needed: whoever has such an image has imported what it is of.
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
"""How far beyond 0 and 1 a float may be, as resampling leaves them."""


def is_pillow(source: object) -> bool:
    """Whether it is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def is_array(source: object) -> bool:
    """Whether it is an array of NumPy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(source, numpy.ndarray)


# Pillow.


def pillow_file(image: Image) -> bytes:
    """A Pillow image as a PNG, or as a TIFF where a PNG cannot hold it (CMYK); it says how it is turned.

    Modes that have no range of their own are read by their largest value: "I" as 8 bits up to 255, else as
    16; "F" as 0 to 1, to 255 or to 65,535, the first that it fits.

    Raises:
        ValueError: it has no pixels, or none that can be sent; a clause that goes on from the image's name.
    """
    if not image.width or not image.height:
        raise ValueError(f"is {image.width} × {image.height}: it has no pixels; give one that has")
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
    """How it is to be turned, 1 to 8 as Exif counts; 1, for not at all, if it does not say."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return 1  # Exif that is damaged says nothing, and Pillow raises anything for it.
    return orientation if isinstance(orientation, int) and 2 <= orientation <= 8 else 1


def _savable(image: Image) -> Image:
    """In a mode that a PNG or a TIFF can hold, with the same colours."""
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
    raise ValueError(f"has Pillow's mode {image.mode}, which is not understood; give image.convert('RGB')")


def _saved(image: Image, orientation: int) -> bytes:
    from PIL import Image as pillow

    exif = pillow.Exif()
    if orientation != 1:
        exif[_ORIENTATION] = orientation
    profile = image.info.get("icc_profile")
    # One that was left from a conversion says nothing of these pixels.
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
    """An image in one of the modes I, I;16 and F in mode L or I;16."""
    if image.mode.startswith("I;16"):
        return _sixteen(image)
    lowest, highest = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if image.mode == "F" and not math.isfinite(sum(array.array("f", image.tobytes()))):
        raise ValueError("has pixels that are no numbers (infinite or NaN); give finite ones")
    slack, *ranges = (_SLACK, 1, 255, 65535) if image.mode == "F" else (0, 255, 65535)
    full = next((full for full in ranges if highest <= full + slack), None)
    if full is None or lowest < -slack:
        raise ValueError(
            f"has Pillow's mode {image.mode} with values from {lowest:g} to {highest:g}, of which nobody "
            f"knows what is white; scale them to 0–{ranges[0]}"
        )
    if image.mode == "I":
        return image.convert("L" if full == 255 else "I;16")
    return image.point(lambda value: value * (65535 / full) + 0.5).convert("I").convert("I;16")


def _sixteen(image: Image) -> Image:
    """An image in mode I;16, I;16B, I;16L or I;16N in mode I;16."""
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
    """An array of NumPy's as a PNG: uint8, uint16, bool, or floats from 0 to 1, which become 16 bits.

    Its shape is height × width for grey, or height × width × channels: 1 for grey, 2 for grey with alpha, 3
    for RGB, 4 for RGBA. Colours are sRGB, alpha is straight.

    Raises:
        ValueError: it is nothing of the kind; a clause that goes on from the image's name.
    """
    import numpy as np

    shape = pixels.shape
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and shape[2] not in (1, 2, 3, 4)):
        turned = ""
        if pixels.ndim == 3 and shape[0] in (1, 3, 4):
            turned = "; this looks like channels first: give array.transpose(1, 2, 0)"
        elif pixels.ndim == 4:
            turned = "; give one image of several"
        raise ValueError(
            f"is an array of the shape {_shape(shape)}; give height × width, or height × width × 1, 3 or 4 "
            f"channels{turned}"
        )
    if 0 in shape:
        raise ValueError(f"is an array of the shape {_shape(shape)}, without pixels; give one that has")
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        samples, bits = pixels.astype(np.uint8) * np.uint8(255), 8
    elif kind == "u" and size in (1, 2):
        samples, bits = pixels, 8 * size
    elif kind == "f":
        _check_floats(pixels.dtype, float(pixels.min()), float(pixels.max()))
        samples, bits = np.rint(pixels.clip(0, 1).astype(np.float64) * 65535).astype(np.uint16), 16
    elif kind in "iu":
        # What is white is not ours to guess: a mask has 1 perhaps, a picture 255, a camera's raw file 4095.
        raise ValueError(
            f"is an array of {pixels.dtype} with values from {pixels.min()} to {pixels.max()}; give uint8 "
            "(0 to 255) or uint16 (0 to 65535): bring the values into that range first, since array.astype "
            "alone would cut off what is beyond it"
        )
    else:
        raise ValueError(f"is an array of {pixels.dtype}; give uint8, uint16, bool, or floats from 0 to 1")
    channels = shape[2] if pixels.ndim == 3 else 1
    # A masked array has no bytes of its own.
    plain = np.ascontiguousarray(np.asarray(samples), dtype=np.dtype(f"<u{bits // 8}"))
    return png.write(shape[1], shape[0], channels, bits, plain.tobytes())


def _check_floats(kind: object, lowest: float, highest: float) -> None:
    """
    Raises:
        ValueError: they are not from 0 to 1; a clause that goes on from the image's name.
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
            ": if they are meant from -1 to 1, (array + 1) / 2" if max(-lowest, highest) <= 1 + _SLACK else ""
        )
        raise ValueError(f"{said}; give 0 to 1{hint}")
    full = next((full for full in (255, 65535) if highest <= full), None)
    raise ValueError(f"{said}; give 0 to 1" + (f", as array / {full}" if full else ""))


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "of a single value"
