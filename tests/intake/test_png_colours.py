"""PNG chunks that declare the colour coding: cICP, iCCP, sRGB, gAMA and cHRM, in order of precedence."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

from impasto_server.intake.decoding import decode_picture
from support.odd_files import chunk, png
from support.samples import photo

RGB = np.asarray(photo())
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_CHROMATICITIES = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)

# Matrices from linear R, G and B to those of sRGB, as in the specifications (CSS Color 4; Adobe RGB 1998).
P3_TO_SRGB = np.array(
    [[1.2249401, -0.2249404, 0], [-0.0420569, 1.0420571, 0], [-0.0196376, -0.0786361, 1.0982735]]
)
BT2020_TO_SRGB = np.array(
    [
        [1.6604910, -0.5876411, -0.0728499],
        [-0.1245505, 1.1328999, -0.0083494],
        [-0.0181508, -0.1005789, 1.1187297],
    ]
)
ADOBE_TO_SRGB = np.array([[1.3983557, -0.3983557, 0], [0, 1, 0], [0, -0.0429289, 1.0429289]])


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chromaticities(values: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))


def swapped_profile() -> bytes:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


def srgb_of(light: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """sRGB values of linear light (IEC 61966-2-1), in units of 8-bit levels."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def srgb_light(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values = samples / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(before: bytes, samples: np.ndarray[Any, Any] = RGB) -> np.ndarray[Any, Any]:
    """A PNG's colours in sRGB, in fractions of 8-bit levels."""
    color_type = 0 if samples.ndim == 2 else 2
    pixels = decode_picture(io.BytesIO(png(samples, color_type, before=before)), bits=16).samples
    return pixels / 257


@pytest.mark.parametrize("value", [1.0, 1 / 1.8, 1 / 2.6, 0.6, 1.5])
def test_a_gamma_is_applied(value: float) -> None:
    expected = srgb_of((RGB / 255) ** (1 / value))
    assert np.abs(shown(gamma(value)) - expected).max() < 0.02


@pytest.mark.parametrize("value", [1.0, 1 / 1.8])
def test_a_gamma_is_applied_to_grey_and_to_sixteen_bits(value: float) -> None:
    grey = RGB[..., 0]
    expected = srgb_of((grey / 255) ** (1 / value))[..., None]
    assert np.abs(shown(gamma(value), grey) - expected).max() < 0.02
    deep = RGB.astype(np.uint16) * 251 + 17
    expected = srgb_of((deep / 65535) ** (1 / value))
    assert np.abs(shown(gamma(value), deep) - expected).max() < 0.02


def test_linear_samples_of_eight_bits() -> None:
    # Every browser shows these levels for mid-grey of a linear PNG.
    samples = np.full((4, 4, 3), 128, np.uint8)
    pixels = decode_picture(io.BytesIO(png(samples, 2, before=gamma(1.0))), bits=8)
    assert (pixels.samples == 188).all()


@pytest.mark.parametrize(
    "before",
    [
        b"",
        gamma(1 / 2.2),
        gamma(0.45),
        gamma(1 / 2.2) + chromaticities(SRGB_CHROMATICITIES),
        chromaticities(P3_CHROMATICITIES),
        chunk(b"sRGB", b"\0") + gamma(1.0) + chromaticities(P3_CHROMATICITIES),
        gamma(1.0) + chunk(b"sRGB", b"\1"),
        chunk(b"cICP", bytes([1, 13, 0, 1])) + gamma(1.0),
        chunk(b"cICP", bytes([1, 13, 0, 1])) + profile_chunk(swapped_profile()),
        gamma(0),
        chunk(b"gAMA", struct.pack(">I", 2**32 - 1)),
        chunk(b"gAMA", struct.pack(">I", 100_000), crc=0),
        chunk(b"gAMA", b"\0\1"),
        chunk(b"cICP", bytes([9, 16, 0, 1])),
        chunk(b"cICP", bytes([9, 18, 0, 1])),
        chunk(b"cICP", bytes([2, 2, 0, 1])),
        chunk(b"cICP", bytes([9, 13, 0, 0])),
    ],
)
def test_srgb_or_untagged_samples_stay_as_they_are(before: bytes) -> None:
    assert (shown(before) == RGB).all()


