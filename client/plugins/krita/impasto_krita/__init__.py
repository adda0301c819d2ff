"""Impasto's docker for Krita 5.1 to 6: paints on an Impasto server what is seen or selected.

What it needs besides Krita lies in `_vendor`, pure Python.
"""

import os
import sys

_VENDOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_vendor")
if os.path.isdir(_VENDOR) and _VENDOR not in sys.path:
    sys.path.insert(0, _VENDOR)

# Below 3.10 nothing but this file and the one imported here can be read.
if sys.version_info >= (3, 10):  # noqa: UP036
    from impasto_krita.plugin import register
else:
    from impasto_krita.too_old import register

register()
