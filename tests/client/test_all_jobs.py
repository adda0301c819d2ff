"""All of a caller's jobs: watched in one stream, found by title, and their pictures reduced and linked."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

import impasto
import impasto.aio
from impasto.transport import Stack
from support.job_server import Jobs, serving
from support.samples import coded, photo
from support.server_process import ServerProcess, running_server

STACKS: list[Stack] = ["grpcio", "grpclib"]
IMAGE = coded(photo(64, 48))


@pytest.fixture(scope="module")
def mock() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as server:
        server.ready()
        yield server


def told(event: impasto.JobsEvent) -> str:
    """The kind of an event; of a job, its state."""
    what = event.event
    return what.job.state if isinstance(what, impasto.JobChanged) else type(what).__name__


def read(events: Iterator[impasto.JobsEvent], until: str, name: str = "") -> list[str]:
    """Reads until an event, and returns the kinds of all that came."""
    seen = []
    for event in events:
        seen.append(told(event))
        if seen[-1] == until and name in ("", event.name):
            return seen
    raise AssertionError(f"the stream ended: {seen}")


@pytest.mark.parametrize("stack", STACKS)
def test_all_jobs_are_watched_in_one_stream(mock: ServerProcess, stack: Stack) -> None:
    with impasto.Client(mock.address, transport=stack) as client:
        events = client.watch_jobs(previews=True)
        assert read(events, "JobsListed") == ["JobsListed"]
        job = client.create_job(IMAGE, IMAGE, evaluations=100_000)
        seen = read(events, "Preview", job.name)
        assert seen[:2] == ["queued", "running"]
        # Somebody who comes later, and wants no previews.
        late = client.watch_jobs()
        assert read(late, "JobsListed") == ["running", "JobsListed"]
        client.delete(job)
        assert "Preview" not in read(late, "JobDeleted", job.name)
        read(events, "JobDeleted", job.name)


@pytest.mark.parametrize("stack", STACKS)
def test_all_jobs_are_watched_with_asyncio(mock: ServerProcess, stack: Stack) -> None:
    async def run() -> list[str]:
        async with impasto.aio.Client(mock.address, transport=stack) as client:
            seen = []
            async for event in client.watch_jobs():
                seen.append(told(event))
                if seen[-1] == "JobsListed":
                    job = await client.create_job(IMAGE, IMAGE, evaluations=4)
                elif seen[-1] == "succeeded":
                    await client.delete(job)
                elif seen[-1] == "JobDeleted":
                    break
            return seen

    seen = asyncio.run(run())
    assert seen[0] == "JobsListed"
    assert seen[-2:] == ["succeeded", "JobDeleted"]


def test_watching_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    arguments = ("--mock", "--data-dir", str(tmp_path))
    with running_server(*arguments, "--port", "0") as server:
        port = server.address.rpartition(":")[2]
        client = impasto.Client(server.address)
        events = client.watch_jobs()
        read(events, "JobsListed")
        job = client.create_job(IMAGE, IMAGE, evaluations=100_000)
        read(events, "running", job.name)
    with client, running_server(*arguments, "--port", port):
        seen = read(events, "JobsListed")
        assert seen.count("ContactLost") == 1
        assert seen[-2] in ("queued", "running")
        client.delete(job)


def test_a_server_without_this_call_says_so() -> None:
    with serving(Jobs()) as server, impasto.Client(server.address) as client:
        with pytest.raises(impasto.ImpastoError) as caught:
            next(client.watch_jobs())
        assert caught.value.code == "UNIMPLEMENTED"


def test_jobs_are_found_by_title_and_their_pictures_are_reduced_and_linked(mock: ServerProcess) -> None:
    with impasto.Client(mock.address) as client:
        job = client.create_job(IMAGE, IMAGE, evaluations=2, title="Am Hafen")
        with client.watch(job) as painting:
            result = painting.result()
        assert [found.name for found in client.jobs(title="hafen")] == [job.name]
        assert list(client.jobs(title="Berge")) == []
        with pytest.raises(impasto.InvalidRequest):
            list(client.jobs(title="a" * 201))
        small = client.download(job, max_side=32)
        assert (small.format, small.width, small.height) == ("jpeg", 32, 24)
        png = client.download(client.upload(IMAGE), max_side=16, format="png")
        assert PIL.Image.open(io.BytesIO(png.data)).size == (16, 12)
        with pytest.raises(impasto.InvalidRequest) as refused:
            client.download(job, max_side=15)
        assert refused.value.fields == {"max_side"} or "max_side" in str(refused.value)
        links = client.image_links([job, client.upload(IMAGE)], max_side=32, lifetime=60)
        assert [path.startswith("images/") for path in links.paths] == [True, True]
        page = client.info().page
        assert page is not None
        assert not client.job(job).held
        assert result.data
        client.delete(job)
