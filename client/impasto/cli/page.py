"""The server's page: its address, signing in without typing, and opening it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
import webbrowser
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from impasto.address import is_local
from impasto.cli.options import Connection
from impasto.errors import ImpastoError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from impasto.job import ServerInfo

TIMEOUT = 10.0
"""Seconds for an answer of the page."""
_SOMEWHERE = ("192.0.2.1", 9)
"""An address that stands for any other machine (RFC 5737). Nothing is sent to it."""


def address_of(info: ServerInfo, address: str, *, tls: bool) -> str:
    """Returns the address of a server's page; it ends with "/".

    Args:
        info: what the server says of itself.
        address: the server's address, as `impasto.address.parse` returns it.
        tls: whether the server has TLS.

    Raises:
        InvalidRequest: it has no page.
    """
    page = info.page
    if page is None:
        raise InvalidRequest(
            f"{address} has no page; its administrator can give it one with --web-port (its version is "
            f"{info.version}; there is none before 0.3)"
        )
    if page.url:
        return page.url
    host = "127.0.0.1" if address.startswith("unix:") else address.rpartition(":")[0]
    return f"{'https' if tls else 'http'}://{host}:{page.port}/"


def in_network(page: str) -> str:
    """Returns the address of a page as other machines in the network know it.

    Raises:
        InvalidRequest: this machine is in no network.
    """
    parts = urlsplit(page)
    if not is_local(f"{parts.hostname}:{parts.port or 0}"):
        return page
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_SOMEWHERE)
            host = probe.getsockname()[0]
    except OSError:
        raise InvalidRequest(
            "this machine is in no network, so that no telephone can reach it; leave --qr out"
        ) from None
    return urlunsplit((parts.scheme, f"{host}:{parts.port}", parts.path, parts.query, parts.fragment))


def with_sign_in(page: str, token: str | None, connection: Connection) -> str:
    """Returns a page's address with a code in it that signs a browser in, once; without a token, without one.

    The part of an address after "#" never leaves the browser, and the page removes it at once.

    Raises:
        ImpastoError: the page makes no code.
    """
    if token is None:
        return page
    if urlsplit(page).scheme != "https" and not (
        connection.allow_plaintext_token or is_local(urlsplit(page).netloc)
    ):
        raise InvalidRequest(
            f"a token is not sent to {page} in plaintext, where anyone on the way can read it; use TLS, or "
            "give --allow-plaintext-token if the network itself is protected"
        )
    request = urllib.request.Request(
        page + "session/code", b"", {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    )
    answer = _answer(request, page, connection)
    return f"{page}#code={answer['code']}"


def at(address: str, place: str) -> str:
    """Returns the address of a place on the page.

    Args:
        address: as `with_sign_in` returns it.
        place: name of a job, "jobs/…"; empty for the beginning.
    """
    if not place:
        return address
    return f"{address}&to=/{place}" if "#code=" in address else f"{address}#/{place}"


def _answer(request: urllib.request.Request, page: str, connection: Connection) -> dict[str, object]:
    context = ssl.create_default_context(cafile=connection.ca)
    # No proxy and no redirection: the token goes to the server alone.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            said = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            reason = _reason(error)
        raise ImpastoError(f"{page} makes no code to sign in with: {reason}", code="UNKNOWN") from None
    except urllib.error.URLError as error:
        cause = error.reason
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is not accepted ({cause.verify_message}); give --ca"
        else:
            why = str(getattr(cause, "strerror", None) or cause)
        raise Unavailable(f"{page} does not answer: {why}", code="UNAVAILABLE") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{page} does not answer as a page does: {error}", code="UNAVAILABLE") from None
    if not isinstance(said, dict) or not isinstance(said.get("code"), str):
        raise ImpastoError(f"{page} makes no code to sign in with", code="UNKNOWN")
    return said


def _reason(error: urllib.error.HTTPError) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        return str(json.loads(error.read())["message"])
    return f"HTTP {error.code}"


def open_in_browser(address: str) -> bool:
    """Opens an address in the user's browser. Returns False if there is none that can show pictures."""
    has_screen = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not has_screen and not os.environ.get("BROWSER"):
        return False
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def qr_code(address: str) -> str:
    """Returns an address as a QR code for a terminal."""
    import segno

    drawn = io.StringIO()
    segno.make(address, error="l").terminal(drawn, compact=True)
    return drawn.getvalue()
