"""Measures what the gateway and the store of this machine can carry."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.placement import Candidate, Place, Placed, Served, Waiting, plan
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Record, Store
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from simulation.planned.fleet import SLOTS

PREVIEW_BYTES = 20_000
"""Size of a preview of 256 pixels as JPEG, about."""


@dataclasses.dataclass(frozen=True)
class PlanTimes:
    """CPU seconds of plans in a steady state: in each, one job in a thousand has ended."""

    first: float
    median: float
    p99: float
    most: float


def plan_times(devices: int, jobs: int, *, rounds: int, tenants: int = 200) -> PlanTimes:
    """Measures `plan` itself, which is a part of what the gateway does for a plan."""
    stream = random.Random(1)
    weights = {f"tenant-{n}": stream.choice((0.5, 1.0, 1.0, 2.0, 4.0)) for n in range(tenants)}
    candidates = {}
    for number in range(jobs):
        tenant = f"tenant-{stream.randrange(tenants)}"
        candidates[f"jobs/{number}"] = Candidate(
            name=f"jobs/{number}",
            tenant=tenant,
            weight=weights[tenant],
            priority=stream.choice((0, 0, 0, 1)),
            number=number,
        )
    waiting, served = Waiting(candidates.values()), Served()
    served.keep(weights)
    on: list[dict[str, Placed]] = [{} for _ in range(devices)]
    seconds = []
    for _ in range(rounds):
        places = [Place(device=str(n), slots=SLOTS, jobs=list(jobs_.values())) for n, jobs_ in enumerate(on)]
        begin = time.process_time()
        todo = plan(waiting, places, served)
        seconds.append(time.process_time() - begin)
        for name in todo.suspend:
            next(jobs_ for jobs_ in on if name in jobs_)[name].leaving = True
        for jobs_ in on:
            for name in [name for name, job in jobs_.items() if job.leaving]:
                waiting.put(jobs_.pop(name).candidate)
            for name, job in list(jobs_.items()):
                job.seconds += 1.0
                served.charge(job.candidate.tenant, 1 / SLOTS, job.candidate.weight)
                if stream.random() < 0.001:
                    del jobs_[name]
        for name, device in todo.start:
            on[int(device)][name] = Placed(candidate=candidates[name], seconds=0.0)
            waiting.remove(name)
    # Until the shares have settled, plans have more to do.
    steady = sorted(seconds[len(seconds) // 2 :])
    return PlanTimes(seconds[0], statistics.median(steady), steady[int(len(steady) * 0.99)], steady[-1])


class Nobody:
    """Metrics that count nothing."""

    def job_ended(self, state: str, reason: str) -> None: ...


def new_record(number: int, tenant: str = "anna") -> Record:
    """A job like those of callers: two images and a few fields of a recipe."""
    job = pb.Job(name=f"jobs/{number:022d}", state=pb.JOB_STATE_QUEUED, width=1024, height=768, title="Sea")
    job.create_time.FromNanoseconds(1_700_000_000_000_000_000 + number)
    job.recipe.MergeFrom(
        pb.Recipe(
            objective=pb.OBJECTIVE_NEIGHBOURS,
            content_weight=1.0,
            style_weight=1.0,
            evaluations=68,
            longest_side=1024,
            optimizer=pb.OPTIMIZER_LBFGS,
        )
    )
    spec = pb.JobSpec(styles=[pb.Style(image=pb.Image(sha256=f"{number:064x}"))])
    spec.content.sha256 = f"{number + 1:064x}"
    spec.recipe.CopyFrom(job.recipe)
    return Record(job, spec, tenant, f"request-{number}", bytes(32), number=number)


def bytes_per_queued_job(jobs: int = 5_000) -> tuple[int, float]:
    """Returns the bytes of memory of a queued job in the real registry, outside of protobuf's own memory and
    with it, by the growth of the process."""

    async def run() -> tuple[int, float]:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(Store(Path(folder))) as store:
            registry = Registry(AsyncStore(store), Nobody(), max_jobs=10 * jobs, max_jobs_of_tenant=10 * jobs)
            gc.collect()
            before = _resident_bytes()
            for number in range(jobs):
                registry.moved(registry._enter(new_record(number)))
            waiting = Waiting(
                Candidate(name=job.name, tenant=job.tenant, number=job.record.number) for job in registry
            )
            used = _resident_bytes() - before
            begin = time.process_time()
            for job in registry:
                job.message()
            message = (time.process_time() - begin) / jobs
            assert len(waiting) == jobs
            return used // jobs, message

    return asyncio.run(run())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class StoreRates:
    """What the store does per second, one thing at a time."""

    created: float
    saved: float
    checkpoints: float
    checkpoint_bytes: float
    results: float


def store_rates(folder: Path, *, seconds: float = 2.0, checkpoint_bytes: int = 10 << 20) -> StoreRates:
    """Measures the real store on the disk of a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as name, contextlib.closing(Store(Path(name))) as store:
        numbers = iter(range(1, 1 << 40))
        records: list[Record] = []
        images = [store.images.put("anna", data) for data in (b"content", b"style")]

        def create() -> None:
            record = new_record(next(numbers))
            record.spec.content.sha256, record.spec.styles[0].image.sha256 = images
            records.append(store.jobs.create(record))

        created = _per_second(create, seconds)
        saved = _per_second(
            lambda: store.jobs.save(records[next(numbers) % len(records)], durable=False), seconds
        )
        piece = os.urandom(1 << 20)

        def checkpoint() -> None:
            with store.checkpoints.writer(records[next(numbers) % 50].job.name, next(numbers)) as writer:
                for _ in range(checkpoint_bytes >> 20):
                    writer.write(piece)
                writer.commit()

        checkpoints = _per_second(checkpoint, seconds)
        ends = iter(records)

        def finish() -> None:
            record = next(ends)
            record.job.state = pb.JOB_STATE_SUCCEEDED
            record.job.end_time.GetCurrentTime()
            store.results.finish(record, io.BytesIO(piece))

        results = _per_second(finish, seconds, most=len(records))
        return StoreRates(created, saved, checkpoints, checkpoints * checkpoint_bytes, results)


