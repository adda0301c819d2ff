"""The registry has every unfinished job exactly once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.store.errors import DiskFull, RequestIdTaken
from impasto_server.store.job_table import JobTable
from impasto_server.v1 import worker_pb2
from support.live_jobs import created, on_disk, registry_in
from support.stored_jobs import new_record


def test_a_job_whose_caller_left_while_it_was_stored_is_returned_to_a_retry(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            for turns in range(12):
                record = new_record(request_id=f"r{turns}", request_digest=b"d")
                call = asyncio.create_task(registry.create(record))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                job = await registry.create(new_record(request_id=f"r{turns}", request_digest=b"d"))
                assert registry.find(job.name) is job
                assert job.waiting
            stored = {record.job.name for record in registry.store.store.jobs.unfinished()}
            assert stored == {job.name for job in registry}
            assert registry.unfinished() == registry.unfinished("anna") == registry.in_state("queued") == 12

    asyncio.run(run())


def test_simultaneous_equal_requests_create_one_job(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            records = [new_record(request_id="r", request_digest=b"d") for _ in range(8)]
            jobs = await asyncio.gather(*(registry.create(record) for record in records))
            assert len(set(map(id, jobs))) == 1
            with pytest.raises(RequestIdTaken):
                await registry.create(new_record(request_id="r", request_digest=b"other"))

    asyncio.run(run())


def test_a_retry_of_the_request_of_a_final_job_returns_that_job(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry, request_id="r")
            await job.cancel()
            again = await created(registry, request_id="r")
            assert again.name == job.name
            assert again.final
            assert registry.unfinished() == 0

    asyncio.run(run())


def test_limits_hold_when_many_jobs_are_created_at_the_same_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path, max_jobs=5, max_jobs_of_tenant=3) as registry:
            tenants = ["anna"] * 6 + ["ben"] * 6
            calls = [registry.create(new_record(tenant=tenant)) for tenant in tenants]
            answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
            reasons = [reason_of(answer.status) for answer in answers if isinstance(answer, CallError)]
            assert registry.unfinished() == 5
            assert registry.unfinished("anna") == 3
            assert set(reasons) == {"TOO_MANY_JOBS", "QUEUE_FULL"}
            assert len(reasons) == 7

    asyncio.run(run())


def test_a_known_request_is_answered_even_if_the_queue_is_full(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path, max_jobs=1) as registry:
            job = await created(registry, request_id="r")
            assert await created(registry, request_id="r") is job

    asyncio.run(run())


def test_a_job_that_was_stored_but_not_registered_is_registered_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = JobTable.create

    def create_and_fail(self: JobTable, record: Any) -> Any:
        create(self, record)
        raise DiskFull("after the commit")

    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            with monkeypatch.context() as patch:
                patch.setattr(JobTable, "create", create_and_fail)
                with pytest.raises(DiskFull):
                    await created(registry, request_id="r")
            assert registry.unfinished() == 0
            job = await created(registry, request_id="r")
            assert registry.find(job.name) is job
            assert job.waiting

    asyncio.run(run())


def test_unfinished_jobs_are_loaded_at_the_start(tmp_path: Path) -> None:
    async def leave() -> dict[str, str]:
        async with registry_in(tmp_path) as registry:
            names = {}
            for state in ("queued", "running", "paused", "cancelled"):
                job = await created(registry, request_id=state)
                names[job.name] = state
                if state == "running":
                    await job.started(worker_pb2.Started(), pb.FeatureNetwork(), "cpu", pb.Recipe())
                elif state == "paused":
                    await job.pause()
                elif state == "cancelled":
                    await job.cancel()
            return names

    async def find(names: dict[str, str]) -> None:
        async with registry_in(tmp_path) as registry:
            found = {names[job.name]: job for job in registry}
            assert set(found) == {"queued", "running", "paused"}
            assert found["queued"].waiting
            assert found["running"].waiting
            assert found["paused"].state == pb.JOB_STATE_PAUSED
            running = found["running"]
            assert running.behind
            await running.store_what_happened()
            assert on_disk(registry, running) == running.record.job

    asyncio.run(find(asyncio.run(leave())))


def test_the_job_of_another_tenant_is_not_found(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job, final = await created(registry), await created(registry)
            await final.cancel()
            for name in (job.name, final.name, "jobs/none"):
                with pytest.raises(CallError) as caught:
                    await registry.get(name, "ben")
                assert reason_of(caught.value.status) == "NOT_FOUND"

    asyncio.run(run())


def test_queue_positions_count_the_jobs_of_the_tenant_by_priority_then_age(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            first = await created(registry)
            await created(registry, tenant="ben")
            urgent = new_record()
            urgent.job.priority = 5
            last = await registry.create(urgent)
            assert (first.message().queue_position, last.message().queue_position) == (2, 1)

    asyncio.run(run())


def test_a_clock_that_is_set_back_does_not_change_the_order_of_the_queue(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            older = new_record()
            older.job.create_time.seconds += 3600
            first = await registry.create(older)
            second = await created(registry)
            assert (registry.position(first), registry.position(second)) == (1, 2)

    asyncio.run(run())


def test_a_job_that_was_just_deleted_cannot_be_watched(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            await job.delete()
            with pytest.raises(CallError) as caught:
                job.watch()
            assert reason_of(caught.value.status) == "NOT_FOUND"

    asyncio.run(run())


@pytest.mark.parametrize("what", ["cancelled", "deleted"])
def test_a_job_that_is_final_only_in_the_store_becomes_final_with_its_next_event(
    tmp_path: Path, what: str
) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job, other = await created(registry), await created(registry)
            for changed in (job, other):
                record = registry.store.store.jobs.get(changed.name)
                assert record is not None
                if what == "deleted":
                    registry.store.store.jobs.delete(changed.name)
                else:
                    record.job.state = pb.JOB_STATE_CANCELLED
                    assert registry.store.store.jobs.save(record)
            await job.started(worker_pb2.Started(), pb.FeatureNetwork(), "cpu", pb.Recipe())
            with pytest.raises(CallError):
                await other.pause()
            for changed in (job, other):
                assert changed.deleted if what == "deleted" else changed.final
            assert registry.unfinished() == 0

    asyncio.run(run())
