"""Warnings about pictures that do not fit together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from impasto.cli.output import Input
    from impasto.recipe import ImageSource

TOLERANCE = 0.02
"""Share by which two proportions may differ without a warning."""


def stretched(content: ImageSource | None, masks: Iterable[Input]) -> Sequence[str]:
    """Returns a warning for each mask that has other proportions than the content.

    The server resizes a mask to the content, so the area that it selects is distorted.
    """
    whole = _size(content)
    found: list[str] = []
    if not isinstance(content, Path):
        return found
    for option, mask in masks:
        size = _size(mask)
        if whole is None or size is None:
            continue
        ratio = (whole[0] / whole[1]) / (size[0] / size[1])
        if not 1 / (1 + TOLERANCE) <= ratio <= 1 + TOLERANCE:
            found.append(
                f"{option}{mask} ({size[0]} × {size[1]}) has other proportions than {content} "
                f"({whole[0]} × {whole[1]}); it is stretched to fit"
            )
    return found


def _size(image: ImageSource | None) -> tuple[int, int] | None:
    """Returns width and height of a file as viewers show it; None if they cannot be read here."""
    if not isinstance(image, Path) or not image.is_file():
        return None
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of pictures that are large.
            opened = Image.open(image)
        with opened:
            turned = opened.getexif().get(0x0112, 1) >= 5  # EXIF orientation: turned by a quarter.
            return opened.size[::-1] if turned else opened.size
    except Exception:
        return None  # The server says what is wrong with the file.
