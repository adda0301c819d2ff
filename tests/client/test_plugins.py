"""Packages of plugins, with a plugin made for the test. Its dependencies come from pip."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import impasto
from impasto.cli import plugins
from impasto.cli.plugins import HostName, PluginError
from support.fake_server import FakeServer, png
from support.krita_process import imported


@pytest.fixture(scope="session")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        try:
            folder = plugins.vendored_files()
        except PluginError as error:
            if "cannot be fetched" in str(error):
                pytest.skip(str(error))
            raise
        assert plugins.vendored_files() == folder
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> dict[HostName, Path]:
    made: dict[HostName, Path] = {}
    for host, name in (("krita", "impasto_krita"), ("gimp", "impasto")):
        folder = tmp_path / "sources" / host / name
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "__pycache__" / "a.pyc").write_bytes(b"")
        (folder / ("__init__.py" if host == "krita" else "impasto.py")).write_text("print('here')\n")
        made[host] = folder.parent  # type: ignore[index]
    (made["krita"] / "impasto_krita.desktop").write_text("[Desktop Entry]\n")
    for folder in made.values():
        (folder / "README.md").write_text("For readers of the sources.")
        (folder / "picture.jpg").write_bytes(b"")
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_files_in_the_current_folder_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pip.py", "struct.py", "json.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PluginError, match="pip could not download"):
        plugins.vendored_files()
    assert not (tmp_path / "run").exists()


def test_the_zip_for_krita_has_the_plugin_and_its_dependencies(
    sources: dict[HostName, Path], vendored: Path
) -> None:
    package = plugins.build("krita", sources=sources["krita"], vendored=vendored)
    names = zipfile.ZipFile(io.BytesIO(package)).namelist()
    assert {name.split("/")[0] for name in names} == {"impasto_krita.desktop", "impasto_krita"}
    assert {"impasto_krita/", "impasto_krita/_vendor/google/protobuf/"} <= set(names)
    for needed in (
        "impasto/client.py",
        "impasto/transport/grpclib.py",
        "google/protobuf/message.py",
        "h2/config.py",
    ):
        assert f"impasto_krita/_vendor/{needed}" in names
    unwanted = ("cli/", "grpcio", "terminal", "_grpc.", ".pyc", "__pycache__", "data/", *plugins.COMPILED)
    assert not [
        name for name in names if "_vendor/impasto/" in name and any(part in name for part in unwanted)
    ]
    assert not [name for name in names if name.endswith((".pyc", *plugins.COMPILED))]
    assert len(package) < 2**20


def test_building_twice_gives_the_same_bytes(sources: dict[HostName, Path], vendored: Path) -> None:
    first = plugins.build("gimp", sources=sources["gimp"], vendored=vendored)
    os.utime(sources["gimp"] / "impasto" / "impasto.py", (1, 1))
    (sources["gimp"] / "impasto" / "impasto.py").chmod(0o600)
    assert plugins.build("gimp", sources=sources["gimp"], vendored=vendored) == first
    modes = {
        entry.filename: entry.external_attr >> 16 & 0o777
        for entry in zipfile.ZipFile(io.BytesIO(first)).infolist()
    }
    assert modes["impasto/impasto.py"] == 0o755
    assert {mode for name, mode in modes.items() if name != "impasto/impasto.py"} == {0o755, 0o644}
    assert {name for name, mode in modes.items() if mode == 0o755} == {
        "impasto/impasto.py",
        *(name for name in modes if name.endswith("/")),
    }
    mark = json.loads(zipfile.ZipFile(io.BytesIO(first)).read(f"impasto/{plugins.MARK}"))
    assert mark == {"plugin": "gimp", "version": impasto.__version__}


def test_kritas_own_importer_takes_the_zip(vendored: Path, tmp_path: Path) -> None:
    package = tmp_path / "impasto-krita.zip"
    package.write_bytes(plugins.build("krita", vendored=vendored))
    imported(package, tmp_path / "resources")
    there = tmp_path / "resources" / "pykrita"
    assert sorted(path.name for path in there.iterdir()) == ["impasto_krita", "impasto_krita.desktop"]
    assert (there / "impasto_krita" / "_vendor" / "google" / "protobuf" / "internal" / "decoder.py").is_file()


def taken_over(source: Path, target: Path, level: int = 0) -> None:
    """Copies a folder as GIMP takes over that of an earlier version: not beyond five levels."""
    if level >= 5:
        return
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            taken_over(path, target / path.name, level + 1)
        else:
            shutil.copy(path, target)


def test_a_new_version_of_gimp_takes_over_the_whole_plugin(vendored: Path, home: Path) -> None:
    (done,) = plugins.install("gimp", vendored=vendored)
    new = home / ".config/GIMP/3.2/plug-ins"
    new.parent.mkdir()
    taken_over(done.folder.parent, new)

    def files(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob("*")}

    assert files(new) == files(done.folder.parent)
    # GIMP runs the file, which has the package's name.
    program = (
        f"import sys; sys.path.insert(0, {str(new / 'impasto')!r})\n"
        "import impasto.hosts, impasto.transport.grpclib"
    )
    subprocess.run([sys.executable, "-S", "-I", "-c", program], check=True)


def test_the_zip_paints_without_other_packages(
    sources: dict[HostName, Path], vendored: Path, tmp_path: Path, fake: FakeServer
) -> None:
    package = plugins.build("krita", sources=sources["krita"], vendored=vendored)
    zipfile.ZipFile(io.BytesIO(package)).extractall(tmp_path / "host")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "host" / "impasto_krita" / "_vendor")!r})
import impasto
with impasto.Client({fake.address!r}) as client:
    assert client.stylize({png()!r}, {png()!r}).result().data == {png()!r}
    try:
        client.watch("jobs/fake", timeout=0.0001).result()
    except impasto.DeadlineExceeded:
        pass
assert impasto.__version__ == {impasto.__version__!r}
"""
    # -S hides installed packages; -I ignores the environment.
    subprocess.run([sys.executable, "-S", "-I", "-c", program], check=True)


