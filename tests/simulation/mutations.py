"""Faults to put into the code, to check that the simulation finds them.

Most of them are faults that an earlier version of the server had. Each one replaces methods, and is as short
as possible.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, internal
from impasto_server.fleet.placer import Placer
from impasto_server.fleet.run import Run
from impasto_server.fleet.worker_process import WorkerDied
from impasto_server.gateway.service import StyleTransfer
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.stored_job import StoredJob, to_state
from simulation.world import ALL, Kind


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A fault.

    Attributes:
        fault: what is wrong, with the number of the fault in issue 10.
        kind: kind of worlds in which the fault shows.
        replaced: methods by class and name, each with a function that makes the faulty method from it.
    """

    fault: str
    kind: Kind
    replaced: tuple[tuple[type, str, Callable[[Any], Any]], ...]


DRAINS = Kind(endings=["drain"])
HANGS = Kind(endings=["rest"], moods=[("hang", "hang", "hang", "go on")])

MUTATIONS: dict[str, Mutation] = {}


def _mutation(
    name: str,
    fault: str,
    *replaced: tuple[type, str, Callable[[Any], Any]],
    kind: Kind = ALL,
) -> None:
    MUTATIONS[name] = Mutation(fault, kind, replaced)


@contextlib.contextmanager
def put_in(name: str | None) -> Iterator[None]:
    """Puts a fault into the code; with None, leaves it unchanged."""
    replaced = MUTATIONS[name].replaced if name else ()
    before = [(owner, method, owner.__dict__[method]) for owner, method, _ in replaced]
    try:
        for owner, method, faulty in replaced:
            setattr(owner, method, faulty(owner.__dict__[method]))
        yield
    finally:
        for owner, method, original in before:
            setattr(owner, method, original)


# 1: a job is stored, but nobody knows it.


def _create(original: Any) -> Any:
    async def create(self: Registry, record: Any) -> Job:
        return await self._create(record)

    return create


_mutation(
    "create-in-callers-task",
    "1: the cancellation of a call stops the creation of its job",
    (Registry, "create", _create),
)


# Holding.


def _forgets(original: Any) -> Any:
    async def pause(self: Job) -> None:
        if not self.record.job.held:
            await original(self)

    return pause


_mutation(
    "forget-pause-during-hold",
    "an owner's pause during a hold is lost",
    (Job, "_pause", _forgets),
)


def _lets_owners_resume(original: Any) -> Any:
    async def resume(self: Job) -> None:
        async with self._lock:
            self._check_changeable()
            await self._change(to_state(pb.JOB_STATE_QUEUED))

    return resume


_mutation(
    "resume-held-job",
    "an owner resumes a job that is held",
    (Job, "_resume", _lets_owners_resume),
)


# 2: only half of a change is made.


def _cancel(original: Any) -> Any:
    async def cancel(self: Job) -> None:
        await self._cancel()

    return cancel


def _delete(original: Any) -> Any:
    async def delete(self: Job) -> None:
        await self._delete()

    return delete


def _stop_painting(original: Any) -> Any:
    def stop_painting(self: StoredJob) -> None:
        """Does not."""

    return stop_painting


def _take_from_store(original: Any) -> Any:
    async def take_from_store(self: StoredJob) -> None:
        """Does nothing, as in earlier code: it would repair what the cancelled call has broken."""

    return take_from_store


_UNMENDED = (StoredJob, "_take_from_store", _take_from_store)
_mutation(
    "cancel-in-callers-task",
    "2: the cancellation of a call stops a cancel half-way",
    (Job, "cancel", _cancel),
    _UNMENDED,
)
_mutation(
    "delete-in-callers-task",
    "2: the cancellation of a call stops a delete half-way",
    (Job, "delete", _delete),
    _UNMENDED,
)
_mutation(
    "device-paints-on", "2: the device is not told of a cancel", (StoredJob, "_stop_painting", _stop_painting)
)


# 3: a change is shown before it is stored.


def _change(original: Any) -> Any:
    async def change(self: StoredJob, edit: Any, *, result: bytes | None = None) -> None:
        if result is None:
            self._take(self._edited(edit))
        await original(self, edit, result=result)

    return change


_mutation(
    "memory-before-disk", "3: a change is made in memory before it is stored", (StoredJob, "_change", _change)
)


# 4: a full disk fails the job.


