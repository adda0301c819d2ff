"""A job: what is known of a painting being made, and who is told of it."""

from __future__ import annotations

import secrets

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.jobs.mailbox import Mailbox

FINAL_STATES = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})


class Watcher:
    """One reader of a job's events: state changes in order, of progress and previews the newest.

    Read by `async for`; ends after the event of the final state, or raises what the job was broken with.
    """

    def __init__(self) -> None:
        self._events: Mailbox[pb.JobEvent] = Mailbox()
        self._skipped_previews = 0

    def tell(self, event: pb.JobEvent) -> None:
        kind = event.WhichOneof("event")
        replaced = self._events.put(event, kind=None if kind == "job" else kind)
        self._skipped_previews += replaced and kind == "preview"
        if kind == "job" and event.job.state in FINAL_STATES:
            self._events.close()

    def break_off(self, error: Exception) -> None:
        self._events.close(error)

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> pb.JobEvent:
        event = await self._events.__anext__()
        event.skipped_previews = self._skipped_previews
        return event


class Job:
    """A job and its way through the states; each change is an event to its watchers.

    Attributes:
        message: the job as the contract shows it.
    """

    def __init__(self, recipe: pb.Recipe, width: int, height: int) -> None:
        self.message = pb.Job(
            name=f"jobs/{secrets.token_urlsafe(16)}",
            state=pb.JOB_STATE_QUEUED,
            recipe=recipe,
            width=width,
            height=height,
            create_time=_now(),
        )
        self._sequence = 0
        self._watchers: list[Watcher] = []

    @property
    def finished(self) -> bool:
        return self.message.state in FINAL_STATES

    def watch(self) -> Watcher:
        """A new watcher; its first event is the job as it is now."""
        watcher = Watcher()
        self._watchers.append(watcher)
        self._sequence += 1
        watcher.tell(pb.JobEvent(sequence=self._sequence, job=self.message))
        return watcher

    def start(self, started: worker_pb2.Started, network: pb.FeatureNetwork, device: str) -> None:
        """The job has got a device."""
        self.message.MergeFrom(
            pb.Job(
                state=pb.JOB_STATE_RUNNING,
                width=started.width,
                height=started.height,
                start_time=_now(),
                network=network,
                device=device,
                bfloat16=started.bfloat16,
                memory_plan=started.memory_plan,
            )
        )
        self.message.recipe.CopyFrom(started.recipe)
        self._tell(pb.JobEvent(job=self.message))

    def progress(self, progress: pb.Progress) -> None:
        self.message.progress.CopyFrom(progress)
        self._tell(pb.JobEvent(progress=progress))

    def preview(self, preview: pb.Preview) -> None:
        self._tell(pb.JobEvent(preview=preview))

    def succeed(self, stop_reason: pb.StopReason, stop_message: str) -> None:
        self._finish(pb.Job(state=pb.JOB_STATE_SUCCEEDED, stop_reason=stop_reason, stop_message=stop_message))

    def fail(self, error: status_pb2.Status, stop_reason: pb.StopReason = pb.STOP_REASON_UNSPECIFIED) -> None:
        assert error.code != code_pb2.OK
        self._finish(pb.Job(state=pb.JOB_STATE_FAILED, error=error, stop_reason=stop_reason))

    def cancel(self) -> None:
        """Someone cancelled it; nothing happens if it is finished."""
        if not self.finished:
            self._finish(
                pb.Job(
                    state=pb.JOB_STATE_CANCELLED,
                    stop_reason=pb.STOP_REASON_CANCELLED,
                    stop_message="The job was cancelled.",
                )
            )

    def break_off(self, error: Exception) -> None:
        """Ends every watcher's reading with an error of the call; the job itself says nothing more."""
        for watcher in self._watchers:
            watcher.break_off(error)

    def _finish(self, end: pb.Job) -> None:
        assert not self.finished
        self.message.MergeFrom(end)
        self.message.end_time.CopyFrom(_now())
        self._tell(pb.JobEvent(job=self.message))

    def _tell(self, event: pb.JobEvent) -> None:
        self._sequence += 1
        event.sequence = self._sequence
        for watcher in self._watchers:
            own = pb.JobEvent()
            own.CopyFrom(event)
            watcher.tell(own)


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now