def test_compiled_modules_are_refused(sources: dict[HostName, Path], tmp_path: Path) -> None:
    vendored = tmp_path / "vendored"
    (vendored / "h2").mkdir(parents=True)
    (vendored / "h2" / "fast.so").write_bytes(b"")
    with pytest.raises(PluginError, match=r"fast\.so is compiled"):
        plugins.build("krita", sources=sources["krita"], vendored=vendored)
    with pytest.raises(PluginError, match=r"fast\.so is compiled"):
        plugins.check_pure(vendored)


def install(host: HostName, sources: dict[HostName, Path], vendored: Path) -> list[plugins.Installed]:
    return plugins.install(host, sources=sources[host], vendored=vendored)


def test_what_lies_in_the_sources_for_their_readers_is_not_installed(
    sources: dict[HostName, Path], vendored: Path, home: Path
) -> None:
    (krita,), (gimp,) = (install(host, sources, vendored) for host in plugins.HOSTS)
    assert sorted(path.name for path in krita.folder.parent.iterdir()) == [
        "impasto_krita",
        "impasto_krita.desktop",
    ]
    assert [path.name for path in gimp.folder.parent.iterdir()] == ["impasto"]


def test_the_installed_plugin_notes_who_installed_it(
    sources: dict[HostName, Path], vendored: Path, home: Path
) -> None:
    (done,) = install("krita", sources, vendored)
    mark = json.loads((done.folder / plugins.MARK).read_text())
    assert mark["python"] == sys.executable
    assert (Path(mark["checkout"]) / "client" / "impasto").samefile(Path(impasto.__file__).parent)


def test_kritas_list_of_actions_goes_where_krita_looks_for_it(
    sources: dict[HostName, Path], vendored: Path, home: Path
) -> None:
    (sources["krita"] / "impasto_krita.action").write_text("<ActionCollection/>")
    (done,) = install("krita", sources, vendored)
    assert (home / ".local/share/krita/actions/impasto_krita.action").read_text() == "<ActionCollection/>"
    assert sorted(path.name for path in done.folder.parent.iterdir()) == [
        "impasto_krita",
        "impasto_krita.desktop",
    ]


