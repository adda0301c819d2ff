from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import (
    BadPageToken,
    DigestMismatch,
    MissingImage,
    QuotaExceeded,
    Record,
    RequestIdTaken,
    Store,
    StoreError,
    WrongOffset,
)
from stored_jobs import ended, files_in, new_record, write_checkpoint

DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    yield store
    store.close()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def accept(_: bytes) -> None:
    pass


def make_job(store: Store, image: bytes = b"content", tenant: str = "anna") -> Record:
    return store.create(new_record([store.put_image(tenant, image)], tenant=tenant))


def succeed(store: Store, record: Record, result: bytes, end_time: float = 1_700_000_000.0) -> bool:
    ended(record, pb.JOB_STATE_SUCCEEDED, end_time)
    record.job.result.CopyFrom(pb.ImageInfo(size_bytes=len(result), sha256=sha256_of(result)))
    return store.finish(record, result)


# Images


def test_an_image_is_its_tenants_alone(store: Store) -> None:
    sha256 = store.put_image("anna", b"picture")
    assert sha256 == sha256_of(b"picture")
    image = store.image("anna", sha256)
    assert image is not None
    assert (image.path.read_bytes(), image.size_bytes, image.raw) == (b"picture", 7, False)
    assert store.image("bela", sha256) is None
    assert store.image("anna", "../jobs.sqlite3") is None


def test_tenants_share_the_file_of_an_image_but_not_its_keeping(store: Store, folder: Path) -> None:
    sha256 = store.put_image("anna", b"picture", raw=True)
    store.create(new_record([sha256]))
    store.put_image("bela", b"picture", raw=True)
    assert files_in(folder) == {f"images/{sha256}"}
    assert store.stored_bytes("anna") == store.stored_bytes("bela") == 7
    store.sweep(time.time() + 2 * DAY, max_age=None, max_bytes=None)
    assert store.image("bela", sha256) is None
    image = store.image("anna", sha256)
    assert image is not None
    assert image.raw


def test_a_quota_counts_what_is_stored_once(store: Store) -> None:
    store.put_image("anna", b"1234", quota_bytes=6)
    store.put_image("anna", b"1234", quota_bytes=6)
    with pytest.raises(QuotaExceeded) as refused:
        store.put_image("anna", b"567", quota_bytes=6)
    assert (refused.value.quota_bytes, refused.value.needed_bytes) == (6, 7)
    assert store.stored_bytes("anna") == 4
    store.put_image("bela", b"567", quota_bytes=6)


def test_an_image_whose_file_was_lost_is_missing_until_it_is_sent_again(store: Store) -> None:
    sha256 = store.put_image("anna", b"picture")
    image = store.image("anna", sha256)
    assert image is not None
    image.path.unlink()
    assert store.image("anna", sha256) is None
    with pytest.raises(MissingImage):
        store.create(new_record([sha256]))
    store.put_image("anna", b"picture")
    assert store.create(new_record([sha256])).spec.content.sha256 == sha256


# Uploads


def test_an_upload_goes_on_where_it_broke_off(folder: Path) -> None:
    sha256 = sha256_of(b"12345678")
    store = Store(folder)
    assert store.upload_offset("anna", sha256, 8) == (0, False)
    assert store.append_upload("anna", sha256, 8, 0, b"123") == 3
    store.close()
    store = Store(folder)
    assert store.upload_offset("anna", sha256, 8) == (3, False)
    assert store.upload_offset("bela", sha256, 8) == (0, False)
    with pytest.raises(WrongOffset) as wrong:
        store.append_upload("anna", sha256, 8, 2, b"3")
    assert wrong.value.committed == 3
    with pytest.raises(WrongOffset):
        store.finish_upload("anna", sha256, 8, accept)
    assert store.append_upload("anna", sha256, 8, 3, b"45678") == 8
    assert store.image("anna", sha256) is None
    seen: list[bytes] = []
    store.finish_upload("anna", sha256, 8, seen.append)
    assert seen == [b"12345678"]
    assert store.upload_offset("anna", sha256, 8) == (8, True)
    assert store.append_upload("anna", sha256, 8, 0, b"123") == 8
    store.finish_upload("anna", sha256, 8, accept)
    assert files_in(folder) == {f"images/{sha256}"}
    store.close()


