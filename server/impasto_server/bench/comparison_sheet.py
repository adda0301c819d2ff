"""The sheet of a comparison, a row for each pair and a column for each recipe, and its numbers as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from impasto_server.bench.compared_recipes import NamedRecipe
from impasto_server.bench.comparison import Painted, Pair, means
from impasto_server.bench.faces import SAME_PERSON, KeptFace
from impasto_server.bench.judging import Numbers
from impasto_server.bench.sheet_table import Cell, Table
from impasto_server.engine.recipe import result_size

_LEGEND = [
    "Lower is better.",
    "emd: relaxed earth mover's distance of painting and style, 0 … 1",
    "self: self-similarity error of painting and content, 0 … 2",
    "palette: distance of the colours of painting and style, in grey levels",
]
_FACE_LEGEND = [
    f"face: distance from the content's face; below {SAME_PERSON:g}, dlib takes both for the same person",
    "not seen: dlib's face detector does not find the face",
]

_LEAST_TEXT_HEIGHT = 12
"""Minimum height of letters in pixels; smaller letters are hard to read."""

_WIDEST = Numbers(0.888, 0.888, 188.8), 8888.8
"""Numbers and seconds whose text is as wide as any."""


def planned_size(
    pairs: Sequence[Pair], recipes: Sequence[NamedRecipe], side: int, *, faces: bool
) -> tuple[int, int]:
    """Returns the approximate (width, height) in pixels of a comparison's sheet, before it is painted.

    Args:
        pairs, recipes: the pairs and recipes to compare.
        side: longer side of the paintings, in pixels.
        faces: whether faces are measured.
    """
    rows = []
    for pair in pairs:
        size = result_size(*pair.content.image.size, side)
        lines = [*_number_lines(*_WIDEST), *(_face_lines([KeptFace(0.888, False)]) if faces else [])]
        rows.append(
            [*_headers(pair, side), *(Cell([*_name_lines(named), *lines], size) for named in recipes)]
        )
    return _table([_title(named, *_WIDEST) for named in recipes], rows, side, faces).size


def comparison_sheet(
    pairs: Sequence[Pair], recipes: Sequence[NamedRecipe], paintings: Sequence[Sequence[Painted]], side: int
) -> Image.Image:
    """Draws the paintings side by side, with their numbers, and with content and style to their left.

    Args:
        pairs: one for each row.
        recipes: one for each column.
        paintings: by pair, then recipe.
        side: longer side of the paintings, in pixels.
    """
    rows = []
    for pair, of_pair in zip(pairs, paintings, strict=True):
        cells = _headers(pair, side)
        for named, painted in zip(recipes, of_pair, strict=True):
            lines = [*_name_lines(named), *_number_lines(painted.numbers, painted.seconds)]
            lines += _face_lines(painted.faces or [])
            cells.append(Cell(lines, painted.picture.size, painted.picture))
        rows.append(cells)
    titles = [
        _title(named, *means([of_pair[column] for of_pair in paintings]))
        for column, named in enumerate(recipes)
    ]
    faces = any(painted.faces is not None for of_pair in paintings for painted in of_pair)
    return _table(titles, rows, side, faces).drawn()


def numbers_json(
    pairs: Sequence[Pair],
    recipes: Sequence[NamedRecipe],
    paintings: Sequence[Sequence[Painted]],
    **about: object,
) -> str:
    """Returns all numbers as JSON: those of every painting, and the means of each recipe.

    Args:
        pairs, recipes: the pairs and recipes that were compared.
        paintings: by pair, then recipe.
        about: other values to include, such as the weights and the device.
    """
    of_recipes = {}
    for column, named in enumerate(recipes):
        numbers, seconds = means([of_pair[column] for of_pair in paintings])
        of_recipes[named.name] = {"seconds": seconds, **dataclasses.asdict(numbers)}
    told = {
        **about,
        "recipes": {named.name: dataclasses.asdict(named.recipe) for named in recipes},
        "means": of_recipes,
        "paintings": [
            {
                "content": pair.content.name,
                "style": pair.style.name,
                "recipe": named.name,
                "width": painted.picture.width,
                "height": painted.picture.height,
                "seconds": painted.seconds,
                "evaluations": painted.evaluations,
                **dataclasses.asdict(painted.numbers),
                "faces": painted.faces and [dataclasses.asdict(face) for face in painted.faces],
            }
            for pair, of_pair in zip(pairs, paintings, strict=True)
            for named, painted in zip(recipes, of_pair, strict=True)
        ],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _headers(pair: Pair, side: int) -> list[Cell]:
    """Returns cells of content and style, at half the size of the paintings."""
    cells = []
    for picture in (pair.content, pair.style):
        small = picture.image.copy()
        small.thumbnail((side // 2, side // 2), Image.Resampling.LANCZOS)
        cells.append(Cell([Path(picture.name).stem], small.size, small))
    return cells


def _title(named: NamedRecipe, numbers: Numbers, seconds: float) -> Cell:
    """Returns the cell above a recipe's column."""
    return Cell([*_name_lines(named), "mean:", *_number_lines(numbers, seconds)])


def _name_lines(named: NamedRecipe) -> list[str]:
    objective, *fields = named.name.split(":")
    return [objective, *(f"  {field}" for field in fields)]


def _number_lines(numbers: Numbers, seconds: float) -> list[str]:
    return [
        f"emd {numbers.relaxed_emd:.3f}  self {numbers.self_similarity_error:.3f}",
        f"palette {numbers.palette_distance:.1f}  {seconds:.1f} s",
    ]


def _face_lines(faces: Sequence[KeptFace]) -> list[str]:
    return [f"face {face.distance:.2f}{'' if face.detected else ' not seen'}" for face in faces]


def _table(titles: Sequence[Cell], rows: Sequence[Sequence[Cell]], side: int, faces: bool) -> Table:
    return Table(
        [[Cell([]), Cell([]), *titles], *rows],
        text_height=max(_LEAST_TEXT_HEIGHT, side // 32),
        gap=max(4, side // 32),
        foot=[*_LEGEND, *_FACE_LEGEND] if faces else _LEGEND,
    )
