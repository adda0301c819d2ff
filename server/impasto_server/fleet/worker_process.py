"""One worker: a process that owns one device and is restarted whenever it dies."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from pathlib import Path

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, unavailable
from impasto_server.contract.pictures import Samples
from impasto_server.fleet.program import Exit, Launcher
from impasto_server.fleet.worker_inputs import WorkerInputs
from impasto_server.fleet.worker_life import Gone, NoAnswer, WorkerLife
from impasto_server.v1 import worker_pb2

_log = logging.getLogger(__name__)

# The exit code of a worker that a restart cannot help: invalid weights, or a missing device. Its output on
# stdout says why.
CONFIGURATION_ERROR = os.EX_CONFIG

_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 30.0
_STABLE_SECONDS = 60.0
_INFO_SECONDS = 1.0
_ESTIMATE_SECONDS = 5.0

REMEMBERED_DEATHS = 20
"""Number of deaths that are remembered, at most."""


@dataclasses.dataclass(frozen=True)
class Death:
    """The end of a worker's process that nobody wanted.

    Attributes:
        time: when it ended, in seconds since the epoch.
        device: name of its device.
        how: how it ended, in words.
    """

    time: float
    device: str
    how: str


class WorkerDied(Exception):
    """A worker died while it had a job, or before it could take it.

    Attributes:
        status: for the caller.
        turn_of: name of the job that had the turn; empty if none had it.
        blames: whether a job can be the cause. Not if the worker was killed because it did not answer, or was
            not ready.
    """

    def __init__(self, status: status_pb2.Status, *, turn_of: str = "", blames: bool = True) -> None:
        super().__init__(status.message)
        self.status = status
        self.turn_of = turn_of
        self.blames = blames


class ConfigurationError(Exception):
    """The server cannot run with its settings. The message says what to do."""


class WorkerProcess:
    """A worker process and its restarts.

    Attributes:
        key: a unique name, known from the start.
        restarts: number of restarts.
        deaths: the newest deaths of its processes, the oldest first.
        jobs: number of jobs that it paints, or gets.
        leaving: whether it gets no jobs any more, and those it has must go to others.
        used: event-loop time at which it last had a job, or was made.
        lost: why it cannot be started again for now, in a sentence; empty if it can.
    """

    def __init__(
        self,
        device: str,
        *,
        key: str,
        name: Callable[[str, str], str] = lambda machine, device: device,
        launcher: Launcher,
        machine: str = "",
        arguments: Sequence[str],
        changed: Callable[[], None],
        timeout: float,
        turn_timeout: float,
    ) -> None:
        """
        Args:
            device: "auto", or torch's name of a device.
            key: a unique name.
            name: names the device: gets the machine's name and torch's name.
            launcher: starts the process.
            machine: name of the machine on which it is expected to run; empty if that is not known.
            arguments: further arguments of `python -m impasto_server.worker`.
            changed: called when the worker becomes ready, stops answering, answers again, and dies.
            timeout: seconds without an answer to a ping after which the worker is killed and restarted. After
                a quarter of this time it gets no jobs.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed and
                restarted.
        """
        self.key = key
        self.restarts = 0
        self.deaths: collections.deque[Death] = collections.deque(maxlen=REMEMBERED_DEATHS)
        self.jobs = 0
        self.leaving = False
        self.used = asyncio.get_running_loop().time()
        self.lost = ""
        self._wanted_device = device
        self._name = name
        self._device = name("", device)
        self._launcher = launcher
        self._machine = machine
        self._arguments = arguments
        self._changed = changed
        self._timeout = timeout
        self._turn_timeout = turn_timeout
        self._life: WorkerLife | None = None
        self._network = pb.FeatureNetwork()

    @property
    def device(self) -> str:
        """Name of the device; "auto" until the worker has reported which device it is."""
        return self._device

    @property
    def info(self) -> worker_pb2.GetWorkerInfoResponse | None:
        """The worker's description of itself; None while no process is ready."""
        return self._life.info if self._life is not None else None

    @property
    def responsive(self) -> bool:
        """Whether the worker answers pings, as far as is known."""
        return self._life is not None and self._life.answers and not self._life.exited.is_set()

    @property
    def ready(self) -> bool:
        """Whether it takes jobs: it has loaded its network, answers, and is not leaving."""
        return self._life is not None and self._life.ready and not self.leaving

    @property
    def state(self) -> str:
        """In one word: "starting", "ready", "silent" (it does not answer), "leaving" or "lost"."""
        if self.leaving:
            return "leaving"
        if self.ready:
            return "ready"
        if self.info is None:
            return "lost" if self.lost else "starting"
        return "silent"

    @property
    def description(self) -> str:
        """Describes the device in words; empty while the worker is not ready."""
        info = self.info
        return "" if info is None else info.device.description

    @property
    def machine(self) -> str:
        """Name of the machine that it runs on, last ran on, or is expected on; empty if there is none."""
        if self._life is not None and self._life.machine:
            self._machine = self._life.machine
        return self._machine

    @property
    def network(self) -> pb.FeatureNetwork:
        """The feature network it paints with; during a restart, the previous one."""
        return self._network

    @property
    def has_worked(self) -> bool:
        """Whether it has been ready at some time."""
        return self._network.sha256 != ""

    @property
    def memory_bytes(self) -> int:
        """Memory of the device that jobs can use; 0 while the worker is not ready."""
        info = self.info
        return info.device.memory_bytes if info is not None else 0

    async def keep_alive(self) -> None:
        """Starts the worker, and restarts it whenever it dies, until cancelled.

        Raises:
            ConfigurationError: the worker reports that it cannot run with its arguments.
            PlaceLost: it can never be started again.
        """
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                how = (await self._run_once()).how
            except OSError as error:
                # Perhaps the disk is full or there are too many processes. That can change.
                how = f"not started: {error}"
            self.restarts += 1
            self.deaths.append(Death(time.time(), self.device, how))
            _log.error("worker died device=%s how=%r restarts=%d", self.device, how, self.restarts)
            if loop.time() - started > _STABLE_SECONDS:
                backoff = _FIRST_BACKOFF
            await asyncio.sleep(backoff)
            backoff = min(4 * backoff, _MAX_BACKOFF)

    async def describe(self) -> pb.Device:
        """Describes the device as it is now, or as it was last if the worker is too busy to answer."""
        device = pb.Device(state=pb.DEVICE_STATE_STARTING)
        life = self._life
        if life is not None and life.info is not None and life.stub is not None:
            info = life.info
            with contextlib.suppress(NoAnswer, Gone, grpc.aio.AioRpcError):
                request = worker_pb2.GetWorkerInfoRequest()
                info = await life.ask(life.stub.GetWorkerInfo, request, _INFO_SECONDS)
            device.MergeFrom(info.device)
            if self.leaving:
                device.state = pb.DEVICE_STATE_DRAINING
            else:
                device.state = pb.DEVICE_STATE_READY if self.ready else pb.DEVICE_STATE_STARTING
        device.name, device.machine, device.restarts = self.device, self.machine, self.restarts
        return device

    async def run(
        self, begin: worker_pb2.Begin, pictures: AsyncIterable[Samples], checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        """Paints a job and yields the worker's messages. Close the iterator to take the job off the device.

        Args:
            begin: the job.
            pictures: the pictures that `begin` describes, in the same order. Each is asked for when the
                worker takes it.
            checkpoint: file to continue from; None to start from the beginning.

        Raises:
            WorkerDied: the worker died before the job was finished, or was not ready.
            OSError: the checkpoint cannot be read.
            Exception: what `pictures` raises.
        """
        life = self._life
        if life is None or life.stub is None or not life.ready:
            message = "the worker of this job's device is not ready; it is being restarted"
            raise WorkerDied(unavailable("WORKER_DIED", message, retry_after=2.0), blames=False)
        inputs = WorkerInputs(begin, pictures, checkpoint)
        call = life.stub.Run(inputs.requests())
        self.jobs += 1
        try:
            async for response in call:
                yield response
            inputs.check()
        except grpc.aio.AioRpcError as error:
            inputs.check()
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                life.note_refusal()
            # If the worker dies, the call usually ends with UNAVAILABLE, but UNKNOWN, INTERNAL and CANCELLED
            # occur as well, depending on the moment.
            if not await life.has_ended() and error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            raise _died(life.death) from error
        except asyncio.CancelledError:
            if not _is_being_cancelled():
                # A picture that cannot be read cancels the call.
                inputs.check()
            if _is_being_cancelled() or not life.exited.is_set():
                raise
            # Closing the connection of a dead worker cancels calls that have not noticed its death yet.
            raise _died(life.death) from None
        finally:
            # An abandoned grpc.aio call is not cancelled by itself.
            call.cancel()
            self.jobs -= 1
            self.used = asyncio.get_running_loop().time()

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        """Changes a job that runs here.

        Waits for the end of the current turn, but not longer than the worker's timeout, and not at all if the
        worker does not answer pings.

        Returns:
            The worker's answer; None if the job no longer runs here.

        Raises:
            CallError: INVALID_ARGUMENT: the change is refused. UNAVAILABLE: the worker does not answer, but
                may still make the change.
        """
        life = self._life
        if life is None or life.stub is None:
            return None
        try:
            return await life.ask(life.stub.UpdateRun, request, self._timeout)
        except Gone:
            return None
        except NoAnswer as error:
            raise CallError(
                unavailable("WORKER_BUSY", "the job's device is busy; try again", retry_after=2.0)
            ) from error
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                return None
            if told := rpc_status.from_call(error):
                raise CallError(told) from error
            raise

    async def estimate(self, request: worker_pb2.EstimateRunRequest) -> worker_pb2.EstimateRunResponse | None:
        """Estimates a job. Returns None if the worker does not answer, or has ended.

        Raises:
            CallError: the job cannot be painted here.
        """
        life = self._life
        if life is None or life.stub is None:
            return None
        try:
            return await life.ask(life.stub.EstimateRun, request, _ESTIMATE_SECONDS)
        except (Gone, NoAnswer):
            return None
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return None
            if told := rpc_status.from_call(error):
                raise CallError(told) from error
            raise

    async def suspend(self, job_name: str) -> None:
        """Asks the worker to end a job's `run` with a checkpoint. Does nothing if the job does not run here.

        Does not wait for a worker that does not answer: the `run` ends when that worker is killed.
        """
        life = self._life
        if life is None or life.stub is None:
            return
        request = worker_pb2.SuspendRunRequest(job_name=job_name)
        with contextlib.suppress(NoAnswer, Gone, grpc.aio.AioRpcError):
            await life.ask(life.stub.SuspendRun, request, self._timeout)

    def kill(self) -> None:
        """Ends the process at once."""
        if self._life is not None:
            self._life.kill()

    async def _run_once(self) -> Exit:
        """Runs the process from start to end. Leaves it when cancelled.

        Raises:
            ConfigurationError: the worker reports that it cannot run with its arguments.
            OSError: the process cannot be started now.
            PlaceLost: it can never be started again.
        """
        self._life = WorkerLife(
            self._name,
            launcher=self._launcher,
            timeout=self._timeout,
            turn_timeout=self._turn_timeout,
            changed=self._on_change,
        )
        # After a restart, "auto" means the same device as before.
        device = self._device if self._wanted_device == "auto" else self._wanted_device
        death = await self._life.live(device, self._arguments)
        if death.code == CONFIGURATION_ERROR:
            raise ConfigurationError(death.last_words)
        return death

    def _on_change(self) -> None:
        info = self.info
        if info is not None:
            self._device, self._network = info.device.name, info.network
            self.lost = ""
        self._changed()


def _is_being_cancelled() -> bool:
    """Whether the current task is being cancelled. Python can tell this from 3.11 on."""
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0


def _died(death: Exit | None) -> WorkerDied:
    if death is None:
        return WorkerDied(_death_notice("connection lost"), blames=False)
    return WorkerDied(_death_notice(death.how), turn_of=death.turn_of, blames=death.blames)


def _death_notice(how: str) -> status_pb2.Status:
    message = f"the worker that painted this job has ended ({how}) and is being restarted"
    return unavailable("WORKER_DIED", message, retry_after=2.0)
