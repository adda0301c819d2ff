"""Impasto for asyncio: the client of `impasto`, with its calls to be awaited.

    import asyncio
    import impasto.aio

    async def main() -> None:
        async with impasto.aio.Client("gpu-machine:50051") as client:
            painting = await client.stylize("photo.jpg", "starry_night.jpg", effort="draft")
            async for event in painting:
                if isinstance(event, impasto.Progress):
                    print(f"{event.evaluation}/{event.evaluations}")
            (await painting.result()).save("painted.png")

    asyncio.run(main())

Recipes, jobs, events, pictures and errors are those of `impasto`.
"""

from __future__ import annotations

from impasto.aio.client import Client
from impasto.aio.painting import Painting

__all__ = ["Client", "Painting"]
