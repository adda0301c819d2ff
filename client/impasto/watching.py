"""What a watcher knows of a job, over as many streams as it takes."""

from __future__ import annotations

from impasto import wire
from impasto.errors import DataLoss, JobCancelled, JobFailed
from impasto.job import Event, Job, JobChanged, Progress
from impasto.v1 import style_transfer_pb2 as pb


class Watched:
    """A job as its events tell it.

    Args:
        name: the job's; empty until the server has told it.

    Attributes:
        job: as the server last told; None before it did.
        progress: the newest numbers; None before the first.
        sequence: of the last event taken.
        skipped_previews: previews that newer ones replaced on the way, so far.
        asked: the request that was made for the job, if it was made here.
        resume_delay: seconds after which the server wants to be called again, where it ended the stream.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.job: Job | None = None
        self.progress: Progress | None = None
        self.sequence = 0
        self.skipped_previews = 0
        self.resume_delay: float | None = None
        self.asked: pb.StylizeRequest | None = None
        self._skipped_before = 0
        self._begun = False
        self._sequence_before = 0
        self._sequences: dict[str | None, int] = {}

    def begin(self) -> None:
        """A stream begins."""
        self._begun = False
        self.resume_delay = None
        self._skipped_before = self.skipped_previews
        self._sequence_before = self.sequence

    def take(self, message: pb.JobEvent) -> Event | None:
        """The event in a message; None for one that is known already, and for what is not for callers.

        Raises:
            DataLoss: the stream does not begin with the job.
        """
        kind = message.WhichOneof("event")
        snapshot, self._begun = not self._begun, True
        if snapshot and kind not in ("job", "resume"):
            raise DataLoss("the server's stream does not begin with the job")
        if kind == "resume":
            delay = message.resume.retry_delay
            self.resume_delay = delay.seconds + delay.nanos / 1e9
            return None
        skipped = self._skipped_before + message.skipped_previews
        self.skipped_previews = max(self.skipped_previews, skipped)
        # The preview that follows the first event may well be older than what that tells.
        known = message.sequence <= max(self._sequence_before, self._sequences.get(kind, 0))
        self._sequences[kind] = max(self._sequences.get(kind, 0), message.sequence)
        self.sequence = max(self.sequence, message.sequence)
        if kind == "job" and (snapshot or not known):
            job = wire.job(message.job)
            changed = self.job is None or job.state != self.job.state
            self.job, self.name = job, job.name
            self.progress = job.progress or self.progress
            # What a stream begins with is the job as it is, and may be what the caller knows.
            return JobChanged(job) if changed or not known else None
        if known:
            return None
        if kind == "progress":
            self.progress = wire.progress(message.progress)
            return self.progress
        if kind == "preview":
            return wire.preview(message.preview)
        return None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.job is not None and self.job.is_final

    def succeeded(self) -> Job:
        """The job, which has ended.

        Raises:
            JobCancelled: it was cancelled.
            ImpastoError: it failed.
        """
        job = self.job
        assert job is not None
        if job.state == "failed":
            raise job.error or JobFailed("the job failed and the server did not say why")
        if job.state == "cancelled":
            raise JobCancelled(job.stop_message or "the job was cancelled")
        return job
