"""The intake: faults of pictures, of callers, and of the process itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import IntakeUnable, PictureDamaged, PictureFault, Samples, Source
from impasto_server.fleet import intake as module
from impasto_server.fleet.intake import IntakeProcess
from impasto_server.temporary import anonymous_file
from support.samples import coded, photo
from support.server_process import children, is_alive, until


def with_intake(work: Callable[[IntakeProcess], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with IntakeProcess() as intake:
            return await asyncio.wait_for(work(intake), 60)

    return asyncio.run(run())


def large_noise() -> bytes:
    return coded(PIL.Image.effect_noise((3000, 3000), 90), compress_level=0)


async def a_child(pid: int) -> int:
    found = await asyncio.to_thread(until, lambda: children(pid), bool)
    return found[0]


def source(data: bytes, **about: Any) -> Source:
    file = anonymous_file()
    file.write(data)
    return Source(file, **about)


def test_a_picture_is_described_decoded_and_encoded() -> None:
    async def work(intake: IntakeProcess) -> None:
        content = source(coded(photo(64, 48)), pixels=64 * 48)
        about = await intake.describe("anna", content)
        assert (about.format, about.size, about.bits) == (pb.IMAGE_FORMAT_PNG, (64, 48), 8)
        samples = await intake.decode("anna", content, (32, 24), 16)
        assert (samples.width, samples.height, samples.channels, samples.bits) == (32, 24, 3, 16)
        assert os.fstat(samples.file.fileno()).st_size == 32 * 24 * 3 * 2
        with await intake.encode("anna", samples, '{"n": 1}', content) as result:
            picture = PIL.Image.open(result)
            assert picture.size == (32, 24)
            assert picture.info["impasto"] == '{"n": 1}'
        mask = await intake.decode_mask("anna", content, (16, 12))
        assert (mask.width, mask.height, mask.channels, mask.bits) == (16, 12, 1, 8)

    with_intake(work)


def test_raw_pixels_of_16_bits_are_decoded_and_converted() -> None:
    levels = np.arange(4 * 3 * 4, dtype="<u2").reshape(3, 4, 4) * 1000
    levels[..., 3] = 65535

    async def work(intake: IntakeProcess) -> None:
        deep = pb.RawPixels(width=4, height=3, rgba=levels.tobytes(), bits_per_channel=16)
        given = source(deep.SerializeToString(), raw=True, pixels=12)
        about = await intake.describe("anna", given)
        assert (about.size, about.bits) == ((4, 3), 16)
        samples = await intake.decode("anna", given, (4, 3), 16)
        found = np.frombuffer(os.pread(samples.file.fileno(), 10_000, 0), "<u2").reshape(3, 4, 3)
        assert (found == levels[..., :3]).all()
        with anonymous_file() as converted:
            await intake.convert("anna", given, pb.IMAGE_FORMAT_RGBA16, converted)
            converted.seek(0)
            assert converted.read() == levels.tobytes()

    with_intake(work)


def test_a_file_that_is_not_a_picture_is_refused_and_the_next_is_read() -> None:
    async def work(intake: IntakeProcess) -> None:
        with pytest.raises(PictureFault, match="not a PNG"):
            await intake.describe("anna", source(b"rubbish" * 100))
        with pytest.raises(PictureDamaged):
            await intake.decode("anna", source(coded(photo()), sha256="0" * 64), (32, 24), 8)
        with pytest.raises(OSError, match="No such file"):
            await intake.describe("anna", Source(Path("/nonexistent")))
        assert (await intake.describe("anna", source(coded(photo())))).size == (32, 24)
        assert intake.restarts == 0

    with_intake(work)


@pytest.mark.parametrize("limit", ["_FIXED_BYTES", "_CPU_SECONDS"])
def test_a_picture_that_needs_too_much_memory_or_time_is_refused(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(intake: IntakeProcess) -> None:
        noise = source(large_noise(), pixels=9_000_000)
        with monkeypatch.context() as changed:
            changed.setattr(module, limit, 0)
            changed.setattr(
                module, "_BYTES_PER_PIXEL" if limit == "_FIXED_BYTES" else f"{limit}_PER_MEGAPIXEL", 0
            )
            with pytest.raises(PictureFault, match="needs more memory or time"):
                await intake.decode("anna", noise, (9000, 9000), 16)
        assert (await intake.describe("bela", source(coded(photo())))).size == (32, 24)
        assert intake.restarts == 0

    with_intake(work)


def test_a_picture_is_not_blamed_if_its_process_is_killed_from_outside() -> None:
    async def work(intake: IntakeProcess) -> None:
        decoding = asyncio.create_task(
            intake.decode("anna", source(large_noise(), pixels=1), (2999, 2999), 8)
        )
        assert intake.process_id is not None
        os.kill(await a_child(intake.process_id), signal.SIGKILL)
        assert (await decoding).width == 2999
        assert intake.restarts == 0

    with_intake(work)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["process", "child"])
def test_a_stopped_task_is_repeated(stopped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PING_SECONDS", 0.5)
    monkeypatch.setattr(module, "_SECONDS", 1)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 1.0 if stopped == "child" else 1000.0)

    async def work(intake: IntakeProcess) -> None:
        assert intake.process_id is not None
        noise = source(large_noise(), pixels=1)
        if stopped == "process":
            os.kill(intake.process_id, signal.SIGSTOP)
        decoding = asyncio.create_task(intake.decode("anna", noise, (299, 299), 8))
        if stopped == "child":
            os.kill(await a_child(intake.process_id), signal.SIGSTOP)
        assert (await decoding).width == 299
        assert intake.restarts == 1

    with_intake(work)


def test_a_picture_is_not_blamed_whenever_its_process_is_killed() -> None:
    async def work(intake: IntakeProcess) -> None:
        given = source(coded(photo()))
        assert intake.process_id is not None
        over = threading.Event()

        def kill() -> None:
            while not over.wait(0.011):
                for child in children(intake.process_id or 0):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            for _ in range(60):
                # A picture may be blamed if its process is killed three times in a row.
                with contextlib.suppress(PictureFault):
                    assert (await intake.describe("anna", given)).size == (32, 24)
        finally:
            over.set()
            await asyncio.to_thread(killer.join)

    with_intake(work)


def test_a_picture_is_not_blamed_if_the_intake_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(intake: IntakeProcess) -> None:
        intake.kill()
        with monkeypatch.context() as changed:
            changed.setattr(module, "module_command", lambda name: ["/nonexistent"])
            with pytest.raises(IntakeUnable):
                await intake.describe("anna", source(coded(photo())))
        assert (await intake.describe("anna", source(coded(photo())))).size == (32, 24)

    with_intake(work)


def test_a_killed_intake_is_replaced_and_its_tasks_are_done() -> None:
    async def work(intake: IntakeProcess) -> None:
        first = intake.process_id
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        waiting = [
            asyncio.create_task(intake.describe(tenant, source(coded(photo())))) for tenant in ("a", "b", "c")
        ]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        assert [(await task).size for task in waiting] == 3 * [(32, 24)]
        assert intake.restarts == 1
        assert intake.process_id != first

    with_intake(work)


def test_a_task_is_ended_when_its_caller_leaves() -> None:
    async def work(intake: IntakeProcess) -> None:
        left = asyncio.create_task(intake.decode("anna", source(large_noise(), pixels=1), (2999, 2999), 8))
        assert intake.process_id is not None
        child = await a_child(intake.process_id)
        os.kill(child, signal.SIGSTOP)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        await asyncio.to_thread(until, lambda: is_alive(child), lambda alive: not alive)
        assert (await intake.describe("anna", source(coded(photo())))).size == (32, 24)

    with_intake(work)


@pytest.mark.parametrize("message", [b"ping", b'{"task": "describe"}'])
def test_an_answer_that_nobody_reads_does_no_harm(message: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """As if the caller leaves at the moment at which its task is done."""

    async def work(intake: IntakeProcess) -> None:
        assert intake._tasks is not None
        for _ in range(5):
            reading, writing = os.pipe()
            os.close(reading)
            socket.send_fds(intake._tasks, [message], [writing])
            os.close(writing)
        content = source(coded(photo(64, 48)), pixels=64 * 48)
        assert (await intake.describe("anna", content)).size == (64, 48)
        assert intake.restarts == 0

    with_intake(work)
    assert "Broken pipe" not in capfd.readouterr().err


def test_the_intake_ends_with_the_gateway(tmp_path: Path) -> None:
    async def run() -> tuple[int | None, IntakeProcess]:
        async with IntakeProcess() as intake:
            await intake.describe("anna", source(coded(photo())))
            return intake.process_id, intake

    pid, _ = asyncio.run(run())
    assert pid is not None
    until(lambda: is_alive(pid), lambda alive: not alive)


def test_a_painting_without_a_content_is_encoded() -> None:
    async def work(intake: IntakeProcess) -> None:
        file = anonymous_file()
        file.write(bytes(range(36)))
        with await intake.encode("anna", Samples(file, 4, 3, 3, 8), "{}") as result:
            assert np.asarray(PIL.Image.open(result)).tobytes() == bytes(range(36))

    with_intake(work)
