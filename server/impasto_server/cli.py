"""The command `impasto-server`, also where PyTorch or another library is not installed."""

from __future__ import annotations

import importlib.util
import sys

INSTALL_PYTORCH = "PyTorch is not installed ({}). Run: pip install 'impasto-server[torch]'"
"""What to tell where some of `PYTORCH` are missing."""
PYTORCH = ("torch", "torchvision", "safetensors")
"""What painting needs, and a mock server does not."""


def main() -> None:
    """Run the command line; where a library is not installed, say how to install it and end with code 2."""
    try:
        from impasto_server.commands import app

        app(prog_name="impasto-server")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "impasto_server"):
            raise
        if missing in PYTORCH:
            message = INSTALL_PYTORCH.format(missing)
        else:
            message = f"{missing} is not installed. Run: pip install impasto-server"
        print(f"impasto-server: {message}", file=sys.stderr)
        sys.exit(2)


def missing_pytorch() -> list[str]:
    """Those of `PYTORCH` that are not installed."""
    return [name for name in PYTORCH if importlib.util.find_spec(name) is None]
