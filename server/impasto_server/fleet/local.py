"""The workers of this machine."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence

from impasto_server.fleet.fleet import Fleet
from impasto_server.fleet.local_process import LocalLauncher, this_machine
from impasto_server.fleet.machines import Machine
from impasto_server.fleet.program import WORKER_MODULE
from impasto_server.fleet.start_watch import START_SECONDS
from impasto_server.fleet.worker_process import ConfigurationError, Death, WorkerProcess
from impasto_server.temporary import TemporaryFolder

_log = logging.getLogger(__name__)

# sun_path has 108 bytes, including the final NUL.
_MAX_SOCKET_PATH = 107

_LOST_SECONDS = 60.0
"""Time after which a lost device is tried again. A driver that is loaded again can bring it back."""


class LocalFleet(Fleet):
    """One worker for each device of this machine."""

    def __init__(
        self,
        devices: Sequence[str],
        worker_arguments: Sequence[str],
        *,
        max_resident: int,
        worker_timeout: float,
        turn_timeout: float,
        worker_module: str = WORKER_MODULE,
    ) -> None:
        """
        Args:
            devices: names of devices ("cpu", "cuda:0", "mps"), one worker each; or "auto" alone, for
                every GPU, or the CPU if there is none.
            worker_arguments: further arguments of `python -m impasto_server.worker`.
            max_resident: maximum number of jobs on a device at a time.
            worker_timeout: seconds without an answer after which a worker is killed and restarted. After a
                quarter of this time it gets no jobs. Above 0.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed and
                restarted. Above 0.
            worker_module: the program that each worker runs.

        Raises:
            ConfigurationError: the devices are not valid names.
        """
        super().__init__(max_resident)
        if not all(devices) or ("auto" in devices and len(devices) > 1):
            raise ConfigurationError(
                f"{','.join(devices)!r} is not a list of devices; give auto, or names separated by commas, "
                "such as cuda:0,cuda:1"
            )
        self._wanted = ["cuda:0" if device == "cuda" else device for device in devices]
        self._worker_timeout = worker_timeout
        self._turn_timeout = turn_timeout
        self._arguments = [*worker_arguments, "--max-resident", str(max_resident)]
        self._worker_module = worker_module
        self._folder: TemporaryFolder | None = None
        self._others_started = False

    async def __aenter__(self) -> LocalFleet:
        self._folder = _private_folder()
        self._add_worker(self._wanted[0], told_apart(self._wanted)[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        if self._folder is not None:
            self._folder.remove()

    def kill(self) -> None:
        """See `Fleet`."""
        super().kill()
        if self._folder is not None:
            self._folder.remove()

    def wanted_workers(self) -> tuple[int, int, int]:
        """See `Fleet`. The number of devices never changes."""
        return len(self._workers), len(self._workers), len(self._workers)

    async def machines(self) -> list[Machine]:
        """See `Fleet`."""
        devices = self._loads(list(self._workers))
        name = this_machine()
        state = "ready" if self.ready_workers else "joining"
        if name in self._draining:
            state = "draining" if any(device.jobs for device in devices) else "drained"
        return [Machine(name=name, address="", state=state, devices=devices, resources={})]

    @property
    def trouble(self) -> str:
        """See `Fleet`."""
        lost = [worker for worker in self._workers if worker.lost]
        return "; ".join(f"the device {worker.device} is lost: {worker.lost}" for worker in lost)

    def _on_worker_failed(self, worker: WorkerProcess, error: BaseException) -> None:
        """See `Fleet`. A device that has worked is lost: it is tried again later, and the others go on
        meanwhile. So is one that nobody has named, if the first one works."""
        unnamed = self._wanted == ["auto"] and self._others_started
        if not isinstance(error, ConfigurationError) or not (worker.has_worked or unnamed):
            super()._on_worker_failed(worker, error)
            return
        worker.lost = str(error)
        worker.deaths.append(Death(time.time(), worker.device, f"lost: {worker.lost}"))
        _log.error(
            "device is lost device=%s error=%r retry_after=%.0fs", worker.device, worker.lost, _LOST_SECONDS
        )
        self._add(worker, after=_LOST_SECONDS)
        self._note_change()

    def _names(self) -> list[str]:
        return [this_machine()]

    def _add_worker(self, device: str, name: str | None) -> None:
        assert self._folder is not None
        key = f"worker-{len(self._workers)}"
        launcher = LocalLauncher(
            self._folder.path / f"{key}.sock",
            start_timeout=max(self._worker_timeout, START_SECONDS),
            module=self._worker_module,
        )
        worker = WorkerProcess(
            device,
            key=key,
            name=lambda machine, device: name or device,
            launcher=launcher,
            arguments=self._arguments,
            changed=self._note_change,
            timeout=self._worker_timeout,
            turn_timeout=self._turn_timeout,
        )
        self._add(worker)

    def _note_change(self) -> None:
        first = next(iter(self._workers)).info
        if first is not None and not self._others_started:
            self._others_started = True
            # The other workers start only now: the first has downloaded the weights if necessary, and knows
            # which devices "auto" means.
            others = list(first.other_devices) if self._wanted == ["auto"] else self._wanted[1:]
            names = told_apart(self._wanted)[1:] if self._wanted != ["auto"] else [None] * len(others)
            for device, name in zip(others, names, strict=True):
                self._add_worker(device, name)
        super()._note_change()


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
