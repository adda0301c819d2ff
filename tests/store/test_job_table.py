from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import (
    BadPageToken,
    MissingImage,
    RequestIdTaken,
    Store,
)
from support.stored_jobs import ended, files_in, new_record, succeed, write_checkpoint

DAY = 86_400.0


def test_a_job_is_read_as_it_was_stored(folder: Path) -> None:
    store = Store(folder)
    record = new_record([store.images.put("anna", b"a"), store.images.put("anna", b"b")], request_id="r")
    record.request_digest, record.linger, record.deaths, record.furthest = b"\0\xff", 2.5, 2, 17
    record.job.queue_position = 3
    record.job.spec.CopyFrom(record.spec)
    record.spec.styles.add(image=pb.Image(style="styles/waves"), weight=2)
    stored = store.jobs.create(record)
    assert not stored.job.queue_position
    assert not stored.job.HasField("spec")
    store.close()
    store = Store(folder)
    assert store.generation == 2
    assert store.jobs.get(record.job.name) == store.jobs.get(record.job.name, "anna") == stored
    assert (stored.spec, stored.linger, stored.deaths, stored.furthest) == (record.spec, 2.5, 2, 17)
    assert store.jobs.get(record.job.name, "bela") is None
    assert store.jobs.get("jobs/../../etc") is None
    store.close()


def test_an_equal_request_returns_the_existing_job(store: Store) -> None:
    first = store.jobs.create(new_record(request_id="r", request_digest=b"1"))
    again = store.jobs.create(new_record(request_id="r", request_digest=b"1"))
    assert again == first
    with pytest.raises(RequestIdTaken):
        store.jobs.create(new_record(request_id="r", request_digest=b"2"))
    assert store.jobs.create(new_record(request_id="r", request_digest=b"2", tenant="bela")) != first
    assert store.jobs.create(new_record()) != store.jobs.create(new_record())
    store.jobs.delete(first.job.name)
    assert store.jobs.create(new_record(request_id="r", request_digest=b"2")).request_digest == b"2"


