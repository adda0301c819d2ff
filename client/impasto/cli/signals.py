"""Signals that end a command: it leaves the terminal and its job as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was told to end by another signal than that of Ctrl-C.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """What a command exits with that was ended by a signal."""
    number = interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT
    return 128 + number


def end_in_good_order() -> None:
    """Makes SIGTERM and SIGHUP raise `Terminated`, unless they are ignored, as SIGHUP is under nohup."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # There is no SIGHUP on Windows.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)
