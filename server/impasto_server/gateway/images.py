"""What can be told of an image without decoding its pixels.

The gateway faces strangers, so it reads headers only: the kind (of a short list), the size, the
orientation, and whether the file is whole. Pixels are decoded in the worker.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence

import PIL.Image
from PIL import ExifTags, TiffImagePlugin

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import ACCEPTED
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS

_SWAPS_SIDES = (5, 6, 7, 8)


class ImageFault(Exception):
    """An image that cannot be accepted. The message is a sentence that says what to do.

    Attributes:
        field: the path of the field at fault within `Image`; "" is the image itself.
    """

    def __init__(self, remedy: str, field: str = "") -> None:
        super().__init__(remedy)
        self.field = field


def limit_pillow() -> None:
    """Makes Pillow refuse, in this process, to open images beyond our own limit."""
    PIL.Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
    warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)


def upright_size(image: pb.Image) -> tuple[int, int]:
    """Width and height in pixels of an image once it is turned upright.

    Raises:
        ImageFault: it is missing, not an image of an accepted format, too large, or not whole.
    """
    source = image.WhichOneof("source")
    if source == "encoded":
        return _encoded_size(image.encoded)
    if source == "raw":
        return _raw_size(image.raw)
    raise ImageFault("is missing; give `encoded` bytes of a file or `raw` pixels")


def _raw_size(raw: pb.RawPixels) -> tuple[int, int]:
    for side in ("width", "height"):
        if getattr(raw, side) < 1:
            raise ImageFault("is 0; give at least 1 pixel", f"raw.{side}")
    _check_pixels(raw.width, raw.height)
    needed = 4 * raw.width * raw.height
    if len(raw.rgba) != needed:
        raise ImageFault(
            f"has {len(raw.rgba)} bytes; {raw.width} × {raw.height} pixels of R, G, B, A need {needed}",
            "raw.rgba",
        )
    return raw.width, raw.height


def _encoded_size(data: bytes) -> tuple[int, int]:
    if not data:
        raise ImageFault("is empty; give the bytes of a PNG, JPEG, WebP or TIFF file")
    walk = next((walk for magic, walk in _WALKS if magic.match(data)), None)
    if walk is None:
        raise ImageFault("is not a PNG, JPEG, WebP or TIFF file; convert it to one of them")
    try:
        walk(data)
        with PIL.Image.open(io.BytesIO(data), formats=list(ACCEPTED.values())) as header:
            if isinstance(header, TiffImagePlugin.TiffImageFile):
                return _tiff_size(header, len(data))
            _check_pixels(*header.size)
            width, height = header.size
            orientation = _orientation(header, data)
    except ImageFault:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    except Exception as error:
        # Pillow's format plugins raise nearly every kind of exception for headers that lie.
        raise ImageFault("cannot be read as an image; save it again and resend") from error
    return (height, width) if orientation in _SWAPS_SIDES else (width, height)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise _too_many_pixels(width, height)


def _too_many_pixels(*size: int) -> ImageFault:
    is_size = f"is {size[0]} × {size[1]} pixels" if size else "is too large"
    return ImageFault(f"{is_size}; scale it to at most {MAX_IMAGE_PIXELS:,} pixels (width × height)")


def _truncated() -> ImageFault:
    return ImageFault("is truncated or damaged; send the whole file")


def _orientation(header: PIL.Image.Image, data: bytes) -> int:
    if header.format == "PNG" and "exif" not in header.info:
        # PNG allows EXIF after the pixels, where Pillow finds it by decoding them.
        for kind, start, end in _png_chunks(data):
            if kind == b"eXIf":
                header.info["exif"] = b"Exif\0\0" + data[start:end]
    try:
        # Not header.getexif(): for PNG that decodes the pixels.
        return int(PIL.Image.Image.getexif(header).get(ExifTags.Base.Orientation, 1))
    except Exception:
        # A broken EXIF block is no reason to refuse a good picture; the worker ignores it as well.
        return 1


# Each walk goes over the structure of a file and raises ImageFault, IndexError or struct.error where it
# ends too early.


def _walk_png(data: bytes) -> None:
    kinds: list[bytes] = []
    for kind, start, end in _png_chunks(data):
        if kind == b"IHDR" and not kinds:
            _check_pixels(*struct.unpack_from(">II", data, start))
        if zlib.crc32(data[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise _truncated()
        kinds.append(kind)
    if b"IDAT" not in kinds or kinds[-1] != b"IEND":
        raise _truncated()


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk's data; stops after IEND."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise _truncated()
        yield kind, position + 8, end
        if kind == b"IEND":
            return
        position = end + 4
    raise _truncated()


_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_JPEG_MARKER_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01


def _walk_jpeg(data: bytes) -> None:
    position, scans = 0, 0
    while True:
        marker_kind = _JPEG_MARKER_AFTER_SCAN if scans else _JPEG_MARKER
        found = marker_kind.search(data, position)
        if found is None:
            raise _truncated()
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            break
        if marker in (_SOI, _TEM) or 0xD0 <= marker <= 0xD7:
            continue
        position += struct.unpack_from(">H", data, position)[0]
        if position > len(data):
            raise _truncated()
        scans += marker == _SOS
    if not scans:
        raise _truncated()


def _walk_webp(data: bytes) -> None:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise _truncated()
    position, pictures = 12, 0
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if start + length > end:
            raise _truncated()
        if kind == b"VP8X":
            # Checked here because Pillow reserves memory for the canvas when it opens the file.
            _check_pixels(
                1 + int.from_bytes(data[start + 4 : start + 7], "little"),
                1 + int.from_bytes(data[start + 7 : start + 10], "little"),
            )
        elif kind == b"VP8 ":
            _check_pixels(*(side & 0x3FFF for side in struct.unpack_from("<HH", data, start + 6)))
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", data, start + 1)[0]
            _check_pixels(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        pictures += kind in (b"VP8 ", b"VP8L", b"ANMF")
        position = start + length + length % 2
    if not pictures:
        raise _truncated()


def _walk_tiff(data: bytes) -> None:
    """Nothing: the strips are found by the tags that Pillow reads; see `_tiff_size`."""


_WALKS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _walk_png),
    (re.compile(rb"\xff\xd8\xff"), _walk_jpeg),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _walk_webp),
    (re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"), _walk_tiff),
)

_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_STRIPS, _TILES = (273, 279), (324, 325)


def _tiff_size(header: TiffImagePlugin.TiffImageFile, length: int) -> tuple[int, int]:
    tags = header.tag_v2
    # Not header.size: some releases of Pillow turn it, some do not.
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    _check_pixels(width, height)
    offset_tag, count_tag = _TILES if _TILES[0] in tags else _STRIPS
    offsets: Sequence[int] = tags[offset_tag]
    counts: Sequence[int] = tags.get(count_tag, (1,) * len(offsets))
    if len(counts) < len(offsets) or any(o + c > length for o, c in zip(offsets, counts, strict=False)):
        raise _truncated()
    return (height, width) if tags.get(_ORIENTATION) in _SWAPS_SIDES else (width, height)
