"""A job on the device: its session, and the events of each turn."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import numpy as np
import numpy.typing as npt
import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.previews import PreviewWish
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.engine.checkpoint import Checkpoint
from impasto_server.engine.memory import MemoryPlan
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.session import Progress, Session
from impasto_server.mailbox import Mailbox
from impasto_server.v1 import worker_pb2
from impasto_server.worker.commission import Commission
from impasto_server.worker.scheduler import Claim

_PROGRESS_INTERVAL = 0.05
_MEMORY_METHODS: dict[str, pb.MemoryMethod] = {
    "plain": pb.MEMORY_METHOD_PLAIN,
    "tiled": pb.MEMORY_METHOD_TILED,
}
_PREVIEW_SHARE = 0.02
"""Maximum share of the time for taking and encoding previews, because they slow the painting down."""
_CHECKPOINT_SHARE = 0.05
"""Maximum share of the time for taking and sending checkpoints. With L-BFGS and 1024 px, one has 390 MB."""


@dataclasses.dataclass(frozen=True)
class PreviewFrame:
    """A picture to encode as a preview, after an evaluation or before the first one of a scale."""

    picture: PIL.Image.Image
    evaluation: int
    scale: int


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of a finished painting.

    Attributes:
        samples: samples of the result, (H, W, 3), uint8 or uint16.
        recipe: the recipe as it was run.
        memory_plan: how the largest scale fitted into memory.
        evaluations: number of evaluations made.
        stop_reason, stop_message: why it ended, as in `Session`.
    """

    samples: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    recipe: Recipe
    memory_plan: MemoryPlan
    evaluations: int
    stop_reason: str
    stop_message: str


@dataclasses.dataclass(frozen=True)
class Suspended:
    """The end of a painting that will continue later, from its last checkpoint."""


@dataclasses.dataclass(frozen=True)
class Broken:
    """The end of a painting that failed with an error."""

    error: Exception


