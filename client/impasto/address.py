"""Where a server is, in words for people: "host:port", "host", "[::1]:port" or "unix:/path"."""

from __future__ import annotations

import ipaddress
import re

DEFAULT_PORT = 50051

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>[0-9]{1,5}))?")


def parse(address: str) -> str:
    """The address in full: "host:port", "[v6]:port" or "unix:/path".

    Raises:
        ValueError: it is none of these, with a sentence that says what is accepted.
    """
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        if not path or "\0" in path:
            raise ValueError(f"{address!r} names no socket; give unix:/path")
        return address
    if _is_ipv6(address):
        return f"[{address}]:{DEFAULT_PORT}"
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is not an address; give HOST:PORT, HOST or unix:/path")
    host, port = match["host"], int(match["port"] or DEFAULT_PORT)
    if host.startswith("[") and not _is_ipv6(host[1:-1]):
        raise ValueError(f"{address!r} has no IPv6 address between its brackets")
    if not 1 <= port <= 65535:
        raise ValueError(f"{address!r} has no port from 1 to 65535")
    return f"{host}:{port}"


def is_local(parsed: str) -> bool:
    """Whether an address from `parse` stays on this machine."""
    if parsed.startswith("unix:"):
        return True
    host = parsed.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ipv6(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv6Address)
    except ValueError:
        return False
