"""The command `impasto-server`, as far as it runs where the server is not installed."""

from __future__ import annotations

import importlib.metadata
import re
import sys


def main() -> None:
    """Runs the command line; where the server's packages are not installed, says so and ends with code 2."""
    missing = _missing()
    if missing:
        print(
            f"impasto-server: the server is not installed here (without {', '.join(missing)}); "
            "give: pip install 'impasto[server]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from impasto_server.commands import app

    app()


def _missing() -> list[str]:
    """The distributions of the extra "server" that are not here."""
    try:
        required = importlib.metadata.requires("impasto") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # Not installed at all, but run from its sources: whoever does that knows what it needs.
    missing = []
    for requirement in required:
        wanted, _, marker = requirement.partition(";")
        # Those with more conditions are for older versions of Python, and never all that is missing.
        if re.fullmatch(r"\s*extra\s*==\s*['\"]server['\"]\s*", marker):
            name = re.match(r"[A-Za-z0-9._-]+", wanted.strip())
            if name is not None and not _is_here(name[0]):
                missing.append(name[0])
    return missing


def _is_here(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
