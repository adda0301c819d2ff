"""What a client does, one step after the other, apart from how the steps are made.

Whatever is more than one call (calling again, reconnecting, going on with a broken transfer) is a generator
that yields steps and is sent their outcome: the same with threads and with asyncio, over any transport.
Whoever carries the steps out holds at most one stream: beginning one leaves the one before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
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
    `TransportError`, as when nothing comes for `timeout` seconds."""

    timeout: float


@dataclasses.dataclass(frozen=True)
class Sleep:
    """Wait; there is no outcome."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Diagnose:
    """Find out why the server cannot be reached; the outcome is a `diagnosis.Finding`, or None."""

    endpoint: Endpoint


Step = (Call, Send, Begin, Receive, Sleep, Diagnose)
AnyStep: TypeAlias = "Call | Send | Begin | Receive | Sleep | Diagnose"

T = TypeVar("T")
Steps: TypeAlias = Generator[AnyStep, Any, T]
"""Steps to a result."""
