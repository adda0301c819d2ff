"""Signals that end a command: they restore the terminal and cancel the job, as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """Another signal than Ctrl-C told the process to end.

    Attributes:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """Returns the exit code of a command that a signal ended."""
    number = interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT
    return 128 + number


def end_in_good_order() -> None:
    """Makes SIGTERM, SIGHUP and SIGQUIT raise `Terminated` unless they are ignored, as by nohup."""
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)  # Windows has only SIGTERM.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)
