"""A painting in progress: a state machine that evaluates the loss once per step and moves the image."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from impasto_server.engine import checkpoint, colors, pixels
from impasto_server.engine.devices import is_out_of_memory
from impasto_server.engine.evaluation import Evaluation
from impasto_server.engine.forecast import Paces, evaluations_work, scale_plans, targets_work
from impasto_server.engine.graphs import Evaluator, recorder
from impasto_server.engine.memory import ON_A_CPU, Footprint, MemoryPlan
from impasto_server.engine.network import Network
from impasto_server.engine.objectives.objective import Objective, Setting, preparation
from impasto_server.engine.optimizers import LBFGS, Adam, Optimizer
from impasto_server.engine.pixels import Deep
from impasto_server.engine.recipe import Recipe, RecipeError, recipe_from_dict, updated
from impasto_server.engine.scales import Scale, least_left, plan_scales, replanned
from impasto_server.engine.scene import Scene, SceneTensors
from impasto_server.engine.stage import Stage, StopReason
from impasto_server.engine.targets import TargetCache

CONTENT_DETAIL = 0.5
"""Share of the content's fine detail that is added to the enlarged image with which a scale begins. At 0, a
third of the evaluations goes into finding the detail again; at 1, the photograph shows under the strokes."""

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """The numbers of a painting after a step.

    Attributes:
        evaluation: number of evaluations made.
        evaluations: total number of evaluations.
        scale, scales: number of the current scale, from 1, and number of scales.
        width, height: size of the scale in pixels.
        loss: the weighted sum of the losses at the last evaluation; 0 before the first.
        content_loss, style_loss, tv_loss: its parts, without their weights.
        seconds: time spent in steps so far.
        seconds_left: estimate of the remaining time; None if it is not known yet.
        preparing: if the step made no evaluation but found some of the scale's targets, the share of them
            that is found, above 0 and below 1; otherwise None.
    """

    evaluation: int
    evaluations: int
    scale: int
    scales: int
    width: int
    height: int
    loss: float
    content_loss: float
    style_loss: float
    tv_loss: float
    seconds: float
    seconds_left: float | None
    preparing: float | None = None


class Session:
    """Paints one picture.

    It is cheap to make: the expensive work happens in `step`. Iterating over it steps until `done`.

    Args:
        recipe: how to paint.
        scene: the pictures to paint from.
        network: the feature network, on the device to use.
        auto_precision: the meaning of the recipe's precision "auto".
        cache: cache of style targets, shared with other sessions.
        memory_bytes: memory that the session may use, without the network; None for no limit.
        paces: learns how long the work at each scale takes; None if nobody wants to know.
        footprint: memory of an evaluation on the network's device.

    Attributes:
        recipe: the recipe as it is run, with every field set.
        size: (width, height) of the result in pixels.
        plan: how the largest scale fits into memory.
        stop_reason: why the painting ended; None until `done`.
        stop_message: the reason in a sentence; "" until `done`.

    Raises:
        RecipeError: the scene cannot be painted with this recipe, or not within `memory_bytes`.
    """

    def __init__(
        self,
        recipe: Recipe,
        scene: Scene,
        network: Network,
        *,
        auto_precision: Literal["float32", "bfloat16"] = "float32",
        cache: TargetCache | None = None,
        memory_bytes: int | None = None,
        paces: Paces | None = None,
        footprint: Footprint = ON_A_CPU,
    ) -> None:
        self.recipe = recipe = scene.resolved(recipe, auto_precision)
        self.stop_reason: StopReason | None = None
        self.stop_message = ""
        self._scene = scene
        self._canvas = scene.canvas(recipe)
        self.size = self._canvas.full_size
        self._auto_precision = auto_precision
        self._master = network
        self._evaluator = Evaluator(recorder(network.device))
        self._network = _in_precision(network, recipe)
        # The image, the losses and the optimiser use the network's own arithmetic, which is usually float32.
        self._like = torch.empty(0, dtype=network.dtype, device=network.device)
        looked_at = scene.without_style_edges(recipe.definition.style_crop)
        self._tensors = SceneTensors(looked_at, self._canvas, self._like)
        self._cache = cache
        self._memory_bytes = memory_bytes
        self._paces = paces
        self._footprint = footprint
        self._sizes = scene.sizes(self._canvas)
        # Whether all targets of the current scale were searched for here, not taken from a checkpoint.
        self._searched = False
        self._scales = plan_scales(recipe, self._canvas.size)
        self._plans = [self._memory_plans(scale) for scale in self._scales]
        self._scale = 0
        self._evaluation = 0
        self._seconds = 0.0
        self._losses = [0.0] * 4
        # Seconds per pixel of an evaluation, and of finding targets, at the last scale with a measurement.
        self._pace: float | None = None
        self._finding_pace = 0.0
        self._stage = self._enter(self._tensors.start(self._scales[0].size, recipe), 0)

    @property
    def done(self) -> bool:
        """Whether the result is finished."""
        return self.stop_reason is not None

    @property
    def evaluation(self) -> int:
        """Number of evaluations made."""
        return self._evaluation

    @property
    def painted_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the images evaluated at the current scale, with the margin."""
        return self._stage.scale.painted_size

    @property
    def plan(self) -> MemoryPlan:
        """How the largest scale fits into memory."""
        return self._plans[-1][0]

    def __iter__(self) -> Iterator[Progress]:
        while not self.done:
            yield self.step()

    def picture(self, max_side: int | None = None) -> Image.Image:
        """Returns the picture as it is now; once `done`, the result.

        Args:
            max_side: maximum longer side in pixels; None for no limit.
        """
        # With a selection, the limit is for the whole picture, not for the painted part.
        part_side = max_side if self._canvas.selection is None else None
        part = self._within_memory(lambda: pixels.to_picture(self._shown(), part_side))
        return self._canvas.framed(part, max_side)

    def samples(self, bits: int) -> npt.NDArray[np.uint8] | Deep:
        """Returns the samples of the picture as it is now, (H, W, 3), with 8 or 16 bits per channel.

        The edges of a selection are not blended. Around the painted part is the content, with a precision of
        8 bits.
        """
        return self._canvas.laid_in(self._within_memory(lambda: pixels.to_samples(self._shown(), bits)))

    def _shown(self) -> torch.Tensor:
        """Returns the image as it is now, without margin, in the colours that the recipe asks for."""
        scale, shown = self._stage.scale, self._stage.shown
        if share := self.recipe.definition.palette_share:
            shown = self._tensors.toward_palette(shown, scale, self.recipe, share)
        if self.recipe.color == "luminance":
            shown = colors.with_chroma_of(shown, self._tensors.photograph(scale.size))
        return shown

    def step(self) -> Progress:
        """Does one step: evaluates the loss once and moves the image, or finds some of a scale's targets.

        Raises:
            RuntimeError: the session is done, or the device failed (see `devices.is_device_lost`).
            RuntimeError, MemoryError: even the smallest plan ran out of memory (see
                `devices.is_out_of_memory`).
        """
        if self.done:
            raise RuntimeError("the session is done")
        began = time.perf_counter()
        if self._stage.left:
            # The last step could not begin the next scale because it ran out of memory.
            self._leave(self._stage)
        stage = self._stage
        entered = time.perf_counter()
        preparing = self._prepare(stage)
        prepared = time.perf_counter()
        stage.preparing_seconds += prepared - entered
        if preparing is None:
            self._losses, seen = self._within_memory(lambda: stage.look(self._evaluate(stage)))
            stage.note(self._losses[0])
            self._evaluation += 1
            stage.move(self.recipe, self._losses, seen)
        ended = time.perf_counter()
        stage.seconds += ended - prepared
        self._seconds += ended - began
        progress = self._progress(stage, preparing)
        if stage.left:
            self._leave(stage)
        return progress

    def _progress(self, stage: Stage, preparing: float | None) -> Progress:
        later = self._scales[self._scale + 1 :]
        total, content, style, tv = self._losses
        return Progress(
            evaluation=self._evaluation,
            evaluations=self._evaluation + stage.evaluations_left + sum(s.evaluations for s in later),
            scale=self._scale + 1,
            scales=len(self._scales),
            width=stage.scale.width,
            height=stage.scale.height,
            loss=total,
            content_loss=content,
            style_loss=style,
            tv_loss=tv,
            seconds=self._seconds,
            seconds_left=self._seconds_left(stage, preparing),
            preparing=preparing,
        )

    def _seconds_left(self, stage: Stage, preparing: float | None) -> float | None:
        """Estimates the remaining time from the time per pixel of evaluations and of finding targets."""
        if stage.evaluations:
            self._pace = stage.seconds / (stage.evaluations * stage.scale.pixels)
        if preparing is None:
            self._finding_pace = stage.preparing_seconds / stage.scale.pixels
        if self._pace is None:
            return None
        evaluated = stage.evaluations_left * stage.scale.pixels
        found = 0.0 if preparing is None else (1 - preparing) * stage.scale.pixels
        for scale in self._scales[self._scale + 1 :]:
            evaluated += scale.evaluations * scale.pixels
            found += scale.pixels
        return self._pace * evaluated + self._finding_pace * found

    def update(self, recipe: Recipe, memory_bytes: int | None = None) -> None:
        """Goes on with another recipe from the image as it is.

        Only the fields in `engine.recipe.STEERABLE` may change. If the number of evaluations changes, the
        remaining ones are spread again over the remaining scales. A number below what is already made, plus
        one for each remaining scale, is raised to that.

        Args:
            recipe: how to paint from now on.
            memory_bytes: memory that the session may use from now on; None for as much as before.

        Raises:
            RecipeError: the recipe changes another field, or does not suit the painting. Nothing has changed.
            RuntimeError: the session is done.
            RuntimeError, MemoryError: there is too little memory for the change. Nothing has changed.
        """
        if self.done:
            raise RuntimeError("the session is done")
        recipe = updated(self.recipe, recipe, self._scene.size, texture=self._scene.content is None)
        assert recipe.evaluations is not None
        # Evaluations cannot be undone, and every scale needs one. A lower number means to finish soon.
        least = self._evaluation + least_left(self._scales, self._scale)
        least -= self._stage.evaluations_left == 0
        recipe = dataclasses.replace(recipe, evaluations=max(recipe.evaluations, least))
        if recipe.precision == "auto":
            recipe = dataclasses.replace(recipe, precision=self._auto_precision)
        stage, scales = self._stage, list(self._scales)
        if recipe.evaluations != self.recipe.evaluations:
            scales = replanned(recipe, scales, self._scale, stage.evaluations, self._evaluation)
        before = self.recipe
        previous = before, self._network, self._memory_bytes, self._scales, self._plans
        try:
            self.recipe, self._network = recipe, _in_precision(self._master, recipe)
            if memory_bytes is not None:
                self._memory_bytes = memory_bytes
            self._scales, self._plans = scales, [self._memory_plans(scale) for scale in scales]
            same = ("evaluations", "stop_on_plateau")
            if dataclasses.replace(recipe, **{field: getattr(before, field) for field in same}) != before:
                optimizer = self._optimizer(stage.image, self._scale)
                keep = all(
                    getattr(recipe, field) == getattr(before, field) for field in recipe.definition.kept_by
                )
                stage = stage.anew(optimizer, averaging=bool(recipe.averaging), keep=keep)
        except (RecipeError, RuntimeError, MemoryError):
            self.recipe, self._network, self._memory_bytes, self._scales, self._plans = previous
            raise
        stage.scale = scales[self._scale]
        self._stage = stage

    def state(self) -> bytes:
        """Returns a checkpoint, from which `restore` continues exactly, given the same scene and network."""
        return self.snapshot().dump()

    def snapshot(self) -> checkpoint.Checkpoint:
        """Takes a checkpoint whose bytes another thread can make while the session goes on."""
        tensors, optimizer_values, stage_values = self._stage.state()
        values = {
            "recipe": dataclasses.asdict(self.recipe),
            "scales": [dataclasses.asdict(scale) for scale in self._scales],
            "scale": self._scale,
            "evaluation": self._evaluation,
            "seconds": self._seconds,
            "losses": list(self._losses),
            "stop_reason": self.stop_reason,
            "stop_message": self.stop_message,
            "optimizer": optimizer_values,
            "stage": stage_values,
            "network": self._master.sha256,
        }
        return checkpoint.take(tensors, values)

    @classmethod
    def restore(cls, state: bytes, scene: Scene, network: Network, **arguments: Any) -> Session:
        """Returns the session of a checkpoint.

        Args:
            state: bytes from `state`.
            scene, network, **arguments: the same as for the original session; a checkpoint does not contain
                them.

        Raises:
            checkpoint.CheckpointError: the bytes are not a checkpoint, or belong to another painting.
            RecipeError: as for a new session.
        """
        tensors, values = checkpoint.load(state)
        try:
            session = cls(recipe_from_dict(values["recipe"]), scene, network, **arguments)
            session._take_up(tensors, values)
        except (KeyError, TypeError, IndexError) as error:
            raise checkpoint.CheckpointError("the checkpoint is incomplete") from error
        return session

    def _take_up(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        if values["network"] != self._master.sha256:
            raise checkpoint.CheckpointError("the checkpoint was made with another feature network")
        scales = [Scale(**scale) for scale in values["scales"]]
        if scales[-1].size != self._scales[-1].size:
            raise checkpoint.CheckpointError("the checkpoint belongs to a painting of another size")
        self._scales = scales
        self._plans = [self._memory_plans(scale) for scale in scales]
        self._scale = values["scale"]
        self._evaluation = values["evaluation"]
        self._seconds = values["seconds"]
        self._losses = list(values["losses"])
        self.stop_reason = values["stop_reason"]
        self.stop_message = values["stop_message"]
        self._stage = Stage.restored(
            scales[self._scale],
            tensors,
            values["optimizer"],
            values["stage"],
            device=self._like.device,
            optimizer=lambda image: self._optimizer(image, self._scale),
        )

    def _prepare(self, stage: Stage) -> float | None:
        """Finds some of the objective's targets; returns the share that is found, or None for all."""
        while stage.objective is None:
            try:
                if stage.preparation is None:
                    self._evaluator.close()
                    self._searched = not stage.kept
                    stage.preparation = preparation(self._setting(stage))
                    stage.preparing_seconds = 0.0
                return next(stage.preparation)
            except StopIteration as end:
                stage.objective = end.value
                stage.kept = stage.objective.kept
                stage.preparation = None
            except (RuntimeError, MemoryError) as error:
                self._make_do(stage, error)
        return None

    def _evaluate(self, stage: Stage) -> Evaluation:
        """Evaluates the image as it is."""
        objective = self._objective(stage)
        plan = self._plans[self._scale][0]
        return self._evaluator.evaluate(objective, stage.image, plan.method, plan.tile_side)

    def _objective(self, stage: Stage) -> Objective:
        while self._prepare(stage) is not None:
            pass
        assert stage.objective is not None
        return stage.objective

    def _within_memory(self, work: Callable[[], _Result]) -> _Result:
        """Does work that changes nothing until it is done; with smaller plans if it runs out of memory."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self._make_do(self._stage, error)

    def _make_do(self, stage: Stage, error: Exception) -> None:
        """Changes to a smaller plan after a scale ran out of memory.

        Raises the error again if it has another cause, or if there is no smaller plan or nothing to free.
        """
        # Freed, and made again by the next step. A preparation that failed cannot go on.
        self._evaluator.close()
        stage.objective = stage.preparation = None
        plans = self._plans[self._scale]
        smaller = [plan for plan in plans[1:] if plan.estimated_bytes < plans[0].estimated_bytes]
        if not is_out_of_memory(error) or not smaller or stage.left:
            raise error
        self._plans[self._scale] = smaller
        if smaller[0].history < plans[0].history:
            # The optimiser starts again with a shorter history.
            stage.optimizer = self._optimizer(stage.image, self._scale)

    def _setting(self, stage: Stage) -> Setting:
        """Returns the setting from which the objective's terms are made."""
        scale = stage.scale
        if self._scene.content is None:
            content = self._like.new_zeros((1, 3, scale.height, scale.width))
        else:
            content = self._tensors.content(scale.size, self.recipe)
        return Setting(
            recipe=self.recipe,
            network=self._network,
            content=pixels.with_margin(content, scale.margin),
            start=stage.image,
            parts=self._tensors.parts(scale, self.recipe),
            margin=scale.margin,
            coarsest=self._scale == 0,
            finishing=scale.finishing,
            tile_side=self._plans[self._scale][0].tile_side,
            cache=self._cache,
            kept=stage.kept,
        )

    def _leave(self, stage: Stage) -> None:
        """Goes on to the next scale, or ends the painting."""
        # Frees their memory, which the next scale may need.
        self._evaluator.close()
        stage.objective = None
        stage.optimizer = self._optimizer(stage.image, self._scale)
        if self._scale + 1 < len(self._scales):
            entered = self._enter(stage.shown, self._scale + 1)
            self._note_pace(stage)
            self._stage = entered
            self._scale += 1
            return
        self._note_pace(stage)
        made = self._evaluation
        all_made = "the one evaluation was made" if made == 1 else f"all {made} evaluations were made"
        reason, message = stage.trouble or ("completed", all_made)
        if reason == "plateau":
            message = f"the loss had almost stopped falling after {self._evaluation} evaluations"
        self.stop_reason, self.stop_message = reason, message

    def _enter(self, image: torch.Tensor, at: int) -> Stage:
        """Begins the scale at an index with an image (1, 3, H, W) of any size, without margin."""
        scale = self._scales[at]
        self._tensors.enter()
        if (image.shape[3], image.shape[2]) != scale.size:
            image = self._enlarged(image, scale)
        if self.recipe.definition.match_palette and not scale.finishing:
            image = self._tensors.with_palette(image, scale, self.recipe)
        image = pixels.with_margin(image, scale.margin).clone()
        average = image.clone() if self.recipe.averaging else None
        return Stage(scale, image, self._optimizer(image, at), image.clone(), average)

    def _enlarged(self, image: torch.Tensor, scale: Scale) -> torch.Tensor:
        """Enlarges the image to a scale's size and adds some of the content's detail of that size."""
        enlarged = pixels.resized(image, scale.size)
        if self.recipe.start != "content":
            return enlarged
        content = self._tensors.content(scale.size, self.recipe)
        height, width = image.shape[2:]
        blurred = pixels.resized(pixels.resized(content, (width, height)), scale.size)
        return enlarged + CONTENT_DETAIL * (content - blurred)

    def _optimizer(self, image: torch.Tensor, at: int) -> Optimizer:
        """Makes the optimiser of an image at the scale with an index."""
        learning_rate = self.recipe.learning_rate
        assert learning_rate is not None
        if self.recipe.optimizer == "adam":
            return Adam(image, learning_rate)
        return LBFGS(image, learning_rate, self._plans[at][0].history)

    def _memory_plans(self, scale: Scale) -> list[MemoryPlan]:
        """Returns the memory plans of a scale that fit, the fastest first."""
        return scale_plans(
            self.recipe,
            scale,
            architecture=self._network.architecture,
            bfloat16=self._network.dtype == torch.bfloat16,
            snapshots=self._network.device.type == "cpu",
            held_bytes=self._scene.held_bytes,
            memory_bytes=self._memory_bytes,
            footprint=self._footprint,
        )

    def _note_pace(self, stage: Stage) -> None:
        """Tells what the work at a scale has taken, to improve forecasts."""
        if self._paces is None:
            return
        architecture = self._network.architecture
        if self._searched:
            work = targets_work(self.recipe, stage.scale, self._sizes, architecture)
            self._paces.note(work, stage.preparing_seconds)
        if stage.evaluations:
            tile_side = self._plans[self._scale][0].tile_side
            evaluations = evaluations_work(
                self.recipe, stage.scale, tile_side, stage.evaluations, architecture
            )
            self._paces.note(evaluations, stage.seconds)


def _in_precision(network: Network, recipe: Recipe) -> Network:
    return network.in_dtype(torch.bfloat16) if recipe.precision == "bfloat16" else network
