"""Deletes what need not be kept any longer, again and again."""

from __future__ import annotations

import asyncio
import logging
import time

from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore

_log = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0


async def keep_sweeping(store: AsyncStore, *, max_age: float, max_bytes: int | None) -> None:
    """Sweeps until it is cancelled.

    Args:
        store: where jobs are kept.
        max_age: how long a final job is kept, seconds.
        max_bytes: what everything stored may take; None: any amount.
    """
    while True:
        try:
            deleted = await store.files(
                store.store.retention.sweep, time.time(), max_age=max_age, max_bytes=max_bytes
            )
        except StoreError as error:
            _log.error("old jobs cannot be deleted error=%r", str(error))
        except Exception:
            # Else nothing would ever be deleted again.
            _log.exception("old jobs cannot be deleted")
        else:
            for name in deleted:
                _log.info("job deleted by retention job=%s", name)
        await asyncio.sleep(_SWEEP_SECONDS)