def test_an_upload_of_other_data_than_announced_is_forgotten(store: Store, folder: Path) -> None:
    sha256 = sha256_of(b"1234")
    store.append_upload("anna", sha256, 4, 0, b"4321")
    with pytest.raises(DigestMismatch):
        store.finish_upload("anna", sha256, 4, accept)
    assert store.upload_offset("anna", sha256, 4) == (0, False)
    store.append_upload("anna", sha256, 4, 0, b"123")
    with pytest.raises(DigestMismatch):
        store.append_upload("anna", sha256, 4, 3, b"45")
    assert store.upload_offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_an_upload_that_the_check_refuses_is_forgotten(store: Store, folder: Path) -> None:
    def refuse(_: bytes) -> None:
        raise LookupError("not a picture")

    sha256 = sha256_of(b"1234")
    store.append_upload("anna", sha256, 4, 0, b"1234")
    with pytest.raises(LookupError, match="not a picture"):
        store.finish_upload("anna", sha256, 4, refuse)
    assert store.upload_offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_uploads_count_towards_the_quota_once(store: Store) -> None:
    sha256 = sha256_of(b"12345678")
    with pytest.raises(QuotaExceeded):
        store.append_upload("anna", sha256, 8, 0, b"12345678", quota_bytes=7)
    store.append_upload("anna", sha256, 8, 0, b"12345678")
    assert store.stored_bytes("anna") == 8
    with pytest.raises(QuotaExceeded):
        store.finish_upload("anna", sha256, 8, accept, quota_bytes=7)
    store.finish_upload("anna", sha256, 8, accept, quota_bytes=8)
    assert store.stored_bytes("anna") == 8


def test_of_many_that_append_at_once_one_does(store: Store) -> None:
    data = bytes(100_000)
    outcomes: list[str] = []

    def append() -> None:
        try:
            store.append_upload("anna", sha256_of(data), len(data), 0, data)
            outcomes.append("done")
        except WrongOffset:
            outcomes.append("wrong offset")

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["wrong offset"] * 7
    store.finish_upload("anna", sha256_of(data), len(data), accept)


# Jobs


def test_a_job_comes_back_as_it_was_stored(folder: Path) -> None:
    store = Store(folder)
    record = new_record([store.put_image("anna", b"a"), store.put_image("anna", b"b")], request_id="r")
    record.request_digest, record.linger, record.deaths, record.furthest = b"\0\xff", 2.5, 2, 17
    record.job.queue_position = 3
    record.job.spec.CopyFrom(record.spec)
    record.spec.styles.add(image=pb.Image(style="styles/waves"), weight=2)
    stored = store.create(record)
    assert not stored.job.queue_position
    assert not stored.job.HasField("spec")
    store.close()
    store = Store(folder)
    assert store.generation == 2
    assert store.get(record.job.name) == store.get(record.job.name, "anna") == stored
    assert (stored.spec, stored.linger, stored.deaths, stored.furthest) == (record.spec, 2.5, 2, 17)
    assert store.get(record.job.name, "bela") is None
    assert store.get("jobs/../../etc") is None
    store.close()


def test_an_equal_request_gives_the_job_there_is(store: Store) -> None:
    first = store.create(new_record(request_id="r", request_digest=b"1"))
    again = store.create(new_record(request_id="r", request_digest=b"1"))
    assert again == first
    with pytest.raises(RequestIdTaken):
        store.create(new_record(request_id="r", request_digest=b"2"))
    assert store.create(new_record(request_id="r", request_digest=b"2", tenant="bela")) != first
    assert store.create(new_record()) != store.create(new_record())
    store.delete(first.job.name)
    assert store.create(new_record(request_id="r", request_digest=b"2")).request_digest == b"2"


