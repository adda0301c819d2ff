from __future__ import annotations

from support.command_line import at_fake as at_fake
from support.command_line import impasto as impasto
from support.command_line import stylize as stylize
from support.fake_server import fake as fake
from support.fake_server import line as line
