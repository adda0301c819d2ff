"""Texts that one caller writes and others see."""

from __future__ import annotations

import unicodedata

# Controls; and what stands for the bytes of a file's name that is no UTF-8.
_CATEGORIES = ("Cc", "Cs")
_LINE_BREAKS = "\u2028\u2029"
# What turns the direction of a text around, so that it reads as another one than it is. Marks of direction
# (U+200E, U+200F) and joiners do nothing of the kind, and Arabic, Persian and emoji need them.
_OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def controls(text: str) -> list[str]:
    """The control characters in a text, each once and as in "U+001B": what moves a terminal's cursor, breaks
    lines or turns the direction of writing around."""
    return [f"U+{ord(character):04X}" for character in dict.fromkeys(text) if _is_control(character)]


def shown(text: str) -> str:
    """A text with a replacement character for each control character."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    if unicodedata.category(character) in _CATEGORIES:
        return True
    return character in _LINE_BREAKS or character in _OVERRIDES
