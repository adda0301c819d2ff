"""Words for the enums of the contract: JOB_STATE_RUNNING is "running", OBJECTIVE_REPORT is "report"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from impasto.errors import invalid_field
from impasto.v1 import style_transfer_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

RECIPE_ENUMS: dict[str, EnumTypeWrapper] = {
    field.name: getattr(pb, field.enum_type.name)
    for field in pb.Recipe.DESCRIPTOR.fields
    if field.enum_type is not None
}
"""The enums of a recipe's fields, by the fields' names in the contract."""


def words_of(enum: EnumTypeWrapper) -> list[str]:
    """Return the words of an enum, without the unspecified value."""
    prefix = enum.Name(0)[: -len("UNSPECIFIED")]
    return [name[len(prefix) :].lower() for name, number in enum.items() if number]


def number_of(enum: EnumTypeWrapper, word: str) -> int:
    """Return the number of a word.

    Raises:
        ValueError: the enum has no such word.
    """
    if word not in words_of(enum):
        raise ValueError(word)
    prefix = enum.Name(0)[: -len("UNSPECIFIED")]
    return int(enum.Value(prefix + word.upper()))


def word_of(enum: EnumTypeWrapper, number: int) -> str:
    """Return the word of a number."""
    prefix = enum.Name(0)[: -len("UNSPECIFIED")]
    # A newer server may send numbers that are unknown here.
    return enum.Name(number)[len(prefix) :].lower() if number in enum.values() else f"unknown ({number})"


def image_format(number: int) -> str:
    """Return a format's word: "png", "png16", "jpeg", "webp", "tiff", "rgba8" or "rgba16"."""
    return word_of(pb.ImageFormat, number).replace("png_16", "png16")


def format_number(word: str, field: str, words: Sequence[str] = ()) -> pb.ImageFormat:
    """Return a format's number.

    Args:
        word: the format.
        field: the path of the field that has it, for errors.
        words: the formats that the field accepts; empty for all.

    Raises:
        InvalidRequest: it is not one of them.
    """
    known = {image_format(number): number for number in pb.ImageFormat.values() if number}
    if word not in (words or known):
        raise invalid_field(field, f"cannot be {word!r}; give one of {', '.join(words or known)}")
    return cast("pb.ImageFormat", known[word])
