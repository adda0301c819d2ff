"""Decodes a picture's samples to arrays: as they are coded, at a given size, not yet turned upright."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import pyvips

from impasto_server.intake.faults import PictureFault
from impasto_server.intake.header import Data, Header, contents
from impasto_server.intake.headers import read_header
from impasto_server.intake.loading import COLOURS, is_harmless, opened, readable
from impasto_server.intake.resizing import box_shrunk, enlarged, shrunk
from impasto_server.intake.strips import Samples, array, strips

_KEPT_BYTES = 64 * 2**20
"""A picture up to this size is decoded once and kept; a larger one is decoded again for each pass over it."""

_MOST_FINITE = float(np.finfo(np.float32).max)

_Look = Callable[[], pyvips.Image]
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Raw:
    """Bare pixels in a file: rows from the top, each pixel R, G, B, A; straight alpha, sRGB.

    Attributes:
        offset: where the pixels begin in the file, in bytes.
        bits: bits of each sample: 8, or 16 with the low byte first.
    """

    file: BinaryIO
    offset: int
    width: int
    height: int
    bits: Literal[8, 16]


@dataclasses.dataclass(frozen=True)
class Source:
    """A picture that can be read any number of times.

    Attributes:
        header: what is known about it.
        data: the file's bytes.
        pixels: the bytes that the samples are read from; of bare pixels, only the pixels.
        bare: True for bare pixels.
    """

    header: Header
    data: Data
    pixels: Data
    bare: bool

    def open(self, scale: tuple[int, int], *, strict: bool) -> pyvips.Image:
        """Opens the samples, alpha last; see `loading.opened`."""
        if not self.bare:
            return opened(self.pixels, self.header, scale=scale, strict=strict)
        size = self.header.width, self.header.height
        return pyvips.Image.new_from_memory(
            self.pixels, *size, 4, "uchar" if self.header.bits == 8 else "ushort"
        )


def source(picture: BinaryIO | Raw) -> Source:
    """Opens a picture.

    Raises:
        PictureFault: it is not a supported picture, or is truncated.
    """
    if not isinstance(picture, Raw):
        data = contents(picture)
        header = read_header(data, sys.maxsize)
        return Source(header, data, readable(data, header), False)
    header = Header(
        format="png",
        width=picture.width,
        height=picture.height,
        orientation=1,
        bits=picture.bits,
        model="rgb",
        has_alpha=True,
    )
    length = picture.width * picture.height * 4 * picture.bits // 8
    data = contents(picture.file)
    if picture.width < 1 or picture.height < 1 or picture.offset + length > len(data):
        raise PictureFault("has fewer pixels than its size says; send width × height pixels")
    pixels = memoryview(data)[picture.offset : picture.offset + length]
    return Source(header, data, pixels, True)


@dataclasses.dataclass(frozen=True)
class Coded:
    """Samples as they are coded.

    Attributes:
        colours: (height, width, channels), uint8 or uint16.
        alpha: (height, width), of the same type; None if there is none.
    """

    colours: Samples
    alpha: Samples | None


def coded_samples(source: Source, size: tuple[int, int], *, fill_hidden: bool) -> Coded:
    """Decodes the samples of a picture.

    Args:
        size: (width, height) in pixels, as coded, not upright. With the picture's own size, samples stay as
            they are.
        fill_hidden: give transparent pixels the mean colour of the visible ones. The colour under alpha 0 is
            arbitrary, often black, and would show at edges once the picture is resized or painted. Pixels
            that are at all visible keep their colour.

    Raises:
        PictureFault: the pixels cannot be decoded.
    """

    own = source.header.width, source.header.height

    def read(strict: bool) -> Coded:
        look = _scaled_to_white(_looks(source, size, strict), source.header)
        if fill_hidden and source.header.has_alpha:
            look = _filled(look)
        count = COLOURS[source.header.model]
        has_alpha = look().bands > count
        if size == own:
            both = array(look())
            if not has_alpha:
                return Coded(both, None)
            return Coded(np.ascontiguousarray(both[..., :count]), np.ascontiguousarray(both[..., count]))
        colours = array(shrunk(look()[0:count], *size, "lanczos3"))
        return Coded(enlarged(colours, *size, "lanczos3"), _alpha(look, size) if has_alpha else None)

    return _decoded(read)


def coded_alpha(source: Source, size: tuple[int, int]) -> Samples:
    """The alpha, (height, width), of a picture that has one.

    Args:
        size: (width, height) in pixels, as coded, not upright.

    Raises:
        PictureFault: the pixels cannot be decoded.
    """
    return _decoded(
        lambda strict: _alpha(_scaled_to_white(_looks(source, size, strict), source.header), size)
    )


def _alpha(look: _Look, size: tuple[int, int]) -> Samples:
    image = look()
    # Linear, because Lanczos would ring along the edges of transparent areas.
    alpha = array(shrunk(image[image.bands - 1], *size, "linear"))
    return enlarged(alpha, *size, "linear")[..., 0]


def coded_levels(source: Source, size: tuple[int, int], levels: Callable[[Samples], Samples]) -> Samples:
    """Computes levels from a picture's samples and averages them down to (width, height), not upright.

    Args:
        size: in pixels; the picture's own size, or smaller in both directions.
        levels: converts samples (rows, width, channels), alpha last, to levels (rows, width), uint8.

    Raises:
        PictureFault: the pixels cannot be decoded.
    """

    def read(strict: bool) -> Samples:
        image = _scaled_to_white(_looks(source, size, strict), source.header)()
        made = (levels(strip) for strip in strips(image))
        if (image.width, image.height) == size:
            return np.concatenate(list(made))
        return box_shrunk(made, (image.width, image.height), *size)

    return _decoded(read)


def _decoded(read: Callable[[bool], _T]) -> _T:
    try:
        try:
            return read(True)
        except pyvips.Error as error:
            if not is_harmless(error):
                raise
            return read(False)
    except pyvips.Error as error:
        said = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        reason = said[-1] if said else "unknown reason"
        raise PictureFault(
            f"is damaged: its pixels cannot be decoded ({reason}); save it again and resend"
        ) from error


def _looks(source: Source, size: tuple[int, int], strict: bool) -> _Look:
    """A function that opens the picture again, to be read from the top, each time it is called."""
    first = source.open(size, strict=strict)
    if source.header.interlaced:
        return lambda: first  # libvips decodes it as a whole and keeps it in memory.
    if first.width * first.height * first.bands * (4 if first.format == "float" else 2) <= _KEPT_BYTES:
        kept = first.copy_memory()
        return lambda: kept
    return lambda: source.open(size, strict=strict)


def _scaled_to_white(look: _Look, header: Header) -> _Look:
    """Converts floating-point samples to ushort. White is 1, or the largest finite colour if that is more.

    NaN becomes black, infinity 1. Values are taken as coded like sRGB, unless a profile says otherwise.
    """
    if header.tiff is None or header.tiff.sample != "float":
        return look
    count = COLOURS[header.model]
    white, all_finite = 1.0, True
    for strip in strips(look()):
        finite = np.isfinite(strip)
        all_finite = all_finite and bool(finite.all())
        colours = strip[..., :count]
        white = max(white, float(colours.max(where=finite[..., :count], initial=0)))
    scales = [65535 / white] * count + [65535.0] * (look().bands - count)

    def scaled() -> pyvips.Image:
        image = look()
        if not all_finite:
            image = (image == image).ifthenelse(image, 0)
            image = (image.abs() > _MOST_FINITE).ifthenelse(image > 0, image).cast("float")
        return image.linear(scales, 0.5).cast("ushort")

    return scaled


def _filled(look: _Look) -> _Look:
    seen = 0
    image = look()
    count = image.bands - 1
    sums = np.zeros(count)
    for strip in strips(image):
        visible = strip[..., count] > 0
        seen += int(visible.sum())
        if not visible.all():
            strip = strip * visible[..., None]
        # Rows first: numpy adds whole rows faster.
        across = strip.reshape(len(strip), -1).sum(0, np.uint32).reshape(image.width, -1)
        sums += across.sum(0, np.float64)[:count]
    if seen in (0, image.width * image.height):
        return look
    mean = [round(total / seen) for total in sums]

    def filled() -> pyvips.Image:
        image = look()
        colours = (image[count] > 0).ifthenelse(image[0:count], mean)
        return colours.cast(image.format).bandjoin(image[count])

    return filled


def upright(samples: Samples, orientation: int) -> Samples:
    """Turns an array (height, width, …) upright by its EXIF orientation."""
    match orientation:
        case 2:
            samples = samples[:, ::-1]
        case 3:
            samples = samples[::-1, ::-1]
        case 4:
            samples = samples[::-1]
        case 5:
            samples = samples.swapaxes(0, 1)
        case 6:
            samples = np.rot90(samples, -1)
        case 7:
            samples = samples[::-1, ::-1].swapaxes(0, 1)
        case 8:
            samples = np.rot90(samples)
    return np.ascontiguousarray(samples)
