"""What the clients of `impasto` and `impasto.aio` share."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from impasto import address as addresses
from impasto import transport as transports
from impasto.api import Api
from impasto.calls import DEFAULT_PATIENCE, DEFAULT_TIMEOUT, Calls
from impasto.security import Tls, call_metadata
from impasto.transport import Endpoint, Stack

Factory = TypeVar("Factory", bound=Callable[[Endpoint], Any])


class BaseClient(Generic[Factory]):
    """A client of a server, without its calls.

    Attributes:
        address: the server's address in full: "host:port" or "unix:/path".
        timeout: deadline of each call with one answer, in seconds.
    """

    def __init_subclass__(cls) -> None:
        # pdoc shows a constructor only if the class itself has it.
        if "__init__" not in vars(cls):
            inherited: Any = super(cls, cls).__init__
            # A copy, so that errors about its arguments name the class.
            own: Any = types.FunctionType(
                inherited.__code__, inherited.__globals__, closure=inherited.__closure__
            )
            functools.update_wrapper(own, inherited)
            del own.__wrapped__
            own.__defaults__, own.__kwdefaults__ = inherited.__defaults__, inherited.__kwdefaults__
            own.__qualname__ = f"{cls.__qualname__}.__init__"
            cls.__init__ = own  # type: ignore[method-assign]

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: Tls | bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        patience: float = DEFAULT_PATIENCE,
        allow_plaintext_token: bool = False,
        transport: Factory | Stack | None = None,
    ) -> None:
        """Prepare a connection. The first call shows whether a server answers.

        Args:
            address: "host:port", "host" (port 50051) or "unix:/path".
            token: the token that says who calls, as `impasto-server token add` printed it.
            tls: how to protect the connection: a `Tls`, or True for TLS with the certificates that the system
                trusts; None for plaintext.
            timeout: deadline of each call with one answer, in seconds, over all its attempts.
            patience: how long a painting, an upload or a download goes on without contact to the server, in
                seconds.
            allow_plaintext_token: whether to send the token without TLS, for a network that is protected
                itself.
            transport: how calls travel: "grpcio", "grpclib" (pure Python), or the class of a transport; None
                for grpcio if it is installed, else grpclib.

        Raises:
            ValueError: the address, the token, a time or a file of `tls` is invalid, or a network would
                carry the token in plaintext.
            TypeError: `tls` is neither True nor a `Tls`, or the token is not a text.
            OSError: a file of `tls` cannot be read.
            TransportMissing: the gRPC library of the transport is not installed.
            RuntimeError: no event loop is running (`impasto.aio` only).
        """
        if tls is True:
            tls = Tls()
        if tls and not isinstance(tls, Tls):
            raise TypeError(f"tls cannot be {tls!r}; give True, or impasto.Tls(ca=FILE)")
        self.address = addresses.parse(address)
        self.timeout = timeout
        metadata = call_metadata(
            token, self.address, encrypted=bool(tls), allow_plaintext_token=allow_plaintext_token
        )
        endpoint = Endpoint(self.address, tls or None, metadata)
        if transport is None:
            transport = transports.installed()
        factory = self._factory(transport)
        dials = getattr(factory, "dials", False)
        self._calls = Calls(endpoint, timeout=timeout, patience=patience, dials=dials)
        self._api = Api(self._calls)
        self._transport = factory(endpoint)
        self._paintings: weakref.WeakSet[Any] = weakref.WeakSet()

    def _factory(self, transport: Factory | Stack) -> Factory:
        """The class of a transport, which may be given by its name."""
        raise NotImplementedError

    def close(self) -> Any:
        """Closes the connection. Cancels the jobs of unfinished paintings that do not keep running."""
        raise NotImplementedError

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            meant = _RENAMED.get(name)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise AttributeError(
                f"{type(self).__name__!r} has no attribute {name!r}{hint}", name=name, obj=self
            )


_RENAMED = {
    "get_server_info": "info",
    "server_info": "info",
    "estimate_job": "estimate",
    "get_job": "job",
    "list_jobs": "jobs",
    "list_styles": "styles",
    "get_preview": "preview",
    "steer": "update_job",
    "steer_job": "update_job",
    "submit": "create_job",
    "watch_job": "watch",
    "pause_job": "pause",
    "resume_job": "resume",
    "cancel_job": "cancel",
    "delete_job": "delete",
    "upload_image": "upload",
    "download_image": "download",
    "texture": "stylize",
}
"""Calls by their names in the contract and on the command line, where Python has another name."""
