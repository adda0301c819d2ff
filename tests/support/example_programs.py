"""Runs the programs in client/examples as a user does."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.server_process import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "client" / "examples"

COMMANDS: dict[str, tuple[str, ...]] = {
    "node": ("node", str(EXAMPLES / "node" / "stylize.mjs")),
    "cpp": (str(EXAMPLES / "cpp" / "build" / "stylize"),),
    "go": (str(EXAMPLES / "go" / "stylize"),),
    "java": (
        "java",
        "-cp",
        f"{EXAMPLES / 'java' / 'build' / 'classes'}:{EXAMPLES / 'java' / 'build' / 'lib'}/*",
        "Stylize",
    ),
    "ruby": ("ruby", str(EXAMPLES / "ruby" / "stylize.rb")),
    "shell": (str(EXAMPLES / "shell" / "stylize"),),
    "typescript": ("node", str(EXAMPLES / "typescript" / "build" / "stylize.js")),
}
"""The command line of each example."""


@dataclasses.dataclass
class Run:
    """A running program. `said` is its output on stderr so far."""

    process: subprocess.Popen[bytes]
    _errors: Path

    @property
    def said(self) -> str:
        return self._errors.read_bytes().decode()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the output matches a pattern; returns the match."""
        deadline = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self.said)) is None:
            assert self.process.poll() is None, f"it ended:\n{self.said}"
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.said}"
            time.sleep(0.02)
        return match

    def interrupt(self) -> None:
        """Sends Ctrl-C as a terminal does: to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Waits for the end of the program; returns its exit code."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclasses.dataclass(frozen=True)
class Program:
    """An example that is built, and a folder with a content.png and a style.png.

    Attributes:
        logs: the folder for its output.
        started: the runs that `close` ends.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    logs: Path
    started: list[Run] = dataclasses.field(default_factory=list)

    def start(self, *arguments: object, **environment: str) -> Run:
        """Starts the program. `environment` is added to the environment variables."""
        errors = self.logs / "stderr"
        with errors.open("wb") as file:
            process = subprocess.Popen(
                [*self.command, *map(str, arguments)],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        run = Run(process, errors)
        self.started.append(run)
        return run

    def close(self) -> None:
        for run in self.started:
            run.kill()

    def paint(self, server: str, *arguments: object, **environment: str) -> Run:
        """Starts the program, which paints `out.png`."""
        images = ("content.png", "style.png", "out.png")
        return self.start(*images, "--server", server, *arguments, **environment)


def skip(reason: str) -> None:
    """Skips a test, or fails it if IMPASTO_REQUIRE_EXAMPLES is set, as in CI."""
    if os.environ.get("IMPASTO_REQUIRE_EXAMPLES"):
        pytest.fail(f"{reason} (IMPASTO_REQUIRE_EXAMPLES is set)", pytrace=False)
    pytest.skip(reason)


def block(readme: Path, heading: str) -> str:
    """Returns the first block of shell commands under a heading of a README."""
    section = re.search(rf"^## {heading}$(.*?)(^## |\Z)", readme.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{readme} has no {heading!r}"
    commands = re.search(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    assert commands, f"{readme} has no commands under {heading!r}"
    return commands[1]
