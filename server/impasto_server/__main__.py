"""`python -m impasto_server` is `impasto-server`."""

from __future__ import annotations

from impasto_server.cli import main

if __name__ == "__main__":
    main()