def test_calls_take_no_longer_with_many_jobs(store: Store) -> None:
    """Counts steps of SQLite's virtual machine, which do not depend on the load of the machine."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    def cost(call: Callable[[], object]) -> int:
        before = steps
        call()
        return steps - before

    image = store.images.put("anna", b"content")
    request_ids = itertools.count()
    record = store.jobs.create(new_record([image]))

    def create() -> None:
        store.jobs.create(new_record([image], request_id=f"r{next(request_ids)}"))

    calls: list[Callable[[], object]] = [
        create,
        lambda: store.jobs.save(record),
        lambda: store.jobs.get(record.job.name),
        lambda: store.jobs.list("anna", page_size=10),
        lambda: write_checkpoint(store, record.job.name, 1, b"checkpoint"),
    ]
    for _ in range(20):
        create()
    assert store._database is not None
    connections = [store._database._writer, *store._database._readers]
    assert len(connections) == 2
    for connection in connections:
        connection.set_progress_handler(count, 10)
    few = [cost(call) for call in calls]
    for _ in range(500):
        create()
    many = [cost(call) for call in calls]
    assert min(few) > 0
    assert all(after <= 2 * before + 100 for before, after in zip(few, many, strict=True)), (few, many)


def test_a_job_with_another_tenants_image_is_refused(store: Store) -> None:
    sha256 = store.images.put("anna", b"a")
    record = new_record([sha256], tenant="bela")
    with pytest.raises(MissingImage) as missing:
        store.jobs.create(record)
    assert missing.value.sha256 == sha256
    assert store.jobs.get(record.job.name) is None


@pytest.mark.parametrize(
    "image", ["content", "start_image", "selection", "styles", "content_mask", "style_mask"]
)
def test_every_image_of_an_unfinished_job_is_kept(store: Store, image: str) -> None:
    sha256 = store.images.put("anna", b"a")
    record = new_record()
    if image == "styles":
        record.spec.styles.add().image.sha256 = sha256
    elif image.endswith("_mask"):
        getattr(record.spec.regions.add(), image).sha256 = sha256
    else:
        getattr(record.spec, image).sha256 = sha256
    store.jobs.create(record)
    store.retention.sweep(time.time() + 9 * DAY, max_age=0, max_bytes=0)
    assert store.images.get("anna", sha256) is not None


@pytest.mark.parametrize(
    "name", ["jobs/../x", "jobs/", "jobs/a/b", "x", "jobs/a.b", "jobs/" + "a" * 129, "jobs/a\n"]
)
def test_a_name_that_could_be_a_path_is_refused(store: Store, folder: Path, name: str) -> None:
    record = new_record()
    record.job.name = name
    with pytest.raises(ValueError, match="not a valid name of a job"):
        store.jobs.create(record)
    assert not store.jobs.save(record)
    assert not write_checkpoint(store, name, 1, b"checkpoint")
    assert store.checkpoints.path(name) is store.results.path(name) is None
    store.checkpoints.drop(name)
    store.jobs.delete(name)
    assert not succeed(store, record, b"result")
    assert not files_in(folder)


def test_invalid_records_are_refused(store: Store) -> None:
    with_bytes = new_record()
    with_bytes.spec.content.encoded = b"png"
    twice = store.jobs.create(new_record())
    for record in (with_bytes, ended(new_record(), pb.JOB_STATE_FAILED), twice):
        with pytest.raises(ValueError, match=r"name its images|not be final|there is already a job"):
            store.jobs.create(record)
    with pytest.raises(ValueError, match="call `Results"):
        store.jobs.save(ended(twice, pb.JOB_STATE_SUCCEEDED))
    with pytest.raises(ValueError, match="SUCCEEDED"):
        store.results.finish(new_record(), io.BytesIO(b"result"))


@pytest.mark.parametrize("durable", [True, False])
def test_saving_changes_message_deaths_and_furthest(folder: Path, durable: bool) -> None:
    store = Store(folder)
    record = store.jobs.create(new_record())
    record.job.state, record.deaths, record.furthest = pb.JOB_STATE_RUNNING, 1, 20
    record.job.progress.evaluation = 20
    assert store.jobs.save(record, durable=durable)
    store.close()
    store = Store(folder)
    assert store.jobs.get(record.job.name) == record
    store.jobs.delete(record.job.name)
    assert not store.jobs.save(record)
    assert store.jobs.get(record.job.name) is None
    store.close()


def test_a_final_state_never_changes(store: Store, folder: Path) -> None:
    record = store.jobs.create(new_record())
    write_checkpoint(store, record.job.name, 3, b"checkpoint")
    store.jobs.save(ended(record, pb.JOB_STATE_CANCELLED))
    assert store.checkpoints.path(record.job.name) is None
    assert not files_in(folder)
    for state in (pb.JOB_STATE_RUNNING, pb.JOB_STATE_FAILED):
        record.job.state = state
        assert not store.jobs.save(record)
    assert not succeed(store, record, b"result")
    assert not write_checkpoint(store, record.job.name, 4, b"checkpoint")
    assert not files_in(folder)
    stored = store.jobs.get(record.job.name)
    assert stored is not None
    assert stored.job.state == pb.JOB_STATE_CANCELLED


def test_unfinished_jobs_are_listed_oldest_first(store: Store) -> None:
    records = [store.jobs.create(new_record(tenant=tenant)) for tenant in ("anna", "bela", "anna", "bela")]
    store.jobs.save(ended(records[1], pb.JOB_STATE_FAILED))
    records[2].job.state = pb.JOB_STATE_PAUSED
    store.jobs.save(records[2])
    assert [record.job.name for record in store.jobs.unfinished()] == [records[i].job.name for i in (0, 2, 3)]


def test_pages_are_stable_while_jobs_come_and_go(store: Store) -> None:
    records = [store.jobs.create(new_record()) for _ in range(10)]
    store.jobs.create(new_record(tenant="bela"))
    names = [record.job.name for record in reversed(records)]
    first, token = store.jobs.list("anna", page_size=4)
    assert [record.job.name for record in first] == names[:4]
    store.jobs.create(new_record())
    store.jobs.delete(names[3])
    store.jobs.delete(names[5])
    second, token = store.jobs.list("anna", page_size=4, page_token=token)
    assert [record.job.name for record in second] == [names[4], *names[6:9]]
    third, token = store.jobs.list("anna", page_size=4, page_token=token)
    assert [record.job.name for record in third] == names[9:]
    assert token == ""


def test_jobs_made_in_the_same_moment_are_all_listed(store: Store) -> None:
    moment = new_record().job.create_time
    made = set()
    for _ in range(5):
        record = new_record()
        record.job.create_time.CopyFrom(moment)
        made.add(store.jobs.create(record).job.name)
    listed, token = [], ""
    while len(listed) < 9:
        page, token = store.jobs.list("anna", page_size=2, page_token=token)
        listed += [record.job.name for record in page]
        if not token:
            break
    assert sorted(listed) == sorted(made)


def test_jobs_are_listed_by_state(store: Store) -> None:
    records = [store.jobs.create(new_record()) for _ in range(6)]
    for record in records[::2]:
        record.job.state = pb.JOB_STATE_PAUSED
        store.jobs.save(record)
    states = [pb.JOB_STATE_PAUSED, pb.JOB_STATE_RUNNING]
    page, token = store.jobs.list("anna", states=states, page_size=2)
    rest, end = store.jobs.list("anna", states=states[::-1], page_size=2, page_token=token)
    assert [record.job.name for record in page + rest] == [records[i].job.name for i in (4, 2, 0)]
    assert end == ""
    for wrong in ([], [pb.JOB_STATE_PAUSED]):
        with pytest.raises(BadPageToken):
            store.jobs.list("anna", states=wrong, page_size=2, page_token=token)


def test_jobs_are_found_by_a_part_of_their_title(store: Store) -> None:
    titles = ["Hafen", "am hafen", "HAFEN bei Nacht", "Straße", "100% Öl", "", "Hof"]
    records = []
    for title in titles:
        record = new_record()
        record.job.title = title
        records.append(store.jobs.create(record))
        other = new_record(tenant="bela")
        other.job.title = title
        store.jobs.create(other)

    def found(title: str, **options: object) -> list[str]:
        listed, _ = store.jobs.list("anna", title=title, page_size=9, **options)  # type: ignore[arg-type]
        return [record.job.title for record in listed]

    assert found("hAFen") == ["HAFEN bei Nacht", "am hafen", "Hafen"]
    assert found("STRASSE") == ["Straße"]
    assert found("% ö") == ["100% Öl"]
    assert found("_") == []
    assert len(found("")) == 7
    records[1].job.title = "am Meer"
    records[1].job.state = pb.JOB_STATE_PAUSED
    store.jobs.save(records[1])
    assert found("hafen") == ["HAFEN bei Nacht", "Hafen"]
    assert found("am", states=[pb.JOB_STATE_PAUSED]) == ["am Meer"]
    page, token = store.jobs.list("anna", title="hafen", page_size=1)
    rest, end = store.jobs.list("anna", title="Hafen", page_size=1, page_token=token)
    assert [record.job.title for record in page + rest] == ["HAFEN bei Nacht", "Hafen"]
    assert end == ""
    for wrong in ("", "h"):
        with pytest.raises(BadPageToken):
            store.jobs.list("anna", title=wrong, page_size=1, page_token=token)


def test_a_page_token_of_another_list_is_refused(folder: Path) -> None:
    store = Store(folder)
    for _ in range(3):
        store.jobs.create(new_record())
        store.jobs.create(new_record(tenant="bela"))
    _, token = store.jobs.list("anna", page_size=1)
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
            store.jobs.list("anna", page_size=1, page_token=bad)
    with pytest.raises(BadPageToken):
        store.jobs.list("bela", page_size=1, page_token=token)
    store.close()
    store = Store(folder)
    assert len(store.jobs.list("anna", page_size=5, page_token=token)[0]) == 2
    store.close()


def test_the_newest_job_is_listed_first_even_if_the_clock_was_set_back(store: Store) -> None:
    records = [new_record() for _ in range(4)]
    records[3].job.create_time.FromSeconds(1_000_000_000)
    made = [store.jobs.create(record) for record in records]
    names = [record.job.name for record in made]
    assert [record.number for record in made] == [1, 2, 3, 4]
    listed = store.jobs.list("anna", page_size=2)
    rest = store.jobs.list("anna", page_size=2, page_token=listed[1])
    assert [record.job.name for record in listed[0] + rest[0]] == names[::-1]
    assert [(record.number, record.job.name) for record in store.jobs.unfinished()] == [*enumerate(names, 1)]


def test_a_jobs_number_never_changes_and_is_never_reused(folder: Path) -> None:
    store = Store(folder)
    first, last = (store.jobs.create(new_record(request_id=id)) for id in ("r", "s"))
    assert store.jobs.create(new_record(request_id="r")).number == first.number == 1
    store.jobs.save(ended(first, pb.JOB_STATE_FAILED))
    store.jobs.delete(last.job.name)
    store.close()
    store = Store(folder)
    found = store.jobs.get(first.job.name)
    assert found is not None
    assert found.number == 1
    assert store.jobs.create(new_record()).number == last.number + 1 == 3
    store.close()


def test_jobs_are_listed_by_very_many_states(store: Store) -> None:
    record = store.jobs.create(new_record())
    many = [pb.JOB_STATE_QUEUED, pb.JOB_STATE_PAUSED] * 150_000
    assert store.jobs.list("anna", states=many, page_size=5) == ([record], "")
    assert store.jobs.list("anna", states=range(300_000), page_size=5) == ([record], "")
    assert store.jobs.list("anna", states=range(100, 300_000), page_size=5) == ([], "")


def test_unfinished_jobs_are_counted_by_tenant(store: Store) -> None:
    records = [store.jobs.create(new_record(tenant=tenant)) for tenant in ("anna", "bela", "anna")]
    assert (store.jobs.count_unfinished(), store.jobs.count_unfinished("anna")) == (3, 2)
    store.jobs.save(ended(records[0], pb.JOB_STATE_FAILED))
    assert (store.jobs.count_unfinished(), store.jobs.count_unfinished("anna")) == (2, 1)
    assert store.jobs.count_unfinished("nobody") == 0
