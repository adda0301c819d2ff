"""A sheet with a table of pictures, each with lines of text below it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER = "white"
INK = "black"

MAX_SIDES = {".jpg": 65_500, ".jpeg": 65_500, ".png": 2**31 - 1, ".webp": 16_383}
"""Maximum width and height in pixels of a picture file, by the ending of its name."""

_LINE_SPACING = 1.3
_TEXT_TOP = 3
"""Pixels between a picture and its text."""


class SheetError(Exception):
    """A sheet, or a picture on it, that cannot be made. The message names it."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        lines: lines of text below the picture.
        size: (width, height) of the picture in pixels; (0, 0) for text alone.
        picture: the picture, of that size; None if it is not painted yet.
    """

    lines: Sequence[str]
    size: tuple[int, int] = (0, 0)
    picture: Image.Image | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells in rows, all rows of the same length.

    Attributes:
        rows: rows of cells.
        text_height: height of the letters in pixels.
        gap: distance between cells in pixels.
        foot: lines of text below the last row.
    """

    rows: Sequence[Sequence[Cell]]
    text_height: int
    gap: int
    foot: Sequence[str] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the sheet in pixels."""
        widths, heights = self._widths, self._heights
        of_foot = max((_width(line, self._font) for line in self.foot), default=0) + 2 * self.gap
        width = sum(widths) + self.gap * (len(widths) + 1)
        height = sum(heights) + self.gap * (len(heights) + 1)
        return max(width, of_foot), height + len(self.foot) * self._line + (self.gap if self.foot else 0)

    def drawn(self) -> Image.Image:
        """Returns the sheet, mode RGB."""
        sheet = Image.new("RGB", self.size, PAPER)
        draw = ImageDraw.Draw(sheet)
        top = self.gap
        for row, height in zip(self.rows, self._heights, strict=True):
            left = self.gap
            for cell, width in zip(row, self._widths, strict=True):
                if cell.picture is not None:
                    sheet.paste(cell.picture, (left, top))
                text_top = top + (cell.size[1] + _TEXT_TOP if cell.size[1] else 0)
                for number, line in enumerate(cell.lines):
                    draw.text((left, text_top + number * self._line), line, fill=INK, font=self._font)
                left += width + self.gap
            top += height + self.gap
        for number, line in enumerate(self.foot):
            draw.text((self.gap, top + number * self._line), line, fill=INK, font=self._font)
        return sheet

    @property
    def _font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(self.text_height)

    @property
    def _line(self) -> int:
        return round(self.text_height * _LINE_SPACING)

    @property
    def _widths(self) -> list[int]:
        font = self._font
        return [
            max(max(cell.size[0], *(_width(line, font) for line in cell.lines), 1) for cell in column)
            for column in zip(*self.rows, strict=True)
        ]

    @property
    def _heights(self) -> list[int]:
        return [
            max(cell.size[1] + _TEXT_TOP + len(cell.lines) * self._line for cell in row) for row in self.rows
        ]


def _width(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(font.getbbox(line)[2]) + 1


def check_sheet_size(size: tuple[int, int], out: Path) -> None:
    """Makes sure that a sheet fits into its file.

    Args:
        size: (width, height) of the sheet in pixels.
        out: path of the file, with an ending of `MAX_SIDES`.

    Raises:
        SheetError: it does not fit.
    """
    most = MAX_SIDES[out.suffix.lower()]
    if max(size) > most:
        raise SheetError(
            f"the sheet would have {size[0]} × {size[1]} pixels, but {out.suffix} files have at most {most} "
            "in each direction; write a .png, or give fewer pictures or a smaller --size"
        )


def encoded_sheet(sheet: Image.Image, out: Path) -> bytes:
    """Returns the bytes of a sheet's file, in the format of its ending."""
    stream = io.BytesIO()
    sheet.save(stream, Image.registered_extensions()[out.suffix.lower()], quality=92)
    return stream.getvalue()
