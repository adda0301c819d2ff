"""Commands that start Python programs."""

from __future__ import annotations

import sys

_RUN = (
    "import sys; sys.path.pop(0); sys.argv.pop(0); import runpy; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def module_command(module: str) -> list[str]:
    """Return a command that runs a module, as `python -m MODULE` does; arguments may be appended.

    Unlike that command, it never imports from the current folder: a `grpc.py` there would replace the
    library.
    """
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    return [sys.executable, "-c", _RUN, module]
