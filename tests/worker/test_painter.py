from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from impasto_server.contract.previews import PreviewWish
from impasto_server.engine.checkpoint import Checkpoint
from impasto_server.engine.memory import DoesNotFit, MemoryPlan
from impasto_server.engine.recipe import Recipe, RecipeError
from impasto_server.engine.session import Progress, Session
from impasto_server.v1 import worker_pb2
from impasto_server.worker import painter as painter_module
from impasto_server.worker import painting as painting_module
from impasto_server.worker.commission import Commission
from impasto_server.worker.painter import DeviceLost, NotHere, Painter
from impasto_server.worker.painting import (
    Broken,
    Event,
    Painting,
    PreviewFrame,
    Result,
    Saved,
    Suspended,
)
from impasto_server.worker.scheduler import Claim
from impasto_server.worker.turn_file import TurnFile

DEVICE_BYTES = 1000

E = TypeVar("E", PreviewFrame, Result, Suspended)


class Clock:
    """The clock of the painter and the paintings. Its time passes only in `sleep`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (painter_module, painting_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


class FakeSession:
    """A session whose steps only wait, and which can fail at a given evaluation.

    Attributes:
        ends: times at which the evaluations ended, by the clock.
        pieces: number of steps to find the targets of a scale, by the number of evaluations before it.
        may_go_on: the next step waits until this is set.
        held_up: set while a step waits.
    """

    size = (20, 10)
    stop_message = "done"

    def __init__(
        self,
        evaluations: int,
        *,
        seconds: float = 0.002,
        fails_at: int = 0,
        error: str = "the device failed",
        memory_bytes: int = 10,
        clock: Clock | None = None,
        pieces: Mapping[int, int] | None = None,
    ) -> None:
        self._clock = clock or time
        self.pieces = dict(pieces or {})
        self._found = 0
        self.ends: list[float] = []
        self.plan = MemoryPlan("plain", memory_bytes)
        self.recipe = Recipe(precision="float32", evaluations=evaluations).resolve(20, 16)
        self.evaluations = evaluations
        self.seconds = seconds
        self.fails_at = fails_at
        self.error = error
        self.made = 0
        self.pictures = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.held_up = threading.Event()

    @property
    def evaluation(self) -> int:
        return self.made

    @property
    def done(self) -> bool:
        return self.made == self.evaluations

    @property
    def stop_reason(self) -> str | None:
        return "completed" if self.done else None

    def step(self) -> Progress:
        if not self.may_go_on.is_set():
            self.held_up.set()
            self.may_go_on.wait()
        self._clock.sleep(self.seconds)
        pieces = self.pieces.get(self.made, 0)
        if self._found < pieces:
            self._found += 1
            return self._progress(self._found / (pieces + 1))
        self._found = 0
        self.ends.append(self._clock.monotonic())
        self.made += 1
        if self.made == self.fails_at:
            raise RuntimeError(self.error)
        return self._progress(None)

    def _progress(self, preparing: float | None) -> Progress:
        begun = sum(at < self.made or (at == self.made and preparing is not None) for at in self.pieces)
        return Progress(
            evaluation=self.made,
            evaluations=self.evaluations,
            scale=max(1, begun),
            scales=max(1, len(self.pieces)),
            width=20,
            height=10,
            loss=1.0,
            content_loss=1.0,
            style_loss=1.0,
            tv_loss=0.0,
            seconds=self.made * self.seconds,
            seconds_left=None,
            preparing=preparing,
        )

    def samples(self, bits: int) -> npt.NDArray[np.uint8]:
        width, height = self.size
        return np.zeros((height, width, 3), np.uint8)

    def picture(self, max_side: int | None = None) -> PIL.Image.Image:
        self.pictures += 1
        return PIL.Image.new("RGB", self.size)

    def update(self, recipe: Recipe, memory_bytes: int) -> None:
        if recipe.evaluations is None:
            raise RecipeError("evaluations", "is missing")
        self.recipe, self.evaluations = recipe, recipe.evaluations

    def snapshot(self) -> Checkpoint:
        return Checkpoint({}, {"made": self.made})


class FakeCommission:
    """Opens a session if there is enough memory for it, or raises an error."""

    def __init__(self, session: FakeSession, error: Exception | None = None) -> None:
        self.session = session
        self.error = error
        self.result_bits = 8

    @property
    def recipe(self) -> Recipe:
        return self.session.recipe

    def open(self, memory_bytes: int) -> Session:
        if self.error is not None:
            raise self.error
        if self.session.plan.estimated_bytes > memory_bytes:
            message = f"needs {self.session.plan.estimated_bytes}, there are {memory_bytes}"
            raise RecipeError("longest_side", message) from DoesNotFit(self.session.plan.estimated_bytes)
        return cast(Session, self.session)

    def update(self, recipe: Recipe) -> None:
        self.session.update(recipe, 0)


def painting_of(
    session: FakeSession,
    wish: PreviewWish | None = None,
    claim: Claim | None = None,
    *,
    checkpoint_interval: float = 0.0,
    error: Exception | None = None,
) -> Painting:
    """Returns a painting; by default it is watched and has a tenant of its own."""
    claim = claim or Claim(tenant=str(id(session)), watched=True)
    commission = cast(Commission, FakeCommission(session, error))
    return Painting(
        "jobs/1", commission, claim, wish or PreviewWish(), checkpoint_interval=checkpoint_interval
    )


async def events_of(painter: Painter, painting: Painting) -> list[Event]:
    """Lets the painter paint a painting, as the worker does, and returns its events."""
    events: list[Event] = []
    painter.admit(painting)
    async for event in painting.events:
        events.append(event)
        if isinstance(event, PreviewFrame):
            painting.preview_coded(0.0)
        if isinstance(event, Result | Suspended | Broken):
            break
    await asyncio.to_thread(painter.drop, painting)
    return events


@pytest.fixture
def painter() -> Painter:
    painter = Painter(DEVICE_BYTES)
    threading.Thread(target=painter.work, daemon=True).start()
    return painter


def test_a_painting_sends_its_start_its_progress_and_its_end(painter: Painter) -> None:
    async def paint() -> list[Event]:
        return await events_of(painter, painting_of(FakeSession(5)))

    events = asyncio.run(paint())
    assert isinstance(events[0], worker_pb2.RunResponse)
    assert events[0].started.recipe.evaluations == 5
    assert isinstance(events[-1], Result)
    assert events[-1].evaluations == 5
    numbers = [e.progress for e in events if isinstance(e, worker_pb2.RunResponse) and e.HasField("progress")]
    assert numbers[-1].evaluation == 5
    assert any(isinstance(event, PreviewFrame) and event.evaluation == 1 for event in events)
    assert painter.resident == 0


def test_progress_is_sent_at_most_20_times_a_second(painter: Painter) -> None:
    async def paint() -> list[Event]:
        session = FakeSession(200, seconds=0.001)
        return await events_of(painter, painting_of(session, PreviewWish(disabled=True)))

    begin = time.monotonic()
    events = asyncio.run(paint())
    assert len(events) <= 4 + 20 * (time.monotonic() - begin)
    assert not any(isinstance(event, PreviewFrame) for event in events)


def test_a_painting_that_fails_does_not_stop_the_others(painter: Painter) -> None:
    async def paint() -> list[list[Event]]:
        paintings = [painting_of(FakeSession(20)), painting_of(FakeSession(20, fails_at=3))]
        return await asyncio.gather(*(events_of(painter, painting) for painting in paintings))

    well, broken = asyncio.run(paint())
    assert isinstance(well[-1], Result)
    assert isinstance(broken[-1], Broken)
    assert str(broken[-1].error) == "the device failed"
    assert painter.resident == 0


def test_a_session_that_cannot_be_opened_ends_only_its_own_painting(painter: Painter) -> None:
    async def paint() -> list[Event]:
        painting = painting_of(FakeSession(5), error=RuntimeError("out of memory"))
        return await events_of(painter, painting)

    (end,) = asyncio.run(paint())
    assert isinstance(end, Broken)


def test_paintings_share_the_device_by_time(painter: Painter, clock: Clock) -> None:
    slow = FakeSession(10_000, seconds=1 / 8, clock=clock)
    quick = FakeSession(1_000, seconds=1 / 64, clock=clock)
    slow.may_go_on.clear()

    async def paint() -> None:
        painting = painting_of(slow)
        painter.admit(painting)
        await asyncio.to_thread(slow.held_up.wait)
        end = asyncio.create_task(events_of(painter, painting_of(quick)))
        await asyncio.sleep(0)
        slow.may_go_on.set()
        await end
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())
    of_slow = sum(slow.seconds for end in slow.ends if end <= quick.ends[-1])
    assert of_slow == pytest.approx(quick.made * quick.seconds, abs=2 * slow.seconds)


def test_a_dropped_painting_makes_no_more_evaluations_and_frees_its_memory(painter: Painter) -> None:
    async def paint() -> weakref.ref[FakeSession]:
        session = FakeSession(10_000)
        painting = painting_of(session)
        painter.admit(painting)
        async for event in painting.events:
            if isinstance(event, PreviewFrame):
                break
        session.may_go_on.clear()
        await asyncio.to_thread(session.held_up.wait)
        made = session.made

        def drop() -> bool:
            painter.drop(painting)
            return session.may_go_on.is_set()

        dropping = asyncio.create_task(asyncio.to_thread(drop))
        # It has taken the painting from the scheduler, and now waits for the evaluation.
        await until(lambda: painting not in painter._scheduler)
        session.may_go_on.set()
        assert await dropping
        assert session.made <= made + 1
        assert painter.resident == 0
        return weakref.ref(session)

    session = asyncio.run(paint())
    gc.collect()
    assert session() is None


def test_dropping_twice_or_after_the_end_does_nothing(painter: Painter) -> None:
    async def paint() -> None:
        painting = painting_of(FakeSession(1))
        await events_of(painter, painting)
        painter.drop(painting)

    asyncio.run(paint())
    assert painter.resident == 0


def test_paintings_wait_in_line_for_memory(painter: Painter) -> None:
    async def paint() -> None:
        first, large, small = (
            FakeSession(10_000, memory_bytes=600),
            FakeSession(10_000, memory_bytes=700),
            FakeSession(10_000, memory_bytes=10),
        )
        paintings = [painting_of(session) for session in (first, large, small)]
        for painting in paintings:
            painter.admit(painting)
        await until(lambda: first.made > 20)
        # The small painting would fit, but it came after the large one.
        assert large.made == small.made == 0
        assert painter.resident == 1
        await asyncio.to_thread(painter.drop, paintings[0])
        await until(lambda: large.made > 0 and small.made > 0)
        assert painter.resident == 2
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())
    assert painter.resident == 0


def test_a_painting_that_leaves_the_line_lets_the_next_one_in(painter: Painter) -> None:
    async def paint() -> None:
        first, large, small = (FakeSession(10_000, memory_bytes=size) for size in (600, 700, 10))
        paintings = [painting_of(session) for session in (first, large, small)]
        for painting in paintings:
            painter.admit(painting)
        await asyncio.to_thread(painter.drop, paintings[1])
        await until(lambda: small.made > 0)
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_a_painting_that_can_never_fit_is_refused_at_once(painter: Painter) -> None:
    async def paint() -> Event:
        resident = painting_of(FakeSession(10_000, memory_bytes=600))
        painter.admit(resident)
        end = (await events_of(painter, painting_of(FakeSession(5, memory_bytes=1001))))[-1]
        await asyncio.to_thread(painter.drop, resident)
        return end

    end = asyncio.run(paint())
    assert isinstance(end, Broken)
    assert str(end.error) == "longest_side needs 1001, there are 1000"


def test_previews_are_taken_only_while_somebody_watches_and_at_once_for_a_new_watcher(
    painter: Painter,
) -> None:
    async def paint() -> None:
        session = FakeSession(10_000)
        wish = PreviewWish(min_interval=60)
        painting = painting_of(session, wish, Claim(tenant="a"))
        painter.admit(painting)
        await until(lambda: session.made > 20)
        assert session.pictures == 0
        await asyncio.wrap_future(painter.update(painting, watched=True))
        assert session.pictures == 1
        snapshot = await next_of(painting, PreviewFrame)
        assert snapshot.evaluation > 20
        painting.preview_coded(0.0)
        await until(lambda: session.made > 60)
        assert session.pictures == 1
        # A watcher that comes back gets a preview at once, in spite of the interval.
        for watched in (False, True):
            await asyncio.wrap_future(painter.update(painting, watched=watched))
        await until(lambda: session.pictures == 2)
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_changed_preview_options_take_effect(painter: Painter) -> None:
    async def paint() -> None:
        session = FakeSession(10_000)
        painting = painting_of(session, PreviewWish(min_interval=60))
        painter.admit(painting)
        await next_of(painting, PreviewFrame)
        painting.preview_coded(0.0)
        begin = session.made
        await asyncio.wrap_future(painter.update(painting, wish=PreviewWish(min_interval=0.1)))
        await next_of(painting, PreviewFrame)
        painting.preview_coded(0.0)
        assert session.made > begin
        await asyncio.wrap_future(painter.update(painting, wish=PreviewWish(disabled=True)))
        taken = session.pictures
        await until(lambda: session.made > begin + 200)
        assert session.pictures == taken
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


async def saved_by(painting: Painting, between: Callable[[], None], sending_seconds: float) -> list[int]:
    """Paints a painting to its end; returns the evaluations at which checkpoints were taken."""
    saved: list[int] = []

    async def read() -> None:
        async for checkpoint in painting.checkpoints:
            saved.append(checkpoint.evaluation)
            painting.checkpoint_sent(sending_seconds)

    painting.open(DEVICE_BYTES)
    reader = asyncio.create_task(read())
    while not painting.ended:
        painting.turn()
        between()
        for _ in range(5):
            await asyncio.sleep(0)
    await reader
    return saved


def test_the_checkpoint_interval_counts_only_the_time_on_the_device(clock: Clock) -> None:
    async def paint() -> list[int]:
        session = FakeSession(60, seconds=1 / 64, clock=clock)
        painting = painting_of(session, checkpoint_interval=10 / 64)
        # Other jobs take most of the time, which does not count.
        return await saved_by(painting, lambda: clock.sleep(1), 0.0)

    assert asyncio.run(paint()) == [10, 20, 30, 40, 50]


def test_checkpoints_that_take_long_to_send_are_taken_less_often(clock: Clock) -> None:
    async def paint() -> list[int]:
        session = FakeSession(100, seconds=1 / 64, clock=clock)
        painting = painting_of(session, checkpoint_interval=5 / 64)
        # Sending a checkpoint takes as long as 2 evaluations, which is 5 % of 40.
        return await saved_by(painting, lambda: None, 2 / 64)

    assert asyncio.run(paint()) == [5, 45, 85]


def test_a_new_checkpoint_replaces_an_unread_one(painter: Painter) -> None:
    async def paint() -> list[Saved]:
        painting = painting_of(FakeSession(40), checkpoint_interval=0.004)
        await events_of(painter, painting)
        return [saved async for saved in painting.checkpoints]

    (saved,) = asyncio.run(paint())
    assert saved.evaluation > 30


def test_no_checkpoint_is_taken_while_targets_are_found(clock: Clock) -> None:
    async def paint() -> list[int]:
        # Finding targets takes 30 steps at each of two scales; the second begins after 10 evaluations.
        session = FakeSession(20, seconds=1 / 64, clock=clock, pieces={0: 30, 10: 30})
        return await saved_by(painting_of(session, checkpoint_interval=4 / 64), lambda: None, 0.0)

    # A checkpoint is due at once after the targets are found and the first evaluation is made.
    assert asyncio.run(paint()) == [1, 5, 9, 11, 15, 19]


def test_a_painting_suspended_while_its_first_targets_are_found_saves_nothing(painter: Painter) -> None:
    async def paint() -> list[Saved]:
        session = FakeSession(1000, pieces={0: 100_000})
        painting = painting_of(session, checkpoint_interval=0.001)
        painter.admit(painting)
        await next_of(painting, PreviewFrame)
        await asyncio.wrap_future(painter.suspend(painting))
        await next_of(painting, Suspended)
        assert session.made == 0
        return [saved async for saved in painting.checkpoints]

    assert asyncio.run(paint()) == []


def test_a_painting_suspended_while_later_targets_are_found_saves_its_evaluations(
    painter: Painter,
) -> None:
    async def paint() -> list[int]:
        session = FakeSession(1000, pieces={0: 1, 7: 100_000})
        painting = painting_of(session)
        painter.admit(painting)
        while (await next_of(painting, PreviewFrame)).scale < 2:
            painting.preview_coded(0.0)
        await asyncio.wrap_future(painter.suspend(painting))
        await next_of(painting, Suspended)
        return [saved.evaluation async for saved in painting.checkpoints]

    assert asyncio.run(paint()) == [7]


def test_a_picture_is_shown_once_while_targets_are_found_and_again_to_a_new_watcher(
    clock: Clock,
) -> None:
    async def paint() -> None:
        session = FakeSession(100, seconds=1.0, clock=clock, pieces={0: 20, 4: 20})
        painting = painting_of(session, PreviewWish(min_interval=0.1))
        painting.open(DEVICE_BYTES)
        shown = []

        def turn() -> None:
            taken = session.pictures
            painting.turn()
            if session.pictures > taken:
                shown.append(session.made)
                painting.preview_coded(0.0)

        for _ in range(20):
            turn()
        assert shown == [0]
        for _ in range(4 + 5):
            turn()
        # The last picture is shown again when the next scale begins.
        assert shown == [0, 1, 2, 3, 4, 4]
        for watched in (False, True):
            painting.update(None, None, watched, DEVICE_BYTES)
        assert session.pictures == 7

    asyncio.run(paint())


def test_progress_has_the_share_of_the_targets_that_is_found(painter: Painter) -> None:
    async def paint() -> list[Event]:
        return await events_of(painter, painting_of(FakeSession(2, seconds=0.06, pieces={0: 3})))

    told = [
        event.progress
        for event in asyncio.run(paint())
        if isinstance(event, worker_pb2.RunResponse) and event.HasField("progress")
    ]
    shares = [progress.preparing for progress in told if progress.HasField("preparing")]
    assert shares == sorted(shares)
    assert shares
    assert set(shares) <= {0.25, 0.5, 0.75}
    assert all(progress.evaluation == 0 for progress in told if progress.HasField("preparing"))
    assert told[-1].evaluation == 2
    assert not told[-1].HasField("preparing")


def test_without_an_interval_no_checkpoint_is_taken(painter: Painter) -> None:
    async def paint() -> list[Saved]:
        painting = painting_of(FakeSession(20))
        await events_of(painter, painting)
        return [saved async for saved in painting.checkpoints]

    assert asyncio.run(paint()) == []


def test_an_update_takes_effect_between_turns_and_is_saved_soon(painter: Painter) -> None:
    async def paint() -> None:
        session = FakeSession(10_000)
        painting = painting_of(session, checkpoint_interval=3600)
        painter.admit(painting)
        await until(lambda: session.made > 3)
        recipe = await asyncio.wrap_future(painter.update(painting, recipe=Recipe(evaluations=20_000)))
        assert recipe.evaluations == session.evaluations == 20_000
        made = session.made
        saved = await asyncio.wait_for(painting.checkpoints.__anext__(), 5)
        assert saved.evaluation <= made + 2
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_a_refused_update_changes_nothing(painter: Painter) -> None:
    async def paint() -> None:
        session = FakeSession(10_000)
        painting = painting_of(session, claim=Claim(tenant="a"))
        painter.admit(painting)
        update = painter.update(painting, recipe=Recipe(), watched=True, priority=5)
        with pytest.raises(RecipeError, match="evaluations is missing"):
            await asyncio.wrap_future(update)
        await until(lambda: session.made > 20)
        assert session.pictures == 0
        assert session.evaluations == 10_000
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_a_painting_that_waits_for_memory_can_be_updated(painter: Painter) -> None:
    async def paint() -> None:
        first = painting_of(FakeSession(10_000, memory_bytes=600))
        session = FakeSession(10_000, memory_bytes=700)
        waiting = painting_of(session)
        for painting in (first, waiting):
            painter.admit(painting)
        recipe = await asyncio.wrap_future(painter.update(waiting, recipe=Recipe(evaluations=3)))
        assert recipe.evaluations == 3
        assert session.made == 0
        await asyncio.to_thread(painter.drop, first)
        assert (await next_of(waiting, Result)).evaluations == 3

    asyncio.run(paint())


def test_a_suspended_painting_saves_a_checkpoint_and_frees_its_memory(painter: Painter) -> None:
    async def paint() -> weakref.ref[FakeSession]:
        session = FakeSession(10_000)
        painting = painting_of(session)
        painter.admit(painting)
        await until(lambda: session.made > 3)
        await asyncio.wrap_future(painter.suspend(painting))
        await next_of(painting, Suspended)
        (saved,) = [saved async for saved in painting.checkpoints]
        assert saved.evaluation == session.made
        await until(lambda: painter.resident == 0)
        made = session.made
        # Another painting has had the device in the meantime.
        await events_of(painter, painting_of(FakeSession(3)))
        assert session.made == made
        with pytest.raises(NotHere):
            await asyncio.wrap_future(painter.suspend(painting))
        with pytest.raises(NotHere):
            await asyncio.wrap_future(painter.update(painting, watched=True))
        return weakref.ref(session)

    session = asyncio.run(paint())
    gc.collect()
    assert session() is None


def test_a_painting_suspended_while_it_waits_for_memory_saves_nothing(painter: Painter) -> None:
    async def paint() -> None:
        first = painting_of(FakeSession(10_000, memory_bytes=600))
        waiting = painting_of(FakeSession(10_000, memory_bytes=700))
        for painting in (first, waiting):
            painter.admit(painting)
        await asyncio.wrap_future(painter.suspend(waiting))
        await next_of(waiting, Suspended)
        assert [saved async for saved in waiting.checkpoints] == []
        await asyncio.to_thread(painter.drop, first)

    asyncio.run(paint())
    assert painter.resident == 0


def test_a_cancelled_errand_is_not_done(painter: Painter) -> None:
    async def paint() -> None:
        session = FakeSession(10_000)
        painting = painting_of(session, claim=Claim(tenant="a"))
        painter.admit(painting)
        session.may_go_on.clear()
        await asyncio.to_thread(session.held_up.wait)
        given_up = painter.update(painting, recipe=Recipe(evaluations=7))
        assert given_up.cancel()
        session.may_go_on.set()
        made = session.made
        await until(lambda: session.made > made + 10)
        assert session.evaluations == 10_000
        await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_the_priority_of_a_waiting_painting_can_be_raised(painter: Painter) -> None:
    async def paint() -> None:
        old, young = FakeSession(10_000), FakeSession(10_000)
        paintings = [
            painting_of(session, claim=Claim(tenant="a", created=created))
            for created, session in enumerate((old, young))
        ]
        for painting in paintings:
            painter.admit(painting)
        await until(lambda: old.made > 10)
        assert young.made == 0
        await asyncio.wrap_future(painter.update(paintings[1], priority=1))
        made = old.made
        await until(lambda: young.made > 10)
        assert old.made <= made + 1
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_the_turn_file_names_the_job_whose_turn_it_is(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    painter = Painter(DEVICE_BYTES, TurnFile(path))
    threading.Thread(target=painter.work, daemon=True).start()

    def named() -> str:
        return path.read_bytes().strip(b"\0").decode()

    async def paint() -> None:
        session = FakeSession(10_000)
        painting = painting_of(session)
        painter.admit(painting)
        session.may_go_on.clear()
        await asyncio.to_thread(session.held_up.wait)
        assert named() == "jobs/1"
        session.may_go_on.set()
        await asyncio.to_thread(painter.drop, painting)
        await until(lambda: named() == "")

    assert named() == ""
    asyncio.run(paint())


def test_the_memory_of_ended_paintings_is_kept_while_there_is_work_and_then_returned_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float | None] = []
    returned: list[int] = []
    monkeypatch.setattr(painter_module, "return_freed_memory", lambda: returned.append(len(waits)))
    painter = Painter(DEVICE_BYTES)

    class Condition(threading.Condition):
        """Its waits end at once, as if nobody notified."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if timeout is None:
                raise EndOfTest
            return False

    class EndOfTest(Exception):
        pass

    painter._condition = Condition()

    async def paint() -> None:
        for evaluations in (1, 2):
            painter.admit(painting_of(FakeSession(evaluations)))
        with pytest.raises(EndOfTest):
            painter.work()

    asyncio.run(paint())
    assert waits == [painter_module._REST_SECONDS, None]
    assert returned == [1], "neither between the paintings nor before the rest is over"


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def next_of(painting: Painting, kind: type[E]) -> E:
    """Returns the next event of a kind; drops the events before it."""

    async def look() -> E:
        async for event in painting.events:
            if isinstance(event, kind):
                return event
        raise AssertionError

    return await asyncio.wait_for(look(), 10)


