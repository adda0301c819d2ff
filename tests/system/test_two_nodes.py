"""The two commands of server/README.md that make a cluster of two nodes on one machine, and paint on it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("ray", reason="Ray is not installed: it has no wheels for this machine")

ROOT = Path(__file__).parents[2]
SECONDS = 280


def the_two_commands() -> list[str]:
    text = (ROOT / "server/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"These two commands make .*?```sh\n(.*?)```", text, re.S)
    return [line for line in block.splitlines() if line]


@contextlib.contextmanager
def own_network() -> Iterator[list[str]]:
    """A network of its own, because the commands use ports that other programs may use."""
    name = f"impasto{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this user cannot make a network namespace: {made.stderr.strip()}")
    try:
        within = ["ip", "netns", "exec", name]
        subprocess.run([*within, "ip", "link", "set", "lo", "up"], check=True)
        yield within
    finally:
        running = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True)
        for pid in running.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.slow
def test_they_paint_on_two_nodes(tmp_path: Path) -> None:
    first, second = the_two_commands()
    # Paths of sockets have at most 107 bytes, and Ray's are long.
    ray = Path(
        subprocess.run(
            ["mktemp", "-d", "/tmp/rXXXXXX"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    bin = Path(sys.executable).parent
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{bin}:{os.environ['PATH']}",
        "RAY_TMPDIR": str(ray),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    log = tmp_path / "log"
    with own_network() as within, log.open("wb") as out:
        script = f"{first}\n{second}\nimpasto-server fleet"
        done = subprocess.run(
            [*within, "bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=out,
            timeout=SECONDS,
        )
    said = log.read_text(encoding="utf-8")
    assert done.returncode == 0, said
    assert set(re.findall(r"^(\w+) .*/cpu +ready", said, re.M)) == {"one", "two"}, said
    with Image.open(tmp_path / "impasto-demo.png") as picture:
        assert max(picture.size) == 512
    subprocess.run(["rm", "-rf", str(ray)], check=True)
