"""The GPUs that a process may use, by CUDA_VISIBLE_DEVICES. Read without torch and without the driver."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str] | None = None) -> list[str] | None:
    """Returns the entries of CUDA_VISIBLE_DEVICES: the first is cuda:0, the second cuda:1, and so on.

    An entry is a number, a UUID ("GPU-…") or an instance of a partitioned GPU ("MIG-…"). As CUDA does, it
    reads until the first entry that is none of these, such as "-1" or "".

    Args:
        environment: environment variables; None for those of this process.

    Returns:
        The entries; None if all GPUs are visible.

    Raises:
        ValueError: an entry is there twice, for which CUDA would show no GPU at all.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE)
    if text is None:
        return None
    entries: list[str] = []
    for entry in text.split(","):
        entry = entry.strip()
        if not re.fullmatch(r"[0-9]+|(GPU|MIG)-.+", entry):
            break
        if entry in entries:
            raise ValueError(f"{VARIABLE} is {text!r}, which names {entry} twice; name each GPU once")
        entries.append(entry)
    return entries


def named_gpus() -> list[str]:
    """Returns what the user of this process wanted to name with CUDA_VISIBLE_DEVICES, mistakes included.

    "-1" or nothing, with which users hide GPUs, name none, and end the list as they do for CUDA.
    """
    entries = (entry.strip() for entry in os.environ.get(VARIABLE, "").split(","))
    return list(itertools.takewhile(lambda entry: entry not in ("", "-1"), entries))


def gpu_number(device: str) -> int:
    """Returns the N of "cuda:N"; 0 for "cuda"."""
    return int(device.partition(":")[2] or 0)
