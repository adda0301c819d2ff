"""Further attacks of `hostile`, with pictures."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import time
import zlib
from typing import TYPE_CHECKING

import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, stylize_request

if TYPE_CHECKING:
    from hostile import Scene

STILL = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1, learning_rate=1e-9)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced PNG: first column and row, and steps to the next ones."""


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.lru_cache
def black_png(width: int, height: int, *, deep: bool, interlaced: bool) -> bytes:
    """A PNG of black pixels; the file has a thousandth of their size."""
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, 2, 0, 0, interlaced)
    packer = zlib.compressobj(9)
    packed = b""
    for left, top, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        row = bytes(1 + columns * (6 if deep else 3))
        for _ in range(rows):
            packed += packer.compress(row)
    packed += packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_chunks(*chunks: bytes) -> bytes:
    """A small PNG with chunks before its pixels."""
    data = coded(photo())
    return data[:33] + b"".join(chunks) + data[33:]


def tiff_of_strips(count: int) -> bytes:
    """A TIFF of one row with a given number of strips."""
    offsets = 8 + 1
    tags = [
        (256, 4, 1, 1),
        (257, 4, 1, count),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, count, offsets),
        (277, 3, 1, 1),
        (278, 4, 1, 1),
        (279, 4, count, offsets + 4 * count),
    ]
    directory = offsets + 8 * count
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    strips = struct.pack("<I", 8) * count + struct.pack("<I", 1) * count
    return (
        b"II*\0"
        + struct.pack("<I", directory)
        + b"\x80"
        + strips
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def tiny_jpeg(side: int) -> bytes:
    """A progressive JPEG that declares side × side pixels but has almost no data."""
    small = io.BytesIO()
    PIL.Image.new("L", (64, 64), 90).save(small, "JPEG", progressive=True)
    data = bytearray(small.getvalue())
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def create(scene: Scene, request: pb.StylizeRequest) -> None:
    message = pb.CreateJobRequest(spec=request.spec)
    scene.stub().CreateJob(message, timeout=120, metadata=scene.attacker)


def upload(scene: Scene, data: bytes) -> str:
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    pieces = (
        pb.UploadImageRequest(sha256=sha256, size_bytes=size, offset=at, data=data[at : at + (1 << 20)])
        for at in range(0, size, 1 << 20)
    )
    scene.stub().UploadImage(pieces, timeout=120, metadata=scene.attacker)
    return sha256


def at_once(scene: Scene, requests: list[pb.StylizeRequest]) -> None:
    from hostile import at_once

    at_once(*(functools.partial(create, scene, request) for request in requests))


def backtracking_jpeg(scene: Scene) -> None:
    """JPEGs of 40 KB and of 20 MB that consist of markers."""
    for length in (40_000, 20_000_000):
        at_once(scene, 2 * [stylize_request(b"\xff\xd8" + length * b"\xff" + b"\0")])


def one_digest_many_times(scene: Scene) -> None:
    """A picture of 16 MiB named 33 times in a request."""
    noise = PIL.Image.effect_noise((2400, 2400), 90).convert("RGB")
    sha256 = upload(scene, coded(noise, compress_level=0))
    request = stylize_request(coded(photo(64, 48)), recipe=pb.Recipe(evaluations=2))
    request.spec.styles[0].image.sha256 = sha256
    for _ in range(16):
        region = request.spec.regions.add(style=0)
        region.content_mask.sha256 = region.style_mask.sha256 = sha256
    create(scene, request)
    time.sleep(8)


def empty_chunks(scene: Scene) -> None:
    """4 PNGs of a million empty chunks."""
    at_once(scene, 4 * [stylize_request(with_chunks(1_000_000 * png_chunk(b"abCd", b"")))])


def many_strips(scene: Scene) -> None:
    """A TIFF of four million strips."""
    at_once(scene, [stylize_request(tiff_of_strips(4_000_000))])


def large_profiles(scene: Scene) -> None:
    """4 PNGs of 50 KB, each with a profile of 50 MB."""
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))
    at_once(scene, 4 * [stylize_request(with_chunks(profile))])


