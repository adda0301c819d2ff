"""Compiles the kernels: `python building.py`. It needs a C compiler, and no package."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = (_HERE / "kernels.c", _HERE / "kernels_of_type.h")

LIBRARY = _HERE / "kernels.so"
"""Where the library is looked for. A build of the package puts it there."""

TIME_LIMIT = 120.0
"""Seconds that a call of the compiler may take: many times what slow machines need."""

# Without -march=native: a library may be copied to another machine. Without -ffast-math, which would change
# the arithmetic of the whole process.
_COMPILE = (
    "-O3",
    "-std=gnu11",
    "-fPIC",
    "-fopenmp",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
)


class BuildError(Exception):
    """The kernels cannot be compiled here; the text is one line that says why."""


def source_version() -> str:
    """Returns a name of the source's content, which a library made from it has too."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def build(target: Path = LIBRARY, flags: tuple[str, ...] = ()) -> None:
    """Compiles the kernels with $CC, or else `cc`; if it cannot, `remember`s why.

    Args:
        target: file of the library.
        flags: further flags for the compiler.

    Raises:
        BuildError: this is not Linux, or there is no compiler, or it does not compile the source in time, or
            the file cannot be written. No other error is raised, because an installation works without.
    """
    try:
        _build(target, flags)
    except BuildError as error:
        remember(str(error), target)
        raise
    except (OSError, ValueError) as error:
        why = str(error).encode("ascii", "backslashreplace").decode()
        remember(why, target)
        raise BuildError(why) from None
    with contextlib.suppress(OSError):
        _reason_file(target).unlink(missing_ok=True)


def remember(why: str, target: Path = LIBRARY) -> None:
    """Writes why there is no library into a file beside it, if that can be written."""
    with contextlib.suppress(OSError):
        _reason_file(target).write_text(why, encoding="ascii", errors="backslashreplace")


def reason(target: Path = LIBRARY) -> str:
    """Returns what was `remember`ed, or "" if nothing was."""
    try:
        return _reason_file(target).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _reason_file(target: Path) -> Path:
    return target.with_suffix(".txt")


def _build(target: Path, flags: tuple[str, ...]) -> None:
    if sys.platform != "linux":
        raise BuildError("they are built on Linux only")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        library = Path(folder, target.name)
        try:
            # One version of each function for each kind of processor, where the compiler can do that.
            _compile(library, ("-DHAS_CLONES", *flags))
        except BuildError:
            _compile(library, flags)
        # At once, because a process may have the old one loaded.
        library.replace(target)


def _compile(library: Path, flags: tuple[str, ...]) -> None:
    named = os.environ.get("CC", "")
    try:
        compiler = shlex.split(named) or ["cc"]
    except ValueError as error:
        raise BuildError(f"CC is {named!a}: {error}") from None
    compiled = library.with_suffix(".o")
    version = f'-DSOURCE="{source_version()}"'
    _run([*compiler, *_COMPILE, *flags, version, "-c", str(_SOURCES[0])], compiled)
    # Linked without -fopenmp: the library must use the OpenMP that PyTorch has loaded.
    _run([*compiler, *flags, "-shared", str(compiled)], library)


def _run(command: list[str], output: Path) -> None:
    """Runs the compiler, and makes sure that it wrote its output."""
    name = ascii(command[0])
    try:
        running = subprocess.Popen(
            [*command, "-o", str(output)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Messages in English, in which "error" is found.
            env={**os.environ, "LC_ALL": "C"},
            # A group of its own, so that a compiler can be ended together with what it has started.
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"there is no C compiler: {name}: {error.strerror}") from None
    with running:
        try:
            said, _ = running.communicate(timeout=TIME_LIMIT)
        except BaseException as error:
            os.killpg(running.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{name} took more than {TIME_LIMIT:g} s") from None
            raise
    lines = said.decode("ascii", "backslashreplace").splitlines()
    if running.returncode:
        lines = lines or [f"{name} ended with {running.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[-1]))
    if not output.exists():
        raise BuildError(f"{name} wrote nothing")


if __name__ == "__main__":
    try:
        build()
    except BuildError as error:
        sys.exit(f"The kernels were not compiled: {error}")
