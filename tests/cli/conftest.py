from __future__ import annotations

from fake_server import fake as fake
