"""Texts in the artist's language, by gettext.

    from impasto.hosts.translate import _
    _("Paint the picture, or its selected part")
    _("Waiting, number {place} in the queue …").format(place=place)

The text in the code is English, and the key of its translation. The host's language is that of its
environment (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`), unless it calls `use`.
"""

from __future__ import annotations

import gettext
import io
import locale
import os
import pkgutil
import re
import sys
from collections.abc import Sequence

DOMAIN = "impasto"

_now: gettext.NullTranslations | None = None


def _(text: str) -> str:
    """Return a text in the artist's language; the text itself where it has no translation."""
    global _now
    if _now is None:
        _now = _catalogue(_languages())
    # gettext returns the file's header for an empty text.
    return _now.gettext(text) if text else text


def use(languages: Sequence[str]) -> None:
    """Use the first of these languages that there is a translation for ("de_DE", "fr"); English if none."""
    global _now
    _now = _catalogue(languages)


def _catalogue(languages: Sequence[str]) -> gettext.NullTranslations:
    for language in languages:
        plain = language.partition(".")[0].partition("@")[0].replace("-", "_")
        if plain.partition("_")[0] in ("en", "C", "POSIX"):
            break
        if not re.fullmatch("[A-Za-z]+(_[A-Za-z0-9]+)*", plain):
            continue
        for name in (plain, plain.partition("_")[0]):
            # Not a file's path: the package may lie in a zip.
            try:
                data = pkgutil.get_data("impasto.hosts", f"locale/{name}.mo")
            except OSError:
                continue
            if data is not None:
                return gettext.GNUTranslations(io.BytesIO(data))
    return gettext.NullTranslations()


def _languages() -> list[str]:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.split(":")
    # Windows and macOS name the language in their settings.
    if sys.platform == "win32":
        import ctypes

        found = locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage())
    else:
        found = locale.getlocale()[0]
    return [found] if found else []
