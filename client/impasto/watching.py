"""What a watcher knows about a job, from one or more streams."""

from __future__ import annotations

from impasto import wire
from impasto.errors import DataLoss, JobCancelled, JobFailed
from impasto.job import Event, Job, JobChanged, Progress
from impasto.v1 import style_transfer_pb2 as pb


class Watched:
    """The state of a job, from its events.

    Args:
        name: the job's name; empty until the server has sent it.

    Attributes:
        job: the job in the newest state from the server; None before the first.
        progress: the newest progress; None before the first.
        sequence: sequence number of the last event.
        skipped_previews: number of previews so far that newer ones replaced before they were sent.
        asked: the request that created the job; None if it was created elsewhere.
        resume_delay: seconds after which to reconnect, if the server ended the stream and asked for that.
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
        """Prepares for a new stream."""
        self._begun = False
        self.resume_delay = None
        self._skipped_before = self.skipped_previews
        self._sequence_before = self.sequence

    def take(self, message: pb.JobEvent) -> Event | None:
        """Returns the event in a message; None for a known event, and for one that callers do not need.

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
        # The preview that follows the first event may be older than that event.
        known = message.sequence <= max(self._sequence_before, self._sequences.get(kind, 0))
        self._sequences[kind] = max(self._sequences.get(kind, 0), message.sequence)
        self.sequence = max(self.sequence, message.sequence)
        if kind == "job" and (snapshot or not known):
            job = wire.job(message.job)
            changed = self.job is None or job.state != self.job.state
            self.job, self.name = job, job.name
            self.progress = job.progress or self.progress
            # A stream begins with the job's state, which the caller may know already.
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
        """Whether the job is final."""
        return self.job is not None and self.job.is_final

    def succeeded(self) -> Job:
        """Returns the job, which is final.

        Raises:
            JobCancelled: it was cancelled.
            ImpastoError: it failed.
        """
        job = self.job
        assert job is not None
        if job.state == "failed":
            raise job.error or JobFailed("the job failed, and the server did not say why")
        if job.state == "cancelled":
            raise JobCancelled(job.stop_message or "the job was cancelled")
        return job
