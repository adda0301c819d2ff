"""The Pythons of this computer. The host's own is none of them: `sys.executable` may be the host itself."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

OLDEST = (3, 10)
NAMES = ("python3", "python3.13", "python3.12", "python3.11", "python3.14", "python3.10", "python")
"""Names of Python's program, those first whose Python most likely has all packages that painting needs."""
MARK = "impasto-plugin.json"
"""File in the plugin's folder in which `impasto plugin install` notes the Python that it ran in."""
NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
"""How to start a program without a window of its own on Windows; 0 elsewhere."""
PATIENCE = 30.0
"""Longest wait for an answer of a Python, in seconds."""

# Runs in each Python that is looked at, also in one that is too old: no f-strings, no type hints.
_QUESTION = """
import importlib.util, json, os, sys
def there(name):
    try:
        return importlib.util.find_spec(name)
    except Exception:
        return None
server = there("impasto_server")
folders = list(server.submodule_search_locations or []) if server else []
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "wide": sys.maxsize > 2 ** 32,
    "server": any(os.path.exists(os.path.join(folder, "gateway", "users.py")) for folder in folders),
    "torch": all(there(name) for name in ("torch", "torchvision", "safetensors")),
    "ensurepip": bool(there("ensurepip") and there("venv")),
    "pip": bool(there("pip") and there("venv")),
}))
"""

# What hosts set for themselves, and what must not reach another program. PIP_*, which pip needs, stays.
_HOSTS = (
    "PYTHON",
    "QT_",
    "QML",
    "GTK_",
    "GDK_",
    "GI_",
    "GIO_",
    "GEGL_",
    "BABL_",
    "GIMP",
    "KRITA",
    "IMPASTO_",
)
_HOSTS_TOO = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")


@dataclasses.dataclass(frozen=True)
class Python:
    """A Python, and what it has.

    Attributes:
        path: its program.
        version: its version, as (3, 12).
        wide: whether it is for 64 bits; there is no PyTorch for others.
        server: whether it has a server that can be used by a plugin.
        torch: whether it has what the server needs to paint.
        ensurepip: whether it makes virtual environments with pip in them.
        pip: whether it makes virtual environments, and has pip itself.
    """

    path: str
    version: tuple[int, int]
    wide: bool
    server: bool
    torch: bool
    ensurepip: bool
    pip: bool

    @property
    def is_new_enough(self) -> bool:
        """Whether the server runs with a Python of this kind."""
        return self.version >= OLDEST and self.wide

    @property
    def can_install(self) -> bool:
        """Whether the server can be installed with it."""
        return self.is_new_enough and (self.ensurepip or self.pip)


@dataclasses.dataclass(frozen=True)
class Noted:
    """What `impasto plugin install` has noted.

    Attributes:
        python: the Python that it ran in; empty if there is no note, as in a plugin from a zip file.
        checkout: folder of the sources that Impasto was installed from; empty if it was none.
    """

    python: str = ""
    checkout: str = ""


def noted(beside: Path | None = None) -> Noted:
    """Returns what is noted in the folder of the plugin that a file belongs to; by default, this file."""
    for folder in list((beside or Path(__file__)).parents)[:4]:
        try:
            mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
            return Noted(str(mark.get("python", "")), str(mark.get("checkout", "")))
        except (OSError, ValueError, AttributeError):
            continue
    return Noted()


def data_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Returns the user's folder for Impasto's data."""
    if platform == "darwin":
        return _home(environment) / "Library" / "Application Support" / "impasto"
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or _home(environment) / "AppData" / "Local") / "impasto"
    return Path(environment.get("XDG_DATA_HOME") or _home(environment) / ".local" / "share") / "impasto"


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for a program that is no part of the host.

    The host may come with libraries of its own (AppImage, Snap, Flatpak), which other programs must not find.
    """
    within = tuple(environment[name] for name in ("APPDIR", "SNAP") if environment.get(name))
    kept = {}
    for name, value in environment.items():
        if name.startswith(_HOSTS) or name in _HOSTS_TOO:
            continue
        if within and name not in ("APPDIR", "SNAP"):
            # A list of folders, or one path, of which some may lie within the host.
            parts = [part for part in value.split(os.pathsep) if not part.startswith(within)]
            if not parts:
                continue
            value = os.pathsep.join(parts)
        kept[name] = value
    for name in ("APPDIR", "SNAP"):
        kept.pop(name, None)
    # What AppImages and PyInstaller keep of the user's own setting.
    if original := environment.get("LD_LIBRARY_PATH_ORIG"):
        kept["LD_LIBRARY_PATH"] = original
    return kept


