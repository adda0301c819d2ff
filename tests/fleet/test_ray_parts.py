"""Parts of the fleet on Ray that need no cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from impasto_server.fleet.on_ray import fleet as fleet_module
from impasto_server.fleet.on_ray.ask import Ask
from impasto_server.fleet.on_ray.broker import Broker, BrokerGone
from impasto_server.fleet.on_ray.fleet import RayFleet
from impasto_server.fleet.on_ray.nodes import Node, smallest_cpus, told_apart
from impasto_server.fleet.worker_process import ConfigurationError


def node(id: str, host: str, *, name: str = "", cpus: float = 1.0) -> dict[str, Any]:
    address = "192.0.2.1"
    amounts = {"CPU": cpus} if cpus else {}
    about = {"id": id, "name": name or address, "host": host, "address": address, "draining": False}
    return about | {"resources": amounts, "free": amounts}


def names(nodes: dict[str, Node]) -> dict[str, str]:
    return {id: node.name for id, node in nodes.items()}


def test_machines_have_the_names_that_they_were_given_or_else_their_hosts() -> None:
    assert names(told_apart([node("aa", "vm"), node("bb", "vm", name="gpu-2")], {})) == {
        "aa": "vm",
        "bb": "gpu-2",
    }


def test_machines_of_one_name_are_told_apart_and_keep_their_names_when_others_join() -> None:
    first = told_apart([node("bbbbbbbbb", "vm")], {})
    both = told_apart([node("aaaaaaaaa", "vm"), node("bbbbbbbbb", "vm")], first)
    assert names(both) == {"bbbbbbbbb": "vm", "aaaaaaaaa": "vm-aaaaaa"}
    assert names(told_apart([node("aaaaaaaaa", "vm")], both)) == {"aaaaaaaaa": "vm-aaaaaa"}


def test_the_smallest_machine_is_the_one_with_fewest_cores_but_any() -> None:
    nodes = told_apart([node("a", "a", cpus=0), node("b", "b", cpus=4), node("c", "c", cpus=16)], {})
    assert smallest_cpus(nodes.values()) == 4
    assert smallest_cpus([]) == 0
    assert [each.has_devices for each in nodes.values()] == [False, True, True]


def test_an_ask_fits_where_everything_that_it_asks_for_is_free() -> None:
    ask = Ask(gpu=0.5, cpu=2.0, memory=1 << 30, custom={"a100": 1.0})
    assert ask.as_ray() == {"GPU": 0.5, "CPU": 2.0, "memory": float(1 << 30), "a100": 1.0}
    room = {"GPU": 1.0, "CPU": 2.0, "memory": 2.0**31, "a100": 1.0, "object_store_memory": 5.0}
    assert ask.fits(room)
    for name in ask.as_ray():
        assert not ask.fits(room | {name: 0.3})
        assert not ask.fits({other: amount for other, amount in room.items() if other != name})
    # Ray's sums of shares are not exact.
    assert Ask(cpu=0.3).fits({"CPU": 0.1 + 0.2 - 1e-9})


@pytest.mark.parametrize(
    ("ask", "workers", "bundles"),
    [
        (Ask(gpu=1.0, memory=5), 2, [{"GPU": 1, "memory": 5}] * 2),
        (Ask(gpu=0.5, cpu=3.0), 3, [{"GPU": 1, "CPU": 6}] * 2),
        (Ask(gpu=0.3, custom={"a100": 0.1}), 3, [{"GPU": 1, "a100": 1}]),
        (Ask(cpu=0.1), 10, [{"CPU": 1}]),
        (Ask(cpu=4.0), 0, []),
    ],
)
def test_the_autoscaler_is_asked_in_whole_numbers(
    ask: Ask, workers: int, bundles: list[dict[str, int]]
) -> None:
    assert ask.bundles(workers) == bundles
    assert all(isinstance(amount, int) for bundle in ask.bundles(workers) for amount in bundle.values())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"devices": ["cuda:1"]}, "give --device auto, cpu or cuda"),
        ({"devices": ["cpu", "cpu"]}, "give --device auto, cpu or cuda"),
        ({"devices": ["cpu"], "ask": Ask(gpu=1.0)}, "--ray-worker asks for a GPU"),
        ({"devices": ["cuda"], "ask": Ask(cpu=2.0)}, "add gpu=1 to --ray-worker"),
        ({"min_workers": 3, "max_workers": 2}, "--ray-max-workers 2 is less than --ray-min-workers 3"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], sentence: str) -> None:
    async def make() -> None:
        given: dict[str, Any] = {"devices": ["auto"], "min_workers": 1, "max_workers": None, "ask": None}
        given |= settings
        RayFleet(
            "auto", given.pop("devices"), [], idle_seconds=1.0, folder=None,
            max_resident=1, worker_timeout=1.0, turn_timeout=1.0, **given,
        )  # fmt: skip

    with pytest.raises(ConfigurationError, match=sentence):
        asyncio.run(make())


def test_calls_of_a_broker_that_is_not_connected_fail_at_once() -> None:
    async def call() -> None:
        broker = Broker("auto", "test", log_level="info", log_format="text")
        with pytest.raises(BrokerGone):
            await broker.call("census")

    asyncio.run(call())


class FakeBroker:
    """Has a cluster whose actors never start anything, and notes what it is asked for."""

    def __init__(self, nodes: list[dict[str, Any]], actors: list[str]) -> None:
        self.nodes, self.actors = nodes, actors
        self.connected = asyncio.Event()
        self.connected.set()
        self.ordered = asyncio.Event()
        self.connections = 1
        self.orders: list[dict[str, Any]] = []
        self.created: list[str] = []

    async def keep_alive(self) -> None:
        await asyncio.Event().wait()

    async def call(self, method: str, **arguments: Any) -> Any:
        if method == "census":
            return {"nodes": self.nodes, "actors": self.actors}
        if method == "create":
            self.created.append(arguments["node"])
        if method == "start":
            self.orders.append(arguments["order"])
            self.ordered.set()
            await asyncio.Event().wait()
        return None


def fleet_on(broker: FakeBroker, **settings: Any) -> RayFleet:
    given: dict[str, Any] = {"devices": ["auto"], "min_workers": 1, "max_workers": None, "ask": None}
    given |= settings
    fleet = RayFleet(
        "auto", given.pop("devices"), [], idle_seconds=60.0, folder=None,
        max_resident=1, worker_timeout=1.0, turn_timeout=1.0, **given,
    )  # fmt: skip
    fleet._broker = broker  # type: ignore[assignment]
    return fleet


@pytest.mark.parametrize(
    ("resources", "device", "expected"),
    [
        ({"CPU": 4.0}, "auto", {"device": "cpu", "cpus": 4.0}),
        ({"CPU": 4.0, "GPU": 2.0}, "auto", {"device": "cuda:0", "cpus": 0.0}),
        ({"CPU": 4.0, "GPU": 2.0}, "cuda", {"device": "cuda:0", "cpus": 0.0}),
        ({"CPU": 4.0, "GPU": 2.0}, "cpu", {"device": "cpu", "cpus": 4.0}),
    ],
)
def test_a_worker_of_an_earlier_gateway_gets_the_same_order_as_a_new_one(
    resources: dict[str, float], device: str, expected: dict[str, Any]
) -> None:
    async def order(actors: list[str]) -> dict[str, Any]:
        machine = node("aa", "vm") | {"resources": resources, "free": {} if actors else resources}
        broker = FakeBroker([machine], actors)
        async with fleet_on(broker, devices=[device]) as fleet:
            await broker.ordered.wait()
            assert len(fleet._workers) == 1
        return {name: broker.orders[0][name] for name in ("device", "cpus")}

    assert asyncio.run(order([])) == asyncio.run(order(["worker-1"])) == expected


def test_the_broker_ends_when_its_client_has_lost_the_cluster() -> None:
    program = """
import asyncio
import json
import subprocess
import sys
from impasto_server.fleet.on_ray.__main__ import _Broker

class LostCluster:
    def is_lost(self, error):
        return isinstance(error, ConnectionError)

    async def census(self):
        raise ConnectionError("the client has been disconnected")

asyncio.run(_Broker(LostCluster(), 1).serve())
"""
    request = json.dumps({"id": 1, "do": "census"}) + "\n"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdin is not None
        assert broker.stdout is not None
        broker.stdin.write(request)
        broker.stdin.flush()
        answer = json.loads(broker.stdout.readline())
        assert broker.wait(30) == 1
    assert answer == {"failed": "ConnectionError: the client has been disconnected"}


def test_a_broker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_HUNG_SECONDS", 0.05)

    class HungBroker(FakeBroker):
        killed = False

        async def call(self, method: str, **arguments: Any) -> Any:
            await asyncio.Event().wait()

        def kill(self) -> None:
            self.killed = True
            self.ordered.set()

    async def hang() -> bool:
        broker = HungBroker([], [])
        async with fleet_on(broker):
            await asyncio.wait_for(broker.ordered.wait(), 10)
        return broker.killed

    assert asyncio.run(hang())
