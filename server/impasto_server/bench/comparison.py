"""Pairs of content and style, each painted with several recipes and measured."""

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
    """A content and the style that it is painted in."""

    content: Picture
    style: Picture


@dataclasses.dataclass(frozen=True)
class Painted:
    """A pair that was painted with a recipe.

    Attributes:
        picture: the painting.
        seconds: from the decoded pictures to the painting; nothing is kept from the painting before.
        evaluations: that were made.
        numbers: that it is judged by.
        faces: the content's faces in the painting; None if they were not looked for.
    """

    picture: Image.Image
    seconds: float
    evaluations: int
    numbers: Numbers
    faces: list[KeptFace] | None


def read_pairs(path: Path) -> list[Pair]:
    """Reads pairs of pictures from a text: on each line the paths of a content and a style, relative to its
    folder.

    Names with spaces stand in quotation marks; what follows a "#" is a comment.

    Raises:
        PictureError: the text cannot be read or a line is no pair, or a picture cannot be read.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise PictureError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PictureError(f"{path} is no text; give lines of a content and a style") from error
    named: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            names = shlex.split(line, comments=True)
        except ValueError as error:
            raise PictureError(f"{path}, line {number}: {error}; close the quotation marks") from error
        if not names:
            continue
        if len(names) != 2:
            raise PictureError(
                f"{path}, line {number} names {len(names)} pictures; give a content and a style, "
                "and put names with spaces in quotation marks"
            )
        named.append((names[0], names[1]))
    if not named:
        raise PictureError(f"{path} has no pairs; give lines of a content and a style")
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
        SheetError: one cannot.
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
    """Paints and measures every pair with every recipe, one at a time; gives them by pair, then recipe.

    Args:
        pairs: what to paint.
        recipes: how.
        network: on the device to use; it measures too.
        auto_precision: what a recipe's precision "auto" means.
        faces: measures faces; None to leave them out.
        on_progress: told each evaluation: which painting, from 1, and of what. The progress is None when the
            painting is being measured.

    Raises:
        SheetError: a pair cannot be painted with a recipe. Nothing was painted yet.
    """
    check_pairs(pairs, recipes, network, auto_precision)
    rows = []
    for row, pair in enumerate(pairs):
        of_pair = []
        for column, named in enumerate(recipes):
            number = row * len(recipes) + column + 1
            begin = time.perf_counter()
            # Without a cache: the first recipe would pay for the styles of the others.
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
    """Of the numbers, and of the seconds.

    Args:
        paintings: at least one.
    """
    rows = [dataclasses.astuple(painted.numbers) for painted in paintings]
    numbers = Numbers(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
    return numbers, sum(painted.seconds for painted in paintings) / len(paintings)
