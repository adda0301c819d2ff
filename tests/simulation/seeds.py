"""Runs the worlds of seeds, one after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from impasto_server.jobs import states
from impasto_server.store import reserve
from impasto_server.store.store import Store
from simulation.knowledge import Images
from simulation.world import ALL, Kind, World

_RESERVE_BYTES = 4096
_WORLDS_TO_COLLECT = 50


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a world.

    Attributes:
        seed: seed of the world.
        violations: everything that was wrong, in order.
        trace: all events.
        calls, jobs: number of calls and jobs.
    """

    seed: int
    violations: list[str]
    trace: list[str]
    calls: int
    jobs: int

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class Log(logging.Handler):
    """Adds the server's log to the trace; an unexpected error is a violation."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._world.note(f"log {text}")
        bad = (
            record.exc_info or record.name == "asyncio" or text.startswith(("jobs cannot", "painting failed"))
        )
        if bad and record.levelno >= logging.ERROR:
            error = f" {record.exc_info[1]!r}" if record.exc_info else ""
            self._world.violation(f"logged: {text}{error}")


class Names:
    """Replaces `secrets`: the names of jobs are numbered."""

    def __init__(self) -> None:
        self._count = 0

    def token_urlsafe(self, _: int) -> str:
        self._count += 1
        return f"job-{self._count}"


class Simulation:
    """Runs worlds from seeds. A context manager, which removes the files that it wrote."""

    def __enter__(self) -> Simulation:
        # Garbage of killed servers is collected between worlds, where it does not matter.
        gc.disable()
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp("-simulation", dir=memory if memory.is_dir() else None))
        self._worlds = 0
        with _small_reserve(), contextlib.closing(Store(self._folder / "template")) as store:
            self._images = Images.put(store)
        return self

    def __exit__(self, *_: object) -> None:
        with _no_rubbish():
            gc.collect()
        gc.enable()
        shutil.rmtree(self._folder)

    def outcome(self, seed: int, kind: Kind = ALL) -> Outcome:
        """Runs the world of a seed.

        Args:
            seed: decides everything.
            kind: kind of the world.
        """
        with _no_rubbish():
            outcome = self._outcome(seed, kind)
            self._worlds += 1
            if self._worlds % _WORLDS_TO_COLLECT == 0:
                gc.collect()
        return outcome

    def _outcome(self, seed: int, kind: Kind) -> Outcome:
        folder = self._folder / "world"
        shutil.copytree(self._folder / "template", folder)
        world = World(seed, folder, self._images, kind)
        with _small_reserve(), _counted_names(), _logs_to(Log(world)):
            try:
                world.run()
            finally:
                world.close()
                shutil.rmtree(folder)
        return Outcome(seed, world.violations, world.trace, world.calls, len(world.jobs))


@contextlib.contextmanager
def _small_reserve() -> Iterator[None]:
    """Makes the reserve small: full disks are simulated, so it need not be written for every seed."""
    size, reserve.RESERVE_BYTES = reserve.RESERVE_BYTES, _RESERVE_BYTES
    try:
        yield
    finally:
        reserve.RESERVE_BYTES = size


@contextlib.contextmanager
def _counted_names() -> Iterator[None]:
    """Gives jobs the same names in each run of a seed."""
    before = vars(states)["secrets"]
    vars(states)["secrets"] = Names()
    try:
        yield
    finally:
        vars(states)["secrets"] = before


@contextlib.contextmanager
def _logs_to(handler: logging.Handler) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("impasto_server", "asyncio")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextlib.contextmanager
def _no_rubbish() -> Iterator[None]:
    """Hides the warnings and errors of coroutines of killed servers when they are collected."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = hook
