from __future__ import annotations

import dataclasses
import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

import impasto
from impasto import provenance, requests
from support import fake_server
from support.fake_server import png

REQUEST = requests.stylize_request(
    requests.job_spec(
        png(),
        [(png(3, 3), 2.0)],
        recipe=impasto.Recipe(style_layers={"relu3_1": 0.5}, seed=7),
        regions=[impasto.Region(png(4, 4), 0, png(5, 5)), impasto.Region(png(4, 4))],
        selection=png(6, 6),
    )
)


def metadata(**changes: Any) -> dict[str, Any]:
    return {**fake_server.metadata_of(REQUEST), **changes}


def test_the_metadata_of_a_picture_is_read() -> None:
    read = provenance.read(png(metadata=metadata()))
    assert read == provenance.read(json.dumps(metadata()).encode())
    assert read.recipe == impasto.Recipe(
        objective="balanced",
        content_weight=0.3,
        evaluations=4,
        size=48,
        seed=7,
        precision="float32",
        color="style",
        content_layers=(),
        style_layers={"relu3_1": 0.5},
        stop_on_plateau=True,
    )
    spec = REQUEST.spec
    assert read.content_sha256 == fake_server.digest(spec.content)
    assert read.styles == (provenance.StyleRecord(fake_server.digest(spec.styles[0].image), 2.0),)
    assert read.regions == (
        provenance.RegionRecord(
            fake_server.digest(spec.regions[0].content_mask),
            0,
            fake_server.digest(spec.regions[0].style_mask),
        ),
        provenance.RegionRecord(fake_server.digest(spec.regions[1].content_mask), 0, None),
    )
    assert read.selection_sha256 == fake_server.digest(spec.selection)
    assert (read.texture, read.start_image_sha256) == (None, None)
    assert (read.version, read.device, read.weights) == ("9.9", "a test", "builtin")


def test_a_texture() -> None:
    read = provenance.parse(metadata(content_sha256=None, texture={"width": 64, "height": 48}))
    assert (read.content_sha256, read.texture) == (None, (64, 48))


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
def test_every_kind_of_text_entry_is_read(chunk: str) -> None:
    said = json.dumps(metadata())
    text = PngImagePlugin.PngInfo()
    text.add_text("other", "words", zip=True)
    if "iTXt" in chunk:
        text.add_itxt("impasto", said, zip=chunk != "iTXt")
    else:
        text.add_text("impasto", said, zip=chunk == "zTXt")
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=text)
    assert provenance.png_text(file.getvalue(), "impasto") == said


def test_a_decompression_bomb_in_a_text_entry_is_not_read() -> None:
    body = b"impasto\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I4s", len(body), b"zTXt") + body + bytes(4)
    assert provenance.png_text(provenance.PNG_SIGNATURE + chunk, "impasto") is None


@pytest.mark.parametrize(
    "entry", [b"iTXtimpasto\0", b"iTXtimpasto\0\1\0\0\0no zlib", b"zTXtimpasto\0\0no zlib"]
)
def test_a_damaged_text_entry_is_not_read(entry: bytes) -> None:
    chunk = struct.pack(">I", len(entry) - 4) + entry + bytes(4)
    assert provenance.png_text(provenance.PNG_SIGNATURE + chunk, "impasto") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": None}, "there is no entry recipe"),
        ({"recipe": []}, "its entry recipe is not an object"),
        ({"recipe": {"style_layers": 3}}, "its recipe's style_layers cannot be 3"),
        ({"content_sha256": None}, "there is no entry content_sha256"),
        ({"content_sha256": "ABC"}, "its entry content_sha256 is not a SHA-256"),
        ({"styles": None}, "there is no entry styles"),
        ({"styles": [3]}, "its entry styles[0] is not an object"),
        ({"styles": [{"sha256": "0" * 64}]}, "there is no entry styles[0].weight"),
        ({"styles": [{"sha256": "0" * 64, "weight": True}]}, "its entry styles[0].weight is not a number"),
        ({"texture": {"width": 64, "height": 4.5}}, "its entry texture.height is not a whole number"),
        ({"regions": [{}]}, "there is no entry regions[0].content_mask_sha256"),
        ({"selection_sha256": 3}, "its entry selection_sha256 is not a SHA-256"),
    ],
)
def test_wrong_metadata_is_refused_with_the_entry(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^(cannot be understood|does not say enough)") as caught:
        provenance.parse(metadata(**changes))
    assert message in str(caught.value)


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(ValueError, match="does not say in JSON"):
        provenance.read(b"[" * 1_000_000)


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("AMD EPYC, 1 threads", "AMD EPYC, 1 thread", True),
        ("AMD EPYC, 11 threads", "AMD EPYC, 1 thread", False),
        ("AMD EPYC, 2 threads", "AMD EPYC, 2 threads", True),
    ],
)
def test_devices_of_results_of_earlier_versions_are_recognised(before: str, now: str, same: bool) -> None:
    with fake_server.running() as (fake, _), impasto.Client(fake.address) as client:
        info = client.info()
    info = dataclasses.replace(info, devices=(dataclasses.replace(info.devices[0], description=now),))
    found = provenance.read(png(metadata=metadata(device=before))).differences(info)
    assert any("painted on" in clause for clause in found) != same
