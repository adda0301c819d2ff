"""The imports that the architecture allows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "server" / "impasto_server"
CLIENT = ROOT / "client" / "impasto"

RECIPE = "impasto_server.engine.recipe"
# Modules that every folder may import; `v1` is the code generated from the private protocols.
COMMON = (
    "impasto_server.given_files",
    "impasto_server.identity",
    "impasto_server.logs",
    "impasto_server.mailbox",
    "impasto_server.shares",
    "impasto_server.temporary",
    "impasto_server.v1",
    "impasto_server.visible_gpus",
)
# What the server uses of the client's package: the contract's generated code, how programs are started, and
# which programs use it.
OF_THE_CLIENT = ("v1", "process_notes", "python_programs")
# `engine.recipe` is plain data.
ALLOWED: dict[str, tuple[str, ...]] = {
    "engine": ("impasto_server.engine",),
    "store": ("impasto_server.store", "impasto"),
    "contract": ("impasto_server.contract", RECIPE, "impasto"),
    "jobs": ("impasto_server.jobs", "impasto_server.store", "impasto_server.contract", RECIPE, "impasto"),
    "fleet": (
        "impasto_server.fleet",
        "impasto_server.jobs",
        "impasto_server.store",
        "impasto_server.contract",
        RECIPE,
        "impasto",
    ),
    "intake": ("impasto_server.intake", "impasto"),
    "gateway": (
        "impasto_server.gateway",
        "impasto_server.fleet",
        "impasto_server.jobs",
        "impasto_server.store",
        "impasto_server.contract",
        # The arguments of the front end's process.
        "impasto_server.web.options",
        RECIPE,
        "impasto",
    ),
    "web": ("impasto_server.web", "impasto"),
    "worker": (
        "impasto_server.worker",
        "impasto_server.engine",
        "impasto_server.contract",
        "impasto",
    ),
    # Of the engine what is plain data, and of the worker what does without PyTorch.
    "mock": (
        "impasto_server.mock",
        "impasto_server.worker.__main__",
        "impasto_server.worker.answering",
        "impasto_server.worker.handover",
        "impasto_server.worker.heartbeat",
        "impasto_server.worker.previews",
        "impasto_server.worker.scheduler",
        "impasto_server.worker.turn_file",
        "impasto_server.contract",
        RECIPE,
        "impasto_server.engine.scales",
        "impasto",
    ),
}


def imports(file: Path) -> Iterator[str]:
    """The project's modules that a file imports."""
    names = all_imports(ast.parse(file.read_text(encoding="utf-8")))
    yield from (name for name in names if name.split(".")[0] in ("impasto", "impasto_server"))


def all_imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a program imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield node.module or ""


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("room", ALLOWED)
def test_a_package_of_the_server_imports_only_what_is_allowed(room: str) -> None:
    for file in (SERVER / room).rglob("*.py"):
        for module in imports(file):
            assert not is_within(module, "impasto") or module.split(".")[1] in OF_THE_CLIENT, (file, module)
            assert any(is_within(module, package) for package in (*COMMON, *ALLOWED[room])), (file, module)


def test_the_client_imports_nothing_of_the_server() -> None:
    for file in CLIENT.rglob("*.py"):
        if file.parent.name != "v1":
            assert not any(is_within(module, "impasto_server") for module in imports(file)), file


@pytest.mark.parametrize(
    "room", ["contract", "store", "jobs", "fleet", "gateway", "worker", "mock", "engine"]
)
def test_only_the_intake_opens_pictures(room: str) -> None:
    for file in (SERVER / room).rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            # `Image.open` and similar functions; `Image.fromarray` reads no file.
            if isinstance(node, ast.Attribute) and node.attr == "open":
                assert "Image" not in ast.unparse(node.value), file
        assert not any(
            name.split(".")[0] in ("pyvips", "cv2", "imageio", "tifffile") for name in all_imports(tree)
        )


@pytest.mark.parametrize("module", ["impasto_server.gateway.server", "impasto_server.fleet.fleet"])
def test_the_gateway_does_not_import_libraries_that_read_pictures(module: str) -> None:
    program = f"import sys, {module}; sys.exit('PIL.Image' in sys.modules or 'pyvips' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "module",
    [
        "impasto",
        "impasto.cli",
        "impasto_server.cli",
        "impasto_server.commands",
        "impasto_server.gateway.server",
        "impasto_server.fleet.fleet",
        "impasto_server.jobs.job",
        "impasto_server.engine.recipe",
    ],
)
def test_importing_the_module_does_not_import_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_mock_imports_no_torch() -> None:
    program = "import sys, impasto_server.mock.__main__; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
