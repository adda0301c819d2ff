"""One worker: a process that owns one device, started again whenever it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.contract.errors import CallError, unavailable
from impasto_server.store.store import StoredImage

if TYPE_CHECKING:
    from impasto.worker.v1.worker_pb2_grpc import WorkerServiceAsyncStub

_log = logging.getLogger(__name__)

# What a worker exits with when starting it again cannot help: bad weights, no such device. Its last line on
# stdout says which.
CONFIGURATION_ERROR = os.EX_CONFIG

_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 30.0
_STABLE_SECONDS = 60.0
_END_SECONDS = 3.0
_INFO_SECONDS = 1.0
_UPDATE_SECONDS = 30.0
_CHUNK_BYTES = 512 * 1024
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


class WorkerDied(Exception):
    """A worker died while it had a job.

    Attributes:
        status: for the caller.
        turn_of: the name of the job whose turn it was; empty if it was nobody's.
    """

    def __init__(self, status: status_pb2.Status, *, turn_of: str) -> None:
        super().__init__(status.message)
        self.status = status
        self.turn_of = turn_of


class ConfigurationError(Exception):
    """The server cannot run as it was told to. The message says what to do."""


class WorkerProcess:
    """A worker process and its restarts.

    Attributes:
        device: what it was started for: "auto" until the worker has told.
        restarts: how often it had to be started again.
        last_turn: name of the job whose turn it was when the worker last died; empty if it was nobody's.
    """

    def __init__(
        self,
        device: str,
        *,
        arguments: Sequence[str],
        socket: Path,
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            device: "auto" or a device's name.
            arguments: further arguments of `python -m impasto_server.worker`.
            socket: path of the Unix socket to speak through.
            changed: called when the worker becomes ready, and when it dies.
        """
        self.device = device
        self.restarts = 0
        self.last_turn = ""
        self._arguments = arguments
        self._socket = socket
        self._turn_file = socket.with_suffix(".turn")
        self._changed = changed
        self._info: worker_pb2.GetWorkerInfoResponse | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._exited = asyncio.Event()
        self._exit_code: int | None = None
        self._stub: WorkerServiceAsyncStub | None = None

    @property
    def info(self) -> worker_pb2.GetWorkerInfoResponse | None:
        """What the worker told of itself; None while it is not ready."""
        return self._info

    @property
    def key(self) -> str:
        """A name that no other worker has: two may have devices of the same name."""
        return self._socket.stem

    @property
    def network(self) -> pb.FeatureNetwork:
        assert self._info is not None
        return self._info.network

    @property
    def memory_bytes(self) -> int:
        """What jobs may use of the device's memory; 0 while it is not ready."""
        return self._info.device.memory_bytes if self._info is not None else 0

    async def keep_alive(self) -> None:
        """Starts the worker and starts it again whenever it dies, until cancelled.

        Raises:
            ConfigurationError: the worker says that it can never run like this.
        """
        backoff = _FIRST_BACKOFF
        while True:
            started = time.monotonic()
            exit_code = await self._run_once()
            self.restarts += 1
            _log.error(
                "worker died device=%s how=%r restarts=%d", self.device, _how(exit_code), self.restarts
            )
            if time.monotonic() - started > _STABLE_SECONDS:
                backoff = _FIRST_BACKOFF
            await asyncio.sleep(backoff)
            backoff = min(4 * backoff, _MAX_BACKOFF)

    async def describe(self) -> pb.Device:
        """The device as it is now."""
        device = pb.Device(name=self.device, state=pb.DEVICE_STATE_STARTING, restarts=self.restarts)
        info, stub = self._info, self._stub
        if info is None or stub is None:
            return device
        # A worker that is too busy to answer is described as it last was.
        with self._losing_calls(), contextlib.suppress(grpc.aio.AioRpcError):
            info = await stub.GetWorkerInfo(worker_pb2.GetWorkerInfoRequest(), timeout=_INFO_SECONDS)
        device.MergeFrom(info.device)
        device.state = pb.DEVICE_STATE_READY if self._info is not None else pb.DEVICE_STATE_STARTING
        return device

    async def run(
        self, begin: worker_pb2.Begin, images: Sequence[tuple[str, StoredImage]], checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        """Lets the worker paint a job. Close the iterator to take the job off the device.

        Args:
            begin: the job.
            images: those that its spec names, with their SHA-256.
            checkpoint: what to go on from; None to begin anew.

        Raises:
            WorkerDied: the worker died before it was done.
            OSError: an image or the checkpoint cannot be read.
        """
        if self._stub is None:
            raise WorkerDied(self._death_notice(), turn_of="")
        exited = self._exited
        inputs = _Inputs(begin, images, checkpoint)
        call = self._stub.Run(inputs.requests())
        try:
            async for response in call:
                yield response
            inputs.check()
        except grpc.aio.AioRpcError as error:
            inputs.check()
            # What a call ends with whose worker dies depends on what it was at: as a rule UNAVAILABLE, but
            # UNKNOWN, INTERNAL and CANCELLED come as well.
            if not await _set_soon(exited) and error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            raise WorkerDied(self._death_notice(), turn_of=self.last_turn) from error
        except asyncio.CancelledError:
            inputs.check()
            if exited.is_set():
                # Closing the connection of a dead worker cancels a call that has not noticed yet.
                raise WorkerDied(self._death_notice(), turn_of=self.last_turn) from None
            raise
        finally:
            # An abandoned grpc.aio call is not cancelled by itself.
            call.cancel()

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        """Changes a job that runs here; None if it does not run here any more.

        Raises:
            CallError: the change is refused, or the worker does not answer.
        """
        if self._stub is None:
            return None
        exited = self._exited
        try:
            with self._losing_calls():
                return await self._stub.UpdateRun(request, timeout=_UPDATE_SECONDS)
            return None
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                return None
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise CallError(
                    unavailable("WORKER_BUSY", "the job's device is busy; try again", retry_after=2.0)
                ) from error
            if told := rpc_status.from_call(error):
                raise CallError(told) from error
            if await _set_soon(exited):
                return None
            raise

    async def suspend(self, job_name: str) -> None:
        """Asks for a job's Run to end with a checkpoint. Harmless if it does not run here."""
        if self._stub is None:
            return
        with self._losing_calls(), contextlib.suppress(grpc.aio.AioRpcError):
            await self._stub.SuspendRun(
                worker_pb2.SuspendRunRequest(job_name=job_name), timeout=_UPDATE_SECONDS
            )

    @contextlib.contextmanager
    def _losing_calls(self) -> Iterator[None]:
        """Passes over calls that are cancelled because a dead worker's connection is closed."""
        exited = self._exited
        try:
            yield
        except asyncio.CancelledError:
            if not exited.is_set():
                raise

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _death_notice(self) -> status_pb2.Status:
        return unavailable(
            "WORKER_DIED",
            f"the worker that painted this job died ({_how(self._exit_code)}); it is being restarted",
            retry_after=2.0,
        )

    async def _run_once(self) -> int:
        """Runs the process from start to end and returns its exit code; ends it when cancelled."""
        self._socket.unlink(missing_ok=True)
        self._turn_file.write_bytes(bytes(_TURN_BYTES))
        self._exited = asyncio.Event()
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "impasto_server.worker", "--socket", str(self._socket), "--device", self.device),
            *("--turn-file", str(self._turn_file)),
            *self._arguments,
            # The worker ends when this pipe closes, that is when this process ends, however it does.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C in the terminal reaches the gateway alone, which then ends the workers in good order.
            start_new_session=True,
            env=WORKER_ENVIRONMENT | os.environ,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        _log.info("worker started device=%s pid=%d", self.device, process.pid)
        last_words = asyncio.create_task(process.stdout.read())
        channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=_CHANNEL_OPTIONS)
        ready = asyncio.create_task(self._await_ready(channel))
        try:
            await process.wait()
        finally:
            ready.cancel()
            self._info = self._stub = None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _END_SECONDS)
            except (asyncio.TimeoutError, asyncio.CancelledError):
                process.kill()
                await process.wait()
            self._exit_code = process.returncode
            self.last_turn = self._read_turn()
            self._exited.set()
            self._changed()
            await channel.close()
        assert process.returncode is not None
        if process.returncode == CONFIGURATION_ERROR:
            raise ConfigurationError((await last_words).decode(errors="replace").strip())
        last_words.cancel()
        return process.returncode

    def _read_turn(self) -> str:
        with contextlib.suppress(OSError):
            return self._turn_file.read_bytes().rstrip(b"\0 \n").decode(errors="replace")
        return ""

    async def _await_ready(self, channel: grpc.aio.Channel) -> None:
        stub = cast("WorkerServiceAsyncStub", worker_pb2_grpc.WorkerServiceStub(channel))
        info = await stub.GetWorkerInfo(worker_pb2.GetWorkerInfoRequest(), wait_for_ready=True)
        self.device = info.device.name
        self._info, self._stub = info, stub
        _log.info(
            "worker ready device=%s description=%r precision=%s memory_mib=%d",
            info.device.name,
            info.device.description,
            pb.Precision.Name(info.device.auto_precision),
            info.device.memory_bytes >> 20,
        )
        self._changed()


async def _set_soon(exited: asyncio.Event) -> bool:
    """Whether a worker has ended: its connections break a moment before its exit is known."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(exited.wait(), _END_SECONDS)
    return exited.is_set()


class _Inputs:
    """What a worker is sent for a job: the job, its images and its checkpoint, in chunks."""

    def __init__(
        self, begin: worker_pb2.Begin, images: Sequence[tuple[str, StoredImage]], checkpoint: Path | None
    ) -> None:
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
            yield worker_pb2.InputChunk(size_bytes=size, offset=offset, data=data)
            offset += max(1, len(data))


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "connection lost"
    if exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"
