"""Jobs and images on disk: what was acknowledged outlives every process.

Rows are in SQLite; images, checkpoints and results are files beside it. A file is whole and on the disk
before a row speaks of it, so whatever a crash leaves can be told by its having no row.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs.blobs import WholeFile, leftovers, write_whole
from impasto_server.jobs.images import images_of
from impasto_server.jobs.schema import TooNew, migrate

_log = logging.getLogger(__name__)

FINAL_STATES = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})

_DATABASE = "impasto.sqlite3"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(Exception):
    """Something cannot be stored or read. The message says what to do."""


class DiskFull(StoreError):
    """There is no room; it goes on when there is."""


class QuotaExceeded(StoreError):
    """It would be more than is kept for the tenant."""


class MissingImage(StoreError):
    """The tenant has no such image.

    Attributes:
        sha256: which.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the image {sha256} is not there")
        self.sha256 = sha256


class RequestIdTaken(StoreError):
    """The request's id was used for another request."""


class BadPageToken(StoreError):
    """The token is none that was given for this list."""


class WrongOffset(StoreError):
    """An upload does not go on where it had come to.

    Attributes:
        committed: bytes that are there.
    """

    def __init__(self, committed: int) -> None:
        super().__init__(f"the upload has come to byte {committed}")
        self.committed = committed


class DigestMismatch(StoreError):
    """What was uploaded is not what its digest says; it is forgotten."""


@dataclasses.dataclass
class Record:
    """A job as it is stored.

    Attributes:
        job: as the contract shows it, without `spec`.
        spec: every image by its `sha256`; without the recipe.
        tenant: whose it is.
        request_id: empty if there was none.
        request_digest: tells an equal request from another.
        linger: seconds that it outlives its last watcher; None for ever.
        deaths: workers that died at its turn without its having got any further.
        furthest: evaluations that it ever got to.
        checkpoint: evaluation of its newest whole checkpoint; None if it has none.
    """

    job: pb.Job
    spec: pb.JobSpec
    tenant: str
    request_id: str
    request_digest: bytes
    linger: float | None
    deaths: int
    furthest: int
    checkpoint: int | None


@dataclasses.dataclass(frozen=True)
class StoredImage:
    """An image of a tenant.

    Attributes:
        path: of its bytes: a file as it was sent, or a serialized `RawPixels`.
        size_bytes: their length.
        raw: whether it is the latter.
    """

    path: Path
    size_bytes: int
    raw: bool


class CheckpointWriter:
    """A checkpoint that is being written: `write` its bytes, then `commit`, or `abort`."""

    def __init__(self, store: Store, name: str, evaluation: int, file: WholeFile) -> None:
        self._store = store
        self._name = name
        self._evaluation = evaluation
        self._file = file

    def write(self, data: bytes) -> None:
        """
        Raises:
            StoreError: it cannot be written.
        """
        with _storing():
            self._file.write(data)

    def commit(self) -> None:
        """From now on it is the job's newest; older ones are deleted. Nothing is left if the job is gone.

        Raises:
            StoreError: it cannot be stored; the one before it is still there.
        """
        with _storing():
            self._file.commit()
            self._store._take_checkpoint(self._name, self._evaluation, self._file.size_bytes)

    def abort(self) -> None:
        """Leaves nothing behind."""
        self._file.abort()