def test_krita(sources: dict[HostName, Path], vendored: Path, home: Path) -> None:
    settings = home / ".config" / "kritarc"
    settings.parent.mkdir()
    settings.write_text("theme=dark\n\n[python]\nenable_other=false\n\n[tools]\nsize=3\n")
    (done,) = install("krita", sources, vendored)
    assert done.folder == home / ".local/share/krita/pykrita/impasto_krita"
    assert (done.replaced, done.enabled) == (None, settings)
    assert (done.folder / "_vendor" / "impasto" / "client.py").is_file()
    assert (done.folder.parent / "impasto_krita.desktop").is_file()
    told = "theme=dark\n\n[python]\nenable_impasto_krita=true\nenable_other=false\n\n[tools]\nsize=3\n"
    assert settings.read_text() == told
    (sources["krita"] / "impasto_krita" / "gone.py").write_text("")
    install("krita", sources, vendored)
    (sources["krita"] / "impasto_krita" / "gone.py").unlink()
    (again,) = install("krita", sources, vendored)
    assert again.replaced == impasto.__version__
    assert not (done.folder / "gone.py").exists()
    assert settings.read_text() == told
    assert sorted(path.name for path in done.folder.parent.iterdir()) == [
        "impasto_krita",
        "impasto_krita.desktop",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[python]\nenable_a=true\n"),
        ("[tools]\nsize=3", "[tools]\nsize=3\n\n[python]\nenable_a=true\n"),
        ("[python]\nenable_a=false\nx=1\n", "[python]\nenable_a=true\nx=1\n"),
        ("[tools]\nenable_a=false\n[python]\n", "[tools]\nenable_a=false\n[python]\nenable_a=true\n"),
        ("[a]\r\nx=1\r\n", "[a]\r\nx=1\r\n\r\n[python]\r\nenable_a=true\r\n"),
        # Of these only the line feed ends a line.
        ("[a]\nx=1\x0c2\x852\u20283\n", "[a]\nx=1\x0c2\x852\u20283\n\n[python]\nenable_a=true\n"),
    ],
)
def test_a_setting(before: str, after: str) -> None:
    assert plugins._with_setting(before.encode(), "python", "enable_a", "true") == after.encode()


def test_settings_in_another_encoding_stay_as_they_are() -> None:
    before = "[a]\nname=é\n".encode("latin-1")
    assert plugins._with_setting(before, "python", "enable_a", "true").startswith(before)


@pytest.mark.parametrize("mark", ["", "{", "[]", "{}"])
def test_a_damaged_note_does_not_stop_an_installation(
    sources: dict[HostName, Path], vendored: Path, home: Path, mark: str
) -> None:
    (done,) = install("krita", sources, vendored)
    (done.folder / plugins.MARK).write_text(mark)
    (again,) = install("krita", sources, vendored)
    assert again.replaced == "an unknown version"


def test_gimp(sources: dict[HostName, Path], vendored: Path, home: Path) -> None:
    (done,) = install("gimp", sources, vendored)
    assert done.folder == home / ".config/GIMP/3.0/plug-ins/impasto"
    assert os.access(done.folder / "impasto.py", os.X_OK)
    (home / ".config/GIMP/3.2").mkdir()
    assert [one.folder.parts[-3] for one in install("gimp", sources, vendored)] == ["3.0", "3.2"]


@pytest.mark.parametrize("there", ["impasto_krita", "impasto_krita.desktop", "link"])
def test_other_plugins_files_are_not_touched(
    sources: dict[HostName, Path], vendored: Path, home: Path, there: str
) -> None:
    folder = home / ".local/share/krita/pykrita"
    folder.mkdir(parents=True)
    if there == "link":
        (folder / "impasto_krita").symlink_to(home / "elsewhere")
    elif there.endswith(".desktop"):
        (folder / there).write_text("mine")
    else:
        (folder / there).mkdir()
        (folder / there / "mine.py").write_text("mine")
    with pytest.raises(PluginError, match="was not installed by Impasto; move it away"):
        install("krita", sources, vendored)
    assert len(list(folder.iterdir())) == 1
    assert not (home / ".config" / "kritarc").exists()


def test_missing_sources_are_refused(tmp_path: Path, vendored: Path) -> None:
    with pytest.raises(PluginError, match="has no plugin for krita"):
        plugins.build("krita", sources=tmp_path / "none", vendored=vendored)
    with pytest.raises(PluginError, match="must have one folder"):
        plugins.build("krita", sources=tmp_path, vendored=vendored)
