"""Impasto's docker for Krita 5.1 to 6: paints a picture or a selection on an Impasto server.

`_vendor` has its dependencies, which are pure Python.
"""

import os
import sys

_VENDOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_vendor")
if os.path.isdir(_VENDOR) and _VENDOR not in sys.path:
    sys.path.insert(0, _VENDOR)

# A Python before 3.10 can import only this file and `cannot_run`.
if sys.version_info < (3, 10):  # noqa: UP036
    from impasto_krita import cannot_run

    cannot_run.register(cannot_run.too_old())
else:
    try:
        from impasto_krita.plugin import register
    except ImportError as error:
        from impasto_krita import cannot_run

        cannot_run.register(cannot_run.incomplete(error))
    else:
        register()
