from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from impasto_server.engine import Recipe, Scene, Session, Style, devices, footprint
from impasto_server.engine import network as network_module
from impasto_server.engine.devices import (
    available_devices,
    check_device,
    describe_device,
    fastest_precision,
    is_device_lost,
    is_out_of_memory,
    lasting_name,
    see_only,
)
from impasto_server.engine.footprint import measured_footprint
from impasto_server.engine.memory import ON_A_CPU
from impasto_server.engine.network import Network
from support.random_networks import random_weights

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
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"),
    ],
)
def test_an_out_of_memory_error_is_recognised_and_leaves_the_device_usable(error):
    assert is_out_of_memory(error)
    assert not is_device_lost(error)


def test_a_factorisation_that_fails_ends_only_its_painting():
    """It depends on the matrix: with the device, the job would end one worker after the other."""
    error = RuntimeError("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `cusolverDnXsyevd`")
    assert not is_device_lost(error)
    assert not is_out_of_memory(error)


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


class FakeGpus:
    """GPUs as PyTorch shows them, by (name, compute capability).

    Attributes:
        initialised: whether CUDA was.
        current: the current GPU.
        broken: the error of every computation; empty if there is none.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *gpus: tuple[str, tuple[int, int]]) -> None:
        self._gpus = gpus
        self.initialised = False
        self.current = ""
        self.broken = ""
        # Set first, so that it is restored whatever a test makes of it.
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        fakes = {
            "is_available": lambda: bool(gpus),
            "is_initialized": lambda: self.initialised,
            "device_count": lambda: len(gpus),
            "get_device_capability": lambda device: self._of(device)[1],
            "get_device_name": lambda device: self._of(device)[0],
            "get_arch_list": lambda: ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"],
            "set_device": lambda device: setattr(self, "current", device),
            "synchronize": lambda device: None,
            "get_device_properties": lambda device: SimpleNamespace(
                name=self._of(device)[0], uuid=f"uuid-of-{torch.cuda.get_device_name(device)}"
            ),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch, "zeros", self._zeros)

    def _of(self, device: str) -> tuple[str, tuple[int, int]]:
        self.initialised = True
        return self._gpus[int(device.partition(":")[2] or 0)]

    def _zeros(self, size: int, *, device: str) -> torch.Tensor:
        if device.startswith("cuda") and not self._gpus:
            raise RuntimeError("Found no NVIDIA driver on your system")
        if self.broken:
            raise RuntimeError(self.broken)
        return torch.empty(size)


H100, K80, T4 = ("NVIDIA H100", (9, 0)), ("Tesla K80", (3, 7)), ("Tesla T4", (7, 5))
OLD = (
    "Tesla K80 has compute capability 3.7, and PyTorch .* has code for sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 "
    "only; install a PyTorch for this GPU"
)


def test_auto_is_every_gpu_that_this_pytorch_has_code_for(monkeypatch, caplog):
    FakeGpus(monkeypatch, K80, H100, T4)
    assert available_devices() == ["cuda:1", "cuda:2"]
    assert "GPU cannot be used device=cuda:0 why='Tesla K80 has compute capability 3.7" in caplog.text
    FakeGpus(monkeypatch, K80)
    assert available_devices() == ["cpu"]


@pytest.mark.parametrize(
    ("visible", "gpus", "told"),
    [
        ("GPU-abc", (), "named=1 found=0"),
        ("MIG-x", (), "named=1 found=0"),
        ("H100", (), "named=1 found=0"),
        ("0,9", (H100,), "named=2 found=1"),
        ("0,GPU-abc,-1,3", (H100,), "named=2 found=1"),
    ],
)
def test_auto_says_if_a_named_gpu_is_not_found(monkeypatch, caplog, visible, gpus, told):
    FakeGpus(monkeypatch, *gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert available_devices() == (["cuda:0"] if gpus else ["cpu"])
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert f"CUDA_VISIBLE_DEVICES={visible!r} {told}" in warning.getMessage()


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, ()), ("", ()), ("-1", ()), ("-1,0", ()), ("3", (H100,)), ("3,-1,0", (H100,))]
)
def test_auto_says_nothing_if_all_named_gpus_are_found(monkeypatch, caplog, visible, gpus):
    FakeGpus(monkeypatch, *gpus)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert available_devices() == (["cuda:0"] if gpus else ["cpu"])
    assert not caplog.records


def test_auto_is_every_instance_of_partitioned_gpus_and_asks_cuda_for_none(monkeypatch):
    gpus = FakeGpus(monkeypatch, ("NVIDIA A100 MIG 1g.10gb", (8, 0)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a,MIG-2b,MIG-3c")
    assert available_devices() == ["cuda:0", "cuda:1", "cuda:2"]
    assert not gpus.initialised
    assert see_only("cuda:2") == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-3c"
    check_device("cuda:0", "cuda:2")
    assert describe_device("cuda:0") == "NVIDIA A100 MIG 1g.10gb"


@pytest.mark.parametrize(
    ("visible", "device", "entry"),
    [
        (None, "cuda", "0"),
        (None, "cuda:3", "3"),
        ("1,3", "cuda:0", "1"),
        ("1,3", "cuda:1", "3"),
        ("GPU-8932f937,GPU-1", "cuda:1", "GPU-1"),
        ("3", "cuda:0", "3"),
    ],
)
def test_a_worker_sees_its_own_gpu_only(monkeypatch, visible, device, entry):
    FakeGpus(monkeypatch, H100, H100, H100, H100)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert see_only(device) == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == entry


def test_a_process_that_has_used_gpus_keeps_their_names(monkeypatch):
    """CUDA would not read the variable again: "cuda:0" would be another GPU."""
    gpus = FakeGpus(monkeypatch, K80, H100)
    (device,) = available_devices()
    assert gpus.initialised
    assert see_only(device) == "cuda:1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    check_device(device)
    assert gpus.current == "cuda:1"


@pytest.mark.parametrize(
    ("visible", "name", "lasting"),
    [
        (None, "NVIDIA H100", "GPU-uuid-of-NVIDIA H100"),
        ("3", "NVIDIA H100", "GPU-uuid-of-NVIDIA H100"),
        ("GPU-8932f937", "NVIDIA H100", "GPU-8932f937"),
        ("MIG-1a", "NVIDIA A100 MIG 1g.10gb", "MIG-1a"),
        ("0", "NVIDIA A100 MIG 1g.10gb", None),
    ],
)
def test_a_gpu_is_found_again_when_the_numbers_have_changed(monkeypatch, visible, name, lasting):
    gpus = FakeGpus(monkeypatch, (name, (9, 0)))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert lasting_name("cuda:0") == lasting
    gpus.initialised = False
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    if lasting is not None:
        assert see_only("cuda:7", lasting) == "cuda:0"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == lasting


def test_only_gpus_have_lasting_names(monkeypatch):
    FakeGpus(monkeypatch, H100)
    assert (lasting_name("cpu"), lasting_name("mps")) == (None, None)
    assert see_only("cpu", None) == "cpu"


@pytest.mark.parametrize(("visible", "there"), [("1,3", "cuda:0, cuda:1, cpu"), ("", "cpu"), ("-1", "cpu")])
def test_a_gpu_that_is_not_visible_is_refused_with_the_reason(monkeypatch, visible, there):
    FakeGpus(monkeypatch, H100, H100, H100, H100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ValueError, match="here; there is") as told:
        see_only("cuda:2")
    assert str(told.value) == (
        f"there is no device 'cuda:2' here; there is {there}, because CUDA_VISIBLE_DEVICES is {visible!r}"
    )


def test_other_devices_see_what_they_saw(monkeypatch):
    FakeGpus(monkeypatch, H100)
    assert (see_only("cpu"), see_only("mps")) == ("cpu", "mps")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert see_only("cuda:1") == "cuda:1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_gpu_that_is_too_old_is_refused_with_what_to_do(monkeypatch):
    FakeGpus(monkeypatch, H100, K80)
    check_device("cuda:0")
    with pytest.raises(ValueError, match=f"the device 'cuda:1' cannot be used: {OLD}"):
        check_device("cuda:1")


def test_a_gpu_that_fails_is_not_called_missing(monkeypatch):
    gpus = FakeGpus(monkeypatch, H100)
    gpus.broken = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be"
    with pytest.raises(ValueError, match="cannot be used") as told:
        check_device("cuda:0", "cuda:3")
    assert str(told.value) == (
        "the device 'cuda:3' cannot be used: CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    )


@pytest.mark.parametrize(("gpus", "device"), [((), "cuda:0"), ((H100,), "cuda:1")])
def test_a_gpu_that_is_missing_is_refused_with_the_devices_that_are_there(monkeypatch, gpus, device):
    FakeGpus(monkeypatch, *gpus).broken = "CUDA error: invalid device ordinal"
    with pytest.raises(ValueError, match=f"there is no device '{device}' here; there is .*cpu$"):
        check_device(device)


@pytest.mark.parametrize("entry", ["GPU-abc", "MIG-x"])
def test_a_gpu_that_is_named_wrongly_is_refused_with_the_variable(monkeypatch, entry):
    FakeGpus(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-1,{entry}")
    device = see_only("cuda:1")
    with pytest.raises(ValueError, match="there is no device 'cuda:1' here: CUDA finds none") as told:
        check_device(device, "cuda:1")
    assert f"with CUDA_VISIBLE_DEVICES={entry!r}; `nvidia-smi -L` lists" in str(told.value)


def test_a_gpu_that_is_named_twice_is_refused_with_the_variable(monkeypatch):
    FakeGpus(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,0")
    for look in (lambda: see_only("cuda:0"), lambda: check_device("cuda:0"), available_devices):
        with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES is '0,0', which names 0 twice"):
            look()


@pytest.mark.parametrize(
    ("architecture", "runs_on"),
    [
        ("sm_80", {(8, 0), (8, 6), (8, 9)}),
        ("sm_86", {(8, 6), (8, 9)}),
        ("sm_90a", {(9, 0)}),
        ("sm_100f", {(10, 0), (10, 3)}),
        ("sm_120", {(12, 0), (12, 1)}),
        ("compute_89", {(8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)}),
        ("compute_90a", {(9, 0)}),
        ("gfx942", set()),
    ],
)
def test_code_runs_on_later_gpus_as_far_as_nvidia_promises(architecture, runs_on):
    every = [(3, 7), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)]
    assert {version for version in every if devices._runs(architecture, *version)} == runs_on


@pytest.mark.parametrize(
    ("gpu", "precision"), [(H100, "bfloat16"), (("NVIDIA A2", (8, 6)), "bfloat16"), (T4, "float32")]
)
def test_the_precision_of_a_gpu_follows_from_its_capability(monkeypatch, gpu, precision):
    FakeGpus(monkeypatch, gpu)
    monkeypatch.setattr(devices, "precision_seconds", None)  # is not called
    assert fastest_precision("cuda:0") == precision


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"),
    [
        (True, False, "bfloat16"),
        (True, True, "bfloat16"),
        (False, True, "bfloat16"),
        (False, False, "float32"),
    ],
)
def test_the_precision_of_an_x86_cpu_follows_from_its_instructions(monkeypatch, avx512, amx, precision):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(devices, "precision_seconds", None)  # is not called
    assert fastest_precision("cpu") == precision


@pytest.mark.parametrize("doubt", ["another processor", "limited", "no oneDNN", "an older PyTorch"])
@pytest.mark.parametrize(("share", "precision"), [(0.5, "bfloat16"), (0.9, "float32")])
def test_other_cpus_are_measured_and_the_difference_must_be_clear(monkeypatch, doubt, share, precision):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "aarch64" if doubt == "another processor" else "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: doubt != "no oneDNN")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: share > 0.7)
        if doubt == "an older PyTorch":
            monkeypatch.delattr(torch.cpu, name)
    if doubt == "limited":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr(devices, "precision_seconds", lambda device: {"float32": 1.0, "bfloat16": share})
    assert fastest_precision("cpu") == precision


def test_apples_gpus_compute_in_float32():
    assert fastest_precision("mps") == "float32"


_EXACT = """
import sys, warnings, torch
warnings.simplefilter("error")
torch.backends.cudnn.benchmark = True
exec(sys.argv[1])
from impasto_server.engine.devices import use_exact_arithmetic
use_exact_arithmetic()
assert not torch.backends.cudnn.allow_tf32
assert not torch.backends.cuda.matmul.allow_tf32
assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
assert torch.get_float32_matmul_precision() == "highest"
if hasattr(torch.backends, "fp32_precision"):
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    parts = cudnn.conv, torch.backends.cuda.matmul, mkldnn.conv, mkldnn.matmul
    assert {part.fp32_precision for part in parts} == {"ieee"}
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.set_float32_matmul_precision('medium')",
    ],
)
def test_arithmetic_is_exact_whatever_was_set_before(before):
    subprocess.run([sys.executable, "-c", _EXACT, before], check=True)


