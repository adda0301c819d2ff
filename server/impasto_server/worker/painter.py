"""The one thread that uses the device, and the paintings it takes turns at."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Callable

import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2
from impasto_server.engine.devices import return_freed_memory
from impasto_server.engine.memory import DoesNotFit, MemoryPlan
from impasto_server.engine.recipe import Recipe, RecipeError
from impasto_server.engine.session import Progress, Session
from impasto_server.jobs.mailbox import Mailbox
from impasto_server.jobs.previews import PreviewWish
from impasto_server.jobs.recipes import recipe_to_proto
from impasto_server.worker.scheduler import FairTurns

_log = logging.getLogger(__name__)

_PROGRESS_INTERVAL = 0.05
_MEMORY_METHODS: dict[str, pb.MemoryMethod] = {
    "plain": pb.MEMORY_METHOD_PLAIN,
    "tiled": pb.MEMORY_METHOD_TILED,
}
_PREVIEW_SHARE = 0.02
"""Of the time, at most so much goes into previews, however often they are wanted: they cost the optimiser."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The picture after an evaluation, to be coded as a preview."""

    picture: PIL.Image.Image
    evaluation: int
    scale: int


@dataclasses.dataclass(frozen=True)
class Painted:
    """The end of a painting: its picture, and what is told of how it was made."""

    picture: PIL.Image.Image
    recipe: Recipe
    memory_plan: MemoryPlan
    evaluations: int
    stop_reason: str
    stop_message: str


@dataclasses.dataclass(frozen=True)
class Broken:
    """The end of a painting that raised an error."""

    error: Exception


Event = worker_pb2.RunResponse | Snapshot | Painted | Broken


class Painting:
    """A job on the device.

    Attributes:
        events: what happens to it, for one reader in the event loop that made it. The last is `Painted` or
            `Broken`.
    """

    def __init__(self, open_session: Callable[[int], Session], wish: PreviewWish) -> None:
        """
        Args:
            open_session: makes the session within so many bytes of the device's memory; called on the
                device's thread.
            wish: which previews to take.
        """
        self.events: Mailbox[Event] = Mailbox()
        self._loop = asyncio.get_running_loop()
        self._open_session = open_session
        self._wish = wish
        self._session: Session | None = None
        self._next_progress = 0.0
        self._next_preview = 0.0
        self._preview_in_hand = wish.disabled
        self._preview_seconds = 0.0

    def open(self, memory_bytes: int) -> None:
        """Makes the session.

        Args:
            memory_bytes: what it may use of the device's memory.

        Raises:
            RecipeError: it cannot be painted; with `DoesNotFit` as its cause, not within that memory.
        """
        self._session = self._open_session(memory_bytes)
        self._tell(worker_pb2.RunResponse(started=_started(self._session)))

    @property
    def memory_bytes(self) -> int:
        """What the session is estimated to need at its peak. Its plan may shrink, but never grows."""
        assert self._session is not None
        return self._session.plan.estimated_bytes

    def turn(self) -> bool:
        """One evaluation; tells whether more are to follow."""
        session = self._session
        assert session is not None
        progress = session.step()
        now = time.monotonic()
        if session.done or now >= self._next_progress:
            self._next_progress = now + _PROGRESS_INTERVAL
            self._tell(worker_pb2.RunResponse(progress=_numbers(progress)), kind="progress")
        if not self._preview_in_hand and now >= self._next_preview:
            self._preview_in_hand = True
            picture = session.picture(self._wish.max_side)
            self._preview_seconds = time.monotonic() - now
            self._tell(Snapshot(picture, progress.evaluation, progress.scale))
        if not session.done:
            return True
        assert session.stop_reason is not None
        self._tell(
            Painted(
                session.picture(),
                session.recipe,
                session.plan,
                progress.evaluation,
                session.stop_reason,
                session.stop_message,
            )
        )
        return False

    def preview_coded(self, seconds: float) -> None:
        """The last snapshot has been coded, which took so long: another one may be taken in due time."""
        cost = self._preview_seconds + seconds
        self._next_preview = time.monotonic() + max(self._wish.min_interval - cost, cost / _PREVIEW_SHARE)
        self._preview_in_hand = False

    def broke(self, error: Exception) -> None:
        self._tell(Broken(error))

    def release(self) -> None:
        """Lets go of everything on the device."""
        self._session = None
        del self._open_session
        return_freed_memory()

    def _tell(self, event: Event, *, kind: str | None = None) -> None:
        self._loop.call_soon_threadsafe(lambda: self.events.put(event, kind=kind))


