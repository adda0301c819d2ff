"""All workers of this machine."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Sequence

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.worker_life import WORKER_MODULE
from impasto_server.fleet.worker_process import ConfigurationError, WorkerProcess
from impasto_server.temporary import TemporaryFolder

_log = logging.getLogger(__name__)

# sun_path has 108 bytes, including the final NUL.
_MAX_SOCKET_PATH = 107


class Fleet:
    """One worker for each device.

    Used as `async with fleet:`. The future `failed` ends with a `ConfigurationError` if the server cannot run
    with its settings.
    """

    def __init__(
        self,
        devices: Sequence[str],
        worker_arguments: Sequence[str],
        *,
        worker_timeout: float,
        turn_timeout: float,
        worker_module: str = WORKER_MODULE,
    ) -> None:
        """
        Args:
            devices: names of devices ("cpu", "cuda:0", "mps"), one worker each; or "auto" alone, for
                every GPU, or the CPU if there is none.
            worker_arguments: further arguments of `python -m impasto_server.worker`.
            worker_timeout: seconds without an answer after which a worker is killed and restarted. After a
                quarter of this time it gets no jobs. Above 0.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed and
                restarted. Above 0.
            worker_module: the program that each worker runs.

        Raises:
            ConfigurationError: the devices are not valid names.
        """
        if not all(devices) or ("auto" in devices and len(devices) > 1):
            raise ConfigurationError(
                f"{','.join(devices)!r} is not a list of devices; give auto, or names separated by commas, "
                "such as cuda:0,cuda:1"
            )
        self._wanted = list(devices)
        self._worker_timeout = worker_timeout
        self._turn_timeout = turn_timeout
        self._arguments = list(worker_arguments)
        self._worker_module = worker_module
        self._folder: TemporaryFolder | None = None
        self._workers: list[WorkerProcess] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._change = asyncio.Event()
        self._network_told = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Fleet:
        self._folder = _private_folder()
        self._add_worker(self._wanted[0], told_apart(self._wanted)[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder is not None:
            self._folder.remove()
        self.failed.cancel()

    def kill(self) -> None:
        """Kills all workers at once, for when there is no time for `__aexit__`."""
        for worker in self._workers:
            worker.kill()
        if self._folder is not None:
            self._folder.remove()

    @property
    def ready_workers(self) -> list[WorkerProcess]:
        """The workers that take jobs now: not those that are starting or do not answer."""
        return [worker for worker in self._workers if worker.ready]

    async def describe_devices(self) -> list[pb.Device]:
        """Describes the devices as they are now."""
        return list(await asyncio.gather(*(worker.describe() for worker in self._workers)))

    @property
    def change(self) -> asyncio.Event:
        """An event that is set when a worker becomes ready, stops answering or dies. Each change has a new
        event."""
        return self._change

    @property
    def restarts(self) -> int:
        """The number of restarts of all workers."""
        return sum(worker.restarts for worker in self._workers)

    async def readiness(self) -> AsyncIterator[bool]:
        """Yields whether any worker is ready, now and after each change."""
        while True:
            ready = bool(self.ready_workers)
            yield ready
            while bool(self.ready_workers) == ready:
                await self._change.wait()

    def _add_worker(self, device: str, name: str | None) -> None:
        assert self._folder is not None
        worker = WorkerProcess(
            device,
            name=name,
            arguments=self._arguments,
            socket=self._folder.path / f"worker-{len(self._workers)}.sock",
            changed=self._on_change,
            timeout=self._worker_timeout,
            turn_timeout=self._turn_timeout,
            module=self._worker_module,
        )
        self._workers.append(worker)
        task = asyncio.create_task(worker.keep_alive())
        task.add_done_callback(self._on_task_end)
        self._tasks.append(task)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            self.failed.set_exception(
                task.exception() or AssertionError("the task that keeps a worker alive ended")
            )

    def _on_change(self) -> None:
        first = self._workers[0].info
        if first is not None and not self._network_told:
            self._network_told = True
            network = first.network
            _log.info(
                "network architecture=%s weights=%s sha256=%s origin=%r",
                network.architecture,
                network.weights,
                network.sha256,
                network.origin,
            )
            # The other workers start only now: the first has downloaded the weights if necessary, and knows
            # which devices "auto" means.
            others = list(first.other_devices) if self._wanted == ["auto"] else self._wanted[1:]
            names = told_apart(self._wanted)[1:] if self._wanted != ["auto"] else [None] * len(others)
            for device, name in zip(others, names, strict=True):
                self._add_worker(device, name)
        self._change.set()
        self._change = asyncio.Event()


def told_apart(devices: Sequence[str]) -> list[str | None]:
    """Returns for each device a unique name such as "cpu:1" if others have the same name, and None if not."""
    names: list[str | None] = []
    for device in devices:
        if devices.count(device) == 1:
            names.append(None)
            continue
        # Not a colon after "cuda": in "cuda:0" it is followed by the number of the GPU.
        separator = ":" if device == "cpu" else "/"
        numbered = (f"{device}{separator}{number}" for number in itertools.count())
        names.append(next(name for name in numbered if name not in names and name not in devices))
    return names


def _private_folder() -> TemporaryFolder:
    """Makes a folder for sockets that only this user can enter.

    Raises:
        ConfigurationError: the path of the folder for temporary files is too long.
    """
    for parent in (None, "/tmp"):
        folder = TemporaryFolder("impasto-run-", parent)
        if len(str(folder.path / "worker-999.sock").encode()) <= _MAX_SOCKET_PATH:
            return folder
        folder.remove()
    raise ConfigurationError("the path in TMPDIR is too long for sockets; set TMPDIR to a shorter path")
