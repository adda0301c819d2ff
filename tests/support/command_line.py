"""The command line, run within the process of the test."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from impasto import cli
from support.fake_server import FakeServer, png


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Impasto = Callable[..., Outcome]


@pytest.fixture
def impasto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Impasto:
    """The command line, run in a new folder with a content.png and a style.png."""
    monkeypatch.chdir(tmp_path)
    # Without capturing, the width would be that of the terminal that the tests were started in.
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("content.png", "style.png"):
        Path(name).write_bytes(png())

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.app([str(argument) for argument in arguments], prog_name="impasto")
        code = ended.value.code
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        # The command silences gRPC's log, but only in a process that has not imported gRPC yet.
        return Outcome(code, out, re.sub(r"^[IWE]\d{4} .*\.cc:\d+\] .*\n", "", err, flags=re.MULTILINE))

    return run


@pytest.fixture
def at_fake(impasto: Impasto, fake: FakeServer) -> Impasto:
    """The command line, connected to the fake server."""
    return lambda *arguments: impasto(*arguments, "--server", fake.address)


@pytest.fixture
def stylize(impasto: Impasto, fake: FakeServer) -> Impasto:
    """`impasto stylize content.png style.png -o out.png` with further arguments, on the fake server."""

    def run(*arguments: object) -> Outcome:
        images = ["content.png", "style.png", "-o", "out.png"]
        return impasto("stylize", *images, "--server", fake.address, *arguments)

    return run
