"""The structure of a JPEG file (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct

import numpy as np

from impasto_server.intake.exif import orientation
from impasto_server.intake.faults import PictureFault, check_pixels, truncated, unreadable
from impasto_server.intake.header import Data, Header, Span

SIGNATURE = b"\xff\xd8\xff"

_MOST_SEGMENTS = 2**14
_FIRST_WINDOW, _WINDOW = 64, 2**16
_EOI, _SOS = 0xD9, 0xDA
_APP1, _APP2 = 0xE1, 0xE2
_READ_FRAMES = (0xC0, 0xC1, 0xC2)
_ARITHMETIC_FRAMES = (0xC9, 0xCA)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
_MATTERS = np.ones(256, np.bool_)
_MATTERS[[0, 0xFF, 0x01, *range(0xD0, 0xD9)]] = False
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"


def read_header(data: Data, most_pixels: int) -> Header:
    """Reads the header of a JPEG.

    Raises:
        PictureFault: the file is truncated, not a JPEG that can be read, or too large.
    """
    position, segments, scans = 0, 0, 0
    frame: tuple[int, int, int] | None = None
    exif: Span | None = None
    profile: dict[int, Span] = {}
    while True:
        position = _next_marker(data, position)
        marker = data[position - 1]
        if marker == _EOI:
            break
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise PictureFault(
                f"is a JPEG with more than {_MOST_SEGMENTS:,} segments; save it again and resend"
            )
        if position + 2 > len(data):
            raise truncated()
        segment = Span(position + 2, position + struct.unpack_from(">H", data, position)[0])
        position = segment.end
        if segment.end < segment.start or segment.end > len(data):
            raise truncated()
        if marker == _SOS:
            scans += 1
        elif marker in _READ_FRAMES + _ARITHMETIC_FRAMES + _OTHER_FRAMES:
            frame = frame or _frame(data, marker, segment, most_pixels)
        elif marker == _APP1 and exif is None and _starts(data, segment, _EXIF):
            exif = segment
        elif marker == _APP2 and _starts(data, segment, _ICC) and segment.end - segment.start > 14:
            profile.setdefault(data[segment.start + 12], Span(segment.start + 14, segment.end))
    if not scans or frame is None:
        raise truncated()
    width, height, components = frame
    return Header(
        format="jpeg",
        width=width,
        height=height,
        orientation=orientation(bytes(data[exif.start : exif.end])) if exif else 1,
        bits=8,
        model="grey" if components == 1 else "rgb" if components == 3 else "cmyk",
        has_alpha=False,
        profile=tuple(part for _, part in sorted(profile.items())),
    )


def _frame(data: Data, marker: int, segment: Span, most_pixels: int) -> tuple[int, int, int]:
    """Width, height and number of components."""
    if segment.end - segment.start < 6:
        raise truncated()
    bits, height, width, components = struct.unpack_from(">BHHB", data, segment.start)
    check_pixels(width, height, most_pixels)
    if marker in _ARITHMETIC_FRAMES:
        raise PictureFault("is a JPEG with arithmetic coding; save it as a baseline or progressive JPEG")
    if marker not in _READ_FRAMES:
        raise PictureFault("is a lossless or hierarchical JPEG; save it as a PNG or a baseline JPEG")
    if bits != 8:
        raise PictureFault(f"is a JPEG with {bits} bits per sample; save it as a PNG or TIFF, or with 8 bits")
    if components not in (1, 3, 4):
        raise unreadable()
    return width, height, components


def _starts(data: Data, segment: Span, signature: bytes) -> bool:
    return data[segment.start : min(segment.end, segment.start + len(signature))] == signature


def _next_marker(data: Data, position: int) -> int:
    """The offset just after the next marker (0xFF and one more byte) that begins a segment or is EOI.

    Skips stuffing (0), fill bytes (0xFF) and markers without a segment. Looks at each byte only once,
    whatever the bytes are.

    Raises:
        PictureFault: there is no such marker.
    """
    length = _FIRST_WINDOW
    while position + 1 < len(data):
        end = min(len(data), position + length)
        window = np.frombuffer(data, np.uint8, end - position, position)
        marks = (window[:-1] == 0xFF) & _MATTERS[window[1:]]
        at = int(marks.argmax())
        if marks[at]:
            return position + at + 2
        position, length = end - 1, min(4 * length, _WINDOW)
    raise truncated()
