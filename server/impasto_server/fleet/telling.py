"""What the worker that paints a job has been told of it, and what it has yet to be told."""

from __future__ import annotations

import asyncio
import logging

from google.rpc import code_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError
from impasto_server.fleet.workers import Worker
from impasto_server.jobs.job import Job
from impasto_server.jobs.tasks import Tasks
from impasto_server.v1 import worker_pb2

_log = logging.getLogger(__name__)


class Telling:
    """Keeps a worker in step with a job's record: recipe, preview, priority, and whether it is watched.

    A recipe goes to the worker before it is stored, because the worker may refuse it (`steer`, then
    `settle`). All else is stored first, and told afterwards (`follow`).
    """

    def __init__(self, job: Job, worker: Worker, tasks: Tasks, off_device: asyncio.Event) -> None:
        """
        Args:
            job: whose record holds.
            worker: who paints it.
            tasks: do the telling.
            off_device: set once the worker does not paint the job any more.
        """
        self._job = job
        self._worker = worker
        self._tasks = tasks
        self._off_device = off_device
        # What the worker was last told; None while it was told nothing.
        self._told: worker_pb2.UpdateRunRequest | None = None
        # Held while the worker is told something: of two things told at once, nobody knew which it did last.
        self._turn = asyncio.Lock()
        self._heard = False
        self._following = False
        # Whether the worker has a recipe that is not stored yet, and may never be.
        self._unsettled = False
        # Whether the worker could not be told of a change, since it did not answer.
        self._unheard = False

    def begin(self) -> worker_pb2.UpdateRunRequest:
        """What the worker is to be told first, with the job itself."""
        self._told = self._wishes()
        return self._wishes()

    def begun(self, told: pb.Recipe, run: pb.Recipe) -> None:
        """The worker has begun with the recipe that it was told first, and says how it runs that recipe: from
        now on it can be told more."""
        assert self._told is not None
        self._heard = True
        if self._told.recipe == told:
            self._told.recipe.CopyFrom(run)
        self.follow()

    async def steer(self, recipe: pb.Recipe) -> pb.Recipe | None:
        """See `Painting`."""
        if self._told is None:
            return None
        asking = asyncio.ensure_future(self._ask(recipe))
        leaving = asyncio.ensure_future(self._off_device.wait())
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            # A job that has left has no use for an answer, which may never come.
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            leaving.cancel()

    def settle(self) -> None:
        """See `Painting`."""
        self._unsettled = False
        self.follow()

    def follow(self) -> None:
        """See `Painting`."""
        if self._heard and not self._following:
            self._following = True
            self._tasks.start(self._follow())

    def remind(self) -> None:
        """Tells the worker once more what it did not hear."""
        if self._unheard:
            self.follow()

    async def _ask(self, recipe: pb.Recipe) -> pb.Recipe | None:
        assert self._told is not None
        async with self._turn:
            request = worker_pb2.UpdateRunRequest(job_name=self._job.name, recipe=recipe)
            try:
                answer = await self._worker.update(request)
            except CallError as error:
                if error.status.code == code_pb2.UNAVAILABLE:
                    # It may have taken the recipe all the same: it is told again what it is to be.
                    self._told.recipe.CopyFrom(recipe)
                    self._unheard = True
                raise
            if answer is None:
                return None
            self._unsettled = True
            run = answer.recipe if answer.HasField("recipe") else recipe
            self._told.recipe.CopyFrom(run)
            return run

    async def _follow(self) -> None:
        """Tells the worker what it was not told yet, until it knows the job's record."""
        self._unheard = False
        try:
            while await self._tell_news():
                pass
        finally:
            self._following = False

    async def _tell_news(self) -> bool:
        """Tells the worker what is new; whether there may be more."""
        async with self._turn:
            news = self._news()
            if news is None or self._off_device.is_set():
                return False
            try:
                if await self._worker.update(news) is None:
                    return False
            except CallError as error:
                if error.status.code == code_pb2.UNAVAILABLE:
                    self._unheard = True
                    return False
                _log.error("worker refuses a change job=%s error=%r", self._job.name, str(error))
                if news.HasField("recipe"):
                    # Nothing was changed: the rest is told again without it.
                    news = worker_pb2.UpdateRunRequest(recipe=news.recipe)
            self._remember(news)
            return True

    def _remember(self, news: worker_pb2.UpdateRunRequest) -> None:
        assert self._told is not None
        for field in ("recipe", "preview"):
            if news.HasField(field):
                getattr(self._told, field).CopyFrom(getattr(news, field))
        for field in ("watched", "priority"):
            if news.HasField(field):
                setattr(self._told, field, getattr(news, field))

    def _news(self) -> worker_pb2.UpdateRunRequest | None:
        """What the worker was told otherwise than it now is; None if nothing."""
        told, wanted = self._told, self._wishes()
        assert told is not None
        if self._unsettled:
            wanted.recipe.CopyFrom(told.recipe)
        if told == wanted:
            return None
        news = worker_pb2.UpdateRunRequest(job_name=self._job.name)
        for field in ("recipe", "preview"):
            if getattr(told, field) != getattr(wanted, field):
                getattr(news, field).CopyFrom(getattr(wanted, field))
        if told.watched != wanted.watched:
            news.watched = wanted.watched
        if told.priority != wanted.priority:
            news.priority = wanted.priority
        return news

    def _wishes(self) -> worker_pb2.UpdateRunRequest:
        job = self._job.record.job
        return worker_pb2.UpdateRunRequest(
            job_name=self._job.name,
            recipe=job.recipe,
            preview=job.preview,
            watched=self._job.previews_wanted,
            priority=job.priority,
        )
