"""Serves the pictures of links: `images/TICKET`."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import struct
import time
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.web.requests import Request, Send, answer, refuse
from impasto_server.web.upstream import Upstream

_DOWNLOAD = "/impasto.v1.StyleTransfer/DownloadImage"
_TICKET = "impasto-ticket"
_TICKET_FORM = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_TYPES = {
    pb.IMAGE_FORMAT_PNG: "image/png",
    pb.IMAGE_FORMAT_PNG_16: "image/png",
    pb.IMAGE_FORMAT_JPEG: "image/jpeg",
    pb.IMAGE_FORMAT_WEBP: "image/webp",
    pb.IMAGE_FORMAT_TIFF: "image/tiff",
}
_STATUS = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 503,
    grpc.StatusCode.UNAUTHENTICATED: 403,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
}
_MOST_NAME = 200
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
# A ticket begins with 32 bytes of signature; see gateway/links.py. The gateway checks it.
_SIGNATURE = 32
_HEAD = struct.Struct(">qH")


@dataclasses.dataclass
class _Picture:
    """A picture from some byte on.

    Attributes:
        info: describes the whole.
        data: the bytes; it must be closed.
    """

    info: pb.ImageInfo
    data: AsyncGenerator[bytes, None]


class Images:
    """Answers GET and HEAD, with parts and caching."""

    def __init__(self, upstream: Upstream) -> None:
        """
        Args:
            upstream: the gateway.
        """
        self._upstream = upstream

    async def answer(self, request: Request, send: Send) -> None:
        """Answers a request for a picture."""
        ticket = request.path.partition("/")[2]
        if request.method not in ("GET", "HEAD"):
            await answer(send, 405, headers=[(b"allow", b"GET, HEAD")])
        elif not _TICKET_FORM.fullmatch(ticket):
            await refuse(send, 403, "the link is not valid; reload the page that shows it")
        else:
            begun = False

            async def send_on(message: MutableMapping[str, Any]) -> None:
                nonlocal begun
                begun = True
                await send(message)

            try:
                await self._send(request, ticket, send_on)
            except grpc.aio.AioRpcError as error:
                if begun:
                    # The connection ends before the announced length, which tells the caller.
                    return
                status = 410 if _reason(error) == "LINK_EXPIRED" else _STATUS.get(error.code(), 500)
                message = (
                    error.details() or "" if status not in (500, 503) else "the server cannot answer now"
                )
                retry = [(b"retry-after", b"5")] if status in (429, 503) else []
                await refuse(send, status, message, retry)

    async def _send(self, request: Request, ticket: str, send: Send) -> None:
        picture = await self._open(ticket, 0)
        try:
            info = picture.info
            etag = f'"{info.sha256}"'
            headers = [
                (b"etag", etag.encode()),
                (b"accept-ranges", b"bytes"),
                (b"cache-control", _caching(ticket)),
            ]
            if etag in request.header(b"if-none-match"):
                await _head(send, 304, headers)
                await send({"type": "http.response.body"})
                return
            size = info.size_bytes
            part = _part(request, etag, size)
            if part is None:
                message = f"the picture has {size} bytes"
                await refuse(send, 416, message, [(b"content-range", b"bytes */%d" % size)])
                return
            first, last = part
            headers.append((b"content-type", _TYPES.get(info.format, "application/octet-stream").encode()))
            headers.append((b"content-length", b"%d" % (last + 1 - first)))
            headers += _disposition(request)
            status = 200
            if (first, last) != (0, size - 1):
                status = 206
                headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
            if first and request.method == "GET":
                await picture.data.aclose()
                picture = await self._open(ticket, first)
                if picture.info.sha256 != info.sha256:
                    await refuse(send, 409, "the picture has changed meanwhile; load it again")
                    return
            await _head(send, status, headers)
            left = last + 1 - first
            if request.method == "GET":
                async for data in picture.data:
                    await send({"type": "http.response.body", "body": data[:left], "more_body": True})
                    left -= len(data)
                    if left <= 0:
                        break
            await send({"type": "http.response.body"})
        finally:
            await picture.data.aclose()

    async def _open(self, ticket: str, offset: int) -> _Picture:
        """Asks the gateway for a picture from a byte on."""
        message = pb.DownloadImageRequest(offset=offset).SerializeToString()
        chunks = self._upstream.streamed(_DOWNLOAD, message, [(_TICKET, ticket)], None)
        try:
            first = pb.ImageChunk.FromString(await anext(chunks))
        except BaseException:
            await chunks.aclose()
            raise

        async def data() -> AsyncGenerator[bytes, None]:
            try:
                if first.data:
                    yield first.data
                async for chunk in chunks:
                    yield pb.ImageChunk.FromString(chunk).data
            finally:
                await chunks.aclose()

        opened = data()
        return _Picture(first.info, opened)


def _part(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Returns the first and the last byte that a request asks for; None if there are none there."""
    whole = 0, size - 1
    condition = request.header(b"if-range")
    found = _RANGE.fullmatch(request.header(b"range"))
    # Several parts at a time, and other units, are answered with the whole.
    if found is None or (not found[1] and not found[2]) or (condition and condition != etag):
        return whole
    if not found[1]:
        length = int(found[2])
        return (max(0, size - length), size - 1) if length else None
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return whole
    return (first, last) if first < size else None


def _caching(ticket: str) -> bytes:
    """Lets the browser keep the picture for as long as its link is valid, unless it is a preview."""
    try:
        payload = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))[_SIGNATURE:]
        expiry, length = _HEAD.unpack_from(payload)
        source = pb.DownloadImageRequest.FromString(payload[_HEAD.size + length :])
    except (binascii.Error, struct.error, DecodeError):
        return b"no-store"
    left = int(expiry / 1e9 - time.time())
    if source.WhichOneof("source") == "preview_of" or left <= 0:
        return b"private, no-cache"
    return b"private, max-age=%d, immutable" % left


def _disposition(request: Request) -> list[tuple[bytes, bytes]]:
    query = parse_qs(request.scope["query_string"].decode("latin-1"), errors="replace")
    names = query.get("download")
    if not names:
        return []
    # No folders, and nothing that a shell or a file manager takes for more than a name.
    name = re.sub(r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069/\\:*?"<>|%]', "_", names[0])
    name = name.strip(". ")[:_MOST_NAME] or "picture"
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    coded = quote(name, safe="")
    return [(b"content-disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{coded}".encode())]


async def _head(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the details of an error; empty if there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
