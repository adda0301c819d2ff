"""Keeps gRPC's event loop alive when a caller names a method in bytes that are not UTF-8.

grpcio decodes the method's name (the `:path` of the call) in the loop that accepts all calls, before our code
is reached. If the name cannot be decoded, the error ends that loop, and no call is answered any more. Seen
with grpcio 1.85, which has no option against it.
"""

from __future__ import annotations

import asyncio
import codecs
import sys

_RUN = asyncio.Handle._run.__code__


def tolerate_broken_names() -> None:
    """Has grpcio decode names and metadata that are not UTF-8 with replacement characters.

    This changes the whole process. It can be called repeatedly.
    """
    codecs.register_error("strict", _strict)


def _strict(error: UnicodeError) -> tuple[str, int]:
    # Only for compiled code that the event loop calls directly, which is grpcio's. All other code gets the
    # usual error.
    if isinstance(error, UnicodeDecodeError) and sys._getframe(1).f_code is _RUN:
        return "\N{REPLACEMENT CHARACTER}", error.end
    raise error
