"""Paints pairs of content and style with several recipes and measures the paintings."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from impasto_server.bench.compared_recipes import NamedRecipe
from impasto_server.bench.contact_sheet import Precision, open_session
from impasto_server.bench.faces import Faces, KeptFace
from impasto_server.bench.judging import Numbers, judge
from impasto_server.bench.pictures import Picture, PictureError, read_picture
from impasto_server.engine import Network, Progress
from impasto_server.given_files import read_text


@dataclasses.dataclass(frozen=True)
class Pair:
    """A content and the style in which it is painted."""

    content: Picture
    style: Picture


@dataclasses.dataclass(frozen=True)
class Painted:
    """A painting of a pair with a recipe.

    Attributes:
        picture: the painting.
        seconds: time from the decoded pictures to the painting, without caches of earlier paintings.
        evaluations: number of evaluations made.
        numbers: the numbers by which it is judged.
        faces: the content's faces in the painting; None if faces are not measured.
    """

    picture: Image.Image
    seconds: float
    evaluations: int
    numbers: Numbers
    faces: list[KeptFace] | None


def read_pairs(path: Path) -> list[Pair]:
    """Reads pairs of pictures from a text file.

    Each line has the paths of a content and a style, relative to the file's folder. Paths with spaces are in
    quotation marks. A "#" begins a comment.

    Raises:
        PictureError: the text or a picture cannot be read, or a line is not a pair.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise PictureError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PictureError(f"{path} is not a text file; give a text with a pair on each line") from error
    named: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            names = shlex.split(line, comments=True)
        except ValueError as error:
            raise PictureError(
                f"{path}, line {number} has a quotation mark that is not closed; close it"
            ) from error
        if not names:
            continue
        if len(names) != 2:
            raise PictureError(
                f"{path}, line {number} is not a pair; give the paths of a content and a style, and put "
                "paths with spaces in quotation marks"
            )
        named.append((names[0], names[1]))
    if not named:
        raise PictureError(f"{path} has no pairs; give the paths of a content and a style on each line")
    pictures: dict[str, Picture] = {}
    for name in (name for pair in named for name in pair):
        if name not in pictures:
            pictures[name] = read_picture(path.parent / name)
    return [Pair(pictures[content], pictures[style]) for content, style in named]


def check_pairs(
    pairs: Sequence[Pair], recipes: Sequence[NamedRecipe], network: Network, auto_precision: Precision
) -> None:
    """Makes sure that every pair can be painted with every recipe.

    Raises:
        SheetError: a pair cannot be painted with a recipe.
    """
    for pair in pairs:
        for named in recipes:
            open_session(named.recipe, pair.content, pair.style, network, auto_precision)


def paint_pairs(
    pairs: Sequence[Pair],
    recipes: Sequence[NamedRecipe],
    network: Network,
    *,
    auto_precision: Precision,
    faces: Faces | None = None,
    on_progress: Callable[[int, Pair, NamedRecipe, Progress | None], None] = lambda *_: None,
) -> list[list[Painted]]:
    """Paints and measures every pair with every recipe, one at a time; returns them by pair, then recipe.

    Args:
        pairs: the pairs to paint.
        recipes: the recipes.
        network: the feature network on the device to use, for painting and for measuring.
        auto_precision: the meaning of a recipe's precision "auto".
        faces: measures faces; None to leave them out.
        on_progress: called for each evaluation with the painting's number, from 1, its pair and recipe, and
            the progress, which is None while the painting is measured.

    Raises:
        SheetError: a pair cannot be painted with a recipe. It is raised before the first painting.
    """
    check_pairs(pairs, recipes, network, auto_precision)
    rows = []
    for row, pair in enumerate(pairs):
        of_pair = []
        for column, named in enumerate(recipes):
            number = row * len(recipes) + column + 1
            begin = time.perf_counter()
            # Without a cache, because the first recipe would compute the style for the others.
            session = open_session(named.recipe, pair.content, pair.style, network, auto_precision)
            for progress in session:
                on_progress(number, pair, named, progress)
            picture = session.picture()
            seconds = time.perf_counter() - begin
            on_progress(number, pair, named, None)
            of_pair.append(
                Painted(
                    picture,
                    seconds,
                    session.evaluation,
                    judge(picture, pair.content.image, pair.style.image, network),
                    None if faces is None else faces.kept(pair.content.image, picture),
                )
            )
        rows.append(of_pair)
    return rows


def means(paintings: Sequence[Painted]) -> tuple[Numbers, float]:
    """Returns the means of the numbers and of the seconds.

    Args:
        paintings: at least one.
    """
    rows = [dataclasses.astuple(painted.numbers) for painted in paintings]
    numbers = Numbers(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
    return numbers, sum(painted.seconds for painted in paintings) / len(paintings)
