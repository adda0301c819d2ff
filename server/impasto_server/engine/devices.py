"""The devices of this machine and how they compute fastest. Code for CUDA or Apple only belongs here, except
CUDA graphs (graphs.py)."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from impasto_server.visible_gpus import VARIABLE, gpu_number, named_gpus, visible_gpus

_log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """Returns every GPU of this machine ("cuda:0", …; "mps"), or the CPU ("cpu") if there is none.

    GPUs for which this PyTorch has no code are left out, with a warning in the log. Only a process that has
    called `see_only` can use the second and later instances of partitioned GPUs (MIG): CUDA shows a process
    one of them. A warning also says if CUDA finds fewer GPUs than CUDA_VISIBLE_DEVICES names.

    Raises:
        ValueError: CUDA_VISIBLE_DEVICES names a GPU twice.
    """
    visible = (visible_gpus() or []) if torch.version.cuda is not None else []
    if len(visible) > 1 and any(entry.startswith("MIG-") for entry in visible):
        return [f"cuda:{number}" for number in range(len(visible))]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < len(named_gpus()):
        _log.warning(
            "CUDA finds fewer GPUs than are named, a GPU or the CPU paints instead %s=%r named=%d found=%d",
            VARIABLE,
            os.environ[VARIABLE],
            len(named_gpus()),
            count,
        )
    if count:
        found = []
        for device in (f"cuda:{number}" for number in range(count)):
            if why := _why_unsupported(device):
                _log.warning("GPU cannot be used device=%s why=%r", device, why)
            else:
                found.append(device)
        if found:
            return found
    if torch.backends.mps.is_available():
        return ["mps"]
    return ["cpu"]


def see_only(device: str, lasting_name: str | None = None) -> str:
    """Makes this process see only the GPU that it uses, unless it has already asked CUDA about GPUs.

    Otherwise a mistake could give it a context on another GPU, which takes hundreds of MB there; and only so
    can it use each instance of a partitioned GPU. `available_devices` asks CUDA, so the process that has
    called it goes on to see all GPUs, except where they are partitioned.

    Args:
        device: name of the device, counted among the GPUs that this process may use.
        lasting_name: what `lasting_name` returned for the same device in an earlier process; None for the
            first.

    Returns:
        PyTorch's name of the device from now on.

    Raises:
        ValueError: CUDA_VISIBLE_DEVICES names no such GPU, or names one twice.
    """
    # AMD's GPUs have variables of their own. Once CUDA is initialised, it does not read the variable again.
    if not device.startswith("cuda") or torch.version.cuda is None or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return device
    if lasting_name is not None:
        os.environ[VARIABLE] = lasting_name
        return "cuda:0"
    visible, number = visible_gpus(), gpu_number(device)
    if visible is not None and number >= len(visible):
        there = ", ".join([*(f"cuda:{other}" for other in range(len(visible))), "cpu"])
        raise ValueError(
            f"there is no device {device!r} here; there is {there}, because {VARIABLE} is "
            f"{os.environ[VARIABLE]!r}"
        )
    global _set_here
    if visible is None:
        os.environ[VARIABLE] = _set_here = str(number)
    else:
        os.environ[VARIABLE] = visible[number]
    return "cuda:0"


_set_here: str | None = None
"""Value of CUDA_VISIBLE_DEVICES if it is ours and not the administrator's, whom it would only confuse."""


def lasting_name(device: str) -> str | None:
    """Returns a name that still means the same GPU when GPUs before it are gone; None if there is none.

    The number of a GPU changes then, and another worker may already have the GPU with the old number.
    """
    if not device.startswith("cuda") or torch.version.cuda is None:
        return None
    entry = os.environ.get(VARIABLE, "")
    if re.fullmatch("(GPU|MIG)-[^,]+", entry):
        return entry
    about = torch.cuda.get_device_properties(device)
    # The UUID that PyTorch tells may be of the whole GPU or of its part.
    if "MIG" in about.name or not hasattr(about, "uuid"):
        return None
    return f"GPU-{about.uuid}"


def check_device(device: str, name: str | None = None) -> None:
    """Makes sure that a device can be used, and makes it the current GPU of this thread.

    Args:
        device: PyTorch's name.
        name: the name for people, if it is another one.

    Raises:
        ValueError: there is no such device, or it cannot be used.
    """
    name = name or device
    gpu = device.startswith("cuda") and torch.cuda.is_available()
    if gpu and gpu_number(device) < torch.cuda.device_count():
        why = _why_unsupported(device)
        if why is None:
            try:
                torch.cuda.set_device(device)
                torch.zeros(1, device=device)
                torch.cuda.synchronize(device)
            except RuntimeError as error:
                why = str(error).partition("\n")[0]
        if why is not None:
            raise ValueError(f"the device {name!r} cannot be used: {why}")
        return
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        named = visible_gpus() is not None and os.environ[VARIABLE] != _set_here
        if device.startswith("cuda") and torch.version.cuda is not None and named:
            raise ValueError(
                f"there is no device {name!r} here: CUDA finds none with {VARIABLE}="
                f"{os.environ[VARIABLE]!r}; `nvidia-smi -L` lists those of this machine"
            ) from error
        there = ", ".join(dict.fromkeys([*available_devices(), "cpu"]))
        raise ValueError(f"there is no device {name!r} here; there is {there}") from error


