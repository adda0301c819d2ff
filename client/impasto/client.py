"""The client of an Impasto server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

from impasto import transport as transports
from impasto.api import Api, Arguments, Begun, Listing, published
from impasto.base_client import BaseClient
from impasto.driver import Done, Driver
from impasto.painting import Painting
from impasto.steps import Steps
from impasto.transport import Stack, Transport, TransportFactory

P = ParamSpec("P")
T = TypeVar("T")

_RETURNS = {"Steps": "", "Listing": "Iterator", "Begun": "Painting"}


def _answer(call: Callable[Concatenate[Api, P], Steps[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that makes a call and returns its answer."""
    arguments = Arguments(call)

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        arguments.check(args, kwargs)
        return Driver(client._transport).run(call(client._api, *args, **kwargs))

    return published(method, call, _RETURNS)


def _items(call: Callable[Concatenate[Api, P], Listing[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """A method that iterates over the items of a list."""
    arguments = Arguments(call)

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        arguments.check(args, kwargs)
        return client._each(call(client._api, *args, **kwargs))

    return published(method, call, _RETURNS)


def _painting(call: Callable[Concatenate[Api, P], Begun]) -> Callable[Concatenate[Client, P], Painting]:
    """A method that begins to follow a painting."""
    arguments = Arguments(call)

    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Painting:
        arguments.check(args, kwargs)
        painting = Painting(client._calls, client._transport, call(client._api, *args, **kwargs))
        client._paintings.add(painting)
        return painting

    return published(method, call, _RETURNS)


class Client(BaseClient[TransportFactory]):
    """A connection to an Impasto server. Safe to use from several threads. Close it, or use it in a `with`.

    A call is repeated while the server is unavailable (it restarts, or the connection broke), up to the
    deadline. If no server has answered yet, the first attempt raises the error. Every call may raise
    `Unauthenticated` (the server needs a token, or does not know this one), `Unreachable` (no server answers
    at the address) and `DeadlineExceeded`.
    """

    _transport: Transport

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

    def close(self) -> None:
        for painting in list(self._paintings):
            painting.close()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _factory(self, transport: TransportFactory | Stack) -> TransportFactory:
        return transports.of(transport) if isinstance(transport, str) else transport

    def _each(self, items: Listing[T]) -> Iterator[T]:
        driver = Driver(self._transport)
        try:
            while not isinstance(item := driver.advance(items), Done):
                yield item
        finally:
            driver.leave()
