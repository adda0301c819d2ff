"""Every content painted in every style, on one sheet: contents down the side, styles along the top."""

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
    """Where things stand on a sheet, in pixels; boxes are left, top, right and bottom.

    Attributes:
        side: longest of a painting's sides.
        widths: of the columns, as wide as their widest painting.
        heights: of the rows, as high as their highest painting.
    """

    side: int
    widths: tuple[int, ...]
    heights: tuple[int, ...]

    @property
    def gap(self) -> int:
        """Between the paintings, and around the sheet."""
        return max(2, self.side // 32)

    @property
    def header(self) -> int:
        """Side of the squares that contents and styles are shown in."""
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
        """The box that a painting is centred in."""
        left = self.header + sum(self.widths[:column]) + self.gap * (column + 2)
        top = self.header + self.caption + sum(self._row_heights[:row]) + self.gap * (row + 2)
        return left, top, left + self.widths[column], top + self._row_heights[row]

    def content(self, row: int) -> tuple[int, int, int, int]:
        """The box of a content, left of its row."""
        top = self.painting(row, 0)[1]
        return self.gap, top, self.gap + self.header, top + self._row_heights[row] - self.caption

    def style(self, column: int) -> tuple[int, int, int, int]:
        """The box of a style, above its column."""
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
    """Puts a sheet together.

    Args:
        contents, styles: one for each row and column.
        paintings: by row, then column, mode RGB, each at most `side` × `side` pixels.
        side: of a painting's square, in pixels.
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
    """Where things will stand on the sheet of pictures that are not painted yet."""
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
    """A session that paints a content in a style.

    Args:
        recipe: what to do.
        content, style: the pictures.
        network: on the device to use.
        auto_precision: what the recipe's precision "auto" means.
        cache: of style targets, shared with other sessions; None for none.

    Raises:
        SheetError: it cannot be painted.
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
    """Paints every content in every style; gives the paintings by content, then style.

    Args:
        contents, styles: the pictures.
        recipe: the same for all.
        network: on the device to use.
        auto_precision: what the recipe's precision "auto" means.
        on_progress: told each evaluation: which painting, from 1, and of what.

    Raises:
        SheetError: one of them cannot be painted. Nothing was painted yet.
    """
    for content in contents:
        for style in styles:
            open_session(recipe, content, style, network, auto_precision)
    # Sessions hold images of every scale: one at a time.
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
