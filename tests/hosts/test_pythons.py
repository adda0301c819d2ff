"""Finding Pythons and folders, also as on other systems, and what of a host's environment others get."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from impasto.hosts import installing, pythons
from impasto.hosts.installing import what_to_install
from impasto.hosts.own_server import Folder
from impasto.hosts.pythons import Noted, Python, ask, belongs_to_user, candidates, clean, data_folder, noted


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.local/share/impasto"),
        ("linux", {"HOME": "/home/ada", "XDG_DATA_HOME": "/data"}, "/data/impasto"),
        ("darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/impasto"),
        ("win32", {"LOCALAPPDATA": "/Users/ada/AppData/Local"}, "/Users/ada/AppData/Local/impasto"),
        ("win32", {"USERPROFILE": "/Users/ada"}, "/Users/ada/AppData/Local/impasto"),
    ],
)
def test_the_users_data_folder(platform: str, environment: dict[str, str], folder: str) -> None:
    assert data_folder(environment, platform) == Path(folder)


def test_what_belongs_to_the_host_does_not_reach_other_programs() -> None:
    environment = {
        "HOME": "/home/ada",
        "PATH": "/usr/bin",
        "PIP_INDEX_URL": "https://mirror",
        "SSL_CERT_FILE": "/etc/ssl/studio.pem",
        "PYTHONHOME": "/opt/krita",
        "PYTHONPATH": "/opt/krita/lib",
        "LD_LIBRARY_PATH": "/opt/krita/lib",
        "QT_PLUGIN_PATH": "/opt/krita/plugins",
        "GIMP3_DATADIR": "/usr/share/gimp",
        "IMPASTO_PORT": "1",
    }
    assert set(clean(environment)) == {"HOME", "PATH", "PIP_INDEX_URL", "SSL_CERT_FILE"}


@pytest.mark.parametrize("name", ["APPDIR", "SNAP"])
def test_what_lies_within_an_image_of_the_host_does_not_reach_other_programs(name: str) -> None:
    environment = {
        name: "/tmp/.mount_krita",
        "PATH": os.pathsep.join(["/tmp/.mount_krita/usr/bin", "/usr/bin"]),
        "XDG_DATA_DIRS": "/tmp/.mount_krita/usr/share",
        "SSL_CERT_FILE": "/tmp/.mount_krita/cert.pem",
        "LD_LIBRARY_PATH": "/tmp/.mount_krita/usr/lib:/opt/studio",
        "LD_LIBRARY_PATH_ORIG": "/opt/studio",
    }
    cleaned = clean(environment)
    assert cleaned == {
        "PATH": "/usr/bin",
        "LD_LIBRARY_PATH": "/opt/studio",
        "LD_LIBRARY_PATH_ORIG": "/opt/studio",
    }


@pytest.mark.parametrize("depth", [["impasto_krita", "_vendor"], ["impasto"]], ids=["krita", "gimp"])
def test_the_note_of_the_installation_is_found(tmp_path: Path, depth: list[str]) -> None:
    package = tmp_path.joinpath(*depth) / "impasto" / "hosts"
    package.mkdir(parents=True)
    assert noted(package / "pythons.py") == Noted()
    mark = tmp_path / depth[0] / "impasto-plugin.json"
    mark.write_text(json.dumps({"plugin": "krita", "version": "1", "python": "/a/python", "checkout": "/a"}))
    assert noted(package / "pythons.py") == Noted("/a/python", "/a")
    mark.write_text("[]")
    assert noted(package / "pythons.py") == Noted()


def program(path: Path, text: str = "#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_order_in_which_pythons_are_tried(tmp_path: Path, platform: str) -> None:
    note = program(tmp_path / "checkout" / "python")
    own = program(tmp_path / "own" / "bin" / "python")
    server = program(tmp_path / "server" / "bin" / "python")
    program(tmp_path / "bin" / "impasto-server", f"#!{server}\nimport impasto_server\n")
    newest = program(tmp_path / "bin" / "python3")
    older = program(tmp_path / "bin" / "python3.11")
    local = program(tmp_path / ".local" / "bin" / "python3.12")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    found = list(candidates(Noted(note), tmp_path / "own", environment, platform))
    assert found[:5] == [note, own, server, newest, older]
    assert local in found
    assert len(set(found)) == len(found)
    assert platform == "linux" or not [path for path in found if path.startswith("/usr/bin/")]


def test_the_commands_of_other_languages_name_no_python(tmp_path: Path) -> None:
    program(tmp_path / "impasto-server", "#!/bin/sh\nexec python\n")
    found = list(candidates(Noted(), tmp_path / "own", {"PATH": str(tmp_path), "HOME": str(tmp_path)}))
    assert "/bin/sh" not in found


def test_a_python_says_what_it_has(tmp_path: Path) -> None:
    found = ask(sys.executable, os.environ)
    assert found is not None
    assert (found.version, found.wide, found.server) == (sys.version_info[:2], True, True)
    assert ask(str(tmp_path / "none"), os.environ) is None
    assert ask(program(tmp_path / "other"), os.environ) is None
    assert ask(program(tmp_path / "liar", "#!/bin/sh\necho []\n"), os.environ) is None
    # A host whose name is python's, as Krita's own was once.
    assert ask(program(tmp_path / "python3", "#!/bin/sh\necho '{\"version\": 3}'\n"), os.environ) is None


def test_files_of_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert ask(sys.executable, os.environ) is not None


def test_what_is_installed(tmp_path: Path) -> None:
    given = {"IMPASTO_INSTALL_FROM": "--no-index 'a b.whl'"}
    assert what_to_install(Noted(), given, "1.2") == ["--no-index", "a b.whl"]
    assert what_to_install(Noted(checkout=str(tmp_path)), {}, "1.2") == ["impasto-server[torch]==1.2"]
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "pyproject.toml").touch()
    assert what_to_install(Noted(checkout=str(tmp_path)), {}, "1.2") == [
        str(tmp_path),
        f"{tmp_path}/server[torch]",
    ]


def test_the_size_is_that_of_the_pytorch_that_the_computer_gets() -> None:
    assert installing.extent("linux").disk > 5e9
    assert installing.extent("darwin").disk < 2e9


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full."),
        ("ERROR: No matching distribution found for torch>=2.6", "no PyTorch for Python 3.12"),
        ("WARNING: Retrying … NewConnectionError\nERROR: No matching distribution", "no connection"),
        ("ERROR: Package 'impasto' requires a different Python", "Package 'impasto' requires a different"),
        ("", "could not be installed"),
    ],
)
def test_why_pip_failed(log: str, words: str) -> None:
    python = Python("/usr/bin/python3", (3, 12), True, False, False, True, True)
    assert words in str(installing.why(log, python))
    assert ".." not in str(installing.why(log, python))


@pytest.mark.parametrize(
    ("system", "machine", "musl", "words"),
    [
        ("win32", "AMD64", False, "Windows"),
        ("darwin", "x86_64", False, "Intel"),
        ("linux", "x86_64", True, "musl"),
    ],
)
def test_computers_on_which_the_server_does_not_run(
    system: str, machine: str, musl: bool, words: str
) -> None:
    told = installing.obstacle(system, machine, musl=musl)
    assert told is not None
    assert words in told.sentence
    assert "address" in told.sentence


def test_computers_on_which_it_runs() -> None:
    assert installing.obstacle("darwin", "arm64") is None
    assert installing.obstacle("linux", "aarch64", musl=False) is None
    assert pythons.program_of(Path("a"), "linux") == Path("a/bin/python")


def test_progress_is_read_from_what_pip_writes(tmp_path: Path) -> None:
    seen: list[installing.Progress] = []
    installation = installing.Installation(
        Folder(tmp_path),
        Python("/usr/bin/python3", (3, 12), True, False, False, True, True),
        [],
        environment={},
        needed=0,
        expected=200_000_000,
        told=seen.append,
    )
    for line in (
        "Collecting torch>=2.6",
        "  Downloading torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (150.0 MB)",
        "Progress 75000000 of 150000000",
        "Progress 150000000 of 150000000",
        "  Downloading https://mirror/whl/numpy-2.4.6-cp311-cp311-manylinux.whl (50.0 MB)",
        "Installing collected packages: numpy, torch",
    ):
        installation._heard(line.encode() + b"\n")
    assert [(one.sentence, one.fraction and round(one.fraction, 3)) for one in seen] == [
        ("Downloaded 0 MB of about 200 MB …", 0.0),
        ("Downloaded 75 MB of about 200 MB …", 0.3),
        ("Downloaded 150 MB of about 200 MB …", 0.6),
        ("Downloaded 150 MB of about 200 MB …", 0.6),
        ("Unpacking; this takes a minute or two …", None),
    ]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no such modes")
def test_a_program_that_others_can_replace_is_not_run(tmp_path: Path) -> None:
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert belongs_to_user(program)
    assert not belongs_to_user(tmp_path / "none")
    tmp_path.chmod(0o777)
    assert not belongs_to_user(program)
    # As /tmp is.
    tmp_path.chmod(0o1777)
    assert belongs_to_user(program)
    program.chmod(0o757)
    assert not belongs_to_user(program)
    if os.getuid() == 0:
        program.chmod(0o755)
        os.chown(program, 65534, 65534)
        assert not belongs_to_user(program)
