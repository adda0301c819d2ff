"""One process of a worker, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
import grpc.aio
from grpc_status import rpc_status

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.start_watch import StartWatch
from impasto_server.logs import events_descriptor
from impasto_server.v1 import worker_pb2, worker_pb2_grpc

if TYPE_CHECKING:
    from impasto_server.v1.worker_pb2_grpc import WorkerServiceAsyncStub

T = TypeVar("T")

_log = logging.getLogger(__name__)

WORKER_MODULE = "impasto_server.worker"
"""The program that paints."""
_END_SECONDS = 1.0
"""Maximum time for a process to end by itself before it is killed."""
_NOTICE_SECONDS = 3.0
"""Maximum time between the end of a dying process's connections and the notice of its exit."""
_PING_SECONDS = 1.0
"""Maximum time between two pings."""
_SILENT_SHARE, _PING_SHARE = 1 / 4, 1 / 8
"""Shares of the timeout: the silence after which a worker gets no jobs, and the timeout of one ping."""
_TOLD_SECONDS = 60.0
"""Interval of the log lines about a worker that is not ready yet."""
_TURN_BYTES = 128
"""Size of the file in which a worker writes the name of the job that has the turn."""

_CHANNEL_OPTIONS = [
    # The gateway has checked the sizes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # The socket appears when the worker is ready: try to connect often.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.use_local_subchannel_pool", 1),
]

WORKER_ENVIRONMENT = {"GOMP_SPINCOUNT": "20000"}
"""Environment variables of a worker, unless the gateway's own environment sets them. OpenMP's threads spin
while they wait for each other, by default for milliseconds, on cores that other processes may need. Measured:
with shorter spinning, evaluations take as long on quiet cores, and 20 % less on busy ones."""


class NoAnswer(Exception):
    """The worker does not answer, but its process still exists."""


class Gone(Exception):
    """The worker's process has ended."""


