"""A worker's process on a machine of a Ray cluster, started by an actor there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc.aio

from impasto_server.fleet.local_process import CHANNEL_OPTIONS
from impasto_server.fleet.on_ray.broker import Broker, BrokerGone, ClusterError
from impasto_server.fleet.program import Exit, PlaceLost
from impasto_server.identity import Identity

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.3
_STEP_SECONDS = 10.0


class RemoteLauncher:
    """Starts a worker's process through its actor. See `Launcher`.

    Attributes:
        gpus: names of the GPUs that the actor has been given; empty before the first start.
    """

    def __init__(
        self,
        broker: Broker,
        actor: str,
        identity: Identity,
        *,
        module: str,
        cpus: float,
        machine_of: Callable[[str], str],
    ) -> None:
        """
        Args:
            broker: reaches the actor.
            actor: name of the actor.
            identity: of the gateway.
            module: the program that the process runs.
            cpus: number of cores that were asked for; 0 for none in particular.
            machine_of: returns the name of a machine for the ID of its node.
        """
        self.gpus: Sequence[str] = ()
        self._broker = broker
        self._actor = actor
        self._identity = identity
        self._module = module
        self._cpus = cpus
        self._machine_of = machine_of
        # Name of the process that must not be taken up again.
        self._given_up = ""

    async def launch(self, device: str, arguments: Sequence[str]) -> RemoteProcess:
        """See `Launcher`."""
        order = {
            "module": self._module,
            "arguments": list(arguments),
            "device": device,
            "cpus": self._cpus,
            "certificate": self._identity.certificate.decode(),
        }
        try:
            started = await self.ask("start", order=order, give_up=self._given_up)
        except ClusterError as error:
            if error.kind == "lost":
                raise PlaceLost(str(error)) from error
            raise OSError(str(error)) from error
        self.gpus = [str(gpu) for gpu in started["gpus"]]
        machine = self._machine_of(started["node"])
        event = "worker taken up" if started["taken_up"] else "worker started"
        _log.info(f"{event} machine=%s actor=%s process=%s", machine, self._actor, started["name"])
        return RemoteProcess(self, self._identity, started["name"], machine)

    async def ask(self, method: str, **arguments: Any) -> Any:
        """Asks the actor, again and again while it cannot be reached.

        Raises:
            ClusterError: the actor is lost, or fails.
        """
        while True:
            try:
                return await self._broker.call(method, name=self._actor, **arguments)
            except BrokerGone:
                await self._broker.connected.wait()
            except ClusterError as error:
                if error.kind != "unavailable":
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    def give_up(self, process: str) -> None:
        """Has a process killed: at once if its machine can be reached, or else before the next is started."""
        self._given_up = process


class RemoteProcess:
    """A worker's process on another machine. See `Program`."""

    def __init__(self, launcher: RemoteLauncher, identity: Identity, name: str, machine: str) -> None:
        """
        Args:
            launcher: has started it.
            identity: of the gateway.
            name: of the process.
            machine: that it runs on.
        """
        self.machine = machine
        self.step = "its start"
        self._launcher = launcher
        self._identity = identity
        self._name = name
        self._killed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def connect(self) -> grpc.aio.Channel:
        """See `Program`. Returns once the process answers calls."""
        telling = self._background(self._keep_step())
        try:
            contact: Mapping[str, str] = await self._launcher.ask("contact", process=self._name)
        except ClusterError as error:
            _log.warning("worker cannot be found machine=%s why=%r", self.machine, str(error))
            contact = {}
        finally:
            telling.cancel()
        if not contact:
            # It has ended, which `wait` tells.
            await asyncio.Event().wait()
        return self._identity.channel(contact["address"], contact["certificate"].encode(), CHANNEL_OPTIONS)

    def started(self) -> None:
        """See `Program`. The actor watches the start."""

    async def wait(self) -> Exit:
        """See `Program`."""
        ending = self._background(self._await_end())
        killed = self._background(self._killed.wait())
        try:
            await asyncio.wait({ending, killed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            killed.cancel()
            ending.cancel()
        return (
            ending.result()
            if ending.done() and not ending.cancelled()
            else Exit(None, "killed", blames=False)
        )

    def kill(self) -> None:
        """See `Program`."""
        if not self._killed.is_set():
            self._killed.set()
            self._launcher.give_up(self._name)

    async def leave(self, *, answers: bool) -> None:
        """See `Program`. The process stays for a later gateway."""
        for task in list(self._tasks):
            task.cancel()

    async def _await_end(self) -> Exit:
        try:
            return Exit(**await self._launcher.ask("wait", process=self._name))
        except ClusterError as error:
            return Exit(None, f"its actor is lost: {error}", blames=False)

    async def _keep_step(self) -> None:
        while True:
            await asyncio.sleep(_STEP_SECONDS)
            self.step = await self._launcher.ask("step", process=self._name) or self.step

    def _background(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
