"""An index of the unfinished uploads: read from their folder once, then kept in memory."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

from impasto_server.store.blobs import digest

SUFFIX = ".part"


@dataclasses.dataclass
class Upload:
    """An unfinished upload.

    Attributes:
        path: its file.
        announced_bytes: size of the whole file. For a file of an older version, whose name does not give the
            size, the bytes that are stored.
        committed_bytes: bytes that are stored.
        used_time: when data last arrived, seconds since the epoch.
    """

    path: Path
    announced_bytes: int
    committed_bytes: int
    used_time: float

    @property
    def is_announced(self) -> bool:
        """Whether the name of the file gives the announced size."""
        return "." in self.path.name.removesuffix(SUFFIX)


class UploadIndex:
    """The unfinished uploads by their tenant, each in a file `KEY.SIZE.part`. Any thread may use it.

    A key is the digest of the announced digest and size. A tenant's folder is named after the digest of the
    tenant's name.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the folder."""
        self._folder = folder
        self._lock = threading.Lock()
        self._uploads: dict[str, dict[str, Upload]] = {}
        for path in folder.glob(f"*/*{SUFFIX}"):
            key, _, size = path.name.removesuffix(SUFFIX).partition(".")
            stat = path.stat()
            announced = int(size) if size.isascii() and size.isdigit() else stat.st_size
            upload = Upload(path, announced, stat.st_size, stat.st_mtime)
            self._uploads.setdefault(path.parent.name, {})[key] = upload

    def path(self, tenant: str, key: str, size_bytes: int) -> Path:
        """The path of an upload's file."""
        return self._folder / digest(tenant.encode()) / f"{key}.{size_bytes}{SUFFIX}"

    def get(self, tenant: str, key: str) -> Upload | None:
        with self._lock:
            return self._of(tenant).get(key)

    def put(self, tenant: str, key: str, upload: Upload) -> None:
        with self._lock:
            self._uploads.setdefault(digest(tenant.encode()), {})[key] = upload

    def drop(self, upload: Upload) -> None:
        """Removes an upload from the index, if it is there."""
        with self._lock:
            folder = upload.path.parent.name
            uploads = self._uploads.get(folder, {})
            for key in [key for key, other in uploads.items() if other is upload]:
                del uploads[key]
            if not uploads:
                self._uploads.pop(folder, None)

    def count(self, tenant: str) -> int:
        with self._lock:
            return len(self._of(tenant))

    def oldest(self, tenant: str) -> tuple[str, Upload]:
        """The least recently used upload of a tenant, with its key. There must be one."""
        with self._lock:
            return min(self._of(tenant).items(), key=lambda item: item[1].used_time)

    def announced_bytes(self, tenant: str) -> int:
        """Total announced bytes of a tenant's uploads."""
        with self._lock:
            return sum(upload.announced_bytes for upload in self._of(tenant).values())

    def committed_bytes(self, tenant: str | None = None) -> int:
        """Total bytes stored for the uploads, of a tenant or of all."""
        with self._lock:
            uploads = self._all() if tenant is None else self._of(tenant).values()
            return sum(upload.committed_bytes for upload in uploads)

    def older(self, time: float, tenant: str | None = None) -> list[tuple[str, Upload]]:
        """The uploads, of a tenant or of all, for which no data has arrived since a time, with their keys."""
        with self._lock:
            return [
                (key, upload)
                for uploads in (self._uploads.values() if tenant is None else [self._of(tenant)])
                for key, upload in uploads.items()
                if upload.used_time < time
            ]

    def bring_back(self, now: float) -> None:
        """Sets times of use after `now` to `now`: the clock was set back since."""
        with self._lock:
            for upload in self._all():
                upload.used_time = min(upload.used_time, now)

    def _of(self, tenant: str) -> dict[str, Upload]:
        return self._uploads.get(digest(tenant.encode()), {})

    def _all(self) -> Iterator[Upload]:
        for uploads in self._uploads.values():
            yield from uploads.values()
