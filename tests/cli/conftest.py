from __future__ import annotations

from command_line import at_fake as at_fake
from command_line import impasto as impasto
from command_line import stylize as stylize
from fake_server import fake as fake
from fake_server import line as line
