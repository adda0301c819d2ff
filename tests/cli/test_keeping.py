"""The files of a painting, when one of them cannot be downloaded or written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from impasto import private_server
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto
from support.disks import fill, small_disk
from support.fake_server import FakeServer, png, status

FETCH = "fetch the picture with `impasto get jobs/fake -o FILE` while the server keeps it"


@pytest.fixture
def losing(fake: FakeServer) -> FakeServer:
    """A server; while it paints, the folder "lost" goes away."""
    Path("lost").mkdir()

    def paint(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        shutil.rmtree("lost")
        yield from fake_server.paint()

    fake.script = paint
    return fake


def test_the_other_files_are_written_if_the_film_cannot_be(stylize: Impasto, losing: FakeServer) -> None:
    outcome = stylize("--sidecar", "--animate", "lost/film.webp")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == (
        "Error: lost/film.webp cannot be written: No such file or directory; written: out.png, out.json"
    )
    assert Path("out.png").read_bytes() == png()
    assert json.loads(Path("out.json").read_text()) == fake_server.METADATA


def test_a_film_on_a_full_disk(stylize: Impasto, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        outcome = stylize("--sidecar", "--animate", "disk/film.webp", "--json")
        assert os.listdir(disk) == ["filler"]
    assert outcome.code == 1
    assert outcome.lines[-1]["event"] == "error"
    assert outcome.lines[-1]["message"] == (
        "disk/film.webp cannot be written: No space left on device; written: out.png, out.json"
    )
    assert "result" not in [line["event"] for line in outcome.lines]
    assert Path("out.json").exists()


def test_a_picture_that_cannot_be_written_can_be_fetched(stylize: Impasto, losing: FakeServer) -> None:
    outcome = stylize("-o", "lost/x.png", "--sidecar", "--animate", "film.webp")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        f"Error: lost/x.png cannot be written: No such file or directory; "
        f"lost/x.json cannot be written: No such file or directory; {FETCH}; written: film.webp"
    )
    assert Image.open("film.webp").size == (48, 32)


def test_the_other_files_are_written_if_the_picture_cannot_be_downloaded(
    stylize: Impasto, fake: FakeServer
) -> None:
    fake.faults["DownloadImage"] = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")]
    outcome = stylize("-o", "x.jpg", "--sidecar")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-2:] == [
        f"Warning: {FETCH}; written: x.json",
        "Error: the disk is full",
    ]
    assert Path("x.json").exists()
    assert not Path("x.jpg").exists()


@pytest.fixture
def private(fake: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The fake server is the private one; returns the folder for temporary files."""

    class Private:
        address = fake.address

    monkeypatch.setattr(private_server, "PrivateServer", lambda **_: contextlib.nullcontext(Private()))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.mark.parametrize("name", ["x.png", "x.JPEG", "x.tif"])
def test_the_picture_of_a_private_server_is_saved_elsewhere(
    impasto: Impasto, losing: FakeServer, private: Path, name: str
) -> None:
    outcome = impasto("stylize", "content.png", "style.png", "-o", f"lost/{name}")
    assert outcome.code == 1
    (kept,) = private.glob("impasto-*/*")
    assert kept.name == name
    assert kept.read_bytes() == (png() if name == "x.png" else losing.result)
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert outcome.err.splitlines()[-1] == (
        f"Error: lost/{name} cannot be written: No such file or directory; the picture is in {kept} instead"
    )


def test_a_picture_that_a_private_server_cannot_encode_is_saved_as_png(
    impasto: Impasto, fake: FakeServer, private: Path
) -> None:
    fake.faults["DownloadImage"] = [status(grpc.StatusCode.INTERNAL, "no")]
    outcome = impasto("stylize", "content.png", "style.png", "-o", "x.jpg")
    (kept,) = private.glob("impasto-*/*")
    assert (kept.name, kept.read_bytes()) == ("x.png", png())
    assert outcome.code == 1
    assert f"Warning: the picture is in {kept} instead\n" in outcome.err


def test_the_picture_of_a_private_server_is_lost_if_no_disk_has_room(
    impasto: Impasto, losing: FakeServer, private: Path
) -> None:
    shutil.rmtree(private)
    outcome = impasto("stylize", "content.png", "style.png", "-o", "lost/x.png")
    assert outcome.code == 1
    assert outcome.err.endswith("; a temporary file cannot be written either, so the picture is lost\n")
    private.mkdir()
    Path("lost").mkdir()
    with small_disk(private, 1) as disk:
        fill(disk)
        outcome = impasto("stylize", "content.png", "style.png", "-o", "lost/x.png")
        assert outcome.err.endswith("so the picture is lost\n")
        assert os.listdir(disk) == ["filler"]


def test_a_preview_that_cannot_be_written_does_not_end_the_painting(stylize: Impasto, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        outcome = stylize("--preview-dir", "disk/previews")
    assert outcome.code == 0, outcome.err
    assert Path("out.png").read_bytes() == png()
    assert outcome.err.count("Warning") == 1
    assert outcome.err.count("the painting continues, without further previews\n") == 1
