"""The client of an Impasto server."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from impasto import address as addresses
from impasto import wire
from impasto.errors import ImpastoError, ResourceExhausted, Unavailable, Unreachable, from_call
from impasto.job import ServerInfo
from impasto.painting import Painting
from impasto.recipe import ImageSource, Previews, Recipe, Region, StyleSource
from impasto.transport import Transport, TransportError
from impasto.v1 import style_transfer_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from impasto.recipe import Settings

DEFAULT_TIMEOUT = 10.0


class Client:
    """A connection to an Impasto server. Safe to use from several threads; close it, or use it in a `with`.

    Args:
        address: "host:port", "host" (port 50051) or "unix:/path".
        timeout: deadline of every call with one answer, in seconds.
        transport: how calls travel; grpcio if not given.

    Raises:
        ValueError: the address is none of these. Whether a server is there shows at the first call.
    """

    def __init__(
        self, address: str, *, timeout: float = DEFAULT_TIMEOUT, transport: Transport | None = None
    ) -> None:
        self.address = addresses.parse(address)
        self.timeout = timeout
        if transport is None:
            from impasto.transport.grpcio import GrpcioTransport

            transport = GrpcioTransport(self.address)
        self._transport = transport

    def info(self) -> ServerInfo:
        """What the server is: version, devices, feature network, limits. Suits as a connection check.

        Raises:
            Unreachable: no server answers at the address.
            ImpastoError: the call failed otherwise.
        """
        try:
            response = self._transport.unary(
                wire.GET_SERVER_INFO, pb.GetServerInfoRequest(), timeout=self.timeout
            )
        except TransportError as error:
            raise self._named(from_call(error.code, error.message, error.details)) from None
        return wire.server_info(response)

    def stylize(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | None = None,
        start_image: ImageSource | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: ImageSource | None = None,
        previews: Previews | bool = True,
        timeout: float | None = None,
        **settings: Unpack[Settings],
    ) -> Painting:
        """Has a photograph painted in the style of one or several paintings, or a texture made of them.

        Returns as soon as the server has accepted the job; watch the painting by iterating over it.

        Args:
            content: the photograph; None for a texture.
            styles: the painting, or several, each alone or with its share beside the others': `"a.jpg"`,
                `["a.jpg", "b.jpg"]`, `[("a.jpg", 2.0), ("b.jpg", 1.0)]`.
            recipe: how to paint; whatever it does not set is the server's choice.
            start_image: the picture to start from, in the content's proportions.
            texture: width and height in pixels of a texture in the manner of the styles, instead of a
                content.
            regions: which part of the content is painted in which style; none for every style everywhere.
            selection: a mask of what to paint of the content, white where it is painted; None for all.
            previews: which previews to send; False for none.
            timeout: seconds after which the job is cancelled; None for no limit.
            settings: fields of the recipe, set over `recipe`: `effort="draft", longest_side=800`.

        Raises:
            FileNotFoundError: an image is a path and nothing is there; no call has been made.
            InvalidRequest: the request cannot be painted; says which field and what to do.
            Unreachable: no server answers at the address.
            ImpastoError: the call failed otherwise.
        """
        request = wire.stylize_request(
            content,
            styles,
            recipe=dataclasses.replace(recipe or Recipe(), **settings),
            start_image=start_image,
            texture=texture,
            regions=regions,
            selection=selection,
            previews=previews,
        )
        try:
            return Painting(self._transport.stream(wire.STYLIZE, request, timeout=timeout))
        except ImpastoError as error:
            raise self._named(error) from None

    def _named(self, error: ImpastoError) -> ImpastoError:
        """The error; in words of our own where it is grpc's and not the server's."""
        if error.reason:
            return error
        # "failed to connect to all addresses; last error: UNKNOWN: ipv4:…: Connection refused (111)"
        cause = error.message.rpartition(": ")[2].rstrip("]")
        if isinstance(error, Unavailable):
            return Unreachable(f"no server answers at {self.address} ({cause})")
        if isinstance(error, ResourceExhausted):
            return ResourceExhausted(f"the images are too large to send ({cause}); scale them down")
        return error

    def close(self) -> None:
        """Lets the connection go; a painting still under way is cancelled."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
