"""Simulated callers: what they request, how long they wait, and what they learn from the answers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from typing import TYPE_CHECKING, Any

import grpc

from impasto.v1 import admin_pb2
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES
from simulation.model import FIELDS, HELD, PAUSED, KnownJob, Write, set_value
from simulation.server import CallEnded

if TYPE_CHECKING:
    from simulation.world import World

UNKNOWN = object()
"""Stands for the answer to a call that its caller cancelled."""

STEER_SECONDS, USUAL_SECONDS = 60.0, 1.0
"""Maximum seconds of a call besides the store's work: an update of the recipe (which waits for a worker that
may have other updates to answer first), and any other call."""

PREVIEW_MILLISECONDS = 3000
"""Seconds that a call waits for a preview."""

_ACTIONS = {
    "create": 3,
    "stylize": 1,
    "get": 3,
    "list_jobs": 1,
    "watch": 4,
    "pause": 2,
    "resume": 3,
    "hold": 1,
    "release": 2,
    "cancel": 2,
    "update": 4,
    "update_at_once": 2,
    "delete": 1,
    "preview": 1,
    "download": 1,
}


class Client:
    """A caller that performs one action after the other."""

    def __init__(self, world: World, number: int, random: random.Random) -> None:
        self._world = world
        self._random = random
        self._number = number
        self._tenant = f"tenant-{number % 2}"
        # Requests with an id, which may be repeated.
        self._requests: list[pb.CreateJobRequest] = []
        self._made = 0
        # Whether this caller waits for every answer.
        self._patient = False
        self._watching: list[asyncio.Task[None]] = []

    async def live(self, actions: int) -> None:
        """Performs a number of actions, some of them twice."""
        await self.create()
        for _ in range(actions):
            await asyncio.sleep(self._random.choice((0.0, 0.01, 0.3, 1.0, 3.0)))
            action = self._random.choices(list(_ACTIONS), list(_ACTIONS.values()))[0]
            for _ in range(self._random.choice((1, 1, 1, 2))):
                if not self._world.server.accepts:
                    return
                await getattr(self, action)()

    # Calls.

    async def call(self, method: str, request: Any, *, write: Any = None) -> Any:
        """Makes a call, and perhaps cancels it half-way. `write` takes the streamed messages.

        Returns:
            The answer, `CallEnded`, or `UNKNOWN`.
        """
        world, server, loop = self._world, self._world.server, asyncio.get_running_loop()
        world.calls += 1
        if not server.accepts:
            return UNKNOWN
        begin, busy = loop.time(), server.disk.busy_seconds()
        task = server.begin(method, request, self._tenant, write)
        leaves = not self._patient and self._random.random() < 0.25
        patience = self._random.choice((0.0, 0.0, 0.005, 0.02, 0.1, 2.0)) if leaves else None
        await asyncio.wait({task}, timeout=patience)
        if not task.done() or task.cancelled():
            task.cancel()
            world.note(f"client {self._number} {method} {_of(request)}: left")
            return UNKNOWN
        took, busy = loop.time() - begin, server.disk.busy_seconds() - busy
        if took - busy > _bound(request) + 1e-6:
            world.violation(f"{method} took {took:.3f} s, of which the store was busy for {busy:.3f} s")
        error = task.exception()
        if error is not None:
            world.note(f"client {self._number} {method} {_of(request)}: {error}")
            return error if isinstance(error, CallEnded) else UNKNOWN
        world.note(f"client {self._number} {method} {_of(request)}: OK")
        return task.result()

    def _some_job(self) -> KnownJob | None:
        jobs = [job for job in self._world.jobs.values() if job.tenant == self._tenant]
        # Prefers the newest jobs.
        return self._random.choice(jobs[-3:]) if jobs else None

    # Actions.

    async def create(self) -> None:
        if self._requests and self._random.random() < 0.4:
            request = self._random.choice(self._requests)
        else:
            request = self._new_request()
            if request.request_id:
                self._requests.append(request)
        for _ in range(self._random.choice((1, 1, 3))):
            sent = pb.CreateJobRequest()
            sent.CopyFrom(request)
            begin = asyncio.get_running_loop().time()
            answer = await self.call("CreateJob", sent)
            if isinstance(answer, pb.Job):
                self._world.created(answer, request, self._tenant, begin)
                return
            if not request.request_id:
                return

    async def stylize(self) -> None:
        made = self._new_request()
        request = pb.StylizeRequest(spec=made.spec, title=made.title, priority=made.priority)
        request.preview.CopyFrom(made.preview)
        request.linger.FromMilliseconds(self._random.choice((0, 1500)))
        self._watch("Stylize", request, made)

    async def get(self) -> None:
        if job := self._some_job():
            await self._ask(job, "GetJob", pb.GetJobRequest(name=job.name))

    async def list_jobs(self) -> None:
        begin = asyncio.get_running_loop().time()
        known = dict(self._world.jobs)
        answer = await self.call("ListJobs", pb.ListJobsRequest(page_size=100))
        if not isinstance(answer, pb.ListJobsResponse):
            return
        shown = {job.name: job for job in answer.jobs}
        for name, job in known.items():
            if name in shown:
                self._world.observed(job, shown[name], begin)
            elif job.tenant == self._tenant and not job.deletes:
                self._world.violation(f"{name} is not in the list")

    async def watch(self) -> None:
        if job := self._some_job():
            request = pb.WatchJobRequest(name=job.name, omit_previews=self._random.random() < 0.3)
            self._watch("WatchJob", request, None)

    async def pause(self) -> None:
        await self._set_paused("PauseJob", pb.PauseJobRequest, True)

    async def resume(self) -> None:
        await self._set_paused("ResumeJob", pb.ResumeJobRequest, False)

    async def hold(self) -> None:
        await self._set_held("HoldJob", admin_pb2.HoldJobRequest, True)

    async def release(self) -> None:
        await self._set_held("ReleaseJob", admin_pb2.ReleaseJobRequest, False)

    async def _set_held(self, method: str, request: Any, value: bool) -> None:
        """Holds or releases a job, as an administrator."""
        if job := self._some_job():
            await self._ask(job, method, request(name=job.name), {HELD: value})

    async def end(self, job: KnownJob, *, cancel: bool) -> None:
        """Watches a job to its end, after cancelling it, or releasing and resuming it."""
        self._tenant, self._patient = job.tenant, True
        self._watch("WatchJob", pb.WatchJobRequest(name=job.name), None)
        await asyncio.sleep(0.1)
        if cancel:
            await self._cancel(job)
        else:
            await self._ask(job, "ReleaseJob", admin_pb2.ReleaseJobRequest(name=job.name), {HELD: False})
            await self._ask(job, "ResumeJob", pb.ResumeJobRequest(name=job.name), {PAUSED: False})

    async def _set_paused(self, method: str, request: Any, value: bool) -> None:
        if job := self._some_job():
            await self._ask(job, method, request(name=job.name), {PAUSED: value})

    async def cancel(self) -> None:
        if job := self._some_job():
            await self._cancel(job)

    async def _cancel(self, job: KnownJob) -> None:
        job.cancels += 1
        answer = await self._ask(job, "CancelJob", pb.CancelJobRequest(name=job.name))
        if isinstance(answer, pb.Job) and answer.state != pb.JOB_STATE_CANCELLED:
            self._world.violation(f"{job.name} was cancelled and is in state {answer.state}")

    async def delete(self) -> None:
        if job := self._some_job():
            job.deletes += 1
            answer = await self._ask(job, "DeleteJob", pb.DeleteJobRequest(name=job.name))
            if isinstance(answer, CallEnded):
                job.deletes -= 1
            elif answer is not UNKNOWN:
                self._world.deleted(job)

    async def preview(self) -> None:
        if job := self._some_job():
            request = pb.GetPreviewRequest(name=job.name)
            request.wait.FromMilliseconds(self._random.choice((0, PREVIEW_MILLISECONDS)))
            begin = asyncio.get_running_loop().time()
            answer = await self.call("GetPreview", request)
            if isinstance(answer, pb.GetPreviewResponse):
                self._world.observed(job, answer.job, begin)

    async def download(self) -> None:
        """Downloads the result of a job that has one."""
        job = self._some_job()
        if job is None or job.final != pb.JOB_STATE_SUCCEEDED or job.deletes:
            return
        data = bytearray()

        async def write(chunk: Any) -> None:
            data.extend(chunk.data)

        answer = await self.call("DownloadImage", pb.DownloadImageRequest(result_of=job.name), write=write)
        if isinstance(answer, CallEnded):
            if (
                answer.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
                and not job.deletes
            ):
                self._world.violation(f"the result of {job.name} is lost: {answer}")
        elif answer is not UNKNOWN and hashlib.sha256(data).hexdigest() != job.result:
            self._world.violation(f"{job.name} has another result than was shown")

    async def update(self) -> None:
        if job := self._some_job():
            await self._update(job, self._random.sample(FIELDS, self._random.choice((1, 1, 2))))

    async def update_at_once(self) -> None:
        """Updates several fields at once, each with its own call."""
        if job := self._some_job():
            fields = self._random.sample(FIELDS, 3)
            await asyncio.gather(*(self._update(job, [field]) for field in fields))

    async def _update(self, job: KnownJob, fields: list[str]) -> None:
        values = {field: self._value(field) for field in fields}
        request = pb.UpdateJobRequest()
        request.job.name = job.name
        for field, value in values.items():
            set_value(request.job, field, value)
            request.update_mask.paths.append(field)
        await self._ask(job, "UpdateJob", request, values)

    async def _ask(
        self, job: KnownJob, method: str, request: Any, values: dict[str, Any] | None = None
    ) -> Any:
        """Makes a call about a job, which may set some of its fields."""
        world, begin = self._world, asyncio.get_running_loop().time()
        writes: dict[str, Write] = {
            field: job.registers[field].write(value, begin) for field, value in (values or {}).items()
        }
        deletes = job.deletes
        answer = await self.call(method, request)
        if isinstance(answer, admin_pb2.TenantJob):
            if answer.tenant != job.tenant:
                world.violation(f"{job.name} of {job.tenant} is said to be of {answer.tenant}")
            answer = answer.job
        now = asyncio.get_running_loop().time()
        if answer is UNKNOWN:
            return answer
        for field, write in writes.items():
            if isinstance(answer, CallEnded):
                job.registers[field].refuse(write)
            else:
                write.acknowledge(now)
        if isinstance(answer, CallEnded):
            if answer.code == grpc.StatusCode.NOT_FOUND and not max(deletes, job.deletes):
                world.violation(f"{job.name} is lost: {method} says NOT_FOUND")
            return answer
        if job.deleted < begin:
            world.violation(f"{method} finds {job.name}, which was deleted")
        if writes and answer.state not in FINAL_STATES:
            world.check_stored(job)
        if isinstance(answer, pb.Job):
            world.observed(job, answer, begin)
        return answer

    # Watching.

    def _watch(self, method: str, request: Any, made: pb.CreateJobRequest | None) -> None:
        self._watching.append(asyncio.get_running_loop().create_task(self._read(method, request, made)))

    async def _read(self, method: str, request: Any, made: pb.CreateJobRequest | None) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        begin, pace = loop.time(), self._random.choice((0.0, 0.0, 0.2, 1.0))
        last: list[pb.JobEvent] = []

        async def write(message: Any) -> None:
            event = message.event if method == "Stylize" else message
            if method == "Stylize" and not message.HasField("event"):
                return
            if made is not None and not last:
                world.created(event.job, made, self._tenant, begin, lingers=True)
                world.server.handlers[task].job = event.job.name
            world.shown(self._tenant, event, last[-1] if last else None)
            last.append(event)
            await asyncio.sleep(pace)

        if not world.server.accepts:
            return
        task = world.server.begin(method, request, self._tenant, write)
        patience = None if self._patient else self._random.choice((0.05, 1.0, 5.0, None, None))
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            world.note(f"client {self._number} {method} {_of(request)}: stops watching")
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, CallEnded):
                await task
            return
        error = None if task.cancelled() else task.exception()
        world.note(f"client {self._number} {method} {_of(request)}: ends {error}")
        if task.cancelled() or error is not None:
            job = world.jobs.get(_of(request))
            lost = isinstance(error, CallEnded) and error.code == grpc.StatusCode.NOT_FOUND
            if job is not None and lost and not job.deletes:
                world.violation(f"{job.name} is lost: {method} says NOT_FOUND")
            return
        if not last or not (last[-1].HasField("resume") or last[-1].job.state in FINAL_STATES):
            world.violation(f"{method} {_of(request)} ended without a final state")

    # Requests.

    def _new_request(self) -> pb.CreateJobRequest:
        self._made += 1
        content = self._random.choice((*(3 * [self._world.images.small]), self._world.images.large))
        request = pb.CreateJobRequest(
            spec=pb.JobSpec(
                content=pb.Image(sha256=content),
                styles=[pb.Style(image=pb.Image(sha256=self._world.images.small))],
                recipe=pb.Recipe(
                    evaluations=self._random.choice((1, 4, 8, 20)), content_weight=1.0, tv_weight=0.5
                ),
            ),
            title=f"title {self._number} {self._made}",
            priority=self._random.choice((0, 0, 5)),
            preview=pb.PreviewOptions(max_side=128),
        )
        if self._random.random() < 0.7:
            request.request_id = f"request {self._number} {self._made}"
        return request

    def _value(self, field: str) -> Any:
        self._made += 1
        if field == "title":
            return f"title {self._number} {self._made}"
        if field == "priority":
            return self._random.randint(-100, 100)
        if field == "preview.max_side":
            return self._random.randint(16, 2048)
        # Multiples of 1/1000, which survive as 32-bit floats.
        return self._random.randint(1, 3000) / 1000


def _bound(request: Any) -> float:
    if isinstance(request, pb.GetPreviewRequest):
        return PREVIEW_MILLISECONDS / 1000 + USUAL_SECONDS
    steers = isinstance(request, pb.UpdateJobRequest) and "recipe" in str(request.update_mask.paths)
    return STEER_SECONDS if steers else USUAL_SECONDS


def _of(request: Any) -> str:
    if isinstance(request, pb.UpdateJobRequest):
        return f"{request.job.name} {','.join(request.update_mask.paths)}"
    named = (getattr(request, field, "") for field in ("name", "request_id", "result_of"))
    return next((str(name) for name in named if name), "")
