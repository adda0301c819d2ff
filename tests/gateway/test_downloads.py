"""The disk space that open downloads take."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import types
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.contract.pictures import IntakeUnable, Source
from impasto_server.gateway import downloads
from impasto_server.gateway.downloads import Download, Downloads
from impasto_server.store.errors import DiskFull
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Store

MIB = 2**20
CONVERTED = b"converted" * 1000


class Converter:
    """Writes the same data whatever it is asked to convert.

    Attributes:
        data: what it writes.
        fault: raised after a part of the data is written.
    """

    def __init__(self) -> None:
        self.data = CONVERTED
        self.fault: Exception | None = None

    async def convert(self, tenant: str, source: Source, format: int, out: BinaryIO) -> None:
        out.write(self.data[:100] if self.fault else self.data)
        if self.fault:
            raise self.fault


@pytest.fixture
def converter() -> Converter:
    return Converter()


@pytest.fixture
def offered(store: Store, converter: Converter, monkeypatch: pytest.MonkeyPatch) -> Downloads:
    """Downloads with a limit of 5 MiB of converted files per tenant."""
    monkeypatch.setattr(downloads, "_CONVERTED_BYTES", 5 * MIB)
    monkeypatch.setattr(downloads, "_WAIT_SECONDS", 0.2)
    return Downloads(cast(Any, types.SimpleNamespace(store=AsyncStore(store))), cast(Any, converter))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path)
    yield store
    store.close()


async def converted(offered: Downloads, tenant: str = "anna", side: int = 1000) -> Download:
    source = Source(io.BytesIO(), pixels=side * side)
    return await offered._converted(tenant, source, pb.IMAGE_FORMAT_RGBA8, side, side)


def test_converted_files_are_on_the_disk_of_the_store_until_they_are_closed(
    offered: Downloads, store: Store, tmp_path: Path
) -> None:
    async def run() -> None:
        download = await converted(offered)
        descriptor = os.fstat(download._file.fileno())
        assert (descriptor.st_dev, descriptor.st_nlink) == (os.stat(tmp_path).st_dev, 0)
        chunks = [chunk async for chunk in download.chunks(AsyncStore(store))]
        assert b"".join(chunk.data for chunk in chunks) == CONVERTED
        assert chunks[0].info.size_bytes == len(CONVERTED)
        assert offered._converted_bytes.taken == len(CONVERTED)
        download.close()
        assert offered._converted_bytes.taken == 0

    asyncio.run(run())


def test_a_tenant_at_its_limit_of_converted_bytes_waits_and_others_do_not(
    offered: Downloads, converter: Converter
) -> None:
    converter.data = bytes(4 * MIB)

    async def run() -> None:
        first = await converted(offered)
        with pytest.raises(CallError) as refused:
            await converted(offered)
        assert reason_of(refused.value.status) == "TOO_MANY_DOWNLOADS"
        assert "finish or cancel some of them" in refused.value.status.message
        (await converted(offered, "bela")).close()
        waiting = asyncio.create_task(converted(offered))
        await asyncio.sleep(0)
        first.close()
        (await waiting).close()
        # A single file always fits, however large it could become.
        (await converted(offered, side=8192)).close()
        assert offered._converted_bytes.taken == 0

    asyncio.run(run())


def test_a_conversion_that_fails_takes_no_space(offered: Downloads, converter: Converter) -> None:
    async def run() -> None:
        converter.fault = IntakeUnable("the intake did not answer")
        with pytest.raises(IntakeUnable):
            await converted(offered)
        assert offered._converted_bytes.taken == 0

    asyncio.run(run())


def test_a_full_disk_is_named_as_the_cause(offered: Downloads, converter: Converter) -> None:
    async def run() -> None:
        converter.fault = IntakeUnable(errno.ENOSPC, "No space left on device")
        with pytest.raises(DiskFull, match="the disk of the server's data folder is full"):
            await converted(offered)
        assert offered._converted_bytes.taken == 0

    asyncio.run(run())
