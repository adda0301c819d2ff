"""A job on the device: its session, and what is told of it turn by turn."""

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
from impasto_server.engine.devices import return_freed_memory
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
"""Of the time, at most so much goes into previews, however often they are wanted: they cost the optimiser."""
_CHECKPOINT_SHARE = 0.05
"""Of the time, for taking and sending checkpoints: of an image of 1024 px one with L-BFGS has 390 MB."""


@dataclasses.dataclass(frozen=True)
class PreviewFrame:
    """The picture after an evaluation, or before the first of a scale, to be coded as a preview."""

    picture: PIL.Image.Image
    evaluation: int
    scale: int


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of a painting that is done, and what is told of how it was made.

    Attributes:
        samples: (H, W, 3), uint8 or uint16.
    """

    samples: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    recipe: Recipe
    memory_plan: MemoryPlan
    evaluations: int
    stop_reason: str
    stop_message: str


@dataclasses.dataclass(frozen=True)
class Suspended:
    """The end of a painting that is to go on some other time."""


@dataclasses.dataclass(frozen=True)
class Broken:
    """The end of a painting that raised an error."""

    error: Exception


Event = worker_pb2.RunResponse | PreviewFrame | Result | Suspended | Broken


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint, its bytes still to be made."""

    checkpoint: Checkpoint
    evaluation: int


class Painting:
    """A job on the device, or on its way there. Its methods are for the device's thread.

    Attributes:
        job_name: the job's.
        claim: what it may have of the device, when it comes.
        events: what happens to it, for one reader in the event loop that made it. The last is `Result`,
            `Suspended` or `Broken`.
        checkpoints: for one reader of the same loop; a new one replaces one that was not read. Closed with
            the end of the events.
        wish: which previews to take, while it is watched.
        ended: whether that end has been told.
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
            job_name: the job's.
            commission: what to paint.
            claim: what it may have of the device.
            wish: which previews to take, while it is watched.
            checkpoint_interval: seconds of the device between two checkpoints, at least; 0 for none.
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
        # A preview is due when both have passed.
        self._next_wanted_preview = 0.0
        self._next_cheap_preview = 0.0

    def open(self, memory_bytes: int) -> None:
        """Makes the session.

        Args:
            memory_bytes: what it may use of the device's memory.

        Raises:
            RecipeError: as `Commission.open`.
        """
        self._session = self._commission.open(memory_bytes)
        self._tell(worker_pb2.RunResponse(started=_started(self._session)))

    @property
    def memory_bytes(self) -> int:
        """What the session is estimated to need at its peak. Only an update can make it grow."""
        assert self._session is not None
        return self._session.plan.estimated_bytes

    def turn(self) -> None:
        """One evaluation, or a piece of the work before a scale's first one."""
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
            # Half the targets cannot be kept: it waits until they are whole.
            self._save()

    def update(
        self,
        recipe: Recipe | None,
        wish: PreviewWish | None,
        watched: bool | None,
        memory_bytes: int,
    ) -> Recipe:
        """Takes up what is not None, and gives the recipe as it is run from now on.

        Raises:
            RecipeError: the recipe cannot be taken up, `memory_bytes` of the device's memory being what
                there is; nothing has changed.
        """
        session = self._session
        self._previewed = None
        if recipe is not None:
            if session is None:
                self._commission.update(recipe)
            else:
                session.update(recipe, memory_bytes)
                # So that a crash does not take it back.
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
        """Ends the painting, to go on some other time."""
        # Before the first evaluation there is nothing that a fresh session has not.
        if self._progress is not None and self._progress.evaluation:
            self._save()
        self._end(Suspended())

    def break_off(self, error: Exception) -> None:
        """Ends the painting with an error."""
        self._end(Broken(error))

    def preview_coded(self, seconds: float) -> None:
        """The last preview frame has been coded, which took so long: another one may be taken in due time."""
        cost = self._preview_seconds + seconds
        now = time.monotonic()
        self._next_wanted_preview = now + self.wish.min_interval - cost
        self._next_cheap_preview = now + cost / _PREVIEW_SHARE
        self._preview_in_hand = False

    def checkpoint_sent(self, seconds: float) -> None:
        """The last checkpoint has been sent, which took so long: the next is taken in due time."""
        if self._checkpoint_interval:
            cost = self._saving_seconds + seconds
            self._save_after = max(self._checkpoint_interval, cost / _CHECKPOINT_SHARE)

    def release(self) -> None:
        """Lets go of everything on the device."""
        self._session = None
        del self._commission
        return_freed_memory()

    def _preview_if_due(self) -> None:
        if self._progress is None or not self._watched or self.wish.disabled or self._preview_in_hand:
            return
        now = time.monotonic()
        if now < max(self._next_wanted_preview, self._next_cheap_preview):
            return
        # While targets are being found, the picture stays as it is.
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


def _memory_plan(plan: MemoryPlan) -> pb.MemoryPlan:
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
        memory_plan=_memory_plan(session.plan),
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
