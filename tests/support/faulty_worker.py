"""A worker whose device fails: `python faulty_worker.py EVALUATION MESSAGE ARGUMENTS...`

At the given evaluation, from 1, it raises a RuntimeError with the message; the rest is the real worker.
"""

from __future__ import annotations

import sys
from typing import Any

from impasto_server.engine import graphs
from impasto_server.worker.__main__ import main

if __name__ == "__main__":
    fails_at, message = int(sys.argv.pop(1)), sys.argv.pop(1)
    evaluate, made = graphs.evaluate, 0

    def failing(*arguments: Any) -> Any:
        global made
        made += 1
        if made == fails_at:
            raise RuntimeError(message)
        return evaluate(*arguments)

    graphs.evaluate = failing  # type: ignore[attr-defined]
    main()
