"""Parts of the script that makes the set of pictures, without downloading packages."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageChops
import PIL.ImageDraw
import pytest

from judging import drawn_styles
from judging.picture_set import PAIRS, Packages, contents, styles
from judging.puzzles import assembled_puzzle
from judging.qt_resources import qt_resources
from support.random_networks import picture


def resource_file(files: dict[str, bytes], *, compressed: bool) -> bytes:
    """Returns a Qt resource file (version 3) with one folder, "in"."""
    names, offsets = b"", []
    for name in ("in", *files):
        offsets.append(len(names))
        coded = name.encode("utf-16-be")
        names += struct.pack(">HI", len(name), 0) + coded
    data, tree = b"", struct.pack(">IHIIQ", 0, 2, 1, 1, 0) + struct.pack(">IHIIQ", 0, 2, len(files), 2, 0)
    for at, content in zip(offsets[1:], files.values(), strict=True):
        tree += struct.pack(">IHHHIQ", at, int(compressed), 0, 0, len(data), 0)
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if compressed else content
        data += struct.pack(">I", len(stored)) + stored
    start = 24
    head = b"qres" + struct.pack(">5I", 3, start + len(data) + len(names), start, start + len(data), 0)
    return head + data + names + tree


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_from_qt_resources(compressed: bool) -> None:
    files = {"a.txt": b"first", "größe.bin": bytes(300)}
    found = qt_resources(resource_file(files, compressed=compressed))
    assert found == {f"/in/{name}": content for name, content in files.items()}


def test_a_file_that_is_not_a_resource_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Qt resource file"):
        qt_resources(b"PK\x03\x04" + bytes(40))


def test_pieces_of_a_puzzle_are_joined_where_they_fit_in_spite_of_rounded_places() -> None:
    painting = picture(360, 240, seed=3).convert("RGBA")
    # The left one of two pieces has a round tab that fits into the right one.
    left = PIL.Image.new("L", painting.size, 0)
    draw = PIL.ImageDraw.Draw(left)
    draw.rectangle((0, 0, 179, 239), fill=255)
    draw.ellipse((160, 100, 220, 150), fill=255)
    pieces, board = {}, []
    for number, (mask, box, wrong) in enumerate(
        ((left, (0, 0, 221, 240), (0, 0)), (PIL.ImageChops.invert(left), (180, 0, 360, 240), (5, -4)))
    ):
        piece = painting.copy()
        piece.putalpha(mask)
        stream = io.BytesIO()
        piece.crop(box).save(stream, "WEBP", lossless=True)
        pieces[f"/in/image/p{number}.webp"] = stream.getvalue()
        x, y = 100 + (box[0] + box[2]) / 2 + wrong[0], 100 + (box[1] + box[3]) / 2 + wrong[1]
        board.append(
            f'{{ "pixmapfile" : "image/p{number}.webp", "x" : "{x / 702:.4f}", "y" : "{y / 515:.4f}" }}'
        )
    pieces["/in/board/board7_0.qml"] = "\n".join(board).encode()
    joined = np.asarray(assembled_puzzle(pieces, "/in/", 7), float)
    wanted = np.asarray(painting.convert("RGB"), float)[2:-2, 2:-2]
    assert joined.shape == wanted.shape
    assert np.abs(joined - wanted).max() <= 1


@pytest.mark.slow
def test_drawn_styles_are_the_same_every_time() -> None:
    for draw in (drawn_styles.rectangles, drawn_styles.watercolour):
        first, second = draw(), draw()
        assert first.size == (768, 600)
        assert first.tobytes() == second.tobytes()


def test_hatching_is_ink_on_white_and_denser_where_the_photograph_is_dark() -> None:
    photo = PIL.Image.linear_gradient("L").resize((240, 240))
    drawn = np.asarray(drawn_styles.hatching(photo).convert("L"), float)
    top, middle, bottom = (drawn[rows].mean() for rows in (slice(5, 60), slice(90, 140), slice(220, 239)))
    assert top < middle < bottom
    assert bottom > 250


def test_the_pairs_name_exactly_the_pictures_of_the_set() -> None:
    packages = Packages(Path("nowhere"))
    pairs = [tuple(line.split()) for line in PAIRS.splitlines()]
    assert len(pairs) == len(set(pairs)) == 16
    assert {content for content, _ in pairs} == {entry.name for entry in contents(packages)}
    assert {style for _, style in pairs} == {entry.name for entry in styles(packages, Path("nowhere"))}
