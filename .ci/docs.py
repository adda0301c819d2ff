"""Writes the pages of the Python API to docs/."""

from __future__ import annotations

import importlib
from pathlib import Path

import pdoc
import pdoc.render

MODULES = ("impasto", "impasto.aio", "impasto.hosts", "impasto_server.engine")

for name in MODULES:
    module = importlib.import_module(name)
    # Names that are loaded when they are first used: pdoc looks only at those that a module already has.
    for public in module.__all__:
        getattr(module, public)
pdoc.render.configure(docformat="google")
pdoc.pdoc(*MODULES, output_directory=Path(__file__).parents[1] / "docs")
