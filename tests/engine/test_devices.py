from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch

from impasto_server.engine.devices import is_device_lost, is_out_of_memory

_CHILD = """
import resource, sys, torch
from impasto_server.engine.devices import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

def work():
    return [torch.ones(8 << 20) for _ in range(4)]

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):  # It takes a few rounds until the kept pieces fit.
    work()
kept = resident()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
return_freed_memory()
print(faults, kept - resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_freed_memory_is_kept_and_then_returned():
    """Four tensors of 32 MiB need 32,768 new pages each time, or none if memory is kept."""

    def faults_and_returned(mode):
        run = [sys.executable, "-c", _CHILD, mode]
        return [int(n) for n in subprocess.run(run, capture_output=True, check=True).stdout.split()]

    kept, returned = faults_and_returned("keep")
    assert kept < 1000
    assert returned > 100
    assert faults_and_returned("plain")[0] > 30_000


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_an_out_of_memory_error_is_recognised_and_leaves_the_device_usable(error):
    assert is_out_of_memory(error)
    assert not is_device_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: unspecified launch failure"),
    ],
)
def test_any_other_cuda_error_loses_the_device_even_if_it_mentions_memory(error):
    assert is_device_lost(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("the shape in memory is wrong"), ValueError("CUDA error: memory"), KeyError("memory")],
)
def test_a_program_error_neither_means_out_of_memory_nor_loses_the_device(error):
    assert not is_out_of_memory(error)
    assert not is_device_lost(error)


def test_an_error_of_the_cpu_allocator_is_recognised_by_its_text():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
