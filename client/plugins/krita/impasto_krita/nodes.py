"""Krita's tree of layers and masks. For the main thread only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ANY_MASK = "mask"
"""End of the type of every mask: "transparencymask", "filtermask", "selectionmask" …"""


def walk(root: Any) -> Iterator[Any]:
    """Yields every node below one, each before its own children."""
    for node in root.childNodes():
        yield node
        yield from walk(node)


def id_of(node: Any) -> str:
    """Returns a node's identifier, which the document keeps when it is saved."""
    return str(node.uniqueId().toString())


def find(document: Any, id: str) -> Any:
    """Returns the node with this identifier; None if there is none."""
    if not id:
        return None
    return next((node for node in walk(document.rootNode()) if id_of(node) == id), None)


def is_mask(node: Any) -> bool:
    """Returns whether a node is a mask, which has no picture of its own and takes no layers."""
    return str(node.type()).endswith(ANY_MASK)


def is_root(node: Any) -> bool:
    """Returns whether a node is the document's root, which no artist sees."""
    return node.parentNode() is None


def layer_of(node: Any) -> Any:
    """Returns the layer that a node is, or that it masks; None for the selection of all and for the root."""
    while node is not None and is_mask(node):
        node = node.parentNode()
    return None if node is None or is_root(node) else node


def is_shown(node: Any) -> bool:
    """Returns whether a node and every group that it lies in are visible."""
    while node is not None and not is_root(node):
        if not node.visible():
            return False
        node = node.parentNode()
    return True
