"""A simulated intake that reads no pictures: it takes time, and sometimes fails."""

from __future__ import annotations

import asyncio
import io
import random
from typing import BinaryIO

from impasto_server.contract.pictures import Description, Samples, Source


class SimulatedIntake:
    """See `impasto_server.contract.pictures.Intake`. All images of the simulation are stored with their size.

    Attributes:
        calm: whether every task succeeds from now on.
    """

    def __init__(self, random: random.Random) -> None:
        self.calm = False
        self._random = random

    async def describe(self, tenant: str, source: Source) -> Description:
        raise AssertionError("every image's size is stored")

    async def decode(self, tenant: str, source: Source, size: tuple[int, int], bits: int) -> Samples:
        await self._work()
        return Samples(io.BytesIO(), *size, 3, bits)

    async def decode_mask(self, tenant: str, source: Source, size: tuple[int, int]) -> Samples:
        await self._work()
        return Samples(io.BytesIO(), *size, 1, 8)

    async def encode(
        self,
        tenant: str,
        samples: Samples,
        metadata: str,
        content: Source | None = None,
        selection: Source | None = None,
    ) -> BinaryIO:
        """Takes what the worker sent as the result."""
        await self._work()
        samples.file.seek(0)
        return io.BytesIO(samples.file.read())

    async def convert(self, tenant: str, source: Source, format: int, out: BinaryIO) -> None:
        raise AssertionError("results are downloaded as they are")

    async def thumbnail(self, source: Source, side: int, max_bytes: int) -> tuple[bytes, Description]:
        raise AssertionError("there are no named styles")

    async def _work(self) -> None:
        await asyncio.sleep(self._random.choice((0.0, 0.001, 0.02, 0.5)))
        if not self.calm and self._random.random() < 0.02:
            raise OSError("the process that reads pictures cannot be kept running")
