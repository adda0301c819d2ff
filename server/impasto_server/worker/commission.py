"""A job's work order for the device: what to paint, and from where to go on."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Literal

from impasto_server.engine.checkpoint import CheckpointError
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, updated
from impasto_server.engine.session import Session
from impasto_server.engine.targets import TargetCache
from impasto_server.worker.material import Material

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Equipment:
    """What every session of a worker is painted with.

    Attributes:
        network: on the device.
        auto_precision: what precision "auto" means there.
        style_targets: shared by the sessions.
    """

    network: Network
    auto_precision: Literal["float32", "bfloat16"]
    style_targets: TargetCache


class Commission:
    """What is to be painted.

    Attributes:
        recipe: how, every field set.
        result_bits: per channel of the result.
    """

    def __init__(
        self, job_name: str, material: Material, checkpoint: bytes | None, equipment: Equipment
    ) -> None:
        """
        Args:
            job_name: for the log.
            material: what to paint from.
            checkpoint: of an earlier session with the same material, to go on from.
            equipment: what to paint with.
        """
        self.recipe = material.recipe
        self.result_bits = material.result_bits
        self._job_name = job_name
        self._material = material
        self._checkpoint = checkpoint
        self._equipment = equipment

    def open(self, memory_bytes: int) -> Session:
        """The session, within so many bytes of the device's memory.

        Raises:
            RecipeError: it cannot be painted; with `DoesNotFit` as its cause, not within that memory.
        """
        equipment = self._equipment
        arguments: dict[str, Any] = {
            "scene": self._material.scene,
            "network": equipment.network,
            "auto_precision": equipment.auto_precision,
            "cache": equipment.style_targets,
            "memory_bytes": memory_bytes,
        }
        session = None
        if self._checkpoint is not None:
            session = self._restored(self._checkpoint, arguments)
            self._checkpoint = None
        return session or Session(self.recipe, **arguments)

    def update(self, recipe: Recipe) -> None:
        """Takes another recipe, before it was opened.

        Raises:
            RecipeError: it cannot be taken up; nothing has changed.
        """
        scene = self._material.scene
        self.recipe = updated(self.recipe, recipe, scene.size, texture=scene.content is None)

    def _restored(self, checkpoint: bytes, arguments: dict[str, Any]) -> Session | None:
        """The session that goes on from a checkpoint; None if that cannot be used."""
        try:
            session = Session.restore(checkpoint, **arguments)
            recipe = self.recipe
            if recipe.precision == "auto":
                recipe = dataclasses.replace(recipe, precision=session.recipe.precision)
            # It may have been steered since.
            if recipe != session.recipe:
                session.update(recipe)
        except (CheckpointError, RecipeError) as error:
            if isinstance(error.__cause__, DoesNotFit):
                raise
            _log.warning(
                "checkpoint cannot be used, beginning anew job=%s error=%r", self._job_name, str(error)
            )
            return None
        return session
