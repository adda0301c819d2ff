"""Faults to put into the code."""
from __future__ import annotations
import contextlib
from collections.abc import Iterator
MUTATIONS: dict[str, object] = {}
@contextlib.contextmanager
def put_in(name: str | None) -> Iterator[None]:
    yield
