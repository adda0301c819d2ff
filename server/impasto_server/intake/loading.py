"""From a file to its samples, by libvips: as they are coded, strip by strip, not yet turned upright."""

from __future__ import annotations

import logging

import pyvips

from impasto_server.intake import png
from impasto_server.intake.header import Data, Header, TiffPicture

COLOURS = {"grey": 1, "rgb": 3, "ycbcr": 3, "cmyk": 4, "lab": 3}
"""Samples of a pixel, without alpha."""

_LOADERS = ("Png", "Jpeg", "Webp", "Tiff")
_ONCE = {"access": "sequential"}
_MOST_SPARE_BYTES = 2**20
_HARMLESS = ("extraneous bytes", "unknown JFIF", "Unknown Adobe", "Inconsistent progression", "Invalid SOS")
_CIELAB, _ICCLAB = 8, 9


def prepare() -> None:
    """Makes libvips read the four formats only, and keep nothing. For a process to call first, and once.

    Keeping nothing is not only thrift: libvips would remember files by their name, and profiles have none.
    """
    logging.getLogger("pyvips").setLevel(logging.ERROR)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in _LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)


def is_harmless(error: pyvips.Error) -> bool:
    """True if a decoder complains of what does not hurt the picture, as bytes between two segments."""
    return any(complaint in str(error) for complaint in _HARMLESS)


def readable(data: Data, header: Header) -> Data:
    """A file as libvips reads it right: often the same, otherwise a copy.

    A PNG's text and profile are left out if they are large: libpng would inflate them for nothing.
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
    """A picture's samples, uchar or ushort, alpha last; to be read once, from the top.

    L*a*b* has its a and b moved to the middle of the range, so that all samples are without sign.

    Args:
        data: see `readable`; the caller keeps it for as long as the image is used.
        scale: the size in pixels that the picture may be shrunk towards while it is decoded, where the format
            can; it stays at least twice as large.
        strict: also what decoders of JPEG only warn of is an error.

    Raises:
        pyvips.Error: it cannot be decoded.
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
    """For the loaders: a buffer would be copied. Of this, pyvips keeps not even a reference."""
    return pyvips.Source.new_from_memory(data)


def _jpeg(data: Data, header: Header, scale: tuple[int, int], fail_on: str) -> pyvips.Image:
    factor = next((f for f in (8, 4, 2) if f <= _shrink(header, scale)), 1)
    image = pyvips.Image.jpegload_source(_bytes(data), shrink=factor, fail_on=fail_on, **_ONCE)
    # The last column and row may stand for fewer pixels than the others. Where it is less than half as many,
    # the picture is stretched by less without them.
    width = max(1, round(header.width / factor))
    height = max(1, round(header.height / factor))
    return image.crop(0, 0, min(width, image.width), min(height, image.height))


def _shrink(header: Header, scale: tuple[int, int]) -> float:
    """By how much a picture may be shrunk and still have twice the pixels that are needed."""
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
        # a and b are two's complements: their zero moves from 0 to the middle.
        colours = colours.linear(1, [0, half, half]).cast("int") & full
    if tiff.multiplied:
        assert alpha is not None
        zero = {0: [full], _CIELAB: [0, half, half], _ICCLAB: [0, half, half]}.get(tiff.photometric, [0])
        colours = _divided(colours, alpha, zero, 1 if tiff.sample == "float" else full)
    if tiff.photometric == _ICCLAB and tiff.sample_bits == 16:
        colours = colours.linear([0xFFFF / 0xFF00, 1, 1], 0).rint()  # There, L* = 100 is 0xFF00.
    joined = colours if alpha is None else colours.bandjoin(alpha)
    return _as_integers(joined, header)


def _divided(colours: pyvips.Image, alpha: pyvips.Image, zero: list[int], opaque: int) -> pyvips.Image:
    """Colours that were multiplied by alpha as they were before; where nothing can be seen, as they are.

    Args:
        zero: the samples of what stays as it is when it is multiplied, one or one for each channel.
        opaque: the largest alpha.
    """
    divisor = (alpha > 0).ifthenelse(alpha, opaque).cast("double") / opaque
    before = (colours.cast("double") - zero) / divisor + zero
    if opaque == 1:
        return before
    return before.rint().minpair(opaque).maxpair(0)


def _as_integers(image: pyvips.Image, header: Header) -> pyvips.Image:
    """Samples of 8 or 16 bits; floating point as it is, because its white must be found first."""
    assert header.tiff is not None
    if header.tiff.sample == "float":
        return image.cast("float")
    if header.tiff.sample_bits == 32:
        image = image.linear(65535 / (2**32 - 1), 0.5)
    return image.cast("uchar" if header.bits == 8 else "ushort")


def _chosen(image: pyvips.Image, colours: int, alpha_at: int | None) -> pyvips.Image:
    """The bands that are colours, and alpha after them."""
    alpha = image[min(alpha_at, image.bands - 1)] if alpha_at is not None and image.bands > 1 else None
    # Palettes of greys come as one band.
    chosen = image[0:colours] if image.bands >= colours else image[0].bandjoin([image[0]] * (colours - 1))
    if alpha is None:
        return chosen
    return chosen.bandjoin(alpha)
