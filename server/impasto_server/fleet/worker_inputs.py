"""What a worker is sent for a job: the job, its images and its checkpoint, in chunks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from impasto.worker.v1 import worker_pb2
from impasto_server.store.images import StoredImage

_CHUNK_BYTES = 512 * 1024


class WorkerInputs:
    """The requests of one Run."""

    def __init__(
        self, begin: worker_pb2.Begin, images: Sequence[tuple[str, StoredImage]], checkpoint: Path | None
    ) -> None:
        """
        Args:
            begin: the job.
            images: those that its spec names, with their SHA-256.
            checkpoint: what to go on from; None to begin anew.
        """
        self._begin = begin
        self._images = images
        self._checkpoint = checkpoint
        self._error: OSError | None = None

    def check(self) -> None:
        """
        Raises:
            OSError: something could not be read, which has ended the call.
        """
        if self._error is not None:
            raise self._error

    async def requests(self) -> AsyncGenerator[worker_pb2.RunRequest, None]:
        yield worker_pb2.RunRequest(begin=self._begin)
        try:
            for sha256, image in self._images:
                async for chunk in _chunks(image.path):
                    chunk.sha256, chunk.raw = sha256, image.raw
                    yield worker_pb2.RunRequest(image=chunk)
            if self._checkpoint is not None:
                async for chunk in _chunks(self._checkpoint):
                    yield worker_pb2.RunRequest(checkpoint=chunk)
        except OSError as error:
            self._error = error
            raise


async def _chunks(path: Path) -> AsyncGenerator[worker_pb2.InputChunk, None]:
    with path.open("rb") as file:
        size, offset = os.fstat(file.fileno()).st_size, 0
        while offset < size or offset == 0:
            # Chunks are small and files are in the page cache as a rule.
            data = file.read(_CHUNK_BYTES)
            if size and not data:
                raise OSError(f"{path} has become shorter while it was read")
            yield worker_pb2.InputChunk(size_bytes=size, offset=offset, data=data)
            offset += max(1, len(data))
