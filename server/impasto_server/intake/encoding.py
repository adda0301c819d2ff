"""Encodes results: as they are stored, and in the formats that callers ask for."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO, Literal

import numpy as np
import pyvips

from impasto_server.intake.colors import Coding, in_depth, srgb_profile
from impasto_server.intake.decoding import decode_picture, fitted_mask, fitting
from impasto_server.intake.headers import Description
from impasto_server.intake.png_writing import (
    ColourChunks,
    colour_chunks,
    metadata_text,
    vips_image,
    write_png,
)
from impasto_server.intake.samples import Raw, Source, coded_alpha, coded_samples, source, upright
from impasto_server.intake.strips import Samples

Format = Literal["png", "png16", "jpeg", "webp", "tiff", "rgba8", "rgba16"]

_ROWS = 256
_THUMBNAIL_QUALITIES = (85, 70, 50, 30)
_REDUCED_QUALITY = 85


def encode_result(
    samples: Samples,
    out: BinaryIO,
    *,
    metadata: str,
    content: BinaryIO | Raw | None,
    selection: BinaryIO | Raw | None,
) -> None:
    """Writes a result as PNG, with the alpha and the colour coding of its content.

    With a selection, the result shows the content outside of it: exactly the content's samples, even the
    transparent ones, if both have the same size. The result then has 16 bits per channel if the content has;
    grey becomes R = G = B; a PNG's cICP, gAMA and cHRM are kept. Colours that an RGB PNG cannot be tagged
    with are converted to sRGB: CMYK, L*a*b*, and grey with a grey profile.

    Args:
        samples: the painting, sRGB, (height, width, 3), uint8 or uint16: all of it, not yet blended with the
            content.
        metadata: how the result was made; written as the text entry "impasto".
        content: the picture that was painted; None for a texture.
        selection: a mask; white selects the painting, black the content.

    Raises:
        PictureFault: the content or the selection cannot be decoded.
    """
    if content is None:
        write_png(out, samples, text=metadata)
        return
    opened = source(content)
    coded = _painted(samples, opened) if selection is None else _blended(samples, opened, selection)
    write_png(
        out,
        _with_alpha(coded.rgb, coded.alpha),
        text=metadata,
        profile=coded.profile,
        colour_chunks=coded.colour_chunks,
    )


def convert(
    file: BinaryIO | Raw, out: BinaryIO, *, format: Format, max_side: int | None = None, quality: int = 95
) -> tuple[int, int]:
    """Writes a result in another format. The same result always gives the same bytes.

    The profile and the metadata are kept (but JPEG and WebP hold no metadata); bare pixels are sRGB.

    Args:
        format: "png16" has 16 bits per channel, "png" 8, "tiff" as many as the result; "rgba8" and "rgba16"
            are bare pixels, low byte first.
        max_side: maximum length of the longer side, in pixels.
        quality: quality of JPEG and WebP, 1 to 100.

    Returns:
        Width and height in pixels.

    Raises:
        PictureFault: it cannot be decoded.
    """
    if format in ("rgba8", "rgba16"):
        bits: Literal[8, 16] = 8 if format == "rgba8" else 16
        pixels = decode_picture(file, max_side=max_side, bits=bits, fill_hidden=False)
        rgba = _with_alpha(pixels.samples, pixels.alpha, always=True)
        out.write(rgba.astype(f"<u{rgba.itemsize}", copy=False).data)
        return rgba.shape[1], rgba.shape[0]
    opened = source(file)
    size = fitting(opened.header.upright_size, max_side)
    coded = _in_own_coding(opened, size, fill_hidden=False)
    if coded.colour_chunks and format != "png" and format != "png16":
        # Only PNG has these chunks.
        pixels = decode_picture(
            file, size=size, bits=16 if opened.header.bits == 16 else 8, fill_hidden=False
        )
        coded = _CodedRgb(pixels.samples, pixels.alpha)
    text = metadata_text(opened.data) if opened.header.format == "png" and not opened.bare else None
    bits = 16 if format == "png16" or (format == "tiff" and opened.header.bits == 16) else 8
    rgb = in_depth(coded.rgb, bits)
    alpha = None if coded.alpha is None else in_depth(coded.alpha, bits)
    if format in ("png", "png16"):
        write_png(
            out, _with_alpha(rgb, alpha), text=text, profile=coded.profile, colour_chunks=coded.colour_chunks
        )
    elif format == "jpeg":
        image = vips_image(_over_white(rgb, alpha), coded.profile)
        out.write(image.jpegsave_buffer(Q=quality, subsample_mode="off", keep="icc"))
    elif format == "webp":
        out.write(vips_image(_with_alpha(rgb, alpha), coded.profile).webpsave_buffer(Q=quality, keep="icc"))
    else:
        image = vips_image(_with_alpha(rgb, alpha), coded.profile)
        if text is not None:
            image.set_type(pyvips.GValue.gstr_type, "image-description", text)
        out.write(image.tiffsave_buffer(compression="deflate", predictor="horizontal", keep="icc|other"))
    return rgb.shape[1], rgb.shape[0]


def thumbnail(file: BinaryIO, out: BinaryIO, side: int = 128, max_bytes: int = 16_384) -> Description:
    """Writes a small JPEG: upright, sRGB, over white.

    Args:
        side: maximum length of the longer side, in pixels.
        max_bytes: the quality is lowered, to 30 at worst, until the file is no larger than this.

    Returns:
        The description of the picture itself.

    Raises:
        PictureFault: it cannot be decoded.
    """
    header = source(file).header
    pixels = decode_picture(file, max_side=side, bits=8, fill_hidden=False)
    image = vips_image(_over_white(pixels.samples, pixels.alpha), None)
    for quality in _THUMBNAIL_QUALITIES:
        coded = image.jpegsave_buffer(Q=quality, optimize_coding=True, keep="none")
        if len(coded) <= max_bytes:
            break
    out.write(coded)
    return Description.of(header)


def reduce(
    file: BinaryIO | Raw, out: BinaryIO, *, side: int, format: Literal["png", "jpeg", "webp"]
) -> tuple[int, int]:
    """Writes a reduced picture: upright, sRGB, 8 bits. JPEG has no alpha: the picture is laid over white.

    Args:
        side: maximum length of the longer side, in pixels.

    Returns:
        Width and height in pixels.

    Raises:
        PictureFault: it cannot be decoded.
    """
    pixels = decode_picture(file, max_side=side, bits=8, fill_hidden=False)
    height, width = pixels.samples.shape[:2]
    if format == "png":
        write_png(out, _with_alpha(pixels.samples, pixels.alpha))
    elif format == "jpeg":
        image = vips_image(_over_white(pixels.samples, pixels.alpha), None)
        out.write(image.jpegsave_buffer(Q=_REDUCED_QUALITY, optimize_coding=True, keep="none"))
    else:
        image = vips_image(_with_alpha(pixels.samples, pixels.alpha), None)
        out.write(image.webpsave_buffer(Q=_REDUCED_QUALITY, keep="none"))
    return width, height


@dataclasses.dataclass(frozen=True)
class _CodedRgb:
    """An upright picture whose colours are coded by a profile, by a PNG's chunks, or as plain sRGB."""

    rgb: Samples
    alpha: Samples | None
    profile: bytes | None = None
    colour_chunks: ColourChunks = ()


