"""The history: what is kept, what a document keeps, and what it refuses from another person's document."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.hosts import Choices, Entry, History, Painted, StyleItem, StyleShare
from impasto.hosts.history import MOST, MOST_BYTES
from impasto.job import Job
from impasto.recipe import Recipe
from support.fake_host import FakeStorage, jpeg

STYLES = (StyleShare(StyleItem("styles/starry-night", "The Starry Night"), 300),)
DOCUMENT = "/home/anna/flower.kra"
JPEG = jpeg(note=b"a small picture")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def history(storage: FakeStorage) -> History:
    return History(storage, lambda: None)


def job(number: int) -> Job:
    return Job(
        f"jobs/{number}", "succeeded", Recipe(), 64, 48,
        None, None, None, "", None, None, None, None, "", False, None,
    )  # fmt: skip


def add(history: History, number: int = 1, **changes: Any) -> Entry:
    painted = Painted(
        uuid.uuid4().hex, "picture", job(number), STYLES, Choices(seed=number), {"layer": "sky"}, 16, "flower"
    )
    return history.add(replace(painted, **{"document": DOCUMENT, **changes}), "studio:50051", JPEG)


def test_entries_are_kept_newest_first() -> None:
    storage = FakeStorage()
    kept = history(storage)
    first, second = add(kept, 1), add(kept, 2)
    assert kept.entries == (second, first)
    again = history(storage)
    assert again.entries == (second, first)
    assert again.entries[0].place == {"layer": "sky"}
    assert again.entries[0].thumbnail == JPEG
    assert again.find(first.id) == first
    assert second.label == "The Starry Night · seed 2 · strength 50 %"


def test_only_so_many_are_kept_and_their_files_with_them() -> None:
    storage = FakeStorage()
    kept = history(storage)
    first = add(kept)
    for number in range(MOST):
        add(kept, number)
    assert len([key for key in storage.kept if key.startswith("history/")]) == MOST
    # The document that is open keeps it.
    assert first in kept.of(DOCUMENT)
    again = history(storage)
    assert len(again.entries) == MOST
    assert again.find(first.id) is None
    again.merge(kept.dump(DOCUMENT))
    assert first in again.entries
    assert len(history(storage).entries) == MOST


def test_a_document_takes_the_place_of_nothing_that_was_painted_here() -> None:
    source, storage = history(FakeStorage()), FakeStorage()
    for number in range(MOST):
        add(source, number)
    stored = json.loads(source.dump(DOCUMENT))
    for each in stored["entries"]:
        each["time"] = 2**40
    kept = history(storage)
    own = add(kept)
    stored["entries"][0] |= {"id": own.id, "job": "jobs/another"}
    stored["entries"].append(stored["entries"][1])
    kept.merge(json.dumps(stored).encode())
    assert len(kept.entries) == MOST
    newest = add(kept, 2)
    assert kept.entries[0] == newest
    assert history(storage).entries == (newest, own)


def test_a_document_takes_its_history_to_another_computer() -> None:
    here, there = history(FakeStorage()), history(FakeStorage())
    entry = add(here)
    add(here, 2, document="/home/anna/other.kra")
    data = here.dump(DOCUMENT)
    there.merge(data)
    assert there.entries == (entry,)
    assert there.entries[0].thumbnail == JPEG
    there = history(FakeStorage())
    there.merge(data, "/home/bert/flower.kra")
    assert [(each.id, each.document) for each in there.entries] == [(entry.id, "/home/bert/flower.kra")]
    assert there.of(DOCUMENT) == ()


def test_a_copy_of_a_document_takes_nothing_away_from_it() -> None:
    told: list[str] = []
    storage = FakeStorage()
    kept = History(storage, lambda: told.append("history"))
    first, second = add(kept), add(kept, 2)
    copied = kept.dump(DOCUMENT)
    told.clear()
    kept.merge(copied, "/home/anna/copy.kra")
    assert told == ["history"]
    assert kept.of(DOCUMENT) == kept.of("/home/anna/copy.kra") == (second, first)
    kept.merge(copied, "/home/anna/copy.kra")
    assert told == ["history"]
    assert len(json.loads(kept.dump(DOCUMENT))["entries"]) == 2
    # Nor does a copy of the copy, which says that they are its own.
    kept.merge(kept.dump("/home/anna/copy.kra"), "/home/anna/another.kra")
    assert kept.of("/home/anna/another.kra") == history(storage).of(DOCUMENT) == (second, first)
    # One of the three is painted on.
    third = add(kept, 3, document="/home/anna/copy.kra")
    assert kept.of("/home/anna/copy.kra") == (third, second, first)
    assert kept.of(DOCUMENT) == (second, first)


def test_a_copy_from_another_computer_takes_nothing_away_either() -> None:
    here, there = history(FakeStorage()), history(FakeStorage())
    entry = add(here)
    data = here.dump(DOCUMENT)
    there.merge(data, "/home/bert/one.kra")
    there.merge(data, "/home/bert/two.kra")
    for name in ("one", "two"):
        assert [each.id for each in there.of(f"/home/bert/{name}.kra")] == [entry.id]


def test_merging_again_changes_nothing() -> None:
    told: list[str] = []
    kept = History(FakeStorage(), lambda: told.append("history"))
    add(kept)
    told.clear()
    kept.merge(kept.dump(DOCUMENT), DOCUMENT)
    assert told == []


def test_a_removed_entry_does_not_return_with_its_document() -> None:
    storage = FakeStorage()
    kept = history(storage)
    entry = add(kept)
    data = kept.dump(DOCUMENT)
    kept.remove(entry.id)
    assert kept.entries == ()
    assert f"history/{entry.id}.json" not in storage.kept
    kept = history(storage)
    kept.merge(data)
    assert kept.entries == ()


@pytest.mark.parametrize("ended", [datetime(2000, 1, 1, tzinfo=timezone.utc), datetime.max])
def test_neither_the_servers_clock_nor_this_one_decides_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, ended: datetime
) -> None:
    storage = FakeStorage()
    kept = history(storage)
    for number in range(MOST):
        add(kept, number)
    now = time.time()
    monkeypatch.setattr("impasto.hosts.history.time.time", lambda: now - 10**8)
    for opened in (kept, history(storage)):
        painted = Painted(uuid.uuid4().hex, "picture", replace(job(1), end_time=ended), STYLES, Choices(), {})
        entry = opened.add(painted, "studio:50051", JPEG)
        assert opened.entries[0] == entry
        assert history(storage).find(entry.id) is not None


def test_an_entry_that_cannot_be_read_stays_stored() -> None:
    storage = FakeStorage()
    kept = history(storage)
    entry = add(kept)
    newer = storage.kept[f"history/{entry.id}.json"].replace(b'"styles"', b'"looks"')
    storage.kept[f"history/{entry.id}.json"] = newer
    kept = history(storage)
    assert kept.entries == ()
    add(kept, 2)
    assert storage.kept[f"history/{entry.id}.json"] == newer
    assert entry.id in json.loads(storage.kept["history.json"])["ids"]


def test_the_history_of_a_document_is_never_too_large_to_be_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, there = history(FakeStorage()), history(FakeStorage())
    entries = [add(kept, number) for number in range(20)]
    monkeypatch.setattr("impasto.hosts.history.MOST_BYTES", 4000)
    data = kept.dump(DOCUMENT)
    assert 3000 < len(data) <= 4000
    there.merge(data)
    assert 5 < len(there.entries) < 20
    assert [each.id for each in there.entries] == [
        each.id for each in reversed(entries[-len(there.entries) :])
    ]


def test_a_large_thumbnail_is_left_out() -> None:
    kept = history(FakeStorage())
    painted = Painted(uuid.uuid4().hex, None, job(1), STYLES, Choices(), {})
    assert kept.add(painted, "studio:1", jpeg() + bytes(2**20)).thumbnail == b""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../../server"),
        ("id", "0" * 31),
        ("styles", []),
        ("styles", [{"key": "../../server.json", "title": "x"}]),
        ("styles", [{"title": "x"}]),
        ("place", "here"),
        ("place", None),
        ("time", "now"),
        ("time", -1),
        ("time", float("nan")),
        ("width", True),
        ("seconds", 1e300),
        ("job", None),
        ("document", "x" * 5000),
        ("address", "studio\n"),
        ("job", "jobs/\ud800"),
        ("styles", [{"key": "styles/wave", "title": "Wave"}] * 1000),
        ("styles", [{"key": "styles/wave", "title": nested(500)}]),
        ("place", {"box": nested(50)}),
        ("place", {"box": nested(500)}),
    ],
)
def test_a_strange_entry_of_a_document_is_ignored(field: str, value: Any) -> None:
    source = history(FakeStorage())
    good, bad = add(source), add(source, 2)
    stored = json.loads(source.dump(DOCUMENT))
    next(each for each in stored["entries"] if each["id"] == bad.id)[field] = value
    kept = history(FakeStorage())
    kept.merge(json.dumps(stored).encode())
    assert kept.entries == (good,)


def test_a_strange_thumbnail_or_choice_of_a_document_is_left_out() -> None:
    source = history(FakeStorage())
    add(source)
    stored = json.loads(source.dump(DOCUMENT))
    pictures = (b"<svg>", jpeg(65500, 48), jpeg(1025, 1025), jpeg(0, 0), jpeg()[:10])
    for thumbnail in (None, 5, "?", *(base64.b64encode(picture).decode() for picture in pictures)):
        stored["entries"][0] |= {"thumbnail": thumbnail, "choices": {"strength": 10**9}, "bits": 99}
        kept = history(FakeStorage())
        kept.merge(json.dumps(stored).encode())
        (entry,) = kept.entries
        assert (entry.thumbnail, entry.choices, entry.bits) == (b"", Choices(), 8)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_can_be_merged(data: bytes) -> None:
    kept = history(FakeStorage())
    kept.merge(data)
    assert kept.entries == ()


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"null", b"[]", b'{"entries": 5}', b'{"entries": [5, null, []]}', bytes(MOST_BYTES + 1)],
)
def test_odd_bytes_can_be_merged(data: bytes) -> None:
    kept = history(FakeStorage())
    kept.merge(data)
    assert kept.entries == ()


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b'{"ids": 5}', b'{"ids": [5, "../x", "ab"]}'])
def test_a_damaged_index_is_ignored(index: bytes) -> None:
    storage = FakeStorage()
    storage.write("history.json", index)
    assert history(storage).entries == ()
