from __future__ import annotations

import io
import json

import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import PREVIEWS
from impasto_server.contract.previews import PreviewWish
from impasto_server.worker.pictures import METADATA_KEY, code_preview, code_result, resized_alpha
from samples import photo

NOISE = PIL.Image.merge("RGB", [PIL.Image.effect_noise((512, 384), 200) for _ in range(3)])


@pytest.mark.parametrize("format", PREVIEWS)
@pytest.mark.parametrize("max_bytes", [4096, 98_304, 524_288])
def test_previews_fit_whatever_they_show(format: pb.ImageFormat, max_bytes: int) -> None:
    data, width, height = code_preview(NOISE, PreviewWish(format=format, max_bytes=max_bytes))
    assert len(data) <= max_bytes
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.format == PREVIEWS[format]
    assert picture.size == (width, height)
    assert width / height == pytest.approx(4 / 3, rel=0.1)


def test_previews_that_fit_keep_their_size() -> None:
    _, width, height = code_preview(photo(300, 200), PreviewWish())
    assert (width, height) == (300, 200)


def test_results_carry_how_they_were_made() -> None:
    data = code_result(photo(), alpha=None, profile=None, metadata={"origin": "Bézier", "n": 1})
    picture = PIL.Image.open(io.BytesIO(data))
    assert json.loads(picture.info[METADATA_KEY]) == {"origin": "Bézier", "n": 1}
    assert picture.mode == "RGB"
    assert "icc_profile" not in picture.info


def test_a_profile_that_cannot_be_written_in_becomes_srgb() -> None:
    data = code_result(photo(), alpha=None, profile=b"rubbish", metadata={})
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.info["icc_profile"]
    assert picture.getpixel((3, 3)) == photo().getpixel((3, 3))


def test_alpha_is_resized_without_ringing() -> None:
    alpha = PIL.Image.new("L", (100, 100), 10)
    alpha.paste(200, (50, 0, 100, 100))
    assert resized_alpha(alpha, (33, 33)).getextrema() == (10, 200)
