"""Runs the intake, the process that reads pictures, and gives it tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import (
    Description,
    IntakeUnable,
    PictureDamaged,
    PictureFault,
    Samples,
    Source,
)
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS
from impasto_server.logs import events_descriptor
from impasto_server.shares import Shares
from impasto_server.temporary import anonymous_file

_log = logging.getLogger(__name__)

_MIB = 1 << 20

LARGE_PIXELS = 16_000_000
"""Pictures with more pixels are read one at a time: that bounds memory, and small pictures can overtake."""

_SMALL_PLACES = 4

# The limits of a task. The memory limit counts addresses, not pages: the libraries alone take 160 MiB.
_FIXED_BYTES = 512 * _MIB
_BYTES_PER_PIXEL = 24
_CPU_SECONDS, _SECONDS = 10, 60
_CPU_SECONDS_PER_MEGAPIXEL = 1.0
# For encoding our own pictures: WebP takes a second per megapixel on a fast machine.
_CODING_SECONDS_PER_MEGAPIXEL = 4.0
# Seconds of the clock per second of processor time: other processes need the cores too.
_CLOCK_FACTOR = 4.0

_ATTEMPTS = 3
_OWN_LIMITS = ("SIGXCPU", "SIGALRM", "SIGXFSZ", "out of memory")
"""How a task ends that exceeds its own limits."""

_PING = b"ping"
_PING_SECONDS = 5.0
"""Interval of the pings that check whether the process answers, and the timeout of each."""

_PATIENCE_SECONDS = 10.0
"""How long to wait for an answer beyond the time limit of the task."""

# The largest message of a Unix socket with the usual settings of Linux.
_MAX_TASK_BYTES = 128 * 1024

_FORMATS = {
    "png": pb.IMAGE_FORMAT_PNG,
    "jpeg": pb.IMAGE_FORMAT_JPEG,
    "webp": pb.IMAGE_FORMAT_WEBP,
    "tiff": pb.IMAGE_FORMAT_TIFF,
    "png16": pb.IMAGE_FORMAT_PNG_16,
    "rgba8": pb.IMAGE_FORMAT_RGBA8,
    "rgba16": pb.IMAGE_FORMAT_RGBA16,
    "": pb.IMAGE_FORMAT_UNSPECIFIED,
}
_NAMES = {format: name for name, format in _FORMATS.items()}


class IntakeProcess:
    """The intake process, which is replaced when it ends or hangs. See `contract.pictures.Intake`.

    Used as `async with intake:`.

    Attributes:
        restarts: number of times that the process was replaced.
    """

    def __init__(self, *, log_level: str = "info", log_format: str = "text") -> None:
        """
        Args:
            log_level, log_format: of the process; see `logs.log_to_stderr`.
        """
        self.restarts = 0
        self._arguments = ["--log-level", log_level, "--log-format", log_format]
        self._process: subprocess.Popen[bytes] | None = None
        self._tasks: socket.socket | None = None
        self._waiting = 0
        self._asking: asyncio.Task[None] | None = None
        # One tenant never has all the places, so that another tenant's small picture need not wait.
        self._small = Shares(_SMALL_PLACES - 1, _SMALL_PLACES)
        self._large = Shares(1, 1)

    async def __aenter__(self) -> IntakeProcess:
        self._start()
        self._asking = asyncio.create_task(self._keep_asking())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._asking is not None
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)
        self.kill()

    @property
    def process_id(self) -> int | None:
        """The PID of the process; None while there is no process."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """Kills the process and its tasks."""
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def describe(self, tenant: str, source: Source) -> Description:
        """See `Intake`."""
        with source.open() as file:
            task = {"task": "describe", "max_pixels": MAX_IMAGE_PIXELS, "sources": [_told(source)]}
            return _description(await self._do(tenant, task, [file], pixels=0))

    async def decode(self, tenant: str, source: Source, size: tuple[int, int], bits: int) -> Samples:
        """See `Intake`."""
        task = {"task": "decode", "size": size, "bits": bits}
        out, told = await self._written(tenant, task, [source], pixels=max(source.pixels, math.prod(size)))
        return Samples(out, told["width"], told["height"], told["channels"], told["bits"])

    async def decode_mask(self, tenant: str, source: Source, size: tuple[int, int]) -> Samples:
        """See `Intake`."""
        task = {"task": "decode_mask", "size": size}
        out, told = await self._written(tenant, task, [source], pixels=source.pixels)
        return Samples(out, told["width"], told["height"], told["channels"], told["bits"])

    async def encode(
        self,
        tenant: str,
        samples: Samples,
        metadata: str,
        content: Source | None = None,
        selection: Source | None = None,
    ) -> BinaryIO:
        """See `Intake`."""
        size = samples.width, samples.height
        task: dict[str, Any] = {"task": "encode", "size": size, "bits": samples.bits, "metadata": metadata}
        sources = [Source(samples.file, pixels=math.prod(size))]
        for name, source in (("content", content), ("selection", selection)):
            if source is not None:
                task[name] = len(sources)
                sources.append(source)
        out, _ = await self._written(tenant, task, sources, pixels=max(each.pixels for each in sources))
        return out

    async def convert(self, tenant: str, source: Source, format: pb.ImageFormat, out: BinaryIO) -> None:
        """See `Intake`."""
        task = {"task": "convert", "format": _NAMES[format]}
        await self._write(tenant, task, [source], out, pixels=source.pixels)

    async def reduce(
        self, tenant: str, source: Source, side: int, format: pb.ImageFormat
    ) -> tuple[bytes, int, int]:
        """See `Intake`."""
        task = {"task": "reduce", "side": side, "format": _NAMES[format]}
        out, told = await self._written(tenant, task, [source], pixels=source.pixels)
        with out:
            out.seek(0)
            return out.read(), told["width"], told["height"]

    async def thumbnail(self, source: Source, side: int, max_bytes: int) -> tuple[bytes, Description]:
        """See `Intake`."""
        about = await self.describe("", source)
        task = {"task": "thumbnail", "side": side, "max_bytes": max_bytes}
        out, _ = await self._written("", task, [source], pixels=about.width * about.height)
        with out:
            out.seek(0)
            return out.read(), about

    async def _written(
        self, tenant: str, task: dict[str, Any], sources: Sequence[Source], *, pixels: int
    ) -> tuple[BinaryIO, dict[str, Any]]:
        """Does a task that reads from sources and writes to a new file.

        Returns:
            The file and the intake's answer.
        """
        out = anonymous_file()
        try:
            return out, await self._write(tenant, task, sources, out, pixels=pixels)
        except BaseException:
            out.close()
            raise

    async def _write(
        self, tenant: str, task: dict[str, Any], sources: Sequence[Source], out: BinaryIO, *, pixels: int
    ) -> dict[str, Any]:
        """Does a task that reads from sources and writes to a file; returns the intake's answer."""
        task["sources"] = [_told(source) for source in sources]
        with contextlib.ExitStack() as opened:
            files = [opened.enter_context(source.open()) for source in sources]
            return await self._do(tenant, task, [*files, out], pixels=pixels)

    async def _do(
        self, tenant: str, task: dict[str, Any], files: Sequence[BinaryIO], *, pixels: int
    ) -> dict[str, Any]:
        """Does a task and returns the intake's answer.

        Args:
            tenant: whose turn it takes.
            task: as `intake.tasks.do` takes it.
            files: the files to read and, last, the file to write.
            pixels: number of pixels of the task's largest picture.

        Raises:
            PictureFault: a picture has a fault, or needs more memory or time than allowed.
            OSError: there is no process to do the task.
        """
        is_large = pixels > LARGE_PIXELS
        size = sum(os.fstat(file.fileno()).st_size for file in files)
        is_coding = task["task"] in ("encode", "convert")
        cpu_seconds = _CODING_SECONDS_PER_MEGAPIXEL if is_coding else _CPU_SECONDS_PER_MEGAPIXEL
        task["limits"] = {
            "memory": _FIXED_BYTES + _BYTES_PER_PIXEL * pixels + 3 * size,
            "cpu_seconds": _CPU_SECONDS + math.ceil(cpu_seconds * pixels / 1e6),
            "seconds": _SECONDS + math.ceil(_CLOCK_FACTOR * cpu_seconds * pixels / 1e6),
            "file_bytes": 64 * _MIB + 10 * pixels,
            "yields": is_large,
        }
        places = self._large if is_large else self._small
        async with places.held(tenant, 1):
            answer = await self._answer_of_several(task, files)
        if "unable" in answer:
            message = f"the intake process could not do the task ({answer['unable']})"
            raise IntakeUnable(answer["errno"], message) if "errno" in answer else IntakeUnable(message)
        if "damaged" in answer:
            raise PictureDamaged(answer["damaged"])
        if "fault" in answer:
            raise PictureFault(answer["fault"], answer.get("field", ""))
        if "died" in answer:
            raise PictureFault(
                "needs more memory or time to read than is allowed for its size; save it again as a plain "
                "PNG or JPEG"
            )
        return cast(dict[str, Any], answer["done"])

    async def _answer_of_several(self, task: dict[str, Any], files: Sequence[BinaryIO]) -> dict[str, Any]:
        """Repeats a task until an answer says something about the pictures, `_ATTEMPTS` times at most.

        If the task's process was killed from outside, for example because the machine ran out of memory, the
        pictures are not to blame, unless it happens every time.
        """
        answer: dict[str, Any] = {}
        for _ in range(_ATTEMPTS):
            self._waiting += 1
            try:
                answer = await self._answer(task, files)
            finally:
                self._waiting -= 1
            if "died" not in answer and "unable" not in answer:
                break
            _log.warning("picture not read task=%s answer=%r", task["task"], answer)
            if answer.get("died") in _OWN_LIMITS:
                break
            # The next attempt must begin with an empty file.
            for file in files[len(task["sources"]) :]:
                os.ftruncate(file.fileno(), 0)
        return answer

    async def _answer(self, task: dict[str, Any], files: Sequence[BinaryIO]) -> dict[str, Any]:
        """Sends a task to the process and returns its answer."""
        message = json.dumps(task).encode()
        if len(message) > _MAX_TASK_BYTES:
            raise OSError(f"the task for the intake has {len(message)} bytes, more than {_MAX_TASK_BYTES}")
        return await self._told(message, files, task["limits"]["seconds"] + _PATIENCE_SECONDS)

    async def _told(self, message: bytes, files: Sequence[BinaryIO], seconds: float) -> dict[str, Any]:
        """Sends a message to the process and returns its answer.

        A process that does not answer within `seconds`, or has ended, is replaced.
        """
        if self._tasks is None:
            try:
                self._start()
            except OSError as error:
                return {"unable": str(error)}
        tasks, process = self._tasks, self._process
        assert tasks is not None
        reading, writing = os.pipe()
        try:
            try:
                while True:
                    try:
                        descriptors = [writing, *(file.fileno() for file in files)]
                        socket.send_fds(tasks, [message], descriptors)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
            finally:
                os.close(writing)
            # A task's process ends itself in time, unless it or its parent was stopped (SIGSTOP).
            answer = await asyncio.wait_for(_read_all(reading), seconds)
        except (asyncio.TimeoutError, TimeoutError):
            self._replace(process, "does not answer")
            return {"unable": "it did not answer"}
        except OSError as error:
            self._replace(process, "cannot be reached")
            return {"unable": str(error)}
        finally:
            os.close(reading)
        # A task's process can be killed after it has answered; the second line says so.
        line, end, _ = answer.partition(b"\n")
        if not end:
            # No picture can end the intake itself, so it was killed.
            self._replace(process, "has ended")
            return {"unable": "it had ended"}
        return cast(dict[str, Any], json.loads(line))

    async def _keep_asking(self) -> None:
        """Pings the process while a task waits, and replaces it if it does not answer."""
        while True:
            await asyncio.sleep(_PING_SECONDS)
            if self._waiting:
                # A ping fails if this process has no descriptor left.
                with contextlib.suppress(OSError):
                    await self._told(_PING, [], _PING_SECONDS)

    def _replace(self, process: subprocess.Popen[bytes] | None, why: str) -> None:
        """Kills a process that is of no use; the next task starts another."""
        if process is not None and self._process is process:
            _log.error("intake %s and is replaced", why)
            self.restarts += 1
            self.kill()

    def _start(self) -> None:
        """
        Raises:
            OSError: the process cannot be started.
        """
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        own, its = socket.socketpair(socket.AF_UNIX, kind)
        own.setblocking(False)
        # Each task begins with a fork, which threads do not survive, and their stacks count as its memory.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        command = [*module_command("impasto_server.intake"), "--socket", str(its.fileno())]
        try:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stderr=events_descriptor(),
                pass_fds=[its.fileno()],
                env=environment,
            )
        except BaseException:
            own.close()
            raise
        finally:
            its.close()
        self._tasks = own


async def _read_all(descriptor: int) -> bytes:
    """Reads a pipe until its other end closes."""
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def on_readable() -> None:
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        data.extend(piece)
        if not piece and not done.done():
            done.set_result(None)

    loop.add_reader(descriptor, on_readable)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
    return bytes(data)


def _told(source: Source) -> dict[str, Any]:
    return {"raw": source.raw, "sha256": source.sha256}


def _description(told: dict[str, Any]) -> Description:
    return Description(
        format=_FORMATS[told["format"]],
        width=told["width"],
        height=told["height"],
        coded_width=told["coded_width"],
        coded_height=told["coded_height"],
        bits=told["bits"],
    )