def test_calls_are_as_cheap_with_many_jobs(store: Store) -> None:
    """Counted in steps of SQLite's machine, which no busy machine makes more of."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    def cost(call: Callable[[], object]) -> int:
        before = steps
        call()
        return steps - before

    image = store.put_image("anna", b"content")
    request_ids = itertools.count()
    record = store.create(new_record([image]))

    def create() -> None:
        store.create(new_record([image], request_id=f"r{next(request_ids)}"))

    calls: list[Callable[[], object]] = [
        create,
        lambda: store.save(record),
        lambda: store.get(record.job.name),
        lambda: store.list("anna", page_size=10),
        lambda: write_checkpoint(store, record.job.name, 1, b"checkpoint"),
    ]
    for _ in range(20):
        create()
    assert store._database is not None
    store._database.set_progress_handler(count, 10)
    few = [cost(call) for call in calls]
    for _ in range(500):
        create()
    many = [cost(call) for call in calls]
    assert min(few) > 0
    assert all(after <= 2 * before + 100 for before, after in zip(few, many, strict=True)), (few, many)


def test_a_job_of_an_image_that_is_not_the_tenants_is_refused(store: Store) -> None:
    sha256 = store.put_image("anna", b"a")
    record = new_record([sha256], tenant="bela")
    with pytest.raises(MissingImage) as missing:
        store.create(record)
    assert missing.value.sha256 == sha256
    assert store.get(record.job.name) is None


@pytest.mark.parametrize(
    "image", ["content", "start_image", "selection", "styles", "content_mask", "style_mask"]
)
def test_every_image_of_an_unfinished_job_is_kept(store: Store, image: str) -> None:
    sha256 = store.put_image("anna", b"a")
    record = new_record()
    if image == "styles":
        record.spec.styles.add().image.sha256 = sha256
    elif image.endswith("_mask"):
        getattr(record.spec.regions.add(), image).sha256 = sha256
    else:
        getattr(record.spec, image).sha256 = sha256
    store.create(record)
    store.sweep(time.time() + 9 * DAY, max_age=0, max_bytes=0)
    assert store.image("anna", sha256) is not None


@pytest.mark.parametrize(
    "name", ["jobs/../x", "jobs/", "jobs/a/b", "x", "jobs/a.b", "jobs/" + "a" * 129, "jobs/a\n"]
)
def test_a_name_that_could_be_a_path_is_no_name(store: Store, folder: Path, name: str) -> None:
    record = new_record()
    record.job.name = name
    with pytest.raises(ValueError, match="no name of a job"):
        store.create(record)
    assert not store.save(record)
    assert not write_checkpoint(store, name, 1, b"checkpoint")
    assert store.checkpoint_path(name) is store.result_path(name) is None
    store.drop_checkpoints(name)
    store.delete(name)
    assert not succeed(store, record, b"result")
    assert not files_in(folder)


def test_what_may_not_be_stored_is_refused(store: Store) -> None:
    with_bytes = new_record()
    with_bytes.spec.content.encoded = b"png"
    twice = store.create(new_record())
    for record in (with_bytes, ended(new_record(), pb.JOB_STATE_FAILED), twice):
        with pytest.raises(ValueError, match=r"names its images|not final|there is a job"):
            store.create(record)
    with pytest.raises(ValueError, match="call `finish`"):
        store.save(ended(twice, pb.JOB_STATE_SUCCEEDED))
    with pytest.raises(ValueError, match="SUCCEEDED"):
        store.finish(new_record(), b"result")


@pytest.mark.parametrize("durable", [True, False])
def test_saving_changes_message_deaths_and_furthest(folder: Path, durable: bool) -> None:
    store = Store(folder)
    record = store.create(new_record())
    record.job.state, record.deaths, record.furthest = pb.JOB_STATE_RUNNING, 1, 20
    record.job.progress.evaluation = 20
    assert store.save(record, durable=durable)
    store.close()
    store = Store(folder)
    assert store.get(record.job.name) == record
    store.delete(record.job.name)
    assert not store.save(record)
    assert store.get(record.job.name) is None
    store.close()


def test_a_final_state_stays(store: Store, folder: Path) -> None:
    record = store.create(new_record())
    write_checkpoint(store, record.job.name, 3, b"checkpoint")
    store.save(ended(record, pb.JOB_STATE_CANCELLED))
    assert store.checkpoint_path(record.job.name) is None
    assert not files_in(folder)
    for state in (pb.JOB_STATE_RUNNING, pb.JOB_STATE_FAILED):
        record.job.state = state
        assert not store.save(record)
    assert not succeed(store, record, b"result")
    assert not write_checkpoint(store, record.job.name, 4, b"checkpoint")
    assert not files_in(folder)
    stored = store.get(record.job.name)
    assert stored is not None
    assert stored.job.state == pb.JOB_STATE_CANCELLED


def test_unfinished_jobs_come_the_oldest_first(store: Store) -> None:
    records = [store.create(new_record(tenant=tenant)) for tenant in ("anna", "bela", "anna", "bela")]
    store.save(ended(records[1], pb.JOB_STATE_FAILED))
    records[2].job.state = pb.JOB_STATE_PAUSED
    store.save(records[2])
    assert [record.job.name for record in store.unfinished()] == [records[i].job.name for i in (0, 2, 3)]


def test_pages_are_stable_while_jobs_come_and_go(store: Store) -> None:
    records = [store.create(new_record()) for _ in range(10)]
    store.create(new_record(tenant="bela"))
    names = [record.job.name for record in reversed(records)]
    first, token = store.list("anna", page_size=4)
    assert [record.job.name for record in first] == names[:4]
    store.create(new_record())
    store.delete(names[3])
    store.delete(names[5])
    second, token = store.list("anna", page_size=4, page_token=token)
    assert [record.job.name for record in second] == [names[4], *names[6:9]]
    third, token = store.list("anna", page_size=4, page_token=token)
    assert [record.job.name for record in third] == names[9:]
    assert token == ""


def test_jobs_made_in_the_same_moment_are_all_listed(store: Store) -> None:
    moment = new_record().job.create_time
    made = set()
    for _ in range(5):
        record = new_record()
        record.job.create_time.CopyFrom(moment)
        made.add(store.create(record).job.name)
    listed, token = [], ""
    while len(listed) < 9:
        page, token = store.list("anna", page_size=2, page_token=token)
        listed += [record.job.name for record in page]
        if not token:
            break
    assert sorted(listed) == sorted(made)


def test_a_list_of_some_states(store: Store) -> None:
    records = [store.create(new_record()) for _ in range(6)]
    for record in records[::2]:
        record.job.state = pb.JOB_STATE_PAUSED
        store.save(record)
    states = [pb.JOB_STATE_PAUSED, pb.JOB_STATE_RUNNING]
    page, token = store.list("anna", states=states, page_size=2)
    rest, end = store.list("anna", states=states[::-1], page_size=2, page_token=token)
    assert [record.job.name for record in page + rest] == [records[i].job.name for i in (4, 2, 0)]
    assert end == ""
    for wrong in ([], [pb.JOB_STATE_PAUSED]):
        with pytest.raises(BadPageToken):
            store.list("anna", states=wrong, page_size=2, page_token=token)


def test_a_token_that_is_none_of_this_list_is_refused(folder: Path) -> None:
    store = Store(folder)
    for _ in range(3):
        store.create(new_record())
        store.create(new_record(tenant="bela"))
    _, token = store.list("anna", page_size=1)
    changed = ("A" if token[5] != "A" else "B").join((token[:5], token[6:]))
    for bad in (
        changed,
        token + "=",
        token + "!",
        token[:-1],
        token.upper(),
        "x",
        "ü",
        "\0",
        "A" * 43,
        "\ud800",
    ):
        with pytest.raises(BadPageToken):
            store.list("anna", page_size=1, page_token=bad)
    with pytest.raises(BadPageToken):
        store.list("bela", page_size=1, page_token=token)
    store.close()
    store = Store(folder)
    assert len(store.list("anna", page_size=5, page_token=token)[0]) == 2
    store.close()


# Checkpoints and results


def test_the_newest_whole_checkpoint_is_kept(folder: Path) -> None:
    store = Store(folder)
    name = store.create(new_record()).job.name
    assert store.checkpoint_path(name) is None
    for evaluation, data in ((5, b"first"), (9, b"second"), (9, b"same again"), (2, b"begun anew")):
        assert write_checkpoint(store, name, evaluation, data)
        path = store.checkpoint_path(name)
        assert path is not None
        assert path.read_bytes() == data
        record = store.get(name)
        assert record is not None
        assert record.checkpoint == evaluation
        assert len(files_in(folder)) == 1
        assert store.stored_bytes("anna") == len(data)
    store.close()
    store = Store(folder)
    assert store.checkpoint_path(name) == path
    store.drop_checkpoints(name)
    record = store.get(name)
    assert record is not None
    assert record.checkpoint is store.checkpoint_path(name) is None
    assert not files_in(folder)
    store.close()


def test_a_checkpoint_that_is_not_committed_leaves_the_one_before(store: Store, folder: Path) -> None:
    name = store.create(new_record()).job.name
    write_checkpoint(store, name, 5, b"first")
    writer = store.checkpoint_writer(name, 6)
    writer.write(b"seco")
    writer.abort()
    with pytest.raises(StoreError):
        writer.commit()
    path = store.checkpoint_path(name)
    assert path is not None
    assert path.read_bytes() == b"first"
    assert len(files_in(folder)) == 1


def test_a_checkpoint_of_a_job_deleted_meanwhile_leaves_nothing(store: Store, folder: Path) -> None:
    name = store.create(new_record()).job.name
    write_checkpoint(store, name, 5, b"first")
    writer = store.checkpoint_writer(name, 6)
    writer.write(b"second")
    store.delete(name)
    assert not writer.commit()
    assert not files_in(folder)
    assert not list((folder / "checkpoints").iterdir())


def test_a_job_has_one_result(folder: Path) -> None:
    store = Store(folder)
    record = store.create(new_record())
    name = record.job.name
    write_checkpoint(store, name, 5, b"checkpoint")
    assert store.result_path(name) is None
    assert succeed(store, record, b"result")
    assert succeed(store, record, b"other")
    store.close()
    store = Store(folder)
    path = store.result_path(name)
    assert path is not None
    assert path.read_bytes() == b"result"
    assert store.checkpoint_path(name) is None
    stored = store.get(name)
    assert stored is not None
    assert stored.job.result.sha256 == sha256_of(b"result")
    assert store.stored_bytes("anna") == 6
    store.delete(name)
    assert store.result_path(name) is None
    assert not files_in(folder)
    store.close()


# House-keeping


def test_final_jobs_are_deleted_by_age_and_unfinished_ones_never(store: Store) -> None:
    now = time.time()
    old, new, running = (make_job(store) for _ in range(3))
    succeed(store, old, b"old", now - 100)
    store.save(ended(new, pb.JOB_STATE_FAILED, now - 10))
    assert store.sweep(now, max_age=None, max_bytes=None) == []
    assert store.sweep(now, max_age=50, max_bytes=None) == [old.job.name]
    assert store.result_path(old.job.name) is None
    assert store.get(new.job.name) is not None
    assert store.sweep(now, max_age=5, max_bytes=0) == [new.job.name]
    assert [record.job.name for record in store.unfinished()] == [running.job.name]


def test_many_old_jobs_are_deleted_in_one_sweep(store: Store, folder: Path) -> None:
    records = [store.create(new_record()) for _ in range(100)]
    for record in records:
        succeed(store, record, b"result", 1_000.0)
    assert store.sweep(2_000.0, max_age=10, max_bytes=None) == [record.job.name for record in records]
    assert not files_in(folder)


def test_the_oldest_final_jobs_make_room(store: Store) -> None:
    now = time.time()
    records = [make_job(store, b"%d" % i * 10) for i in range(4)]
    for i in (2, 0, 1):
        succeed(store, records[i], b"r" * 100, now - 100 + i)
    write_checkpoint(store, records[3].job.name, 1, b"c" * 50)
    stored = store.stored_bytes("anna")
    assert stored == 4 * 10 + 3 * 100 + 50
    assert store.sweep(now, max_age=None, max_bytes=stored) == []
    assert store.sweep(now, max_age=None, max_bytes=stored - 101) == [
        records[0].job.name,
        records[1].job.name,
    ]
    assert store.sweep(now, max_age=None, max_bytes=0) == [records[2].job.name]
    assert store.checkpoint_path(records[3].job.name) is not None


def test_images_and_uploads_that_nobody_uses_are_forgotten(store: Store, folder: Path) -> None:
    now = time.time()
    unused = store.put_image("anna", b"unused")
    used = make_job(store, b"used").spec.content.sha256
    store.append_upload("anna", sha256_of(b"never"), 5, 0, b"nev")
    store.sweep(now + 50, max_age=None, max_bytes=None, upload_age=100)
    assert len(files_in(folder)) == 3
    store.sweep(now + 200, max_age=None, max_bytes=None, upload_age=100)
    assert files_in(folder) == {f"images/{used}"}
    with pytest.raises(MissingImage):
        store.create(new_record([unused]))
    assert store.upload_offset("anna", sha256_of(b"never"), 5) == (0, False)


def test_an_image_that_was_named_again_is_kept(store: Store) -> None:
    first, second = store.put_image("anna", b"first"), store.put_image("anna", b"second")
    before = time.time()
    store.put_image("anna", b"first")
    assert store.upload_offset("anna", second, 6) == (6, True)
    store.sweep(before + DAY, max_age=None, max_bytes=None)
    assert store.image("anna", first) is not None
    assert store.image("anna", second) is not None


# Opening


def test_what_a_crash_left_is_removed_at_the_opening(folder: Path) -> None:
    store = Store(folder)
    record = make_job(store)
    write_checkpoint(store, record.job.name, 5, b"checkpoint")
    whole = files_in(folder)
    store.close()
    identifier = record.job.name.removeprefix("jobs/")
    for leftover in (
        "temporary/x.tmp",
        f"images/{'0' * 64}",
        "results/gone.png",
        f"results/{identifier}.png",
        "checkpoints/gone/3.safetensors",
        f"checkpoints/{identifier}/6.safetensors",
    ):
        (folder / leftover).parent.mkdir(exist_ok=True)
        (folder / leftover).write_bytes(b"leftover")
    store = Store(folder)
    assert files_in(folder) == whole
    assert store.missing == ()
    store.close()


def test_files_that_are_missing_are_reported(folder: Path) -> None:
    store = Store(folder)
    running, done = make_job(store), make_job(store)
    write_checkpoint(store, running.job.name, 5, b"checkpoint")
    succeed(store, done, b"result")
    paths = [
        store.checkpoint_path(running.job.name),
        store.result_path(done.job.name),
        folder / "images" / running.spec.content.sha256,
    ]
    store.close()
    for path in paths:
        assert path is not None
        path.unlink()
    store = Store(folder)
    assert set(store.missing) == set(paths)
    record = store.get(running.job.name)
    assert record is not None
    assert record.checkpoint is None
    assert store.result_path(done.job.name) is None
    store.close()


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.create(new_record())
    with pytest.raises(StoreError, match="closed"):
        store.unfinished()


def test_many_threads_at_once(store: Store) -> None:
    errors: list[BaseException] = []

    def work(tenant: str) -> None:
        try:
            for i in range(5):
                record = make_job(store, b"shared", tenant)
                write_checkpoint(store, record.job.name, i + 1, b"checkpoint")
                store.save(record, durable=bool(i % 2))
                succeed(store, record, tenant.encode(), 1.0)
                store.list(tenant, page_size=3)
                if i % 2:
                    store.delete(record.job.name)
                store.sweep(time.time() + 2 * DAY, max_age=None, max_bytes=None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"tenant {i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Between an image and its job a sweep may come that finds it unused for long: that much is allowed.
    assert all(isinstance(error, MissingImage) for error in errors), errors
    for i in range(6):
        for record in store.list(f"tenant {i}", page_size=50)[0]:
            if record.job.state == pb.JOB_STATE_SUCCEEDED:
                path = store.result_path(record.job.name)
                assert path is not None
                assert path.read_bytes() == b"tenant %d" % i
