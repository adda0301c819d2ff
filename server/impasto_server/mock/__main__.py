"""The mock worker's process: `python -m impasto_server.mock`. Started by the fleet, not by people."""

from __future__ import annotations

import asyncio

from impasto_server.logs import log_to_stderr
from impasto_server.mock.service import MockWorker
from impasto_server.worker.__main__ import (
    argument_parser,
    be_continued_when_the_fleet_dies,
    end_with_stdin,
    private_folder,
)
from impasto_server.worker.answering import answer
from impasto_server.worker.heartbeat import Heartbeat
from impasto_server.worker.turn_file import TurnFile


def main() -> None:
    """Answer calls until stdin closes. Of a real worker's arguments, those about painting are ignored."""
    parser = argument_parser()
    parser.add_argument("--evaluation-time", type=float, required=True, help="seconds of an evaluation")
    arguments = parser.parse_args()
    log_to_stderr("worker", arguments.log_level, arguments.log_format)
    folder = private_folder(arguments)
    end_with_stdin(folder)
    be_continued_when_the_fleet_dies()
    Heartbeat(arguments.heartbeat_file, "starting").stop()
    worker = MockWorker(arguments.evaluation_time, TurnFile(arguments.turn_file), folder)
    asyncio.run(answer(worker, arguments, work=worker.work))


if __name__ == "__main__":
    main()
