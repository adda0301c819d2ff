"""Contact sheets."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import PIL.Image
import pytest
from typer.testing import CliRunner

from impasto_server.bench.contact_sheet import Layout, SheetError, lay_out, paint_all
from impasto_server.bench.pictures import Picture, PictureError, read_picture
from impasto_server.commands import app
from impasto_server.engine import Network, Recipe
from support.samples import coded, photo


def plain(name: str, color: str, size: tuple[int, int] = (32, 32)) -> Picture:
    image = PIL.Image.new("RGB", size, color)
    return Picture(name, coded(image), image)


def test_each_painting_is_in_the_row_of_its_content_and_the_column_of_its_style() -> None:
    contents = [plain("a.png", "gray"), plain("b.png", "silver", (32, 20))]
    styles = [plain(f"{n}.png", color) for n, color in enumerate(("maroon", "olive", "navy"))]
    colors = [["red", "lime", "blue"], ["cyan", "magenta", "yellow"]]
    paintings = [[PIL.Image.new("RGB", (32, 32), color) for color in row] for row in colors]
    sheet = lay_out(contents, styles, paintings, 32)

    layout = Layout(32, (32, 32, 32), (32, 32))
    assert sheet.size == layout.size
    for row, of_content in enumerate(colors):
        for column, color in enumerate(of_content):
            left, top, right, bottom = layout.painting(row, column)
            cell = sheet.crop((left, top, right, bottom))
            assert cell.getcolors() == [(32 * 32, PIL.ImageColor.getrgb(color))]
    assert sheet.getpixel(middle(layout.content(0))) == PIL.ImageColor.getrgb("gray")
    assert sheet.getpixel(middle(layout.style(2))) == PIL.ImageColor.getrgb("navy")


def middle(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return (box[0] + box[2]) // 2, (box[1] + box[3]) // 2


def test_nothing_on_a_sheet_overlaps() -> None:
    layout = Layout(64, (64, 20), (64, 40))
    boxes = [layout.painting(row, column) for row in range(2) for column in range(2)]
    boxes += [layout.content(0), layout.content(1), layout.style(0), layout.style(1)]
    for (l1, t1, r1, b1), (l2, t2, r2, b2) in combinations(boxes, 2):
        assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1
    assert all(left >= 0 and right <= layout.size[0] for left, _, right, _ in boxes)


def test_every_content_is_painted_in_every_style(network: Network) -> None:
    contents = [Picture("wide.png", b"", photo(32, 24)), Picture("high.png", b"", photo(20, 32))]
    styles = [Picture("style.png", b"", photo(24, 24))]
    seen = []
    paintings = paint_all(
        contents,
        styles,
        Recipe(longest_side=32, evaluations=2),
        network,
        auto_precision="float32",
        on_progress=lambda number, content, style, progress: seen.append((number, progress.evaluation)),
    )
    assert [[painting.size for painting in row] for row in paintings] == [[(32, 24)], [(20, 32)]]
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_picture_that_cannot_be_painted_is_named_before_any_work(network: Network) -> None:
    contents = [Picture("good.png", b"", photo()), Picture("sliver.png", b"", photo(300, 3))]

    def fail(*_: object) -> None:
        raise AssertionError("painted")

    with pytest.raises(SheetError, match=r"sliver\.png in the style of s\.png.*longest_side"):
        paint_all(
            contents,
            [Picture("s.png", b"", photo())],
            Recipe(longest_side=32, evaluations=2),
            network,
            auto_precision="float32",
            on_progress=fail,
        )


def test_a_file_that_is_not_a_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"text\.png is not a PNG"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(PictureError, match=r"none\.png cannot be read \(No such file"):
        read_picture(tmp_path / "none.png")


@pytest.mark.slow
def test_the_command_writes_a_sheet(tmp_path: Path) -> None:
    content, style, out = tmp_path / "content.png", tmp_path / "style.png", tmp_path / "sheet.jpg"
    photo().save(content)
    photo(20, 28).save(style)
    arguments = ["contact-sheet", "-o", str(out), "--size", "32", "--effort", "draft", "--device", "cpu"]
    arguments += ["--contents", str(content), "--contents", str(content), "--styles", str(style)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 paintings" in result.stdout
    assert PIL.Image.open(out).size == Layout(32, (32,), (24, 24)).size


def test_the_command_says_which_file_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    arguments = ["contact-sheet", "-o", str(out), "--contents", str(tmp_path / "none.jpg")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "none.jpg cannot be read" in result.stderr
    assert not out.exists()
