"""Writes what the page and callers over HTTP have of the contract: `poe page-contract`.

    python .ci/page_contract           writes the files
    python .ci/page_contract --check   fails if a file is not up to date

They are `types.d.ts` (the messages as types of TypeScript), `recipe_table.js` (the fields of a recipe) and
`openapi.json` (the calls as an OpenAPI description). They come from one reading of the protos. Generators of
OpenAPI for Connect are programs in Go, and describe neither the page's own addresses nor the form of streams.
"""

from __future__ import annotations

import sys

import openapi
import recipe_module
import typescript
from reading import ROOT, contract

WEB = ROOT / "server" / "impasto_server" / "web"


def main() -> None:
    """Writes the files, or checks that they are up to date."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("unknown arguments; give --check or none")
    read = contract()
    files = {
        WEB / "page" / "js" / "types.d.ts": typescript.text(read),
        WEB / "page" / "js" / "recipe_table.js": recipe_module.text(),
        WEB / "openapi.json": openapi.text(read),
    }
    old = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if sys.argv[1:]:
        if old:
            names = "\n".join(f"{path.relative_to(ROOT)} is not up to date" for path in old)
            sys.exit(f"{names}\nrun `poe page-contract`")
        return
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")


if __name__ == "__main__":
    main()
