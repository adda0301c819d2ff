"""What a client does, as steps without I/O.

A call that may be repeated, a painting that is followed over several connections, a transfer that is resumed:
each is a generator that yields steps and is sent their outcomes. Drivers carry the steps out:
`impasto.driver` with threads, `impasto.aio.driver` with asyncio, over any transport. A driver has at most one
stream: beginning a stream leaves the one before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from impasto.transport import Endpoint, Method


@dataclasses.dataclass(frozen=True)
class Call:
    """Make a call with one answer; the outcome is the answer, or a `TransportError`."""

    method: Method[Any, Any]
    request: Message
    timeout: float


@dataclasses.dataclass(frozen=True)
class Send:
    """Make a call with several requests and one answer; the outcome is the answer, or a `TransportError`."""

    method: Method[Any, Any]
    requests: Sequence[Message]
    timeout: float


@dataclasses.dataclass(frozen=True)
class Begin:
    """Begin a call with a stream of answers; there is no outcome."""

    method: Method[Any, Any]
    request: Message
    timeout: float | None


@dataclasses.dataclass(frozen=True)
class Receive:
    """Wait for the stream's next message; the outcome is the message, None after the last, or a
    `TransportError`, for example if nothing comes for `timeout` seconds."""

    timeout: float


@dataclasses.dataclass(frozen=True)
class Sleep:
    """Wait; there is no outcome."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Diagnose:
    """Find out why the server cannot be reached; the outcome is a `diagnosis.Finding`, or None."""

    endpoint: Endpoint


@dataclasses.dataclass(frozen=True)
class Work:
    """Do something that may take a moment, such as reading files; the outcome is what it returns."""

    do: Callable[[], Any]


Step = (Call, Send, Begin, Receive, Sleep, Diagnose, Work)
AnyStep: TypeAlias = "Call | Send | Begin | Receive | Sleep | Diagnose | Work"

T = TypeVar("T")
Steps: TypeAlias = Generator[AnyStep, Any, T]
"""Steps to a result."""
