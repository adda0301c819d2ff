"""A job that an administrator holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.jobs.job import Job
from support.live_jobs import Stay, created, on_disk, registry_in

QUEUED, PAUSED = pb.JOB_STATE_QUEUED, pb.JOB_STATE_PAUSED


async def refusal(call: Awaitable[None]) -> tuple[str, str]:
    with pytest.raises(CallError) as caught:
        await call
    return reason_of(caught.value.status), caught.value.status.message


def test_a_held_job_leaves_its_device_and_its_owner_cannot_resume_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            job.painting = stay = Stay()
            await job.hold()
            await job.hold()
            assert (job.state, job.message().held) == (PAUSED, True)
            assert set(stay.said) == {"suspend"}
            assert on_disk(registry, job) == job.record.job
            reason, message = await refusal(job.resume())
            assert reason == "HELD"
            assert message == f"{job.name} is held by the server's administrator; wait until it is released"
            await job.release()
            assert (job.state, job.message().held) == (QUEUED, False)
            await job.release()
            assert job.state == QUEUED

    asyncio.run(run())


Step = Callable[[Job], Awaitable[None]]


@pytest.mark.parametrize(
    "steps", [(Job.pause, Job.hold), (Job.hold, Job.pause), (Job.hold, Job.pause, Job.pause, Job.hold)]
)
def test_the_owners_pause_outlives_the_hold_and_a_restart(tmp_path: Path, steps: tuple[Step, ...]) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            for step in steps:
                await step(job)
        async with registry_in(tmp_path) as registry:
            again = registry.find(job.name)
            assert again is not None
            assert (again.state, again.message().held, again.waiting) == (PAUSED, True, False)
            await again.release()
            assert (again.state, again.message().held) == (PAUSED, False)
            await again.resume()
            # The next hold knows nothing of that pause.
            await again.hold()
            await again.release()
            assert again.state == QUEUED

    asyncio.run(run())


def test_a_held_job_can_be_changed_cancelled_and_deleted(tmp_path: Path) -> None:
    def with_title(job: pb.Job) -> pb.Job:
        job.title = "sea"
        return job

    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            await job.hold()
            await job.update(with_title)
            assert (job.message().title, job.message().held) == ("sea", True)
            await job.cancel()
            assert (job.state, job.message().held) == (pb.JOB_STATE_CANCELLED, False)
            assert (await refusal(job.hold()))[0] == (await refusal(job.release()))[0] == "JOB_IS_OVER"
            other = await created(registry)
            await other.hold()
            await other.delete()
            assert registry.find(other.name) is None

    asyncio.run(run())
