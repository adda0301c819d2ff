"""Tokens that say where a list of jobs goes on: opaque, and refused where they are none of ours."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Collection

from impasto_server.store.errors import BadPageToken

Position = tuple[int, int]
"""The last job of a page: when it was made, in nanoseconds since the epoch, and its row."""

_POSITION = struct.Struct(">qq")
_SIGNATURE_BYTES = 16


def token_after(key: bytes, tenant: str, states: Collection[int], position: Position) -> str:
    """The token of the page after a position, for this tenant and these states alone."""
    packed = _POSITION.pack(*position)
    signed = packed + _signature(key, tenant, states, packed)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def position_of(key: bytes, tenant: str, states: Collection[int], token: str) -> Position:
    """The position that a token was made of.

    Raises:
        BadPageToken: it was not made here, or for another tenant or other states.
    """
    try:
        signed = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        signed = b""
    packed = signed[: _POSITION.size]
    if len(packed) == _POSITION.size:
        created, row = _POSITION.unpack(packed)
        # The whole token, since the decoder overlooks what is not of its alphabet.
        if hmac.compare_digest(token_after(key, tenant, states, (created, row)).encode(), token.encode()):
            return created, row
    raise BadPageToken("is no token of this list; give `next_page_token` as it came, with the same states")


def _signature(key: bytes, tenant: str, states: Collection[int], packed: bytes) -> bytes:
    text = repr((tenant, sorted(set(states)))).encode() + packed
    return hmac.new(key, text, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
