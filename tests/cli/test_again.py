"""`impasto again`, with a fake server that records how its pictures were made."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from impasto.job import decode
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto, Outcome
from support.fake_server import FakeServer, png

UPSIDE_DOWN = max(
    abs(a - b) for a, b in zip(decode(png()).tobytes(), decode(png(turn=180)).tobytes(), strict=True)
)
MASK, OTHER_MASK = png(4, 4), png(5, 5)


@pytest.fixture
def again(impasto: Impasto, fake: FakeServer) -> Impasto:
    """`impasto again` and more, on the fake server, where an out.png was painted with all there is."""
    fake.script = fake_server.paint_recorded
    Path("content.png").write_bytes(png(7, 7))
    Path("mask.png").write_bytes(MASK)
    Path("other.png").write_bytes(OTHER_MASK)
    painted = impasto(
        *("stylize", "content.png", "style.png", "other.png", "-o", "out.png", "--server", fake.address),
        *("--sidecar", "--shares", "2,1", "--seed", 5, "--style-layer", "relu3_1=0.5"),
        *("--region", "mask.png,style=2,style-mask=other.png", "--region", "other.png"),
        *("--selection", "mask.png", "--start", "style.png"),
    )
    assert painted.code == 0, painted.err
    return lambda *arguments: impasto("again", *arguments, "--server", fake.address)


FILES = ["content.png", "style.png", "other.png"]
PARTS = [
    *("--region", "mask.png,style-mask=other.png", "--region", "other.png"),
    *("--selection", "mask.png", "--start", "style.png"),
]
ALL = [*FILES, *PARTS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_again_reads_a_sidecar_that_windows_saved(again: Impasto, encoding: str) -> None:
    Path("out.json").write_bytes(Path("out.json").read_text().encode(encoding))
    assert again("out.json", *ALL, "-o", "new.png").code == 0


@pytest.mark.parametrize("result", ["out.png", "out.json"])
def test_again_asks_for_everything_that_was_recorded(again: Impasto, fake: FakeServer, result: str) -> None:
    outcome = again(result, *ALL, "-o", "new.png")
    assert outcome.code == 0
    assert outcome.err.count("Warning") == 0
    first, second = fake.requests
    assert second.spec.styles == first.spec.styles
    assert second.spec.regions == first.spec.regions
    for part in ("content", "start_image", "selection"):
        assert getattr(second.spec, part) == getattr(first.spec, part)
    assert second.spec.recipe == pb.Recipe(
        objective=pb.OBJECTIVE_BALANCED,
        content_weight=0.3,
        evaluations=4,
        longest_side=48,
        start=pb.START_IMAGE,
        seed=5,
        precision=pb.PRECISION_FLOAT32,
        color=pb.COLOR_STYLE,
        style_layers=[pb.LayerWeight(layer="relu3_1", weight=0.5)],
        stop_on_plateau=True,
    )
    identical = "new.png is identical to out.png, pixel for pixel" in outcome.out
    assert identical == (result == "out.png")


def test_a_texture_again(impasto: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.paint_recorded
    server = ("--server", fake.address)
    impasto("texture", "style.png", "-o", "out.png", "--size", "64x48", *server)
    outcome = impasto("again", "out.png", "style.png", "-o", "new.png", *server)
    assert (outcome.code, "identical" in outcome.out) == (0, True)
    spec = fake.requests[1].spec
    assert not spec.HasField("content")
    assert spec.texture == pb.TextureSize(width=64, height=48)


@pytest.mark.parametrize(
    ("change", "words", "difference"),
    [
        ({"turn": 180}, f"differs from out.png by at most {UPSIDE_DOWN} of 255 grey levels", UPSIDE_DOWN),
        ({"width": 40}, "has another size than out.png", None),
    ],
)
def test_again_says_how_the_new_picture_differs(
    again: Impasto, fake: FakeServer, change: Any, words: str, difference: int | None
) -> None:
    fake.script = functools.partial(fake_server.paint_recorded, **change)
    outcome = again("out.png", *ALL, "-o", "new.png")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"new.png {words}"
    last = again("out.png", *ALL, "-o", "new.png", "--json").lines[-1]
    assert (last["event"], last["path"], last["with"]) == ("comparison", "new.png", "out.png")
    assert (last["identical"], last["max_difference"]) == (False, difference)
    outcome = again("out.png", *ALL, "-o", "new.png", "--strict")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (1, "Error: new.png is not identical to out.png")


def test_another_file_is_an_error_that_names_it_and_both_digests(again: Impasto, fake: FakeServer) -> None:
    expected = hashlib.sha256(Path("style.png").read_bytes()).hexdigest()
    Path("style.png").write_bytes(png(9, 9))
    outcome = again("out.png", *ALL, "-o", "new.png")
    assert outcome.code == 2
    given = hashlib.sha256(png(9, 9)).hexdigest()
    assert "style.png is not the style from which out.png was painted" in outcome.err
    assert f"its SHA-256 is {given}, but {expected} is recorded" in outcome.err
    assert "--anyway" in outcome.err
    assert len(fake.requests) == 1

    outcome = again("out.png", *ALL, "-o", "new.png", "--anyway")
    assert outcome.code == 0
    assert "Warning: style.png is not the style" in outcome.err
    assert fake.requests[1].spec.styles[0].image.encoded == png(9, 9)


@pytest.mark.parametrize(("file", "part"), [("mask.png", "mask"), ("other.png", "style mask")])
def test_again_refuses_other_masks(again: Impasto, file: str, part: str) -> None:
    Path(file).write_bytes(png(11, 11))
    outcome = again("out.png", *ALL, "-o", "new.png")
    assert outcome.code == 2
    assert f"{file} is not the region's {part} from which out.png was painted" in outcome.err


def altered(result: str, **changes: Any) -> None:
    """Rewrites what a picture says about its making."""
    metadata = json.loads(Path("out.json").read_text())
    Path(result).write_bytes(png(metadata={**metadata, **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"impasto": "0.0.1"}, "it was made by version 0.0.1, the server is 9.9"),
        (
            {"network": {"weights": "my.pth", "sha256": "f" * 64}},
            "its feature network was my.pth (SHA-256 ffff",
        ),
        ({"device": "an abacus"}, "it was painted on an abacus, the server has a test"),
        ({"network": None}, "its feature network was unnamed"),
    ],
)
def test_again_warns_of_a_server_that_differs(
    again: Impasto, fake: FakeServer, changes: dict[str, Any], words: str
) -> None:
    altered("altered.png", **changes)
    outcome = again("altered.png", *ALL, "-o", "new.png")
    assert outcome.code == 0
    assert f"Warning: the new picture may differ from altered.png: {words}" in outcome.err
    warning = next(
        line
        for line in again("altered.png", *ALL, "-o", "new.png", "--json").lines
        if line["event"] == "warning"
    )
    assert words in warning["message"]

    asked = len(fake.requests)
    outcome = again("altered.png", *ALL, "-o", "stricter.png", "--strict")
    assert outcome.code == 1
    assert words in outcome.err
    assert len(fake.requests) == asked
    assert not Path("stricter.png").exists()


def test_again_names_possible_causes_of_a_difference(again: Impasto, fake: FakeServer) -> None:
    fake.script = functools.partial(fake_server.paint_recorded, turn=180)
    altered("altered.png", torch="1.0", memory_plan={"method": "plain", "tile_side": None})
    outcome = again("altered.png", *ALL, "-o", "new.png")
    assert outcome.code == 0
    assert "PyTorch was 1.0 then, is 2.0 now" in outcome.err
    assert "the memory plan was plain then, is tiled (512 px) now" in outcome.err


def test_an_error_in_the_metadata_names_the_picture(again: Impasto) -> None:
    metadata = json.loads(Path("out.json").read_text())
    altered("altered.png", recipe={**metadata["recipe"], "objective": "cubist"})
    outcome = again("altered.png", *ALL, "-o", "new.png")
    assert outcome.code == 2
    assert "altered.png: its objective cannot be 'cubist'; give one of balanced" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["content.png", "style.png", *PARTS], "painted from a content and 2 styles; give 3 files, not 2"),
        ([*FILES, "mask.png", *PARTS], "give 3 files, not 4"),
        ([*FILES, *PARTS[:-2]], "was painted with a start image; give its file with --start (SHA-256"),
        ([*FILES, *PARTS[:-4], *PARTS[-2:]], "was painted with a selection; give its file with --selection"),
        (
            [*FILES, *PARTS[2:]],
            "was painted with 2 regions, but --region is given 1 time; give it once for each region",
        ),
        ([*FILES, "--region", "mask.png", *PARTS[2:]], "region 1 of out.png was painted with a style mask"),
        (
            [*FILES, "--region", "mask.png,style=1,style-mask=other.png", *PARTS[2:]],
            "--region mask.png: region 1 of out.png has style 2, not 1",
        ),
        (
            [*FILES, *PARTS[:2], "--region", "other.png,style-mask=mask.png", *PARTS[4:]],
            "region 2 of out.png was painted without a style mask",
        ),
        ([*FILES, *PARTS[:-1], "none.png"], "--start none.png: there is no such file"),
    ],
)
def test_again_refuses_files_that_differ_from_the_record(
    again: Impasto, fake: FakeServer, arguments: list[str], message: str
) -> None:
    outcome = again("out.png", *arguments, "-o", "new.png")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(fake.requests) == 1


def test_again_refuses_a_part_that_the_picture_did_not_have(again: Impasto) -> None:
    altered("plain.png", selection_sha256=None)
    outcome = again("plain.png", *ALL, "-o", "new.png")
    assert "plain.png was painted without a selection; leave out --selection" in outcome.err


def test_again_does_not_overwrite_the_result(again: Impasto) -> None:
    for arguments in (["out.png", *ALL, "-o", "out.png"], ["out.json", *ALL, "-o", "out.png", "--sidecar"]):
        outcome: Outcome = again(*arguments)
        assert outcome.code == 2
        assert "is one of the files to paint from" in outcome.err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(metadata={}), "bad.png does not say enough about its making: there is no entry recipe"),
        (b"\xff\xd8", "bad.png is neither a PNG nor a sidecar in JSON"),
        (b"{", "bad.png does not say in JSON how it was made"),
        (b"[]", "its JSON is no object"),
        (png()[:60], "bad.png does not say how it was made: it is not Impasto's"),
    ],
)
def test_again_refuses_a_picture_without_a_record(again: Impasto, data: bytes, message: str) -> None:
    Path("bad.png").write_bytes(data)
    outcome = again("bad.png", *ALL, "-o", "new.png")
    assert outcome.code == 2
    assert message in outcome.err


def test_again_refuses_a_picture_that_is_cut_off_after_its_metadata(again: Impasto, fake: FakeServer) -> None:
    data = Path("out.png").read_bytes()
    Path("cut.png").write_bytes(data[: data.index(b"IDAT") + 20])
    outcome = again("cut.png", *ALL, "-o", "new.png")
    assert outcome.code == 2
    assert "cut.png is damaged" in outcome.err
    assert len(fake.requests) == 1


def test_quiet_still_warns(again: Impasto) -> None:
    altered("altered.png", impasto="0.0.1")
    outcome = again("altered.png", *ALL, "-o", "new.png", "--quiet")
    assert dataclasses.replace(outcome, err="") == Outcome(0, "", "")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
def test_again_asks_for_the_sidecar_of_a_jpeg_or_webp(impasto: Impasto, fake: FakeServer, kind: str) -> None:
    Image.new("RGB", (20, 20)).save("old.picture", kind)
    outcome = impasto(
        "again", "old.picture", "content.png", "style.png", "-o", "o.png", "--server", fake.address
    )
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: old.picture is a {kind}, which does not say how it was made; give its sidecar. "
        "If it has none, paint it with --sidecar, or as a PNG\n"
    )
    assert not fake.calls


def tiff(text: str, picture: Image.Image, name: str) -> None:
    """Writes a TIFF that describes itself."""
    picture.save(name, "TIFF", tiffinfo={270: text})


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (0, "new.png is identical to old.tif, pixel for pixel"),
        (180, f"new.png differs from old.tif by at most {UPSIDE_DOWN} of 255 grey levels"),
    ],
)
def test_again_reads_the_record_of_a_tiff(again: Impasto, fake: FakeServer, turn: float, said: str) -> None:
    tiff(Path("out.json").read_text(), decode(Path("out.png").read_bytes()), "old.tif")
    fake.script = functools.partial(fake_server.paint_recorded, turn=turn)
    outcome = again("old.tif", *ALL, "-o", "new.png")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, said), outcome.err
    assert fake.requests[1].spec.styles == fake.requests[0].spec.styles
    assert fake.requests[1].spec.result_format == 0
    assert again("old.tif", *ALL, "-o", "new.png", "--strict").code == (1 if turn else 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_again_paints_a_16_bit_tiff_with_16_bits(again: Impasto, fake: FakeServer, order: str) -> None:
    told = Path("out.json").read_bytes()
    Path("old.tif").write_bytes(bare_tiff(order, 16, told))
    outcome = again("old.tif", *ALL, "-o", "new.png", "--strict")
    assert outcome.code == 0, outcome.err
    assert "new picture is not compared: the pixels of old.tif cannot be read" in outcome.err
    assert fake.requests[1].spec.result_format == pb.IMAGE_FORMAT_PNG_16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A beach",
        "[]",
        '{"shape": [3, 4]}',
        '{"recipe": {"flour": "500 g"}}',
        "[" * 100_000,
        '{"impasto": "1", "recipe": {}, "much": "' + "x" * 2**20 + '"}',
    ],
)
def test_again_refuses_a_tiff_with_another_description(again: Impasto, fake: FakeServer, text: str) -> None:
    tiff(text, Image.new("RGB", (20, 20)), "old.tif")
    outcome = again("old.tif", *ALL, "-o", "new.png")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: old.tif does not say how it was made: it is not Impasto's, or was saved by another program; "
        "give its sidecar\n",
    )
    assert len(fake.requests) == 1


def test_again_refuses_a_damaged_tiff(again: Impasto) -> None:
    whole = bare_tiff("<", 16, Path("out.json").read_bytes())
    odd = [whole[:end] for end in (4, 7, 8, 9, 12, 20, 40, 50, len(whole) - 1)]
    odd += [b"II*\0" + b"\xff" * 40, whole[:8] + b"\0\0" + whole[10:], b"II+\0" + whole[4:]]
    for data in odd:
        Path("old.tif").write_bytes(data)
        outcome = again("old.tif", *ALL, "-o", "new.png")
        assert outcome.code == 2
        assert "does not say how it was made" in outcome.err


def bare_tiff(order: str, bits: int, text: bytes) -> bytes:
    """The tags of a TIFF without pixels: its bits per channel, three times, and what it says."""
    after = 8 + 2 + 2 * 12 + 4
    entries = struct.pack(f"{order}HHII", 258, 3, 3, after)
    entries += struct.pack(f"{order}HHII", 270, 2, len(text) + 1, after + 6)
    signature = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", 2) + entries + bytes(4)
    return (
        signature
        + struct.pack(f"{order}I", 8)
        + directory
        + struct.pack(f"{order}3H", *[bits] * 3)
        + text
        + b"\0"
    )


@pytest.mark.parametrize(("name", "kind"), [("new.jpg", "JPEG"), ("new.webp", "WebP")])
@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        ({}, "the painting is identical to out.png, pixel for pixel", 0),
        ({"turn": 180}, f"the painting differs from out.png by at most {UPSIDE_DOWN} of 255 grey levels", 1),
        ({"width": 40}, "the painting has another size than out.png", 1),
    ],
)
def test_again_compares_the_painting_and_not_a_lossy_file(
    again: Impasto, fake: FakeServer, name: str, kind: str, change: Any, said: str, code: int
) -> None:
    fake.script = functools.partial(fake_server.paint_recorded, **change)
    outcome = again("out.png", *ALL, "-o", name, "--strict")
    assert outcome.code == code
    assert outcome.out.splitlines()[-1] == f"{said}; {name} is a {kind}, which is lossy"
    if code:
        assert outcome.err.splitlines()[-1] == f"Error: the painting in {name} is not identical to out.png"
    (line,) = [
        line for line in again("out.png", *ALL, "-o", name, "--json").lines if line["event"] == "comparison"
    ]
    assert (line["identical"], line["lossy"]) == (not code, kind.lower())
    (line,) = [
        line
        for line in again("out.png", *ALL, "-o", "x.tif", "--json").lines
        if line["event"] == "comparison"
    ]
    assert (line["path"], line["lossy"]) == ("x.tif", None)
