"""Reading and writing whole files."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import secrets
import select
import stat
import time
from collections.abc import Iterator

MAX_READ_BYTES = 2**30
"""Largest file that is read, in bytes. No server accepts as much."""
PIPE_PATIENCE = 10.0
"""Longest silence of a pipe, in seconds."""
_PIPE_READ = 2**16


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """Reads a file, or a pipe up to its end. Stops waiting for a pipe that is silent for too long.

    Raises:
        OSError: it cannot be read; `strerror` says why and what to do.
    """
    path = on_disk(path)
    mode = check_readable(path)
    if stat.S_ISFIFO(mode):
        return _read_pipe(path)
    with open(path, "rb") as file:
        data = file.read(MAX_READ_BYTES + 1)
    if len(data) > MAX_READ_BYTES:
        raise _too_large(path)
    return data


def on_disk(path: str | os.PathLike[str]) -> str:
    """Return a path that Python can pass to the system.

    A program that embeds Python may run it with ASCII as the encoding of file names, where the locale is not
    installed; a path with other letters is then one in UTF-8, as everywhere else.
    """
    text = os.fspath(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return text


def read_pem(path: str | os.PathLike[str]) -> bytes:
    """Reads certificates or a key for gRPC, without the byte order mark that some editors add.

    Raises:
        OSError: as for `read_whole`.
    """
    return read_whole(path).removeprefix(codecs.BOM_UTF8)


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a text in UTF-8, or in UTF-16 with a byte order mark, as editors on Windows save it.

    Raises:
        OSError: as for `read_whole`.
        UnicodeDecodeError: it is not a text.
    """
    return decoded(read_whole(path))


def decoded(data: bytes) -> str:
    """Return bytes as a text; see `read_text`.

    Raises:
        UnicodeDecodeError: they are not a text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def check_readable(path: str | os.PathLike[str]) -> int:
    """Checks that `read_whole` can read a file, as far as possible without reading it.

    Returns:
        The file's mode, as `os.stat` returns it.

    Raises:
        OSError: it cannot be read; `strerror` says why and what to do.
    """
    _check_name(path)
    path = on_disk(path)
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise _error(errno.EISDIR, "is a folder; give a file", path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISFIFO(found.st_mode):
        raise _error(errno.EINVAL, "is a device or a socket; give a regular file", path)
    if found.st_size > MAX_READ_BYTES:
        raise _too_large(path)
    # Do not open a pipe: its writer would stop when this reader closes it.
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb"):
            pass
    elif not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return found.st_mode


def _read_pipe(path: str | os.PathLike[str]) -> bytes:
    data = io.BytesIO()
    # Without O_NONBLOCK, opening waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        last = time.monotonic()
        while True:
            try:
                piece: bytes | None = os.read(descriptor, _PIPE_READ)
            except BlockingIOError:
                piece = None
            if piece:
                data.write(piece)
                last = time.monotonic()
                if data.tell() > MAX_READ_BYTES:
                    raise _too_large(path)
                continue
            if piece == b"" and data.tell():
                return data.getvalue()
            left = last + PIPE_PATIENCE - time.monotonic()
            if left <= 0:
                raise _error(
                    errno.ETIMEDOUT, f"is a pipe that was silent for {PIPE_PATIENCE:g} s; give a file", path
                )
            _wait(descriptor, left)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, seconds: float) -> None:
    """Waits until a pipe has something to read, at most for `seconds`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ready = poll.poll(seconds * 1000)
    # A pipe whose writer wrote nothing stays "hung up" until the next writer opens it.
    if ready and not ready[0][1] & select.POLLIN:
        time.sleep(min(seconds, 0.05))


def write_whole(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o666) -> None:
    """Writes a file atomically, by way of a temporary file beside it.

    Args:
        mode: the file's permissions, which the process's umask reduces.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
    """
    with _named(path):
        target = _target(path)
        part, descriptor = _make_part(target, mode)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            if os.path.exists(part):
                os.unlink(part)
            raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Checks that `write_whole` can write a file, by making the temporary file that it would use.

    Raises:
        OSError: it cannot be written; `strerror` says why and what to do.
    """
    with _named(path):
        part, descriptor = _make_part(_target(path), 0o600)
        os.close(descriptor)
        os.unlink(part)


def folder_of(path: str | os.PathLike[str]) -> str:
    """Return the folder in which `write_whole` writes a file. Links are followed."""
    return os.path.dirname(os.path.realpath(path))


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes errors name the caller's file in place of the temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from None


def _target(path: str | os.PathLike[str]) -> str:
    """The file to write. Links are followed.

    Raises:
        OSError: something there must not be replaced, or the name is impossible.
    """
    _check_name(path)
    target = os.path.realpath(on_disk(path))
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(found.st_mode):
        raise _error(errno.EISDIR, "is a folder; give a file's name", path)
    if not stat.S_ISREG(found.st_mode):
        # Root would replace the device with a file.
        raise _error(errno.EINVAL, "is a device, a pipe or a socket; give a file's name", path)
    folder = os.stat(os.path.dirname(target))
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, found.st_uid, folder.st_uid):
        raise _error(errno.EPERM, "is somebody else's, in a folder where each keeps their own", path)
    return target


def _make_part(target: str, mode: int) -> tuple[str, int]:
    """Make a temporary file beside the target; return its name and its descriptor."""
    # The target's name may have the greatest length that is allowed, so its own name is short.
    part = os.path.join(os.path.dirname(target), f".{secrets.token_hex(6)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return part, os.open(part, flags, mode)


def _check_name(path: str | os.PathLike[str]) -> None:
    if "\0" in os.fspath(path):
        raise _error(errno.EINVAL, "has a NUL character in its name; give another name", path)


def _too_large(path: str | os.PathLike[str]) -> OSError:
    return _error(errno.EFBIG, f"has more than {MAX_READ_BYTES >> 30} GiB; give a smaller file", path)


def _error(number: int, sentence: str, path: str | os.PathLike[str]) -> OSError:
    return OSError(number, sentence, os.fspath(path))
