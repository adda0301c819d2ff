"""The worker's process, `python -m impasto_server.worker`. The fleet starts it, not people."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from impasto_server.logs import FORMATS, LEVELS, log_to_stderr
from impasto_server.worker.device_loss import end_without_device
from impasto_server.worker.heartbeat import Heartbeat

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Loads the network, then paints on this thread and answers calls on another until stdin closes."""
    arguments = argument_parser().parse_args()
    log_to_stderr("worker", arguments.log_level, arguments.log_format)
    end_with_stdin(private_folder(arguments))
    be_continued_when_the_fleet_dies()
    heartbeat = None
    if arguments.heartbeat_file is not None:
        heartbeat = Heartbeat(arguments.heartbeat_file, "importing torch")
    # Imported only now, because importing torch takes seconds and can hang; the heartbeat watches it.
    from impasto_server.engine.devices import is_device_lost
    from impasto_server.engine.weights import WeightsError
    from impasto_server.worker.painter import DeviceLost
    from impasto_server.worker.starting import start

    try:
        painter = start(arguments, heartbeat)
    except (WeightsError, ValueError) as error:
        # The fleet reads the reason from stdout. The exit code means that another try would not help.
        print(error, flush=True)
        sys.exit(os.EX_CONFIG)
    except RuntimeError as error:
        if is_device_lost(error):
            end_without_device(arguments.device, error)
        raise
    try:
        painter.work()
    except DeviceLost as error:
        end_without_device(arguments.device, error)


def argument_parser() -> argparse.ArgumentParser:
    """The arguments that the fleet gives a worker."""
    parser = argparse.ArgumentParser(prog="python -m impasto_server.worker", description=__doc__)
    _add_places(parser)
    parser.add_argument("--device", required=True, help='name of a device, or "auto" for the best one')
    parser.add_argument(
        "--weights", help="vgg19, builtin or a file (default: vgg19 if it is available, or else builtin)"
    )
    parser.add_argument("--download", action="store_true", help="download VGG-19 if it is not in the cache")
    parser.add_argument(
        "--max-resident", type=int, required=True, help="maximum number of jobs on the device at a time"
    )
    parser.add_argument(
        "--cpu-share", type=int, default=1, help="number of workers that share the CPU (default: 1)"
    )
    parser.add_argument(
        "--threads", type=int, help="threads on the CPU (default: all cores, divided by --cpu-share)"
    )
    parser.add_argument(
        "--memory", type=int, metavar="MIB", help="maximum memory for jobs, in MiB (default: all free memory)"
    )
    parser.add_argument("--turn-file", type=Path, help="file for the name of the job that has the device")
    parser.add_argument(
        "--heartbeat-file", type=Path, help="file to write every second until the worker answers calls"
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="minimum level of log lines")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="format of log lines")
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where to answer calls."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="path of the Unix socket to listen on")
    where.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="address of this machine; listen there on a free TCP port, with TLS",
    )
    parser.add_argument(
        "--gateway-certificate",
        type=Path,
        help="file of the only certificate that may call, for --listen (PEM)",
    )
    parser.add_argument(
        "--contact-file",
        type=Path,
        help="file to write the own address and certificate to, for --listen (JSON)",
    )
    parser.add_argument(
        "--end-when-unused", type=float, metavar="SECONDS", help="end after this time without any call"
    )


def private_folder(arguments: argparse.Namespace) -> Path:
    """Returns the folder that the fleet has made for this worker."""
    path: Path = arguments.socket or arguments.contact_file
    return path.parent


def end_with_stdin(folder: Path) -> None:
    """Ends this process when the fleet's end of the pipe closes, even if the fleet was killed.

    Args:
        folder: the folder that the fleet made for this process, which it cannot remove if it was killed.
    """

    def wait() -> None:
        # A pipe that cannot be read counts as closed.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def be_continued_when_the_fleet_dies() -> None:
    """Makes Linux send SIGCONT to this process when its parent dies.

    A stopped process cannot notice the end of stdin. The signal is not SIGKILL, because the process has to
    remove a folder first, and because Linux also sends the signal when only the thread that started this
    process ends; SIGCONT does nothing to a running process.
    """
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT)) != 0:
        _log.warning("prctl failed: if this worker is stopped (SIGSTOP), it will outlive its gateway")


if __name__ == "__main__":
    main()
