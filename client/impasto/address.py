"""Addresses of servers, as people write them: "host:port", "host", "[::1]:port" or "unix:/path"."""

from __future__ import annotations

import ipaddress
import re

DEFAULT_PORT = 50051

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>[0-9]{1,5}))?")


def parse(address: str) -> str:
    """Return an address in full: "host:port", "[v6]:port" or "unix:/path".

    Raises:
        TypeError: it is no text.
        ValueError: it is no address; the message says what is accepted.
    """
    if not isinstance(address, str):
        raise TypeError(f"an address cannot be {address!r}; give 'HOST:PORT', 'HOST' or 'unix:/path'")
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        if not path or "\0" in path:
            raise ValueError(f"{address!r} names no socket; give unix:/path")
        return address
    if _is_ipv6(address):
        return f"[{address}]:{DEFAULT_PORT}"
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        without = re.sub("^[A-Za-z][A-Za-z0-9+.-]*://", "", address).rstrip("/")
        meant = f", here {without}" if without != address and _HOST_AND_PORT.fullmatch(without) else ""
        raise ValueError(f"{address!r} is not an address; give HOST:PORT, HOST or unix:/path{meant}")
    host, port = match["host"], int(match["port"] or DEFAULT_PORT)
    if host.startswith("[") and not _is_ipv6(host[1:-1]):
        raise ValueError(f"{address!r} has no IPv6 address between its brackets")
    if not 1 <= port <= 65535:
        raise ValueError(f"{address!r} has no port from 1 to 65535")
    return f"{host}:{port}"


def same(address: str) -> str:
    """Return the one form of all spellings of an address; what is no address is returned as it is."""
    try:
        parsed = parse(address)
    except ValueError:
        return address
    return parsed if parsed.startswith("unix:") else parsed.lower()


def is_local(parsed: str) -> bool:
    """Return whether an address from `parse` is on this machine."""
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
