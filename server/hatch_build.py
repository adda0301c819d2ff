"""What hatchling asks when it builds `impasto-server`: the dependencies, one of which has this version, and
the compiled kernels of a wheel."""

from __future__ import annotations

import os
import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_KERNELS = "impasto_server/engine/kernels"


class DependenciesHook(MetadataHookInterface):
    """Adds the client of the same version to the dependencies that pyproject.toml lists."""

    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = [f"impasto=={metadata['version']}", *self.config["dependencies"]]


class KernelsHook(BuildHookInterface[Any]):
    """Compiles the kernels where that is possible. Without them, the server paints as well, but slower.

    With IMPASTO_NO_KERNELS=1 in the environment, the wheel has none and suits every machine.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        building = runpy.run_path(str(Path(self.root, _KERNELS, "building.py")))
        library: Path = building["LIBRARY"]
        # Why there are none, for the administrator: pip does not show what is said here.
        build_data["artifacts"].append(f"/{_KERNELS}/{library.with_suffix('.txt').name}")
        if os.environ.get("IMPASTO_NO_KERNELS") == "1":
            building["remember"]("the package was built with IMPASTO_NO_KERNELS=1")
            self.app.display_info("The kernels are left out: IMPASTO_NO_KERNELS is 1.")
            return
        try:
            building["build"]()
        except building["BuildError"] as error:
            self.app.display_warning(f"The kernels are not compiled, PyTorch's operators are used: {error}")
            return
        build_data["artifacts"].append(f"/{_KERNELS}/{library.name}")
        # The library has no Python in it.
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
