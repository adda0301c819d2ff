from __future__ import annotations

import os

from command_line import impasto as impasto
from command_line import stylize as stylize
from fake_server import fake as fake

# As the command does; it is read at the first connection.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
