"""Converts coded samples to sRGB, and back."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
import pyvips

from impasto_server.intake.header import Data, Header, PngColour
from impasto_server.intake.png import MOST_PROFILE_BYTES, inflated_profile
from impasto_server.intake.strips import Samples, array

_ROWS = 256
_SPACE = slice(16, 20)
_SIGNATURE = slice(36, 40)
_SPACES = {"rgb": (b"RGB ",), "ycbcr": (b"RGB ",), "grey": (b"GRAY", b"RGB "), "cmyk": (b"CMYK",)}
_TABLES = {b"A2B0", b"A2B1", b"A2B2"}
_CURVES = {b"RGB ": {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}, b"GRAY": {b"kTRC"}}
_MOST_TAGS = 1024
_INTENT = {"intent": "relative", "black_point_compensation": True}
_SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Coding:
    """How a picture's samples encode colours.

    Attributes:
        profile: the picture's ICC profile; None if it has none, or none that can be used.
    """

    def __init__(self, data: Data, header: Header) -> None:
        self._model = header.model
        profile = _profile(data, header)
        spaces = _SPACES.get(header.model, ())
        fits = profile is not None and profile[_SPACE] in spaces and _is_readable(profile)
        self.profile = profile if fits else None
        self._colour = header.colour if self.profile is None else None

    @property
    def png_colour(self) -> PngColour | None:
        """The coding that a PNG declares without a profile; None if it is sRGB."""
        return self._colour

    @property
    def is_rgb(self) -> bool:
        """True if the samples (grey ones repeated) are R, G and B, coded in a way that a file can declare."""
        if self.profile is None:
            return self._model in ("grey", "rgb", "ycbcr")
        return self.profile[_SPACE] == b"RGB " and _is_writable(self.profile)

    def repeated(self, colours: Samples) -> Samples:
        """Grey samples repeated as R, G and B; others as they are."""
        return np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours

    def to_srgb(self, colours: Samples, bits: int) -> Samples:
        """Converts coded samples to sRGB.

        Args:
            colours: (height, width, channels), uint8 or uint16.
            bits: bits of each sample returned, 8 or 16.

        Returns:
            (height, width, 3), uint8 or uint16.
        """
        if self.profile is not None:
            if self.profile[_SPACE] == b"RGB ":
                colours = self.repeated(colours)
            return _by_profile(colours, self.profile, bits)
        if self._model == "lab":
            return _from_lab(colours, bits)
        if self._model == "cmyk":
            colours = _from_cmyk(colours)
        colours = self.repeated(colours)
        if self._colour is None:
            return in_depth(colours, bits)
        conversion = _Conversion(self._colour)
        return _by_strips(colours, bits, conversion.to_srgb)

    def from_srgb(self, rgb: Samples) -> Samples:
        """Converts sRGB samples to this coding. Only for a coding that `is_rgb`."""
        bits = 8 * rgb.itemsize
        if self.profile is not None:
            return _into_profile(rgb, self.profile, bits)
        if self._colour is not None:
            return _by_strips(rgb, bits, _Conversion(self._colour).from_srgb)
        return rgb


def srgb_profile() -> bytes:
    """The ICC profile of sRGB."""
    profile: bytes = pyvips.Operation.call("profile_load", "srgb")
    return profile


def in_depth(samples: Samples, bits: int) -> Samples:
    """uint8 or uint16 samples, rounded to 8 or 16 bits."""
    if samples.itemsize * 8 == bits:
        return samples
    if bits == 16:
        deep: Samples = samples * np.uint16(257)
        return deep
    result = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _ROWS):
        # Divides by 257 and rounds, without a division.
        result[top : top + _ROWS] = (samples[top : top + _ROWS] * np.uint32(255) + 32895) >> 16
    return result


def _profile(data: Data, header: Header) -> bytes | None:
    """The embedded profile; None if there is none or it is not a valid one."""
    if not header.profile:
        return None
    if header.format == "png":
        profile = inflated_profile(data, header.profile[0])
    elif sum(part.end - part.start for part in header.profile) > MOST_PROFILE_BYTES:
        return None
    else:
        profile = b"".join(bytes(data[part.start : part.end]) for part in header.profile)
    return profile if profile is not None and _is_whole(profile) else None


def _is_whole(profile: bytes) -> bool:
    """True if this is a complete ICC profile (ICC.1, section 7) with the tags that a conversion needs.

    libvips does not report a profile that it cannot use: it silently uses another one.
    """
    if len(profile) < 132 or profile[_SIGNATURE] != b"acsp":
        return False
    size, count = (struct.unpack_from(">I", profile, at)[0] for at in (0, 128))
    if size > len(profile) or count > _MOST_TAGS or 132 + 12 * count > len(profile):
        return False
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * tag) for tag in range(count)]
    tags = {tag for tag, at, length in entries if at + length <= len(profile)}
    return bool(tags & _TABLES) or tags >= _CURVES.get(profile[_SPACE], _TABLES)


def _is_readable(profile: bytes) -> bool:
    """False if the profile is damaged, so that libvips cannot convert from it."""
    channels = {b"RGB ": 3, b"GRAY": 1, b"CMYK": 4}[profile[_SPACE]]
    try:
        _by_profile(np.zeros((1, 1, channels), np.uint8), profile, 8)
    except pyvips.Error:
        return False
    return True


def _is_writable(profile: bytes) -> bool:
    """False for profiles that convert only from their samples, such as those of scanners."""
    try:
        _into_profile(np.zeros((1, 1, 3), np.uint8), profile, 8)
    except pyvips.Error:
        return False
    return True


def _image(samples: Samples, interpretation: str) -> pyvips.Image:
    height, width, bands = samples.shape
    format = "uchar" if samples.dtype == np.uint8 else "ushort"
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(samples).data, width, height, bands, format)
    return image.copy(interpretation=interpretation)


_INTERPRETATIONS = {1: ("b-w", "grey16"), 3: ("srgb", "rgb16"), 4: ("cmyk", "cmyk")}


def _tagged(samples: Samples, profile: bytes) -> pyvips.Image:
    image = _image(samples, _INTERPRETATIONS[samples.shape[2]][samples.itemsize - 1])
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def _by_profile(samples: Samples, profile: bytes, bits: int) -> Samples:
    return _between(samples, profile, "srgb", bits)


def _into_profile(rgb: Samples, profile: bytes, bits: int) -> Samples:
    # libvips reads the profile to convert to only from a file.
    descriptor = os.memfd_create("profile")
    try:
        os.write(descriptor, profile)
        return _between(rgb, srgb_profile(), f"/proc/self/fd/{descriptor}", bits)
    finally:
        os.close(descriptor)


def _between(samples: Samples, own: bytes, wanted: str, bits: int) -> Samples:
    """Converts samples from one profile to another.

    Args:
        samples: (height, width, channels), uint8 or uint16.
        own: the profile of the samples.
        wanted: the path of the other profile, or "srgb".
        bits: bits of each sample returned, 8 or 16.
    """
    space = own[_SPACE]
    if bits == 8 and samples.dtype == np.uint8 and space != b"CMYK":
        return array(_tagged(samples, own).icc_transform(wanted, embedded=True, depth=8, **_INTENT))
    # In two steps: in one step, Little CMS interpolates in a table of 33³ colours, with errors of up to 8 per
    # cent. The first step needs 16 bits to be exact, and XYZ for RGB, because L*a*b* is not exact for colours
    # outside of sRGB.
    between = {"pcs": "xyz" if space == b"RGB " else "lab"}
    image = _tagged(in_depth(samples, 16), own).icc_import(embedded=True, **between, **_INTENT)
    return array(image.icc_export(output_profile=wanted, depth=bits, **between, **_INTENT))


def _from_lab(samples: Samples, bits: int) -> Samples:
    """Converts L*a*b* to sRGB; the zero of a and b is in the middle of their range."""
    image = _image(samples, "multiband")
    scale = [100 / 255, 1, 1] if samples.dtype == np.uint8 else [100 / 65535, 1 / 256, 1 / 256]
    lab = (image * scale + [0, -128, -128]).cast("float").copy(interpretation="lab")
    return array(lab.icc_export(output_profile="srgb", depth=bits, **_INTENT))


def _from_cmyk(samples: Samples) -> Samples:
    """Converts CMYK without a profile: each ink absorbs its share of the light."""
    full = np.iinfo(samples.dtype).max
    result = np.empty((*samples.shape[:2], 3), samples.dtype)
    for top in range(0, len(samples), _ROWS):
        light = full - samples[top : top + _ROWS].astype(np.uint64)
        result[top : top + _ROWS] = (light[..., :3] * light[..., 3:] + full // 2) // full
    return result


def _by_strips(samples: Samples, bits: int, convert: Any) -> Samples:
    full, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    scale = 1 / np.iinfo(samples.dtype).max
    result = np.empty(samples.shape, dtype)
    for top in range(0, len(samples), _ROWS):
        values = convert(samples[top : top + _ROWS].astype(np.float64) * scale)
        result[top : top + _ROWS] = np.rint(values.clip(0, 1) * full)
    return result


class _Conversion:
    """Converts between sRGB and the coding that a PNG's cICP, gAMA and cHRM chunks declare; values 0–1."""

    def __init__(self, colour: PngColour) -> None:
        self._transfer = colour.transfer
        self._matrix: Samples | None = None
        if colour.primaries is not None:
            try:
                self._matrix = np.linalg.inv(_to_xyz(_SRGB_PRIMARIES)) @ _to_xyz(colour.primaries)
                self._inverse = np.linalg.inv(self._matrix)
            except (np.linalg.LinAlgError, ZeroDivisionError):
                # Primaries on one line cannot be meant: ignore them.
                self._matrix = None

    def to_srgb(self, values: Samples) -> Samples:
        light = _light(values, self._transfer)
        if self._matrix is not None:
            light = light @ self._matrix.T
        return _coded(light.clip(0, 1), "srgb")

    def from_srgb(self, values: Samples) -> Samples:
        light = _light(values, "srgb")
        if self._matrix is not None:
            light = light @ self._inverse.T
        return _coded(light.clip(0, 1), self._transfer)


def _light(values: Samples, transfer: str | float) -> Samples:
    if transfer == "srgb":
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if transfer == "bt709":
        return np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
    assert isinstance(transfer, float)
    return values**transfer


def _coded(light: Samples, transfer: str | float) -> Samples:
    if transfer == "srgb":
        return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    if transfer == "bt709":
        return np.where(light < 0.018, light * 4.5, 1.099 * light**0.45 - 0.099)
    assert isinstance(transfer, float)
    return light ** (1 / transfer)


def _to_xyz(primaries: tuple[float, ...]) -> Samples:
    """The matrix from linear R, G, B of these primaries to XYZ, adapted to D65 (Bradford)."""
    columns = [
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    ]
    white, corners = columns[0], np.stack(columns[1:], 1)
    matrix = corners * np.linalg.solve(corners, white)
    d65 = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ d65) / (_BRADFORD @ white)) @ _BRADFORD
    adapted: Samples = adaptation @ matrix
    return adapted