def interlaced(scene: Scene) -> None:
    """6 interlaced 16-bit PNGs of 100 megapixels, while another tenant paints a small picture."""
    data = black_png(10_000, 10_000, deep=True, interlaced=True)
    at_once(scene, 6 * [stylize_request(data, recipe=STILL)])
    begin = time.monotonic()
    job = scene.server.stub.CreateJob(
        pb.CreateJobRequest(spec=stylize_request(recipe=STILL).spec), timeout=120, metadata=scene.victim
    )
    watch = scene.server.stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=300, metadata=scene.victim)
    states = [event.job.state for event in watch if event.HasField("job")]
    assert states[-1] == pb.JOB_STATE_SUCCEEDED, states
    print(f"  the other tenant's small job takes {time.monotonic() - begin:.1f} s")
    time.sleep(15)


def large_styles(scene: Scene) -> None:
    """4 styles of 100 megapixels in a request of 110 KB."""
    data = black_png(10_000, 10_000, deep=False, interlaced=False)
    request = stylize_request(recipe=pb.Recipe(evaluations=2))
    request.spec.styles[0].image.encoded = data
    for _ in range(3):
        request.spec.styles.add().CopyFrom(request.spec.styles[0])
    create(scene, request)
    time.sleep(15)


def small_jpeg(scene: Scene) -> None:
    """A JPEG of some hundred bytes that declares 100 megapixels."""
    at_once(scene, [stylize_request(tiny_jpeg(10_000), recipe=STILL)])
    time.sleep(10)


def raw_downloads(scene: Scene) -> None:
    """40 downloads of a result as raw pixels, 10 of them read."""
    content = coded(PIL.Image.effect_noise((1400, 1050), 90).convert("RGB"), "JPEG")
    request = stylize_request(
        content, recipe=pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1, longest_side=1400)
    )
    stub = scene.stub()
    job = stub.CreateJob(pb.CreateJobRequest(spec=request.spec), timeout=60, metadata=scene.attacker)
    list(stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=300, metadata=scene.attacker))
    from hostile import LARGEST_WINDOW, at_once

    from support.raw_http2 import framed

    request_bytes = pb.DownloadImageRequest(result_of=job.name, format=pb.IMAGE_FORMAT_RGBA8)
    for _ in range(3):
        caller = scene.raw(LARGEST_WINDOW)
        for _ in range(10):
            stream = caller.open(b"/impasto.v1.StyleTransfer/DownloadImage", scene.header)
            caller.send(stream, framed(request_bytes.SerializeToString()), end=True)
    at_once(
        *(
            lambda: list(scene.stub().DownloadImage(request_bytes, timeout=120, metadata=scene.attacker))
            for _ in range(10)
        )
    )


def large_pictures(scene: Scene) -> None:
    """3 requests of 3 MB, each with 16 styles of 67 megapixels that are used at full size."""
    request = stylize_request(recipe=pb.Recipe(evaluations=2, longest_side=8192))
    del request.spec.styles[:]
    for number in range(16):
        style = PIL.Image.new("RGB", (8192, 8192), (number, 0, 0))
        request.spec.styles.add().image.encoded = coded(style, compress_level=9)
    at_once(scene, 3 * [request])
    time.sleep(20)


def masks(scene: Scene) -> None:
    """16 different masks of 25 megapixels each, in a request of 400 KB."""
    request = stylize_request(coded(photo(64, 48)), recipe=pb.Recipe(evaluations=2))
    for number in range(16):
        levels = mask(5000 + number, 5000)
        request.spec.regions.add(style=0).content_mask.encoded = coded(levels)
    create(scene, request)
    time.sleep(20)


ATTACKS = (
    backtracking_jpeg,
    one_digest_many_times,
    empty_chunks,
    many_strips,
    large_profiles,
    interlaced,
    large_styles,
    small_jpeg,
    raw_downloads,
    large_pictures,
    masks,
)
