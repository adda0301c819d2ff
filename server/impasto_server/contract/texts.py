"""Text in messages: counts, and text that one caller writes and others see."""

from __future__ import annotations

import unicodedata

# Control characters, and surrogates, which stand for bytes in a file's name that are not UTF-8.
_CATEGORIES = ("Cc", "Cs")
_LINE_BREAKS = "\u2028\u2029"
# Characters that change the direction of writing, so that text looks like other text. Direction marks
# (U+200E, U+200F) and joiners are allowed: they cannot do that, and Arabic, Persian and emoji need them.
_OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def controls(text: str) -> list[str]:
    """Returns the control characters in a text, each once and written as "U+001B".

    These are the characters that move a terminal's cursor, break lines or change the direction of writing.
    """
    return [f"U+{ord(character):04X}" for character in dict.fromkeys(text) if _is_control(character)]


def shown(text: str) -> str:
    """Replaces each control character by a replacement character."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(character) else character for character in text)


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 job" or "2 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _is_control(character: str) -> bool:
    if unicodedata.category(character) in _CATEGORIES:
        return True
    return character in _LINE_BREAKS or character in _OVERRIDES