@dataclasses.dataclass(frozen=True)
class Death:
    """How a process ended.

    Attributes:
        exit_code: of the process; below 0, the signal that ended it.
        how: the same in words.
        turn_of: name of the job that had the turn; empty if none had it.
        blames: whether a job can be the cause. Not if the worker was killed because it did not answer, or
            hung while it started.
        last_words: its output on stdout.
    """

    exit_code: int
    how: str
    turn_of: str
    blames: bool
    last_words: str = ""


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
        name: str | None,
        *,
        socket: Path,
        turn_file: Path,
        timeout: float,
        turn_timeout: float,
        start_timeout: float,
        changed: Callable[[], None],
        module: str = WORKER_MODULE,
    ) -> None:
        """
        Args:
            name: of the device, for the log; None for the name that the worker reports.
            socket: path of the Unix socket for calls.
            turn_file: file for the name of the job that has the turn.
            timeout: seconds without an answer after which the worker is killed.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed.
            start_timeout: seconds without a sign of life during the start after which the worker is killed;
                more than 1.
            changed: called when the worker becomes ready, stops answering, answers again, and has ended.
            module: the program that the worker runs.
        """
        self.info: worker_pb2.GetWorkerInfoResponse | None = None
        self.stub: WorkerServiceAsyncStub | None = None
        self.answers = True
        self.exited = asyncio.Event()
        self.death: Death | None = None
        # Set while it is useless to wait for an answer.
        self._unheard = asyncio.Event()
        self._name = self._given_name = name
        self._socket = socket
        self._turn_file = turn_file
        self._timeout = timeout
        self._turn_timeout = turn_timeout
        self._changed = changed
        self._module = module
        self._start = StartWatch(socket.with_suffix(".start"), start_timeout)
        self._process: asyncio.subprocess.Process | None = None
        # Why this object killed the process, and the job whose turn had not ended; None if it did not.
        self._killed: tuple[str, str] | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.info is not None and self.answers

    async def live(self, device: str, arguments: Sequence[str]) -> Death:
        """Runs the process from start to end. Ends it when cancelled.

        Args:
            device: torch's name of the device, or "auto".
            arguments: further arguments of `python -m impasto_server.worker`.

        Raises:
            OSError: the process cannot be started.
        """
        self._name = self._given_name or device
        self._socket.unlink(missing_ok=True)
        self._turn_file.write_bytes(bytes(_TURN_BYTES))
        self._start.prepare()
        process = self._process = await asyncio.create_subprocess_exec(
            *module_command(self._module),
            *("--socket", str(self._socket), "--device", device),
            *("--turn-file", str(self._turn_file), "--heartbeat-file", str(self._start.path)),
            *arguments,
            # The worker ends when this pipe closes, which happens when this process ends in any way.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # The worker logs in the same format as this process, to the same place.
            stderr=events_descriptor(),
            # Ctrl-C in the terminal reaches only the gateway, which then ends the workers in good order.
            start_new_session=True,
            env=WORKER_ENVIRONMENT | os.environ,
        )
        assert process.stdout is not None
        _log.info("worker started device=%s pid=%d", self._name, process.pid)
        last_words = asyncio.create_task(process.stdout.read())
        channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=_CHANNEL_OPTIONS)
        attending = asyncio.create_task(self._attend(channel))
        ending = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ending, attending}, return_when=asyncio.FIRST_COMPLETED)
            # Also if the attending has failed: otherwise a hung worker would never be noticed.
            self.kill()
            await ending
        finally:
            attending.cancel()
            self.info = self.stub = None
            await self._end(process)
            self.death = self._judged(process)
            self._unheard.set()
            self.exited.set()
            self._changed()
            await channel.close()
        self.death = dataclasses.replace(self.death, last_words=await _read_soon(last_words))
        return self.death

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

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

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        if not self.answers:
            # A stopped process (SIGSTOP) would not notice the closed pipe.
            self.kill()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except (asyncio.TimeoutError, asyncio.CancelledError):
            self.kill()
            await process.wait()

    def _judged(self, process: asyncio.subprocess.Process) -> Death:
        assert process.returncode is not None
        code = process.returncode
        if self._killed is not None:
            how, turn_of = self._killed
            return Death(code, how, turn_of, blames=bool(turn_of))
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Death(code, how, self._read_turn(), blames=True)

    def _read_turn(self) -> str:
        with contextlib.suppress(OSError):
            return self._turn_file.read_bytes().rstrip(b"\0 \n").decode(errors="replace")
        return ""

    async def _attend(self, channel: grpc.aio.Channel) -> None:
        """Waits until the worker is ready, then checks that it answers. Returns once it must be killed."""
        stub = cast("WorkerServiceAsyncStub", worker_pb2_grpc.WorkerServiceStub(channel))
        try:
            if await self._await_ready(stub):
                await self._keep_pinging(stub)
        except Exception as error:
            _log.exception("worker cannot be monitored device=%s", self._name)
            self._kill_because(f"killed because it could not be monitored: {error!r}", turn_of="")

    async def _await_ready(self, stub: WorkerServiceAsyncStub) -> bool:
        """Waits until the worker is ready. Returns False if it hung instead and was killed."""
        asking = asyncio.create_task(self._first_info(stub))
        watching = asyncio.create_task(self._start.until_hung())
        try:
            await asyncio.wait({asking, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                self._kill_because(f"killed after {watching.result()}", turn_of="")
                return False
            info = asking.result()
        finally:
            asking.cancel()
            watching.cancel()
        self._name = self._given_name or info.device.name
        info.device.name = self._name
        self.info, self.stub = info, stub
        _log.info(
            "worker ready device=%s description=%r precision=%s memory_mib=%d",
            self._name,
            info.device.description,
            pb.Precision.Name(info.device.auto_precision).removeprefix("PRECISION_").lower(),
            info.device.memory_bytes >> 20,
        )
        self._changed()
        return True

    async def _first_info(self, stub: WorkerServiceAsyncStub) -> worker_pb2.GetWorkerInfoResponse:
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
                        self._start.step,
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
            except grpc.aio.AioRpcError:
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

    def _note_answer(self) -> None:
        if not self.answers:
            _log.info("worker answers again device=%s", self._name)
            self.answers = True
            self._unheard.clear()
            self._changed()

    def _kill_because(self, how: str, *, turn_of: str) -> None:
        _log.error("worker killed device=%s how=%r job=%s", self._name, how, turn_of)
        self._killed = how, turn_of
        self.kill()


async def _read_soon(text: asyncio.Task[bytes]) -> str:
    """Returns the output of a process that has ended; empty if a child process still keeps the pipe open."""
    with contextlib.suppress(asyncio.TimeoutError):
        return (await asyncio.wait_for(text, _END_SECONDS)).decode(errors="replace").strip()
    return ""
