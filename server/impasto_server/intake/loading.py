"""Loads a file's samples with libvips: as they are coded, strip by strip, not yet turned upright."""

from __future__ import annotations

import logging

import pyvips

from impasto_server.intake import png
from impasto_server.intake.header import Data, Header, TiffPicture

COLOURS = {"grey": 1, "rgb": 3, "ycbcr": 3, "cmyk": 4, "lab": 3}
"""Samples per pixel, without alpha."""

_LOADERS = ("Png", "Jpeg", "Webp", "Tiff")
_ONCE = {"access": "sequential"}
_MOST_SPARE_BYTES = 2**20
_HARMLESS = ("extraneous bytes", "unknown JFIF", "Unknown Adobe", "Inconsistent progression", "Invalid SOS")
_CIELAB, _ICCLAB = 8, 9


def prepare() -> None:
    """Makes libvips read only the four formats, and cache nothing. Call it once, at the start of the process.

    The cache would not only take memory: libvips caches files by their names, but our profiles have the names
    of file descriptors, which are used again.
    """
    logging.getLogger("pyvips").setLevel(logging.ERROR)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in _LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)


def is_harmless(error: pyvips.Error) -> bool:
    """True if a decoder complains of something harmless, such as bytes between two segments."""
    return any(complaint in str(error) for complaint in _HARMLESS)


def readable(data: Data, header: Header) -> Data:
    """The bytes that make libvips read a file correctly: usually the file itself, otherwise a changed copy.

    A PNG's text and profile are left out if they are large, because libpng would inflate them for nothing.
    """
    if header.format == "png" and header.spare > _MOST_SPARE_BYTES:
        return png.without_spare_chunks(data)
    if header.tiff is not None and header.tiff.patches:
        copy = bytearray(data)
        for at, replacement in header.tiff.patches:
            copy[at : at + len(replacement)] = replacement
        return bytes(copy)
    return data


def opened(data: Data, header: Header, *, scale: tuple[int, int], strict: bool) -> pyvips.Image:
    """Opens a picture's samples: uchar, ushort or float, alpha last. Read them once, from the top.

    The zero of a and b of L*a*b* is moved to the middle of the range, so that all samples are unsigned.

    Args:
        data: see `readable`; the caller must keep it for as long as the image is used.
        scale: the size in pixels that is needed. Where the format allows it, the picture is shrunk while it
            is decoded, to at least twice this size.
        strict: treat the warnings of the JPEG decoder as errors.

    Raises:
        pyvips.Error: the picture cannot be decoded.
    """
    match header.format:
        case "png":
            image = pyvips.Image.pngload_source(_bytes(data), fail_on="truncated", unlimited=True, **_ONCE)
        case "jpeg":
            image = _jpeg(data, header, scale, "warning" if strict else "truncated")
        case "webp":
            factor = 1 / _shrink(header, scale)
            image = pyvips.Image.webpload_source(_bytes(data), scale=factor, fail_on="error", **_ONCE)
        case "tiff":
            assert header.tiff is not None
            return _tiff(data, header, header.tiff)
    return _chosen(image, COLOURS[header.model], image.bands - 1 if header.has_alpha else None)


def _bytes(data: Data) -> pyvips.Source:
    """A source for the loaders, which would copy a buffer. pyvips keeps no reference to the data."""
    return pyvips.Source.new_from_memory(data)


def _jpeg(data: Data, header: Header, scale: tuple[int, int], fail_on: str) -> pyvips.Image:
    factor = next((f for f in (8, 4, 2) if f <= _shrink(header, scale)), 1)
    image = pyvips.Image.jpegload_source(_bytes(data), shrink=factor, fail_on=fail_on, **_ONCE)
    # The last column and row may cover fewer pixels than the others. If they cover less than half as many,
    # dropping them distorts the picture less than keeping them.
    width = max(1, round(header.width / factor))
    height = max(1, round(header.height / factor))
    return image.crop(0, 0, min(width, image.width), min(height, image.height))


def _shrink(header: Header, scale: tuple[int, int]) -> float:
    """The factor by which a picture can be shrunk and still be twice as large as needed."""
    return max(1.0, min(header.width / scale[0], header.height / scale[1]) / 2)


def _tiff(data: Data, header: Header, tiff: TiffPicture) -> pyvips.Image:
    image = pyvips.Image.tiffload_source(
        _bytes(data), page=tiff.page, fail_on="error", unlimited=True, **_ONCE
    )
    image = _chosen(image, COLOURS[header.model], tiff.alpha_at)
    alpha = image[image.bands - 1] if header.has_alpha else None
    colours = image[0 : COLOURS[header.model]] if alpha is not None else image
    half, full = 2 ** (tiff.sample_bits - 1), 2**tiff.sample_bits - 1
    if tiff.as_rgb and tiff.photometric == 0:
        colours = -1 * colours + full
    if tiff.photometric == _CIELAB:
        # a and b are in two's complement: this moves their zero from 0 to the middle.
        colours = colours.linear(1, [0, half, half]).cast("int") & full
    if tiff.multiplied:
        assert alpha is not None
        zero = {0: [full], _CIELAB: [0, half, half], _ICCLAB: [0, half, half]}.get(tiff.photometric, [0])
        colours = _divided(colours, alpha, zero, 1 if tiff.sample == "float" else full)
    if tiff.photometric == _ICCLAB and tiff.sample_bits == 16:
        colours = colours.linear([0xFFFF / 0xFF00, 1, 1], 0).rint()  # In ICCLAB, L* = 100 is 0xFF00.
    joined = colours if alpha is None else colours.bandjoin(alpha)
    return _as_integers(joined, header)


def _divided(colours: pyvips.Image, alpha: pyvips.Image, zero: list[int], opaque: int) -> pyvips.Image:
    """Divides colours that were multiplied by alpha; where alpha is 0, leaves them as they are.

    Args:
        zero: the sample values that a multiplication leaves unchanged: one for all channels, or one each.
        opaque: the largest alpha.
    """
    divisor = (alpha > 0).ifthenelse(alpha, opaque).cast("double") / opaque
    before = (colours.cast("double") - zero) / divisor + zero
    if opaque == 1:
        return before
    return before.rint().minpair(opaque).maxpair(0)


def _as_integers(image: pyvips.Image, header: Header) -> pyvips.Image:
    """Samples of 8 or 16 bits; floating-point samples stay, because their white must be found first."""
    assert header.tiff is not None
    if header.tiff.sample == "float":
        return image.cast("float")
    if header.tiff.sample_bits == 32:
        image = image.linear(65535 / (2**32 - 1), 0.5)
    return image.cast("uchar" if header.bits == 8 else "ushort")


def _chosen(image: pyvips.Image, colours: int, alpha_at: int | None) -> pyvips.Image:
    """The colour bands, followed by alpha."""
    alpha = image[min(alpha_at, image.bands - 1)] if alpha_at is not None and image.bands > 1 else None
    # libvips gives a palette of greys as one band.
    chosen = image[0:colours] if image.bands >= colours else image[0].bandjoin([image[0]] * (colours - 1))
    if alpha is None:
        return chosen
    return chosen.bandjoin(alpha)
