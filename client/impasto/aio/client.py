"""The client of an Impasto server, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from impasto import transport as transports
from impasto.aio.driver import AsyncDriver
from impasto.aio.painting import Painting
from impasto.api import Api, Arguments, Begun, Listing, published
from impasto.base_client import BaseClient
from impasto.driver import Done
from impasto.steps import Steps
from impasto.transport import AsyncTransport, AsyncTransportFactory, Stack

P = ParamSpec("P")
T = TypeVar("T")

_RETURNS = {"Steps": "", "Listing": "AsyncIterator", "Begun": "Painting"}


def _answer(
    call: Callable[Concatenate[Api, P], Steps[T]],
) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]:
    """A method that makes a call and returns its answer."""
    arguments = Arguments(call)

    async def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        arguments.check(args, kwargs)
        return await AsyncDriver(client._transport).run(call(client._api, *args, **kwargs))

    return published(method, call, _RETURNS)


def _items(
    call: Callable[Concatenate[Api, P], Listing[T]],
) -> Callable[Concatenate[Client, P], AsyncIterator[T]]:
    """A method that iterates over the items of a list."""
    arguments = Arguments(call)

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        arguments.check(args, kwargs)
        return client._each(call(client._api, *args, **kwargs))

    return published(method, call, _RETURNS)


def _painting(
    call: Callable[Concatenate[Api, P], Begun],
) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, Painting]]:
    """A method that begins to follow a painting."""
    arguments = Arguments(call)

    async def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Painting:
        arguments.check(args, kwargs)
        painting = Painting(client._calls, client._transport, call(client._api, *args, **kwargs))
        client._paintings.add(painting)
        return await painting._begin()

    return published(method, call, _RETURNS)


class Client(BaseClient[AsyncTransportFactory]):
    """A connection to an Impasto server, for asyncio: `impasto.Client` with coroutines.

    It belongs to the event loop in which it was made. Close it, or use it in an `async with`. Cancelling a
    task that waits for a call ends the call; `Painting` says what that does to a job.
    """

    _transport: AsyncTransport

    info = _answer(Api.info)
    stylize = _painting(Api.stylize)
    watch = _painting(Api.watch)
    create_job = _answer(Api.create_job)
    estimate = _answer(Api.estimate)
    job = _answer(Api.job)
    jobs = _items(Api.jobs)
    watch_jobs = _items(Api.watch_jobs)
    update_job = _answer(Api.update_job)
    pause = _answer(Api.pause)
    resume = _answer(Api.resume)
    cancel = _answer(Api.cancel)
    delete = _answer(Api.delete)
    preview = _answer(Api.preview)
    upload = _answer(Api.upload)
    download = _answer(Api.download)
    image_links = _answer(Api.image_links)
    styles = _items(Api.styles)

    async def close(self) -> None:
        for painting in list(self._paintings):
            await painting.close()
        await self._transport.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _factory(self, transport: AsyncTransportFactory | Stack) -> AsyncTransportFactory:
        asyncio.get_running_loop()  # Raises if there is none.
        return transports.async_of(transport) if isinstance(transport, str) else transport

    async def _each(self, items: Listing[T]) -> AsyncIterator[T]:
        driver = AsyncDriver(self._transport)
        try:
            while not isinstance(item := await driver.advance(items), Done):
                yield item
        finally:
            driver.leave()
