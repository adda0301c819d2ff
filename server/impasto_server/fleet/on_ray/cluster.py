"""A connection to a Ray cluster, in the broker's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions
import ray.util
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from impasto_server.fleet.on_ray.actor import WorkerActor, version
from impasto_server.temporary import TemporaryFolder

_CONCURRENT_CALLS = 1000
"""Maximum calls of one actor at a time. Each gateway, and each that was killed, waits in a few."""
_LEAVE_SECONDS = 2.0


class WrongVersion(Exception):
    """An actor runs another version of this program."""


def kind_of(error: Exception) -> str:
    """Returns what an error means for a worker.

    Returns:
        "unavailable": try again, the actor is being restarted or cannot be reached. "lost": it will not come
        back. "unknown": the cluster has no actor of this name, perhaps because its head has been started anew
        and has forgotten everything. "failed": anything else.
    """
    if isinstance(error, (ray.exceptions.ActorUnavailableError, ray.exceptions.ActorUnschedulableError)):
        return "unavailable"
    if isinstance(error, (ray.exceptions.RayActorError, WrongVersion)):
        return "lost"
    if isinstance(error, _NoActor):
        return "unknown"
    return "failed"


class _NoActor(Exception):
    """There is no actor of this name."""


class Cluster:
    """A cluster, seen from a driver. Each public coroutine is one request of the gateway."""

    def __init__(self, address: str, namespace: str) -> None:
        """
        Args:
            address: auto, HOST:PORT, ray://HOST:PORT; or local, to start a cluster on this machine.
            namespace: of the actors.

        Raises:
            Exception: there is no cluster, or its version of Ray or Python is another.
        """
        common: dict[str, Any] = {
            "namespace": namespace,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        self._folder: TemporaryFolder | None = None
        if address == "local":
            # Ray never removes its own folder. Its sockets' paths are long, so this one must be short.
            self._folder = TemporaryFolder("impasto-ray-", "/tmp")
            ray.init(address="local", include_dashboard=False, _temp_dir=str(self._folder.path), **common)
        else:
            ray.init(address=address, **common)
        self._is_client = address.startswith("ray://")
        self._worker = ray.remote(WorkerActor)

    @property
    def description(self) -> str:
        """Describes the connection."""
        return f"Ray {ray.__version__}"

    def is_lost(self, error: Exception) -> bool:
        """Whether an error means that this connection will never work again.

        A driver of Ray ends its process then. A client of Ray (ray://) only fails each request.
        """
        return not ray.is_initialized() or (self._is_client and isinstance(error, ConnectionError))

    def leave(self) -> None:
        """Withdraws what was asked for, and disconnects."""
        with contextlib.suppress(Exception):
            if self._is_client:
                ray.get(_as_task(_request).remote([]), timeout=_LEAVE_SECONDS)
            else:
                _request([])
        ray.shutdown()
        if self._folder is not None:
            self._folder.remove()

    async def census(self) -> dict[str, Any]:
        """Returns `nodes`, the machines, and `actors`, the names of the actors of this namespace."""
        found: dict[str, Any] = await self._on_cluster(take_census)
        return found

    async def create(self, name: str, node: str, ask: Mapping[str, Any]) -> None:
        """Makes an actor, unless there is one of this name.

        Args:
            name: of the actor.
            node: ID of the node to make it on. After the node's end it may be anywhere.
            ask: `gpu`, `cpu`, `memory` in bytes, and `custom`.
        """
        self._worker.options(
            name=name,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_concurrency=_CONCURRENT_CALLS,
            num_gpus=ask["gpu"],
            num_cpus=ask["cpu"],
            memory=ask["memory"] or None,
            resources=dict(ask["custom"]),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        ).remote()

    async def start(self, name: str, order: Mapping[str, Any], give_up: str) -> dict[str, Any]:
        """See `WorkerActor.start`.

        Raises:
            WrongVersion: the actor has another version; it is removed.
        """
        actor = await self._actor(name)
        theirs = await actor.version.remote()
        if theirs != version():
            await self.release(name)
            raise WrongVersion(
                f"the machine has impasto-server {theirs}, and the gateway {version()}; install the same "
                "version everywhere"
            )
        started: dict[str, Any] = await actor.start.remote(order, give_up)
        return started

    async def contact(self, name: str, process: str) -> dict[str, Any]:
        """See `WorkerActor.contact`."""
        found: dict[str, Any] = await (await self._actor(name)).contact.remote(process)
        return found

    async def step(self, name: str, process: str) -> str:
        """See `WorkerActor.step`."""
        step: str = await (await self._actor(name)).step.remote(process)
        return step

    async def wait(self, name: str, process: str) -> dict[str, Any]:
        """See `WorkerActor.wait`."""
        ended: dict[str, Any] = await (await self._actor(name)).wait.remote(process)
        return ended

    async def release(self, name: str) -> None:
        """Removes an actor with its process. Does nothing if there is none."""
        with contextlib.suppress(_NoActor):
            actor = await self._actor(name)
            await asyncio.to_thread(ray.kill, actor, no_restart=True)

    async def request(self, bundles: Sequence[Mapping[str, int]]) -> None:
        """Tells the autoscaler how much the cluster must have room for.

        Args:
            bundles: resources by Ray's names, each for one worker.
        """
        await self._on_cluster(_request, bundles)

    async def _on_cluster(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Does something that needs a view of the cluster, which a client of Ray does not have itself."""
        if self._is_client:
            return await _as_task(work).remote(*arguments)
        return await asyncio.to_thread(work, *arguments)

    async def _actor(self, name: str) -> Any:
        try:
            return await asyncio.to_thread(ray.get_actor, name)
        except ValueError as error:
            raise _NoActor(f"there is no actor {name}") from error


def _as_task(work: Callable[..., Any]) -> Any:
    return ray.remote(num_cpus=0)(work)


def _request(bundles: Sequence[Mapping[str, int]]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle) for bundle in bundles])


def take_census() -> dict[str, Any]:
    """Returns the nodes that are alive, and the names of the actors of this namespace."""
    # Ray has no public function for what is free on each node and for the nodes that it drains.
    from ray._private.state import available_resources_per_node, state

    free, draining = available_resources_per_node(), state.get_draining_nodes()
    nodes = [
        {
            "id": node["NodeID"],
            "name": node["NodeName"],
            "host": node["NodeManagerHostname"],
            "address": node["NodeManagerAddress"],
            "resources": node["Resources"],
            "free": free.get(node["NodeID"], {}),
            "draining": node["NodeID"] in draining,
        }
        for node in ray.nodes()
        if node["Alive"]
    ]
    return {"nodes": nodes, "actors": ray.util.list_named_actors()}
