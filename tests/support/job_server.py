"""A job server that paints nothing: it counts evaluations, and fails as the test says.

As with the real server, jobs outlive it: `serving` may be entered again on the same port with the same jobs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc as pb_grpc
from support.fake_server import chunks, jpeg, png, status

FINAL = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)


@dataclasses.dataclass
class Jobs:
    """The jobs of a server, and its faults.

    Attributes:
        pace: seconds per evaluation.
        error: error with which a job fails at its end; None: it succeeds.
        token: token that callers must send; empty: none.
        lose_answers: number of next `CreateJob` calls whose answer is lost after the job was created.
        cut_watches: number of next `WatchJob` streams that break off after their third event.
        cut_downloads: number of next `DownloadImage` streams that break off after their first piece.
        drain: whether the next `WatchJob` ends with a `resume` event.
        damage: whether the result is damaged on its way.
        picture: the result of every job.
        made: the jobs by their `request_id`.
        watches, downloads: requests received.
    """

    pace: float = 0.02
    error: Message | None = None
    token: str = ""
    lose_answers: int = 0
    cut_watches: int = 0
    cut_downloads: int = 0
    drain: bool = False
    damage: bool = False
    picture: bytes = dataclasses.field(default_factory=png)
    made: dict[str, pb.Job] = dataclasses.field(default_factory=dict)
    requests: dict[str, pb.CreateJobRequest] = dataclasses.field(default_factory=dict)
    watches: list[pb.WatchJobRequest] = dataclasses.field(default_factory=list)
    downloads: list[pb.DownloadImageRequest] = dataclasses.field(default_factory=list)

    def only(self) -> pb.Job:
        """The only job."""
        (job,) = self.made.values()
        return job


class JobServer(pb_grpc.StyleTransferServicer):
    """Answers a client that creates a job, watches it and downloads its result."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.address = ""
        self.stopping = threading.Event()

    def CreateJob(self, request: pb.CreateJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._check_token(context)
        job = self.jobs.made.get(request.request_id)
        if job is None:
            evaluations = request.spec.recipe.evaluations or 8
            job = pb.Job(
                name=f"jobs/fake-{len(self.jobs.made) + 1}",
                state=pb.JOB_STATE_QUEUED,
                width=48,
                height=32,
                recipe=pb.Recipe(evaluations=evaluations),
            )
            self.jobs.made[request.request_id] = job
            self.jobs.requests[request.request_id] = request
        assert request == self.jobs.requests[request.request_id]
        if self.jobs.lose_answers:
            self.jobs.lose_answers -= 1
            _abort_unavailable(context)
        return job

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._check_token(context)
        return self._job(request.name, context)

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._check_token(context)
        job = self._job(request.name, context)
        if job.state not in FINAL:
            job.state = pb.JOB_STATE_CANCELLED
        return job

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        self._check_token(context)
        self.jobs.watches.append(request)
        job = self._job(request.name, context)
        for number, event in enumerate(self._events(job, request)):
            if self.jobs.cut_watches and number == 3:
                self.jobs.cut_watches -= 1
                _abort_unavailable(context)
            if self.jobs.drain and number == 3:
                self.jobs.drain = False
                resume = pb.JobEvent(sequence=event.sequence, resume=pb.Resume())
                resume.resume.retry_delay.FromMilliseconds(100)
                yield resume
                return
            yield event

    def _events(self, job: pb.Job, request: pb.WatchJobRequest) -> Iterator[pb.JobEvent]:
        sequences = itertools.count(max(request.after_sequence, 2 * job.progress.evaluation) + 1)
        yield pb.JobEvent(sequence=next(sequences), job=job)
        yield pb.JobEvent(sequence=1)  # an event of a kind that the client does not know
        while job.state not in FINAL:
            self.stopping.wait(self.jobs.pace)
            if self.stopping.is_set():
                return
            if job.state == pb.JOB_STATE_QUEUED:
                job.state = pb.JOB_STATE_RUNNING
            elif job.progress.evaluation < job.recipe.evaluations:
                self._evaluate(job)
                yield pb.JobEvent(sequence=next(sequences), progress=job.progress)
                if not request.omit_previews:
                    yield pb.JobEvent(sequence=next(sequences), preview=_preview(job))
                continue
            elif self.jobs.error is not None:
                job.error.CopyFrom(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", self.jobs.error))
                job.state = pb.JOB_STATE_FAILED
            else:
                job.state = pb.JOB_STATE_SUCCEEDED
            yield pb.JobEvent(sequence=next(sequences), job=job)
        yield pb.JobEvent(sequence=next(sequences), job=job)

    def _evaluate(self, job: pb.Job) -> None:
        job.progress.evaluation += 1
        job.progress.evaluations = job.recipe.evaluations
        job.progress.scale = job.progress.scales = 1
        job.progress.loss = 1 / job.progress.evaluation

    def DownloadImage(
        self, request: pb.DownloadImageRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ImageChunk]:
        self._check_token(context)
        self.jobs.downloads.append(request)
        self._job(request.result_of, context)
        whole = chunks(self.jobs.picture, 100)
        info, data = whole[0].info, self.jobs.picture[request.offset :]
        if self.jobs.damage:
            data = data[:-1] + b"?"
        for number, chunk in enumerate(chunks(data, 100)):
            chunk.offset += request.offset
            if number == 0:
                chunk.info.CopyFrom(info)
            elif self.jobs.cut_downloads:
                self.jobs.cut_downloads -= 1
                _abort_unavailable(context)
            yield chunk

    def _job(self, name: str, context: grpc.ServicerContext) -> pb.Job:
        named = {job.name: job for job in self.jobs.made.values()}
        if name not in named:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no job {name!r}")
        return named[name]

    def _check_token(self, context: grpc.ServicerContext) -> None:
        shown = dict(context.invocation_metadata()).get("authorization", "")
        if self.jobs.token and shown != f"Bearer {self.jobs.token}":
            context.abort_with_status(
                rpc_status.to_status(
                    status(
                        grpc.StatusCode.UNAUTHENTICATED,
                        "the token is not known; ask for one",
                        error_details_pb2.ErrorInfo(reason="UNAUTHENTICATED", domain="impasto"),
                    )
                )
            )


def _abort_unavailable(context: grpc.ServicerContext) -> NoReturn:
    delay = error_details_pb2.RetryInfo()
    delay.retry_delay.FromMilliseconds(50)
    info = error_details_pb2.ErrorInfo(reason="DRAINING", domain="impasto")
    context.abort_with_status(
        rpc_status.to_status(status(grpc.StatusCode.UNAVAILABLE, "shutting down", info, delay))
    )


def _preview(job: pb.Job) -> pb.Preview:
    evaluation = job.progress.evaluation
    return pb.Preview(
        data=jpeg(48, 32, turn=10 * evaluation),
        format=pb.IMAGE_FORMAT_JPEG,
        width=48,
        height=32,
        evaluation=evaluation,
        scale=1,
    )


@contextlib.contextmanager
def serving(
    jobs: Jobs, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> Iterator[JobServer]:
    """A server of these jobs on this machine; at the end it breaks all calls in progress."""
    served = JobServer(jobs)
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_StyleTransferServicer_to_server(served, server)
    address = f"127.0.0.1:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    assert port, "the port is taken"
    served.address = f"localhost:{port}"
    server.start()
    try:
        yield served
    finally:
        served.stopping.set()
        server.stop(None).wait()
