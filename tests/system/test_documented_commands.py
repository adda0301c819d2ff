"""Every command and Python program in the documents is run as it is written, against a mock server."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from support.certificates import Authority
from support.samples import photo
from support.server_process import running_server, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HERE = ("README.md", "CONTRIBUTING.md", "server/README.md", "client/README.md", "client/plugins/README.md")
HERE += ("client/plugins/krita/README.md", "client/plugins/gimp/README.md")

ELSEWHERE = {
    "proto/README.md": "tests/examples/test_guide.py",
    "client/examples/*/README.md": "tests/examples",
}
"""Documents whose commands another test runs."""

_INSTALLING = ".ci/run and .ci/packages.py install as the documents say"
_ADMINISTERING = "tests/gateway/test_admin.py and tests/fleet/test_ray_cluster.py do this"
_LOOKING_AFTER = "tests/gateway/test_administration.py does this"
_ON_RAY = "tests/system/test_two_nodes.py runs the two commands, in a network of their own"
_MACHINES = "it needs three machines; tests/fleet has such clusters on one machine"
_AT_THE_PAGE = "tests/system/test_telephone.py and tests/cli/test_web.py do this"
LEFT_OUT = {
    "impasto web": _AT_THE_PAGE,
    "impasto demo --web": _AT_THE_PAGE,
    "impasto-server certificate": _AT_THE_PAGE,
    "(umask 077; impasto-server token add studio >token.txt)": _AT_THE_PAGE,
    "impasto-server serve --host 0.0.0.0 --web-port 50052 --tls-cert server.pem --tls-key server.key": (
        _AT_THE_PAGE
    ),
    "impasto web --qr --server localhost --ca server.pem --token-file token.txt": _AT_THE_PAGE,
    "python3 -m venv .venv && .venv/bin/pip install -e . -e './server[torch]' && .venv/bin/impasto demo": (
        _INSTALLING
    ),
    ".venv/bin/pip install -e '.[dev]' -e './server[torch]' && .venv/bin/python -m pytest": _INSTALLING,
    "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' -e './server[torch]'": _INSTALLING,
    "pip install . './server[torch]'": _INSTALLING,
    "pip install . ./server": _INSTALLING,
    "pip install . './server[torch,ray]'": _INSTALLING,
    "impasto-server admin status": _LOOKING_AFTER,
    "impasto-server admin jobs": _LOOKING_AFTER,
    "impasto-server admin hold JOB": _LOOKING_AFTER,
    "impasto-server fleet": _ADMINISTERING,
    "impasto-server fleet drain MACHINE --wait": _ADMINISTERING,
    "impasto-server fleet undrain MACHINE": _ADMINISTERING,
    "ray start --head --num-cpus 1 --node-name one &&"
    " ray start --address 127.0.0.1:6379 --num-cpus 1 --node-name two": _ON_RAY,
    "impasto-server serve --ray auto --ray-min-workers 2 & until impasto-server health; do sleep 1; done;"
    " impasto demo --server 127.0.0.1:50051 --effort draft": _ON_RAY,
    "ray start --head --num-cpus 0 --num-gpus 0": _MACHINES,
    "ray start --address FIRST_MACHINE:6379": _MACHINES,
    "impasto-server serve --ray auto --ray-worker gpu=1": _MACHINES,
    "source .venv/bin/activate": "the tests run in an environment already",
    "pre-commit install": "it would change the hooks of this checkout; .ci/run runs the hooks",
    "PYTHONPATH=tests python -m judging.picture_set FOLDER ../shared/images": "it needs package servers",
    "impasto-server contact-sheet --compare balanced,neighbours,gatys --pairs FOLDER/pairs.txt"
    " --numbers numbers.json -o sheet.jpg": "it takes half an hour; tests/bench paints a small sheet",
}
"""Commands that are not run here, and why."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code in a document."""

    document: str
    line: int
    language: str
    code: str

    @property
    def commands(self) -> list[str]:
        """The commands of a block for the shell, without their comments."""
        lines = (re.sub(r"\s+# .*$", "", line).strip() for line in self.code.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str) -> Iterator[Block]:
    """The blocks of code in a document that name a language."""
    text = (ROOT / document).read_text("utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield Block(document, text[: found.start()].count("\n") + 1, found[1], found[2])


BLOCKS = [block for document in HERE for block in blocks(document)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all the files that the commands name."""
    for name in ("photo.jpg", "painting.jpg", "a.jpg", "b.jpg"):
        photo(48, 32).save(tmp_path / name)
    for name, box in (("face.png", (0, 0, 24, 32)), ("rest.png", (24, 0, 48, 32))):
        mask = Image.new("L", (48, 32))
        mask.paste(255, box)
        mask.save(tmp_path / name)
    (tmp_path / "paintings").mkdir()
    photo(20, 28).save(tmp_path / "paintings" / "waves.jpg")
    shutil.copy(ROOT / "server" / "impasto.toml", tmp_path)
    return tmp_path


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for the commands of one block. Its name is short: there can be a socket in it."""
    with tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True) as home:
        yield Path(home)


@pytest.fixture
def environment(folder: Path, home: Path) -> dict[str, str]:
    """The commands' environment: servers take a free port, the CPU and the built-in weights."""
    return {
        **os.environ,
        "HOME": str(home),
        # What the plugins need is downloaded once for all tests.
        "XDG_CACHE_HOME": str(Path.home() / ".cache"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "IMPASTO_DATA_DIR": str(folder / "data"),
        "IMPASTO_PORT": "0",
        "IMPASTO_DEVICE": "cpu",
        "IMPASTO_WEIGHTS": "builtin",
    }


@contextlib.contextmanager
def gpu_machine(folder: Path, environment: dict[str, str], *, protected: bool) -> Iterator[str]:
    """Starts a mock server and yields its address.

    Its authority is `ca.pem` in the folder. A protected one speaks TLS and asks for the token in `token.txt`.
    """
    authority = Authority(folder, "ca")
    pair = authority.issue("server")  # server.pem and server.key
    arguments: list[str] = []
    if protected:
        tokens = folder / "mock-tokens.json"
        command = [BIN / "impasto-server", "token", "add", "caller", "--tokens-file", tokens]
        token = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        (folder / "token.txt").write_text(token)
        (folder / "token.txt").chmod(0o600)
        arguments += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tokens-file", str(tokens)]
    with running_server("--mock", "--port", "0", "--mock-evaluation-time", "60ms", *arguments) as server:
        # Its address is known before it takes jobs, and `impasto-server health` tells the difference.
        until(lambda: server.log, lambda log: "worker ready" in log)
        yield server.address


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=str)
def test_the_commands_of_a_block_succeed_one_after_the_other(
    block: Block, folder: Path, environment: dict[str, str]
) -> None:
    commands = [command for command in block.commands if command not in LEFT_OUT]
    if not commands:
        pytest.skip("; ".join(LEFT_OUT[command] for command in block.commands))
    protected = "IMPASTO_CA" in block.code
    with gpu_machine(folder, environment, protected=protected) as address:
        if not protected:
            environment["IMPASTO_SERVER"] = address
        script = "\n".join(runnable(command, address) for command in commands)
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    for name in re.findall(r"-o (\S+)", block.code):
        with Image.open(folder / name) as picture:
            picture.load()


def runnable(command: str, address: str) -> str:
    """A command in a form that ends: a server is stopped as soon as it has printed its address."""
    command = command.replace("gpu-machine:50051", address)
    if command.startswith("impasto-server serve"):
        # A mock server takes its port from nowhere else; a free one for the metrics.
        serve = command.replace("--mock", "--mock --port 0").replace("9090", "0")
        return f"coproc S {{ exec {serve}; }}; read -t 60 -r line <&${{S[0]}}; kill $S_PID; wait $S_PID"
    if command == "impasto-server health":
        # Of the server that the settings describe.
        return f"IMPASTO_PORT={address.rpartition(':')[2]} {command}"
    return command


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_the_python_programs_run(block: Block, folder: Path, environment: dict[str, str]) -> None:
    if "import gi" in block.code or "Gimp." in block.code:
        pytest.skip("it runs inside GIMP: tests/plugins/gimp does that")
    with gpu_machine(folder, environment, protected=False) as address:
        program = block.code.replace("gpu-machine:50051", address)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    for name in re.findall(r'save\("([^"]+)"\)', block.code):
        with Image.open(folder / name) as picture:
            picture.load()


def test_every_document_with_commands_is_run_by_a_test() -> None:
    documents = {
        str(path.relative_to(ROOT)) for path in ROOT.glob("**/*.md") if "node_modules" not in path.parts
    }
    documents = {path for path in documents if not path.startswith((".venv/", "docs/", "build/"))}
    elsewhere = {str(path.relative_to(ROOT)) for pattern in ELSEWHERE for path in ROOT.glob(pattern)}
    for document in documents - elsewhere - set(HERE):
        assert not [block for block in blocks(document) if block.language == "sh"], document


def test_no_command_is_left_out_that_is_not_in_a_document() -> None:
    assert set(LEFT_OUT) <= {command for block in BLOCKS for command in block.commands}
