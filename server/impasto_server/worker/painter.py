"""The one thread that uses the device, and the paintings it takes turns at."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from impasto_server.contract.previews import PreviewWish
from impasto_server.engine.devices import is_device_lost
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.recipe import Recipe, RecipeError
from impasto_server.worker.painting import Painting
from impasto_server.worker.scheduler import Scheduler
from impasto_server.worker.turn_file import TurnFile

T = TypeVar("T")

_log = logging.getLogger(__name__)


class DeviceLost(Exception):
    """This process cannot compute on its device any more: another has to."""


class NotHere(Exception):
    """The painting is not, or no longer, with the painter."""


@dataclasses.dataclass(frozen=True)
class _Errand:
    """Something to be done to a painting between two turns.

    Attributes:
        do: is given the memory that the other paintings leave it, in bytes.
        done: what `do` returned or raised; `NotHere`.
    """

    painting: Painting
    do: Callable[[int], Any]
    done: Future[Any]


@dataclasses.dataclass(frozen=True)
class Work:
    """What the device is at: a turn, an errand, or a painting's way onto the device.

    Attributes:
        job_name: whose.
        since: when it began, by `time.monotonic`.
    """

    job_name: str
    since: float


class Painter:
    """Gives paintings turns of one evaluation on the device, as many of them as its memory holds.

    A painting that does not fit beside those on the device waits until one of them leaves, and nobody gets
    past it. Whose turn it is, and who comes onto the device next, is the `Scheduler`'s to say.

    `work` must run on the thread that has loaded the network, and no other may compute with torch: OpenMP
    keeps a pool of threads for each thread that computes, and with two pools on the same cores they sleep
    where they would otherwise spin, which was measured to make an evaluation 15 % slower.
    """

    def __init__(self, memory_bytes: int, turn_file: TurnFile | None = None) -> None:
        """
        Args:
            memory_bytes: what paintings may use of the device's memory, beside the network.
            turn_file: told whose turn it is.
        """
        self._memory_bytes = memory_bytes
        self._turn_file = turn_file
        self._scheduler: Scheduler[Painting] = Scheduler()
        # Whether the first in line has not yet been tried with the room that there is now.
        self._untried = False
        self._errands: deque[_Errand] = deque()
        self._condition = threading.Condition()
        self._at_work: Painting | None = None
        # Apart from the above, so that reading it waits for nothing.
        self._work: Work | None = None

    @property
    def at_work(self) -> Work | None:
        """What the device is at; None if it is idle. Answers at once."""
        return self._work

    @property
    def resident(self) -> int:
        """How many paintings hold memory on the device."""
        with self._condition:
            resident = set(self._scheduler.admitted)
            if self._at_work is not None:
                resident.add(self._at_work)
            return len(resident)

    def admit(self, painting: Painting) -> None:
        """Lets a painting come onto the device, in its time."""
        with self._condition:
            self._scheduler.add(painting, painting.claim)
            self._untried = self._untried or not self._scheduler.holds
            self._condition.notify_all()

    def drop(self, painting: Painting) -> None:
        """Takes a painting off the device before its next evaluation; waits for the one at work."""
        with self._condition:
            if painting not in self._scheduler:
                return
            self._scheduler.remove(painting)
            self._condition.wait_for(lambda: self._at_work is not painting)
            self._let_go(painting)

    def update(
        self,
        painting: Painting,
        *,
        recipe: Recipe | None = None,
        wish: PreviewWish | None = None,
        watched: bool | None = None,
        priority: int | None = None,
    ) -> Future[Recipe]:
        """Changes what is not None, between two turns.

        Returns:
            The recipe as it is run from now on. May raise `NotHere`, and as
            `Painting.update`; then nothing has changed.
        """

        def do(memory_bytes: int) -> Recipe:
            taken = painting.update(recipe, wish, watched, memory_bytes)
            with self._condition:
                if painting in self._scheduler:
                    self._scheduler.change(painting, priority=priority, watched=watched)
                    self._untried = True
            return taken

        return self._send(painting, do)

    def suspend(self, painting: Painting) -> Future[None]:
        """Ends a painting between two turns, to go on some other time. May raise `NotHere`."""

        def do(memory_bytes: int) -> None:
            painting.suspend()

        return self._send(painting, do)

    def work(self) -> None:
        """Paints for ever, on the calling thread.

        Raises:
            DeviceLost: the device failed, and fails from now on. The turn file names whose work it was.
        """
        while True:
            self._work_once()

    def _work_once(self) -> None:
        """An errand, or a painting's way onto the device, or a turn: waits until there is one."""
        with self._condition:
            errand, new, painting = self._next()
            while painting is None:
                self._mark("")
                self._condition.wait()
                errand, new, painting = self._next()
            self._at_work = painting
            others = (other for other in self._scheduler.admitted if other is not painting)
            free_bytes = self._memory_bytes - sum(other.memory_bytes for other in others)
        self._work = Work(painting.job_name, time.monotonic())
        self._mark(painting.job_name)
        begin = time.perf_counter()
        enters = False
        try:
            if errand is not None:
                _run(errand, free_bytes)
            elif not new:
                painting.turn()
            else:
                enters = self._enters(painting, free_bytes)
        except Exception as error:
            if is_device_lost(error):
                raise DeviceLost(str(error)) from error
            # Whatever else one painting raises, the others go on.
            if not isinstance(error, RecipeError):
                _log.exception("painting broke job=%s", painting.job_name)
            # Its traceback would keep the session, and so the device's memory.
            painting.break_off(error.with_traceback(None))
        seconds = time.perf_counter() - begin
        self._work = None
        with self._condition:
            self._at_work = None
            # Else it was dropped meanwhile.
            if painting in self._scheduler:
                if painting.ended:
                    self._scheduler.remove(painting)
                    self._let_go(painting)
                elif enters:
                    self._scheduler.admit(painting, painting.memory_bytes)
                    self._untried = True
                elif new:
                    self._scheduler.hold()
                elif errand is None:
                    self._scheduler.charge(painting, seconds)
            self._condition.notify_all()

    def _next(self) -> tuple[_Errand | None, bool, Painting | None]:
        """What is to be done: an errand if there is one, whether its painting is new, and the painting."""
        while self._errands:
            errand = self._errands.popleft()
            if errand.painting in self._scheduler:
                return errand, False, errand.painting
            if errand.done.set_running_or_notify_cancel():
                errand.done.set_exception(NotHere())
        if self._untried:
            self._untried = False
            first = self._scheduler.first_in_line()
            if first is not None:
                return None, True, first
        return None, False, self._scheduler.next()

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
                _log.info(
                    "job waits for memory job=%s needed_bytes=%d",
                    painting.job_name,
                    error.__cause__.needed_bytes,
                )
                return False
            # Once more, to be refused with what the device has, not with what the others leave of it.
            painting.open(self._memory_bytes)
        return True

    def _send(self, painting: Painting, do: Callable[[int], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._condition:
            self._errands.append(_Errand(painting, do, done))
            self._condition.notify_all()
        return done

    def _let_go(self, painting: Painting) -> None:
        painting.release()
        self._untried = True
        self._condition.notify_all()

    def _mark(self, job_name: str) -> None:
        if self._turn_file is not None:
            self._turn_file.write(job_name)


def _run(errand: _Errand, free_bytes: int) -> None:
    """Does an errand, unless its sender has given it up. A refusal is the sender's; any other error is raised
    as well."""
    if not errand.done.set_running_or_notify_cancel():
        return
    try:
        result = errand.do(free_bytes)
    except Exception as error:
        errand.done.set_exception(error.with_traceback(None))
        if not isinstance(error, RecipeError):
            raise
    else:
        errand.done.set_result(result)
