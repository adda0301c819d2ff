"""Reading and writing whole files: other things than files are refused, and nothing waits forever."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from impasto import files
from impasto.picture import CodedImage
from support.disks import small_disk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("length", [1, 249, 255])
def test_every_legal_name_can_be_written(folder: Path, length: int) -> None:
    name = "x" * length
    files.check_writable(name)
    assert not os.listdir()
    files.write_whole(name, b"data")
    assert os.listdir() == [name]
    assert Path(name).read_bytes() == b"data"


def test_checking_a_file_changes_nothing(folder: Path) -> None:
    Path("there").write_bytes(b"before")
    files.check_writable("there")
    assert (os.listdir(), Path("there").read_bytes()) == (["there"], b"before")


def test_a_dangling_link_is_written_through_where_it_leads_to_a_folder(folder: Path) -> None:
    Path("deep").mkdir()
    Path("link").symlink_to("deep/file")
    files.check_writable("link")
    files.write_whole("link", b"data")
    assert Path("deep/file").read_bytes() == b"data"
    assert Path("link").is_symlink()


def make_unwritable(what: str) -> str:
    if what == "folder":
        Path("out").mkdir()
    elif what == "pipe":
        os.mkfifo("out")
    elif what == "device":
        Path("out").symlink_to("/dev/null")
    elif what == "loop":
        Path("out").symlink_to("out")
    elif what == "link into nowhere":
        Path("out").symlink_to("none/out")
    elif what == "long name":
        return "x" * 256
    elif what == "NUL":
        return "a\0b"
    elif what == "file as a folder":
        Path("file").touch()
        return "file/out"
    return "out"


UNWRITABLE = ["folder", "pipe", "device", "loop", "link into nowhere", "long name", "NUL", "file as a folder"]


@pytest.mark.parametrize("what", UNWRITABLE)
def test_an_unwritable_file_fails_the_check_and_is_unchanged(folder: Path, what: str) -> None:
    name = make_unwritable(what)
    before = sorted(os.listdir())
    for write in (files.check_writable, lambda path: files.write_whole(path, b"data")):
        with pytest.raises(OSError):  # noqa: PT011 - each has its own words
            write(name)
        assert sorted(os.listdir()) == before
    assert os.path.exists("/dev/null")
    assert not os.path.isfile("/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_fails_the_check(folder: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        files.check_writable("locked/out")


def test_a_pipe_is_read_to_its_end(folder: Path) -> None:
    os.mkfifo("pipe")
    data = os.urandom(300_000)
    files.check_readable("pipe")
    # Opening a pipe waits for its reader.
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(data,))
    writer.start()
    assert files.read_whole("pipe") == data
    writer.join()


@pytest.mark.parametrize("writer", [False, True])
def test_a_silent_pipe_raises_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch, writer: bool) -> None:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 0.1)
    os.mkfifo("pipe")
    held = os.open("pipe", os.O_RDWR) if writer else None
    with pytest.raises(OSError, match="is a pipe that was silent"):
        files.read_whole("pipe")
    if held is not None:
        os.close(held)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "socket", "folder"])
def test_folders_and_devices_are_not_read(folder: Path, path: str) -> None:
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for read in (files.check_readable, files.read_whole):
            with pytest.raises(OSError, match=r"give a (regular )?file"):
                read(path)


def test_a_file_that_is_too_large_is_not_read(folder: Path) -> None:
    with open("sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="has more than 1 GiB; give a smaller file"):
        files.read_whole("sparse")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "none"])
def test_an_impossible_file_name_raises_an_oserror(folder: Path, name: str) -> None:
    for read in (files.check_readable, files.read_whole):
        with pytest.raises(OSError):  # noqa: PT011 - each has its own words
            read(name)


def test_an_error_names_the_file_that_the_caller_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_replacing(part: str, target: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), part, None, target)

    for path, write in (
        ("none/out", files.check_writable),
        (Path("none/out"), lambda path: files.write_whole(path, b"data")),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            write(path)
        assert str(caught.value) == "[Errno 2] No such file or directory: 'none/out'"
    for name, acted in (("fsync", no_space), ("replace", no_replacing)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, acted)
            with pytest.raises(OSError, match=r"^\[Errno \d+\] [^:]*: 'out'$") as failed:
                files.write_whole("out", b"data")
        assert (failed.value.filename, failed.value.filename2) == ("out", None)
        assert os.listdir() == []


def test_a_full_disk_is_told_with_the_files_name(folder: Path) -> None:
    picture = CodedImage(bytes(2**21), "png", 1, 1, "")
    with small_disk(folder / "disk", 1) as disk, pytest.raises(OSError, match="No space left") as caught:
        picture.save(disk / "out.png")
    assert caught.value.filename == str(disk / "out.png")