def candidates(
    note: Noted, own: Path, environment: Mapping[str, str], platform: str = sys.platform
) -> Iterator[str]:
    """Yields programs that may be Pythons: those first that most likely have a server.

    Args:
        note: what was noted when the plugin was installed.
        own: the virtual environment that the plugin makes.
        environment: a clean environment.
    """
    seen = set()
    for path in _possible(note, own, environment, platform):
        # macOS's own /usr/bin/python3 is too old, or asks to install Apple's tools for developers.
        if platform == "darwin" and path.startswith("/usr/bin/"):
            continue
        if path not in seen and os.access(path, os.X_OK) and belongs_to_user(path):
            seen.add(path)
            yield path


def belongs_to_user(path: str | os.PathLike[str]) -> bool:
    """Whether nobody but the user and the system's administrator can have put a file where it is.

    What was noted in a folder like /tmp may be gone by now, and another user's may be in its place.
    """
    if not hasattr(os, "getuid"):
        # On Windows a user's folders are closed to others.
        return True
    for way in {Path(os.path.abspath(path)), Path(os.path.realpath(path))}:
        for each in (way, *way.parents):
            try:
                found = os.lstat(each)
            except OSError:
                return False
            others_write = found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode)
            # In a sticky folder nobody replaces what belongs to another.
            if found.st_uid not in (0, os.getuid()) or (others_write and not found.st_mode & stat.S_ISVTX):
                return False
    return True


def program_of(own: Path, platform: str = sys.platform) -> Path:
    """Returns the Python of a virtual environment."""
    return own / "Scripts" / "python.exe" if platform == "win32" else own / "bin" / "python"


def ask(path: str, environment: Mapping[str, str]) -> Python | None:
    """Asks a program what Python it is; None if it is none that runs."""
    try:
        done = subprocess.run(
            [path, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environment),
            # Python would import a `json.py` of the current folder.
            cwd=os.path.abspath(os.sep),
            timeout=PATIENCE,
            creationflags=NO_WINDOW,
        )
        said = json.loads(done.stdout)
        major, minor = said.pop("version")
        return Python(path, (int(major), int(minor)), **{name: bool(value) for name, value in said.items()})
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return None


def _possible(note: Noted, own: Path, environment: Mapping[str, str], platform: str) -> Iterator[str]:
    if note.python:
        yield note.python
    yield str(program_of(own, platform))
    path = environment.get("PATH", os.defpath)
    if (command := shutil.which("impasto-server", path=path)) and (python := _interpreter(command)):
        yield python
    for name in NAMES:
        if found := shutil.which(name, path=path):
            yield found
    home = _home(environment)
    folders = [Path("/usr/local/bin"), Path("/usr/bin"), home / ".local" / "bin"]
    if platform == "darwin":
        # A program that is started from the Dock has not the shell's PATH.
        framework = Path("/Library/Frameworks/Python.framework/Versions")
        folders = [Path("/opt/homebrew/bin"), *sorted(framework.glob("3.*/bin"), reverse=True), *folders]
    for folder in folders:
        for name in NAMES:
            yield str(folder / name)


def _interpreter(command: str) -> str:
    """Returns the Python that a command runs in, by its first line; empty if that says none."""
    try:
        with open(command, "rb") as file:
            line = file.readline(1024).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    path = line[2:].strip() if line.startswith("#!") else ""
    return path if "python" in os.path.basename(path) and " " not in path else ""


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or environment.get("USERPROFILE") or Path.home())
