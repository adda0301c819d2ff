"""What runs on the machines of a Ray cluster: an actor that starts a worker's process and watches it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.util

from impasto_server.fleet.local_process import LocalProcess, ProcessFiles
from impasto_server.fleet.program import Exit
from impasto_server.fleet.start_watch import START_SECONDS
from impasto_server.temporary import TemporaryFolder

UNUSED_SECONDS = 600.0
"""Time without a gateway after which a worker ends and its actor gives the device back."""
_LOOK_SECONDS = 0.05
_UNUSED_LOOK_SECONDS = 5.0


def version() -> str:
    """The version of this program, which has to be the same on all machines."""
    return importlib.metadata.version("impasto-server")


class WorkerActor:
    """Starts one worker's process at a time.

    It knows nothing about jobs. A process is named by its PID and its start, so that a request about a
    process that has ended cannot meet its successor.
    """

    def __init__(self, unused_seconds: float = UNUSED_SECONDS) -> None:
        self._unused_seconds = unused_seconds
        self._version = version()
        self._folder = TemporaryFolder("impasto-run-")
        self._process: LocalProcess | None = None
        self._name = ""
        self._order: Mapping[str, Any] = {}
        self._exits: dict[str, Exit] = {}
        self._turn = asyncio.Lock()
        self._used = time.monotonic()
        threading.Thread(target=self._end_when_unused, name="unused", daemon=True).start()

    async def version(self) -> str:
        """Returns the version of the program that this actor runs, which need not be the installed one any
        more."""
        return self._version

    async def start(self, order: Mapping[str, Any], give_up: str) -> dict[str, Any]:
        """Starts a process, unless one with the same order is running.

        Args:
            order: `module`, `arguments`, `device`, `cpus` (the cores that were asked for, or 0) and
            `certificate` (the
                gateway's, PEM).
            give_up: the name of a process that the gateway has given up, which is killed first; or "".

        Returns:
            `name` of the process, `node` on which it runs, its `gpus`, and whether it was `taken_up`.
        """
        self._used = time.monotonic()
        async with self._turn:
            running = self._process
            if running is not None and self._name not in self._exits:
                if self._name != give_up and self._order == order:
                    return self._told(taken_up=True)
                running.kill()
                await running.wait()
            self._order = order
            await self._spawn(order)
            return self._told(taken_up=False)

    async def contact(self, name: str) -> dict[str, Any]:
        """Waits until a process answers calls.

        Returns:
            Its `address` and `certificate`; {} if it has ended before.
        """
        while name == self._name and name not in self._exits:
            with contextlib.suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads(self._contact_file.read_text(encoding="ascii"))
                assert self._process is not None
                self._process.started()
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        return {}

    async def step(self, name: str) -> str:
        """Returns the step of the start that a process has reported last."""
        return self._process.step if self._process is not None and name == self._name else ""

    async def wait(self, name: str) -> dict[str, Any]:
        """Waits for the end of a process, and returns how it ended; see `Exit`.

        A process that this actor does not know was started before the actor's own process died, and died
        with it.
        """
        while name == self._name and name not in self._exits:
            self._used = time.monotonic()
            assert self._process is not None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), _UNUSED_LOOK_SECONDS)
        end = self._exits.get(name) or Exit(None, "its supervisor on the machine died", blames=False)
        return vars(end)

    def _told(self, *, taken_up: bool) -> dict[str, Any]:
        node = ray.get_runtime_context().get_node_id()
        return {"name": self._name, "node": node, "gpus": list(ray.get_gpu_ids()), "taken_up": taken_up}

    @property
    def _contact_file(self) -> Path:
        return self._folder.path / "worker.contact"

    async def _spawn(self, order: Mapping[str, Any]) -> None:
        folder = self._folder.path
        self._contact_file.unlink(missing_ok=True)
        certificate = folder / "gateway.pem"
        certificate.write_text(order["certificate"], encoding="ascii")
        # Ray's own wish for the number of threads; a worker has an argument for it.
        os.environ.pop("OMP_NUM_THREADS", None)
        files = ProcessFiles.beside(folder / "worker", START_SECONDS)
        arguments = ["--listen", ray.util.get_node_ip_address(), "--gateway-certificate", str(certificate)]
        arguments += ["--contact-file", str(self._contact_file), "--device", order["device"]]
        arguments += ["--end-when-unused", str(self._unused_seconds)]
        if cpus := int(order["cpus"]):
            arguments += ["--threads", str(cpus), "--cpu-share", str(max(1, _cpus_of_node() // cpus))]
        process = await LocalProcess.start(order["module"], files, [*arguments, *order["arguments"]], "")
        name = f"{process.pid}@{time.time_ns()}"
        self._process, self._name = process, name
        asyncio.get_running_loop().create_task(self._note_end(process, name))

    async def _note_end(self, process: LocalProcess, name: str) -> None:
        # Only the last is asked for.
        self._exits = {name: await process.wait()}

    def _end_when_unused(self) -> None:
        """Gives the device back once no gateway has asked for anything and no process runs."""
        while True:
            time.sleep(min(_UNUSED_LOOK_SECONDS, self._unused_seconds / 4))
            runs = self._process is not None and self._name not in self._exits
            if not runs and time.monotonic() - self._used > self._unused_seconds:
                self._folder.remove()
                ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
                return


def _cpus_of_node() -> int:
    """Returns the number of cores of this node, as the cluster counts them."""
    own = ray.get_runtime_context().get_node_id()
    return next((int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["NodeID"] == own), 1)
