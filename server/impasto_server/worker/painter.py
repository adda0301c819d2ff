"""The thread that uses the device, and the paintings among which it shares the device."""

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
from impasto_server.engine.devices import is_device_lost, return_freed_memory
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.recipe import Recipe, RecipeError
from impasto_server.worker.painting import Painting
from impasto_server.worker.scheduler import Scheduler
from impasto_server.worker.turn_file import TurnFile

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REST_SECONDS = 30.0
"""Time without work after which the memory of the paintings that have ended is returned to the system."""
# Measured at 512 px: to return it takes 0.08 s, and to get it back for the next painting 0.2 s.

_RETRY_SECONDS = 5.0
"""Time between two tries to open a painting that waits for memory which another process has."""


class DeviceLost(Exception):
    """This process can no longer compute on its device; only a new process can."""


class NotHere(Exception):
    """The painter does not have the painting, or no longer has it."""


@dataclasses.dataclass(frozen=True)
class _Errand:
    """A change of a painting, to be made between two turns.

    Attributes:
        painting: the painting.
        do: makes the change; takes the memory in bytes that the other paintings leave free.
        done: gets the result or the error of `do`, or `NotHere`.
    """

    painting: Painting
    do: Callable[[int], Any]
    done: Future[Any]


@dataclasses.dataclass(frozen=True)
class Work:
    """The current work of the device: a turn, an errand, or the opening of a painting.

    Attributes:
        job_name: name of the job.
        since: time when it began, by `time.monotonic`.
    """

    job_name: str
    since: float


