"""The server on this computer: real virtual environments, real servers (without PyTorch), real ends."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import impasto
from impasto.hosts import Controller, Server, ThisComputer, installing, pythons, this_computer, words
from impasto.hosts.own_server import Folder, Running, running
from impasto.hosts.pythons import Noted, Python
from support.fake_host import FakeHost, FakeStorage
from support.fake_server import png
from support.server_process import is_alive, until
from support.tiny_install import endless_source, server_wheel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the server does not run on Windows")

HERE = Noted(sys.executable)
TESTS = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """The folder; at the end, the server that runs in it is killed."""
    folder = Folder(tmp_path / "here")
    yield folder
    server = running(folder)
    if server is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process, signal.SIGKILL)


Make = Callable[..., ThisComputer]


@pytest.fixture
def make(host: FakeHost, folder: Folder) -> Iterator[Make]:
    made = []

    def make(note: Noted = HERE, **options: Any) -> ThisComputer:
        computer = ThisComputer(host, folder=folder.path, note=note, arguments=["--mock"], **options)
        made.append(computer)
        return computer

    yield make
    for computer in made:
        computer.close()


@pytest.fixture
def bare_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    """A Python without the server. Nothing else is on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", str(programs))
    return Noted(str(programs / "python3"))


def runs(folder: Folder) -> Running:
    server = running(folder)
    assert server is not None
    return server


def has_ended(folder: Folder, server: Running) -> None:
    until(lambda: server.is_alive, lambda alive: not alive)
    assert running(folder) is None


def test_it_runs_and_ends_when_it_is_stopped(make: Make, host: FakeHost, folder: Folder) -> None:
    computer = make()
    assert computer.server is None
    computer.start()
    assert computer.state == "starting"
    host.until(lambda: computer.state == "running")
    assert computer.server == Server(f"unix:{folder.path}/socket", this_computer=True)
    with impasto.Client(computer.server.address) as client:
        assert client.info().version == impasto.__version__
    server = runs(folder)
    assert server.answers
    computer.stop()
    assert (computer.state, computer.server) == ("installed", None)
    has_ended(folder, server)


def test_only_the_user_gets_in(make: Make, host: FakeHost, folder: Folder) -> None:
    computer = make()
    computer.start()
    host.until(lambda: computer.state == "running")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    for name in ("server.log", "server.json"):
        assert (folder.path / name).stat().st_mode & 0o077 == 0


def test_jobs_are_kept(make: Make, host: FakeHost, folder: Folder) -> None:
    computer = make()
    computer.start()
    host.until(lambda: computer.state == "running")
    assert computer.server is not None
    with impasto.Client(computer.server.address) as client:
        job = client.create_job(png(), png(), evaluations=2)
        client.watch(job.name).result()
    server = runs(folder)
    computer.stop()
    has_ended(folder, server)
    computer.start()
    host.until(lambda: computer.state == "running")
    assert runs(folder).process != server.process
    with impasto.Client(computer.server.address) as client:
        assert client.job(job.name).state == "succeeded"


@contextlib.contextmanager
def other_host(folder: Folder, what: str = "start", note: Noted = HERE) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "support.host_process", str(folder.path), note.python, what]
    process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def address(host: subprocess.Popen[bytes]) -> str:
    assert host.stdout is not None
    return host.stdout.readline().decode().strip()


def test_two_hosts_share_it_and_it_ends_with_the_last_however_that_ends(folder: Folder) -> None:
    with other_host(folder) as first, other_host(folder) as second:
        assert address(first) == address(second) == f"unix:{folder.path}/socket"
        server = runs(folder)
        assert sorted(folder.users.processes()) == sorted([first.pid, second.pid])
        first.kill()
        first.wait()
        assert folder.users.processes() == [second.pid]
        assert server.answers
        second.kill()
        second.wait()
        has_ended(folder, server)


def test_it_is_left_running_by_choice(make: Make, host: FakeHost, folder: Folder) -> None:
    computer = make()
    assert not computer.keep_running
    computer.keep_running = True
    with other_host(folder) as other:
        assert address(other)
        server = runs(folder)
    assert folder.users.processes() == []
    assert server.answers
    assert make().keep_running
    computer.start()
    host.until(lambda: computer.state == "running")
    assert runs(folder) == server
    computer.leave()
    assert server.answers
    computer.keep_running = False
    has_ended(folder, server)


