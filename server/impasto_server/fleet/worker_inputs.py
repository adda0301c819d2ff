"""Sends a worker the inputs of a job: the job, its decoded pictures and its checkpoint, in chunks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from pathlib import Path
from typing import BinaryIO

from impasto_server.contract.pictures import Samples
from impasto_server.v1 import worker_pb2

_CHUNK_BYTES = 512 * 1024


class WorkerInputs:
    """The requests of one Run call."""

    def __init__(
        self, begin: worker_pb2.Begin, pictures: AsyncIterable[Samples], checkpoint: Path | None
    ) -> None:
        """
        Args:
            begin: the job.
            pictures: the pictures that `begin` describes, in the same order. Each is asked for when the
                worker takes it.
            checkpoint: file to continue from; None to start from the beginning.
        """
        self._begin = begin
        self._pictures = pictures
        self._checkpoint = checkpoint
        self._error: Exception | None = None

    def check(self) -> None:
        """Raises the error that kept an input from being read, and so ended the call; if there was one."""
        if self._error is not None:
            raise self._error

    async def requests(self) -> AsyncGenerator[worker_pb2.RunRequest, None]:
        yield worker_pb2.RunRequest(begin=self._begin)
        try:
            index = 0
            async for picture in self._pictures:
                for _, offset, data in _pieces(picture.file):
                    chunk = worker_pb2.PictureChunk(index=index, offset=offset, data=data)
                    yield worker_pb2.RunRequest(picture=chunk)
                index += 1
            if self._checkpoint is not None:
                with self._checkpoint.open("rb") as file:
                    for size, offset, data in _pieces(file):
                        piece = worker_pb2.InputChunk(size_bytes=size, offset=offset, data=data)
                        yield worker_pb2.RunRequest(checkpoint=piece)
        except Exception as error:
            self._error = error
            raise


def _pieces(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yields a file in pieces, each with the file's size and the piece's offset. An empty file gives one
    empty piece."""
    size, offset = os.fstat(file.fileno()).st_size, 0
    while offset < size or offset == 0:
        # Read in the event loop: chunks are small, and the files are usually in memory.
        data = os.pread(file.fileno(), _CHUNK_BYTES, offset)
        if size and not data:
            raise OSError(f"{file.name} became shorter while it was read")
        yield size, offset, data
        offset += max(1, len(data))
