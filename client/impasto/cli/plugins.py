"""Packages of the plugins for host applications: the plugin and all that it needs beside its host.

A host has its own Python, and another one in each release. Therefore a package contains pure Python only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from impasto.files import write_whole
from impasto.python_programs import module_command

HostName = Literal["krita", "gimp"]
HOSTS: tuple[HostName, ...] = get_args(HostName)

VENDORED = (
    "googleapis-common-protos==1.76.0",
    "grpclib==0.4.9",
    "h2==4.4.1",
    "hpack==4.2.0",
    "hyperframe==6.1.0",
    "multidict==7.1.0",
    "protobuf==7.36.2",
    "typing_extensions==4.16.0",
)
"""The packages that the client needs for grpclib, in fixed versions: builds are reproducible."""
OLDEST_PYTHON = "3.10"
COMPILED = (".so", ".pyd", ".dylib", ".dll")
ACTIONS = ".action"
"""How the file's name ends that names a plugin's actions. Krita looks for it in another folder."""
MARK = "impasto-plugin.json"
"""A file in every folder that `install` made. It tells them from other folders, and notes the Python that
installed the plugin.
"""
VENDOR: Mapping[HostName, str] = {"krita": "_vendor/", "gimp": ""}
"""Where in a plugin's folder the packages lie that it needs.

GIMP copies its plug-ins folder to each new version of its own, but no more than five levels of folders:
`plug-ins/impasto/_vendor/google/protobuf/internal` would be left out. So they lie in the plugin's own folder,
from where GIMP's process, which runs nothing else, imports them in 0.1 s. (From a zip file, which has no
compiled modules, it takes 0.35 s, at each start.) All plugins of Krita share a Python, in which a
plugin's own modules must not be found without its name: there the packages have a folder of their own.
"""

# The folder of the package `impasto`.
_PACKAGE = Path(__file__).parents[1]

# The parts of the client for the command line, asyncio and grpcio, which a plugin does not need.
_LEFT_OUT = {"aio", "cli", "data", "grpcio.py", "grpcio_aio.py", "plugin_sources"}

# The earliest time that a zip file can record.
_TIME = (1980, 1, 1, 0, 0, 0)

# What DOS calls a folder.
_IS_FOLDER = 0x10


class PluginError(Exception):
    """A package cannot be built or installed. The message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """A plugin that was installed.

    Attributes:
        folder: folder of the plugin.
        replaced: the version that was installed there before; None if there was none.
        enabled: the host's settings file in which the plugin was enabled; None if it needs no entry.
    """

    folder: Path
    replaced: str | None
    enabled: Path | None


