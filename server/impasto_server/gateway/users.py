"""Ends a server with the last of the programs that use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from impasto.process_notes import ProcessNotes

_log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Time in seconds between two looks at the notes."""


async def watch_users(folder: Path, ended: Callable[[], object]) -> None:
    """Waits until none of the programs that have noted themselves in a folder runs, and tells so once.

    Args:
        folder: folder of `ProcessNotes`.
        ended: called when no note holds.
    """
    notes = ProcessNotes(folder)
    while True:
        try:
            if await asyncio.to_thread(notes.end_unless_used):
                break
        except OSError as error:
            # The server is more useful than the check.
            _log.warning("users cannot be read path=%s error=%r", folder, str(error))
        await asyncio.sleep(CHECK_SECONDS)
    _log.info("nobody uses this server any more path=%s", folder)
    ended()
