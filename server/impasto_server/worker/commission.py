"""Everything from which a job's session is made: its pictures, its recipe, and a checkpoint if it has one."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Literal

from impasto_server.engine.checkpoint import CheckpointError
from impasto_server.engine.forecast import Paces
from impasto_server.engine.memory import DoesNotFit, Footprint
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, updated
from impasto_server.engine.session import Session
from impasto_server.engine.targets import TargetCache
from impasto_server.worker.material import Material

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Equipment:
    """What all sessions of a worker share.

    Attributes:
        network: the feature network, on the device.
        auto_precision: the meaning of precision "auto" on the device.
        style_targets: cache of style targets.
        paces: what is known about the speed of the device.
        footprint: memory of an evaluation on the device.
    """

    network: Network
    auto_precision: Literal["float32", "bfloat16"]
    style_targets: TargetCache
    paces: Paces
    footprint: Footprint


class Commission:
    """A painting that has not begun: it makes the painting's session.

    Attributes:
        recipe: the recipe, with every field set.
        result_bits: bits per channel of the result, 8 or 16.
    """

    def __init__(
        self, job_name: str, material: Material, checkpoint: bytes | None, equipment: Equipment
    ) -> None:
        """
        Args:
            job_name: name of the job, for the log.
            material: recipe and pictures.
            checkpoint: checkpoint of an earlier session with the same material; None to begin.
            equipment: the worker's network and caches.
        """
        self.recipe = material.recipe
        self.result_bits = material.result_bits
        self._job_name = job_name
        self._material = material
        self._checkpoint = checkpoint
        self._equipment = equipment

    def open(self, memory_bytes: int) -> Session:
        """Makes the session.

        Args:
            memory_bytes: memory of the device that the session may use.

        Raises:
            RecipeError: the job cannot be painted. If its cause is `DoesNotFit`, the memory is too small.
        """
        equipment = self._equipment
        arguments: dict[str, Any] = {
            "scene": self._material.scene,
            "network": equipment.network,
            "auto_precision": equipment.auto_precision,
            "cache": equipment.style_targets,
            "memory_bytes": memory_bytes,
            "paces": equipment.paces,
            "footprint": equipment.footprint,
        }
        session = None
        if self._checkpoint is not None:
            session = self._restored(self._checkpoint, arguments)
            self._checkpoint = None
        return session or Session(self.recipe, **arguments)

    def update(self, recipe: Recipe) -> None:
        """Changes the recipe before the session is made.

        Raises:
            RecipeError: the recipe does not suit the painting. Nothing has changed.
        """
        scene = self._material.scene
        self.recipe = updated(self.recipe, recipe, scene.size, texture=scene.content is None)

    def _restored(self, checkpoint: bytes, arguments: dict[str, Any]) -> Session | None:
        """Returns the session of a checkpoint, or None if the checkpoint cannot be used."""
        try:
            session = Session.restore(checkpoint, **arguments)
            recipe = self.recipe
            if recipe.precision == "auto":
                recipe = dataclasses.replace(recipe, precision=session.recipe.precision)
            # The job may have been steered since the checkpoint.
            if recipe != session.recipe:
                session.update(recipe)
        except (CheckpointError, RecipeError) as error:
            if isinstance(error.__cause__, DoesNotFit):
                raise
            _log.warning(
                "checkpoint cannot be used, starting over job=%s error=%r", self._job_name, str(error)
            )
            return None
        return session
