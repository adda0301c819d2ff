"""Tells the worker that paints a job about changes of the job."""

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
    """Keeps a worker up to date with a job's recipe, preview options, priority, and whether it is watched.

    A recipe goes to the worker before it is stored, because the worker can refuse it (`steer`, then
    `settle`). Everything else is stored first and sent to the worker afterwards (`follow`).
    """

    def __init__(self, job: Job, worker: Worker, tasks: Tasks, off_device: asyncio.Event) -> None:
        """
        Args:
            job: the job.
            worker: paints the job.
            tasks: run the calls to the worker.
            off_device: set once the worker no longer paints the job.
        """
        self._job = job
        self._worker = worker
        self._tasks = tasks
        self._off_device = off_device
        # What the worker was told last; None before the first time.
        self._told: worker_pb2.UpdateRunRequest | None = None
        # Held during each call to the worker: the order of two simultaneous calls would not be known.
        self._turn = asyncio.Lock()
        self._heard = False
        self._following = False
        # Whether the worker has a recipe that is not stored yet, and may never be.
        self._unsettled = False
        # Whether the worker did not answer when it was told of a change.
        self._unheard = False

    def begin(self) -> worker_pb2.UpdateRunRequest:
        """Returns the settings that are sent to the worker with the job."""
        self._told = self._wishes()
        return self._wishes()

    def begun(self, told: pb.Recipe, run: pb.Recipe) -> None:
        """Notes that the worker has started. From now on it gets changes.

        Args:
            told: the recipe that it was told first.
            run: the same recipe as the worker runs it.
        """
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
            # The answer may never come, and a job that has left its device does not need it.
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
        """Sends the changes again that the worker did not answer."""
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
                    # The worker may have taken the recipe nevertheless, so it is told the stored one again.
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
        """Tells the worker of changes until it is up to date with the job's record."""
        self._unheard = False
        try:
            while await self._tell_news():
                pass
        finally:
            self._following = False

    async def _tell_news(self) -> bool:
        """Tells the worker of all current changes. Returns whether there may be more."""
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
                    # The worker has changed nothing. The other changes are sent again without the recipe.
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
        """Returns the changes that the worker was not told yet; None if there are none."""
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
