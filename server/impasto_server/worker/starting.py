"""The start of a worker, before it paints: it loads the network and begins to answer calls."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import threading

import torch

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.devices import (
    available_devices,
    check_device,
    describe_device,
    fastest_precision,
    free_gpu_bytes,
    keep_freed_memory,
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
    device = see_only(name)
    check_device(device, name)
    weights = _weights(arguments, heartbeat)
    _enter(heartbeat, f"preparing the device {name}")
    network = Network(weights).to(device)
    auto_precision = fastest_precision(device)
    paces = Paces(measured_speeds(network, precision_seconds(device)))
    footprint = measured_footprint(network)
    # Measured after the network is loaded, because the free memory is for the jobs.
    free_bytes = available_memory(network.device)
    if network.device.type == "cpu":
        free_bytes //= arguments.cpu_share
    cache_bytes = min(CACHE_BYTES, free_bytes // _CACHE_SHARE)
    memory_bytes = free_bytes - cache_bytes
    if arguments.memory is not None:
        if arguments.memory << 20 > memory_bytes:
            _log.warning(
                "--memory exceeds the free memory, which is used instead device=%s wanted_mib=%d free_mib=%d",
                name,
                arguments.memory,
                memory_bytes >> 20,
            )
        memory_bytes = min(memory_bytes, arguments.memory << 20)
    turn_file = None if arguments.turn_file is None else TurnFile(arguments.turn_file)
    memory_now = None
    if network.device.type == "cuda":
        taken = free_gpu_bytes(network.device) - free_bytes + cache_bytes
        memory_now = lambda: free_gpu_bytes(network.device) - taken  # noqa: E731
    painter = Painter(memory_bytes, turn_file, memory_now)
    service = WorkerService(
        painter,
        device=pb.Device(
            name=name,
            description=describe_device(device),
            auto_precision=_PRECISIONS[auto_precision],
            memory_bytes=memory_bytes,
        ),
        equipment=Equipment(network, auto_precision, TargetCache(cache_bytes), paces, footprint),
        other_devices=others,
        max_resident=arguments.max_resident,
    )
    return painter, service


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
