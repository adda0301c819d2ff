"""One process of a worker, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
import grpc.aio
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.program import Exit, Launcher, Program
from impasto_server.v1 import worker_pb2, worker_pb2_grpc

if TYPE_CHECKING:
    from impasto_server.v1.worker_pb2_grpc import WorkerServiceAsyncStub

T = TypeVar("T")

_log = logging.getLogger(__name__)

_NOTICE_SECONDS = 3.0
"""Maximum time between the end of a dying process's connections and the notice of its exit."""
_PING_SECONDS = 1.0
"""Maximum time between two pings."""
_SILENT_SHARE, _PING_SHARE = 1 / 4, 1 / 8
"""Shares of the timeout: the silence after which a worker gets no jobs, and the timeout of one ping."""
_TOLD_SECONDS = 60.0
"""Interval of the log lines about a worker that is not ready yet."""


class NoAnswer(Exception):
    """The worker does not answer, but its process still exists."""


class Gone(Exception):
    """The worker's process has ended."""


class WorkerLife:
    """One process of a worker.

    Attributes:
        info: the worker's description of itself; None before it is ready and after its end.
        stub: for calls; None whenever `info` is.
        answers: whether it answers pings, as far as is known.
        exited: set once the process has ended.
        death: how it ended; None before.
    """

    def __init__(
        self,
        name: Callable[[str, str], str],
        *,
        launcher: Launcher,
        timeout: float,
        turn_timeout: float,
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            name: names the device: gets the machine's name and torch's name.
            launcher: starts the process.
            timeout: seconds without an answer after which the worker is killed.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed.
            changed: called when the worker becomes ready, stops answering, answers again, and has ended.
        """
        self.info: worker_pb2.GetWorkerInfoResponse | None = None
        self.stub: WorkerServiceAsyncStub | None = None
        self.answers = True
        self.exited = asyncio.Event()
        self.death: Exit | None = None
        self._listens = True
        # Set while it is useless to wait for an answer.
        self._unheard = asyncio.Event()
        self._name_for = name
        self._name = ""
        self._launcher = launcher
        self._timeout = timeout
        self._turn_timeout = turn_timeout
        self._changed = changed
        self._program: Program | None = None
        self._channel: grpc.aio.Channel | None = None
        # Why this object killed the process, and the job whose turn had not ended; None if it did not.
        self._killed: tuple[str, str] | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.info is not None and self.answers and self._listens

    @property
    def machine(self) -> str:
        """Name of the machine that the process runs on; empty while there is no process."""
        return "" if self._program is None else self._program.machine

    async def live(self, device: str, arguments: Sequence[str]) -> Exit:
        """Runs the process from start to end. Leaves it when cancelled.

        Args:
            device: torch's name of the device, or "auto".
            arguments: further arguments of `python -m impasto_server.worker`.

        Raises:
            OSError: the process cannot be started now.
            PlaceLost: it can never be started again.
        """
        program = self._program = await self._launcher.launch(device, arguments)
        self._name = self._name_for(program.machine, device)
        attending = asyncio.create_task(self._attend(program))
        ending = asyncio.create_task(program.wait())
        death = Exit(None, "left by the gateway", blames=False)
        try:
            await asyncio.wait({ending, attending}, return_when=asyncio.FIRST_COMPLETED)
            # Also if the attending has failed: otherwise a hung worker would never be noticed.
            program.kill()
            death = self._judged(await ending)
        finally:
            attending.cancel()
            ending.cancel()
            self.info = self.stub = None
            await program.leave(answers=self.answers)
            self.death = death
            self._unheard.set()
            self.exited.set()
            self._changed()
            if self._channel is not None:
                # This ends all calls, also those to a machine that cannot be reached any more.
                await self._channel.close()
        return death

    def kill(self) -> None:
        """Ends the process at once."""
        if self._program is not None:
            self._program.kill()

    async def ask(self, method: Callable[..., Awaitable[T]], request: object, timeout: float) -> T:
        """Makes a call, and waits for the answer only while the worker answers pings.

        Args:
            method: of the stub.
            request: of the method.
            timeout: maximum wait in seconds.

        Raises:
            NoAnswer: the worker does not answer.
            Gone: the process has ended.
            grpc.aio.AioRpcError: the call failed otherwise.
        """
        if self.exited.is_set():
            raise Gone
        if not self.answers:
            raise NoAnswer
        task = asyncio.ensure_future(method(request, timeout=timeout))
        unheard = asyncio.ensure_future(self._unheard.wait())
        try:
            await asyncio.wait({task, unheard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            unheard.cancel()
            task.cancel()
        if task.done() and not task.cancelled():
            try:
                return task.result()
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise NoAnswer from error
                # An error with details comes from the worker itself.
                if rpc_status.from_call(error) is None and await self.has_ended():
                    raise Gone from error
                raise
        if self.exited.is_set():
            raise Gone
        raise NoAnswer

    async def has_ended(self) -> bool:
        """Whether the process has ended or is about to end."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.exited.wait(), _NOTICE_SECONDS)
        return self.exited.is_set()

    def _judged(self, exit: Exit) -> Exit:
        if self._killed is None:
            return exit
        how, turn_of = self._killed
        return Exit(exit.code, how, turn_of, blames=bool(turn_of))

    async def _attend(self, program: Program) -> None:
        """Waits until the worker is ready, then checks that it answers. Returns once it must be killed."""
        try:
            self._channel = await program.connect()
            stub = cast("WorkerServiceAsyncStub", worker_pb2_grpc.WorkerServiceStub(self._channel))
            info = await self._first_info(stub, program)
            program.started()
            self._note_ready(info, stub, program)
            await self._keep_pinging(stub)
        except Exception as error:
            _log.exception("worker cannot be monitored device=%s", self._name)
            self._kill_because(f"killed because it could not be monitored: {error!r}", turn_of="")

    def _note_ready(
        self, info: worker_pb2.GetWorkerInfoResponse, stub: WorkerServiceAsyncStub, program: Program
    ) -> None:
        self._name = info.device.name = self._name_for(program.machine, info.device.name)
        info.device.machine = program.machine
        self.info, self.stub = info, stub
        _log.info(
            "worker ready device=%s description=%r precision=%s memory_mib=%d",
            self._name,
            info.device.description,
            pb.Precision.Name(info.device.auto_precision).removeprefix("PRECISION_").lower(),
            info.device.memory_bytes >> 20,
        )
        self._changed()

    async def _first_info(
        self, stub: WorkerServiceAsyncStub, program: Program
    ) -> worker_pb2.GetWorkerInfoResponse:
        """Waits until the worker is ready, and returns its description of itself. There is no time limit,
        because the worker can have to download weights."""
        request = worker_pb2.GetWorkerInfoRequest()
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            try:
                return await stub.GetWorkerInfo(request, wait_for_ready=True, timeout=_TOLD_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    _log.warning(
                        "worker not ready yet device=%s seconds=%.0f at=%r",
                        self._name,
                        loop.time() - started,
                        program.step,
                    )
                else:
                    # Usually the worker is about to die, which ends this loop.
                    await asyncio.sleep(_PING_SECONDS)

    async def _keep_pinging(self, stub: WorkerServiceAsyncStub) -> None:
        """Pings the worker until it must be killed."""
        loop = asyncio.get_running_loop()
        patience = self._timeout * _PING_SHARE
        # Counted in pings, not by the clock: the worker is not blamed if this process itself was stopped.
        silence = 0.0
        while True:
            sent = loop.time()
            try:
                ping = await stub.Ping(worker_pb2.PingRequest(), timeout=patience)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    self.note_refusal()
                # A ping that fails early counts for as long as one that is not answered.
                await asyncio.sleep(max(0.0, sent + patience - loop.time()))
                silence += patience
                if silence >= self._timeout:
                    self._kill_because(f"killed after {self._timeout:g} s without an answer", turn_of="")
                    return
                if silence >= self._timeout * _SILENT_SHARE:
                    self._note_silence(silence)
                continue
            silence = 0.0
            self._note_answer()
            if ping.duration.ToNanoseconds() / 1e9 > self._turn_timeout:
                how = f"killed in a turn that lasted more than {self._turn_timeout:g} s"
                self._kill_because(how, turn_of=ping.job_name)
                return
            await asyncio.sleep(min(_PING_SECONDS, patience))

    def _note_silence(self, seconds: float) -> None:
        if self.answers:
            _log.warning("worker does not answer device=%s seconds=%.1f", self._name, seconds)
            self.answers = False
            self._unheard.set()
            self._changed()

    def note_refusal(self) -> None:
        """Notes that nothing listens at the worker's address: until it answers again, it gets no jobs."""
        if self._listens:
            self._listens = False
            self._changed()

    def _note_answer(self) -> None:
        if not self._listens:
            self._listens = True
            self._changed()
        if not self.answers:
            _log.info("worker answers again device=%s", self._name)
            self.answers = True
            self._unheard.clear()
            self._changed()

    def _kill_because(self, how: str, *, turn_of: str) -> None:
        _log.error("worker killed device=%s how=%r job=%s", self._name, how, turn_of)
        self._killed = how, turn_of
        self.kill()
