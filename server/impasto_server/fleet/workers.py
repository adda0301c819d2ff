"""What the rest of the server needs of workers, wherever their processes are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from pathlib import Path
from typing import Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import Samples
from impasto_server.v1 import worker_pb2


class Worker(Protocol):
    """A process that owns one device.

    Attributes:
        key: a name that no other worker has.
        device: name of its device.
        memory_bytes: memory of the device that jobs may use; 0 while the worker is not ready.
        network: what it paints with, once it is ready.
    """

    @property
    def key(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def network(self) -> pb.FeatureNetwork: ...

    def run(
        self, begin: worker_pb2.Begin, pictures: AsyncIterable[Samples], checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        """Has a job painted. Close the iterator to take the job off the device.

        Args:
            begin: the job.
            pictures: those that it describes, in the same order; asked for when the worker takes them.
            checkpoint: what to go on from; None to begin anew.

        Raises:
            WorkerDied: the worker died before it was done.
            OSError: the checkpoint cannot be read.
            Exception: what `pictures` raises.
        """

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        """Changes a job that runs here; None if it does not run here.

        Raises:
            CallError: the change is refused, or the worker does not answer.
        """

    async def suspend(self, job_name: str) -> None:
        """Asks for a job's `run` to end with a checkpoint. Harmless if it does not run here."""


class Workers(Protocol):
    """The workers of a server.

    Attributes:
        ready_workers: those that take jobs now.
        change: set once, when a worker becomes ready or stops being ready; the next change has another event.
    """

    @property
    def ready_workers(self) -> Sequence[Worker]: ...

    @property
    def change(self) -> asyncio.Event: ...