def test_the_current_work_of_the_device_can_be_read_at_any_time(painter: Painter) -> None:
    session = FakeSession(3)
    session.may_go_on.clear()

    async def check() -> None:
        assert painter.at_work is None
        task = asyncio.create_task(events_of(painter, painting_of(session)))
        await asyncio.to_thread(session.held_up.wait)
        work = painter.at_work
        assert work is not None
        assert work.job_name == "jobs/1"
        assert 0 <= time.monotonic() - work.since < 30
        assert painter.at_work == work, "one piece of work has one beginning"
        session.may_go_on.set()
        await task
        await until(lambda: painter.at_work is None)

    asyncio.run(check())


LOST = "CUDA error: an illegal memory access was encountered"


def lost_by(painter: Painter, painting: Callable[[], Painting], then: Callable[[Painting], None]) -> str:
    """Lets a painter work until it loses its device; returns the error.

    Args:
        painter: the painter.
        painting: makes the painting that it gets.
        then: what is done after the painting was put in line.
    """
    lost: list[Exception] = []

    def work() -> None:
        try:
            painter.work()
        except DeviceLost as error:
            lost.append(error)

    async def check() -> None:
        thread = threading.Thread(target=work, daemon=True)
        made = painting()
        painter.admit(made)
        then(made)
        thread.start()
        await asyncio.to_thread(thread.join, 30)

    asyncio.run(check())
    (error,) = lost
    return str(error)


