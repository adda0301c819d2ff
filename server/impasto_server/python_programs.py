"""How this program starts Python programs of its own."""

from __future__ import annotations

import sys

_RUN = (
    "import sys; sys.path.pop(0); sys.argv.pop(0); import runpy; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def module_command(module: str) -> list[str]:
    """The beginning of a command that runs a module, as `python -m MODULE` does; its arguments may follow.

    Unlike that, it imports nothing from the folder that the caller happens to be in: a `grpc.py` there would
    be run in place of the library.
    """
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    return [sys.executable, "-c", _RUN, module]
