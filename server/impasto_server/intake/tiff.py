"""The structure of a TIFF (TIFF 6.0; BigTIFF), and the kinds that are supported."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Literal

import numpy as np

from impasto_server.intake.faults import PictureFault, check_pixels, truncated, unreadable, unsupported
from impasto_server.intake.header import Data, Header, Model, Span, TiffPicture

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MOST_ENTRIES = 4096
_MOST_PICTURES = 256
_MOST_STRIPS = 2**20
_MOST_SAMPLES = 8

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_COUNTS, _PLANAR = 273, 274, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_SUB_PICTURES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUBSAMPLING = 330, 338, 339, 530
_PROFILE, _DNG_VERSION = 34675, 50706
_JPEG = 7

_TYPES = {
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
"""Numpy's names of the integer and byte types; tags of other types are not read."""

_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
_COMPRESSION_NAMES = {
    6: "old-style JPEG",
    34887: "LERC",
    34925: "LZMA",
    34933: "PNG",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Samples that a photometric interpretation may have: their number, and their bits by format."""

    model: Model
    samples: int
    unsigned: tuple[int, ...]
    floating: tuple[int, ...] = ()


_KINDS = {
    0: _Kind("grey", 1, (1, 2, 4, 8, 16, 32)),
    1: _Kind("grey", 1, (1, 2, 4, 8, 16, 32), (16, 32)),
    2: _Kind("rgb", 3, (8, 16, 32), (16, 32)),
    3: _Kind("rgb", 1, (1, 2, 4, 8)),
    5: _Kind("cmyk", 4, (8, 16)),
    6: _Kind("ycbcr", 3, (8,)),
    8: _Kind("lab", 3, (8, 16)),
    9: _Kind("lab", 3, (8, 16)),
}
_RGB, _PALETTE, _YCBCR = 2, 3, 6
_GREY, _LAB = (0, 1), (8, 9)
_RAW_PHOTOMETRICS = (32803, 34892)
_OTHER_PHOTOMETRICS = {4: "transparency mask", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}


def read_header(data: Data, most_pixels: int) -> Header:
    """Reads the header of a TIFF.

    Raises:
        PictureFault: the file is truncated, not a supported kind of TIFF, or too large.
    """
    page, directory = _main_picture(_Reader(data))
    width, height = directory.one(_WIDTH), directory.one(_HEIGHT)
    check_pixels(width, height, most_pixels)
    orientation = directory.one(_ORIENTATION, 1)
    kind, picture = _kind(directory, page)
    if not 1 <= orientation <= 8:
        # libvips would refuse the picture; viewers ignore the tag.
        patches = (*picture.patches, directory.patch(_ORIENTATION, 1))
        orientation, picture = 1, dataclasses.replace(picture, patches=patches)
    _check_pieces(directory, width, height, picture.samples)
    return Header(
        format="tiff",
        width=width,
        height=height,
        orientation=orientation,
        bits=8 if picture.sample_bits <= 8 else 16,
        model=kind.model,
        has_alpha=picture.alpha_at is not None,
        profile=directory.span(_PROFILE),
        tiff=picture,
    )


class _Directory:
    """The tags of one picture."""

    def __init__(self, reader: _Reader, entries: dict[int, tuple[int, int, int]], following: int) -> None:
        """
        Args:
            entries: type, number of values and offset of the first value, by tag.
            following: offset of the next directory; 0 after the last.
        """
        self._reader = reader
        self._entries = entries
        self.following = following

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def all(self, tag: int) -> np.ndarray[Any, Any]:
        """A tag's values, not copied; empty if there is no such tag."""
        if tag not in self._entries:
            return np.empty(0, np.uint8)
        kind, count, at = self._entries[tag]
        if kind not in _TYPES:
            raise unreadable()
        dtype = np.dtype(_TYPES[kind]).newbyteorder(self._reader.order)
        if at + count * dtype.itemsize > len(self._reader.data):
            raise truncated()
        return np.frombuffer(self._reader.data, dtype, count, at)

    def one(self, tag: int, default: int | None = None) -> int:
        """A tag's first value."""
        values = self.all(tag)
        if len(values):
            return int(values[0])
        if default is None:
            raise unreadable()
        return default

    def at(self, tag: int) -> int:
        """The offset of a tag's first value in the file."""
        return self._entries[tag][2]

    def patch(self, tag: int, value: int, index: int = 0) -> tuple[int, bytes]:
        """The offset of one of a tag's values, and the bytes of a new value for it."""
        length = np.dtype(_TYPES[self._entries[tag][0]]).itemsize
        order: Literal["little", "big"] = "little" if self._reader.order == "<" else "big"
        return self.at(tag) + index * length, value.to_bytes(length, order)

    def span(self, tag: int) -> tuple[Span, ...]:
        values = self.all(tag)
        if not values.nbytes:
            return ()
        return (Span(self.at(tag), self.at(tag) + values.nbytes),)


class _Reader:
    """Reads the directories of a file."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
        self._big = 0x2B in data[2:4]
        self.first: int = struct.unpack_from(
            f"{self.order}{'Q' if self._big else 'I'}", data, 8 if self._big else 4
        )[0]

    def directory(self, at: int) -> _Directory:
        count_format, entry_format, value_bytes = ("Q", "HHQ", 8) if self._big else ("H", "HHI", 4)
        (count,) = struct.unpack_from(self.order + count_format, self.data, at)
        if count > _MOST_ENTRIES:
            raise PictureFault(f"is a TIFF with more than {_MOST_ENTRIES:,} tags; save it again and resend")
        position = at + struct.calcsize(self.order + count_format)
        entries: dict[int, tuple[int, int, int]] = {}
        offset_format = self.order + ("Q" if self._big else "I")
        for _ in range(count):
            tag, kind, number = struct.unpack_from(self.order + entry_format, self.data, position)
            position += struct.calcsize(self.order + entry_format)
            lies_at = position
            if number * np.dtype(_TYPES.get(kind, "u8")).itemsize > value_bytes:
                (lies_at,) = struct.unpack_from(offset_format, self.data, position)
            elif position + value_bytes > len(self.data):
                raise truncated()
            entries.setdefault(tag, (kind, number, lies_at))
            position += value_bytes
        (following,) = struct.unpack_from(offset_format, self.data, position)
        return _Directory(self, entries, following)


def _main_picture(reader: _Reader) -> tuple[int, _Directory]:
    """The first picture that is not a thumbnail or a mask of another picture, and its number.

    Raises:
        PictureFault: the file is a camera's raw file, and the picture would only be its thumbnail.
    """
    if reader.first == 16 and reader.data[8:10] == b"CR":  # Canon CR2.
        raise _raw()
    first = reader.directory(reader.first)
    _refuse_raw(reader, first)
    directory, page, seen = first, 0, {reader.first}
    while directory.one(_SUBFILE, 0) & 0b101 and directory.following and page < _MOST_PICTURES:
        if directory.following in seen:
            break
        seen.add(directory.following)
        directory, page = reader.directory(directory.following), page + 1
    if directory.one(_SUBFILE, 0) & 0b101:
        return 0, first
    return page, directory


def _refuse_raw(reader: _Reader, first: _Directory) -> None:
    if _DNG_VERSION in first or first.one(_PHOTOMETRIC, 1) in _RAW_PHOTOMETRICS:
        raise _raw()
    if _SUB_PICTURES not in first:
        return
    if first.one(_SUBFILE, 0) & 1:
        raise _raw()
    for at in first.all(_SUB_PICTURES)[:16]:
        if reader.directory(int(at)).one(_PHOTOMETRIC, 1) in _RAW_PHOTOMETRICS:
            raise _raw()


def _raw() -> PictureFault:
    return unsupported("a camera raw")


def _kind(directory: _Directory, page: int) -> tuple[_Kind, TiffPicture]:
    """Finds out which kind of TIFF a picture is.

    Raises:
        PictureFault: pictures of this kind are not supported.
    """
    photometric = directory.one(_PHOTOMETRIC)
    kind = _KINDS.get(photometric)
    if kind is None:
        name = _OTHER_PHOTOMETRICS.get(photometric, str(photometric))
        raise PictureFault(f"is a TIFF with the photometric interpretation {name}; save it as RGB or grey")
    compression = directory.one(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        name = _COMPRESSION_NAMES.get(compression, f"method {compression}")
        raise PictureFault(f"is a TIFF compressed with {name}; save it with LZW, deflate or no compression")
    if photometric == _YCBCR and compression != _JPEG:
        raise PictureFault("is a TIFF with YCbCr samples and no JPEG compression; save it as RGB")
    depths = {int(depth) for depth in directory.all(_BITS)} or {1}
    formats = {_SAMPLE_FORMATS.get(int(f), "unknown") for f in directory.all(_SAMPLE_FORMAT)} or {"unsigned"}
    if len(depths) > 1 or len(formats) > 1:
        raise PictureFault("is a TIFF whose channels differ in depth; save it with 8 or 16 bits per channel")
    (depth,), (format,) = depths, formats
    taken = {"unsigned": kind.unsigned, "float": kind.floating}.get(format, ())
    if depth not in taken:
        raise PictureFault(
            f"is a TIFF with {depth}-bit {_model_word(photometric)}{_FORMAT_WORDS[format]}; "
            "save it with 8 or 16 bits per channel"
        )
    samples = directory.one(_SAMPLES, 1)
    extra = samples - kind.samples
    if extra < 0:
        raise unreadable()
    if samples > _MOST_SAMPLES or (extra and photometric == _PALETTE):
        raise PictureFault(
            f"is a TIFF with {samples} {_model_word(photometric)}channels; save it as RGB or grey"
        )
    planar = directory.one(_PLANAR, 1) == 2 and samples > 1
    if planar and format == "float" and depth == 16:
        raise PictureFault(
            "is a TIFF with 16-bit floating-point samples in separate planes; "
            "save it with 8 or 16 bits per channel"
        )
    if planar and _TILE_OFFSETS in directory:
        raise PictureFault(
            "is a tiled TIFF with separate planes for its channels; save it with interleaved channels"
        )
    extras = [int(value) for value in directory.all(_EXTRA_SAMPLES)[:extra]]
    alpha = next((i for i, value in enumerate(extras) if value in (1, 2)), None)
    as_rgb = photometric in _LAB or (planar and photometric in _GREY)
    patches = []
    if as_rgb:
        patches.append(directory.patch(_PHOTOMETRIC, _RGB))
    if alpha is not None and extras[alpha] == 1:
        # libvips would divide by alpha itself, but not always correctly.
        patches.append(directory.patch(_EXTRA_SAMPLES, 2, alpha))
    if samples == 1 and directory.one(_PLANAR, 1) == 2:
        # With one channel both layouts are the same, but libvips does not know that.
        patches.append(directory.patch(_PLANAR, 1))
    return kind, TiffPicture(
        page=page,
        photometric=photometric,
        sample="float" if format == "float" else "unsigned",
        sample_bits=depth,
        samples=samples,
        alpha_at=None if alpha is None else kind.samples + alpha,
        as_rgb=as_rgb,
        multiplied=alpha is not None and extras[alpha] == 1,
        patches=tuple(patches),
    )


_FORMAT_WORDS = {
    "unsigned": "samples",
    "signed": "signed samples",
    "float": "floating-point samples",
    "complex": "complex samples",
    "unknown": "samples of an unknown format",
}


def _model_word(photometric: int) -> str:
    return {3: "palette ", 5: "CMYK ", 6: "YCbCr ", 8: "L*a*b* ", 9: "L*a*b* "}.get(photometric, "")


def _check_pieces(directory: _Directory, width: int, height: int, samples: int) -> None:
    """Checks that all strips or tiles are within the file.

    Raises:
        PictureFault: a strip or tile is missing or beyond the end of the file, or there are too many.
    """
    tiled = _TILE_OFFSETS in directory
    if tiled:
        across, down = directory.one(_TILE_WIDTH), directory.one(_TILE_HEIGHT)
        if across < 1 or down < 1:
            raise unreadable()
        needed = -(-width // across) * -(-height // down)
    else:
        rows = min(directory.one(_STRIP_ROWS, height), height)
        if rows < 1:
            raise unreadable()
        needed = -(-height // rows)
    if directory.one(_PLANAR, 1) == 2:
        needed *= samples
    offsets = directory.all(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    if max(needed, len(offsets)) > _MOST_STRIPS:
        raise PictureFault(f"is a TIFF with more than {_MOST_STRIPS:,} strips; save it again and resend")
    counts_tag = _TILE_COUNTS if tiled else _STRIP_COUNTS
    counts = directory.all(counts_tag) if counts_tag in directory else np.ones(len(offsets), np.uint8)
    if len(offsets) < needed or len(counts) < needed:
        raise truncated()
    length = len(directory._reader.data)
    starts, sizes = offsets[:needed].astype(np.uint64), counts[:needed].astype(np.uint64)
    if (starts > length).any() or (sizes > length - starts).any():
        raise truncated()
