"""Jobs in a real store, for the tests of `jobs`, without devices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.watching import Watcher
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Store
from support.stored_jobs import new_record


class Ends:
    """The metrics that the registry reports to.

    Attributes:
        states: the final states of jobs, in order.
    """

    def __init__(self) -> None:
        self.states: list[str] = []

    def job_ended(self, state: str, reason: str) -> None:
        self.states.append(state)


class Stay:
    """A stay on a device that does as it is told, and records it.

    Attributes:
        said: names of the calls that the job made.
        answers: answers to recipes, the last one repeatedly; None: it does not paint the job.
        asked: set whenever it gets a recipe.
        may_answer: it answers once this is set.
    """

    def __init__(self) -> None:
        self.off_device = asyncio.Event()
        self.said: list[str] = []
        self.answers: list[pb.Recipe | Exception | None] = [None]
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._heard = asyncio.Event()

    async def steer(self, recipe: pb.Recipe) -> pb.Recipe | None:
        self._hear("steer")
        self.asked.set()
        await self.may_answer.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def settle(self) -> None:
        self._hear("settle")

    def follow(self) -> None:
        self._hear("follow")

    def suspend(self) -> None:
        self._hear("suspend")
        self.off_device.set()

    def stop(self) -> None:
        self._hear("stop")
        self.off_device.set()

    async def told(self, word: str) -> None:
        """Waits until this is the last call that the job made."""
        while self.said[-1:] != [word]:
            self._heard.clear()
            await self._heard.wait()

    def _hear(self, word: str) -> None:
        self.said.append(word)
        self._heard.set()


@contextlib.asynccontextmanager
async def registry_in(
    folder: Path, *, max_jobs: int = 1000, max_jobs_of_tenant: int = 200, ends: Ends | None = None
) -> AsyncIterator[Registry]:
    """A registry of the jobs in a folder, until its server shuts down properly."""
    store = Store(folder)
    registry = Registry(
        AsyncStore(store),
        ends or Ends(),
        max_jobs=max_jobs,
        max_jobs_of_tenant=max_jobs_of_tenant,
    )
    try:
        await registry.take_up()
        yield registry
        registry.begin_drain()
        await registry.end()
    finally:
        store.close()


async def created(registry: Registry, **fields: str) -> Job:
    return await registry.create(new_record(**fields))


def on_disk(registry: Registry, job: Job) -> pb.Job | None:
    """The job as it is stored."""
    record = registry.store.store.jobs.get(job.name)
    return None if record is None else record.job


async def read(watcher: Watcher) -> list[pb.JobEvent]:
    """All events of a watcher until the last."""
    events = []
    try:
        while True:
            events.append(await watcher.next())
    except StopAsyncIteration:
        return events


def kinds(events: list[pb.JobEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]
