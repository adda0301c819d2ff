"""Impasto for asyncio: the client of `impasto`, with coroutines as its calls.

    import asyncio
    import impasto.aio

    async def main() -> None:
        async with impasto.aio.Client("gpu-machine:50051") as client:
            async with await client.stylize("photo.jpg", "starry_night.jpg", size=1024) as painting:
                async for event in painting:
                    if isinstance(event, impasto.Progress):
                        print(f"{event.evaluation}/{event.evaluations}")
                (await painting.result()).save("painted.png")

    asyncio.run(main())

Recipes, jobs, events, pictures and errors are the classes of `impasto`.
"""

from __future__ import annotations

from impasto.aio.client import Client
from impasto.aio.painting import Painting

__all__ = ["Client", "Painting"]
