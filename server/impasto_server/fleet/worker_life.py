"""One process of a worker, from its start to its end: is it ready, does it answer, how did it end."""

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
"""For so long a process may take to end by itself; then it is killed."""
_NOTICE_SECONDS = 3.0
"""The connections of a process that dies break a moment before its exit is known: at most so long."""
_PING_SECONDS = 1.0
"""Between two pings at most."""
_SILENT_SHARE, _PING_SHARE = 1 / 4, 1 / 8
"""Of the limit: silent for so long, a worker gets no jobs; so long one ping is waited for."""
_TOLD_SECONDS = 60.0
"""A worker that is not ready after so long is told of in the log, and again after as long."""
_TURN_BYTES = 128
"""Length of the file in which a worker says whose turn it is."""

_CHANNEL_OPTIONS = [
    # The gateway has checked the sizes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # The socket appears when the worker is ready: look for it often.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.use_local_subchannel_pool", 1),
]

WORKER_ENVIRONMENT = {"GOMP_SPINCOUNT": "20000"}
"""What a worker has where the gateway's own environment says nothing else. OpenMP's threads spin while they
wait for each other, by default for milliseconds and on a core that another process may need. Spinning shorter
cost nothing on two quiet cores (512 px: 838 to 852 ms an evaluation, before 836 to 839); beside two busy
processes an evaluation took 1.8 s instead of 2.2 s. Not spinning at all costs 3 % at 512 px and half as much
again at 48 px."""


class NoAnswer(Exception):
    """The worker does not answer, though its process is there."""


class Gone(Exception):
    """The worker's process has ended."""


@dataclasses.dataclass(frozen=True)
class Death:
    """How a process ended.

    Attributes:
        exit_code: the process's; below 0, the signal that ended it.
        how: the same in words.
        turn_of: name of the job whose turn it was; empty if it was nobody's.
        blames: whether a job may be to blame. Not if the worker was killed because it did not answer, or hung
            while it started.
        last_words: what it wrote to stdout.
    """

    exit_code: int
    how: str
    turn_of: str
    blames: bool
    last_words: str = ""


class WorkerLife:
    """One process of a worker.

    Attributes:
        info: what the worker told of itself; None before it is ready and after its end.
        stub: for calls; None as `info`.
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
            name: of the device, for the log; None for what the worker tells.
            socket: path of the Unix socket to speak through.
            turn_file: where the worker is to write whose turn it is.
            timeout: seconds without an answer after which it is killed.
            turn_timeout: seconds that one turn may last before it is killed.
            start_timeout: seconds without a sign of life, before it is ready, after which it is killed; more
                than one.
            changed: called when the worker becomes ready, silent, ready again, and when it has ended.
            module: the program that it runs.
        """
        self.info: worker_pb2.GetWorkerInfoResponse | None = None
        self.stub: WorkerServiceAsyncStub | None = None
        self.answers = True
        self.exited = asyncio.Event()
        self.death: Death | None = None
        # Set while it is no use to wait for an answer.
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
        # Why it was killed from here, and whose turn had not ended; None if it was not.
        self._killed: tuple[str, str] | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.info is not None and self.answers

    async def live(self, device: str, arguments: Sequence[str]) -> Death:
        """Runs the process from start to end; ends it when cancelled.

        Args:
            device: as torch names it, or "auto".
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
            # The worker ends when this pipe closes, that is when this process ends, however it does.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # It writes its events in the same form as this process, so that they go where these go.
            stderr=events_descriptor(),
            # Ctrl-C in the terminal reaches the gateway alone, which then ends the workers in good order.
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
            # Whatever ended that: a worker that nobody attends to would be lost for good if it hung.
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
        """The answer to a call, while there is hope of one.

        Args:
            method: of the stub.
            request: what it takes.
            timeout: seconds to wait at most; for a worker that does not answer pings, not at all.

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
                # What the worker itself says has details.
                if rpc_status.from_call(error) is None and await self.has_ended():
                    raise Gone from error
                raise
        if self.exited.is_set():
            raise Gone
        raise NoAnswer

    async def has_ended(self) -> bool:
        """Whether the process has ended, or does so in a moment."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.exited.wait(), _NOTICE_SECONDS)
        return self.exited.is_set()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        if not self.answers:
            # It may be stopped, and would not notice.
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
        """Waits until the worker is ready, then sees that it answers; returns once it has to be killed."""
        stub = cast("WorkerServiceAsyncStub", worker_pb2_grpc.WorkerServiceStub(channel))
        try:
            if await self._await_ready(stub):
                await self._keep_pinging(stub)
        except Exception as error:
            _log.exception("worker cannot be attended to device=%s", self._name)
            self._kill_because(f"killed, for it could not be attended to: {error!r}", turn_of="")

    async def _await_ready(self, stub: WorkerServiceAsyncStub) -> bool:
        """Whether the worker has become ready; if not, it hung and has been killed."""
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
            pb.Precision.Name(info.device.auto_precision),
            info.device.memory_bytes >> 20,
        )
        self._changed()
        return True

    async def _first_info(self, stub: WorkerServiceAsyncStub) -> worker_pb2.GetWorkerInfoResponse:
        """What the worker tells of itself once it is ready: no limit, for it may have weights to download."""
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
                    # It was about to die, as a rule; then this ends with it.
                    await asyncio.sleep(_PING_SECONDS)

    async def _keep_pinging(self, stub: WorkerServiceAsyncStub) -> None:
        """Pings until the worker has to be killed."""
        loop = asyncio.get_running_loop()
        patience = self._timeout * _PING_SHARE
        # Counted by pings: that this process was stopped itself is not held against the worker.
        silence = 0.0
        while True:
            sent = loop.time()
            try:
                ping = await stub.Ping(worker_pb2.PingRequest(), timeout=patience)
            except grpc.aio.AioRpcError:
                # One that fails early counts for as long as one that does not come.
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
    """What a process that has ended wrote; empty if a child of it still holds the pipe."""
    with contextlib.suppress(asyncio.TimeoutError):
        return (await asyncio.wait_for(text, _END_SECONDS)).decode(errors="replace").strip()
    return ""