def build(host: HostName, *, sources: Path | None = None, vendored: Path | None = None) -> bytes:
    """Returns a zip file for the host's importer. The same versions always give the same bytes.

    Therefore its mark, unlike that of `install`, notes nothing of this computer.

    Args:
        sources: folder of the plugin's sources; None for those that come with Impasto.
        vendored: folder of the packages in `VENDORED`; None to download them, or take them from the cache.

    Raises:
        PluginError: a file is missing or not pure Python, or a download failed.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        contents = _contents(host, sources, vendored)
        # Krita's importer finds a plugin by the entry of its folder.
        folders = {f"{folder}/" for path in contents for folder in PurePosixPath(path).parents if folder.name}
        for path, data in sorted({**dict.fromkeys(folders, b""), **contents}.items()):
            entry = zipfile.ZipInfo(path, _TIME)
            # Always Unix, because permissions have no meaning elsewhere.
            entry.create_system = 3
            if path in folders:
                entry.external_attr = 0o040755 << 16 | _IS_FOLDER
            else:
                entry.external_attr = (0o100755 if _is_program(host, path) else 0o100644) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, data)
    return file.getvalue()


def install(
    host: HostName,
    *,
    folders: list[Path] | None = None,
    sources: Path | None = None,
    vendored: Path | None = None,
) -> list[Installed]:
    """Installs the plugin where the host finds it, and enables it. Replaces an earlier version.

    Args:
        folders: folders of plugins to install into, without enabling; None for the host's own folders.
        sources, vendored: as for `build`.

    Raises:
        PluginError: as for `build`, or another file has the plugin's name.
        OSError: a file cannot be written.
    """
    contents = _contents(host, sources, vendored)
    name = _name(contents)
    contents[f"{name}/{MARK}"] = _mark(host, _this_python())
    before = {folder: _check(folder, name, contents) for folder in folders or _plugin_folders(host)}
    done = []
    for folder, replaced in before.items():
        _put(host, folder, name, contents)
        settings = _enable_in_krita(name) if host == "krita" and folders is None else None
        done.append(Installed(folder / name, replaced, settings))
    return done


def vendored_files() -> Path:
    """Returns the folder of the packages in `VENDORED`. The first call downloads them to the user's cache.

    Raises:
        PluginError: pip failed, or a package is not pure Python.
    """
    digest = hashlib.sha256("\n".join(VENDORED).encode()).hexdigest()[:16]
    kept = _cache() / "impasto" / "vendored" / digest
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".part-") as part:
        fetched = Path(part).absolute() / "fetched"
        pip = [*module_command("pip"), "install", "--quiet", "--disable-pip-version-check"]
        pure = [
            "--python-version",
            OLDEST_PYTHON,
            "--platform",
            "any",
            "--implementation",
            "py",
            "--abi",
            "none",
        ]
        options = ["--no-compile", "--no-deps", "--only-binary=:all:", "--target", str(fetched)]
        # In a new folder: with -m, Python would run a pip.py of the current folder.
        ran = subprocess.run([*pip, *options, *pure, *VENDORED], cwd=part, capture_output=True, text=True)
        if ran.returncode:
            said = ran.stderr.strip().rpartition("\n")[2] or f"pip ended with {ran.returncode}"
            raise PluginError(
                f"pip could not download the packages that the plugin needs ({said}); check the network and "
                "try again"
            )
        check_pure(fetched)
        try:
            fetched.rename(kept)
        except OSError:
            # Another process has made the folder meanwhile.
            if not kept.is_dir():
                raise
    return kept


def check_pure(folder: Path) -> None:
    """Checks that a folder contains no file that is compiled for one machine or one version of Python.

    Raises:
        PluginError: it contains such a file.
    """
    for file in sorted(folder.rglob("*")):
        if file.suffix in COMPILED:
            raise PluginError(f"{file.relative_to(folder)} is compiled; a plugin must be pure Python")


def _contents(host: HostName, sources: Path | None, vendored: Path | None) -> dict[str, bytes]:
    """Returns the files of a package by their paths."""
    plugin = sources or _sources(host)
    if not plugin.is_dir():
        raise PluginError(f"{plugin} has no plugin for {host}; install Impasto again")
    contents = {
        path: data
        for path, data in _files(plugin).items()
        # Beside the folder are what the host reads, and what only a reader of the sources does.
        if "/" in path or path.endswith((".desktop", ACTIONS))
    }
    names = {PurePosixPath(path).parts[0] for path in contents if "/" in path}
    if len(names) != 1:
        raise PluginError(f"{plugin} must have one folder, that of the plugin; it has {len(names)}")
    name = _name(contents)
    needed = {
        path: data
        for path, data in _files(vendored or vendored_files()).items()
        if not path.startswith("bin/")
        and PurePosixPath(path).name not in ("RECORD", "INSTALLER", "REQUESTED")
    }
    own = _files(_PACKAGE, leave_out=_LEFT_OUT, prefix="impasto/")
    needed |= {
        path: data
        for path, data in own.items()
        if path.endswith((".py", ".typed", ".mo")) and "_grpc." not in path
    }
    version = _version()
    metadata = f"Metadata-Version: 2.1\nName: impasto\nVersion: {version}\nLicense: Apache-2.0\n"
    needed[f"impasto-{version}.dist-info/METADATA"] = metadata.encode()
    contents |= {f"{name}/{VENDOR[host]}{path}": data for path, data in needed.items()}
    for path in contents:
        if path.endswith(COMPILED):
            raise PluginError(f"{path} is compiled; a plugin must be pure Python")
    contents[f"{name}/{MARK}"] = _mark(host, {})
    return contents


def _name(contents: Mapping[str, bytes]) -> str:
    """Returns the name of the plugin's folder."""
    return next(PurePosixPath(path).parts[0] for path in contents if "/" in path)


def _mark(host: HostName, notes: Mapping[str, str]) -> bytes:
    return (json.dumps({"plugin": host, "version": _version(), **notes}) + "\n").encode()


def _this_python() -> dict[str, str]:
    """Returns notes for "Paint on this computer": this Python, and the checkout that Impasto comes from."""
    checkout = _PACKAGE.parents[1]
    notes = {"python": sys.executable}
    if (checkout / "server" / "impasto_server").is_dir():
        notes["checkout"] = str(checkout)
    return notes


def _files(folder: Path, *, leave_out: Set[str] = frozenset(), prefix: str = "") -> dict[str, bytes]:
    found = {}
    for file in folder.rglob("*"):
        path = file.relative_to(folder)
        if file.is_file() and not {"__pycache__", *leave_out} & set(path.parts) and file.suffix != ".pyc":
            found[prefix + path.as_posix()] = file.read_bytes()
    return found


