from __future__ import annotations

import io

import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import PREVIEWS
from impasto_server.contract.previews import PreviewWish
from impasto_server.worker.previews import code_preview
from support.samples import photo

NOISE = PIL.Image.merge("RGB", [PIL.Image.effect_noise((512, 384), 200) for _ in range(3)])


@pytest.mark.parametrize("format", PREVIEWS)
@pytest.mark.parametrize("max_bytes", [4096, 98_304, 524_288])
def test_every_preview_fits_into_its_maximum_size(format: pb.ImageFormat, max_bytes: int) -> None:
    data, width, height = code_preview(NOISE, PreviewWish(format=format, max_bytes=max_bytes))
    assert len(data) <= max_bytes
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.format == PREVIEWS[format]
    assert picture.size == (width, height)
    assert width / height == pytest.approx(4 / 3, rel=0.1)


def test_a_preview_that_fits_keeps_its_size() -> None:
    _, width, height = code_preview(photo(300, 200), PreviewWish())
    assert (width, height) == (300, 200)
