"""A user's program, for mypy --strict: the types of the public API are part of the API."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import impasto
import impasto.aio
from impasto.transport import Endpoint, Transport
from impasto.transport.grpclib import GrpclibTransport


def show(event: impasto.Event) -> str:
    if isinstance(event, impasto.Progress):
        left: float | None = event.time_left
        return f"{event.evaluation}/{event.evaluations}, {left or 0:.0f} s left"
    if isinstance(event, impasto.Preview):
        data: bytes = event.data
        return f"{len(data)} bytes of {event.width} × {event.height}"
    job: impasto.Job = event.job
    return job.state


def over_grpclib(endpoint: Endpoint) -> Transport:
    return GrpclibTransport(endpoint)


def paint(address: str, content: Path, style: Path, out: Path) -> impasto.Picture:
    tls = impasto.Tls(ca="ca.pem", server_name="painter.example")
    recipe = impasto.Recipe(objective="wasserstein", effort="draft", style_layers={"relu3_1": 1.0})
    with impasto.Client(address, token="t", tls=tls, transport=over_grpclib) as client:
        with client.stylize(
            content,
            [(style, 2.0), (impasto.StyleName("styles/starry-night"), 1.0)],
            recipe=recipe,
            size=800,
            previews=impasto.Previews(max_side=512),
            regions=[impasto.Region(content, style=0)],
        ) as painting:
            for event in painting:
                print(show(event))
            picture: impasto.Picture = painting.result()
        picture.save(out)
        return picture


def jobs(address: str) -> dict[str, str]:
    with impasto.Client(address, transport="grpclib") as client:
        uploaded: impasto.UploadedImage = client.upload(Path("a.png"))
        told: impasto.Estimate = client.estimate(uploaded, "b.png", recipe="gatys", seed=3)
        left: float | None = told.time_left
        print(left, told.memory_plan.estimated_bytes)
        made = client.create_job(uploaded, "b.png", recipe="gatys", seed=3, title="a sample")
        client.update_job(made.name, content_weight=0.5, previews=False)
        newest: impasto.NewestPreview = client.preview(made.name, wait=1.0)
        assert newest.job.name == made.name
        image: impasto.CodedImage = client.download(made, format="jpeg")
        assert image.format == "jpeg"
        return {job.name: job.state for job in client.jobs(["running"])}


def refused(address: str) -> str:
    try:
        with impasto.Client(address) as client:
            info: impasto.ServerInfo = client.info()
            return info.version
    except impasto.InvalidRequest as error:
        return f"{error.field}: {error.remedy}"
    except impasto.ImpastoError as error:
        return f"{error.code}: {error.message}, again in {error.retry_after or 0.0:.0f} s"


async def paint_both(address: str, contents: list[Path], style: Path) -> list[impasto.Picture]:
    async with impasto.aio.Client(address, transport="grpcio") as client:

        async def one(content: Path) -> impasto.Picture:
            painting: impasto.aio.Painting = await client.stylize(content, style, effort="draft")
            async for event in painting:
                print(show(event))
            return await painting.result()

        names = [style.name async for style in client.styles()]
        print(", ".join(names))
        return list(await asyncio.gather(*(one(content) for content in contents)))


if __name__ == "__main__":
    asyncio.run(paint_both(sys.argv[1], [Path(name) for name in sys.argv[3:]], Path(sys.argv[2])))
