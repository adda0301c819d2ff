"""Who calls: asks the gateway about tokens before anything else of a request is read."""

from __future__ import annotations

import asyncio
import collections
import hashlib

from impasto.v1 import style_transfer_pb2
from impasto_server.web.upstream import Upstream

_INFO = "/impasto.v1.StyleTransfer/GetServerInfo"
_SECONDS = 2.0
_MOST = 4096


class Callers:
    """Looks up the callers' tenants, and remembers each answer for a moment."""

    def __init__(self, upstream: Upstream) -> None:
        """
        Args:
            upstream: the gateway.
        """
        self._upstream = upstream
        self._known: collections.OrderedDict[bytes, tuple[float, str]] = collections.OrderedDict()

    async def tenant(self, authorization: str) -> str:
        """Returns the tenant of a caller.

        Args:
            authorization: the header's value; empty if there is none.

        Raises:
            grpc.aio.AioRpcError: the caller has no access, or the gateway does not answer.
        """
        now = asyncio.get_running_loop().time()
        # The tokens themselves are not kept.
        key = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(key)
        if known is not None and now - known[0] < _SECONDS:
            return known[1]
        metadata = [("authorization", authorization)] if authorization else []
        answer = await self._upstream.unary(_INFO, b"", metadata, 10.0)
        tenant = style_transfer_pb2.GetServerInfoResponse.FromString(answer).tenant
        self._known[key] = now, tenant
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return tenant
