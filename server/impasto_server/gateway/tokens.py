"""The callers' tokens and their tenants, kept in a file that contains only hashes of the tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto_server.given_files import read_text
from impasto_server.store.blobs import NewFile, make_folder
from impasto_server.store.errors import StoreError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

CHECK_SECONDS = 0.25
"""Maximum time in seconds until a change of the file takes effect."""


class TokensError(Exception):
    """The tokens cannot be read or changed. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class Tenant:
    """The owner of jobs and images.

    Attributes:
        name: the name of the token or certificate; empty on a server without access control.
        weight: share of device time relative to other tenants, above 0.
        administrator: whether it may see and change what all tenants do.
    """

    name: str
    weight: float = 1.0
    administrator: bool = False


@dataclasses.dataclass(frozen=True)
class _Entry:
    sha256: str
    tenant: Tenant
    created: float


class Tokens:
    """The tokens in a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the file. If it does not exist, there are no tokens.
        """
        self._path = path
        self._entries: list[_Entry] = []
        self._stamp: object = None
        self._next_check = 0.0

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def tenant_of(self, token: str) -> Tenant | None:
        """Returns the tenant of a token; None if the token is not known.

        Raises:
            TokensError: the file cannot be read.
        """
        digest = _digest(token)
        found = None
        for entry in self._current():
            # Every entry is compared, in constant time, so that the time tells nothing about any of them.
            if hmac.compare_digest(entry.sha256, digest):
                found = entry.tenant
        return found

    def tenant_named(self, name: str) -> Tenant | None:
        """Returns the tenant of this name; None if it has no token any more.

        Raises:
            TokensError: the file cannot be read.
        """
        return next((entry.tenant for entry in self._current() if entry.tenant.name == name), None)

    def weight_of(self, name: str) -> float:
        """Returns a tenant's weight; 1 if the tenant no longer has a token."""
        return next((e.tenant.weight for e in self._entries if e.tenant.name == name), 1.0)

    def tenants(self) -> list[tuple[Tenant, float]]:
        """Returns each tenant with the time when its token was made, in seconds since the epoch.

        Raises:
            TokensError: the file cannot be read.
        """
        return [(entry.tenant, entry.created) for entry in self._current(at_once=True)]

    def add(self, name: str, weight: float = 1.0, *, administrator: bool = False) -> str:
        """Makes a token and returns it. It cannot be read back later.

        Raises:
            TokensError: the name or the weight is invalid, the name already has a token, or the file cannot
                be written.
        """
        if not _NAME.fullmatch(name):
            raise TokensError(
                f"{name!r} is not a valid name; give 1 to 64 characters of a-z, A-Z, 0-9, dot, hyphen, _ and "
                "@, with a letter or digit first"
            )
        if not 0 < weight < math.inf:
            raise TokensError(f"the weight is {weight:g}; give a finite number above 0")
        # 256 random bits cannot be guessed. The slow hash that passwords need would add nothing.
        token = secrets.token_urlsafe(32)
        with self._changing() as entries:
            if any(entry.tenant.name == name for entry in entries):
                raise TokensError(
                    f"{name} already has a token; remove it first (`impasto-server token remove {name}`)"
                )
            tenant = Tenant(name, weight, administrator)
            self._write([*entries, _Entry(_digest(token), tenant, time.time())])
        return token

    def remove(self, name: str) -> None:
        """Ends a token's access.

        Raises:
            TokensError: there is no token with that name, or the file cannot be written.
        """
        with self._changing() as entries:
            left = [entry for entry in entries if entry.tenant.name != name]
            if len(left) == len(entries):
                raise TokensError(_no_such(name))
            self._write(left)

    def set_administrator(self, name: str, administrator: bool) -> None:
        """Gives a token the right of an administrator, or takes it away.

        Raises:
            TokensError: there is no token with that name, or the file cannot be written.
        """
        with self._changing() as entries:
            if all(entry.tenant.name != name for entry in entries):
                raise TokensError(_no_such(name))
            self._write([_with_right(e, administrator) if e.tenant.name == name else e for e in entries])

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[_Entry]]:
        """Gives the entries under a lock: of two changes at the same time, one would be lost."""
        try:
            make_folder(self._path.parent)
            lock = os.open(self._path.parent, os.O_RDONLY)
        except StoreError as error:
            raise TokensError(str(error)) from error
        except OSError as error:
            raise TokensError(f"{self._path.parent} cannot be read ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield list(self._current(at_once=True))
        finally:
            os.close(lock)

    def _current(self, *, at_once: bool = False) -> list[_Entry]:
        now = time.monotonic()
        if at_once or now >= self._next_check:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._entries = self._read()
                self._stamp = stamp
            # Only after reading: while the file cannot be read, its old entries let nobody in.
            self._next_check = now + CHECK_SECONDS
        return self._entries

    def _read(self) -> list[_Entry]:
        try:
            text = read_text(self._path)
        except FileNotFoundError:
            return []
        except UnicodeDecodeError as error:
            raise TokensError(_not_tokens(self._path)) from error
        except OSError as error:
            raise TokensError(f"{self._path} cannot be read ({error.strerror})") from error
        try:
            return [_entry(item) for item in json.loads(text)["tokens"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TokensError(_not_tokens(self._path)) from error

    def _write(self, entries: list[_Entry]) -> None:
        items = [
            {
                "name": e.tenant.name,
                "weight": e.tenant.weight,
                "administrator": e.tenant.administrator,
                "sha256": e.sha256,
                "created": e.created,
            }
            for e in entries
        ]
        try:
            # A new file can be read by this user only.
            with NewFile(self._path.parent) as file:
                file.write(json.dumps({"tokens": items}, indent=1).encode())
                file.flush()
                file.publish(self._path)
            if os.geteuid() == 0:
                # Root changes a file that the server's own user must be able to read.
                folder = self._path.parent.stat()
                os.chown(self._path, folder.st_uid, folder.st_gid)
        except StoreError as error:
            raise TokensError(str(error)) from error
        except OSError as error:
            raise TokensError(
                f"{self._path} cannot be given to the owner of its folder ({error.strerror}); run chown"
            ) from error
        self._entries, self._stamp = entries, _stamp(self._path)


def _not_tokens(path: Path) -> str:
    return f"{path} is not a file of tokens; use a file that `impasto-server token` has written"


def _no_such(name: str) -> str:
    return f"{name!r} has no token; `impasto-server token list` lists the names that have one"


def _with_right(entry: _Entry, administrator: bool) -> _Entry:
    return dataclasses.replace(entry, tenant=dataclasses.replace(entry.tenant, administrator=administrator))


def _entry(item: dict[str, Any]) -> _Entry:
    # Earlier versions had no administrators. Anything but true gives no right.
    administrator = item.get("administrator", False) is True
    tenant = Tenant(str(item["name"]), float(item["weight"]), administrator)
    entry = _Entry(str(item["sha256"]), tenant, float(item["created"]))
    is_digest = re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    if not is_digest or not _NAME.fullmatch(tenant.name) or not 0 < tenant.weight < math.inf:
        raise ValueError(f"{tenant} is invalid")
    return entry


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _stamp(path: Path) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
