"""Deletes jobs regularly that need not be kept any longer."""

from __future__ import annotations

import asyncio
import logging
import time

from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore

_log = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0


async def keep_sweeping(store: AsyncStore, *, max_age: float, max_bytes: int | None) -> None:
    """Deletes expired jobs every minute until cancelled.

    Args:
        store: where the jobs are kept.
        max_age: time in seconds for which a final job is kept.
        max_bytes: maximum size of everything stored; None for no limit.
    """
    while True:
        try:
            deleted = await store.files(
                store.store.retention.sweep, time.time(), max_age=max_age, max_bytes=max_bytes
            )
        except StoreError as error:
            _log.error("old jobs cannot be deleted error=%r", str(error))
        except Exception:
            # An error that ended this loop would mean that nothing is ever deleted again.
            _log.exception("old jobs cannot be deleted")
        else:
            for name in deleted:
                _log.info("job deleted by retention job=%s", name)
        await asyncio.sleep(_SWEEP_SECONDS)
