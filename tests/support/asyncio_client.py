"""The asyncio client with the interface of the blocking one, so that the same tests apply to both."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import impasto.aio

T = TypeVar("T")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of all clients, in its own thread, so that closed clients can still be inspected."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class Client:
    """An `impasto.aio.Client` whose methods block."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        async def make() -> impasto.aio.Client:
            return impasto.aio.Client(*arguments, **options)

        self._client = self._run(make())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, _loop()).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made = method(*arguments, **options)
            if inspect.isasyncgen(made):
                return self._each(made)
            result = self._run(made)
            return Painting(self, result) if isinstance(result, impasto.aio.Painting) else result

        return call if callable(method) else method

    def _each(self, items: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._run(items.__anext__())
            except StopAsyncIteration:
                return

    def close(self) -> None:
        self._run(self._client.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Painting:
    """An `impasto.aio.Painting` whose methods block."""

    def __init__(self, client: Client, painting: impasto.aio.Painting) -> None:
        self._client = client
        self._painting = painting

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._painting, name)
        return (lambda: self._client._run(there())) if callable(there) else there

    def __iter__(self) -> Painting:
        return self

    def __next__(self) -> impasto.Event:
        try:
            return self._client._run(_next(self._painting))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Painting:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


async def _next(painting: impasto.aio.Painting) -> impasto.Event:
    return await painting.__anext__()