Event = worker_pb2.RunResponse | PreviewFrame | Result | Suspended | Broken


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint whose bytes are not made yet."""

    checkpoint: Checkpoint
    evaluation: int


class Painting:
    """A job on the device or in line for it. Only the device's thread may call its methods.

    Attributes:
        job_name: name of the job.
        claim: its claim to the device at the beginning.
        events: its events, for one reader in the event loop in which it was made. The last one is a `Result`,
            `Suspended` or `Broken`.
        checkpoints: its checkpoints, for one reader in the same loop. A new one replaces an unread one. It is
            closed after the last event.
        wish: the previews to take while it is watched.
        ended: whether its last event has been sent.
    """

    def __init__(
        self,
        job_name: str,
        commission: Commission,
        claim: Claim,
        wish: PreviewWish,
        *,
        checkpoint_interval: float = 0.0,
    ) -> None:
        """
        Args:
            job_name: name of the job.
            commission: makes the session.
            claim: its claim to the device.
            wish: the previews to take while it is watched.
            checkpoint_interval: minimum time of the device between two checkpoints in seconds; 0 for no
                checkpoints.
        """
        self.job_name = job_name
        self.claim = claim
        self.events: Mailbox[Event] = Mailbox()
        self.checkpoints: Mailbox[Saved] = Mailbox()
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._commission = commission
        self.wish = wish
        self._watched = claim.watched
        self._checkpoint_interval = self._save_after = checkpoint_interval
        self._session: Session | None = None
        self._progress: Progress | None = None
        self._unsaved_seconds = 0.0
        self._saving_seconds = 0.0
        self._next_progress = 0.0
        self._preview_in_hand = False
        self._previewed: tuple[int, int] | None = None
        self._preview_seconds = 0.0
        # A preview is due when both times have passed.
        self._next_wanted_preview = 0.0
        self._next_cheap_preview = 0.0

    def open(self, memory_bytes: int) -> None:
        """Makes the session.

        Args:
            memory_bytes: memory of the device that the session may use.

        Raises:
            RecipeError: as in `Commission.open`.
        """
        self._session = self._commission.open(memory_bytes)
        self._tell(worker_pb2.RunResponse(started=_started(self._session)))

    @property
    def memory_bytes(self) -> int:
        """Estimated peak memory of the session in bytes. Only an update can increase it."""
        assert self._session is not None
        return self._session.plan.estimated_bytes

    def turn(self) -> None:
        """Makes one evaluation, or does a piece of the work before a scale's first one."""
        session = self._session
        assert session is not None
        begin = time.perf_counter()
        self._progress = progress = session.step()
        self._unsaved_seconds += time.perf_counter() - begin
        now = time.monotonic()
        if session.done or now >= self._next_progress:
            self._next_progress = now + _PROGRESS_INTERVAL
            self._tell(worker_pb2.RunResponse(progress=_numbers(progress)), kind="progress")
        self._preview_if_due()
        if session.done:
            assert session.stop_reason is not None
            result = Result(
                session.samples(self._commission.result_bits),
                session.recipe,
                session.plan,
                progress.evaluation,
                session.stop_reason,
                session.stop_message,
            )
            self._end(result)
        elif progress.preparing is None and 0 < self._save_after <= self._unsaved_seconds:
            # A checkpoint cannot contain unfinished targets, so it waits until they are finished.
            self._save()

    def update(
        self,
        recipe: Recipe | None,
        wish: PreviewWish | None,
        watched: bool | None,
        memory_bytes: int,
    ) -> Recipe:
        """Changes what is not None; returns the recipe as it is run from now on.

        Args:
            recipe: how to paint from now on.
            wish: the previews to take.
            watched: whether the job is watched.
            memory_bytes: memory of the device that the session may use.

        Raises:
            RecipeError: the recipe does not suit the painting, or not within `memory_bytes`. Nothing has
                changed.
        """
        session = self._session
        self._previewed = None
        if recipe is not None:
            if session is None:
                self._commission.update(recipe)
            else:
                session.update(recipe, memory_bytes)
                # The next turn saves a checkpoint, so that a crash does not undo the change.
                self._unsaved_seconds = max(self._unsaved_seconds, self._save_after)
        if wish is not None:
            self.wish = wish
            self._next_wanted_preview = min(self._next_wanted_preview, time.monotonic() + wish.min_interval)
        if watched is not None:
            if watched and not self._watched:
                self._next_wanted_preview = 0.0
            self._watched = watched
            self._preview_if_due()
        return self._commission.recipe if session is None else session.recipe

    def suspend(self) -> None:
        """Ends the painting with a checkpoint, so that it can continue later."""
        # Before the first evaluation there is nothing to save.
        if self._progress is not None and self._progress.evaluation:
            self._save()
        self._end(Suspended())

    def break_off(self, error: Exception) -> None:
        """Ends the painting with an error."""
        self._end(Broken(error))

    def preview_coded(self, seconds: float) -> None:
        """Allows the next preview, after the last one was encoded in so many seconds."""
        cost = self._preview_seconds + seconds
        now = time.monotonic()
        self._next_wanted_preview = now + self.wish.min_interval - cost
        self._next_cheap_preview = now + cost / _PREVIEW_SHARE
        self._preview_in_hand = False

    def checkpoint_sent(self, seconds: float) -> None:
        """Sets the time of the next checkpoint, after the last one was sent in so many seconds."""
        if self._checkpoint_interval:
            cost = self._saving_seconds + seconds
            self._save_after = max(self._checkpoint_interval, cost / _CHECKPOINT_SHARE)

    def release(self) -> None:
        """Frees everything that it has on the device."""
        self._session = None
        del self._commission

    def _preview_if_due(self) -> None:
        if self._progress is None or not self._watched or self.wish.disabled or self._preview_in_hand:
            return
        now = time.monotonic()
        if now < max(self._next_wanted_preview, self._next_cheap_preview):
            return
        # The picture does not change while targets are found.
        if (at := (self._progress.evaluation, self._progress.scale)) == self._previewed:
            return
        assert self._session is not None
        self._preview_in_hand, self._previewed = True, at
        picture = self._session.picture(self.wish.max_side)
        self._preview_seconds = time.monotonic() - now
        self._tell(PreviewFrame(picture, *at))

    def _save(self) -> None:
        assert self._session is not None
        self._unsaved_seconds = 0.0
        begin = time.monotonic()
        saved = Saved(self._session.snapshot(), self._session.evaluation)
        self._saving_seconds = time.monotonic() - begin
        self._loop.call_soon_threadsafe(lambda: self.checkpoints.put(saved, kind="checkpoint"))

    def _end(self, end: Result | Suspended | Broken) -> None:
        self.ended = True
        self._tell(end)
        self._loop.call_soon_threadsafe(self.checkpoints.close)

    def _tell(self, event: Event, *, kind: str | None = None) -> None:
        self._loop.call_soon_threadsafe(lambda: self.events.put(event, kind=kind))


def plan_to_proto(plan: MemoryPlan) -> pb.MemoryPlan:
    """Converts a plan to the contract's."""
    return pb.MemoryPlan(
        method=_MEMORY_METHODS[plan.method],
        estimated_bytes=plan.estimated_bytes,
        tile_side=plan.tile_side or 0,
    )


def _started(session: Session) -> worker_pb2.Started:
    width, height = session.size
    return worker_pb2.Started(
        recipe=recipe_to_proto(session.recipe),
        width=width,
        height=height,
        bfloat16=session.recipe.precision == "bfloat16",
        memory_plan=plan_to_proto(session.plan),
        evaluation=session.evaluation,
    )


def _numbers(progress: Progress) -> pb.Progress:
    message = pb.Progress(
        evaluation=progress.evaluation,
        evaluations=progress.evaluations,
        scale=progress.scale,
        scales=progress.scales,
        width=progress.width,
        height=progress.height,
        loss=progress.loss,
        content_loss=progress.content_loss,
        style_loss=progress.style_loss,
        tv_loss=progress.tv_loss,
        preparing=progress.preparing,
    )
    message.device_time.FromNanoseconds(round(progress.seconds * 1e9))
    if progress.seconds_left is not None:
        message.time_left.FromNanoseconds(round(progress.seconds_left * 1e9))
    return message