def test_a_server_that_ends_is_not_used_but_followed(make: Make, host: FakeHost, folder: Folder) -> None:
    """A host is started again, a second after its end."""
    first = make()
    first.start()
    host.until(lambda: first.state == "running")
    server = runs(folder)
    # It has noted that it ends, and takes its time.
    os.kill(server.process, signal.SIGSTOP)
    (folder.users_path / "ending").write_text(f"{server.process} {server.told_apart}")
    second = make()
    second.start()
    host.settle(1.0)
    assert second.state == "starting"
    os.kill(server.process, signal.SIGKILL)
    host.until(lambda: second.state in ("running", "failed"))
    assert second.state == "running", second.sentence
    assert runs(folder).process != server.process


def test_a_plug_in_that_is_a_process_of_its_own_names_its_host(
    make: Make, host: FakeHost, folder: Folder
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as gimp:
        computer = make(process=gimp.pid)
        computer.start()
        host.until(lambda: computer.state == "running")
        # Its dialog is closed, and opened again.
        computer.close()
        server = runs(folder)
        again = make(process=gimp.pid)
        again.start()
        host.until(lambda: again.state == "running")
        assert runs(folder) == server
        gimp.kill()
        gimp.wait()
        has_ended(folder, server)


def test_a_server_that_was_killed_is_started_again(
    make: Make, host: FakeHost, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = make()
    computer.start()
    host.until(lambda: computer.state == "running")
    server = runs(folder)
    os.kill(server.process, signal.SIGKILL)
    has_ended(folder, server)
    monkeypatch.setattr(this_computer, "SHORT_LIFE", 0.0)
    host.pass_time(this_computer.CHECK)
    host.until(lambda: computer.state == "starting")
    host.until(lambda: computer.state == "running")
    assert runs(folder).answers


def test_a_server_that_ends_at_once_is_not_started_again_and_again(
    make: Make, host: FakeHost, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = make()
    computer.start()
    host.until(lambda: computer.state == "running")
    monkeypatch.setattr(this_computer, "SHORT_LIFE", 1e9)
    os.kill(runs(folder).process, signal.SIGKILL)
    until(lambda: running(folder), lambda server: server is None)
    host.pass_time(this_computer.CHECK)
    host.until(lambda: computer.state == "failed")
    assert computer.short == "The server on this computer has ended."
    assert computer.log == str(folder.server_log)


@pytest.mark.slow
def test_why_it_does_not_start(make: Make, host: FakeHost, folder: Folder) -> None:
    computer = make()
    computer._arguments = ("--mock", "--max-jobs", "none")
    computer.start()
    host.until(lambda: computer.state == "failed")
    assert "--max-jobs is 'none'; give a whole number" in computer.sentence
    assert Path(computer.log).read_text().startswith("impasto-server: ")
    computer._arguments = ("--mock",)
    computer.start()
    host.until(lambda: computer.state == "running")


@pytest.mark.slow
def test_a_long_path_has_its_socket_elsewhere(host: FakeHost, tmp_path: Path, make: Make) -> None:
    long = tmp_path / ("long" * 25)
    computer = ThisComputer(host, folder=long, note=HERE, arguments=["--mock"])
    computer.start()
    host.until(lambda: computer.state == "running")
    assert computer.server is not None
    socket = Path(computer.server.address.removeprefix("unix:"))
    assert not socket.is_relative_to(long)
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    with impasto.Client(computer.server.address) as client:
        assert client.info().version
    server = runs(Folder(long))
    computer.stop()
    has_ended(Folder(long), server)
    computer.close()
    shutil.rmtree(socket.parent)


# Installation.


def test_from_nothing(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer = make(bare_python)
    computer.look()
    host.until(lambda: computer.state == "absent")
    assert computer.can_install
    assert str(folder.path) in computer.offer
    seen = []
    computer.changed = lambda: seen.append((computer.state, computer.short, computer.fraction))
    computer.install()
    host.until(lambda: computer.state in ("running", "failed"))
    assert computer.state == "running", Path(computer.log).read_text()
    assert [state for state, *_ in seen] == [
        *["installing"] * (len(seen) - 3),
        "installed",
        "starting",
        "running",
    ]
    assert "Unpacking; this takes a minute or two …" in [short for _, short, _ in seen]
    fractions = [fraction for _, _, fraction in seen if fraction is not None]
    assert fractions == sorted(fractions)
    assert not list(folder.path.glob("install-tmp")) + list(folder.path.glob("install.json"))
    assert "Successfully installed tiny-1.0" in folder.install_log.read_text()
    # The next time it is found.
    other = make(bare_python)
    other.look()
    host.until(lambda: other.state == "installed")
    other.start()
    host.until(lambda: other.state == "running")


@pytest.mark.slow
def test_a_python_without_ensurepip_installs_with_its_own_pip(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Debian's, where python3-pip is installed and python3-venv is not."""

    def asked(path: str, environment: Mapping[str, str]) -> Python | None:
        python = pythons.ask(path, environment)
        return python and dataclasses.replace(python, ensurepip=False)

    monkeypatch.setattr(this_computer, "ask", asked)
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state in ("running", "failed"))
    assert computer.state == "running", Path(computer.log).read_text()
    assert "--without-pip" in folder.install_log.read_text()


def test_a_python_that_can_do_neither_is_refused_with_the_remedy(
    make: Make, host: FakeHost, bare_python: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: str, environment: Mapping[str, str]) -> Python | None:
        python = pythons.ask(path, environment)
        return python and dataclasses.replace(python, ensurepip=False, pip=False)

    monkeypatch.setattr(this_computer, "ask", asked)
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert "apt install python3-venv" in computer.sentence
    monkeypatch.setattr(this_computer, "ask", lambda path, environment: None)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert computer.short == "There is no Python 3.10 or newer here."


def nothing_left(folder: Folder) -> None:
    assert sorted(path.name for path in folder.path.iterdir() if path.suffix != ".lock") == ["install.log"]


def test_it_can_be_cancelled_in_the_middle(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", endless_source(tmp_path, begun))
    computer = make(bare_python)
    computer.install()
    host.until(begun.exists)
    assert folder.python.is_dir()
    builder = int(begun.read_text())
    assert is_alive(builder)
    computer.cancel()
    assert computer.state == "absent"
    assert computer.sentence == "The installation was cancelled. What it has made is being removed."
    until(lambda: is_alive(builder), lambda alive: not alive)
    until(folder.python.exists, lambda there: not there)
    until(lambda: (folder.path / "install-tmp").exists(), lambda there: not there)
    host.until(lambda: computer.sentence == "The installation was cancelled. Nothing is left of it.")
    assert computer.state == "absent"
    nothing_left(folder)


@pytest.mark.slow
def test_an_installation_that_was_interrupted_does_not_count(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", endless_source(tmp_path, begun))
    with other_host(folder, "install", bare_python):
        until(begun.exists, bool)
        builder = int(begun.read_text())
    assert is_alive(builder)
    computer = make(bare_python)
    computer.look()
    host.until(lambda: computer.state == "absent")
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer.install()
    host.until(lambda: computer.state in ("running", "failed"))
    assert computer.state == "running", computer.sentence
    until(lambda: is_alive(builder), lambda alive: not alive)


@pytest.mark.slow
def test_only_one_host_installs(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", endless_source(tmp_path, begun))
    first, second, third = make(bare_python), make(bare_python), make(bare_python)
    first.install()
    host.until(begun.exists)
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    for other in (second, third):
        other.install()
        host.until(lambda other=other: other.short == "Waiting for another installation to end …")
    assert (first.state, second.state) == ("installing", "installing")
    assert is_alive(int(begun.read_text()))
    third.cancel()
    host.until(lambda: third.sentence == "The installation was cancelled. Nothing is left of it.")
    assert folder.python.exists()
    # A host that ends, ends its installation; then comes the next.
    first.close()
    host.until(lambda: second.state in ("running", "failed"))
    assert second.state == "running", second.sentence


@pytest.mark.slow
def test_what_another_host_has_installed_is_not_installed_again(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    first, second, third = make(bare_python), make(bare_python), make(bare_python)
    third.look()
    host.until(lambda: third.state == "absent")
    first.install()
    second.install()
    host.until(lambda: all(each.state in ("running", "failed") for each in (first, second)))
    assert (first.state, second.state) == ("running", "running"), first.sentence + second.sentence
    made, server = (folder.python / "pyvenv.cfg").stat(), runs(folder)
    # Its offer is still there from before.
    third.install()
    host.until(lambda: third.state in ("running", "failed"))
    assert third.state == "running", third.sentence
    now = (folder.python / "pyvenv.cfg").stat()
    assert (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert runs(folder) == server


@pytest.mark.slow
def test_an_installation_that_does_not_work_is_made_anew(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state in ("running", "failed"))
    assert computer.state == "running", computer.sentence
    server = runs(folder)
    computer.stop()
    has_ended(folder, server)
    packages = next(folder.python.glob("lib/python*/site-packages"))
    (packages / "grpc").mkdir()
    (packages / "grpc" / "__init__.py").write_text("raise SystemExit('damaged')")
    again = make(bare_python)
    again.start()
    host.until(lambda: again.state in ("running", "failed"))
    assert again.state == "failed"
    assert again.can_start
    again.install()
    host.until(lambda: again.state in ("running", "failed"))
    assert again.state == "running", again.sentence
    assert not (packages / "grpc").exists()


@pytest.mark.slow
def test_what_a_server_runs_in_is_not_removed(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    first, second = make(bare_python), make(bare_python)
    first.install()
    host.until(lambda: first.state in ("running", "failed"))
    (folder.python / installing.MARKER).unlink()
    second.install()
    host.until(lambda: second.state == "failed")
    assert second.short == "The server on this computer runs."
    assert runs(folder).answers
    assert pythons.program_of(folder.python).exists()


@pytest.mark.slow
def test_installing_again_at_once_waits_for_the_end_of_what_was_cancelled(
    make: Make,
    host: FakeHost,
    folder: Folder,
    bare_python: Noted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", endless_source(tmp_path, begun))
    computer = make(bare_python)
    computer.install()
    host.until(begun.exists)
    computer.cancel()
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer.install()
    host.until(lambda: computer.state in ("running", "failed"))
    assert computer.state == "running", computer.sentence
    # That it was cancelled is no fault.
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_failure_says_why_and_leaves_only_the_log(
    make: Make, host: FakeHost, folder: Folder, bare_python: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", "--no-index nothing-of-this-name")
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert computer.short == "The server could not be installed."
    assert "No matching distribution found for nothing-of-this-name" in computer.sentence
    assert not computer.can_start
    assert computer.log == str(folder.install_log)
    nothing_left(folder)


@pytest.mark.slow
def test_a_package_index_without_the_server(
    make: Make, host: FakeHost, folder: Folder, bare_python: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert computer.short == "The server cannot be downloaded."
    assert f"({impasto.__version__})" in computer.sentence
    assert "enter its address" in computer.sentence
    assert "IMPASTO_INSTALL_FROM" in computer.sentence
    assert computer.remedy == words.SERVER_SETTINGS
    nothing_left(folder)


def test_a_disk_that_is_full_although_it_seemed_to_have_room(
    make: Make, host: FakeHost, bare_python: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a quota. That Python's part is missing is what it looks like."""

    def full(*given: Any, **named: Any) -> Any:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "somewhere")

    monkeypatch.setattr(installing.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(installing.Installation, "_ran", lambda *given: 1)
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert computer.short == "The disk is full."
    assert installing.why("OSError: [Errno 122] Disk quota exceeded", None).told.short == "The disk is full."


def test_a_full_disk_is_seen_before(
    make: Make, host: FakeHost, folder: Folder, bare_python: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 10**10 - 10**8, 10**8))
    computer = make(bare_python)
    computer.install()
    host.until(lambda: computer.state == "failed")
    assert computer.short == "There is not enough room on the disk."
    assert "100 MB is free" in computer.sentence
    assert not folder.python.exists()


@pytest.mark.parametrize(
    ("system", "machine", "said"),
    [
        ("win32", "AMD64", "Subsystem for Linux"),
        ("darwin", "x86_64", "Intel"),
    ],
)
def test_computers_on_which_it_cannot_be_installed(
    make: Make, host: FakeHost, bare_python: Noted, system: str, machine: str, said: str
) -> None:
    computer = make(bare_python, system=system, machine=machine)
    computer.look()
    host.until(lambda: computer.state == "absent")
    assert not computer.can_install
    assert computer.offer == ""
    assert said in computer.sentence
    computer.install()
    assert computer.state == "absent"


@pytest.mark.parametrize("name", ["", "users"])
def test_a_file_in_the_place_of_the_folder(make: Make, host: FakeHost, folder: Folder, name: str) -> None:
    file = folder.path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("a file")
    computer = make()
    computer.start()
    host.until(lambda: computer.state == "failed")
    assert computer.sentence == (
        "The server's folder cannot be used. "
        f"Something else is in its place: {file}. Move it away, then try again."
    )
    computer.keep_running = True
    assert computer.short == "The server's folder cannot be used."
    file.unlink()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    for error in (errno.EACCES, errno.EROFS):
        told = this_computer.of_folder(
            OSError(error, "no", str(tmp_path / "here" / "users")), tmp_path / "here"
        )
        assert told is not None
        assert told.details == f"You may not write there: {tmp_path / 'here'}. Change that, then try again."
    for other in (OSError(errno.EACCES, "no", "/elsewhere"), OSError(errno.EACCES, "no"), TimeoutError()):
        assert this_computer.of_folder(other, tmp_path) is None


# With the controller.


@pytest.mark.slow
def test_why_nothing_can_be_painted(
    host: FakeHost, make: Make, bare_python: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_INSTALL_FROM", server_wheel(tmp_path))
    computer = make(bare_python)
    controller = Controller(host, FakeStorage(), this_computer=computer)
    controller.start()
    assert controller.cannot_paint.startswith("Not connected to a server. Choose where to paint")
    controller.paint_here(install=True)
    assert controller.cannot_paint == (
        "The server is being installed on this computer. You can paint as soon as that has finished."
    )
    host.until(lambda: computer.state == "starting")
    assert controller.cannot_paint == "The server on this computer starts …"
    host.until(lambda: controller.connection.state == "connected")
    assert controller.cannot_paint == ""
    controller.close()


def test_the_choice_is_kept(host: FakeHost, make: Make, folder: Folder) -> None:
    storage = FakeStorage()
    controller = Controller(host, storage, this_computer=make())
    told: list[str] = []
    controller.listen(told.append)
    controller.start()
    host.until(lambda: controller.this_computer is not None and controller.this_computer.state == "installed")
    assert (controller.is_here, controller.connection.server) == (False, None)
    controller.paint_here()
    assert controller.is_here
    host.until(lambda: controller.connection.state == "connected")
    assert "computer" in told
    assert controller.connection.key == "this computer"
    assert controller.connection.short.startswith("Connected to this computer")
    server = runs(folder)
    controller.close()

    again = Controller(host, storage, this_computer=make())
    again.start()
    host.until(lambda: again.connection.state == "connected")
    assert runs(folder) == server
    # The artist takes another server.
    again.connect(Server("127.0.0.1:1"))
    assert not again.is_here
    has_ended(folder, server)
    host.settle()
    assert again.connection.address == "127.0.0.1:1"
    again.close()


def test_the_connection_is_restored_after_the_server(
    host: FakeHost, make: Make, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(this_computer, "SHORT_LIFE", 0.0)
    controller = Controller(host, FakeStorage(), this_computer=make())
    controller.paint_here()
    host.until(lambda: controller.connection.state == "connected")
    server = runs(folder)
    os.kill(server.process, signal.SIGKILL)
    has_ended(folder, server)
    host.pass_time(10.0)
    host.until(lambda: running(folder) is not None and controller.connection.state == "connected")
    controller.close()


def test_stopping_disconnects(host: FakeHost, make: Make, folder: Folder) -> None:
    controller = Controller(host, FakeStorage(), this_computer=make())
    controller.paint_here()
    host.until(lambda: controller.connection.state == "connected")
    assert controller.this_computer is not None
    controller.this_computer.stop()
    assert controller.connection.state == "disconnected"
    controller.paint_here()
    host.until(lambda: controller.connection.state == "connected")
    controller.close()
