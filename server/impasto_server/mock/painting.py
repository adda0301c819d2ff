"""A mock painting: counts evaluations through the scales that a real painting of the recipe would have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.recipes import recipe_from_proto
from impasto_server.engine.recipe import Recipe, RecipeError, result_size, updated
from impasto_server.engine.scales import Scale, least_left, plan_scales, replanned
from impasto_server.mock.picture import MockPicture
from impasto_server.worker.handover import Raster

BLACK = "is black everywhere; paint white what it is for"
"""What is wrong with a mask that marks nothing."""


class MockPainting:
    """A job on the mock's device.

    Attributes:
        recipe: the recipe in use, with every field set.
        size: (width, height) of the result in pixels.
        picture: computes the pixels.
        scales: the scales, from coarse to fine.
        at: index of the current scale.
        evaluation: evaluations made.
        done: whether the result is ready.
    """

    def __init__(self, spec: pb.JobSpec, pictures: Mapping[str, Raster]) -> None:
        """
        Args:
            spec: what to paint.
            pictures: by the fields of the spec that name them.

        Raises:
            RecipeError: the recipe does not suit the content, or a mask is black.
        """
        self._texture = spec.HasField("texture")
        if self._texture:
            self.size = spec.texture.width, spec.texture.height
        else:
            height, width = pictures["content"].samples.shape[:2]
            self.size = width, height
        self.recipe = recipe = resolved(spec.recipe, self.size, texture=self._texture)
        for field, raster in pictures.items():
            if (field == "selection" or field.endswith("_mask")) and not raster.samples.any():
                raise RecipeError(field, BLACK)
        self.picture = MockPicture(spec, pictures, recipe.seed)
        self.scales = plan_scales(recipe, self.size)
        self.at = 0
        self.evaluation = 0
        self.done = False
        self._made_here = 0
        # Only the objective neighbours searches before the first evaluation of a scale.
        self._searches = recipe.objective == "neighbours"
        self._prepared = not self._searches
        self._seconds = 0.0

    @property
    def scale(self) -> Scale:
        """The current scale."""
        return self.scales[self.at]

    @property
    def share(self) -> float:
        """The share of the work that is done, 0 to 1."""
        assert self.recipe.evaluations is not None
        return self.evaluation / self.recipe.evaluations

    def preview_size(self, max_side: int) -> tuple[int, int]:
        """(width, height) of a preview: at most that of the current scale."""
        return result_size(*self.size, min(max_side, max(self.scale.size)))

    def step(self, seconds: float) -> pb.Progress:
        """Makes one evaluation. With neighbours it first pretends to find the targets of each scale.

        Args:
            seconds: that it took.
        """
        assert not self.done
        self._seconds += seconds
        preparing, self._prepared = not self._prepared, True
        if not preparing:
            self._made_here += 1
            self.evaluation += 1
        progress = self._progress(seconds)
        if preparing:
            progress.preparing = 0.5
        elif self._made_here == self.scale.evaluations:
            self.done = self.at + 1 == len(self.scales)
            if not self.done:
                self.at += 1
                self._made_here, self._prepared = 0, not self._searches
        return progress

    def update(self, recipe: Recipe) -> None:
        """Continues with another recipe.

        Raises:
            RecipeError: the recipe cannot be used; nothing has changed.
        """
        self.recipe = _in_float32(updated(self.recipe, recipe, self.size, texture=self._texture))
        self._replan()

    def checkpoint(self) -> bytes:
        """Returns a checkpoint for `resume`."""
        return json.dumps(
            {
                "scales": [dataclasses.asdict(scale) for scale in self.scales],
                "at": self.at,
                "made_here": self._made_here,
                "evaluation": self.evaluation,
                "seconds": self._seconds,
            }
        ).encode()

    def resume(self, checkpoint: bytes) -> None:
        """Continues from a checkpoint. Ignores the checkpoint of a real worker."""
        try:
            saved = json.loads(checkpoint)
            scales = [Scale(**scale) for scale in saved["scales"]]
            at, made_here, evaluation = saved["at"], saved["made_here"], saved["evaluation"]
            seconds = saved["seconds"]
        except (ValueError, KeyError, TypeError):
            return
        self.scales, self.at, self._made_here, self.evaluation = scales, at, made_here, evaluation
        self._seconds = seconds
        # The recipe may have been steered since.
        self._replan()

    def _replan(self) -> None:
        """Spreads the recipe's evaluations over the scales, and raises a number that is too small."""
        assert self.recipe.evaluations is not None
        # Evaluations cannot be undone, and every scale needs one.
        least = self.evaluation + least_left(self.scales, self.at)
        if self.recipe.evaluations < least:
            self.recipe = dataclasses.replace(self.recipe, evaluations=least)
        if sum(scale.evaluations for scale in self.scales) != self.recipe.evaluations:
            self.scales = replanned(self.recipe, self.scales, self.at, self._made_here, self.evaluation)

    def _progress(self, seconds: float) -> pb.Progress:
        recipe = self.recipe
        assert recipe.evaluations is not None
        # The numbers only have to fall within a scale.
        loss = 0.0 if not self.evaluation else 1 / (1 + self._made_here)
        content_loss = 0.5 * loss if recipe.definition.content_layers else 0.0
        style_loss, tv_loss = loss, 0.1 * loss
        terms = (content_loss, style_loss, tv_loss)
        weights = (recipe.content_weight, recipe.style_weight, recipe.tv_weight)
        progress = pb.Progress(
            evaluation=self.evaluation,
            evaluations=recipe.evaluations,
            scale=self.at + 1,
            scales=len(self.scales),
            width=self.scale.width,
            height=self.scale.height,
            loss=sum((weight or 0.0) * term for weight, term in zip(weights, terms, strict=True)),
            content_loss=content_loss,
            style_loss=style_loss,
            tv_loss=tv_loss,
        )
        progress.device_time.FromNanoseconds(round(self._seconds * 1e9))
        progress.time_left.FromNanoseconds(round((recipe.evaluations - self.evaluation) * seconds * 1e9))
        return progress


def resolved(recipe: pb.Recipe, size: tuple[int, int], *, texture: bool) -> Recipe:
    """Returns a recipe as the mock runs it.

    Args:
        recipe: of the job.
        size: (width, height) of the content or of the texture, in pixels.
        texture: whether a texture is painted.

    Raises:
        RecipeError: the recipe does not suit the content.
    """
    return _in_float32(recipe_from_proto(recipe).resolve(*size, texture=texture))


def _in_float32(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, precision="float32") if recipe.precision == "auto" else recipe
