"""What the fleet on Ray asks of a cluster: workers made, adopted, given back and drained. Without Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from impasto_server.fleet.fleet import Refused
from impasto_server.fleet.on_ray.ask import Ask
from impasto_server.fleet.on_ray.broker import ClusterError
from impasto_server.fleet.on_ray.fleet import RayFleet
from impasto_server.fleet.worker_process import ConfigurationError

SECONDS = 20.0


class Cluster:
    """Stands for the broker and the cluster behind it. Actors are made, and no process starts on them.

    Attributes:
        actors: the asks and nodes of the actors, by name.
        orders: of the processes to be started, by actor.
        requested: what the autoscaler was asked for last.
    """

    address = "test"
    trouble = ""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.connections = 1
        self.nodes = list(nodes)
        self.actors: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.requested: list[dict[str, int]] | None = None

    async def keep_alive(self) -> None:
        await asyncio.Event().wait()

    async def call(self, method: str, **arguments: Any) -> Any:
        return await getattr(self, f"_{method}")(**arguments)

    async def _census(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "actors": list(self.actors)}

    async def _create(self, name: str, node: str, ask: dict[str, Any]) -> None:
        self.actors[name] = {"node": node, "ask": ask}
        free = next(each["free"] for each in self.nodes if each["id"] == node)
        for resource, amount in Ask(**ask).as_ray().items():
            free[resource] -= amount

    async def _start(self, name: str, order: dict[str, Any], give_up: str) -> dict[str, Any]:
        self.orders[name] = order
        await asyncio.Event().wait()
        raise AssertionError

    async def _release(self, name: str) -> None:
        actor = self.actors.pop(name)
        free = next(each["free"] for each in self.nodes if each["id"] == actor["node"])
        for resource, amount in Ask(**actor["ask"]).as_ray().items():
            free[resource] += amount

    async def _request(self, bundles: list[dict[str, int]]) -> None:
        self.requested = bundles

    def places(self) -> list[str]:
        return sorted(actor["node"] for actor in self.actors.values())


def node(name: str, **resources: float) -> dict[str, Any]:
    about = {"id": name, "name": name, "host": name, "address": "192.0.2.1", "draining": False}
    return about | {"resources": dict(resources), "free": dict(resources)}


@contextlib.asynccontextmanager
async def fleet_on(cluster: Cluster, folder: Path | None = None, **settings: Any) -> AsyncIterator[RayFleet]:
    given: dict[str, Any] = {"ask": None, "min_workers": 0, "max_workers": None, "idle_seconds": 100.0}
    fleet = RayFleet(
        "auto", ["auto"], [], folder=folder, max_resident=2, worker_timeout=1.0, turn_timeout=1.0,
        **given | settings,
    )  # fmt: skip
    fleet._broker = cluster  # type: ignore[assignment]
    async with fleet:
        yield fleet


async def until(is_so: Callable[[], bool]) -> None:
    async def look() -> None:
        while not is_so():  # noqa: ASYNC110 - nobody tells when the fleet has looked at the cluster
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), SECONDS)


async def looks(number: int = 2) -> None:
    """Waits until the fleet has looked at the cluster some times: what has not happened by then does not."""
    await asyncio.sleep(1.2 * number)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_there_is_one_worker_for_each_job_as_far_as_the_machines_have_room() -> None:
    async def test() -> None:
        cluster = Cluster(node("head"), node("a", CPU=2.0), node("b", CPU=2.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0)) as fleet:
            assert fleet.takes_jobs, "the first job gets in"
            fleet.want(3)
            await until(lambda: len(cluster.actors) == 3)
            assert {cluster.places().count("a"), cluster.places().count("b")} == {1, 2}
            fleet.want(9)
            await until(lambda: cluster.requested == [{"CPU": 1}] * 9)
            assert fleet.wanted_workers() == (4, 9, 0)
            cluster.nodes.append(node("c", CPU=1.0))
            await until(lambda: cluster.places() == ["a", "a", "b", "b", "c"])

    run(test())


def test_the_number_of_workers_stays_between_the_limits() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", GPU=8.0, CPU=8.0))
        async with fleet_on(cluster, min_workers=2, max_workers=3) as fleet:
            assert not fleet.takes_jobs
            await until(lambda: cluster.requested == [{"GPU": 1}] * 2)
            fleet.want(7)
            await until(lambda: len(cluster.actors) == 3)
            await looks()
            assert len(cluster.actors) == 3
            assert cluster.requested == [{"GPU": 1}] * 3

    run(test())


def test_an_idle_worker_beyond_the_minimum_is_given_back() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=4.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0), min_workers=1, idle_seconds=1.0) as fleet:
            fleet.want(3)
            await until(lambda: len(cluster.actors) == 3)
            fleet.want(0)
            await until(lambda: len(cluster.actors) == 1)
            await looks()
            assert len(cluster.actors) == 1
            assert cluster.requested == [{"CPU": 1}]

    run(test())


def test_by_default_a_worker_asks_for_all_cores_of_the_smallest_machine_or_for_a_gpu() -> None:
    async def test() -> None:
        cluster = Cluster(node("head"), node("a", CPU=4.0), node("b", CPU=16.0))
        async with fleet_on(cluster) as fleet:
            fleet.want(1)
            await until(lambda: bool(cluster.orders))
            (order,) = cluster.orders.values()
            assert (order["device"], order["cpus"]) == ("cpu", 4.0)
        cluster = Cluster(node("a", CPU=4.0), node("b", CPU=16.0, GPU=1.0))
        async with fleet_on(cluster) as fleet:
            fleet.want(1)
            await until(lambda: bool(cluster.orders))
            assert cluster.places() == ["b"]
            (order,) = cluster.orders.values()
            assert (order["device"], order["cpus"]) == ("cuda:0", 0.0)

    run(test())


def test_a_fleet_that_starts_again_takes_up_its_workers_with_the_same_orders(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=4.0), node("b", CPU=4.0))
        async with fleet_on(cluster, tmp_path / "ray") as fleet:
            fleet.want(2)
            await until(lambda: len(cluster.orders) == 2)
        orders, cluster.orders = cluster.orders, {}
        async with fleet_on(cluster, tmp_path / "ray"):
            await until(lambda: len(cluster.orders) == 2)
        assert cluster.orders == orders
        assert len(cluster.actors) == 2

    run(test())


def test_a_fleet_that_keeps_nothing_leaves_no_actors() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=4.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0)) as fleet:
            fleet.want(2)
            await until(lambda: len(cluster.actors) == 2)
        assert not cluster.actors

    run(test())


def test_a_drained_machine_gets_no_workers_until_it_is_undrained_even_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=1.0), node("b", CPU=1.0))
        async with fleet_on(cluster, tmp_path, ask=Ask(cpu=1.0), min_workers=2) as fleet:
            await until(lambda: cluster.places() == ["a", "b"])
            with pytest.raises(KeyError):
                fleet.drain("c")
            fleet.drain("a")
            await until(lambda: cluster.places() == ["b"])
            await until(lambda: cluster.requested == [{"CPU": 1}] * 2)
            assert {machine.name: machine.state for machine in await fleet.machines()} == {
                "a": "drained",
                "b": "joining",
            }
        cluster.nodes = [node("b", CPU=1.0)]
        cluster.actors = {}
        async with fleet_on(cluster, tmp_path, ask=Ask(cpu=1.0), min_workers=2) as fleet:
            await until(lambda: cluster.places() == ["b"])
            cluster.nodes.append(node("a", CPU=1.0))
            await looks()
            assert cluster.places() == ["b"]
            fleet.undrain("a")
            await until(lambda: cluster.places() == ["a", "b"])

    run(test())


def test_what_ray_drains_is_left_and_cannot_be_undrained() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=1.0), node("b", CPU=1.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0), min_workers=2) as fleet:
            await until(lambda: cluster.places() == ["a", "b"])
            cluster.nodes[0]["draining"] = True
            await until(lambda: cluster.places() == ["b"])
            with pytest.raises(Refused, match="Ray itself takes the machine 'a' out of use"):
                fleet.undrain("a")

    run(test())


def test_the_autoscaler_is_asked_again_after_the_broker_was_replaced() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=1.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0), min_workers=2):
            await until(lambda: cluster.requested == [{"CPU": 1}] * 2)
            # The old broker has withdrawn the request, and the next is connected before anyone notices.
            cluster.requested, cluster.connections = None, 2
            await until(lambda: cluster.requested == [{"CPU": 1}] * 2)

    run(test())


def test_a_cluster_without_room_is_told() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=2.0))
        async with fleet_on(cluster, ask=Ask(gpu=1.0, cpu=2.0), min_workers=1) as fleet:
            await until(lambda: bool(fleet.trouble))
            assert fleet.trouble.startswith(
                "no machine has room for a worker, which asks for GPU 1, CPU 2; see `ray status`"
            )

    run(test())


def test_a_machine_that_cannot_run_workers_is_avoided_and_the_others_are_used() -> None:
    async def test() -> None:
        cluster = Cluster(node("bad", CPU=4.0), node("good", CPU=2.0))
        made: list[str] = []

        async def start(name: str, order: dict[str, Any], give_up: str) -> dict[str, Any]:
            made.append(cluster.actors[name]["node"])
            if made[-1] == "bad":
                raise ClusterError("lost", "the machine has impasto-server 0.0.1")
            await asyncio.Event().wait()
            raise AssertionError

        cluster._start = start  # type: ignore[method-assign]
        async with fleet_on(cluster, ask=Ask(cpu=1.0), min_workers=2):
            await until(lambda: cluster.places() == ["good", "good"])
            await looks()
            assert made.count("bad") <= 2

    run(test())


def test_a_machine_gets_its_name_back_when_its_predecessor_is_gone() -> None:
    async def test() -> None:
        before, after = node("one"), node("one")
        before["id"], after["id"] = "aaaaaaaa", "bbbbbbbb"
        for each in (before, after):
            each["resources"] = {"CPU": 1.0}
        cluster = Cluster(before, after)
        async with fleet_on(cluster, ask=Ask(cpu=2.0)) as fleet:

            async def names() -> list[str]:
                return [machine.name for machine in await fleet.machines()]

            await looks(1)
            assert await names() == ["one", "one-bbbbbb"]
            cluster.nodes.remove(before)
            await looks()
            assert await names() == ["one"]

    run(test())


@pytest.mark.parametrize("text", ["5", '"abc"', "[1, 2]", "{", "\ufeff[]"])
def test_a_damaged_list_of_drained_machines_drains_none(tmp_path: Path, text: str) -> None:
    async def test() -> None:
        (tmp_path / "drained.json").write_text(text, encoding="utf-8")
        async with fleet_on(Cluster(node("abc", CPU=1.0)), tmp_path, min_workers=1) as fleet:
            await looks(1)
            assert [machine.state for machine in await fleet.machines()] == ["joining"]

    run(test())


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_damaged_key_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    async def test() -> None:
        (tmp_path / "identity.pem").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"the gateway's key in .* give another --data-dir"):
            async with fleet_on(Cluster(), tmp_path):
                pass

    run(test())


def test_the_server_ends_only_if_no_machine_can_run_a_worker() -> None:
    async def test() -> None:
        cluster = Cluster(node("a", CPU=1.0), node("b", CPU=1.0))
        async with fleet_on(cluster, ask=Ask(cpu=1.0), min_workers=2) as fleet:
            await until(lambda: len(cluster.orders) == 2)
            first, second = sorted(fleet._workers, key=lambda worker: worker.machine)
            fleet._on_worker_failed(first, ConfigurationError("no such device"))
            assert not fleet.failed.done()
            fleet._on_worker_failed(second, ConfigurationError("no such device"))
            with pytest.raises(ConfigurationError, match="machine b cannot run: no such device"):
                fleet.failed.result()

    run(test())
