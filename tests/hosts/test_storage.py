"""What hosts store: beside other processes, on a disk that fails, and what cannot be read."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.hosts import (
    Choices,
    Controller,
    FolderStorage,
    History,
    Order,
    Presets,
    Server,
    StyleItem,
    StyleLibrary,
    StyleShare,
    Timing,
    plan,
)
from impasto.hosts.lock import FileLock
from impasto.hosts.memory import Memory, Recent, Remembered
from impasto.hosts.storage import Lasting, read_json
from impasto.recipe import RawPixels
from support.fake_host import FakeHost, FakeService, FakeStorage

STYLES = (StyleShare(StyleItem("styles/starry-night", "The Starry Night")),)
SERVER = Server("studio:50051")
WRITES = 20

PROCESS = f"""
import sys, uuid
from impasto.hosts import Choices, FolderStorage, Presets, StyleItem, StyleLibrary, StyleShare
from impasto.hosts.memory import Memory, Remembered
storage = FolderStorage(sys.argv[1])
memory, library = Memory(storage), StyleLibrary(storage, lambda: None)
presets = Presets(storage, library, lambda: None)
styles = (StyleShare(StyleItem("styles/wave", "Wave")),)
print("ready", flush=True)
sys.stdin.readline()
for number in range({WRITES}):
    id = uuid.uuid4().hex
    memory.remember(Remembered(id, "studio:50051", f"jobs/{{id}}", "title", styles, Choices(), {{}}))
    memory.to_cancel("studio:50051", f"jobs/{{id}}")
    presets.save(id, styles, Choices())
    library.add(id.encode(), "Wave")
"""


class FailingStorage(FakeStorage):
    """A storage on a disk that can be written, until `fails`."""

    fails = False

    def write(self, key: str, data: bytes) -> None:
        if self.fails:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        super().write(key, data)

    def remove(self, key: str) -> None:
        if self.fails:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        super().remove(key)


@pytest.fixture
def storage() -> FailingStorage:
    return FailingStorage()


@pytest.fixture
def controller(host: FakeHost, service: FakeService, storage: FailingStorage) -> Iterator[Controller]:
    controller = Controller(
        host,
        storage,
        open_client=service.open,  # type: ignore[arg-type]
        timing=Timing(first_retry=1, longest_retry=8, check=10, steer=0.15),
    )
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected" and controller.library.offered)
    yield controller
    controller.close()


def order() -> Order:
    return Order(
        content=lambda: RawPixels(20, 16, bytes(20 * 16 * 4)),
        styles=STYLES,
        size=plan(40, 32, 20),
        choices=Choices(),
        place={"document": "flower.kra"},
        subject="flower.kra",
        document="flower",
    )


def job(name: str) -> Remembered:
    return Remembered(uuid.uuid4().hex, "studio:50051", name, "title", STYLES, Choices(), {"layer": name})


# Several processes.


def test_processes_do_not_overwrite_what_others_store(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    storage = FolderStorage(tmp_path)
    memory, library = Memory(storage), StyleLibrary(storage, lambda: None)
    assert len(memory.jobs) == 2 * WRITES
    assert len(memory.cancelled["studio:50051"]) == 2 * WRITES
    assert len(Presets(storage, library, lambda: None).presets) == 2 * WRITES
    assert len(library.own) == 2 * WRITES


def test_a_process_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.hosts.lock.PATIENCE", 0.05)
    held, storage = FileLock(tmp_path / "lock"), FolderStorage(tmp_path)
    memory = Memory(storage)
    with held.held():
        memory.remember(job("jobs/1"))
        memory.remember(job("jobs/2"))
    assert [each.name for each in Memory(storage).jobs] == ["jobs/1", "jobs/2"]


def test_a_lock_is_released_at_the_end_and_nests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.hosts.lock.PATIENCE", 0.05)
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with one.held() as first:
        with one.held() as second:
            pass
        with two.held() as third:
            pass
    assert (first, second, third) == (True, True, False)
    with two.held() as fourth:
        assert fourth
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


# Names.


def test_any_letters_may_be_in_a_path_where_the_locale_is_not_installed(tmp_path: Path) -> None:
    folder = tmp_path / "jörg – 絵"
    program = f"""
import sys
from impasto.files import read_whole, write_whole
from impasto.hosts import FolderStorage, words
assert sys.getfilesystemencoding() == "ascii"
storage = FolderStorage({str(folder)!a})
storage.write("presets.json", b"1")
with storage.locked():
    assert storage.read("presets.json") == b"1"
path = {str(folder / "für.json")!a}
write_whole(path, b"2")
assert read_whole(path) == b"2"
try:
    read_whole(path + "x")
except OSError as error:
    assert words.short(error) == "f\\xfcr.jsonx does not exist."
