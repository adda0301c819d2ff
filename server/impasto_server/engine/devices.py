"""The devices of this machine and how they compute fastest. Code for CUDA or Apple only belongs here."""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F


def available_devices() -> list[str]:
    """Returns every GPU of this machine ("cuda:0", …; "mps"), or the CPU ("cpu") if there is none."""
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return ["mps"]
    return ["cpu"]


def check_device(device: str) -> None:
    """Makes sure that a device can be used.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        there = ", ".join(dict.fromkeys([*available_devices(), "cpu"]))
        raise ValueError(f"there is no device {device!r} here; there is {there}") from error


def describe_device(device: str) -> str:
    """Returns the name of a device for people to read."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "mps":
        return f"Apple {platform.processor()} GPU"
    threads = torch.get_num_threads()
    return f"{_cpu_model()}, {threads} thread{'' if threads == 1 else 's'}"


def fastest_precision(device: str) -> Literal["float32", "bfloat16"]:
    """Measures which arithmetic is faster for convolutions on this device; takes a fraction of a second."""
    return faster(precision_seconds(device))


def precision_seconds(device: str) -> dict[str, float]:
    """Measures a convolution in float32 and in bfloat16; takes a fraction of a second.

    On a CPU without bfloat16 instructions, bfloat16 can be slower than float32. On Apple's GPUs it is not
    used, and infinite.
    """
    if device == "mps":
        return {"float32": _convolution_seconds(device, torch.float32), "bfloat16": float("inf")}
    return {
        "float32": _convolution_seconds(device, torch.float32),
        "bfloat16": _convolution_seconds(device, torch.bfloat16),
    }


def faster(seconds: Mapping[str, float]) -> Literal["float32", "bfloat16"]:
    """Returns the faster arithmetic of those that were measured."""
    return "bfloat16" if seconds["bfloat16"] < seconds["float32"] else "float32"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Some allocators raise a RuntimeError that only its text tells apart.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether this process can no longer use its device after an error, although a new process could.

    After most CUDA errors, every later call in the same context fails with the same error.
    """
    if is_out_of_memory(error):
        return False
    if hasattr(torch, "AcceleratorError") and isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and str(error).startswith(_CUDA_ERRORS)


_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_CUDA_ERRORS = ("CUDA error", "CUDA driver error", "cuDNN error")


def keep_freed_memory() -> None:
    """Makes this process keep freed memory for its next allocation, instead of returning it to the system.

    For processes that mostly paint. By default, glibc returns each large tensor's memory to the system, which
    then has to clear every page for the next tensor. Tensors of more than `_KEPT_AT_MOST` bytes are still
    returned, because the pieces that were kept for them rarely fit. Does nothing without glibc.
    """
    # Measured on two CPU cores at 512 px: without this, 10 % of an evaluation is spent on page faults.
    if libc := _glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_AT_MOST)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Returns memory that this process has kept to the system; for use after a painting."""
    if libc := _glibc():
        libc.malloc_trim(0)


# Measured: keeping larger tensors too, those of images well above 512 px, takes 40 % more memory.
_KEPT_AT_MOST = 80 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _convolution_seconds(device: str, dtype: torch.dtype) -> float:
    x, weight = (
        torch.ones(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((1, 128, 96, 96), (128, 128, 3, 3))
    )
    best = float("inf")
    for _ in range(4):
        _synchronize(device)
        start = time.perf_counter()
        for _ in range(2):
            F.conv2d(x, weight, padding=1)
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
