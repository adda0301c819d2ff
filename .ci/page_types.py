"""Checks the types of the page's JavaScript with TypeScript: `poe page-types`.

Without TypeScript it says how to get it and passes, unless IMPASTO_REQUIRE_EXAMPLES is 1, as in `.ci/run`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NPM = ROOT / "tests" / "web" / "npm"
PAGE = ROOT / "server" / "impasto_server" / "web" / "page"


def main() -> None:
    """Runs the check, and ends with its exit code."""
    compiler = NPM / "node_modules" / ".bin" / "tsc"
    if compiler.exists():
        sys.exit(subprocess.run([compiler, "--project", PAGE], cwd=ROOT).returncode)
    print("the page's types are not checked: run `npm ci --prefix tests/web/npm`", file=sys.stderr)
    sys.exit(os.environ.get("IMPASTO_REQUIRE_EXAMPLES") == "1")


if __name__ == "__main__":
    main()
