"""What hatchling asks when it builds `impasto-server`: the dependencies, one of which has this version."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class DependenciesHook(MetadataHookInterface):
    """Adds the client of the same version to the dependencies that pyproject.toml lists."""

    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = [f"impasto=={metadata['version']}", *self.config["dependencies"]]
