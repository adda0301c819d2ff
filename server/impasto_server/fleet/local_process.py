"""A worker's process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc.aio

from impasto.python_programs import module_command
from impasto_server.fleet.program import WORKER_MODULE, Exit
from impasto_server.fleet.start_watch import StartWatch
from impasto_server.logs import events_descriptor

_log = logging.getLogger(__name__)

_END_SECONDS = 1.0
"""Maximum time for a process to end by itself before it is killed."""
_TURN_BYTES = 128
"""Size of the file in which a worker writes the name of the job that has the turn."""

CHANNEL_OPTIONS: list[tuple[str, str | int]] = [
    # The gateway has checked the sizes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A worker answers once it is ready: try to connect often.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.use_local_subchannel_pool", 1),
]

_DEFAULTS = {
    # OpenMP's threads spin while they wait for each other, by default for milliseconds, on cores that other
    # processes may need. Measured: with shorter spinning, evaluations take as long on quiet cores, and 20 %
    # less on busy ones.
    "GOMP_SPINCOUNT": "20000",
    # Matrix products give the same bits each time, also when streams share a GPU.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Memory of a GPU is kept in pieces that grow: the scales of a painting need tensors of many sizes.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
_ALLOCATORS = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"}
"""Names of the allocator's variable in different versions of PyTorch."""


def worker_environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the environment variables of a worker: the gateway's own, and defaults for those not set."""
    defaults = dict(_DEFAULTS)
    if not _ALLOCATORS.isdisjoint(own):
        del defaults["PYTORCH_CUDA_ALLOC_CONF"]
    return defaults | dict(own)


class LocalLauncher:
    """Starts a worker's process on this machine. See `Launcher`."""

    def __init__(self, socket: Path, *, start_timeout: float, module: str = WORKER_MODULE) -> None:
        """
        Args:
            socket: path of the Unix socket for calls. Files beside it get the same name with other endings.
            start_timeout: seconds without a sign of life during the start after which the process is killed;
                more than 1.
            module: the program that the process runs.
        """
        self._socket = socket
        self._start_timeout = start_timeout
        self._module = module

    async def launch(self, device: str, arguments: Sequence[str]) -> LocalProcess:
        """See `Launcher`."""
        self._socket.unlink(missing_ok=True)
        files = ProcessFiles.beside(self._socket, self._start_timeout)
        where = ["--socket", str(self._socket), "--device", device]
        return await LocalProcess.start(self._module, files, [*where, *arguments], f"unix:{self._socket}")


@dataclasses.dataclass(frozen=True)
class ProcessFiles:
    """The files in which a process tells about itself, because files can be read while it hangs and after
    its end.

    Attributes:
        turn: has the name of the job that has the turn.
        start: the signs of life during the start.
    """

    turn: Path
    start: StartWatch

    @classmethod
    def beside(cls, path: Path, start_timeout: float) -> ProcessFiles:
        """Makes the files of a new process.

        Args:
            path: the files get this name with other endings.
            start_timeout: seconds without a sign of life during the start after which the process is killed;
                more than 1.

        Raises:
            OSError: they cannot be written.
        """
        files = cls(path.with_suffix(".turn"), StartWatch(path.with_suffix(".start"), start_timeout))
        files.turn.write_bytes(bytes(_TURN_BYTES))
        files.start.prepare()
        return files

    def read_turn(self) -> str:
        """Returns the name of the job that has the turn; empty if none has it."""
        with contextlib.suppress(OSError):
            return self.turn.read_bytes().rstrip(b"\0 \n").decode(errors="replace")
        return ""


def this_machine() -> str:
    """The name of this machine."""
    return platform.node() or "localhost"


class LocalProcess:
    """A worker's process on this machine. See `Program`.

    Attributes:
        pid: its process ID.
    """

    def __init__(self, process: asyncio.subprocess.Process, files: ProcessFiles, address: str) -> None:
        self.pid = process.pid
        self.machine = this_machine()
        self._process = process
        self._files = files
        self._address = address
        # Why it was killed; None if it was not.
        self._fault: str | None = None
        self._watch = asyncio.create_task(self._watch_start())
        self._ending = asyncio.create_task(self._await_end())

    @classmethod
    async def start(
        cls, module: str, files: ProcessFiles, arguments: Sequence[str], address: str
    ) -> LocalProcess:
        """Starts a process.

        Args:
            module: the program that it runs.
            files: of this process.
            arguments: of the program, without those for `files`.
            address: for `connect`.

        Raises:
            OSError: it cannot be started now.
        """
        process = await asyncio.create_subprocess_exec(
            *module_command(module),
            *("--turn-file", str(files.turn), "--heartbeat-file", str(files.start.path)),
            *arguments,
            # The worker ends when this pipe closes, which happens when this process ends in any way.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # The worker logs in the same format as this process, to the same place.
            stderr=events_descriptor(),
            # Ctrl-C in the terminal reaches only the gateway, which then ends the workers in good order.
            start_new_session=True,
            env=worker_environment(),
        )
        _log.info("worker started pid=%d arguments=%s", process.pid, " ".join(arguments))
        return cls(process, files, address)

    @property
    def step(self) -> str:
        """See `Program`."""
        return self._files.start.step

    async def connect(self) -> grpc.aio.Channel:
        """See `Program`."""
        return grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)

    def started(self) -> None:
        """See `Program`."""
        self._watch.cancel()

    async def wait(self) -> Exit:
        """See `Program`."""
        return await asyncio.shield(self._ending)

    def kill(self) -> None:
        """See `Program`."""
        if self._process.returncode is None:
            self._process.kill()

    async def leave(self, *, answers: bool) -> None:
        """See `Program`. Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not answers:
            # A stopped process (SIGSTOP) would not notice the closed pipe.
            self.kill()
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except (asyncio.TimeoutError, asyncio.CancelledError):
            self.kill()
            await self._process.wait()

    async def _await_end(self) -> Exit:
        assert self._process.stdout is not None
        words = asyncio.create_task(self._process.stdout.read())
        code = await self._process.wait()
        self._watch.cancel()
        if self._fault is not None:
            return Exit(code, self._fault, blames=False)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        turn_of = self._files.read_turn()
        said = ""
        # A child of the process may keep the pipe open.
        with contextlib.suppress(asyncio.TimeoutError):
            said = (await asyncio.wait_for(words, _END_SECONDS)).decode(errors="replace").strip()
        return Exit(code, how, turn_of, last_words=said)

    async def _watch_start(self) -> None:
        self._fault = f"killed after {await self._files.start.until_hung()}"
        _log.error("worker killed pid=%d how=%r", self.pid, self._fault)
        self.kill()
