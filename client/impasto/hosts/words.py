"""Sentences for artists: the progress of a painting, and errors with what to do about them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from impasto.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    ImpastoError,
    InvalidRequest,
    JobCancelled,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unreachable,
)

if TYPE_CHECKING:
    from impasto.job import Progress

RETRIABLE = (Unavailable, DeadlineExceeded)
"""Errors after which the same call may succeed later."""


def sentence(error: Exception, address: str = "") -> str:
    """Return an error as one or two sentences.

    Args:
        address: the server's address; "" if unknown.
    """
    where = address or "the server"
    if isinstance(error, Unreachable) and error.remedy:
        advice = "See Settings for the address and encryption (TLS)."
        return f"{_begun(where)} cannot be used: {_ended(error.cause)} {advice}"
    if isinstance(error, Unreachable):
        return (
            f"No server answers at {where}. Is it running, and is the address right? "
            "If it uses encryption (TLS), switch that on in Settings."
        )
    if isinstance(error, Unavailable):
        return f"The connection to {where} is lost, or the server is restarting. You need not do anything."
    if isinstance(error, DeadlineExceeded):
        return f"{_begun(where)} takes too long to answer. It may be busy, or the network may be slow."
    if isinstance(error, Unauthenticated):
        return (
            f"{_begun(where)} does not know your token. Ask the server's administrator for one, and enter it "
            "in Settings."
        )
    if isinstance(error, PermissionDenied):
        return f"{_begun(where)} does not let you do this. Ask the server's administrator."
    if isinstance(error, ResourceExhausted):
        wait = "" if error.retry_after is None else f" Try again in {duration(error.retry_after)}."
        advice = wait or " Choose a smaller size, or wait until other pictures are finished."
        return f"The server has no room for this: {_ended(error.message)}{advice}"
    if isinstance(error, InvalidRequest):
        return f"The server cannot paint this: {_ended(error.message)}"
    if isinstance(error, NotFound):
        return f"The server no longer has this: {_ended(error.message)} Start again."
    if isinstance(error, FailedPrecondition):
        return f"This is not possible now: {_ended(error.message)}"
    if isinstance(error, DataLoss):
        return f"The picture arrived damaged: {_ended(error.message)} Try again."
    if isinstance(error, JobCancelled):
        return "The painting was cancelled."
    if isinstance(error, ImpastoError):
        return (
            f"Error on the server: {_ended(error.message)} Try again. If the error persists, tell the "
            "server's administrator."
        )
    if isinstance(error, (OSError, ValueError)):
        return _ended(str(error))
    return f"Error in the plugin ({type(error).__name__}: {error}). Please report it."


def painting(progress: Progress | None) -> str:
    """Return the progress of a painting in words.

    Args:
        progress: the newest progress; None before the first.
    """
    if progress is None:
        return "Starting …"
    made = f"{progress.evaluation} of {progress.evaluations}"
    left = "" if progress.time_left is None else f", {duration(progress.time_left)} left"
    if progress.preparing is not None:
        return f"Painting, {made}: finding neighbours, {100 * progress.preparing:.0f} %{left}"
    return f"Painting, {made}{left}"


def duration(seconds: float) -> str:
    """Return a duration in words: "8 s", "about 3 min", "about 2 h"."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"


def _begun(text: str) -> str:
    return f"The server at {text}" if text != "the server" else "The server"


def _ended(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