class Painter:
    """Gives turns of one evaluation on the device to as many paintings as fit into its memory.

    A painting that does not fit waits until another one leaves the device, and no other painting overtakes
    it. The `Scheduler` decides whose turn it is and which painting comes onto the device next.

    `work` must run on the thread that has loaded the network, and no other thread may compute with torch:
    OpenMP keeps a thread pool for each thread that computes, and two pools on the same cores slow each other
    down.
    """

    # Measured: an evaluation takes 15 % longer with two pools.

    def __init__(
        self,
        memory_bytes: int,
        turn_file: TurnFile | None = None,
        memory_now: Callable[[], int] | None = None,
    ) -> None:
        """
        Args:
            memory_bytes: memory of the device for all paintings, without the network.
            turn_file: file for the name of the job that has the device.
            memory_now: returns how much of it other processes leave now, the memory of all paintings here
                included; None if it is theirs alone.
        """
        self._memory_bytes = self._usable = memory_bytes
        self._memory_now = memory_now
        self._turn_file = turn_file
        # When the first in line is tried again if it waits for the memory of another process.
        self._retry_at: float | None = None
        self._told_to_wait = ""
        self._scheduler: Scheduler[Painting] = Scheduler()
        # Whether the first in line may fit now: the free memory or the line has changed since it was tried.
        self._untried = False
        self._errands: deque[_Errand] = deque()
        # Whether this process keeps memory of paintings that have ended.
        self._keeps_memory = False
        self._condition = threading.Condition()
        self._at_work: Painting | None = None
        # Not under the lock, so that it can be read at any time without waiting.
        self._work: Work | None = None

    @property
    def at_work(self) -> Work | None:
        """Current work of the device; None if it is idle. Never waits."""
        return self._work

    @property
    def resident(self) -> int:
        """Number of paintings that use memory of the device."""
        with self._condition:
            resident = set(self._scheduler.admitted)
            if self._at_work is not None:
                resident.add(self._at_work)
            return len(resident)

    @property
    def free_bytes(self) -> int:
        """Memory of the device in bytes that no painting has been promised."""
        with self._condition:
            return self._usable - sum(painting.memory_bytes for painting in self._scheduler.admitted)

    def admit(self, painting: Painting) -> None:
        """Puts a painting in line for the device."""
        with self._condition:
            self._scheduler.add(painting, painting.claim)
            self._untried = self._untried or not self._scheduler.holds
            self._condition.notify_all()

    def drop(self, painting: Painting) -> None:
        """Takes a painting off the device before its next evaluation; waits until the current one ends."""
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
        """Changes a painting between two turns; None leaves a value as it is.

        Returns:
            A future of the recipe as it is run from now on. It may raise `NotHere` or the errors of
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
        """Ends a painting between two turns, with a checkpoint. The future may raise `NotHere`."""

        def do(memory_bytes: int) -> None:
            painting.suspend()

        return self._send(painting, do)

    def work(self) -> None:
        """Paints for ever on the calling thread.

        Raises:
            DeviceLost: this process can no longer use the device. The turn file names the job that had it.
        """
        while True:
            self._work_once()

    def _work_once(self) -> None:
        """Waits for work and does one errand, opening or turn; or returns unused memory to the system."""
        with self._condition:
            errand, new, painting = self._next()
            while painting is None:
                self._mark("")
                resting = self._keeps_memory
                notified = self._condition.wait(_REST_SECONDS if resting else self._seconds_to_retry())
                if resting and not notified:
                    self._keeps_memory = False
                    break
                errand, new, painting = self._next()
            self._at_work = painting
            others = (other for other in self._scheduler.admitted if other is not painting)
            promised = sum(other.memory_bytes for other in others)
        if painting is None:
            # Without the lock, because it takes a while.
            return_freed_memory()
            return
        self._work = Work(painting.job_name, time.monotonic())
        self._mark(painting.job_name)
        begin = time.perf_counter()
        enters = False
        try:
            if errand is not None:
                _run(errand, self._usable_bytes() - promised)
            elif not new:
                painting.turn()
            else:
                enters = self._enters(painting, self._usable_bytes() - promised)
        except Exception as error:
            if is_device_lost(error):
                raise DeviceLost(str(error)) from error
            # The other paintings go on, whatever else this one raises.
            if not isinstance(error, RecipeError):
                _log.exception("painting broke job=%s", painting.job_name)
            # The traceback would keep the session alive, and with it the device's memory.
            painting.break_off(error.with_traceback(None))
        seconds = time.perf_counter() - begin
        self._work = None
        with self._condition:
            self._at_work = None
            # It may have been dropped meanwhile.
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
        """Returns the next work: an errand or None, whether the painting is new, and the painting or None."""
        while self._errands:
            errand = self._errands.popleft()
            if errand.painting in self._scheduler:
                return errand, False, errand.painting
            if errand.done.set_running_or_notify_cancel():
                errand.done.set_exception(NotHere())
        if self._untried or self._seconds_to_retry() == 0:
            self._untried = False
            first = self._scheduler.first_in_line()
            if first is not None:
                return None, True, first
        return None, False, self._scheduler.next()

    def _enters(self, painting: Painting, free_bytes: int) -> bool:
        """Opens a painting if the device has enough free memory; returns False if it has to wait.

        Raises:
            RecipeError: it cannot be painted, or the whole device is too small for it.
        """
        try:
            painting.open(free_bytes)
        except RecipeError as error:
            if not isinstance(error.__cause__, DoesNotFit):
                raise
            if error.__cause__.needed_bytes <= self._memory_bytes:
                if self._told_to_wait != painting.job_name:
                    self._told_to_wait = painting.job_name
                    _log.info(
                        "job waits for memory job=%s needed_bytes=%d free_bytes=%d",
                        painting.job_name,
                        error.__cause__.needed_bytes,
                        free_bytes,
                    )
                # Nothing here tells when another process gives its memory back.
                others_have_it = self._usable < self._memory_bytes
                self._retry_at = time.monotonic() + _RETRY_SECONDS if others_have_it else None
                return False
            # Opened again, so that the error names the memory of the whole device, not what is free now.
            painting.open(self._memory_bytes)
        return True

    def _usable_bytes(self) -> int:
        """Returns the memory that all paintings together may use now."""
        if self._memory_now is not None:
            self._usable = max(0, min(self._memory_bytes, self._memory_now()))
        return self._usable

    def _seconds_to_retry(self) -> float | None:
        """Returns the time until the first in line is tried again, whatever happens here; None for never."""
        if self._retry_at is None or not self._scheduler.holds:
            return None
        return max(0.0, self._retry_at - time.monotonic())

    def _send(self, painting: Painting, do: Callable[[int], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._condition:
            self._errands.append(_Errand(painting, do, done))
            self._condition.notify_all()
        return done

    def _let_go(self, painting: Painting) -> None:
        painting.release()
        self._untried = self._keeps_memory = True
        self._condition.notify_all()

    def _mark(self, job_name: str) -> None:
        if self._turn_file is not None:
            self._turn_file.write(job_name)


def _run(errand: _Errand, free_bytes: int) -> None:
    """Does an errand, unless its sender has cancelled it.

    The sender gets every error. Errors other than `RecipeError` are also raised here, to end the painting.
    """
    if not errand.done.set_running_or_notify_cancel():
        return
    try:
        result = errand.do(free_bytes)
    except Exception as error:
        if is_device_lost(error):
            # The process ends now, and the sender's call with it. The job goes on elsewhere.
            raise
        errand.done.set_exception(error.with_traceback(None))
        if not isinstance(error, RecipeError):
            raise
    else:
        errand.done.set_result(result)