def _per_second(work: Callable[[], None], seconds: float, most: int = sys.maxsize) -> float:
    begin, number = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds and number < most:
        work()
        number += 1
    return number / (time.perf_counter() - begin)


STREAMS, INTERVAL = 100, 0.05
"""Number of jobs that send messages, and the seconds between two messages of a job, as of a real worker."""


TALK = """
import asyncio, sys
from simulation.planned.costs import serve
asyncio.run(serve(sys.argv[1]))
"""


class Talker(worker_pb2_grpc.WorkerServiceServicer):
    """A worker that sends as many messages as it is asked for."""

    async def Run(  # type: ignore[override]
        self, requests: AsyncIterator[worker_pb2.RunRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[worker_pb2.RunResponse]:
        async for request in requests:
            number, size = request.begin.number, request.begin.priority
            for evaluation in range(number):
                await asyncio.sleep(INTERVAL)
                if size:
                    yield worker_pb2.RunResponse(preview=pb.Preview(data=bytes(size), evaluation=evaluation))
                else:
                    progress = pb.Progress(
                        evaluation=evaluation, evaluations=number, scale=2, scales=3, loss=1.5
                    )
                    progress.device_time.FromNanoseconds(evaluation * 20_000_000)
                    progress.time_left.FromNanoseconds(5_000_000_000)
                    yield worker_pb2.RunResponse(progress=progress)
            return


async def serve(address: str) -> None:
    server = grpc.aio.server()
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(Talker(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


@dataclasses.dataclass(frozen=True)
class MessageCosts:
    """CPU seconds of the gateway's process for one message of a worker, gRPC included."""

    progress: float
    watched_progress: float
    preview: float


def message_costs(number: int = 60) -> MessageCosts:
    """Measures the way of a message from a worker's stream to the watchers' mailboxes, without TLS.

    Args:
        number: messages of each stream.
    """

    async def run() -> MessageCosts:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(Store(Path(folder) / "store")) as store,
        ):
            address = f"unix:{folder}/socket"
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", TALK, address)
            try:
                registry = Registry(AsyncStore(store), Nobody(), max_jobs=10, max_jobs_of_tenant=10)
                record = new_record(1)
                record.job.state = pb.JOB_STATE_RUNNING
                job = registry._enter(record)
                async with grpc.aio.insecure_channel(address) as channel:
                    stub = worker_pb2_grpc.WorkerServiceStub(channel)
                    await _cost(stub, job, 5, 0)
                    progress = await _cost(stub, job, number, 0)
                    watcher = job.watch()
                    watched = await _cost(stub, job, number, 0)
                    preview = await _cost(stub, job, number, PREVIEW_BYTES)
                    job.audience.leave(watcher)
                return MessageCosts(progress, watched, preview)
            finally:
                process.kill()
                await process.wait()

    return asyncio.run(run())


async def _cost(stub: worker_pb2_grpc.WorkerServiceStub, job: Job, number: int, size: int) -> float:
    async def requests() -> AsyncIterator[worker_pb2.RunRequest]:
        yield worker_pb2.RunRequest(begin=worker_pb2.Begin(number=number, priority=size))

    async def read() -> None:
        async for response in stub.Run(requests(), wait_for_ready=True):
            if response.HasField("progress"):
                job.got_further(response.progress)
            else:
                job.showed(response.preview)

    begin = time.process_time()
    await asyncio.gather(*(read() for _ in range(STREAMS)))
    return (time.process_time() - begin) / number / STREAMS
