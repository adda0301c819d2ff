"""Pictures of links that the gateway stops sending half-way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import grpc
import grpc.aio

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.web.images import Images
from impasto_server.web.requests import Request
from support import web_calls  # noqa: F401 - skips where a server has no page


class Stopping:
    """A gateway that ends every download with an error, after some pieces."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces

    async def streamed(self, *arguments: object) -> AsyncGenerator[bytes, None]:
        info = pb.ImageInfo(format=pb.IMAGE_FORMAT_PNG, size_bytes=1000, sha256="a" * 64)
        for number in range(self._pieces):
            yield pb.ImageChunk(info=None if number else info, data=b"0123456789").SerializeToString()
        empty = grpc.aio.Metadata()
        message = "16 pictures are being loaded; try again soon"
        raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, message)


def sent(pieces: int) -> list[Any]:
    """What the front end sends for a picture whose download ends so."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"method": "GET", "headers": [], "query_string": b""}
    images = Images(cast(Any, Stopping(pieces)))
    asyncio.run(images.answer(Request(scope, "images/ticket"), send))
    return messages


def test_a_refused_download_says_when_to_try_again() -> None:
    head, body = sent(0)
    assert head["status"] == 429
    assert (b"retry-after", b"5") in head["headers"]
    assert body["body"] == b"16 pictures are being loaded; try again soon\n"


def test_a_download_that_is_ended_half_way_is_not_completed() -> None:
    head, *bodies = sent(3)
    assert head["status"] == 200
    assert (b"content-length", b"1000") in head["headers"]
    assert [(each["body"], each["more_body"]) for each in bodies] == [(b"0123456789", True)] * 3