"""
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert (folder / "presets.json").read_bytes() == b"1"
    assert (folder / "für.json").read_bytes() == b"2"


# A disk that fails.


def test_a_painting_is_placed_on_a_disk_that_fails(
    controller: Controller, host: FakeHost, service: FakeService, storage: FailingStorage
) -> None:
    run = controller.stylize(order())
    host.until(lambda: run.state == "queued" and service.only().watchers)
    storage.fails = True
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert run.state == "succeeded"
    assert [painted.id for painted in host.placed] == [run.id]
    assert controller.runs == ()
    assert [entry.id for entry in controller.history.of("flower")] == [run.id]
    # It is not offered again in this session.
    service.take_down()
    host.until(lambda: controller.connection.state == "reconnecting" or not host.pass_time(10))
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: controller.connection.state == "connected")
    host.settle()
    assert controller.found == ()


def test_a_painting_is_cancelled_on_a_disk_that_fails(
    controller: Controller, host: FakeHost, service: FakeService, storage: FailingStorage
) -> None:
    run = controller.stylize(order())
    host.until(lambda: run.state == "queued" and service.only().watchers)
    storage.fails = True
    service.take_down()
    host.until(lambda: not run.in_contact)
    run.cancel()
    assert run.state == "cancelled"
    assert controller.runs == ()
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: service.only().job.state == "cancelled")


def test_what_could_not_be_stored_is_stored_later(storage: FailingStorage) -> None:
    memory = Memory(storage)
    first, second = job("jobs/1"), job("jobs/2")
    memory.remember(first)
    storage.fails = True
    memory.forget(first.id)
    memory.remember(second)
    memory.to_cancel("studio:50051", "jobs/1")
    memory.use(Recent(STYLES, Choices(seed=5)))
    memory.read_again()
    assert memory.jobs == [second]
    assert memory.cancelled == {"studio:50051": ["jobs/1"]}
    assert [recent.choices.seed for recent in memory.recents] == [5]
    storage.fails = False
    memory.use(Recent(STYLES, Choices(seed=6)))
    again = Memory(storage)
    assert again.jobs == [second]
    assert again.cancelled == {"studio:50051": ["jobs/1"]}
    assert [recent.choices.seed for recent in again.recents] == [6, 5]
    assert f"places/{first.id}.json" not in storage.kept


def test_what_another_process_has_stored_meanwhile_counts(storage: FailingStorage) -> None:
    lasting = Lasting(storage)
    storage.fails = True
    lasting.write("a.json", b"1")
    assert lasting.read("a.json") == b"1"
    storage.kept["a.json"] = b"2"
    assert lasting.read("a.json") == b"2"
    storage.fails = False
    lasting.write("b.json", b"3")
    assert storage.kept == {"a.json": b"2", "b.json": b"3"}


def test_the_server_can_be_chosen_on_a_disk_that_fails(
    controller: Controller, host: FakeHost, storage: FailingStorage
) -> None:
    storage.fails = True
    controller.connect(Server("other:50051"))
    assert controller.server == Server("other:50051")


def test_a_file_that_cannot_be_removed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    storage = FolderStorage(tmp_path)
    storage.write("a", b"1")
    monkeypatch.setattr(Path, "unlink", unlink)
    storage.remove("a")


# Listeners.


def test_a_listener_that_fails_keeps_no_picture_from_being_placed(
    controller: Controller,
    host: FakeHost,
    service: FakeService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[str] = []

    def fails(what: str) -> None:
        raise RecursionError("a fault in a widget")

    controller.listen(fails)
    controller.listen(heard.append)
    run = controller.stylize(order())
    host.until(lambda: run.state == "queued" and service.only().watchers)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert len(host.placed) == 1
    assert controller.runs == ()
    assert {"run", "history"} <= set(heard)
    assert "a fault in a widget" in capsys.readouterr().err


def test_a_history_that_fails_keeps_no_picture_from_being_placed(
    controller: Controller, host: FakeHost, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(History, "add", fails)
    run = controller.stylize(order())
    host.until(lambda: run.state == "queued" and service.only().watchers)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert len(host.placed) == 1


# What cannot be read.


@pytest.mark.parametrize("damage", [b"[{", b"{}", b"[" * 100_000])
def test_what_is_damaged_is_kept_beside_what_replaces_it(tmp_path: Path, damage: bytes) -> None:
    storage = FolderStorage(tmp_path)
    library = StyleLibrary(storage, lambda: None)
    Presets(storage, library, lambda: None).save("soft", STYLES, Choices())
    storage.write("presets.json", damage)
    storage.write("styles.json", damage)
    presets = Presets(storage, StyleLibrary(storage, lambda: None), lambda: None)
    presets.save("bold", STYLES, Choices())
    assert storage.read("presets.damaged.json") == damage
    assert storage.read("styles.damaged.json") == damage
    assert [preset.name for preset in presets.presets] == ["bold"]


def test_what_cannot_be_read_is_kept_beside_what_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("presets.json", b'["mine"]')
    whole = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == "presets.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return whole(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    Presets(storage, StyleLibrary(storage, lambda: None), lambda: None).save("soft", STYLES, Choices())
    monkeypatch.undo()
    assert storage.read("presets.damaged.json") == b'["mine"]'
    assert [each["name"] for each in read_json(storage, "presets.json", [])] == ["soft"]


def test_items_of_a_newer_plugin_stay_stored(storage: FailingStorage) -> None:
    newer = {"looks": ["styles/starry-night"], "name": "new"}
    for key in ("presets.json", "styles.json", "jobs.json"):
        storage.write(key, json.dumps([newer]).encode())
    library, memory = StyleLibrary(storage, lambda: None), Memory(storage)
    Presets(storage, library, lambda: None).save("soft", STYLES, Choices())
    library.add(b"a style", "Wave")
    memory.remember(job("jobs/1"))
    for key in ("presets.json", "styles.json", "jobs.json"):
        kept = read_json(storage, key, [])
        assert len(kept) == 2
        assert newer in kept
