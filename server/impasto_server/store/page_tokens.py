"""Opaque tokens for the next page of a list of jobs. A token of another list is refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Collection

from impasto_server.store.errors import BadPageToken

_ROW = struct.Struct(">q")
_SIGNATURE_BYTES = 16


def token_after(key: bytes, tenant: str | None, states: Collection[int], title: str, row: int) -> str:
    """The token of the page after the job in a row, valid only for this tenant, these states and this title.

    Args:
        key: signs the token.
        tenant: owner of the jobs; None: all tenants.
        states, title: as in the list.
        row: the row.
    """
    packed = _ROW.pack(row)
    signed = packed + _signature(key, tenant, states, title, packed)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def row_of(key: bytes, tenant: str | None, states: Collection[int], title: str, token: str) -> int:
    """The row that a token was made from.

    Raises:
        BadPageToken: the token was not made here, or was made for another list.
    """
    try:
        signed = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        signed = b""
    packed = signed[: _ROW.size]
    if len(packed) == _ROW.size:
        row = int(_ROW.unpack(packed)[0])
        # Compares the whole token, since the decoder skips characters outside of its alphabet.
        if hmac.compare_digest(token_after(key, tenant, states, title, row).encode(), token.encode()):
            return row
    raise BadPageToken(
        "does not belong to this list; send `next_page_token` unchanged, with the same states and title"
    )


def _signature(key: bytes, tenant: str | None, states: Collection[int], title: str, packed: bytes) -> bytes:
    text = repr((tenant, sorted(set(states)), title)).encode() + packed
    return hmac.new(key, text, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