class Store:
    """All that a server keeps, in one folder. Safe to use from several threads.

    Every method may raise `StoreError`, `DiskFull` above all; then nothing has changed, and nothing
    half-written is left.

    Attributes:
        folder: where everything is.
        generation: how often it has been opened, this time included.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: made if need be. Only one server may use it at a time.

        Raises:
            StoreError: it cannot be used.
        """
        self.folder = folder
        with _storing(f"the data folder {folder} cannot be used"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise StoreError(
                f"the data folder {folder} is in use by another server; end that one, or give another folder "
                "with --data-dir"
            ) from None
        self._lock = threading.RLock()
        try:
            self._database = self._open()
            self.generation = self._next_generation()
            self._clean_up()
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Lets the folder go."""
        with self._lock:
            self._database.close()
            self._lock_file.close()

    # Images.

    def put_image(
        self, tenant: str, data: bytes, *, raw: bool = False, quota_bytes: int | None = None
    ) -> str:
        """Keeps an image for a tenant and returns its SHA-256.

        Args:
            data: a file's bytes, or a serialized `RawPixels`.
            raw: whether it is the latter.
            quota_bytes: what is kept for the tenant at most; None for no limit.

        Raises:
            QuotaExceeded: it would be more.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if self._touch(tenant, sha256):
            return sha256
        self._check_quota(tenant, len(data), quota_bytes)
        path = self._image_path(sha256)
        with _storing():
            if not path.exists():
                write_whole(path, data)
        self._own(tenant, sha256, len(data), raw)
        return sha256

    def image(self, tenant: str, sha256: str) -> StoredImage | None:
        """An image of a tenant; None if it has no such."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT size, raw FROM image WHERE tenant = ? AND sha256 = ?", (tenant, sha256)
            ).fetchone()
        return None if row is None else StoredImage(self._image_path(sha256), row[0], bool(row[1]))

    def upload_offset(self, tenant: str, sha256: str, size_bytes: int) -> tuple[int, bool]:
        """How many bytes of an upload are there, and whether it is an image already."""
        if self._touch(tenant, sha256):
            return size_bytes, True
        with contextlib.suppress(FileNotFoundError):
            return self._upload_path(tenant, sha256, size_bytes).stat().st_size, False
        return 0, False

    def append_upload(self, tenant: str, sha256: str, size_bytes: int, offset: int, data: bytes) -> int:
        """Takes a piece of an upload; returns how many bytes are there with it.

        Raises:
            WrongOffset: it is not the next one, or goes beyond the size.
        """
        path = self._upload_path(tenant, sha256, size_bytes)
        with _storing(), self._lock:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            with path.open("ab") as file:
                committed = file.tell()
                if offset != committed or offset + len(data) > size_bytes:
                    raise WrongOffset(committed)
                try:
                    file.write(data)
                    file.flush()
                except BaseException:
                    # What came before is worth keeping.
                    os.ftruncate(file.fileno(), committed)
                    raise
        return committed + len(data)

    def finish_upload(
        self,
        tenant: str,
        sha256: str,
        size_bytes: int,
        check: Callable[[bytes], None],
        quota_bytes: int | None = None,
    ) -> None:
        """Makes an upload that is all there an image of the tenant.

        Args:
            check: is given the bytes; what it raises ends this, and the upload is forgotten.
            quota_bytes: what is kept for the tenant at most; None for no limit.

        Raises:
            DigestMismatch: the bytes are not those that the digest is of.
            QuotaExceeded: it would be more than the quota.
        """
        path = self._upload_path(tenant, sha256, size_bytes)
        with _storing():
            data = path.read_bytes()
            try:
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise DigestMismatch("the upload is not what its digest says")
                check(data)
                self.put_image(tenant, data, quota_bytes=quota_bytes)
            except DiskFull:
                raise
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            path.unlink(missing_ok=True)

    # Jobs.

    def create(self, record: Record) -> Record:
        """Stores a new job; or returns the one that the same request made before.

        Raises:
            RequestIdTaken: its request's id was used for another one.
            MissingImage: an image of its specification is not the tenant's, or not any more.
        """
        with self._transaction(write=True) as database:
            if record.request_id:
                known = self._by_request(database, record.tenant, record.request_id)
                if known is not None:
                    if known.request_digest != record.request_digest:
                        raise RequestIdTaken("the request's id was used for another request")
                    return known
            job = record.job
            row = database.execute(
                "INSERT INTO job (name, tenant, request_id, request_digest, state, final, created, message, "
                "spec, linger, deaths, furthest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.name,
                    record.tenant,
                    record.request_id or None,
                    record.request_digest,
                    job.state,
                    job.state in FINAL_STATES,
                    job.create_time.ToNanoseconds(),
                    job.SerializeToString(),
                    record.spec.SerializeToString(),
                    record.linger,
                    record.deaths,
                    record.furthest,
                ),
            )
            for sha256 in sorted({image.sha256 for _, image in images_of(record.spec)}):
                try:
                    database.execute(
                        "INSERT INTO job_image (job, tenant, sha256) VALUES (?, ?, ?)",
                        (row.lastrowid, record.tenant, sha256),
                    )
                except sqlite3.IntegrityError:
                    raise MissingImage(sha256) from None
        return record

    def by_request(self, tenant: str, request_id: str) -> Record | None:
        """The job that a request made; None if there was no such request."""
        with self._transaction() as database:
            return self._by_request(database, tenant, request_id)

    def save(self, record: Record, *, durable: bool = True) -> None:
        """Stores what has become of a job.

        Args:
            durable: whether it is to outlive a power cut too, at once; else it outlives this process.
        """
        job = record.job
        ended = job.end_time.ToNanoseconds() if job.HasField("end_time") else None
        with self._transaction(write=True, durable=durable) as database:
            database.execute(
                "UPDATE job SET state = ?, final = ?, ended = ?, message = ?, deaths = ?, furthest = ? "
                "WHERE name = ?",
                (
                    job.state,
                    job.state in FINAL_STATES,
                    ended,
                    job.SerializeToString(),
                    record.deaths,
                    record.furthest,
                    job.name,
                ),
            )

    def get(self, name: str, tenant: str | None = None) -> Record | None:
        """A job: of this tenant, if one is given. None if there is no such."""
        with self._transaction() as database:
            row = database.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
        if row is None or (tenant is not None and row[0] != tenant):
            return None
        return _record(row)

    def page(
        self, tenant: str, *, states: Collection[int] = (), page_size: int, page_token: str = ""
    ) -> tuple[list[Record], str]:
        """A tenant's jobs, the newest first, and the token of the next page, empty after the last.

        Raises:
            BadPageToken: the token is not of such a list.
        """
        wanted = sorted(set(states))
        where, values = "tenant = ?", [tenant]
        if wanted:
            where += f" AND state IN ({', '.join('?' * len(wanted))})"
            values += wanted  # type: ignore[arg-type]
        if page_token:
            created, number = _read_token(page_token, wanted)
            where += " AND (created, id) < (?, ?)"
            values += [created, number]  # type: ignore[list-item]
        with self._transaction() as database:
            rows = database.execute(
                f"{_SELECT} WHERE {where} ORDER BY created DESC, id DESC LIMIT ?", (*values, page_size + 1)
            ).fetchall()
        token = ""
        if len(rows) > page_size:
            rows = rows[:page_size]
            token = _token(rows[-1][-2], rows[-1][-1], wanted)
        return [_record(row) for row in rows], token

    def unfinished(self) -> list[Record]:
        """Every job that is not over, the oldest first."""
        with self._transaction() as database:
            rows = database.execute(f"{_SELECT} WHERE NOT final ORDER BY created, id").fetchall()
        return [_record(row) for row in rows]

    def delete(self, name: str) -> None:
        """Deletes a job with its checkpoints and its result. Harmless if there is no such."""
        with self._transaction(write=True) as database:
            database.execute("DELETE FROM job WHERE name = ?", (name,))
        self._delete_files(name)

    # Checkpoints and results.

    def checkpoint_writer(self, name: str, evaluation: int) -> CheckpointWriter:
        """Begins a checkpoint of a job."""
        with _storing():
            file = WholeFile(self._checkpoints(name) / f"{evaluation}.safetensors")
        return CheckpointWriter(self, name, evaluation, file)

    def checkpoint_path(self, name: str) -> Path | None:
        """A job's newest whole checkpoint; None if it has none."""
        with self._transaction() as database:
            row = database.execute("SELECT checkpoint FROM job WHERE name = ?", (name,)).fetchone()
        if row is None or row[0] is None:
            return None
        path = self._checkpoints(name) / f"{row[0]}.safetensors"
        return path if path.exists() else None

    def drop_checkpoints(self, name: str) -> None:
        """Deletes a job's checkpoints."""
        with self._transaction(write=True, durable=False) as database:
            database.execute("UPDATE job SET checkpoint = NULL, checkpoint_bytes = 0 WHERE name = ?", (name,))
        shutil.rmtree(self._checkpoints(name), ignore_errors=True)

    def finish(self, record: Record, result: bytes) -> None:
        """Stores the result of a job, and then the job, which says that it is there. If it is interrupted in
        between, the job is not over, and a repeat of its work writes the same result over this one."""
        job = record.job
        with _storing():
            write_whole(self._result(job.name), result)
        with self._transaction(write=True) as database:
            changed = database.execute(
                "UPDATE job SET state = ?, final = 1, ended = ?, message = ?, deaths = ?, furthest = ?, "
                "checkpoint = NULL, checkpoint_bytes = 0, result_bytes = ? WHERE name = ?",
                (
                    job.state,
                    job.end_time.ToNanoseconds(),
                    job.SerializeToString(),
                    record.deaths,
                    record.furthest,
                    len(result),
                    job.name,
                ),
            ).rowcount
        if not changed:
            self._delete_files(job.name)
        shutil.rmtree(self._checkpoints(job.name), ignore_errors=True)

    def result_path(self, name: str) -> Path | None:
        """The result of a job that succeeded; None if there is none."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT 1 FROM job WHERE name = ? AND state = ?", (name, pb.JOB_STATE_SUCCEEDED)
            ).fetchone()
        path = self._result(name)
        return path if row is not None and path.exists() else None

    # Housekeeping.

    def stored_bytes(self, tenant: str) -> int:
        """What is kept for a tenant: images, checkpoints and results, in bytes."""
        with self._transaction() as database:
            (images,) = database.execute(
                "SELECT coalesce(sum(size), 0) FROM image WHERE tenant = ?", (tenant,)
            ).fetchone()
            (jobs,) = database.execute(
                "SELECT coalesce(sum(result_bytes + checkpoint_bytes), 0) FROM job WHERE tenant = ?",
                (tenant,),
            ).fetchone()
        return int(images + jobs)

    def sweep(
        self, now: float, *, max_age: float | None, max_bytes: int | None, upload_age: float = 86_400.0
    ) -> list[str]:
        """Deletes what is kept for too long or is too much, never what a job that is not over needs.

        Args:
            now: seconds since the epoch.
            max_age: seconds for which jobs that are over are kept; None for ever.
            max_bytes: of everything; beyond it, the jobs that ended first go first. None for no limit.
            upload_age: seconds for which an image that no job uses is kept, and an upload that is not whole.

        Returns:
            The names of the jobs deleted.
        """
        deleted: list[str] = []
        if max_age is not None:
            with self._transaction() as database:
                rows = database.execute(
                    "SELECT name FROM job WHERE final AND ended < ?", (int((now - max_age) * 1e9),)
                ).fetchall()
            for (name,) in rows:
                self.delete(name)
                deleted.append(name)
        self._drop_unused_images(now - upload_age)
        while max_bytes is not None and self._total_bytes() > max_bytes:
            with self._transaction() as database:
                row = database.execute("SELECT name FROM job WHERE final ORDER BY ended LIMIT 1").fetchone()
            if row is None:
                break
            self.delete(row[0])
            deleted.append(row[0])
            # Whose images nobody else uses.
            self._drop_unused_images(now - upload_age)
        for part in self._uploads.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_mtime < now - upload_age:
                    part.unlink()
        return deleted

    # Inside.

    def _open(self) -> sqlite3.Connection:
        path = self.folder / _DATABASE
        try:
            database = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA foreign_keys = ON")
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            migrate(database)
        except TooNew as error:
            raise StoreError(
                f"{path} was written by a later version of impasto-server ({error}); use that one, or give "
                "another folder with --data-dir"
            ) from error
        except sqlite3.OperationalError as error:
            raise _told(error, f"{path} cannot be used") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{path} is damaged ({error}), and was left as it is; put a copy from before in its place, "
                "or move the folder away to begin with an empty one"
            ) from error
        return database

    def _next_generation(self) -> int:
        with self._transaction(write=True) as database:
            database.execute("UPDATE counter SET generation = generation + 1")
            (generation,) = database.execute("SELECT generation FROM counter").fetchone()
        return int(generation)

    def _clean_up(self) -> None:
        """Deletes what a process that died left: files that are not whole, and files without a row."""
        with _storing():
            for path in leftovers(self.folder):
                path.unlink(missing_ok=True)
            with self._transaction() as database:
                jobs = database.execute("SELECT name, checkpoint, state FROM job").fetchall()
                images = {sha256 for (sha256,) in database.execute("SELECT DISTINCT sha256 FROM image")}
            checkpoints = {_file_name(name): number for name, number, _ in jobs}
            results = {f"{_file_name(name)}.png" for name, _, s in jobs if s == pb.JOB_STATE_SUCCEEDED}
            for folder in (self.folder / "checkpoints").glob("*"):
                for path in folder.iterdir():
                    if path.name != f"{checkpoints.get(folder.name)}.safetensors":
                        path.unlink(missing_ok=True)
                if not any(folder.iterdir()):
                    folder.rmdir()
            for path in (self.folder / "results").glob("*"):
                if path.name not in results:
                    path.unlink(missing_ok=True)
            for path in (self.folder / "images").glob("*/*"):
                if path.name not in images:
                    path.unlink(missing_ok=True)
        for name, number, _ in jobs:
            if number is not None and self.checkpoint_path(name) is None:
                _log.error("a checkpoint is not there, beginning anew job=%s evaluation=%d", name, number)

    @contextlib.contextmanager
    def _transaction(self, *, write: bool = False, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Everything in it happens, or nothing."""
        with self._lock:
            try:
                if write:
                    # In WAL mode NORMAL does not wait for the disk, and FULL does.
                    self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield self._database
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _told(error, "the database cannot be written" if write else "the database") from error

    def _by_request(self, database: sqlite3.Connection, tenant: str, request_id: str) -> Record | None:
        row = database.execute(
            f"{_SELECT} WHERE tenant = ? AND request_id = ?", (tenant, request_id)
        ).fetchone()
        return None if row is None else _record(row)

    def _touch(self, tenant: str, sha256: str) -> bool:
        """Notes that an image is wanted still; tells whether the tenant has it."""
        with self._transaction(write=True, durable=False) as database:
            changed = database.execute(
                "UPDATE image SET used = ? WHERE tenant = ? AND sha256 = ?", (time.time(), tenant, sha256)
            ).rowcount
        return bool(changed)

    def _own(self, tenant: str, sha256: str, size: int, raw: bool) -> None:
        with self._transaction(write=True) as database:
            if not self._image_path(sha256).exists():
                # A sweep has just deleted it for its last owner.
                raise StoreError("the image was deleted meanwhile; send it again")
            database.execute(
                "INSERT INTO image (tenant, sha256, size, raw, used) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET used = excluded.used",
                (tenant, sha256, size, raw, time.time()),
            )

    def _check_quota(self, tenant: str, more: int, quota: int | None) -> None:
        if quota is not None and self.stored_bytes(tenant) + more > quota:
            raise QuotaExceeded(f"more than {quota} bytes would be kept")

    def _take_checkpoint(self, name: str, evaluation: int, size: int) -> None:
        with self._transaction(write=True, durable=False) as database:
            taken = database.execute(
                "UPDATE job SET checkpoint = ?, checkpoint_bytes = ? WHERE name = ? AND NOT final",
                (evaluation, size, name),
            ).rowcount
        folder = self._checkpoints(name)
        if not taken:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.glob("*.safetensors"):
            if path.name != f"{evaluation}.safetensors":
                path.unlink(missing_ok=True)

    def _total_bytes(self) -> int:
        with self._transaction() as database:
            (images,) = database.execute(
                "SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM image GROUP BY sha256)"
            ).fetchone()
            (jobs,) = database.execute(
                "SELECT coalesce(sum(result_bytes + checkpoint_bytes), 0) FROM job"
            ).fetchone()
        return int(images + jobs)

    def _drop_unused_images(self, before: float) -> None:
        with self._transaction(write=True) as database:
            rows = database.execute(
                "DELETE FROM image WHERE used < ? AND NOT EXISTS (SELECT 1 FROM job_image "
                "WHERE job_image.tenant = image.tenant AND job_image.sha256 = image.sha256) "
                "RETURNING sha256",
                (before,),
            ).fetchall()
            for (sha256,) in rows:
                if not database.execute("SELECT 1 FROM image WHERE sha256 = ?", (sha256,)).fetchone():
                    # Within the transaction, which keeps others from taking it up meanwhile.
                    self._image_path(sha256).unlink(missing_ok=True)

    def _delete_files(self, name: str) -> None:
        shutil.rmtree(self._checkpoints(name), ignore_errors=True)
        with contextlib.suppress(OSError):
            self._result(name).unlink(missing_ok=True)

    def _image_path(self, sha256: str) -> Path:
        assert len(sha256) == 64
        assert sha256.isalnum()
        return self.folder / "images" / sha256[:2] / sha256

    @property
    def _uploads(self) -> Path:
        return self.folder / "uploads"

    def _upload_path(self, tenant: str, sha256: str, size_bytes: int) -> Path:
        key = json.dumps([tenant, sha256, size_bytes]).encode()
        return self._uploads / f"{hashlib.sha256(key).hexdigest()}.part"

    def _checkpoints(self, name: str) -> Path:
        return self.folder / "checkpoints" / _file_name(name)

    def _result(self, name: str) -> Path:
        return self.folder / "results" / f"{_file_name(name)}.png"


_SELECT = (
    "SELECT tenant, message, spec, coalesce(request_id, ''), request_digest, linger, deaths, furthest, "
    "checkpoint, created, id FROM job"
)


def _record(row: Any) -> Record:
    tenant, message, spec, request_id, digest, linger, deaths, furthest, checkpoint, *_ = row
    return Record(
        job=pb.Job.FromString(message),
        spec=pb.JobSpec.FromString(spec),
        tenant=tenant,
        request_id=request_id,
        request_digest=digest,
        linger=linger,
        deaths=deaths,
        furthest=furthest,
        checkpoint=checkpoint,
    )


def _file_name(name: str) -> str:
    """A name that is safe as a file's, from a job's; not two jobs' the same."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _token(created: int, number: int, states: Collection[int]) -> str:
    body = json.dumps([created, number, list(states)]).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:6] + body).decode()


def _read_token(token: str, states: Collection[int]) -> tuple[int, int]:
    try:
        read = base64.urlsafe_b64decode(token.encode("ascii"))
        check, body = read[:6], read[6:]
        created, number, of_states = json.loads(body)
    except (ValueError, TypeError) as error:
        raise BadPageToken("the page token is none of ours") from error
    if hashlib.sha256(body).digest()[:6] != check or of_states != list(states):
        raise BadPageToken("the page token is of another list")
    return int(created), int(number)


def _told(error: Exception, what: str) -> StoreError:
    if isinstance(error, OSError) and error.errno in _FULL:
        return DiskFull("the server's disk is full; make room, or try again later")
    if isinstance(error, sqlite3.Error) and "disk is full" in str(error):
        return DiskFull("the server's disk is full; make room, or try again later")
    return StoreError(f"{what} ({error}); see to it that this folder can be written, and has room")


@contextlib.contextmanager
def _storing(what: str = "a file cannot be written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _told(error, what) from error
