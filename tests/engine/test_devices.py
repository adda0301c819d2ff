from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_CHILD = """
import resource, sys, torch
from impasto_server.engine.devices import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

def work():
    return [torch.ones(8 << 20) for _ in range(4)]

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):  # Its pieces take a few rounds to fit.
    work()
kept = resident()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
return_freed_memory()
print(faults, kept - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_freed_memory_is_kept_and_then_returned():
    """Four tensors of 32 MiB: 32,768 pages anew each time, or none."""

    def faults_and_returned(mode):
        run = [sys.executable, "-c", _CHILD, mode]
        return [int(n) for n in subprocess.run(run, capture_output=True, check=True).stdout.split()]

    kept, returned = faults_and_returned("keep")
    assert kept < 1000
    assert returned > 100
    assert faults_and_returned("plain")[0] > 30_000
