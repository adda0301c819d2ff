"""Packages of the plugins for host applications: the plugin, and all that it needs besides its host.

Hosts bring a Python of their own and change it from release to release, so all of a package is pure Python.
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
from typing import Literal

from impasto.files import write_whole
from impasto.python_programs import module_command

HostName = Literal["krita", "gimp"]

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
"""What the client needs over grpclib; in fixed versions, so that the same package comes out everywhere."""
OLDEST_PYTHON = "3.10"
COMPILED = (".so", ".pyd", ".dylib", ".dll")
MARK = "impasto-plugin.json"
"""Stands in every folder that was put in place here, and in no other."""

# The folder of the package `impasto`.
_PACKAGE = Path(__file__).parents[1]

# Of the client, what belongs to the command line, to asyncio or to grpcio.
_LEFT_OUT = {"aio", "cli", "data", "grpcio.py", "grpcio_aio.py", "plugin_sources"}

# The earliest time that a zip can tell.
_TIME = (1980, 1, 1, 0, 0, 0)


class PluginError(Exception):
    """A package cannot be made or put in place; says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """What was put in place.

    Attributes:
        folder: where the plugin lies now.
        replaced: the version that lay there before; None if none did.
        enabled: the host's file of settings that switches it on now; None if there is nothing to switch.
    """

    folder: Path
    replaced: str | None
    enabled: Path | None


def build(host: HostName, *, sources: Path | None = None, vendored: Path | None = None) -> bytes:
    """A zip that the host's own importer takes; from the same versions, always the same bytes.

    Args:
        sources: folder of the plugin's sources; None for those that come with Impasto.
        vendored: folder of what is vendored; None to have it fetched, or taken from the cache.

    Raises:
        PluginError: something is missing, cannot be fetched, or is not pure Python.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for path, data in sorted(_contents(host, sources, vendored).items()):
            entry = zipfile.ZipInfo(path, _TIME)
            # Unix, whatever this machine is: elsewhere the modes mean nothing.
            entry.create_system = 3
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
    """Puts the plugin where the host looks for it, in place of an earlier version, and switches it on.

    Args:
        folders: folders of plugins to put it in, with nothing switched on; None for the host's own.
        sources, vendored: as for `build`.

    Raises:
        PluginError: as `build`, or something stands there that is not Impasto's.
        OSError: it cannot be written.
    """
    contents = _contents(host, sources, vendored)
    (name,) = {PurePosixPath(path).parts[0] for path in contents if "/" in path}
    before = {folder: _check(folder, name, contents) for folder in folders or _plugin_folders(host)}
    done = []
    for folder, replaced in before.items():
        _put(host, folder, name, contents)
        settings = _enable_in_krita(name) if host == "krita" and folders is None else None
        done.append(Installed(folder / name, replaced, settings))
    return done


def vendored_files() -> Path:
    """Folder of what is vendored, fetched with pip at the first time and kept in the user's cache.

    Raises:
        PluginError: it cannot be fetched, or is not pure Python.
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
        # In a folder of its own: with -m, Python runs what lies in the current one, such as a pip.py.
        ran = subprocess.run([*pip, *options, *pure, *VENDORED], cwd=part, capture_output=True, text=True)
        if ran.returncode:
            said = ran.stderr.strip().rpartition("\n")[2] or f"pip ended with {ran.returncode}"
            raise PluginError(f"what the plugin needs cannot be fetched with pip ({said})")
        check_pure(fetched)
        try:
            fetched.rename(kept)
        except OSError:
            # Somebody else has just done the same.
            if not kept.is_dir():
                raise
    return kept


def check_pure(folder: Path) -> None:
    """Checks that nothing in a folder is compiled for one machine or one Python.

    Raises:
        PluginError: something is.
    """
    for file in sorted(folder.rglob("*")):
        if file.suffix in COMPILED:
            raise PluginError(f"{file.relative_to(folder)} is compiled; a plugin has to be all Python")


