"""What the values of options and arguments mean.

The functions that Typer calls raise `typer.BadParameter` with a clause that continues the option's name:
"--seed" and "is 'x'; give a whole number".
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from impasto.cli.words import counted
from impasto.errors import InvalidRequest
from impasto.recipe import StyleName, UploadedImage

_MAX_QUOTED = 60
"""Number of characters of a wrong value that an error repeats."""
_WEB_ADDRESS = re.compile(r"(https?|ftp):/+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_URL_OF_A_FILE = re.compile(r"file:/+", re.IGNORECASE)


class RegionOption(NamedTuple):
    """The parts of a `--region`.

    Attributes:
        mask: mask of the region in the content.
        style: number of the style, from 1; None if it is not given.
        style_mask: mask of a part of the style; None for all of it.
    """

    mask: Path
    style: int | None
    style_mask: Path | None


# Values of one option.


def number(values: str = "a number") -> Callable[[str], float]:
    """Returns a parser of numbers; `values` says in an error which ones are allowed."""

    def parse_number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise _wrong(text, values) from None

    return parse_number


def whole_number(
    values: str = "a whole number", least: float = -math.inf, most: float = math.inf
) -> Callable[[str], int]:
    """Returns a parser of whole numbers from `least` to `most`; `values` says in an error what they are."""

    def parse_whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _wrong(text, values) from None
        if not least <= value <= most:
            raise _wrong(text, values)
        return value

    return parse_whole_number


def seconds(text: str) -> float:
    """Parses a duration above 0; infinity is allowed."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise _wrong(text, "seconds above 0, or inf for no limit")
    return value


def interval(text: str) -> float:
    """Parses the time between two previews, 0.1 to 60 seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 60:
        raise _wrong(text, "0.1 to 60 seconds")
    return value


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Returns a parser that accepts these words only."""

    def parse_choice(text: str) -> str:
        if text not in words:
            raise _wrong(text, f"one of {', '.join(words)}")
        return text

    return parse_choice


def some_text(values: str) -> Callable[[str], str]:
    """Returns a parser that refuses an empty text; `values` says in the error what to give."""

    def parse_text(text: str) -> str:
        if not text.strip():
            raise typer.BadParameter(f"is empty; give {values}")
        return text

    return parse_text


def word_or_file(words: Sequence[str]) -> Callable[[str], str]:
    """Returns a parser that accepts a word or the name of a file."""

    return some_text(f"{', '.join(words)} or a file's name")


def file_name(text: str) -> Path:
    """Parses the name of a file, which need not exist."""
    if not str(text):
        raise typer.BadParameter("is empty; give the name of a file")
    return Path(text)


def folder_name(text: str) -> Path:
    """Parses the name of a folder, which need not exist."""
    if not str(text):
        raise typer.BadParameter("is empty; give the name of a folder")
    return Path(text)


def _wrong(text: str, values: str) -> typer.BadParameter:
    if not text:
        return typer.BadParameter(f"is empty; give {values}")
    return typer.BadParameter(f"is {quoted(text)}; give {values}")


def quoted(text: str) -> str:
    """Returns a text in quotes, shortened if it is long."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…")


# Images, regions, shares and sizes.


def parse_image(text: str, argument: str) -> Path | StyleName | UploadedImage:
    """Parses CONTENT or STYLE: a file if it exists, else a style's name or the digest of an uploaded image.

    Raises:
        InvalidRequest: the text is empty or a web address. The error names the `argument`.
    """
    if not text:
        raise InvalidRequest(f"{argument} is empty; give the name of a file")
    path = Path(text)
    # `Path.exists` raises an error for a name that is too long.
    if not os.path.exists(path):
        if re.fullmatch("styles/[a-z0-9-]+", text):
            return StyleName(text)
        if text.startswith("sha256:"):
            return UploadedImage(text.removeprefix("sha256:"))
        if fault := web_fault(text):
            raise InvalidRequest(fault)
    return path


def web_fault(name: str) -> str | None:
    """Returns what to tell a user who gave a URL instead of a file; None if the name is no URL."""
    if found := _WEB_ADDRESS.fullmatch(name):
        # A `Path` has lost one of the slashes.
        return f"{found[1]}://{found['rest']} is a web address; download it first, and give the file"
    if _URL_OF_A_FILE.match(name):
        return f"{name} is a URL; give the file's name without file://"
    return None


# The pattern is matched from its end: a comma, a colon or "=" may be part of a file's name.
_REGION = re.compile(
    r"(?P<mask>.+?)(,style=(?P<style>[0-9]{1,9}))?(,style-mask=(?P<style_mask>.+))?", re.DOTALL
)


def parse_region(text: str) -> RegionOption:
    """Parses a `--region`.

    Raises:
        InvalidRequest: the text is empty or contains an unknown key.
    """
    found = _REGION.fullmatch(text)
    if found is None:
        raise InvalidRequest("--region is empty; give MASK[,style=N][,style-mask=FILE]")
    for file in (found["mask"], found["style_mask"] or ""):
        unknown = re.search(r",([\w-]+)=", file)
        if unknown and not os.path.exists(file):
            raise InvalidRequest(
                f"--region {text}: {unknown[1]}= has no meaning here, and there is no file {file}; give "
                "MASK[,style=N][,style-mask=FILE]"
            )
    return RegionOption(
        Path(found["mask"]),
        int(found["style"]) if found["style"] else None,
        Path(found["style_mask"]) if found["style_mask"] else None,
    )


def parse_shares(text: str | None, count: int) -> list[float | None]:
    """Parses `--shares` for a number of styles; without it every share is None.

    Raises:
        InvalidRequest: the text is no list of numbers above 0, or not of one for each style.
    """
    if text is None:
        return [None] * count
    example = ",".join(["2", *["1"] * (count - 1)])
    try:
        shares = [float(share) for share in text.split(",")]
    except ValueError:
        raise InvalidRequest(
            f"--shares is {quoted(text) if text else 'empty'}; give a number for each style, with commas "
            f"between: {example}"
        ) from None
    if len(shares) != count:
        raise InvalidRequest(
            f"--shares {text} has {counted(len(shares), 'share')} for {counted(count, 'style')}; give one "
            f"for each style: {example}"
        )
    for share in shares:
        if not 0 < share < math.inf:
            raise InvalidRequest(f"--shares {text} has the share {share:g}; give shares above 0")
    return list(shares)


def parse_size(text: str) -> tuple[int, int]:
    """Parses the `--size` of a texture: width and height in pixels.

    Raises:
        InvalidRequest: the text is no size.
    """
    found = re.fullmatch(r"([0-9]{1,20})(?:[x×X]([0-9]{1,20}))?", text)
    if found is None:
        raise InvalidRequest(f"--size is {quoted(text)}; give WIDTHxHEIGHT in pixels: 640x480")
    return int(found[1]), int(found[2] or found[1])