class Painter:
    """Gives paintings turns of one evaluation on the device, as many of them as its memory holds.

    A painting that does not fit beside those on the device waits until one of them leaves, and who comes
    after it waits behind it: otherwise small paintings could keep a large one out for ever.

    `work` must run on the thread that has loaded the network, and no other may compute with torch: OpenMP
    keeps a pool of threads for each thread that computes, and with two pools on the same cores they sleep
    where they would otherwise spin, which was measured to make an evaluation 15 % slower.
    """

    def __init__(self, memory_bytes: int) -> None:
        """
        Args:
            memory_bytes: what paintings may use of the device's memory, beside the network.
        """
        self._memory_bytes = memory_bytes
        self._waiting: list[Painting] = []
        # Whether the first in line has not yet been tried with the room that there is now.
        self._untried = False
        self._turns: FairTurns[Painting] = FairTurns()
        self._condition = threading.Condition()
        self._at_work: Painting | None = None

    @property
    def resident(self) -> int:
        """How many paintings hold memory on the device."""
        with self._condition:
            return len(self._turns) + (self._at_work is not None and self._at_work not in self._turns)

    def admit(self, painting: Painting) -> None:
        with self._condition:
            self._waiting.append(painting)
            if len(self._waiting) == 1:
                self._untried = True
            self._condition.notify_all()

    def drop(self, painting: Painting) -> None:
        """Takes a painting off the device before its next evaluation; waits for the one at work."""
        with self._condition:
            if painting in self._waiting:
                self._waiting.remove(painting)
            elif painting in self._turns:
                self._turns.remove(painting)
            else:
                return
            self._condition.wait_for(lambda: self._at_work is not painting)
            self._let_go(painting)

    def work(self) -> None:
        """Paints for ever, on the calling thread."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._may_enter or len(self._turns) > 0)
                is_new = self._may_enter
                painting = self._at_work = self._waiting[0] if is_new else self._turns.next()
                if is_new:
                    self._untried = False
                free_bytes = self._memory_bytes - sum(other.memory_bytes for other in self._turns)
            begin = time.perf_counter()
            waits = goes_on = False
            try:
                waits = is_new and not self._enters(painting, free_bytes)
                goes_on = not waits and painting.turn()
            except Exception as error:
                # Whatever one painting raises, the others go on.
                if not isinstance(error, RecipeError):
                    _log.exception("painting broke")
                # Its traceback would keep the session, and so the device's memory.
                painting.broke(error.with_traceback(None))
            seconds = time.perf_counter() - begin
            with self._condition:
                self._at_work = None
                if not waits and painting in self._waiting:
                    self._waiting.remove(painting)
                    self._turns.add(painting)
                    self._untried = True
                if painting in self._turns:
                    if goes_on:
                        self._turns.charge(painting, seconds)
                    else:
                        self._turns.remove(painting)
                        self._let_go(painting)
                self._condition.notify_all()
            # Its memory must not wait for the next painting.
            del painting

    @property
    def _may_enter(self) -> bool:
        return self._untried and len(self._waiting) > 0

    def _enters(self, painting: Painting, free_bytes: int) -> bool:
        """Opens a painting if the device has room for it beside the others; False if it has to wait.

        Raises:
            RecipeError: it cannot be painted, or the whole device is too small for it.
        """
        try:
            painting.open(free_bytes)
        except RecipeError as error:
            if not isinstance(error.__cause__, DoesNotFit):
                raise
            if error.__cause__.needed_bytes <= self._memory_bytes:
                _log.info("job waits for memory needed_bytes=%d", error.__cause__.needed_bytes)
                return False
            # Once more, to be refused with what the device has, not with what the others leave of it.
            painting.open(self._memory_bytes)
        return True

    def _let_go(self, painting: Painting) -> None:
        painting.release()
        self._untried = True
        self._condition.notify_all()


def memory_plan_message(plan: MemoryPlan) -> pb.MemoryPlan:
    """The contract's memory plan for one of the engine's."""
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
        memory_plan=memory_plan_message(session.plan),
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
    )
    message.device_time.FromNanoseconds(round(progress.seconds * 1e9))
    if progress.seconds_left is not None:
        message.time_left.FromNanoseconds(round(progress.seconds_left * 1e9))
    return message