def test_whoever_makes_a_network_computes_exactly(monkeypatch):
    """TF32 is cuDNN's default, and no tensor shows that it was used."""
    asked = []
    monkeypatch.setattr(network_module, "use_exact_arithmetic", lambda: asked.append(True))
    Network(random_weights("vgg16"))
    assert asked


def test_memory_is_measured_on_gpus_only(network, monkeypatch):
    monkeypatch.setattr(footprint, "peak_bytes", None)  # is not called
    assert measured_footprint(network) == ON_A_CPU


def measure_as_on_a_gpu(monkeypatch, bytes_per_pixel, error=None):
    """Lets the memory of tiny paintings be measured; returns the list of their sizes, which grows."""
    sides = []

    def peak(device, work):
        (progress,) = work()
        sides.append(progress.width)
        if error is not None:
            raise error
        margin = 16
        return 10_000_000 + bytes_per_pixel * (progress.width + 2 * margin) ** 2

    monkeypatch.setattr(footprint, "_SIDES", (24, 40))
    monkeypatch.setattr(footprint, "peak_bytes", peak)
    monkeypatch.setattr(footprint, "measures_memory", lambda device: True)
    return sides


def test_an_evaluation_that_takes_more_memory_on_a_gpu_gets_smaller_plans(network, monkeypatch):
    sides = measure_as_on_a_gpu(monkeypatch, 10_000)
    found = measured_footprint(network)
    assert (found.bfloat16, found.float32) == pytest.approx((12_000, 12_000))
    assert set(sides) == {24, 40}
    picture = Image.new("RGB", (1200, 900), "red")
    arguments = (
        Recipe(longest_side=1200, precision="float32"),
        Scene(content=picture, styles=[Style(picture)]),
        network,
    )
    available = 6 << 30
    assert Session(*arguments, memory_bytes=available).plan.method == "plain"
    plan = Session(*arguments, memory_bytes=available, footprint=found).plan
    assert plan.method == "tiled"
    assert plan.estimated_bytes <= available


def test_an_evaluation_that_takes_less_memory_on_a_gpu_gets_the_plans_of_a_cpu(network, monkeypatch):
    measure_as_on_a_gpu(monkeypatch, 100)
    assert measured_footprint(network) == ON_A_CPU


def test_a_gpu_on_which_memory_cannot_be_measured_gets_the_plans_of_a_cpu(network, monkeypatch, caplog):
    measure_as_on_a_gpu(monkeypatch, 10_000, torch.OutOfMemoryError("CUDA out of memory"))
    assert measured_footprint(network) == ON_A_CPU
    assert "memory of an evaluation cannot be measured" in caplog.text


def test_a_gpu_that_is_lost_while_memory_is_measured_ends_the_start(network, monkeypatch):
    lost = RuntimeError("CUDA error: unspecified launch failure")
    measure_as_on_a_gpu(monkeypatch, 10_000, lost)
    with pytest.raises(RuntimeError) as raised:
        measured_footprint(network)
    assert raised.value is lost
