"""The store's calls as they were before its parts; until their callers use these."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from impasto_server.store.checkpoints import Checkpoints, CheckpointWriter
from impasto_server.store.images import Images, StoredImage
from impasto_server.store.job_table import JobTable
from impasto_server.store.records import Record
from impasto_server.store.results import Results
from impasto_server.store.retention import Retention
from impasto_server.store.uploads import Uploads

_Records = list[Record]
_Names = list[str]


class FormerCalls:
    """To be removed. Quotas are the store's: those given here are not looked at."""

    images: Images
    uploads: Uploads
    jobs: JobTable
    checkpoints: Checkpoints
    results: Results
    retention: Retention

    def put_image(
        self, tenant: str, data: bytes, *, raw: bool = False, quota_bytes: int | None = None
    ) -> str:
        return self.images.put(tenant, data, raw=raw)

    def image(self, tenant: str, sha256: str) -> StoredImage | None:
        return self.images.get(tenant, sha256)

    def upload_offset(self, tenant: str, sha256: str, size_bytes: int) -> tuple[int, bool]:
        return self.uploads.offset(tenant, sha256, size_bytes)

    def append_upload(
        self,
        tenant: str,
        sha256: str,
        size_bytes: int,
        offset: int,
        data: bytes,
        quota_bytes: int | None = None,
    ) -> int:
        return self.uploads.append(tenant, sha256, size_bytes, offset, data)

    def finish_upload(
        self,
        tenant: str,
        sha256: str,
        size_bytes: int,
        check: Callable[[bytes], tuple[int, int] | None],
        quota_bytes: int | None = None,
    ) -> None:
        self.uploads.finish(tenant, sha256, size_bytes, check)

    def create(self, record: Record) -> Record:
        return self.jobs.create(record)

    def save(self, record: Record, *, durable: bool = True) -> bool:
        return self.jobs.save(record, durable=durable)

    def get(self, name: str, tenant: str | None = None) -> Record | None:
        return self.jobs.get(name, tenant)

    def list(
        self, tenant: str, *, states: Collection[int] = (), page_size: int, page_token: str = ""
    ) -> tuple[_Records, str]:
        return self.jobs.list(tenant, states=states, page_size=page_size, page_token=page_token)

    def by_request(self, tenant: str, request_id: str) -> Record | None:
        return self.jobs.by_request(tenant, request_id)

    def unfinished(self) -> _Records:
        return self.jobs.unfinished()

    def delete(self, name: str) -> None:
        self.jobs.delete(name)

    def checkpoint_writer(self, name: str, evaluation: int) -> CheckpointWriter:
        return self.checkpoints.writer(name, evaluation)

    def checkpoint_path(self, name: str) -> Path | None:
        return self.checkpoints.path(name)

    def drop_checkpoints(self, name: str) -> None:
        self.checkpoints.drop(name)

    def finish(self, record: Record, result: bytes) -> bool:
        return self.results.finish(record, result)

    def result_path(self, name: str) -> Path | None:
        return self.results.path(name)

    def sweep(self, now: float, *, max_age: float | None, max_bytes: int | None) -> _Names:
        return self.retention.sweep(now, max_age=max_age, max_bytes=max_bytes)
