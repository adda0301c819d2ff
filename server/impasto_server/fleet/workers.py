"""The interface of workers for the rest of the server, wherever their processes run."""

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
        key: a unique name.
        device: name of its device.
        memory_bytes: memory of the device that jobs can use; 0 while the worker is not ready.
        network: the feature network it paints with, once it is ready.
        leaving: whether the jobs that it has must go to other workers.
    """

    @property
    def key(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def network(self) -> pb.FeatureNetwork: ...

    @property
    def leaving(self) -> bool: ...

    def run(
        self, begin: worker_pb2.Begin, pictures: AsyncIterable[Samples], checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        """Paints a job and yields the worker's messages. Close the iterator to take the job off the device.

        Args:
            begin: the job.
            pictures: the pictures that `begin` describes, in the same order. Each is asked for when the
                worker takes it.
            checkpoint: file to continue from; None to start from the beginning.

        Raises:
            WorkerDied: the worker died before the job was finished.
            OSError: the checkpoint cannot be read.
            Exception: what `pictures` raises.
        """

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        """Changes a job that runs here. Returns None if it does not run here.

        Raises:
            CallError: the change is refused, or the worker does not answer.
        """

    async def estimate(self, request: worker_pb2.EstimateRunRequest) -> worker_pb2.EstimateRunResponse | None:
        """Estimates a job. Returns None if the worker does not answer, or has ended.

        Raises:
            CallError: the job cannot be painted here.
        """

    async def suspend(self, job_name: str) -> None:
        """Asks the worker to end a job's `run` with a checkpoint. Harmless if the job does not run here."""


class Workers(Protocol):
    """The workers of a server.

    Attributes:
        ready_workers: the workers that take jobs now.
        change: an event that is set when a worker becomes ready or stops being ready. Each change has a new
            event.
    """

    @property
    def ready_workers(self) -> Sequence[Worker]: ...

    @property
    def change(self) -> asyncio.Event: ...

    def want(self, jobs: int) -> None:
        """Tells how many jobs are being painted or wait for a device."""
