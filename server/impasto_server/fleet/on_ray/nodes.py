"""The machines of a Ray cluster, which Ray calls nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's ID.
        name: unique: the name that it was given (`ray start --node-name`), or the host's.
        address: its IP address.
        resources: what it has, by Ray's names.
        free: what of it nobody has taken.
        draining: whether Ray is taking it out of use.
    """

    id: str
    name: str
    address: str
    resources: Mapping[str, float]
    free: Mapping[str, float]
    draining: bool

    @property
    def gpus(self) -> float:
        """Number of GPUs."""
        return self.resources.get("GPU", 0.0)

    @property
    def cpus(self) -> float:
        """Number of cores."""
        return self.resources.get("CPU", 0.0)

    @property
    def has_plain_name(self) -> bool:
        """Whether its name had not to be told apart from another's."""
        return not self.name.endswith(_end_of(self.id))

    @property
    def has_devices(self) -> bool:
        """Whether anything can be painted on it."""
        return self.gpus > 0 or self.cpus > 0


def told_apart(census: Iterable[Mapping[str, Any]], known: Mapping[str, Node]) -> dict[str, Node]:
    """Names the nodes of a census.

    Args:
        census: nodes as `cluster.take_census` returns them.
        known: nodes that keep their names, by ID.

    Returns:
        The nodes by ID, each with a name of its own.
    """
    census = sorted(census, key=lambda node: (node["id"] not in known, str(node["id"])))
    taken: set[str] = set()
    nodes: dict[str, Node] = {}
    for about in census:
        id = about["id"]
        # Without a name of its own, Ray calls it by its address.
        name = about["host"] if about["name"] in ("", about["address"]) else about["name"]
        if id in known:
            name = known[id].name
        elif name in taken:
            name += _end_of(id)
        taken.add(name)
        nodes[id] = Node(
            id, name, about["address"], about["resources"], about["free"], draining=about["draining"]
        )
    return nodes


def _end_of(id: str) -> str:
    return f"-{id[:6]}"


def smallest_cpus(nodes: Iterable[Node]) -> float:
    """Returns the number of cores of the node that has fewest of them, but any; 0 if there is none."""
    return min((node.cpus for node in nodes if node.cpus), default=0.0)