def _sources(host: HostName) -> Path:
    # A wheel has them within the package, a checkout beside it.
    within = _PACKAGE / "plugin_sources" / host
    return within if within.is_dir() else _PACKAGE.parent / "plugins" / host


def _version() -> str:
    from importlib.metadata import version

    return version("impasto")


def _is_program(host: HostName, path: str) -> bool:
    """Returns whether a file must be executable: GIMP runs NAME/NAME.py."""
    parts = PurePosixPath(path).parts
    return host == "gimp" and len(parts) == 2 and parts[1] == f"{parts[0]}.py"


def _check(folder: Path, name: str, contents: Mapping[str, bytes]) -> str | None:
    """Returns the version that is installed in a folder of plugins; None if there is none.

    Raises:
        PluginError: another file has the plugin's name.
    """
    target = folder / name
    mark = target / MARK
    if not target.is_symlink() and mark.is_file():
        try:
            return str(json.loads(mark.read_bytes())["version"])
        except (ValueError, KeyError, TypeError):
            # Damaged, for example by a full disk; the name of the file is Impasto's all the same.
            return "an unknown version"
    for path in sorted({PurePosixPath(path).parts[0] for path in contents}):
        there = _beside(folder, path) if path != name else target
        if there.exists() or there.is_symlink():
            raise PluginError(f"{there} was not installed by Impasto; move it away first")
    return None


def _put(host: HostName, folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Writes a package to a folder of plugins. The plugin's own folder appears at once, complete."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".impasto-part-") as part:
        for path, data in contents.items():
            file = Path(part) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.write_bytes(data)
            except OSError as error:
                # A full disk names no file.
                raise OSError(error.errno, error.strerror, str(folder / path)) from None
            file.chmod(0o755 if _is_program(host, path) else 0o644)
        target = folder / name
        if target.exists():
            target.rename(Path(part) / f"{name}.before")
        (Path(part) / name).rename(target)
        for path in contents:
            if "/" not in path:
                there = _beside(folder, path)
                there.parent.mkdir(exist_ok=True)
                shutil.copy(Path(part) / path, there)


def _beside(folder: Path, path: str) -> Path:
    """Returns where a file goes that does not lie in the plugin's own folder."""
    return folder.parent / "actions" / path if path.endswith(ACTIONS) else folder / path


def _plugin_folders(host: HostName) -> list[Path]:
    data, settings = _host_folders()
    if host == "krita":
        return [data / "krita" / "pykrita"]
    # Each release of GIMP has its own folder, which the first start makes.
    releases = sorted(folder for folder in (settings / "GIMP").glob("3.*") if folder.is_dir())
    return [release / "plug-ins" for release in releases or [settings / "GIMP" / "3.0"]]


def _enable_in_krita(name: str) -> Path:
    """Enables a plugin in Krita's settings, without changing any other setting."""
    if sys.platform == "darwin":
        file = Path.home() / "Library" / "Preferences" / "kritarc"
    elif sys.platform == "win32":
        file = Path(os.environ["LOCALAPPDATA"]) / "kritarc"
    else:
        file = _host_folders()[1] / "kritarc"
    data = file.read_bytes() if file.exists() else b""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, _with_setting(data, "python", f"enable_{name}", "true"))
    return file


def _with_setting(data: bytes, group: str, key: str, value: str) -> bytes:
    """Returns a settings file with one setting changed or added, and every other byte as it was."""
    # Only a line feed ends a line; a value may contain what else Python takes for the end of one.
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    # On Windows there is a carriage return before it.
    end = b"\r" if lines and lines[0].endswith(b"\r") else b""
    heading, setting = f"[{group}]".encode() + end, f"{key}={value}".encode() + end
    if heading not in lines:
        lines += [*([end] if lines else []), heading]
    begin = lines.index(heading) + 1
    stop = next((i for i in range(begin, len(lines)) if lines[i].startswith(b"[")), len(lines))
    for i in range(begin, stop):
        if lines[i].partition(b"=")[0].strip() == key.encode():
            lines[i] = setting
            break
    else:
        lines.insert(begin, setting)
    return b"\n".join(lines) + b"\n"


def _host_folders() -> tuple[Path, Path]:
    """Returns the folders for the data and for the settings of host applications."""
    if sys.platform == "darwin":
        support = Path.home() / "Library" / "Application Support"
        return support, support
    if sys.platform == "win32":
        roaming = Path(os.environ["APPDATA"])
        return roaming, roaming
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data, Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
