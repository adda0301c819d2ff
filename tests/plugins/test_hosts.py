"""The first painting in each host and version with the plugin as its own importer puts it there.

What cannot be had is skipped, and pytest's summary says why.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import impasto
from impasto import provenance
from impasto.cli import plugins
from support.gimp_host import Gimp
from support.host_place import PROGRAMS, Place
from support.samples import photo
from support.server_process import ServerProcess, running_server

HERE, TRIXIE, SID = Place(), Place("trixie"), Place("sid")
LIMIT = 180.0
"""Maximum seconds for a program in Krita; far more than any takes."""
PATIENCE = LIMIT + 120
"""Maximum seconds for one run of Krita, with its start and its end."""

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not os.environ.get("IMPASTO_REQUIRE_HOSTS"),
        reason="runs in the real hosts, which takes minutes: set IMPASTO_REQUIRE_HOSTS=1",
    ),
]

Told = dict[str, Any]


def krita(place: Place, folder: Path, server: ServerProcess) -> Told:
    """A painting in Krita, into whose profile its own importer has put the package's zip."""
    seen = place.seen(folder)
    (folder / "impasto-krita.zip").write_bytes(plugins.build("krita"))
    resources = folder / "home" / ".local" / "share" / "krita"
    resources.mkdir(parents=True)
    imported = place.run(
        folder,
        ["python3", "-c", _IMPORT, f"{seen}/impasto-krita.zip", f"{seen}/home/.local/share/krita"],
        patience=PATIENCE,
    )
    assert imported.returncode == 0, imported.stdout
    # Its dialog asks whether to enable it.
    for name in ("impasto_harness", "impasto_harness.desktop"):
        source = PROGRAMS / "krita" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, resources / "pykrita" / name)
    shutil.copy(PROGRAMS / "krita" / "first_painting.py", folder)
    (folder / "home" / ".config").mkdir()
    (folder / "home" / ".config" / "kritarc").write_text(
        "[python]\nenable_impasto_krita=true\nenable_impasto_harness=true\n"
    )
    settings = {
        "out": seen,
        "address": server.address,
        "programs": seen,
        "program": "first_painting",
        "limit": LIMIT,
    }
    ran = place.run(
        folder,
        ["krita", "--nosplash"],
        patience=PATIENCE,
        screen=True,
        variables={"IMPASTO_KRITA_TEST": json.dumps(settings)},
    )
    assert (folder / "told.json").exists(), ran.stdout
    told: Told = json.loads((folder / "told.json").read_text())
    assert told["error"] == "", told["error"]
    # The package's, and nothing of this environment.
    assert told["plugin"] == f"{seen}/home/.local/share/krita/pykrita/impasto_krita"
    assert told["client"].startswith(told["plugin"])
    return told


def gimp(place: Place, folder: Path, server: ServerProcess) -> Told:
    """A painting in GIMP, with the plugin installed for GIMP 3.0; a newer GIMP takes that over."""
    told = Gimp(folder, place).window("first_painting.py", "photo.png", server=server.address)
    assert told["first"] == "", told["first"]
    assert told["again"] == "", told["again"]
    # It is not 3.0's own folder that a newer one reads.
    version = ".".join(told["gimp"].split(".")[:2])
    assert Path(told["folder"]).name == version
    assert (folder / "home" / ".config" / "GIMP" / version / "plug-ins" / "impasto").is_dir()
    return told


Paint = Callable[[Place, Path, ServerProcess], Told]


@pytest.mark.parametrize(
    ("paint", "version", "place"),
    [
        pytest.param(krita, "5.1", HERE, id="krita-5.1"),
        pytest.param(krita, "5.2", TRIXIE, id="krita-5.2"),
        pytest.param(krita, "6", SID, id="krita-6"),
        pytest.param(gimp, "3.0", TRIXIE, id="gimp-3.0"),
        pytest.param(gimp, "3.2", SID, id="gimp-3.2"),
    ],
)
def test_first_painting(paint: Paint, version: str, place: Place, tmp_path: Path) -> None:
    host: plugins.HostName = "krita" if paint is krita else "gimp"
    place.set_up(host, version)
    photo(96, 72).save(tmp_path / "photo.png")
    with running_server("--mock", "--port", "0", "--mock-evaluation-time", "0s") as server:
        told = paint(place, tmp_path, server)
        contents, seeds = _painted(server)

    assert len(told["before"]) == 1
    # A layer of its own above the photograph's.
    assert len(told["painted"]) == 2
    assert told["painted anything"]
    # One step back and forth.
    assert told["undone"] == told["before"]
    assert told["as it was"]
    assert told["redone"] == told["painted"]
    assert told["painted again"]
    # A second go paints the photograph again, not the painting, and in another way.
    assert len(told["second"]) == 3
    assert len(contents) == 2
    assert len(set(contents)) == 1
    assert len(set(seeds)) == 2


def _painted(server: ServerProcess) -> tuple[list[str | None], list[int | None]]:
    """Digests of the contents and the seeds of all that a server has painted."""
    with impasto.Client(server.address) as client:
        made = [provenance.read(client.download(job, format="png").data) for job in client.jobs()]
    return [one.content_sha256 for one in made], [one.recipe.seed for one in made]


_IMPORT = """
import builtins, sys
builtins.i18n = str
sys.path.insert(0, "/usr/share/krita/pykrita/plugin_importer")
from plugin_importer import PluginImporter
(plugin,) = PluginImporter(sys.argv[1], sys.argv[2], lambda plugin: True).import_all()
print(plugin["name"])
"""
