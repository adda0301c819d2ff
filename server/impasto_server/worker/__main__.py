"""A worker's process: `python -m impasto_server.worker`. Started by the fleet, not by people."""

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
from impasto_server.worker.heartbeat import Heartbeat

_log = logging.getLogger(__name__)

DEVICE_LOST = os.EX_SOFTWARE
"""What the process exits with after an error that leaves it without its device."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Loads the network, paints on this thread and answers calls on another, until stdin closes."""
    arguments = _parse_arguments()
    log_to_stderr("worker", arguments.log_level, arguments.log_format)
    _end_with_stdin(arguments.socket)
    _be_continued_when_the_fleet_dies()
    heartbeat = None
    if arguments.heartbeat_file is not None:
        heartbeat = Heartbeat(arguments.heartbeat_file, "importing torch")
    # Only now, for torch takes seconds to import, in which the process can hang as well.
    from impasto_server.engine.weights import WeightsError
    from impasto_server.worker.painter import DeviceLost
    from impasto_server.worker.starting import start

    try:
        painter = start(arguments, heartbeat)
    except (WeightsError, ValueError) as error:
        # The fleet reads the reason here, and takes the code to mean that it need not try again.
        print(error, flush=True)
        sys.exit(os.EX_CONFIG)
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
    parser.add_argument(
        "--heartbeat-file", type=Path, help="file to write every second, until calls are answered"
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    return parser.parse_args()


def _end_with_stdin(socket: Path) -> None:
    """Ends this process when the fleet's end of the pipe closes, however the fleet ended."""

    def wait() -> None:
        # A pipe that cannot be read says no more than one that has closed.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        # The fleet's folder, which it cannot remove any more if it was killed.
        shutil.rmtree(socket.parent, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _be_continued_when_the_fleet_dies() -> None:
    """Has Linux continue this process when its parent dies: if it is stopped, it cannot see stdin's end.

    Not killed: it has a folder to remove. And Linux takes the end of the thread that started this process
    for its parent's death, which a signal that does nothing to a running process makes harmless.
    """
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT)) != 0:
        _log.warning("a worker that is stopped will outlive its gateway: prctl has failed")


if __name__ == "__main__":
    main()