def test_a_gamma_after_the_pixels_is_ignored() -> None:
    data = png(RGB, 2, after=gamma(1.0))
    assert (decode_picture(io.BytesIO(data), bits=8).samples == RGB).all()


@pytest.mark.parametrize(
    ("before", "power", "matrix"),
    [
        (gamma(1 / 2.2) + chromaticities(P3_CHROMATICITIES), 2.2, P3_TO_SRGB),
        (chromaticities(ADOBE_CHROMATICITIES) + gamma(1 / 2.2), 2.2, ADOBE_TO_SRGB),
        (chromaticities(P3_CHROMATICITIES) + gamma(1), 1, P3_TO_SRGB),
        (chunk(b"cICP", bytes([12, 8, 0, 1])), 1, P3_TO_SRGB),
        (chunk(b"cICP", bytes([9, 4, 0, 1])), 2.2, BT2020_TO_SRGB),
        (chunk(b"cICP", bytes([1, 5, 0, 1])), 2.8, np.eye(3)),
    ],
)
def test_primaries_are_applied(before: bytes, power: float, matrix: np.ndarray[Any, Any]) -> None:
    expected = srgb_of((RGB / 255) ** power @ matrix.T)
    # The file has 1/2.2 as 0.45455, and chromaticities with five digits.
    assert np.abs(shown(before) - expected).max() < 0.6


def test_display_p3_by_cicp() -> None:
    expected = srgb_of(srgb_light(RGB) @ P3_TO_SRGB.T)
    assert np.abs(shown(chunk(b"cICP", bytes([12, 13, 0, 1]))) - expected).max() < 0.2


def test_the_curve_of_television_by_cicp() -> None:
    values = RGB / 255
    light = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
    assert np.abs(shown(chunk(b"cICP", bytes([1, 1, 0, 1]))) - srgb_of(light)).max() < 0.2


def test_another_white_point_is_adapted() -> None:
    d50 = (0.3457, 0.3585, *SRGB_CHROMATICITIES[2:])
    white = np.full((2, 2, 3), 255, np.uint8)
    assert np.abs(shown(gamma(1.0) + chromaticities(d50), white) - 255).max() < 0.05
    grey = np.full((2, 2, 3), 100, np.uint8)
    neutral = shown(gamma(1.0) + chromaticities(d50), grey)
    assert np.ptp(neutral) < 0.05


def test_a_profile_overrides_gamma_but_a_broken_one_does_not() -> None:
    swapped = np.ascontiguousarray(RGB[..., ::-1])
    followed = shown(profile_chunk(swapped_profile()) + gamma(1.0), swapped)
    assert np.abs(followed - RGB).max() < 3
    linear = srgb_of(RGB / 255)
    for broken in (b"rubbish" * 40, swapped_profile()[:200]):
        assert np.abs(shown(profile_chunk(broken) + gamma(1.0)) - linear).max() < 0.02
    assert np.abs(shown(chunk(b"iCCP", b"icc\0\0rubbish") + gamma(1.0)) - linear).max() < 0.02


@pytest.mark.parametrize(
    "values", [(0,) * 8, (0.3, 0.3) * 4, (0.3127, 0, 0.64, 0, 0.3, 0, 0.15, 0), (40_000,) * 8]
)
def test_impossible_primaries_do_no_harm(values: tuple[float, ...]) -> None:
    shown(gamma(1.0) + chromaticities(values))


def test_a_gamma_is_applied_at_any_size() -> None:
    data = png(np.full((40, 40, 3), 128, np.uint8), 2, before=gamma(1.0))
    for size in ((10, 10), (70, 70)):
        assert (decode_picture(io.BytesIO(data), size=size, bits=8).samples == 188).all()
