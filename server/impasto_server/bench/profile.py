"""Measures which parts of the engine take the time of a step.

The engine's own functions are timed, not torch's operators: the kernels in C are no operators, and one
operator serves several parts.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from impasto_server.bench.timing import synchronize
from impasto_server.engine import Session, evaluation, kernels, optimizers
from impasto_server.engine.network import Network

_PARTS: tuple[tuple[Any, str, str], ...] = (
    (Network, "_convolved", "convolutions forward"),
    (Network, "_gradient_for_input", "convolutions backward"),
    (kernels, "pooled", "pooling forward"),
    (kernels, "unpooled", "pooling backward"),
    (kernels, "mask_", "ReLU masks"),
    (evaluation, "_observed", "statistics"),
    (evaluation, "_derived", "losses"),
    (evaluation, "_gradient", "gradients of the statistics"),
    (optimizers.LBFGS, "look", "optimiser"),
    (optimizers.LBFGS, "step", "optimiser"),
    (optimizers.Adam, "look", "optimiser"),
    (optimizers.Adam, "step", "optimiser"),
    (Session, "step", "the rest"),
)
"""Owner and name of each function that is timed, and the part that it belongs to."""

PARTS = tuple(dict.fromkeys(part for _, _, part in _PARTS))
"""Names of the parts. The statistics are Gram matrices, hypercolumns and the like."""


def time_shares(session: Session, device: str, steps: int) -> dict[str, float]:
    """Returns the shares of the time of some steps by part, largest first; together 1.

    The time of a function is without that of the timed functions that it calls.

    Args:
        session: a painting whose next steps are evaluations.
        device: its device.
        steps: number of steps to make.
    """
    with _timed_parts(device) as spent:
        for _ in range(steps):
            session.step()
    total = sum(spent.values())
    return {part: seconds / total for part, seconds in sorted(spent.items(), key=lambda item: -item[1])}


@contextlib.contextmanager
def _timed_parts(device: str) -> Iterator[dict[str, float]]:
    """Times the parts during a `with` block; yields the seconds of each so far."""
    spent = dict.fromkeys(PARTS, 0.0)
    since = 0.0
    at_work: list[str] = []

    def switch() -> None:
        """Counts the time since the last call for the part that is at work."""
        nonlocal since
        synchronize(device)
        now = time.perf_counter()
        if at_work:
            spent[at_work[-1]] += now - since
        since = now

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            switch()
            at_work.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                switch()
                at_work.pop()

        return call

    with contextlib.ExitStack() as stack:
        for owner, name, part in _PARTS:
            function = getattr(owner, name)
            stack.callback(setattr, owner, name, function)
            setattr(owner, name, timed(function, part))
        yield spent
