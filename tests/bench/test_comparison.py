"""Comparisons of recipes on a sheet."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
from typer.testing import CliRunner

from impasto_server.bench import comparison_sheet as sheets
from impasto_server.bench.compared_recipes import compared_recipes
from impasto_server.bench.comparison import Painted, Pair, means, paint_pairs, read_pairs
from impasto_server.bench.comparison_sheet import comparison_sheet, numbers_json, planned_size
from impasto_server.bench.faces import KeptFace
from impasto_server.bench.judging import Numbers, judge
from impasto_server.bench.pictures import Picture, PictureError
from impasto_server.bench.sheet_table import Cell, SheetError, Table, check_sheet_size
from impasto_server.commands import app
from impasto_server.engine import Network
from support.samples import coded, photo

pytestmark = pytest.mark.slow

TWO = compared_recipes("balanced:evaluations=2,gatys:evaluations=1", effort="draft", longest_side=32)


def pair(
    content: PIL.Image.Image, style: PIL.Image.Image, names: tuple[str, str] = ("c.png", "s.png")
) -> Pair:
    return Pair(*(Picture(name, b"", image) for name, image in zip(names, (content, style), strict=True)))


def painted(
    color: str, emd: float = 0.5, seconds: float = 2.0, faces: list[KeptFace] | None = None
) -> Painted:
    return Painted(PIL.Image.new("RGB", (32, 24), color), seconds, 3, Numbers(emd, 0.25, 12.0), faces)


def test_every_pair_is_painted_and_measured_with_every_recipe(network: Network) -> None:
    pairs = [pair(photo(32, 24), photo(24, 24)), pair(photo(20, 32), photo(30, 20), ("d.png", "t.png"))]
    seen = []
    rows = paint_pairs(
        pairs,
        TWO,
        network,
        auto_precision="float32",
        on_progress=lambda number, pair, named, progress: seen.append(
            (number, pair.content.name, named.recipe.objective, progress and progress.evaluation)
        ),
    )
    assert [[one.picture.size for one in row] for row in rows] == [[(32, 24)] * 2, [(20, 32)] * 2]
    assert [[one.evaluations for one in row] for row in rows] == [[2, 1], [2, 1]]
    assert seen == [
        *((1, "c.png", "balanced", 1), (1, "c.png", "balanced", 2), (1, "c.png", "balanced", None)),
        *((2, "c.png", "gatys", 1), (2, "c.png", "gatys", None)),
        *((3, "d.png", "balanced", 1), (3, "d.png", "balanced", 2), (3, "d.png", "balanced", None)),
        *((4, "d.png", "gatys", 1), (4, "d.png", "gatys", None)),
    ]
    last = rows[1][1]
    assert last.numbers == judge(last.picture, photo(20, 32), photo(30, 20), network)
    assert last.seconds > 0
    assert last.faces is None


def test_a_pair_that_cannot_be_painted_is_named_with_its_recipe_before_any_work(network: Network) -> None:
    pairs = [pair(photo(), photo()), pair(photo(300, 3), photo(), ("sliver.png", "s.png"))]

    def fail(*_: object) -> None:
        raise AssertionError("painted")

    with pytest.raises(SheetError, match=r"sliver\.png in the style of s\.png with balanced: longest_side"):
        paint_pairs(pairs, TWO, network, auto_precision="float32", on_progress=fail)


def test_content_style_and_paintings_are_in_the_row_of_their_pair() -> None:
    pairs = [
        pair(PIL.Image.new("RGB", (32, 24), "maroon"), PIL.Image.new("RGB", (24, 24), "navy")),
        pair(PIL.Image.new("RGB", (32, 24), "purple"), PIL.Image.new("RGB", (24, 24), "olive")),
    ]
    sheet = comparison_sheet(
        pairs, TWO, [[painted("red"), painted("lime")], [painted("cyan"), painted("blue")]], 32
    )

    places = {}
    for color in ("maroon", "navy", "red", "lime", "purple", "olive", "cyan", "blue"):
        found = [
            (x, y)
            for y in range(sheet.height)
            for x in range(sheet.width)
            if sheet.getpixel((x, y)) == PIL.ImageColor.getrgb(color)
        ]
        xs, ys = zip(*found, strict=True)
        places[color] = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        # The picture is complete, and nothing covers it.
        assert len(found) == (max(xs) + 1 - min(xs)) * (max(ys) + 1 - min(ys))
    assert [places[color][2] - places[color][0] for color in ("maroon", "navy", "red")] == [16, 16, 32]
    for row in (("maroon", "navy", "red", "lime"), ("purple", "olive", "cyan", "blue")):
        assert len({places[color][1] for color in row}) == 1
        assert [places[color][0] for color in row] == sorted(places[color][0] for color in row)
    for above, below in (("maroon", "purple"), ("navy", "olive"), ("red", "cyan"), ("lime", "blue")):
        assert places[above][0] == places[below][0]
        assert places[above][3] < places[below][1]


def test_each_painting_has_its_recipe_and_numbers_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Table] = []
    monkeypatch.setattr(
        sheets, "Table", lambda *args, **kwargs: tables.append(Table(*args, **kwargs)) or tables[-1]
    )
    row = [
        painted("red", emd=0.125, faces=[KeptFace(0.456, True), KeptFace(0.7, False)]),
        painted("blue", emd=0.25, seconds=61.04, faces=[]),
    ]
    comparison_sheet([pair(photo(), photo())], TWO, [row], 32)
    titles, (content, style, left, right) = tables[0].rows
    assert (list(content.lines), list(style.lines)) == (["c"], ["s"])
    assert list(left.lines) == [
        *(
            "balanced",
            "  evaluations=2",
            "emd 0.125  self 0.250",
            "palette 12.0  2.0 s",
            *("face 0.46", "face 0.70 not seen"),
        )
    ]
    assert list(right.lines) == ["gatys", "  evaluations=1", "emd 0.250  self 0.250", "palette 12.0  61.0 s"]
    assert list(titles[3].lines) == [
        *("gatys", "  evaluations=1", "mean:", "emd 0.250  self 0.250", "palette 12.0  61.0 s")
    ]
    assert any("face" in line for line in tables[0].foot)


def test_means_cover_the_numbers_and_the_seconds() -> None:
    assert means([painted("red", 0.5, 2.0), painted("red", 0.25, 4.0)]) == (Numbers(0.375, 0.25, 12.0), 3.0)


def test_numbers_are_written_with_their_pair_and_recipe() -> None:
    row = [painted("red", 0.125, faces=[KeptFace(0.5, False)]), painted("blue")]
    told = json.loads(numbers_json([pair(photo(), photo())], TWO, [row], device="cpu"))
    assert told["device"] == "cpu"
    assert told["recipes"]["balanced:evaluations=2"]["evaluations"] == 2
    assert told["means"]["gatys:evaluations=1"]["relaxed_emd"] == 0.5
    assert told["paintings"][0] == {
        "content": "c.png",
        "style": "s.png",
        "recipe": "balanced:evaluations=2",
        "width": 32,
        "height": 24,
        "seconds": 2.0,
        "evaluations": 3,
        "relaxed_emd": 0.125,
        "self_similarity_error": 0.25,
        "palette_distance": 12.0,
        "faces": [{"distance": 0.5, "detected": False}],
    }
    assert [entry["recipe"] for entry in told["paintings"]] == [named.name for named in TWO]


@pytest.mark.parametrize("faces", [False, True])
def test_the_planned_sheet_is_as_large_as_the_sheet(faces: bool) -> None:
    pairs = [pair(photo(32, 24), photo(24, 24)), pair(photo(64, 48), photo(9, 24))]
    paintings = [[painted("red", faces=[KeptFace(0.5, False)] if faces else None)] * 2] * 2
    planned = planned_size(pairs, TWO, 32, faces=faces)
    sheet = comparison_sheet(pairs, TWO, paintings, 32)
    assert planned[1] == sheet.height
    assert planned[0] >= sheet.width


def test_a_sheet_too_large_for_its_format_is_refused_with_a_suggestion() -> None:
    check_sheet_size((65_500, 10), Path("sheet.jpg"))
    check_sheet_size((70_000, 70_000), Path("sheet.PNG"))
    with pytest.raises(SheetError, match=r"16384 × 10 pixels, but \.webp files have at most 16383.*\.png"):
        check_sheet_size((16_384, 10), Path("sheet.webp"))
    with pytest.raises(SheetError, match=r"at most 65500"):
        check_sheet_size((10, 65_501), Path("sheet.JPG"))


def test_a_column_is_as_wide_as_its_longest_line_and_a_foot_is_never_cut_off() -> None:
    narrow = Table([[Cell(["i"], (10, 10)), Cell(["x"])]], 12, 4)
    wide = Table([[Cell(["a long line of text"], (10, 10)), Cell(["x"])]], 12, 4)
    assert wide.size[0] > narrow.size[0] + 60
    footed = Table(narrow.rows, 12, 4, ["a long line of text below the table"])
    assert footed.size[0] > wide.size[0]
    right = footed.drawn().crop((footed.size[0] - 4, 0, footed.size[0], footed.size[1]))
    assert right.getextrema() == ((255, 255),) * 3


def written(path: Path, image: PIL.Image.Image) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(coded(image))
    return path


def test_pairs_are_read_from_lines_with_paths_relative_to_the_text(tmp_path: Path) -> None:
    written(tmp_path / "in" / "a.png", photo(20, 16))
    written(tmp_path / "in" / "b c.png", photo(16, 20))
    text = tmp_path / "pairs.txt"
    text.write_text(
        "# what to paint\nin/a.png 'in/b c.png'\n\n  \"in/b c.png\"\tin/a.png  # turned\n", "utf-8-sig"
    )
    pairs = read_pairs(text)
    assert [(pair.content.name, pair.style.name) for pair in pairs] == [
        ("a.png", "b c.png"),
        ("b c.png", "a.png"),
    ]
    assert pairs[0].content is pairs[1].style
    assert pairs[1].content.image.size == (16, 20)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a.png\n", "line 1 is not a pair; give the paths of a content and a style"),
        (b"a.png a.png\na.png b.png c.png", "line 2 is not a pair"),
        (b"a.png 'b.png", "line 1 has a quotation mark that is not closed"),
        (b"", "has no pairs"),
        (b"# nothing\n", "has no pairs"),
        (b"\xff\xd8\xff\xe0", "is not a text file"),
        (b"a.png none.png", r"none\.png cannot be read"),
    ],
)
def test_a_text_without_proper_pairs_is_refused_with_the_line(tmp_path: Path, text: bytes, told: str) -> None:
    written(tmp_path / "a.png", photo())
    (tmp_path / "pairs.txt").write_bytes(text)
    with pytest.raises(PictureError, match=told):
        read_pairs(tmp_path / "pairs.txt")
    with pytest.raises(PictureError, match=r"nowhere\.txt cannot be read"):
        read_pairs(tmp_path / "nowhere.txt")


def command(*arguments: object) -> list[str]:
    return ["contact-sheet", "--device", "cpu", *map(str, arguments)]


def test_the_command_writes_a_comparison_and_its_numbers(tmp_path: Path) -> None:
    content = written(tmp_path / "content.png", photo())
    style = written(tmp_path / "style.png", photo(20, 28))
    out, numbers = tmp_path / "sheet.jpg", tmp_path / "numbers.json"
    arguments = command(
        "-o", out, "--contents", content, "--styles", style, "--size", 32, "--numbers", numbers
    )
    compare = "balanced:evaluations=1,gatys:evaluations=2,wasserstein:evaluations=1,report:evaluations=1"
    result = CliRunner().invoke(app, [*arguments, "--compare", compare])
    assert result.exit_code == 0, result.output
    assert "4 paintings" in result.stdout
    sheet = PIL.Image.open(out)
    assert f"{sheet.width} × {sheet.height}" in result.stdout
    told = json.loads(numbers.read_text("utf-8"))
    assert list(told["recipes"]) == compare.split(",")
    assert [entry["evaluations"] for entry in told["paintings"]] == [1, 2, 1, 1]
    for entry in told["paintings"]:
        assert 0 < entry["relaxed_emd"] < 1
        assert all(math.isfinite(entry[name]) for name in ("self_similarity_error", "palette_distance"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "content.png",
        "numbers.json",
        "sheet.jpg",
        "style.png",
    ]


def test_pairs_alone_are_painted_with_the_default_recipe(tmp_path: Path) -> None:
    written(tmp_path / "a.png", photo())
    (tmp_path / "pairs.txt").write_text("a.png a.png\n")
    out = tmp_path / "sheet.png"
    arguments = command("-o", out, "--pairs", tmp_path / "pairs.txt", "--size", 32, "--effort", "draft")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(", 1 painting\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compare", "balanced,blotchy"], "'blotchy' is not a recipe; give one of"),
        (["--compare", "balanced:style_scale=9"], "style_scale is 9; give 0.1 to 4"),
        (
            ["--compare", "balanced", "--recipe", "gatys"],
            "cannot be combined with --recipe; give one of them",
        ),
        (["--pairs", "p.txt", "--styles", "s.png"], "cannot be combined with --contents or --styles"),
        (["--numbers", "numbers.csv"], "numbers.csv does not end in .json"),
        (["--pairs", "nowhere.txt"], "nowhere.txt cannot be read (No such file"),
        (["--numbers", "nowhere/numbers.json"], "nowhere/numbers.json cannot be written: No such file"),
        (["-o", "nowhere/sheet.jpg"], "nowhere/sheet.jpg cannot be written: No such file"),
        (["-o", "sheet.bmp"], "sheet.bmp does not end in .jpg, .png or .webp"),
        (["--size", "8192", "-o", "sheet.webp", "--compare", "balanced,gatys"], "have at most 16383"),
        (["--size", "8192", "-o", "s.webp", *["--contents", "a.png"] * 2], "have at most 16383"),
    ],
)
def test_the_command_refuses_wrong_arguments_before_it_paints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.png", photo(32, 32))
    result = CliRunner().invoke(app, command("-o", "sheet.jpg", *arguments), env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_comparison_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    arguments = command(
        "-o", tmp_path / "s.jpg", "--compare", "balanced,gatys", "--numbers", tmp_path / "n.json"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto_server", *arguments, "--size", "256"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert (
            "1 of 2: astronaut.jpg in the style of starry_night.jpg, balanced, " in process.stderr.readline()
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped"
    assert list(tmp_path.iterdir()) == []
