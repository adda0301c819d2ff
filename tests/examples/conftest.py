from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.example_programs import COMMANDS, EXAMPLES, Program, block, skip
from support.samples import coded, photo

NEEDED: dict[str, tuple[str, ...]] = {
    "node": ("node",),
    "cpp": ("cmake", "g++", "protoc", "grpc_cpp_plugin"),
    "go": ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
    "java": ("java", "javac", "protoc", "grpc_java_plugin"),
    "ruby": ("ruby", "rake", "grpc_tools_ruby_protoc"),
    "shell": ("bash", "buf"),
    "typescript": ("node", "npm"),
}
"""The commands that each example needs. `_missing` checks what else it needs."""


Build = Callable[[str], None]


@pytest.fixture(scope="session")
def build() -> Build:
    """Builds an example once, with the commands of its README."""
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
    """A sentence that says what an example needs and this machine does not have, or None."""
    remedy = f"client/examples/{name}/README.md says how to install it"
    for command in NEEDED[name]:
        if shutil.which(command) is None:
            return f"the {name} example needs {command}; {remedy}"
    if name in ("node", "typescript") and not (EXAMPLES / name / "node_modules").is_dir():
        return f"the {name} example needs node_modules; {remedy}"
    if name == "ruby" and subprocess.run(["ruby", "-e", "require 'grpc'"], capture_output=True).returncode:
        return f"the ruby example needs the library grpc; {remedy}"
    if name == "cpp" and not Path("/usr/include/grpcpp/grpcpp.h").exists():
        return f"the cpp example needs the library grpc++; {remedy}"
    if name == "go" and not Path("/usr/share/gocode/src/google.golang.org/grpc").is_dir():
        return f"the go example needs the library grpc; {remedy}"
    if name == "java" and not Path("/usr/share/java/grpc-netty.jar").exists():
        return f"the java example needs the library grpc; {remedy}"
    return None


@pytest.fixture(params=COMMANDS)
def program(request: pytest.FixtureRequest, build: Build, tmp_path: Path) -> Iterator[Program]:
    """Each example in turn."""
    build(request.param)
    with contextlib.closing(program_in(tmp_path, request.param)) as program:
        yield program


@pytest.fixture
def programs(build: Build, tmp_path: Path) -> Iterator[list[Program]]:
    """All examples."""
    for name in COMMANDS:
        build(name)
    programs = [program_in(tmp_path / name, name) for name in COMMANDS]
    yield programs
    for program in programs:
        program.close()


def program_in(folder: Path, name: str) -> Program:
    """An example in a folder that has a content.png and a style.png."""
    folder.mkdir(exist_ok=True)
    (folder / "content.png").write_bytes(coded(photo()))
    (folder / "style.png").write_bytes(coded(photo(20, 28)))
    return Program(name, COMMANDS[name], folder, folder)
