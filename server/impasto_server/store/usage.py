"""How much is stored, for the administrator."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from impasto_server.store.database import Database
from impasto_server.store.errors import storage_errors
from impasto_server.store.retention import Retention
from impasto_server.store.upload_index import UploadIndex


@dataclasses.dataclass(frozen=True)
class Usage:
    """How much is stored.

    Attributes:
        stored_bytes: size of everything that is stored: images, uploads, checkpoints and results.
        free_bytes: space on the disk that is free for the server.
        by_tenant: size of the images, uploads and results of each tenant. An image that several tenants have
            counts for each.
    """

    stored_bytes: int
    free_bytes: int
    by_tenant: dict[str, int]


class UsageMeter:
    """Measures how much is stored. Any thread may call it."""

    def __init__(self, folder: Path, database: Database, uploads: UploadIndex, retention: Retention) -> None:
        self._folder = folder
        self._database = database
        self._uploads = uploads
        self._retention = retention

    def measure(self, tenants: Iterable[str]) -> Usage:
        """Measures what is stored now.

        Args:
            tenants: the tenants to measure.

        Raises:
            StoreError: the disk or the database cannot be read.
        """
        with storage_errors(self._folder):
            disk = os.statvfs(self._folder)
        files: dict[str, int] = {}
        for query in (
            "SELECT tenant, sum(size_bytes) FROM images JOIN blobs USING (sha256) GROUP BY tenant",
            "SELECT tenant, sum(coalesce(result_bytes, 0)) FROM jobs GROUP BY tenant",
        ):
            for tenant, size in self._database.rows(query):
                files[tenant] = files.get(tenant, 0) + size
        return Usage(
            stored_bytes=self._retention.stored_bytes(),
            free_bytes=disk.f_bavail * disk.f_frsize,
            by_tenant={t: files.get(t, 0) + self._uploads.committed_bytes(t) for t in tenants},
        )
