from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samples import coded, photo
from server_process import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"

NEEDED: dict[str, tuple[str, ...]] = {
    "node": ("node",),
    "cpp": ("cmake", "g++", "protoc", "grpc_cpp_plugin"),
    "ruby": ("ruby", "rake", "grpc_tools_ruby_protoc"),
    "shell": ("bash", "buf"),
}
"""The commands that each example needs; what else it needs, `_missing` finds out."""


@dataclasses.dataclass
class Run:
    """A program that was started: what it has said so far is in `said`."""

    process: subprocess.Popen[bytes]
    _errors: Path

    @property
    def said(self) -> str:
        return self._errors.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until it has said something."""
        deadline = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self.said)) is None:
            assert self.process.poll() is None, f"it ended:\n{self.said}"
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.said}"
            time.sleep(0.02)
        return match

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal does it: to all of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Waits for its end; its exit code."""
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
    """An example, built, in a folder that has a content.png and a style.png."""

    name: str
    command: tuple[str, ...]
    folder: Path
    started: list[Run]

    def start(self, *arguments: object, **environment: str) -> Run:
        """Starts it; `environment` is added to what is set, without our own variables."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPASTO_")}
        errors = self.folder / "stderr"
        with errors.open("wb") as file:
            process = subprocess.Popen(
                [*self.command, *map(str, arguments)],
                cwd=self.folder,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        run = Run(process, errors)
        self.started.append(run)
        return run

    def paint(self, server: str, *arguments: object, **environment: str) -> Run:
        """Starts it painting `out.png`."""
        images = ("content.png", "style.png", "out.png")
        return self.start(*images, "--server", server, *arguments, **environment)


def skip(reason: str) -> None:
    """Skips a test; where examples have to be tested, CI above all, fails it."""
    if os.environ.get("IMPASTO_REQUIRE_EXAMPLES"):
        pytest.fail(f"{reason} (IMPASTO_REQUIRE_EXAMPLES is set)", pytrace=False)
    pytest.skip(reason)


def block(readme: Path, heading: str) -> str:
    """The shell commands under a heading of a README."""
    section = re.search(rf"^## {heading}$(.*?)(^## |\Z)", readme.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{readme} has no {heading!r}"
    commands = re.search(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    assert commands, f"{readme} has no commands under {heading!r}"
    return commands[1]


Build = Callable[[str], None]


@pytest.fixture(scope="session")
def build() -> Build:
    """Builds an example as its README says, once."""
    outcomes: dict[str, str] = {}

    def build(name: str) -> None:
        if name not in outcomes:
            outcomes[name] = _missing(name) or ""
            readme = EXAMPLES / name / "README.md"
            if not outcomes[name] and "\n## Build\n" in readme.read_text():
                subprocess.run(
                    ["bash", "-euc", block(readme, "Build")], cwd=EXAMPLES / name, check=True, timeout=280
                )
        if outcomes[name]:
            skip(outcomes[name])

    return build


def _missing(name: str) -> str | None:
    """What an example lacks on this machine, in a sentence."""
    remedy = f"client/examples/{name}/README.md says how to install it"
    for command in NEEDED[name]:
        if shutil.which(command) is None:
            return f"the {name} example needs {command}; {remedy}"
    if name == "node" and not (EXAMPLES / "node" / "node_modules").is_dir():
        return f"the node example needs node_modules; {remedy}"
    if name == "ruby" and subprocess.run(["ruby", "-e", "require 'grpc'"], capture_output=True).returncode:
        return f"the ruby example needs the library grpc; {remedy}"
    if name == "cpp" and not Path("/usr/include/grpcpp/grpcpp.h").exists():
        return f"the cpp example needs the library grpc++; {remedy}"
    return None


COMMANDS: dict[str, tuple[str, ...]] = {
    "node": ("node", str(EXAMPLES / "node" / "stylize.mjs")),
    "cpp": (str(EXAMPLES / "cpp" / "build" / "stylize"),),
    "ruby": ("ruby", str(EXAMPLES / "ruby" / "stylize.rb")),
    "shell": (str(EXAMPLES / "shell" / "stylize"),),
}


@pytest.fixture(params=COMMANDS)
def program(request: pytest.FixtureRequest, build: Build, tmp_path: Path) -> Iterator[Program]:
    """Each example in turn."""
    build(request.param)
    (tmp_path / "content.png").write_bytes(coded(photo()))
    (tmp_path / "style.png").write_bytes(coded(photo(20, 28)))
    started: list[Run] = []
    yield Program(request.param, COMMANDS[request.param], tmp_path, started)
    for run in started:
        run.kill()
