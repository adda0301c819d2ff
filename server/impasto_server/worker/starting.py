"""The start of a worker, before it paints: it loads the network and begins to answer calls."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine import kernels
from impasto_server.engine.devices import (
    available_devices,
    check_device,
    describe_device,
    fastest_precision,
    free_gpu_bytes,
    keep_freed_memory,
    lasting_name,
    measures_memory,
    precision_seconds,
    see_only,
)
from impasto_server.engine.footprint import measured_footprint
from impasto_server.engine.forecast import Paces, measured_speeds
from impasto_server.engine.memory import available_memory
from impasto_server.engine.network import Network
from impasto_server.engine.targets import CACHE_BYTES, TargetCache
from impasto_server.engine.weights import Weights, load_vgg19_or_builtin, load_weights, vgg19_cache_path
from impasto_server.worker.answering import answer
from impasto_server.worker.commission import Equipment
from impasto_server.worker.heartbeat import STEP_SECONDS, Heartbeat
from impasto_server.worker.painter import Painter
from impasto_server.worker.service import WorkerService
from impasto_server.worker.turn_file import TurnFile

_log = logging.getLogger(__name__)

_CACHE_SHARE = 16
"""The cache of style targets gets at most one part in so many of the free memory."""
_PRECISIONS = {"float32": pb.PRECISION_FLOAT32, "bfloat16": pb.PRECISION_BFLOAT16}


def start(arguments: argparse.Namespace, heartbeat: Heartbeat | None) -> Painter:
    """Loads the network, and answers calls on a new thread from then on.

    Args:
        arguments: arguments of the process.
        heartbeat: the heartbeat; it is stopped when calls are answered.

    Returns:
        The painter, which has to work on the caller's thread.

    Raises:
        ValueError: there is no such device.
        WeightsError: the weights cannot be loaded.
    """
    keep_freed_memory()
    torch.set_num_threads(arguments.threads or max(1, torch.get_num_threads() // arguments.cpu_share))
    painter, service = _painter_and_service(arguments, heartbeat)
    _enter(heartbeat, "beginning to answer calls")
    threading.Thread(
        target=_answer_calls, args=(service, arguments, heartbeat), name="calls", daemon=True
    ).start()
    return painter


def _enter(heartbeat: Heartbeat | None, step: str, *, at_most: float = STEP_SECONDS) -> None:
    if heartbeat is not None:
        heartbeat.enter(step, at_most=at_most)


def _painter_and_service(
    arguments: argparse.Namespace, heartbeat: Heartbeat | None
) -> tuple[Painter, WorkerService]:
    """Loads the network onto the device and makes the painter and the service.

    Raises:
        ValueError: there is no such device.
        WeightsError: the weights cannot be loaded.
    """
    _enter(heartbeat, "looking for devices")
    name, others = arguments.device, []
    if name == "auto":
        name, *others = available_devices()
    device = see_only(name, _earlier_gpu(arguments))
    check_device(device, name)
    _remember_gpu(arguments, lasting_name(device))
    weights = _weights(arguments, heartbeat)
    if device == "cpu":
        level = logging.INFO if kernels.loaded() else logging.WARNING
        _log.log(level, "painting on the CPU kernels=%r", kernels.description())
    _enter(heartbeat, f"preparing the device {name}")
    network = Network(weights).to(device)
    auto_precision = fastest_precision(device)
    paces = Paces(measured_speeds(network, precision_seconds(device)))
    footprint = measured_footprint(network)
    # After the network is loaded, because the free memory is for the jobs.
    memory = _free_memory(arguments, name, network.device)
    turn_file = None if arguments.turn_file is None else TurnFile(arguments.turn_file)
    painter = Painter(memory.jobs, turn_file, memory.now)
    service = WorkerService(
        painter,
        device=pb.Device(
            name=name,
            description=describe_device(device),
            auto_precision=_PRECISIONS[auto_precision],
            memory_bytes=memory.jobs,
        ),
        equipment=Equipment(network, auto_precision, TargetCache(memory.cache), paces, footprint),
        other_devices=others,
        max_resident=arguments.max_resident,
    )
    return painter, service


@dataclasses.dataclass(frozen=True)
class _Memory:
    """The free memory of a device, in bytes.

    Attributes:
        jobs: for the jobs.
        cache: for the cache of style targets.
        now: returns what other processes leave of the first; None on a device of which this is not known.
    """

    jobs: int
    cache: int
    now: Callable[[], int] | None


def _free_memory(arguments: argparse.Namespace, name: str, device: torch.device) -> _Memory:
    """Divides the free memory of a device.

    Args:
        arguments: arguments of the process.
        name: the device's name for people.
        device: the device.
    """
    free = available_memory(device)
    if device.type == "cpu":
        free //= arguments.cpu_share
    cache = min(CACHE_BYTES, free // _CACHE_SHARE)
    jobs = free - cache
    now = None
    if measures_memory(device):
        # The network and the cache, which count as free there.
        own = free_gpu_bytes(device) - jobs

        def now() -> int:
            return free_gpu_bytes(device) - own

    if arguments.memory is not None:
        if arguments.memory << 20 > jobs:
            _log.warning(
                "--memory exceeds the free memory, which is used instead device=%s wanted_mib=%d free_mib=%d",
                name,
                arguments.memory,
                jobs >> 20,
            )
        jobs = min(jobs, arguments.memory << 20)
    return _Memory(jobs, cache, now)


def _earlier_gpu(arguments: argparse.Namespace) -> str | None:
    """Returns the lasting name of the GPU that the process before this one had; None if there was none."""
    with contextlib.suppress(OSError):
        if arguments.socket is not None:
            return str(_gpu_file(arguments).read_text(encoding="ascii"))
    return None


def _remember_gpu(arguments: argparse.Namespace, name: str | None) -> None:
    """Remembers the lasting name of the GPU for the process after this one, if it can be written."""
    if arguments.socket is not None and name is not None:
        with contextlib.suppress(OSError):
            _gpu_file(arguments).write_text(name, encoding="ascii")


def _gpu_file(arguments: argparse.Namespace) -> Path:
    path: Path = arguments.socket.with_suffix(".gpu")
    return path


def _weights(arguments: argparse.Namespace, heartbeat: Heartbeat | None) -> Weights:
    """Loads the weights.

    Raises:
        WeightsError: the weights cannot be loaded.
    """
    if arguments.download and arguments.weights in (None, "vgg19") and not vgg19_cache_path().exists():
        # Without a limit of time, because a slow download may take long and one that stalls fails by itself.
        _enter(heartbeat, "downloading weights", at_most=math.inf)
    else:
        _enter(heartbeat, "loading weights")
    if arguments.weights is None:
        return load_vgg19_or_builtin(download=arguments.download)
    return load_weights(arguments.weights, download=arguments.download)


def _answer_calls(service: WorkerService, arguments: argparse.Namespace, heartbeat: Heartbeat | None) -> None:
    try:
        asyncio.run(answer(service, arguments, None if heartbeat is None else heartbeat.stop))
    except Exception:
        _log.exception("the worker can no longer answer calls")
    # Without this thread the process is useless; the fleet starts another.
    os._exit(1)
