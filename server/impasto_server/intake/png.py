"""The structure of a PNG (ISO/IEC 15948; PNG Specification, Third Edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from impasto_server.intake.exif import orientation
from impasto_server.intake.faults import PictureFault, check_pixels, truncated
from impasto_server.intake.header import Data, Header, PngColour, Span

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MOST_CHUNKS = 2**17
MOST_PROFILE_BYTES = 16 * 2**20
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_GREY, _RGB, _PALETTE = 0, 2, 3
_ALPHA = (4, 6)
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

_SRGB_GAMMA = 45455
_BT2020 = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_DISPLAY_P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_CICP_PRIMARIES = {1: _SRGB, 9: _BT2020, 11: (0.314, 0.351, *_DISPLAY_P3[2:]), 12: _DISPLAY_P3}
_CICP_TRANSFERS: dict[int, str | float] = {
    **dict.fromkeys((1, 6, 14, 15), "bt709"),
    4: 2.2,
    5: 2.8,
    8: 1.0,
    13: "srgb",
}


def read_header(data: Data, most_pixels: int) -> Header:
    """Reads the header of a PNG.

    Raises:
        PictureFault: the file is truncated, not a PNG that can be read, or too large.
    """
    whole = memoryview(data)
    kinds: set[bytes] = set()
    found: dict[bytes, Span] = {}
    spare = 0
    last = b""
    for count, (kind, span) in enumerate(chunks(data), 1):
        if count > _MOST_CHUNKS:
            raise PictureFault(f"is a PNG with more than {_MOST_CHUNKS:,} chunks; save it again and resend")
        if count == 1:
            if kind != b"IHDR" or span.end - span.start != 13:
                raise truncated()
            width, height = struct.unpack_from(">II", data, span.start)
            check_pixels(width, height, most_pixels)
        critical = not kind[0] & 0x20
        wanted = kind in _LENGTHS and kind not in found and (kind == b"eXIf" or b"IDAT" not in kinds)
        if critical or wanted:
            right = zlib.crc32(whole[span.start - 4 : span.end]) == _number(data, span.end)
            if critical and not right:
                raise truncated()
            # Viewers ignore damaged ancillary chunks, so these are no reason to refuse a picture.
            if wanted and right and _LENGTHS[kind](span.end - span.start):
                found[kind] = span
        if kind not in _NEEDED:
            spare += span.end - span.start
        kinds.add(kind)
        last = kind
    if b"IDAT" not in kinds or last != b"IEND":
        raise truncated()
    return _header(data, found, spare)


def chunks(data: Data) -> Iterator[tuple[bytes, Span]]:
    """The type of each chunk and where its data is, up to IEND.

    Raises:
        PictureFault: the file ends before IEND.
    """
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise truncated()
        yield kind, Span(position + 8, end)
        if kind == b"IEND":
            return
        position = end + 4
    raise truncated()


def inflated_profile(data: Data, span: Span) -> bytes | None:
    """The ICC profile in an iCCP chunk; None if it cannot be inflated or is too large to be a profile."""
    if span.end - span.start > MOST_PROFILE_BYTES:
        return None
    _, _, rest = bytes(data[span.start : span.end]).partition(b"\0")
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(rest[1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return inflated if stream.eof else None


def without_spare_chunks(data: Data) -> bytes:
    """The same picture without text, profile and the like, which decoders would inflate and throw away."""
    whole = memoryview(data)
    needed = (whole[span.start - 8 : span.end + 4] for kind, span in chunks(data) if kind in _NEEDED)
    return b"".join((SIGNATURE, *needed))


def _header(data: Data, found: dict[bytes, Span], spare: int) -> Header:
    start = found[b"IHDR"].start
    width, height, depth, color_type, compression, filtering, interlace = struct.unpack_from(
        ">IIBBBBB", data, start
    )
    if depth not in _DEPTHS.get(color_type, ()) or compression or filtering or interlace > 1:
        raise truncated()
    palette, transparent = found.get(b"PLTE"), found.get(b"tRNS")
    if color_type == _PALETTE and palette is None:
        raise truncated()
    length = transparent.end - transparent.start if transparent else 0
    declared = {_GREY: length == 2, _RGB: length == 6, _PALETTE: _is_of(transparent, palette)}
    exif = found.get(b"eXIf")
    profile, colour = _coding(data, found)
    return Header(
        format="png",
        width=width,
        height=height,
        orientation=orientation(bytes(data[exif.start : exif.end])) if exif else 1,
        bits=16 if depth == 16 else 8,
        model="grey" if color_type in (_GREY, 4) else "rgb",
        has_alpha=color_type in _ALPHA or declared.get(color_type, False),
        profile=profile,
        colour=colour,
        spare=spare,
        interlaced=bool(interlace),
    )


def _is_of(transparent: Span | None, palette: Span | None) -> bool:
    """Whether a tRNS chunk belongs to a palette.

    libpng ignores one that comes before the palette or has more entries than the palette has colours.
    """
    if transparent is None or palette is None or transparent.start < palette.start:
        return False
    return 3 * (transparent.end - transparent.start) <= palette.end - palette.start


def _coding(data: Data, found: dict[bytes, Span]) -> tuple[tuple[Span, ...], PngColour | None]:
    """The profile, and the coding if there is no usable profile. cICP overrides iCCP, iCCP the other chunks.

    A cICP chunk with a coding that cannot be converted (PQ, HLG) is ignored.
    """
    cicp = found.get(b"cICP")
    if cicp:
        primaries, transfer, matrix, full_range = data[cicp.start : cicp.end]
        if primaries in _CICP_PRIMARIES and transfer in _CICP_TRANSFERS and not matrix and full_range:
            colour = PngColour(_CICP_TRANSFERS[transfer], _unless_srgb(_CICP_PRIMARIES[primaries]))
            return (), None if colour == PngColour("srgb", None) else colour
    iccp = found.get(b"iCCP")
    return (iccp,) if iccp else (), None if b"sRGB" in found else _gamma(data, found)


def _gamma(data: Data, found: dict[bytes, Span]) -> PngColour | None:
    """The coding that gAMA and cHRM declare; cHRM without gAMA is ignored."""
    if b"gAMA" not in found:
        return None
    gamma = _number(data, found[b"gAMA"].start)
    if not 16 <= gamma <= 625_000_000:  # The range that libpng accepts.
        return None
    corners = None
    if b"cHRM" in found:
        values = struct.unpack_from(">8I", data, found[b"cHRM"].start)
        corners = _unless_srgb(tuple(value / 100_000 for value in values))
    if corners is None and abs(gamma / _SRGB_GAMMA - 1) < 0.05:
        return None
    return PngColour(100_000 / gamma, corners)


def _unless_srgb(primaries: tuple[float, ...]) -> tuple[float, ...] | None:
    near = all(abs(one - other) < 0.002 for one, other in zip(primaries, _SRGB, strict=True))
    return None if near else primaries


def _number(data: Data, at: int) -> int:
    value: int = struct.unpack_from(">I", data, at)[0]
    return value


# The chunks that are read, and the lengths that they may have.
_LENGTHS = {
    b"IHDR": lambda length: length == 13,
    b"PLTE": lambda length: 3 <= length <= 768 and length % 3 == 0,
    b"tRNS": lambda length: 1 <= length <= 256,
    b"iCCP": lambda length: length > 2,
    b"sRGB": lambda length: length == 1,
    b"gAMA": lambda length: length == 4,
    b"cHRM": lambda length: length == 32,
    b"cICP": lambda length: length == 4,
    b"eXIf": lambda length: 8 <= length <= 2**20,
}
