"""The gateway's side of one worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.local_process import LocalLauncher
from impasto_server.fleet.start_watch import START_SECONDS, StartWatch
from impasto_server.fleet.worker_process import WorkerDied, WorkerProcess
from impasto_server.v1 import worker_pb2
from support.samples import stylize_request
from support.server_process import is_alive, running_server, until
from support.worker_process import CONTENT, STYLE, named, samples_of, with_pictures

ARGUMENTS = ["--weights", "builtin", "--max-resident", "8", "--log-level", "info"]


def begin(name: str) -> worker_pb2.Begin:
    spec = stylize_request(recipe=pb.Recipe(evaluations=100_000)).spec
    spec.content.CopyFrom(named(CONTENT))
    spec.styles[0].image.CopyFrom(named(STYLE))
    return worker_pb2.Begin(job_name=name, spec=spec, tenant="one", tenant_weight=1.0)


def run(worker: WorkerProcess, name: str) -> AsyncGenerator[worker_pb2.RunResponse, None]:
    message, pictures = with_pictures(begin(name), (CONTENT, STYLE))
    return worker.run(message, samples_of(message, pictures), None)


@pytest.mark.slow
def test_every_run_reports_the_death_of_its_worker_however_late_it_is_noticed(tmp_path: Path) -> None:
    """As if the gateway were busy: it notices the ends of the process and of the calls at the same time."""

    async def check() -> None:
        changed = asyncio.Event()
        worker = WorkerProcess(
            "cpu",
            key="worker-0",
            launcher=LocalLauncher(tmp_path / "socket", start_timeout=START_SECONDS),
            arguments=ARGUMENTS,
            changed=changed.set,
            timeout=60.0,
            turn_timeout=600.0,
        )
        keeper = asyncio.create_task(worker.keep_alive())
        try:
            for _ in range(2):
                while worker.info is None:
                    await changed.wait()
                    changed.clear()
                progressed = asyncio.Semaphore(0)

                async def paint(name: str, progressed: asyncio.Semaphore = progressed) -> None:
                    async for response in run(worker, name):
                        if response.HasField("progress"):
                            progressed.release()

                tasks = [asyncio.create_task(paint(f"jobs/{number}")) for number in range(4)]
                for _ in range(8):
                    await progressed.acquire()
                assert worker.info is not None
                os.kill(worker.info.process_id, signal.SIGKILL)
                time.sleep(0.3)  # noqa: ASYNC251 - keeps the event loop busy
                for ending in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(ending, WorkerDied), repr(ending)
        finally:
            keeper.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeper

    asyncio.run(check())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stopped worker waits to be continued")
@pytest.mark.parametrize("is_ready", [True, False])
def test_a_stopped_worker_does_not_outlive_a_gateway_that_is_killed(is_ready: bool) -> None:
    with running_server("--port", "0", "--device", "cpu", "--weights", "builtin") as server:
        if is_ready:
            server.ready()
        (worker,) = until(server.worker_pids, bool)
        if not is_ready:
            (file,) = server.folder.glob("impasto-run-*/*.start")
            until(lambda: StartWatch(file, 1.0).step, lambda step: step == "importing torch")
        os.kill(worker, signal.SIGSTOP)
        server.process.kill()
        server.process.wait()
        try:
            until(lambda: is_alive(worker), lambda alive: not alive)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        assert list(server.folder.iterdir()) == []
