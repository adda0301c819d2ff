"""A painting in the making, and the picture it becomes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from impasto import wire
from impasto.errors import DataLoss, ImpastoError, JobCancelled, JobFailed, Unavailable, from_call
from impasto.files import write_whole
from impasto.job import FINAL_STATES, Event, Job, JobChanged, Progress, decode
from impasto.provenance import png_text
from impasto.transport import Stream, TransportError
from impasto.v1 import style_transfer_pb2 as pb

if TYPE_CHECKING:
    from PIL.Image import Image


class Painting:
    """A painting in the making: iterate over it to watch, ask for the `result` when it is to be done.

    Iterating gives `JobChanged`, `Progress` and `Preview` events as they come and raises an `ImpastoError`
    if the job fails, is cancelled, or the connection breaks. Used as a context manager it cancels the job
    when it is left before the end; an exception while waiting, Ctrl-C above all, cancels it too.

    Attributes:
        progress: the newest numbers; None before the first evaluation.
        skipped_previews: previews that newer ones replaced on the way, so far.
    """

    def __init__(self, stream: Stream[pb.StylizeResponse]) -> None:
        self._stream = stream
        self._job: Job | None = None
        self._chunks: _Chunks | None = None
        self._picture: Picture | None = None
        self._error: ImpastoError | None = None
        self.progress: Progress | None = None
        self.skipped_previews = 0
        self._accepted: Event | None = self._next_event()
        if not isinstance(self._accepted, JobChanged):
            self.cancel()
            raise DataLoss("the server's stream does not begin with the job")

    @property
    def job(self) -> Job:
        """The job as the server last told."""
        assert self._job is not None
        return self._job

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event, self._accepted = self._accepted, None
        event = event or self._next_event()
        if event is None:
            raise StopIteration
        return event

    def result(self) -> Picture:
        """Waits for the picture. Events not yet taken are passed over.

        Raises:
            JobCancelled: the job was cancelled.
            ImpastoError: the job failed or the connection broke.
        """
        for _ in self:
            pass
        assert self._picture is not None
        return self._picture

    def cancel(self) -> None:
        """Cancels the job, from any thread. Harmless when it has ended."""
        self._stream.cancel()

    def __enter__(self) -> Painting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def _next_event(self) -> Event | None:
        """The next event; None after the last."""
        if self._error is not None:
            raise self._error
        if self._picture is not None:
            return None
        try:
            for response in self._stream:
                event = self._take(response)
                if event is not None:
                    return event
            self._picture = self._finish()
        except TransportError as error:
            self._error = from_call(error.code, error.message, error.details)
            if isinstance(self._error, Unavailable) and not self._error.reason and self._job is not None:
                self._error = Unavailable(f"the connection to the server broke ({error.message})")
            raise self._error from None
        except ImpastoError as error:
            self._error = error
            self.cancel()
            raise
        except BaseException:
            self.cancel()
            raise
        return None

    def _take(self, response: pb.StylizeResponse) -> Event | None:
        """The event in a response; None for a piece of the result and for what this client does not know."""
        if response.WhichOneof("payload") == "result":
            if self._chunks is None:
                self._chunks = _Chunks(response.result)
            self._chunks.add(response.result)
            return None
        self.skipped_previews = max(self.skipped_previews, response.event.skipped_previews)
        kind = response.event.WhichOneof("event")
        if kind == "job":
            self._job = wire.job(response.event.job)
            return JobChanged(self._job)
        if kind == "progress":
            self.progress = wire.progress(response.event.progress)
            return self.progress
        if kind == "preview":
            return wire.preview(response.event.preview)
        return None

    def _finish(self) -> Picture:
        job = self._job
        if job is None or job.state not in FINAL_STATES:
            raise DataLoss("the server's stream ended before the job did")
        if job.state == "failed":
            raise job.error or JobFailed("the job failed and the server did not say why")
        if job.state == "cancelled":
            raise JobCancelled(job.stop_message or "the job was cancelled")
        if self._chunks is None:
            raise DataLoss("the server's stream ended before the picture came")
        return self._chunks.picture(job)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A finished picture.

    Attributes:
        data: the coded picture, a PNG.
        width, height: its size in pixels.
        sha256: of `data`, in hexadecimal.
        job: the job that made it, with the recipe as it was run and why it stopped.
    """

    data: bytes = dataclasses.field(repr=False)
    width: int
    height: int
    sha256: str
    job: Job

    @property
    def image(self) -> Image:
        """The picture decoded; needs Pillow."""
        return decode(self.data)

    @property
    def metadata(self) -> dict[str, Any]:
        """How it was made, as the PNG itself says; empty if it does not."""
        text = png_text(self.data, "impasto")
        return dict(json.loads(text)) if text else {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the PNG: whole, or not at all.

        Raises:
            OSError: it cannot be written; whatever stood there before still does.
        """
        write_whole(path, self.data)


class _Chunks:
    """The pieces of the result, checked as they come."""

    def __init__(self, first: pb.ImageChunk) -> None:
        if not first.HasField("info"):
            raise DataLoss("the server's first piece of the picture does not describe it")
        self._info = first.info
        self._data = bytearray()

    def add(self, chunk: pb.ImageChunk) -> None:
        if chunk.offset != len(self._data):
            raise DataLoss(f"a piece of the picture is for byte {chunk.offset}, not {len(self._data)}")
        self._data += chunk.data
        if len(self._data) > self._info.size_bytes:
            raise DataLoss(f"the picture is longer than the {self._info.size_bytes} bytes announced")

    def picture(self, job: Job) -> Picture:
        data, info = bytes(self._data), self._info
        if len(data) != info.size_bytes:
            raise DataLoss(f"only {len(data)} of the picture's {info.size_bytes} bytes came")
        if hashlib.sha256(data).hexdigest() != info.sha256:
            raise DataLoss("the picture does not match its SHA-256: it was damaged on the way")
        return Picture(data=data, width=info.width, height=info.height, sha256=info.sha256, job=job)
