"""Keeps gRPC's own loop alive when a caller names a method in bytes that are no UTF-8.

grpcio decodes the name (the `:path` of the call) in the loop that takes in all calls, before anything of ours
is asked. The error of one that cannot be decoded ends that loop, and nobody is answered any more. Seen with
grpcio 1.85; there is no option against it.
"""

from __future__ import annotations

import asyncio
import codecs
import sys

_RUN = asyncio.Handle._run.__code__


def tolerate_broken_names() -> None:
    """From now on grpcio reads a name or a text of metadata that is no UTF-8 with replacement characters.

    For this whole process; harmless when repeated.
    """
    codecs.register_error("strict", _strict)


def _strict(error: UnicodeError) -> tuple[str, int]:
    # Compiled code that the event loop calls with no Python between them: grpcio's. For everything else it is
    # the error that it always was.
    if isinstance(error, UnicodeDecodeError) and sys._getframe(1).f_code is _RUN:
        return "\N{REPLACEMENT CHARACTER}", error.end
    raise error
