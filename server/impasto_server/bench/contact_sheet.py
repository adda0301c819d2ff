"""Paints every content in every style, and puts the paintings on one sheet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from impasto_server.bench.pictures import Picture
from impasto_server.bench.sheet_table import INK, PAPER, SheetError
from impasto_server.engine import Network, Progress, Recipe, RecipeError, Scene, Session, Style
from impasto_server.engine.recipe import result_size
from impasto_server.engine.targets import TargetCache

Precision = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a sheet, in pixels. Boxes are (left, top, right, bottom).

    Attributes:
        side: maximum longer side of a painting.
        widths: widths of the columns, each that of its widest painting.
        heights: heights of the rows, each that of its highest painting.
    """

    side: int
    widths: tuple[int, ...]
    heights: tuple[int, ...]

    @property
    def gap(self) -> int:
        """Distance between the paintings, and from the edge of the sheet."""
        return max(2, self.side // 32)

    @property
    def header(self) -> int:
        """Side of the squares for contents and styles."""
        return max(8, self.side // 2)

    @property
    def caption(self) -> int:
        """Height of a line of text."""
        return max(8, self.side // 24)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the sheet."""
        right, bottom = self.painting(len(self.heights) - 1, len(self.widths) - 1)[2:]
        return right + self.gap, bottom + self.gap

    def painting(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Returns the box in which a painting is centred."""
        left = self.header + sum(self.widths[:column]) + self.gap * (column + 2)
        top = self.header + self.caption + sum(self._row_heights[:row]) + self.gap * (row + 2)
        return left, top, left + self.widths[column], top + self._row_heights[row]

    def content(self, row: int) -> tuple[int, int, int, int]:
        """Returns the box of a content, left of its row."""
        top = self.painting(row, 0)[1]
        return self.gap, top, self.gap + self.header, top + self._row_heights[row] - self.caption

    def style(self, column: int) -> tuple[int, int, int, int]:
        """Returns the box of a style, above its column."""
        left, _, right, _ = self.painting(0, column)
        return left, self.gap, right, self.gap + self.header

    @property
    def _row_heights(self) -> list[int]:
        return [max(height, self.header // 2 + self.caption) for height in self.heights]


def lay_out(
    contents: Sequence[Picture],
    styles: Sequence[Picture],
    paintings: Sequence[Sequence[Image.Image]],
    side: int,
) -> Image.Image:
    """Draws a sheet.

    Args:
        contents, styles: one content for each row, and one style for each column.
        paintings: by row, then column, mode RGB, each at most `side` × `side` pixels.
        side: maximum longer side of a painting, in pixels.
    """
    layout = Layout(
        side,
        tuple(max(row[column].width for row in paintings) for column in range(len(styles))),
        tuple(max(painting.height for painting in row) for row in paintings),
    )
    sheet = Image.new("RGB", layout.size, PAPER)
    font = ImageFont.load_default(layout.caption * 3 / 4)
    draw = ImageDraw.Draw(sheet)
    headers = [(picture, layout.content(row)) for row, picture in enumerate(contents)]
    headers += [(picture, layout.style(column)) for column, picture in enumerate(styles)]
    for picture, box in headers:
        thumbnail = picture.image.copy()
        room = min(layout.header, box[2] - box[0]), min(layout.header, box[3] - box[1])
        thumbnail.thumbnail(room, Image.Resampling.LANCZOS)
        left, top = _centred(thumbnail, box)
        sheet.paste(thumbnail, (left, top))
        draw.text((left, top + thumbnail.height + 1), Path(picture.name).stem, fill=INK, font=font)
    for row, of_content in enumerate(paintings):
        for column, painting in enumerate(of_content):
            sheet.paste(painting, _centred(painting, layout.painting(row, column)))
    return sheet


def _centred(picture: Image.Image, box: tuple[int, int, int, int]) -> tuple[int, int]:
    left, top, right, bottom = box
    return (left + right - picture.width) // 2, (top + bottom - picture.height) // 2


def planned_layout(contents: Sequence[Picture], styles: Sequence[Picture], side: int) -> Layout:
    """Returns the layout of a sheet before its pictures are painted."""
    sizes = [result_size(*content.image.size, side) for content in contents]
    return Layout(
        side, (max(width for width, _ in sizes),) * len(styles), tuple(height for _, height in sizes)
    )


def open_session(
    recipe: Recipe,
    content: Picture,
    style: Picture,
    network: Network,
    auto_precision: Precision,
    cache: TargetCache | None = None,
) -> Session:
    """Returns a session that paints a content in a style.

    Args:
        recipe: how to paint.
        content, style: the pictures.
        network: the feature network on the device to use.
        auto_precision: the meaning of the recipe's precision "auto".
        cache: cache of style targets, shared with other sessions; None for no cache.

    Raises:
        SheetError: the pair cannot be painted with the recipe.
    """
    try:
        return Session(
            recipe,
            Scene(content=content.image, styles=[Style(style.image)]),
            network,
            auto_precision=auto_precision,
            cache=cache,
        )
    except RecipeError as error:
        raise SheetError(
            f"{content.name} in the style of {style.name} with {recipe.objective}: {error}"
        ) from error


def paint_all(
    contents: Sequence[Picture],
    styles: Sequence[Picture],
    recipe: Recipe,
    network: Network,
    *,
    auto_precision: Precision,
    on_progress: Callable[[int, Picture, Picture, Progress], None] = lambda *_: None,
) -> list[list[Image.Image]]:
    """Paints every content in every style; returns the paintings by content, then style.

    Args:
        contents, styles: the pictures.
        recipe: the recipe of all paintings.
        network: the feature network on the device to use.
        auto_precision: the meaning of the recipe's precision "auto".
        on_progress: called for each evaluation with the painting's number, from 1, its content and style, and
            the progress.

    Raises:
        SheetError: a pair cannot be painted. It is raised before the first painting.
    """
    for content in contents:
        for style in styles:
            open_session(recipe, content, style, network, auto_precision)
    # One session at a time, because each keeps images in memory.
    cache = TargetCache()
    paintings = []
    for row, content in enumerate(contents):
        of_content = []
        for column, style in enumerate(styles):
            session = open_session(recipe, content, style, network, auto_precision, cache)
            for progress in session:
                on_progress(row * len(styles) + column + 1, content, style, progress)
            of_content.append(session.picture())
        paintings.append(of_content)
    return paintings
