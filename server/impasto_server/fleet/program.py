"""What the fleet wants of a worker's process, on whichever machine it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import grpc.aio

WORKER_MODULE = "impasto_server.worker"
"""The program that paints."""


@dataclasses.dataclass(frozen=True)
class Exit:
    """How a process ended.

    Attributes:
        code: exit code; below 0, the signal that ended it. None if it is unknown.
        how: the same in words.
        turn_of: name of the job that had the turn; empty if none had it, or if that is not known.
        blames: whether a job can be the cause: not if the machine is gone, or if the process hung while it
        started.
        last_words: its output on stdout.
    """

    code: int | None
    how: str
    turn_of: str = ""
    blames: bool = True
    last_words: str = ""


class Program(Protocol):
    """A worker's process.

    Attributes:
        machine: name of the machine that it runs on.
        step: the step of its start that it reported last, in words.
    """

    @property
    def machine(self) -> str: ...

    @property
    def step(self) -> str: ...

    async def connect(self) -> grpc.aio.Channel:
        """Opens a channel to it. May return before the process answers calls."""

    def started(self) -> None:
        """Tells that it has answered a call: a process that does not come so far within a time is killed."""

    async def wait(self) -> Exit:
        """Waits for its end."""

    def kill(self) -> None:
        """Ends it at once. Then `wait` returns soon, even if the machine cannot be reached."""

    async def leave(self, *, answers: bool) -> None:
        """Ends it in good order, or leaves it to a later gateway. Called once, when nobody needs it any more.

        Args:
            answers: whether it answers calls.
        """


class Launcher(Protocol):
    """Starts a worker's process, again after each end."""

    async def launch(self, device: str, arguments: Sequence[str]) -> Program:
        """Starts a process, or takes up one that an earlier gateway has left.

        Args:
            device: torch's name of the device, or "auto".
            arguments: further arguments of the process.

        Raises:
            OSError: it cannot be started now.
            PlaceLost: it can never be started here again.
        """


class PlaceLost(Exception):
    """The place where a worker ran is given back or lost for ever."""