def _why_unsupported(gpu: str) -> str | None:
    """Says why this PyTorch has no code for a GPU, and what to do; returns None if it has."""
    if torch.version.cuda is None:
        return None
    architectures = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability(gpu)
    if not architectures or any(_runs(code, major, minor) for code in architectures):
        return None
    return (
        f"{torch.cuda.get_device_name(gpu)} has compute capability {major}.{minor}, and PyTorch "
        f"{torch.__version__} has code for {' '.join(architectures)} only; install a PyTorch for this GPU "
        "(pytorch.org says which), or give another --device"
    )


def _runs(architecture: str, major: int, minor: int) -> bool:
    """Whether a GPU runs code that was compiled for an architecture such as "sm_90" or "compute_90a".

    "sm" is machine code, which also runs on GPUs of the same major and a higher minor version. "compute" is
    compiled again on any later GPU. The suffix "a" stands for this one architecture, "f" for its family.
    """
    found = re.fullmatch(r"(sm|compute)_([0-9]+)([0-9])([af]?)", architecture)
    if found is None:
        return False
    kind, suffix, version = found[1], found[4], (int(found[2]), int(found[3]))
    if suffix == "a":
        return version == (major, minor)
    if kind == "sm" or suffix == "f":
        return version[0] == major and version[1] <= minor
    return version <= (major, minor)


def use_exact_arithmetic() -> None:
    """Makes float32 mean float32 in this process, and the same work on a GPU give the same bits.

    By default, cuDNN's convolutions in float32 multiply with TF32, which has 10 bits of precision, and
    partial sums of products in bfloat16 may be rounded to it. cuDNN does not choose its algorithms by timing
    them, because another algorithm rounds in another order.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # PyTorch 2.9 has newer settings, which come first. Those above stay because it also reads them.
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        for library in (backends.cudnn, backends.mkldnn):
            library.conv.fp32_precision = library.rnn.fp32_precision = "ieee"
        backends.cuda.matmul.fp32_precision = backends.mkldnn.matmul.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def describe_device(device: str) -> str:
    """Returns the name of a device for people to read."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "mps":
        return f"Apple {platform.processor()} GPU"
    threads = torch.get_num_threads()
    return f"{_cpu_model()}, {threads} thread{'' if threads == 1 else 's'}"


def fastest_precision(device: str) -> Literal["float32", "bfloat16"]:
    """Returns the arithmetic in which a device convolves faster: the same at each start of a machine.

    It depends on what the device can do. It is measured only where that does not say it: on CPUs other than
    x86, and where oneDNN was told to do without some instructions.
    """
    multiplies = _multiplies_bfloat16(device)
    if multiplies is None:
        seconds = precision_seconds(device)
        multiplies = seconds["bfloat16"] < _CLEARLY * seconds["float32"]
    return "bfloat16" if multiplies else "float32"


_CLEARLY = 0.7
"""A measured time that is shorter by this factor is shorter at the next start too."""


def _multiplies_bfloat16(device: str) -> bool | None:
    """Whether a device multiplies matrices of bfloat16 faster than of float32; None if that is not known."""
    if device.startswith("cuda"):
        # NVIDIA's GPUs have matrix units for it from Ampere on.
        return torch.version.cuda is None or torch.cuda.get_device_capability(device) >= (8, 0)
    if device == "mps":
        return False
    asked = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    limited = "ONEDNN_MAX_CPU_ISA" in os.environ or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if platform.machine() not in ("x86_64", "AMD64") or limited or None in asked:
        return None
    return any(ask() for ask in asked if ask is not None)


def precision_seconds(device: str) -> dict[str, float]:
    """Measures a convolution in float32 and in bfloat16; takes a fraction of a second.

    On Apple's GPUs bfloat16 is not used, and infinite.
    """
    if device == "mps":
        return {"float32": _convolution_seconds(device, torch.float32), "bfloat16": float("inf")}
    return {
        "float32": _convolution_seconds(device, torch.float32),
        "bfloat16": _convolution_seconds(device, torch.bfloat16),
    }


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
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_CUDA_ERRORS = ("CUDA error", "CUDA driver error", "cuDNN error")


def measures_memory(device: torch.device) -> bool:
    """Whether `peak_bytes` can measure memory on a device."""
    return device.type == "cuda"


def peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """Does some work and returns the peak of the memory in bytes that its tensors take on a GPU."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_gpu_bytes(device: torch.device) -> int:
    """Returns the free memory of a GPU in bytes, what this process keeps for its next tensors included.

    Less than before means that another process has taken memory, because tensors of this process count as
    free.
    """
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device))


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
    # On a GPU as large as in a painting; otherwise its start would take longer than the convolution.
    side = 512 if device.startswith("cuda") else 96
    x, weight = (
        torch.ones(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((1, 128, side, side), (128, 128, 3, 3))
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
