"""What an artist is told about an error: a short sentence, details, and the remedy that a button offers."""

from __future__ import annotations

import dataclasses

from impasto.hosts.translate import _

SERVER_SETTINGS = "server settings"
"""The remedy of what the server's settings can put right."""
TRY_AGAIN = "try again"
"""The remedy of what may succeed at the next try."""
MOST_SHORT = 60
"""Most characters of a short sentence, with names that are not longer than `cut` makes them."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What an artist is told about an error.

    Attributes:
        short: what is wrong, as one sentence for a narrow docker.
        details: why, and what to do, as further sentences; empty if there is no more to say.
        remedy: what a button beside it should do: `SERVER_SETTINGS` or `TRY_AGAIN`; empty for none.
    """

    short: str
    details: str = ""
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """All of it: the short sentence and the details."""
        return joined(self.short, self.details)


class ToldError(ValueError):
    """An error that is in an artist's words already.

    Attributes:
        told: what the artist is told. The error's text is its `sentence`.
    """

    def __init__(self, short: str, details: str = "", remedy: str = "") -> None:
        self.told = Told(short, details, remedy)
        super().__init__(self.told.sentence)


def joined(*sentences: str) -> str:
    """Return whole sentences as one text, as the artist's language joins them. Leaves out empty ones."""
    text = ""
    for sentence in filter(None, sentences):
        # Translators: Two whole sentences, one after the other.
        text = _("{first} {second}").format(first=text, second=sentence) if text else sentence
    return text


def ended(text: str) -> str:
    """Return a sentence of somebody else's with a capital at its start and a full stop at its end."""
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "。", "…")) else f"{text}."


def plain(text: str) -> str:
    """Return a text in one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cut(name: str, most: int = 24) -> str:
    """Return a name in one line, shortened in its middle if it is too long for a short sentence."""
    name = plain(name)
    if len(name) <= most:
        return name
    begin = (most - 1) // 2
    return f"{name[:begin]}…{name[begin + 1 - most :]}"