def _contents(host: HostName, sources: Path | None, vendored: Path | None) -> dict[str, bytes]:
    """The files of a package by their paths."""
    plugin = sources or _sources(host)
    if not plugin.is_dir():
        raise PluginError(f"there are no sources of a plugin for {host} in {plugin}")
    contents = _files(plugin)
    names = {PurePosixPath(path).parts[0] for path in contents if "/" in path}
    if len(names) != 1:
        raise PluginError(f"{plugin} has {len(names)} folders; the plugin's own has to be the only one")
    (name,) = names
    needed = {
        path: data
        for path, data in _files(vendored or vendored_files()).items()
        if not path.startswith("bin/")
        and PurePosixPath(path).name not in ("RECORD", "INSTALLER", "REQUESTED")
    }
    own = _files(_PACKAGE, leave_out=_LEFT_OUT, prefix="impasto/")
    needed |= {
        path: data for path, data in own.items() if path.endswith((".py", ".typed")) and "_grpc." not in path
    }
    version = _version()
    metadata = f"Metadata-Version: 2.1\nName: impasto\nVersion: {version}\nLicense: Apache-2.0\n"
    needed[f"impasto-{version}.dist-info/METADATA"] = metadata.encode()
    contents |= {f"{name}/_vendor/{path}": data for path, data in needed.items()}
    for path in contents:
        if path.endswith(COMPILED):
            raise PluginError(f"{path} is compiled; a plugin has to be all Python")
    contents[f"{name}/{MARK}"] = (json.dumps({"plugin": host, "version": version}) + "\n").encode()
    return contents


def _files(folder: Path, *, leave_out: Set[str] = frozenset(), prefix: str = "") -> dict[str, bytes]:
    found = {}
    for file in folder.rglob("*"):
        path = file.relative_to(folder)
        if file.is_file() and not {"__pycache__", *leave_out} & set(path.parts) and file.suffix != ".pyc":
            found[prefix + path.as_posix()] = file.read_bytes()
    return found


def _sources(host: HostName) -> Path:
    # In a wheel they lie within the package, in a checkout beside it.
    within = _PACKAGE / "plugin_sources" / host
    return within if within.is_dir() else _PACKAGE.parent / "plugins" / host


def _version() -> str:
    from importlib.metadata import version

    return version("impasto")


def _is_program(host: HostName, path: str) -> bool:
    """GIMP starts NAME/NAME.py, and nothing that may not be executed."""
    parts = PurePosixPath(path).parts
    return host == "gimp" and len(parts) == 2 and parts[1] == f"{parts[0]}.py"


def _check(folder: Path, name: str, contents: Mapping[str, bytes]) -> str | None:
    """The version that is installed in a folder of plugins; None if none is.

    Raises:
        PluginError: something else stands in the way.
    """
    target = folder / name
    mark = target / MARK
    if not target.is_symlink() and mark.is_file():
        return str(json.loads(mark.read_text(encoding="utf-8"))["version"])
    for path in sorted({PurePosixPath(path).parts[0] for path in contents}):
        there = folder / path
        if there.exists() or there.is_symlink():
            raise PluginError(f"{there} was not put there by Impasto; move it away first")
    return None


def _put(host: HostName, folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    """Puts the files of a package into a folder of plugins, the plugin's own folder in one go."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".impasto-part-") as part:
        for path, data in contents.items():
            file = Path(part) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(0o755 if _is_program(host, path) else 0o644)
        target = folder / name
        if target.exists():
            target.rename(Path(part) / f"{name}.before")
        (Path(part) / name).rename(target)
        for path in contents:
            if "/" not in path:
                shutil.copy(Path(part) / path, folder / path)


def _plugin_folders(host: HostName) -> list[Path]:
    data, settings = _host_folders()
    if host == "krita":
        return [data / "krita" / "pykrita"]
    # Each release has its own; there may be several, or none before the first start.
    releases = sorted(folder for folder in (settings / "GIMP").glob("3.*") if folder.is_dir())
    return [release / "plug-ins" for release in releases or [settings / "GIMP" / "3.0"]]


def _enable_in_krita(name: str) -> Path:
    """Switches a plugin on in Krita's settings, and leaves everything else there as it is."""
    if sys.platform == "darwin":
        file = Path.home() / "Library" / "Preferences" / "kritarc"
    elif sys.platform == "win32":
        file = Path(os.environ["LOCALAPPDATA"]) / "kritarc"
    else:
        file = _host_folders()[1] / "kritarc"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, _with_setting(text, "python", f"enable_{name}", "true").encode())
    return file


def _with_setting(text: str, group: str, key: str, value: str) -> str:
    """The text of a file of settings with one changed or added."""
    lines = text.splitlines()
    if f"[{group}]" not in lines:
        lines += [*([""] if lines else []), f"[{group}]"]
    begin = lines.index(f"[{group}]") + 1
    end = next((i for i in range(begin, len(lines)) if lines[i].startswith("[")), len(lines))
    said = f"{key}={value}"
    for i in range(begin, end):
        if lines[i].partition("=")[0].strip() == key:
            lines[i] = said
            break
    else:
        lines.insert(begin, said)
    return "\n".join(lines) + "\n"


def _host_folders() -> tuple[Path, Path]:
    """Where hosts keep data, and where settings."""
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
