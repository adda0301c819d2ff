"""A worker is told of changes of the job that it paints."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument, unavailable
from impasto_server.fleet.telling import Telling
from impasto_server.fleet.workers import Worker
from impasto_server.jobs.job import Job
from impasto_server.jobs.states import copied
from impasto_server.jobs.tasks import Tasks
from impasto_server.v1 import worker_pb2
from support.live_jobs import created, registry_in


class Listener:
    """A worker that records the updates that it gets.

    Attributes:
        told: the updates in order.
        refuses: errors to answer with, each used once.
    """

    def __init__(self) -> None:
        self.told: list[worker_pb2.UpdateRunRequest] = []
        self.refuses: list[CallError] = []

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse:
        await asyncio.sleep(0)
        if self.refuses:
            raise self.refuses.pop(0)
        self.told.append(copied(request))
        return worker_pb2.UpdateRunResponse(recipe=request.recipe if request.HasField("recipe") else None)


def change(job: Job, **fields: Any) -> None:
    """Changes the job's record, as if the change had been stored."""
    job.record = dataclasses.replace(job.record, job=copied(job.record.job))
    job.record.job.MergeFrom(pb.Job(**fields))


class Scene:
    """A job that the listening worker has started to paint."""

    def __init__(self, job: Job) -> None:
        self.job, self.worker, self.tasks = job, Listener(), Tasks()
        self.telling = Telling(job, cast(Worker, self.worker), self.tasks, asyncio.Event())
        first = self.telling.begin()
        self.telling.begun(first.recipe, first.recipe)

    async def rest(self) -> list[worker_pb2.UpdateRunRequest]:
        """Waits until the worker is up to date, and returns the updates since the last time."""
        await self.tasks.join(60)
        told, self.worker.told = self.worker.told, []
        return told


def with_scene(check: Any, folder: Path) -> None:
    async def run() -> None:
        async with registry_in(folder) as registry:
            scene = Scene(await created(registry))
            assert await scene.rest() == []
            await check(scene)

    asyncio.run(run())


def test_a_worker_is_told_only_what_has_changed(tmp_path: Path) -> None:
    async def check(scene: Scene) -> None:
        change(scene.job, priority=3)
        scene.telling.follow()
        scene.telling.follow()
        name = scene.job.name
        assert await scene.rest() == [worker_pb2.UpdateRunRequest(job_name=name, priority=3)]
        scene.telling.follow()
        assert await scene.rest() == []

    with_scene(check, tmp_path)


@pytest.mark.parametrize("stored", [True, False])
def test_an_accepted_recipe_is_kept_until_it_is_settled(tmp_path: Path, stored: bool) -> None:
    wanted = pb.Recipe(content_weight=3.0)

    async def check(scene: Scene) -> None:
        before = copied(scene.job.record.job.recipe)
        assert await scene.telling.steer(wanted) == wanted
        change(scene.job, priority=3)
        scene.telling.follow()
        told = await scene.rest()
        assert [news.HasField("recipe") for news in told] == [True, False]
        if stored:
            change(scene.job, recipe=wanted)
        scene.telling.settle()
        assert [news.recipe for news in await scene.rest()] == ([] if stored else [before])

    with_scene(check, tmp_path)


def test_a_worker_that_did_not_answer_is_told_the_current_recipe_again(tmp_path: Path) -> None:
    async def check(scene: Scene) -> None:
        scene.worker.refuses = [CallError(unavailable("WORKER_BUSY", "busy", 1.0))] * 2
        with pytest.raises(CallError):
            await scene.telling.steer(pb.Recipe(content_weight=3.0))
        # It may still have received the update.
        scene.telling.remind()
        assert await scene.rest() == []
        scene.telling.remind()
        assert [news.recipe for news in await scene.rest()] == [scene.job.record.job.recipe]
        scene.telling.remind()
        assert await scene.rest() == []

    with_scene(check, tmp_path)


def test_a_refused_recipe_does_not_prevent_other_changes(tmp_path: Path) -> None:
    async def check(scene: Scene) -> None:
        scene.worker.refuses = [CallError(invalid_argument([("recipe", "is odd")]))]
        change(scene.job, priority=3, recipe=pb.Recipe(content_weight=9.0))
        scene.telling.follow()
        assert await scene.rest() == [worker_pb2.UpdateRunRequest(job_name=scene.job.name, priority=3)]

    with_scene(check, tmp_path)


def test_a_change_before_the_worker_has_started_is_told_afterwards(tmp_path: Path) -> None:
    async def run() -> None:
        async with registry_in(tmp_path) as registry:
            job = await created(registry)
            worker, tasks = Listener(), Tasks()
            telling = Telling(job, cast(Worker, worker), tasks, asyncio.Event())
            first = telling.begin()
            change(job, recipe=pb.Recipe(content_weight=3.0))
            telling.follow()
            await tasks.join(60)
            assert worker.told == []
            telling.begun(first.recipe, pb.Recipe(seed=7))
            await tasks.join(60)
            assert [news.recipe for news in worker.told] == [job.record.job.recipe]

    asyncio.run(run())
