"""A mock worker that finds no device while a file says so: `python -m support.lost_device ARGUMENTS...`

The variable LOST_DEVICE has the path of the file. The file has the name of the worker's socket.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from impasto_server.mock.__main__ import main

if __name__ == "__main__":
    file = Path(os.environ["LOST_DEVICE"])
    if file.exists() and any(argument.endswith(file.read_text()) for argument in sys.argv):
        print("there is no device 'cuda:1' here")
        sys.exit(os.EX_CONFIG)
    main()