@pytest.mark.parametrize("opening", [False, True])
def test_a_lost_device_ends_the_work_and_the_turn_file_names_the_job(tmp_path: Path, opening: bool) -> None:
    painter = Painter(DEVICE_BYTES, TurnFile(tmp_path / "turn"))
    session = FakeSession(9, fails_at=0 if opening else 4, error=LOST)
    error = RuntimeError(LOST) if opening else None
    assert lost_by(painter, lambda: painting_of(session, error=error), lambda _: None) == LOST
    assert (tmp_path / "turn").read_bytes().strip(b"\0") == b"jobs/1"


@pytest.mark.parametrize("errand", ["update", "suspend", "preview"])
def test_a_device_that_is_lost_in_an_errand_ends_the_work_without_an_answer(
    errand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends at once, so that the sender hears of a worker that is gone, not of a bad recipe."""
    painter = Painter(DEVICE_BYTES)
    answers: list[Future[Any]] = []
    session = FakeSession(10_000)

    def fail(*_: object) -> None:
        raise RuntimeError(LOST)

    def send(painting: Painting) -> None:
        if errand == "update":
            monkeypatch.setattr(painting, "update", fail)
            answers.append(painter.update(painting, watched=True))
        elif errand == "suspend":
            monkeypatch.setattr(painting, "suspend", fail)
            answers.append(painter.suspend(painting))
        else:
            monkeypatch.setattr(session, "picture", fail)

    assert lost_by(painter, lambda: painting_of(session), send) == LOST
    assert not any(answer.done() for answer in answers)


def test_a_painting_waits_for_memory_that_another_process_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(painter_module, "_RETRY_SECONDS", 0.001)
    caplog.set_level("INFO")
    looks: list[int] = []

    def memory_now() -> int:
        looks.append(0 if len(looks) < 3 else 2 * DEVICE_BYTES)
        return looks[-1]

    painter = Painter(DEVICE_BYTES, memory_now=memory_now)
    threading.Thread(target=painter.work, daemon=True).start()
    assert painter.free_bytes == DEVICE_BYTES

    async def paint() -> list[Event]:
        return await events_of(painter, painting_of(FakeSession(3, memory_bytes=DEVICE_BYTES)))

    assert isinstance(asyncio.run(paint())[-1], Result)
    assert len(looks) == 4
    assert caplog.text.count("job waits for memory") == 1
    assert painter.free_bytes == DEVICE_BYTES, "never more than the memory for paintings"


def test_a_painting_gets_no_more_memory_than_other_processes_leave() -> None:
    painter = Painter(DEVICE_BYTES, memory_now=lambda: 300)
    threading.Thread(target=painter.work, daemon=True).start()
    first, second = FakeSession(3, memory_bytes=200), FakeSession(3, memory_bytes=200)
    first.may_go_on.clear()

    async def check() -> None:
        begun = asyncio.create_task(events_of(painter, painting_of(first)))
        await asyncio.to_thread(first.held_up.wait, 30)
        assert painter.free_bytes == 100
        waiting = asyncio.create_task(events_of(painter, painting_of(second)))
        first.may_go_on.set()
        assert isinstance((await begun)[-1], Result)
        assert isinstance((await waiting)[-1], Result)
        # The second was opened only when the first had left.
        assert second.ends[0] > first.ends[-1]

    asyncio.run(asyncio.wait_for(check(), 30))
