"""Checks what must be true once nothing goes wrong any more and everything has come to rest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.run import Run
from impasto_server.store.records import FINAL_STATES, Record, identifier, reserved_bytes
from simulation.knowledge import LARGE, SMALL
from simulation.workers import Stay, refuses

if TYPE_CHECKING:
    from simulation.world import World


def check(world: World, *, all_final: bool = False) -> None:
    """Makes all checks. With `all_final`, no job may be PAUSED either."""
    check_memory(world)
    _check_course(world, all_final=all_final)
    _check_files(world)
    _check_nothing_left(world)
    world.raise_if_broken()


def check_memory(world: World) -> None:
    """Checks that the jobs in memory are the unfinished ones on disk, and equal to them."""
    registry = world.server.registry
    disk = {record.job.name: record for record in world.server.store.jobs.unfinished()}
    memory = {job.name: job for job in registry}
    if disk.keys() != memory.keys():
        world.violation(f"on disk are {sorted(disk)}, in memory {sorted(memory)}")
    for name in disk.keys() & memory.keys():
        job, record = memory[name], disk[name]
        # Right after a start, a job that was RUNNING waits again; this is stored with its next change.
        if job.behind and record.job.state == pb.JOB_STATE_RUNNING:
            record.job.state = pb.JOB_STATE_QUEUED
        for what in ("job", "spec", "tenant", "deaths", "stays_paused", "furthest", "linger"):
            if getattr(job.record, what) != getattr(record, what):
                world.violation(
                    f"{name} has another {what} in memory than on disk: "
                    f"{getattr(job.record, what)!r}, {getattr(record, what)!r}"
                )
    if registry.unfinished() != len(disk):
        world.violation("the number of unfinished jobs is wrong")
    for state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_PAUSED):
        counted = registry.in_state(pb.JobState.Name(state).removeprefix("JOB_STATE_").lower())
        if counted != sum(record.job.state == state for record in disk.values()):
            world.violation(f"the number of jobs in state {state} is wrong")
    for tenant in {record.tenant for record in disk.values()}:
        if registry.unfinished(tenant) != sum(record.tenant == tenant for record in disk.values()):
            world.violation(f"the number of jobs of {tenant} is wrong")
    for known in world.jobs.values():
        world.check_stored(known)


def passing(world: World) -> Iterator[str]:
    """States that are allowed for a moment, but must not last."""
    registry, workers = world.server.registry, world.server.workers
    for worker in workers.all:
        for name, stay in worker.jobs.items():
            job = registry.find(name)
            if job is None:
                yield f"{worker.key} works for {name}, which is final or deleted"
            elif job.painting is None:
                yield f"{worker.key} works for {name}, which does not know it"
            elif stay.started and not worker.hangs:
                yield from _not_heard(worker.key, stay, job.record.job)
    runs = [job.painting for job in registry if isinstance(job.painting, Run)]
    free = {worker.key for worker in workers.ready_workers} - {run.worker.key for run in runs}
    if not any(run.leaving for run in runs):
        for key, jobs in Counter(run.worker.key for run in runs).items():
            movable = [run for run in runs if run.worker.key == key and free - run.job.too_small]
            if jobs > 1 and movable:
                yield f"{jobs} jobs stay on {key} although {min(free)} is free"
    for job in registry:
        if job.waiting and free - job.too_small:
            yield f"{job.name} waits although {min(free)} is free"
        if job.state == pb.JOB_STATE_RUNNING and job.painting is None:
            yield f"{job.name} is RUNNING on no device"


def _not_heard(worker: str, stay: Stay, job: pb.Job) -> Iterator[str]:
    if stay.priority != job.priority:
        yield f"{worker} does not know the priority of {job.name}"
    if stay.recipe != job.recipe and not refuses(job.recipe):
        yield f"{worker} does not know the recipe of {job.name}"
    if job.state == pb.JOB_STATE_PAUSED and not stay.suspended:
        yield f"{worker} does not know that {job.name} is PAUSED"


def _check_course(world: World, *, all_final: bool) -> None:
    """Checks that every job is final, or PAUSED and off its device."""
    for job in world.server.registry:
        if job.state != pb.JOB_STATE_PAUSED or all_final:
            state = pb.JobState.Name(job.state)
            world.violation(f"{job.name} stays {state}, {'on' if job.painting else 'off'} a device")
        if job.painting is not None:
            world.violation(f"{job.name} is at rest and on a device")
        if job.behind:
            world.violation(f"what happened to {job.name} is not stored")
    for record in _records(world):
        name = record.job.name
        failed = name in world.told.failed or world.told.blames[name] >= 3
        if record.job.state == pb.JOB_STATE_FAILED and not failed:
            world.violation(f"{name} FAILED but no worker reported a failure: {record.job.error.message}")
        if record.deaths > world.told.blames[name]:
            world.violation(f"{name} is blamed for {record.deaths} deaths of {world.told.blames[name]}")
    for handler in world.server.handlers.values():
        job_ = world.server.registry.find(handler.job)
        if handler.method not in ("WatchJob", "Stylize") or job_ is None:
            world.violation(f"{handler.method} {handler.job} is not answered")


def _check_files(world: World) -> None:
    """Checks that the files are exactly the results of jobs that SUCCEEDED, and that quotas count them."""
    store, folder = world.server.store, world.folder
    records = _records(world)
    used = dict.fromkeys(world.tenants, len(SMALL + LARGE))
    pictures = set()
    for record in records:
        name = record.job.name
        used[record.tenant] += reserved_bytes(record.job)
        if record.job.state == pb.JOB_STATE_SUCCEEDED:
            pictures.add(f"{identifier(name)}.png")
            path = store.results.path(name)
            data = path.read_bytes() if path else b""
            used[record.tenant] += len(data)
            if data not in world.told.results.get(name, ()):
                world.violation(f"the picture of {name} was not sent by a worker: {data!r}")
            if hashlib.sha256(data).hexdigest() != record.job.result.sha256:
                world.violation(f"the picture of {name} does not match the job")
        if record.job.state in FINAL_STATES and record.checkpoint is not None:
            world.violation(f"{name} is final and has a checkpoint")
    there = {path.name for path in (folder / "results").iterdir()}
    if there != pictures:
        world.violation(f"the pictures are {sorted(there)} and should be {sorted(pictures)}")
    kept = {f"{identifier(r.job.name)}/{r.checkpoint}" for r in records if r.checkpoint is not None}
    files = (folder / "checkpoints").glob("*/*")
    saved = {f"{path.parent.name}/{path.stem}" for path in files}
    if saved != kept:
        world.violation(f"the checkpoints are {sorted(saved)} and should be {sorted(kept)}")
    if left := list((folder / "temporary").iterdir()):
        world.violation(f"{len(left)} temporary files are left")
    for tenant, bytes_ in used.items():
        if store.stored_bytes(tenant) != bytes_:
            world.violation(f"{tenant} has {bytes_} bytes and is counted {store.stored_bytes(tenant)}")


def _check_nothing_left(world: World) -> None:
    """Checks that no lock is held, no task is left and no device has a job."""
    registry = world.server.registry
    if len(registry.tasks):
        world.violation(f"{len(registry.tasks)} tasks are left at rest")
    if registry._entering.locked():
        world.violation("the registry's lock is held at rest")
    for job in registry:
        if job._lock.locked() or job._steering.locked():
            world.violation(f"a lock of {job.name} is held at rest")
    for worker in world.server.workers.all:
        if worker.jobs:
            world.violation(f"{worker.key} has {sorted(worker.jobs)} at rest")


def _records(world: World) -> list[Record]:
    return [
        record
        for tenant in world.tenants
        for record in world.server.store.jobs.list(tenant, page_size=1000)[0]
    ]
