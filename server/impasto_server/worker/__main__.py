"""A worker's process: `python -m impasto_server.worker`. Started by the fleet, not by people."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
import threading
from pathlib import Path

import grpc.aio
import PIL.Image
import torch

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2_grpc
from impasto_server.engine.devices import (
    available_devices,
    check_device,
    describe_device,
    fastest_precision,
    keep_freed_memory,
)
from impasto_server.engine.memory import available_memory
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS
from impasto_server.engine.weights import Weights, WeightsError, load_vgg19_or_builtin, load_weights
from impasto_server.logs import FORMATS, LEVELS, log_to_stderr
from impasto_server.worker.painter import DeviceLost, Painter
from impasto_server.worker.service import WorkerService
from impasto_server.worker.turn_file import TurnFile

_log = logging.getLogger(__name__)

_OPTIONS = [
    # The gateway has checked the sizes.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
DEVICE_LOST = os.EX_SOFTWARE
"""What the process exits with after an error that leaves it without its device."""
_PRECISIONS = {"float32": pb.PRECISION_FLOAT32, "bfloat16": pb.PRECISION_BFLOAT16}


def main() -> None:
    """Loads the network, paints on this thread and answers calls on another, until stdin closes."""
    arguments = _parse_arguments()
    log_to_stderr("worker", arguments.log_level, arguments.log_format)
    _end_with_stdin(arguments.socket)
    PIL.Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
    keep_freed_memory()
    torch.set_num_threads(max(1, torch.get_num_threads() // arguments.cpu_share))
    try:
        painter, service = _painter_and_service(arguments)
    except (WeightsError, ValueError) as error:
        # The fleet reads the reason here, and takes the code to mean that it need not try again.
        print(error, flush=True)
        sys.exit(os.EX_CONFIG)
    threading.Thread(
        target=_answer_calls, args=(service, arguments.socket), name="calls", daemon=True
    ).start()
    try:
        painter.work()
    except DeviceLost as error:
        _log.critical("device lost, the process ends device=%s error=%r", arguments.device, str(error))
        # At once: what still holds the device might wait for it for ever.
        os._exit(DEVICE_LOST)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m impasto_server.worker", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="path of the Unix socket to listen on")
    parser.add_argument("--device", required=True, help='name of a device, or "auto"')
    parser.add_argument("--weights", help="vgg19, builtin or a file; else vgg19 or, failing that, builtin")
    parser.add_argument("--download", action="store_true", help="download VGG-19 if it is not in the cache")
    parser.add_argument("--max-resident", type=int, required=True, help="jobs on the device at a time")
    parser.add_argument("--cpu-share", type=int, default=1, help="workers that share the CPU's threads")
    parser.add_argument(
        "--memory", type=int, metavar="MIB", help="memory that jobs may use, at most; else all that is free"
    )
    parser.add_argument("--turn-file", type=Path, help="file to name in whose job has the device")
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    return parser.parse_args()


def _end_with_stdin(socket: Path) -> None:
    """Ends this process when the fleet's end of the pipe closes, however the fleet ended."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        # The fleet's folder, which it cannot remove any more if it was killed.
        shutil.rmtree(socket.parent, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _painter_and_service(arguments: argparse.Namespace) -> tuple[Painter, WorkerService]:
    """
    Raises:
        ValueError: there is no such device.
        WeightsError: the weights cannot be had.
    """
    devices = available_devices() if arguments.device == "auto" else [arguments.device]
    device = devices[0]
    check_device(device)
    network = Network(_weights(arguments)).to(device)
    auto_precision = fastest_precision(device)
    # Once the network is there: what is free now is for the jobs.
    memory_bytes = available_memory(torch.device(device)) // arguments.cpu_share
    if arguments.memory is not None:
        memory_bytes = min(memory_bytes, arguments.memory << 20)
    turn_file = None if arguments.turn_file is None else TurnFile(arguments.turn_file)
    painter = Painter(memory_bytes, turn_file)
    service = WorkerService(
        painter,
        device=pb.Device(
            name=device,
            description=describe_device(device),
            auto_precision=_PRECISIONS[auto_precision],
            memory_bytes=memory_bytes,
        ),
        network=network,
        auto_precision=auto_precision,
        other_devices=devices[1:],
        max_resident=arguments.max_resident,
    )
    return painter, service


def _weights(arguments: argparse.Namespace) -> Weights:
    if arguments.weights is None:
        return load_vgg19_or_builtin(download=arguments.download)
    return load_weights(arguments.weights, download=arguments.download)


def _answer_calls(service: WorkerService, socket: Path) -> None:
    try:
        asyncio.run(_serve(service, socket))
    except Exception:
        _log.exception("calls cannot be answered")
    # Without this thread the process is of no use; the fleet starts another.
    os._exit(1)


async def _serve(service: WorkerService, socket: Path) -> None:
    server = grpc.aio.server(options=_OPTIONS)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
