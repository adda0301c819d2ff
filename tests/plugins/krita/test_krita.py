"""What the plugin did inside the real Krita, without a screen and on a virtual one.

Where Krita is not installed (Debian: `krita python3-pyqt5 xvfb openbox imagemagick xdotool`) these tests are
skipped; with IMPASTO_REQUIRE_HOSTS=1 they fail.
"""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from impasto.cli import plugins
from support.krita_process import (
    CLIENT,
    DATA,
    INSIDE,
    PLUGIN,
    ROOT,
    Ran,
    environment,
    imported,
    require,
    results_of,
    run_krita,
    site_packages,
)
from support.server_process import running_server

CHECKS = [
    node.name
    for node in ast.parse((INSIDE / "offscreen.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]
PICTURES = (
    "no-server.png",
    "painting.png",
    "painted.png",
    "paused.png",
    "server-gone.png",
    "found.png",
    "dialog.png",
    "queue.png",
    "shares.png",
    "compare.png",
    "docker-300x240.png",
    "docker-200x240.png",
    "docker-200x700.png",
    "offer.png",
)

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("IMPASTO_REQUIRE_HOSTS"),
        reason="runs in the real host, which takes minutes: set IMPASTO_REQUIRE_HOSTS=1",
    ),
]


@pytest.fixture(scope="session")
def offscreen(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All checks of `offscreen.py`, in one Krita."""
    require("kritarunner")
    folder = tmp_path_factory.mktemp("krita")
    home = folder / "home"
    home.mkdir()
    styles = folder / "styles"
    styles.mkdir()
    shutil.copy(DATA / "astronaut.jpg", styles)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = ["serve", "--port", str(port), "--device", "cpu", "--weights", "builtin"]
    # At these sizes a second thread costs more than it brings.
    threads = {"OMP_NUM_THREADS": "1"}
    settings = {
        "out": str(folder),
        "address": f"127.0.0.1:{port}",
        "server": [sys.executable, "-m", "impasto_server", *serve, "--styles-dir", str(styles)],
        "environment": {**os.environ, **threads, "IMPASTO_DATA_DIR": str(folder / "data")},
        "photo": str(DATA / "astronaut.jpg"),
        "painting": str(DATA / "starry_night.jpg"),
        "tests": str(ROOT / "tests"),
    }
    python_path = [str(INSIDE), str(PLUGIN), str(CLIENT), site_packages()]
    run_krita(
        ["kritarunner", "-s", "offscreen"],
        environment(home, settings, python_path) | {"QT_QPA_PLATFORM": "offscreen"},
        folder,
    )
    return Ran(results_of(folder / "results.json", folder), folder)


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """A virtual screen with a window manager."""
    require("Xvfb", "openbox", "import", "xdotool")
    reading, writing = os.pipe()
    xvfb = subprocess.Popen(
        ["/usr/bin/Xvfb", "-displayfd", str(writing), "-screen", "0", "1440x960x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        display = f":{told.readline().strip()}"
    manager = subprocess.Popen(
        ["/usr/bin/openbox"], env={"DISPLAY": display, "PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir()}
    )
    try:
        yield display
    finally:
        for process in (manager, xvfb):
            process.terminate()
            process.wait()


@pytest.fixture(scope="session")
def window(screen: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The steps of `gui.py` in Krita's window, with the plugin as its importer installs it."""
    require("krita")
    folder = tmp_path_factory.mktemp("krita-window")
    home = folder / "home"
    resources = home / ".local" / "share" / "krita"
    package = folder / "impasto-krita.zip"
    package.write_bytes(plugins.build("krita"))
    imported(package, resources)
    for name in ("impasto_harness", "impasto_harness.desktop"):
        (resources / "pykrita" / name).symlink_to(INSIDE / name)
    (home / ".config").mkdir()
    (home / ".config" / "kritarc").write_text(
        "[python]\nenable_impasto_krita=true\nenable_impasto_harness=true\n\n"
        "[theme]\nTheme=Krita dark\n\n[MainWindow]\nState=\n"
    )
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as server:
        server.ready()
        settings = {
            "out": str(folder),
            "address": server.address,
            "photo": str(DATA / "astronaut.jpg"),
            "tests": str(ROOT / "tests"),
            "programs": str(INSIDE),
            "program": "gui",
        }
        variables = environment(home, settings, [])
        run_krita(["krita", "--nosplash"], variables | {"DISPLAY": screen}, folder)
    return Ran(results_of(folder / "told.json", folder), folder)


@pytest.mark.parametrize("check", CHECKS)
def test_offscreen(offscreen: Ran, check: str) -> None:
    assert check in offscreen.results, "Krita ended before it"
    result = offscreen.results[check]
    assert result["ok"], result["said"]


@pytest.mark.parametrize("name", PICTURES)
def test_the_docker_was_seen(offscreen: Ran, name: str) -> None:
    _is_a_picture(offscreen.folder / name)


def test_in_the_window(window: Ran) -> None:
    assert window.results["error"] == ""
    assert window.results["undo"] == "one step"
    assert window.results["cancel"] == "as it was"
    assert window.results["saving"] == "without the preview"
    assert window.results["vector"] == "painted"
    # The importer's copy, not the source.
    assert ".local/share/krita/pykrita/impasto_krita" in window.results["installed"]
    for name in ("first-contact.png", "krita-painting.png", "krita.png"):
        _is_a_picture(window.folder / name)


def test_the_window_stays_responsive(window: Ran) -> None:
    """150 ms on a quiet machine; here others may be at work beside it."""
    figures = window.results["longest_gap_ms"]
    assert set(figures) == {"docker", "docker and canvas", "docker and canvas of 12 megapixels"}
    assert max(figures.values()) < 3000, figures


def _is_a_picture(path: Path) -> None:
    """Not blank."""
    with Image.open(path) as image:
        assert max(ImageStat.Stat(image.convert("L")).stddev) > 10
