"""Links: signed addresses of pictures, which can be loaded without a token.

The ticket in an address says whose picture it is, which, and until when, under a key that only this server
has. So the server need not remember its links; they survive its restarts, and end with the key.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import logging
import secrets
import struct
import time
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, invalid_argument, status
from impasto_server.contract.previews import seconds
from impasto_server.gateway.downloads import source_faults
from impasto_server.jobs.states import copied
from impasto_server.store.blobs import NewFile
from impasto_server.store.errors import StoreError

_log = logging.getLogger(__name__)

KEY_FILE = "link_key"
"""File with the key, in the data folder."""

TICKET = "impasto-ticket"
"""The metadata with which the page sends a ticket, in place of a token."""

MAX_TICKET = 1024
"""Maximum length of a ticket in characters."""

MAX_LINKS = 200
DEFAULT_LIFETIME = 900.0
MIN_LIFETIME, MAX_LIFETIME = 1.0, 86_400.0

_KEY_BYTES = 32
_MAC_BYTES = hashlib.sha256().digest_size
# When it expires, in nanoseconds since the epoch, and the length of the tenant's name in bytes.
_HEAD = struct.Struct(">qH")


@dataclasses.dataclass(frozen=True)
class Ticket:
    """The right to load one picture.

    Attributes:
        tenant: whose picture it is.
        expire_ns: when the right ends, in nanoseconds since the epoch.
        request: which picture, without `offset`.
        id: tells links apart.
    """

    tenant: str
    expire_ns: int
    request: pb.DownloadImageRequest
    id: str = dataclasses.field(default="", compare=False)

    def applied(self, request: pb.DownloadImageRequest) -> pb.DownloadImageRequest:
        """Returns the ticket's request, from the offset that its caller asks for.

        Args:
            request: from the caller. Apart from `offset` it is empty, or asks for the ticket's picture.

        Raises:
            CallError: UNAUTHENTICATED: it asks for another picture.
        """
        allowed: pb.DownloadImageRequest = copied(self.request)
        allowed.offset = request.offset
        if request != allowed and request != pb.DownloadImageRequest(offset=request.offset):
            raise CallError(invalid_link())
        return allowed


class Links:
    """Makes and checks tickets."""

    def __init__(self) -> None:
        """The key is a new one, in memory, until `keep_key`."""
        self._key = secrets.token_bytes(_KEY_BYTES)

    def keep_key(self, folder: Path) -> None:
        """Takes the key from the data folder, or puts this one there.

        If neither is possible, the links of this server end with it.
        """
        path = folder / KEY_FILE
        try:
            try:
                key = path.read_bytes()
                if len(key) == _KEY_BYTES:
                    self._key = key
                    return
                _log.error("the key of links is damaged and is replaced path=%s", path)
            except FileNotFoundError:
                pass
            # A new file can be read by this user only.
            with NewFile(folder) as file:
                file.write(self._key)
                file.flush()
                file.publish(path)
        except (OSError, StoreError) as error:
            _log.error("the key of links cannot be kept path=%s error=%r", path, str(error))

    def create(
        self, request: pb.CreateImageLinksRequest, tenant: str, *, has_page: bool
    ) -> pb.CreateImageLinksResponse:
        """Makes the links that a tenant asks for.

        Args:
            request: from a caller.
            tenant: the caller.
            has_page: whether the server has a page, which serves links.

        Raises:
            CallError: the request has faults, or there is no page.
        """
        lifetime = seconds(request.lifetime) if request.HasField("lifetime") else DEFAULT_LIFETIME
        faults = _faults(request, lifetime)
        if faults:
            raise CallError(invalid_argument(faults))
        if not has_page:
            message = (
                "this server has no page, which would serve the links; its administrator can start one with "
                "--web-port. DownloadImage sends the pictures meanwhile"
            )
            raise CallError(failed_precondition("NO_PAGE", "server", message))
        response = pb.CreateImageLinksResponse()
        expire_ns = time.time_ns() + round(lifetime * 1e9)
        response.expire_time.FromNanoseconds(expire_ns)
        for i, source in enumerate(request.sources):
            ticket = self.ticket(Ticket(tenant, expire_ns, source))
            if len(ticket) > MAX_TICKET:
                field = f"sources[{i}].{source.WhichOneof('source')}"
                raise CallError(invalid_argument([(field, "is too long; give a name as the server made it")]))
            response.links.add(path=f"images/{ticket}")
        return response

    def ticket(self, ticket: Ticket) -> str:
        """Returns a ticket as text, for an address."""
        tenant = ticket.tenant.encode()
        # Deterministic, so that pictures have the same address for as long as they have the same expiry.
        request = ticket.request.SerializeToString(deterministic=True)
        payload = _HEAD.pack(ticket.expire_ns, len(tenant)) + tenant + request
        return _coded(self._mac(payload) + payload)

    def check(self, text: str) -> Ticket:
        """Reads a ticket.

        Raises:
            CallError: UNAUTHENTICATED: this server did not make it, or it has expired.
        """
        try:
            signed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            signed = b""
        mac, payload = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        # Compares the whole text too, since the decoder skips characters outside of its alphabet.
        if (
            len(text) > MAX_TICKET
            or text != _coded(signed)
            or not hmac.compare_digest(self._mac(payload), mac)
        ):
            raise CallError(invalid_link())
        try:
            expire_ns, length = _HEAD.unpack_from(payload)
            tenant = payload[_HEAD.size : _HEAD.size + length].decode()
            request = pb.DownloadImageRequest.FromString(payload[_HEAD.size + length :])
        except (struct.error, UnicodeDecodeError, DecodeError):
            raise CallError(invalid_link()) from None
        if time.time_ns() >= expire_ns:
            message = "the link has expired; reload the page that shows it, or ask its sender for a new one"
            raise CallError(status(grpc.StatusCode.UNAUTHENTICATED, "LINK_EXPIRED", message))
        return Ticket(tenant, expire_ns, request, _coded(mac))

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, hashlib.sha256).digest()


def invalid_link() -> status_pb2.Status:
    """UNAUTHENTICATED: the link does not give access to this picture."""
    message = "the link is not valid; reload the page that shows it, or ask its sender for a new one"
    return status(grpc.StatusCode.UNAUTHENTICATED, "LINK_INVALID", message)


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _faults(request: pb.CreateImageLinksRequest, lifetime: float) -> list[tuple[str, str]]:
    faults = []
    if len(request.sources) > MAX_LINKS:
        return [("sources", f"has {len(request.sources)} pictures; give at most {MAX_LINKS}")]
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        faults.append(("lifetime", f"is {lifetime:g} s; give {MIN_LIFETIME:g} s to {MAX_LIFETIME:g} s"))
    for i, source in enumerate(request.sources):
        faults += [(f"sources[{i}].{field}", remedy) for field, remedy in source_faults(source)]
        if source.offset:
            faults.append((f"sources[{i}].offset", "is set; leave it out, because a link is a whole picture"))
    return faults