def _in_own_coding(opened: Source, size: tuple[int, int], *, fill_hidden: bool) -> _CodedRgb:
    """The picture at (width, height) pixels, in its own colour coding if that is RGB, otherwise in sRGB."""
    header, coding = opened.header, Coding(opened.data, opened.header)
    coded = coded_samples(opened, header.turned(size), fill_hidden=fill_hidden)
    rgb = coding.repeated(coded.colours) if coding.is_rgb else coding.to_srgb(coded.colours, header.bits)
    alpha = None if coded.alpha is None else upright(coded.alpha, header.orientation)
    return _CodedRgb(
        upright(rgb, header.orientation), alpha, _profile(coding), _colour_chunks(opened, coding)
    )


def _profile(coding: Coding) -> bytes | None:
    if coding.profile is None:
        return None
    return coding.profile if coding.is_rgb else srgb_profile()


def _colour_chunks(opened: Source, coding: Coding) -> ColourChunks:
    return () if coding.png_colour is None else colour_chunks(opened.data)


def _painted(samples: Samples, opened: Source) -> _CodedRgb:
    """The painting with the content's alpha, in the colours of the content's profile."""
    coding = Coding(opened.data, opened.header)
    rgb = coding.from_srgb(samples) if coding.profile is not None and coding.is_rgb else samples
    return _CodedRgb(rgb, _alpha(opened, samples), _profile(coding))


def _alpha(opened: Source, samples: Samples) -> Samples | None:
    header = opened.header
    if not header.has_alpha:
        return None
    alpha = coded_alpha(opened, header.turned((samples.shape[1], samples.shape[0])))
    return in_depth(upright(alpha, header.orientation), 8 * samples.itemsize)


def _blended(samples: Samples, opened: Source, selection: BinaryIO | Raw) -> _CodedRgb:
    height, width = samples.shape[:2]
    resized = opened.header.upright_size != (width, height)
    own = _in_own_coding(opened, (width, height), fill_hidden=resized)
    bits = max(8 * samples.itemsize, 8 * own.rgb.itemsize)
    coding = Coding(opened.data, opened.header)
    painted = in_depth(samples, bits)
    if coding.is_rgb:
        painted = coding.from_srgb(painted)
    mask = fitted_mask(selection, (width, height))
    rgb = np.empty(samples.shape, np.uint8 if bits == 8 else np.uint16)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        share = mask[rows, :, None].astype(np.uint32)
        original = in_depth(own.rgb[rows], bits)
        rgb[rows] = (painted[rows] * share + original * (255 - share) + 127) // 255
    return dataclasses.replace(own, rgb=rgb, alpha=None if own.alpha is None else in_depth(own.alpha, bits))


def _with_alpha(rgb: Samples, alpha: Samples | None, *, always: bool = False) -> Samples:
    """R, G, B and A; without alpha, R, G and B, or with `always` an opaque A."""
    if alpha is None and not always:
        return rgb
    result = np.empty((*rgb.shape[:2], 4), rgb.dtype)
    result[..., :3] = rgb
    result[..., 3] = np.iinfo(rgb.dtype).max if alpha is None else alpha
    return result


def _over_white(rgb: Samples, alpha: Samples | None) -> Samples:
    if alpha is None:
        return rgb
    full = np.iinfo(rgb.dtype).max
    result = np.empty_like(rgb)
    for top in range(0, len(rgb), _ROWS):
        rows = slice(top, top + _ROWS)
        share = alpha[rows, :, None].astype(np.uint32)
        result[rows] = (rgb[rows] * share + full * (full - share) + full // 2) // full
    return result
