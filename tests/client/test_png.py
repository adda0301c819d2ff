from __future__ import annotations

import io
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import impasto
from impasto import png as own_png


@given(st.integers(1, 40), st.integers(1, 40), st.randoms())
def test_a_written_png_is_read_by_pillow(width: int, height: int, random: Random) -> None:
    rgba = random.randbytes(4 * width * height)
    image = Image.open(io.BytesIO(own_png.encode(impasto.RawPixels(width, height, rgba))))
    assert (image.size, image.mode, image.tobytes()) == ((width, height), "RGBA", rgba)
