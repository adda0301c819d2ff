from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from impasto_server.engine.targets import CACHE_BYTES
from impasto_server.worker import starting
from impasto_server.worker.__main__ import argument_parser


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    given = ["--socket", str(folder / "worker-0.sock"), "--device", "cpu", "--weights", "builtin"]
    return argument_parser().parse_args([*given, "--max-resident", "1", *more])


def test_the_next_process_knows_the_gpu_of_the_one_before(tmp_path: Path) -> None:
    given = arguments(tmp_path)
    assert starting._earlier_gpu(given) is None
    starting._remember_gpu(given, None)
    assert list(tmp_path.iterdir()) == []
    starting._remember_gpu(given, "GPU-8932f937")
    assert starting._earlier_gpu(given) == "GPU-8932f937"


def test_a_worker_of_a_cluster_takes_the_gpu_that_it_is_given(tmp_path: Path) -> None:
    given = arguments(tmp_path)
    given.socket = None
    starting._remember_gpu(given, "GPU-8932f937")
    assert starting._earlier_gpu(given) is None


@pytest.mark.parametrize(
    ("free", "more", "jobs", "cache"),
    [
        (64 << 30, (), (64 << 30) - CACHE_BYTES, CACHE_BYTES),
        (1 << 30, (), 15 << 26, 1 << 26),
        (64 << 30, ("--memory", "1024"), 1 << 30, CACHE_BYTES),
        (1 << 30, ("--memory", "4096"), 15 << 26, 1 << 26),
        (2 << 30, ("--cpu-share", "2"), 15 << 26, 1 << 26),
    ],
)
def test_jobs_get_the_free_memory_without_the_cache_of_style_targets(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    more: tuple[str, ...],
    jobs: int,
    cache: int,
) -> None:
    monkeypatch.setattr(starting, "available_memory", lambda device: free)
    monkeypatch.setattr(starting, "precision_seconds", lambda device: {"float32": 2.0, "bfloat16": 1.0})
    monkeypatch.setattr(starting, "measured_speeds", lambda network, seconds: {})
    painter, service = starting._painter_and_service(arguments(tmp_path, *more), None)
    assert painter.free_bytes == service._workshop.device.memory_bytes == jobs
    assert service._workshop.equipment.style_targets._max_bytes == cache
    assert service._workshop.device.name == "cpu"


def test_on_a_gpu_that_others_use_jobs_get_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands for the GPU."""
    of_others = 0
    device_bytes, network_bytes = 10 << 30, 1 << 30
    monkeypatch.setattr(starting, "measures_memory", lambda device: True)
    monkeypatch.setattr(starting, "available_memory", lambda device: device_bytes - network_bytes)
    monkeypatch.setattr(starting, "free_gpu_bytes", lambda device: device_bytes - of_others)
    monkeypatch.setattr(starting, "precision_seconds", lambda device: {"float32": 2.0, "bfloat16": 1.0})
    monkeypatch.setattr(starting, "measured_speeds", lambda network, seconds: {})
    painter, _ = starting._painter_and_service(arguments(tmp_path), None)
    jobs = device_bytes - network_bytes - CACHE_BYTES
    assert painter._usable_bytes() == jobs
    of_others = 3 << 30
    assert painter._usable_bytes() == jobs - of_others
    assert painter.free_bytes == jobs - of_others
    of_others = 20 << 30
    assert painter._usable_bytes() == 0
    of_others = -5 << 30
    assert painter._usable_bytes() == jobs