def _note(original: Any) -> Any:
    async def note(self: Job, edit: Any, *, quiet: bool = False) -> None:
        await original(self, edit, quiet=quiet)
        if self.behind:
            self._shared.tasks.start(self.fail(internal()))

    return note


_mutation("store-error-fails-job", "4: a job fails if it cannot be stored", (StoredJob, "_note", _note))


# 5: an update overwrites another one.


def _update(original: Any) -> Any:
    async def update(self: Job, wanted: Any) -> None:
        self._check_changeable()
        changed = wanted(self._with_spec())
        await original(self, lambda _: changed)

    return update


_mutation("merge-before-lock", "5: an update is merged before the lock is taken", (Job, "update", _update))


# 7: a worker does not answer.


def _update_under_lock(original: Any) -> Any:
    async def update(self: Job, wanted: Any) -> None:
        async with self._lock:
            self._check_changeable()
            changed = wanted(self._with_spec())
            if self.painting is not None:
                answer = await self.painting.steer(changed.recipe)
                changed.recipe.CopyFrom(answer if answer is not None else changed.recipe)
            await self._take_over(changed)

    return update


def _pause_under_lock(original: Any) -> Any:
    async def pause(self: Job) -> Any:
        await original(self)
        async with self._lock:
            if isinstance(self.painting, Run):
                await self.painting.worker.suspend(self.name)

    return pause


def _remind(original: Any) -> Any:
    def remind(self: Run) -> None:
        """Does not."""

    return remind


def _on_worker_died(original: Any) -> Any:
    async def on_worker_died(self: Run, error: WorkerDied) -> None:
        error.blames = True
        await original(self, error)

    return on_worker_died


_mutation(
    "title-waits-for-worker",
    "7: an update asks the worker under the lock",
    (Job, "_update", _update_under_lock),
    kind=HANGS,
)
_mutation(
    "pause-waits-for-worker",
    "7: a pause asks the worker under the lock",
    (Job, "_pause", _pause_under_lock),
    kind=HANGS,
)
_mutation(
    "silence-is-not-made-up-for",
    "7: updates that a silent worker missed are not sent again",
    (Run, "remind", _remind),
    kind=HANGS,
)
_mutation(
    "silence-is-blamed",
    "7: jobs are blamed for a silent worker",
    (Run, "_on_worker_died", _on_worker_died),
    kind=HANGS,
)


# 8: the server drains.


def _keep_placing(original: Any) -> Any:
    async def keep_placing(self: Placer) -> None:
        while not self._registry.draining:
            await self._registry.changed.wait()
            self._registry.changed.clear()
            self._place()

    return keep_placing


def _drain(original: Any) -> Any:
    async def drain(self: Placer, seconds: float) -> None:
        loops, self._loops = self._loops, []
        await original(self, seconds)
        for loop in loops:
            loop.cancel()

    return drain


def _admit(original: Any) -> Any:
    async def create(self: Any, *args: Any) -> Any:
        registry = self if isinstance(self, Registry) else self._registry
        draining, registry.draining = registry.draining, False
        try:
            return await original(self, *args)
        finally:
            registry.draining = draining

    return create


_mutation(
    "placed-in-drain",
    "8: a job is placed while the server drains",
    (Placer, "_keep_placing", _keep_placing),
    (Placer, "drain", _drain),
    kind=DRAINS,
)
_mutation(
    "admitted-in-drain",
    "8: jobs are created while the server drains",
    (StyleTransfer, "_create", _admit),
    (Registry, "_create", _admit),
    kind=DRAINS,
)


# Other guarantees.


def _publish(original: Any) -> Any:
    def publish(self: StoredJob) -> None:
        if self.state != pb.JOB_STATE_CANCELLED:
            original(self)

    return publish


def _is_known(original: Any) -> Any:
    async def enter(self: Registry, record: Any) -> Any:
        return await original(self, dataclasses.replace(record, request_id=""))

    return enter


def _check_room(original: Any) -> Any:
    def check_room(self: Registry, tenant: str) -> None:
        with contextlib.suppress(CallError):
            original(self, tenant)

    return check_room


_mutation("watchers-not-told", "watchers are not told of a cancel", (StoredJob, "publish", _publish))
_mutation("request-id-ignored", "a repeated request creates two jobs", (Registry, "_create", _is_known))
_mutation("no-limit", "there are more jobs than the limit", (Registry, "check_room", _check_room))
