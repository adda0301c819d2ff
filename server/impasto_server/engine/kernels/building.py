"""Compiles the kernels: `python building.py`. It needs a C compiler, and no package."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = (_HERE / "kernels.c", _HERE / "kernels_of_type.h")

LIBRARY = _HERE / "kernels.so"
"""Where the library is looked for. A build of the package puts it there."""

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
    """Compiles the kernels with $CC, or else `cc`.

    Args:
        target: file of the library.
        flags: further flags for the compiler.

    Raises:
        BuildError: this is not Linux, or there is no compiler, or it does not compile the source.
    """
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
    compiler = shlex.split(os.environ.get("CC") or "cc")
    compiled = library.with_suffix(".o")
    version = f'-DSOURCE="{source_version()}"'
    _run([*compiler, *_COMPILE, *flags, version, "-c", str(_SOURCES[0]), "-o", str(compiled)])
    # Linked without -fopenmp: the library must use the OpenMP that PyTorch has loaded.
    _run([*compiler, *flags, "-shared", str(compiled), "-o", str(library)])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise BuildError(f"there is no C compiler: {command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = done.stdout.splitlines() or [f"exit code {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[-1]))


if __name__ == "__main__":
    try:
        build()
    except BuildError as error:
        sys.exit(f"The kernels were not compiled: {error}")
