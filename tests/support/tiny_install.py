"""Packages that pip installs in a moment, in place of the real server with PyTorch."""

from __future__ import annotations

import shlex
import sys
import zipfile
from pathlib import Path


def server_wheel(folder: Path) -> str:
    """Makes a package that makes this Python's packages, Impasto's server among them, another one's.

    Returns:
        The value of IMPASTO_INSTALL_FROM that installs it.
    """
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    contents = {
        "tiny.pth": "".join(
            f"{path}\n" for path in sys.path if path.endswith(("site-packages", "client", "server"))
        ),
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return shlex.join(["--no-index", "--no-deps", str(wheel)])


def endless_source(folder: Path, begun: Path) -> str:
    """Makes a package that is never built: its builder writes its process's id to a file, and waits.

    Returns:
        The value of IMPASTO_INSTALL_FROM that begins to install it.
    """
    source = folder / "endless"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "builder"\nbackend-path = ["."]\n'
        '[project]\nname = "endless"\nversion = "1.0"\n'
    )
    (source / "builder.py").write_text(
        "import os, threading\n"
        "def build_wheel(*given):\n"
        f"    with open({str(begun) + '.part'!r}, 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
        f"    os.rename({str(begun) + '.part'!r}, {str(begun)!r})\n"
        "    threading.Event().wait()\n"
        "prepare_metadata_for_build_wheel = build_wheel\n"
    )
    return shlex.join(["--no-index", "--no-deps", "--no-build-isolation", str(source)])
