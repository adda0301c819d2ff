"""The store compared with a model in plain dictionaries, for any order of calls, openings included."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES
from impasto_server.store.store import (
    MissingImage,
    QuotaExceeded,
    Record,
    RequestIdTaken,
    Store,
    WrongOffset,
)
from support.stored_jobs import RESERVED_BYTES, ended, files_in, new_record, write_checkpoint

TENANTS = ("anna", "bela")
UNFINISHED = (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_PAUSED)
FAR = 1e9
"""Age in seconds at which everything is old."""

tenants = st.sampled_from(TENANTS)
pictures = st.sampled_from([b"a", b"bb", b"cccc"])
states = st.sets(st.sampled_from([*UNFINISHED, *FINAL_STATES]))


@dataclasses.dataclass
class Kept:
    """What the model knows about a job."""

    record: Record
    checkpoint: bytes | None = None
    result: bytes | None = None
    end_time: float = 0.0

    @property
    def final(self) -> bool:
        return self.record.job.state in FINAL_STATES

    @property
    def size_bytes(self) -> int:
        return len(self.checkpoint or b"") + len(self.result or b"")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class StoreMachine(RuleBasedStateMachine):
    names = Bundle("names")

    @initialize(quota=st.sampled_from([None, 10, 2 * RESERVED_BYTES + 12]))
    def begin(self, quota: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.quota = quota
        self.store = Store(self.folder, quota_bytes=quota)
        self.openings = 1
        self.images: dict[tuple[str, str], bytes] = {}
        self.uploads: dict[tuple[str, bytes], bytes] = {}
        self.jobs: dict[str, Kept] = {}
        # Later than the creation of any job.
        self.clock = 1_800_000_000.0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def stored_bytes(self, tenant: str) -> int:
        return (
            sum(len(data) for (owner, _), data in self.images.items() if owner == tenant)
            + sum(len(data) for owner, data in self.uploads if owner == tenant)
            + sum(
                len(kept.result or b"") if kept.final else RESERVED_BYTES
                for kept in self.jobs.values()
                if kept.record.tenant == tenant
            )
        )

    def refused(self, tenant: str, more_bytes: int) -> bool:
        return self.quota is not None and self.stored_bytes(tenant) + more_bytes > self.quota

    def check_refusal(self, error: QuotaExceeded, tenant: str, more_bytes: int) -> None:
        assert (error.quota_bytes, error.needed_bytes) == (self.quota, self.stored_bytes(tenant) + more_bytes)
        assert self.refused(tenant, more_bytes)

    def all_stored_bytes(self) -> int:
        return (
            sum(map(len, {sha256: data for (_, sha256), data in self.images.items()}.values()))
            + sum(map(len, self.uploads.values()))
            + sum(kept.size_bytes for kept in self.jobs.values())
        )

    def forget_unused(self) -> None:
        used = {(kept.record.tenant, kept.record.spec.content.sha256) for kept in self.jobs.values()}
        self.images = {key: data for key, data in self.images.items() if key in used}

    @rule(tenant=tenants, data=pictures)
    def put_image(self, tenant: str, data: bytes) -> None:
        key = tenant, sha256_of(data)
        try:
            assert self.store.images.put(tenant, data) == key[1]
            assert key in self.images or not self.refused(tenant, len(data))
            self.images[key] = data
        except QuotaExceeded as error:
            assert key not in self.images
            self.check_refusal(error, tenant, len(data))

    @rule(tenant=tenants, data=pictures, offset=st.integers(0, 3), length=st.integers(1, 4))
    def upload(self, tenant: str, data: bytes, offset: int, length: int) -> None:
        sha256 = sha256_of(data)
        sent = self.uploads.get((tenant, data), b"")
        whole = (tenant, sha256) in self.images
        expected = (len(data), True) if whole else (len(sent), False)
        assert self.store.uploads.offset(tenant, sha256, len(data)) == expected
        piece = data[offset : offset + length]
        try:
            committed = self.store.uploads.append(tenant, sha256, len(data), offset, piece)
            if whole:
                assert committed == len(data)
                return
            assert offset == len(sent)
            assert (tenant, data) in self.uploads or not self.refused(tenant, len(data))
            self.uploads[tenant, data] = sent + piece
            assert committed == len(sent + piece)
        except WrongOffset as wrong:
            assert not whole
            assert wrong.committed == len(sent) != offset
        except QuotaExceeded as error:
            assert not whole
            assert not sent
            self.check_refusal(error, tenant, len(data))

    @rule(tenant=tenants, data=pictures)
    def finish_upload(self, tenant: str, data: bytes) -> None:
        key = tenant, sha256_of(data)
        try:
            self.store.uploads.finish(tenant, key[1], len(data), None)
            assert key in self.images or self.uploads[tenant, data] == data
            self.uploads.pop((tenant, data), None)
            self.images[key] = data
        except WrongOffset:
            assert key not in self.images
            assert self.uploads.get((tenant, data), b"") != data

    @rule(
        target=names,
        tenant=tenants,
        data=pictures,
        request_id=st.sampled_from(["", "r", "s"]),
        request_digest=st.sampled_from([b"1", b"2"]),
    )
    def create(self, tenant: str, data: bytes, request_id: str, request_digest: bytes) -> object:
        sha256 = sha256_of(data)
        record = new_record([sha256], tenant=tenant, request_id=request_id, request_digest=request_digest)
        same = [
            kept.record
            for kept in self.jobs.values()
            if request_id and (kept.record.tenant, kept.record.request_id) == (tenant, request_id)
        ]
        try:
            stored = self.store.jobs.create(record)
        except RequestIdTaken:
            assert same[0].request_digest != request_digest
            return multiple()
        except MissingImage:
            assert not same
            assert (tenant, sha256) not in self.images
            return multiple()
        except QuotaExceeded as error:
            assert not same
            self.check_refusal(error, tenant, RESERVED_BYTES)
            return multiple()
        if same:
            assert stored == same[0]
            return multiple()
        assert (tenant, sha256) in self.images
        assert not self.refused(tenant, RESERVED_BYTES)
        assert stored == record
        self.jobs[record.job.name] = Kept(copy.deepcopy(stored))
        return record.job.name

    @rule(name=names, state=st.sampled_from(UNFINISHED), furthest=st.integers(0, 9), durable=st.booleans())
    def save(self, name: str, state: pb.JobState, furthest: int, durable: bool) -> None:
        kept = self.jobs.get(name)
        record = copy.deepcopy(kept.record) if kept else new_record()
        record.job.state, record.furthest = state, furthest
        stored = self.store.jobs.save(record, durable=durable)
        assert stored == (kept is not None and not kept.final)
        if kept and stored:
            kept.record = record

    @rule(name=names, state=st.sampled_from([pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED]))
    def end(self, name: str, state: pb.JobState) -> None:
        if kept := self.jobs.get(name):
            self.clock += 1
            record = ended(copy.deepcopy(kept.record), state, self.clock)
            stored = self.store.jobs.save(record)
            assert stored == (not kept.final or kept.record.job.state == state)
            if stored:
                record.checkpoint = None
                # A job becomes final only once.
                kept.end_time = kept.end_time if kept.final else self.clock
                kept.record, kept.checkpoint = record, None

    @rule(name=names, result=st.sampled_from([b"r" * 5, b"s" * 9]))
    def succeed(self, name: str, result: bytes) -> None:
        if kept := self.jobs.get(name):
            self.clock += 1
            record = ended(copy.deepcopy(kept.record), pb.JOB_STATE_SUCCEEDED, self.clock)
            before = kept.record.job.state
            assert self.store.results.finish(record, io.BytesIO(result)) == (
                before in UNFINISHED or before == pb.JOB_STATE_SUCCEEDED
            )
            if before in UNFINISHED:
                record.checkpoint = None
                kept.record, kept.checkpoint, kept.result = record, None, result
                kept.end_time = self.clock

    @rule(name=names, evaluation=st.integers(0, 9), data=st.sampled_from([b"checkpoint", b"another"]))
    def checkpoint(self, name: str, evaluation: int, data: bytes) -> None:
        kept = self.jobs.get(name)
        stored = write_checkpoint(self.store, name, evaluation, data)
        assert stored == (kept is not None and not kept.final)
        if kept and stored:
            kept.checkpoint, kept.record.checkpoint = data, evaluation

    @rule(name=names)
    def drop_checkpoints(self, name: str) -> None:
        self.store.checkpoints.drop(name)
        if kept := self.jobs.get(name):
            kept.checkpoint = kept.record.checkpoint = None

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.store.jobs.delete(name)
        self.jobs.pop(name, None)

    @rule(age=st.none() | st.integers(0, 5), max_bytes=st.none() | st.integers(0, 60), old=st.booleans())
    def sweep(self, age: int | None, max_bytes: int | None, old: bool) -> None:
        # Images are used at the real time; jobs end at the model's time.
        deleted = self.store.retention.sweep(
            self.clock,
            max_age=age,
            max_bytes=max_bytes,
            upload_age=self.clock - time.time() - FAR if old else FAR,
        )
        expected = []
        if old:
            self.uploads.clear()
        final = sorted((kept.end_time, name) for name, kept in self.jobs.items() if kept.final)
        for end_time, name in list(final):
            if age is not None and end_time < self.clock - age:
                expected.append(name)
                final.remove((end_time, name))
                del self.jobs[name]
        if old:
            self.forget_unused()
        while max_bytes is not None and final and self.all_stored_bytes() > max_bytes:
            _, name = final.pop(0)
            expected.append(name)
            del self.jobs[name]
            if old:
                self.forget_unused()
        assert deleted == expected

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = Store(self.folder, quota_bytes=self.quota)
        self.openings += 1
        assert self.store.generation == self.openings
        assert self.store.missing == ()

    @rule(tenant=tenants, states=states, page_size=st.integers(1, 3))
    def list(self, tenant: str, states: set[pb.JobState], page_size: int) -> None:
        listed: list[Record] = []
        token = ""
        while True:
            page, token = self.store.jobs.list(tenant, states=states, page_size=page_size, page_token=token)
            assert len(page) == page_size or not token
            listed += page
            if not token:
                break
        ours = [kept.record for kept in self.jobs.values() if kept.record.tenant == tenant]
        wanted = [record for record in ours if not states or record.job.state in states]
        assert listed == wanted[::-1]

    @invariant()
    def everything_is_there(self) -> None:
        for tenant in TENANTS:
            assert self.store.stored_bytes(tenant) == self.stored_bytes(tenant)
        for (tenant, sha256), data in self.images.items():
            image = self.store.images.get(tenant, sha256)
            assert image is not None
            assert image.path.read_bytes() == data
        for name, kept in self.jobs.items():
            assert self.store.jobs.get(name) == kept.record
            for path, data in (
                (self.store.checkpoints.path(name), kept.checkpoint),
                (self.store.results.path(name), kept.result),
            ):
                assert (path.read_bytes() if path else None) == data
        unfinished = [kept.record for kept in self.jobs.values() if not kept.final]
        assert self.store.jobs.unfinished() == unfinished
        number = len({sha256 for _, sha256 in self.images}) + len(self.uploads)
        number += sum(
            (kept.checkpoint is not None) + (kept.result is not None) for kept in self.jobs.values()
        )
        assert len(files_in(self.folder)) == number


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
