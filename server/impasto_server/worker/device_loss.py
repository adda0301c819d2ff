"""How the process ends when it can no longer use its device: only a new process can."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

_log = logging.getLogger(__name__)

DEVICE_LOST = os.EX_SOFTWARE
"""Exit code after an error that makes the device unusable for this process."""


def end_without_device(device: str, error: BaseException) -> NoReturn:
    """Ends the process at once. The fleet starts another, and the jobs go on from their checkpoints."""
    _log.critical("device lost, the process ends device=%s error=%r", device, str(error))
    # Without clean-up, which might wait for the device for ever.
    os._exit(DEVICE_LOST)
