"""A painting being made: a state machine that evaluates the loss once at each step and moves the image."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from impasto_server.engine import checkpoint, colors, pixels
from impasto_server.engine.canvas import Canvas, content_canvas, texture_canvas
from impasto_server.engine.devices import is_out_of_memory
from impasto_server.engine.evaluation import evaluate
from impasto_server.engine.memory import DoesNotFit, MemoryPlan, memory_plans
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import SHAPES, Objective, Part
from impasto_server.engine.optimizers import LBFGS, Adam, Optimizer
from impasto_server.engine.pixels import Deep, Picture
from impasto_server.engine.recipe import (
    FIELDS,
    LAYER_FIELDS,
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
    MIN_SIDE,
    STYLE_AS_CONTENT,
    Recipe,
    RecipeError,
    result_size,
    style_size,
)
from impasto_server.engine.targets import StyleImage, TargetCache
from impasto_server.engine.windows import overlap

StopReason = Literal["completed", "plateau", "converged", "not_finite"]

COARSEST = 128
"""Longer side, in pixels, that a painting from coarse to fine begins at or a little above."""

FINER_SHARE = 0.42
LEAST_SHARE = 0.3
"""Evaluations at one scale, in proportion to those at the scale before it; and to those at the first scale at
least, because strokes of its own take a scale some evaluations to settle."""

MARGIN = 16
"""Pixels painted around the picture and cut off."""

CONTENT_DETAIL = 0.5
"""How much of the content's detail is put into the enlarged picture that a scale begins with, which has none
of its own. Without any, an evaluation in three is spent on getting it back; all of it leaves a photograph
under the strokes."""

HISTORY = 12
"""Pairs of images that L-BFGS remembers, if there is room."""

PLATEAU_EVALUATIONS = 20
PLATEAU_IMPROVEMENT = 0.002
"""A scale is left when its best loss has fallen by less than this share in so many evaluations."""


@dataclasses.dataclass(frozen=True)
class Style:
    """A painting to learn the style from.

    Attributes:
        image: mode RGB.
        weight: its share beside the other styles', above 0.
        size: (width, height) in pixels of the painting as it was given, if `image` is a smaller or larger
            version of it; None if it is the painting itself.
    """

    image: Image.Image
    weight: float = 1.0
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the content that takes its style from one painting, or from a part of it.

    Attributes:
        content_mask: mode L, of any size; white inside, grey at soft edges.
        style: index of the painting.
        style_mask: where in the painting, mode L; None for all of it.
    """

    content_mask: Image.Image
    style: int = 0
    style_mask: Image.Image | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Numbers of one evaluation; `evaluation` and `scale` count from 1. Losses are before their weights but
    for `loss`, the sum that is minimised. `seconds` is the time spent in steps so far, `seconds_left` a
    guess at what remains."""

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


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of the painting on its way: its pixels, the pixels of margin painted with it on each side,
    and the evaluations of the loss to be made at it."""

    width: int
    height: int
    margin: int
    evaluations: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) without the margin."""
        return self.width, self.height

    @property
    def pixels(self) -> int:
        """What an evaluation sees, the margin too."""
        return (self.width + 2 * self.margin) * (self.height + 2 * self.margin)


@dataclasses.dataclass
class _Stage:
    """The work at one scale.

    Attributes:
        image: (1, 3, H, W) with the margin, what the optimiser moves.
        optimizer: moves it.
        best_image, best_loss: the best that was evaluated.
        average: running average of the images; None without averaging.
        objective: None until the first evaluation, which pays for its targets.
        bests: the best loss after each evaluation here.
        seconds: spent here.
        trouble: why the optimiser gave up here.
        left: whether the work here is over.
    """

    scale: Scale
    image: torch.Tensor
    optimizer: Optimizer
    best_image: torch.Tensor
    average: torch.Tensor | None
    best_loss: float = math.inf
    objective: Objective | None = None
    bests: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    trouble: tuple[StopReason, str] | None = None
    left: bool = False

    @property
    def evaluations(self) -> int:
        return len(self.bests)

    @property
    def evaluations_left(self) -> int:
        return 0 if self.left else self.scale.evaluations - self.evaluations

    @property
    def shown(self) -> torch.Tensor:
        """The image, or its average, without the margin."""
        margin = self.scale.margin
        image = self.image if self.average is None else self.average
        return image[:, :, margin : margin + self.scale.height, margin : margin + self.scale.width]

    def note(self, loss: float) -> None:
        """Keeps the image if it is the best so far."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_image = self.image.clone()
        self.bests.append(self.best_loss)

    def average_in(self, decay: float) -> None:
        if self.average is not None:
            # The first images are far from any good: the average grows with what there is to average.
            decay = min(decay, (1 + self.evaluations) / (10 + self.evaluations))
            self.average.lerp_(self.image, 1 - decay)

    def is_flat(self) -> bool:
        """Whether the loss hardly falls any more."""
        if self.evaluations <= PLATEAU_EVALUATIONS:
            return False
        before = self.bests[-1 - PLATEAU_EVALUATIONS]
        return before - self.bests[-1] < PLATEAU_IMPROVEMENT * abs(before)

    def settle(self) -> None:
        """Goes back to the best image: without a line search the newest is not always that."""
        self.image.copy_(self.best_image)
        self.left = True

    def give_up(self, reason: StopReason, why: str) -> None:
        """Leaves this scale early, with its best image."""
        self.settle()
        self.average = None
        self.trouble = (
            reason,
            f"stopped at {self.scale.width} × {self.scale.height} after {self.evaluations} evaluations: "
            f"{why}; the result is the best image before that",
        )


class Session:
    """Paints one picture.

    Making one is cheap: what is expensive happens in `step`. Iterating steps until `done`.

    Args:
        recipe: what to do.
        content: the photograph; None for a texture.
        styles: at least one painting.
        network: the feature network, on the device to use.
        start_image: what to start from; for a recipe whose `start` is "image" only.
        texture: (width, height) in pixels of a texture, made from the styles alone.
        regions: parts of the content with styles of their own; empty for all styles everywhere.
        selection: what of the content to paint, mode L, white inside; None for all.
        auto_precision: what the recipe's precision "auto" means here.
        cache: of style targets, shared with other sessions.
        memory_bytes: what the session may use beside the network; None for no limit.

    Attributes:
        recipe: as it is run, every field set.
        size: (width, height) of the result in pixels.
        plan: how the largest scale fits into memory.
        stop_reason: None until `done`.
        stop_message: the reason in a sentence.

    Raises:
        RecipeError: something cannot be painted, or not within the memory there is.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        content: Picture | None,
        styles: Sequence[Style],
        network: Network,
        start_image: Picture | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: Image.Image | None = None,
        auto_precision: Literal["float32", "bfloat16"] = "float32",
        cache: TargetCache | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        recipe = _resolved(recipe, content, texture, auto_precision)
        _check_images(recipe, content, styles, start_image, selection)
        _check_regions(regions, len(styles), content)
        self.recipe = recipe
        self.stop_reason: StopReason | None = None
        self.stop_message = ""
        self._canvas = _canvas(recipe, content, texture, selection)
        self.size = self._canvas.full_size
        self._shape = SHAPES[recipe.objective]
        self._auto_precision = auto_precision
        self._styles = list(styles)
        self._regions = list(regions)
        self._start_image = start_image
        self._master = network
        self._network = _in_precision(network, recipe)
        # The image, the losses and the optimiser keep the network's own arithmetic: float32, as a rule.
        self._like = torch.empty(0, dtype=network.dtype, device=network.device)
        self._cache = cache
        self._memory_bytes = memory_bytes
        self._held_bytes = _held_bytes(content, styles, start_image, regions, selection)
        self._scales = plan_scales(recipe, self._canvas.size)
        self._plans = [self._memory_plans(scale) for scale in self._scales]
        self._scale = 0
        self._evaluation = 0
        self._seconds = 0.0
        self._stage = self._enter(self._starting_image())

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.stop_reason is not None

    @property
    def evaluation(self) -> int:
        """How many evaluations have been made."""
        return self._evaluation

    @property
    def plan(self) -> MemoryPlan:
        """How the largest scale fits into memory."""
        return self._plans[-1][0]

    def __iter__(self) -> Iterator[Progress]:
        while not self.done:
            yield self.step()

    def picture(self, max_side: int | None = None) -> Image.Image:
        """The image as it is now; once `done`, the result.

        Args:
            max_side: longer side at most, in pixels.
        """
        # A selection is framed by the whole picture, whose longer side is meant then.
        part_side = max_side if self._canvas.selection is None else None
        return self._canvas.framed(pixels.to_picture(self._shown(), part_side), max_side)

    def samples(self, bits: int) -> npt.NDArray[np.uint8] | Deep:
        """The image as it is now, (H, W, 3), of 8 or 16 bits per channel and of the result's size.

        The edges of a selection are not blended: around what is painted is the content, in 8 bits.
        """
        return self._canvas.laid_in(pixels.to_samples(self._shown(), bits))

    def _shown(self) -> torch.Tensor:
        """The image as it is now, without margin, in the colours that the recipe asks for."""
        shown = self._stage.shown
        if self.recipe.color == "luminance":
            content = self._content_tensor(self._stage.scale.size)
            shown = colors.with_chroma_of(shown, content)
        return shown

    def step(self) -> Progress:
        """Evaluates the loss once and moves the image.

        Raises:
            RuntimeError: the session is done, or the device failed (see `devices.is_device_lost`).
            RuntimeError, MemoryError: even the smallest plan ran out of memory (see
                `devices.is_out_of_memory`).
        """
        if self.done:
            raise RuntimeError("the session is done")
        begin = time.perf_counter()
        stage = self._stage
        losses, gradient = self._evaluate(stage)
        stage.note(losses[0])
        self._evaluation += 1
        self._move(stage, losses[0], gradient)
        seconds = time.perf_counter() - begin
        stage.seconds += seconds
        self._seconds += seconds
        later = self._scales[self._scale + 1 :]
        progress = Progress(
            evaluation=self._evaluation,
            evaluations=self._evaluation + stage.evaluations_left + sum(s.evaluations for s in later),
            scale=self._scale + 1,
            scales=len(self._scales),
            width=stage.scale.width,
            height=stage.scale.height,
            loss=losses[0],
            content_loss=losses[1],
            style_loss=losses[2],
            tv_loss=losses[3],
            seconds=self._seconds,
            seconds_left=stage.seconds
            / (stage.evaluations * stage.scale.pixels)
            * (stage.evaluations_left * stage.scale.pixels + sum(s.evaluations * s.pixels for s in later)),
        )
        if stage.left:
            self._leave(stage)
        return progress

    def update(self, recipe: Recipe, memory_bytes: int | None = None) -> None:
        """Goes on with another recipe from the image as it is.

        What may change says `engine.recipe.STEERABLE`. Of another number of evaluations, the remaining ones
        are spread over the remaining scales anew; it is never less than are made.

        Args:
            recipe: what to do from now on.
            memory_bytes: what the session may use from now on; None for as much as before.

        Raises:
            RecipeError: the recipe changes something else, or does not suit the painting. Nothing changes.
            RuntimeError: the session is done.
        """
        if self.done:
            raise RuntimeError("the session is done")
        whole = self._canvas.whole or self._canvas.content
        size = self._canvas.full_size if whole is None else pixels.picture_size(whole)
        recipe = updated(self.recipe, recipe, size, texture=whole is None)
        assert recipe.evaluations is not None
        # What is made cannot be taken back: fewer evaluations than that mean that it is enough.
        recipe = dataclasses.replace(recipe, evaluations=max(recipe.evaluations, self._evaluation))
        if recipe.precision == "auto":
            recipe = dataclasses.replace(recipe, precision=self._auto_precision)
        scales = self._replanned(recipe)
        previous = self.recipe, self._network, self._memory_bytes
        self.recipe, self._network = recipe, _in_precision(self._master, recipe)
        if memory_bytes is not None:
            self._memory_bytes = memory_bytes
        try:
            plans = [self._memory_plans(scale) for scale in scales]
        except RecipeError:
            self.recipe, self._network, self._memory_bytes = previous
            raise
        self._scales, self._plans = scales, plans
        stage = self._stage
        stage.scale = scales[self._scale]
        before = previous[0]
        same = ("evaluations", "stop_on_plateau")
        if dataclasses.replace(recipe, **{field: getattr(before, field) for field in same}) == before:
            return
        # Another function is minimised: nothing that was learnt of the last one holds.
        self._stage = dataclasses.replace(
            stage,
            objective=None,
            optimizer=self._optimizer(stage.image),
            average=stage.image.clone() if recipe.averaging else None,
            best_loss=math.inf,
            best_image=stage.image.clone(),
            bests=[math.inf] * stage.evaluations,
        )

    def state(self) -> bytes:
        """A checkpoint: with the same images and network, `restore` goes on as if nothing had happened."""
        return self.snapshot().dump()

    def snapshot(self) -> checkpoint.Checkpoint:
        """The same, its bytes still to be made, which any thread may do while the session goes on."""
        stage = self._stage
        optimizer_tensors, optimizer_values = stage.optimizer.state()
        tensors = {"image": stage.image, "best_image": stage.best_image}
        if stage.average is not None:
            tensors["average"] = stage.average
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
        values = {
            "recipe": dataclasses.asdict(self.recipe),
            "scales": [dataclasses.asdict(scale) for scale in self._scales],
            "scale": self._scale,
            "evaluation": self._evaluation,
            "seconds": self._seconds,
            "stop_reason": self.stop_reason,
            "stop_message": self.stop_message,
            "optimizer": optimizer_values,
            "stage": {
                "best_loss": stage.best_loss,
                "bests": list(stage.bests),
                "seconds": stage.seconds,
                "trouble": stage.trouble,
                "left": stage.left,
            },
            "network": self._master.sha256,
        }
        return checkpoint.take(tensors, values)

    @classmethod
    def restore(cls, state: bytes, **arguments: Any) -> Session:
        """A session from a checkpoint.

        Args:
            state: from `state`.
            **arguments: as for the session that it was taken of, without `recipe`: images are not part of it.

        Raises:
            checkpoint.CheckpointError: the bytes are not a checkpoint, or one of another painting.
            RecipeError: as for a new session.
        """
        tensors, values = checkpoint.load(state)
        try:
            session = cls(recipe_from_dict(values["recipe"]), **arguments)
            session._take_up(tensors, values)
        except (KeyError, TypeError, IndexError) as error:
            raise checkpoint.CheckpointError("the checkpoint is incomplete") from error
        return session

    def _take_up(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        if values["network"] != self._master.sha256:
            raise checkpoint.CheckpointError("the checkpoint was made with another feature network")
        scales = [Scale(**scale) for scale in values["scales"]]
        if scales[-1].size != self._scales[-1].size:
            raise checkpoint.CheckpointError("the checkpoint is of a painting of another size")
        of_optimizer = {
            name.removeprefix("optimizer."): tensor
            for name, tensor in tensors.items()
            if name.startswith("optimizer.")
        }
        # Copied, so that they lie in memory as tensors do: sums come out otherwise where they do not.
        tensors = {
            name: tensors[name].to(self._like.device, copy=True)
            for name in ("image", "best_image", "average")
            if name in tensors
        }
        self._scales = scales
        self._plans = [self._memory_plans(scale) for scale in scales]
        self._scale = values["scale"]
        self._evaluation = values["evaluation"]
        self._seconds = values["seconds"]
        self.stop_reason = values["stop_reason"]
        self.stop_message = values["stop_message"]
        image = tensors["image"]
        optimizer = self._optimizer(image)
        optimizer.restore(of_optimizer, values["optimizer"])
        stage = values["stage"]
        self._stage = _Stage(
            scales[self._scale],
            image,
            optimizer,
            tensors["best_image"],
            tensors.get("average"),
            best_loss=stage["best_loss"],
            bests=stage["bests"],
            seconds=stage["seconds"],
            trouble=tuple(stage["trouble"]) if stage["trouble"] else None,
            left=stage["left"],
        )

    def _evaluate(self, stage: _Stage) -> tuple[list[float], torch.Tensor]:
        """Total, content, style and TV loss of the image as it is, and the total's gradient."""
        while True:
            plan = self._plans[self._scale][0]
            try:
                if stage.objective is None:
                    stage.objective = self._objective(stage.scale, plan)
                evaluation = evaluate(stage.objective, stage.image, plan.method, plan.tile_side)
                # One transfer from the device for all the numbers.
                return evaluation.losses.tolist(), evaluation.gradient
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._step_down():
                    raise
                stage.objective = None
                if self._plans[self._scale][0].history < plan.history:
                    # It begins anew with room for less.
                    stage.optimizer = self._optimizer(stage.image)

    def _step_down(self) -> bool:
        """Takes up the next smaller plan; tells whether there is one."""
        plans = self._plans[self._scale]
        smaller = [plan for plan in plans[1:] if plan.estimated_bytes < plans[0].estimated_bytes]
        if smaller:
            self._plans[self._scale] = smaller
        return bool(smaller)

    def _objective(self, scale: Scale, plan: MemoryPlan) -> Objective:
        if self._canvas.content is None:
            content = self._like.new_zeros((1, 3, scale.height, scale.width))
        else:
            content = self._content_tensor(scale.size)
            if self.recipe.color == "luminance":
                content = colors.luminance(content)
        content = pixels.with_margin(content, scale.margin)
        return Objective(
            self.recipe,
            self._network,
            content,
            self._parts(scale),
            tile_side=plan.tile_side,
            cache=self._cache,
        )

    def _parts(self, scale: Scale) -> list[Part]:
        styles = self._style_tensors(scale)
        if not self._regions:
            whole = [(StyleImage(image, None), weight) for image, weight in styles]
            return [Part(None, whole)]
        parts = []
        for region in self._regions:
            mask = pixels.mask_tensor(self._canvas.cut(region.content_mask), scale.size, like=self._like)
            image, _ = styles[region.style]
            style_mask = None
            if region.style_mask is not None:
                height, width = image.shape[2:]
                style_mask = pixels.mask_tensor(region.style_mask, (width, height), like=self._like)
            part = Part(pixels.with_margin(mask, scale.margin), [(StyleImage(image, style_mask), 1.0)])
            parts.append(part)
        return parts

    def _move(self, stage: _Stage, loss: float, gradient: torch.Tensor) -> None:
        """Moves the image, or ends the work at this scale."""
        last = stage.evaluations >= stage.scale.evaluations
        if self.recipe.stop_on_plateau and not last and stage.is_flat():
            stage.settle()
            stage.trouble = ("plateau", "")
        elif self.recipe.optimizer == "adam":
            stage.left = last
            moved = math.isfinite(loss) and stage.optimizer.step(loss, gradient)
            stage.average_in(self.recipe.averaging or 0.0)
            # The last move is not evaluated: it may have ended anywhere.
            if not moved or (last and not bool(stage.image.isfinite().all())):
                stage.give_up("not_finite", "the loss was not finite; a lower learning rate may help")
        elif last:
            # One more move would not be evaluated.
            stage.settle()
        elif not stage.optimizer.step(loss, gradient):
            if math.isfinite(loss):
                stage.give_up("converged", "no step of the optimiser improved the image any more")
            else:
                stage.give_up("not_finite", "the loss was not finite; a lower learning rate may help")

    def _leave(self, stage: _Stage) -> None:
        """Goes on to the next scale, or ends."""
        # What the next scale and the picture do not need is given back.
        stage.objective = None
        if self._scale + 1 < len(self._scales):
            self._scale += 1
            self._stage = self._enter(stage.shown)
            return
        made = self._evaluation
        all_made = "the one evaluation was made" if made == 1 else f"all {made} evaluations were made"
        reason, message = stage.trouble or ("completed", all_made)
        if reason == "plateau":
            message = f"the loss hardly fell any more after {self._evaluation} evaluations"
        self.stop_reason, self.stop_message = reason, message

    def _enter(self, image: torch.Tensor) -> _Stage:
        """Begins a scale with an image (1, 3, H, W) of any size, without margin."""
        scale = self._scales[self._scale]
        if (image.shape[3], image.shape[2]) != scale.size:
            image = self._enlarged(image, scale)
        if self._shape.match_palette:
            image = self._with_palette(image, scale)
        image = pixels.with_margin(image, scale.margin).clone()
        average = image.clone() if self.recipe.averaging else None
        return _Stage(scale, image, self._optimizer(image), image.clone(), average)

    def _enlarged(self, image: torch.Tensor, scale: Scale) -> torch.Tensor:
        """The image at a scale's size, with some of what the content shows at that size only."""
        enlarged = pixels.resized(image, scale.size)
        if self.recipe.start != "content":
            return enlarged
        content = self._content_tensor(scale.size)
        if self.recipe.color == "luminance":
            content = colors.luminance(content)
        height, width = image.shape[2:]
        blurred = pixels.resized(pixels.resized(content, (width, height)), scale.size)
        return enlarged + CONTENT_DETAIL * (content - blurred)

    def _with_palette(self, image: torch.Tensor, scale: Scale) -> torch.Tensor:
        """The image with the styles' colours, in each region those of its style."""
        styles = self._style_tensors(scale)
        if not self._regions:
            return colors.match_palette(image, styles)
        blended, covered = torch.zeros_like(image), torch.zeros_like(image[:, :1])
        for region in self._regions:
            mask = pixels.mask_tensor(self._canvas.cut(region.content_mask), scale.size, like=self._like)
            blended += mask * colors.match_palette(image, [styles[region.style]])
            covered += mask
        return blended / covered.clamp_min(1) + image * (1 - covered).clamp_min(0)

    def _optimizer(self, image: torch.Tensor) -> Optimizer:
        learning_rate = self.recipe.learning_rate
        assert learning_rate is not None
        if self.recipe.optimizer == "adam":
            return Adam(image, learning_rate)
        return LBFGS(image, learning_rate, self._plans[self._scale][0].history)

    def _starting_image(self) -> torch.Tensor:
        size = self._scales[0].size
        if self.recipe.start == "noise":
            return pixels.noise(size, self.recipe.seed, like=self._like)
        if self._start_image is not None:
            return pixels.to_tensor(self._canvas.cut(self._start_image), size, like=self._like)
        content = self._content_tensor(size)
        return colors.luminance(content) if self.recipe.color == "luminance" else content

    def _content_tensor(self, size: tuple[int, int]) -> torch.Tensor:
        assert self._canvas.content is not None
        return pixels.to_tensor(self._canvas.content, size, like=self._like)

    def _style_tensors(self, scale: Scale) -> list[tuple[torch.Tensor, float]]:
        """The styles, and their weights, at the size and in the colours that go with a scale."""
        sized = [
            (pixels.to_tensor(style.image, self._style_size(style, scale), like=self._like), style.weight)
            for style in self._styles
        ]
        if self.recipe.color == "style":
            return sized
        content = self._content_tensor(scale.size)
        recolor = colors.matched_luminance if self.recipe.color == "luminance" else colors.match_moments
        return [(recolor(image, content), weight) for image, weight in sized]

    def _style_size(self, style: Style, scale: Scale) -> tuple[int, int]:
        if self.recipe.objective in STYLE_AS_CONTENT:
            return scale.size
        zoom = scale.width / self._canvas.size[0]
        size = style.size or style.image.size
        return style_size(size, self._canvas.full_size, self.recipe.style_scale, zoom=zoom)

    def _memory_plans(self, scale: Scale) -> list[MemoryPlan]:
        """Those that fit, the quickest first."""
        layers = [
            layer
            for layer, _ in (
                *(self.recipe.content_layers or self._shape.content_layers),
                *(self.recipe.style_layers or self._shape.style_layers),
            )
        ]
        try:
            return memory_plans(
                scale.width + 2 * scale.margin,
                scale.height + 2 * scale.margin,
                bfloat16=self._network.dtype == torch.bfloat16,
                history=HISTORY if self.recipe.optimizer == "lbfgs" else 0,
                overlap=overlap(self._network.architecture, layers),
                available_bytes=self._memory_bytes,
                snapshots=self._network.device.type == "cpu",
                held_bytes=self._held_bytes,
            )
        except DoesNotFit as error:
            assert self._memory_bytes is not None
            raise RecipeError(
                "longest_side",
                f"of {self.recipe.longest_side} px needs about {_mib(error.needed_bytes)} MiB of memory on "
                f"the device, which has {_mib(self._memory_bytes)} MiB to give; give a smaller one, or adam",
            ) from error

    def _replanned(self, recipe: Recipe) -> list[Scale]:
        """The scales for another number of evaluations: what is over stays, the rest is spread anew."""
        if recipe.evaluations == self.recipe.evaluations:
            return list(self._scales)
        assert recipe.evaluations is not None
        here = self._stage.evaluations
        left = max(len(self._scales) - self._scale, recipe.evaluations - self._evaluation)
        counts = _spread(left, len(self._scales) - self._scale)
        counts[0] += here
        remaining = [
            dataclasses.replace(scale, evaluations=count)
            for scale, count in zip(self._scales[self._scale :], counts, strict=True)
        ]
        return [*self._scales[: self._scale], *remaining]


def plan_scales(recipe: Recipe, size: tuple[int, int]) -> list[Scale]:
    """The sizes that a painting grows through, coarse to fine, each with its share of the evaluations.

    Args:
        recipe: resolved.
        size: (width, height) of what is painted, in the result's pixels.
    """
    assert recipe.evaluations is not None
    shape = SHAPES[recipe.objective]
    sides = [max(size)]
    if shape.coarse_to_fine:
        while sides[0] >= COARSEST * 2 and min(result_size(*size, sides[0] // 2)) >= 2 * MIN_SIDE:
            sides.insert(0, math.ceil(sides[0] / 2))
    # Every scale needs one evaluation.
    sides = sides[-recipe.evaluations :]
    margin = MARGIN if shape.margin else 0
    return [
        Scale(*result_size(*size, side), margin, count)
        for side, count in zip(sides, _spread(recipe.evaluations, len(sides)), strict=True)
    ]


def updated(recipe: Recipe, update: Recipe, size: tuple[int, int], *, texture: bool) -> Recipe:
    """The recipe of a painting after an update, resolved.

    Args:
        recipe: of the painting, resolved.
        update: whole; where it leaves size and start to their defaults, it means those of the painting.
        size: (width, height) of the content or of the texture.
        texture: whether there is no content.

    Raises:
        RecipeError: the update changes what cannot change while painting, or does not suit the painting.
    """
    update = dataclasses.replace(
        update, longest_side=update.longest_side or recipe.longest_side, start=update.start or recipe.start
    ).resolve(*size, texture=texture)
    for field in FIELDS:
        fixed = getattr(recipe, field.name)
        if not field.steerable and getattr(update, field.name) != fixed:
            raise RecipeError(field.name, f"cannot change while painting; it is {fixed}")
    return update


def recipe_from_dict(fields: dict[str, Any]) -> Recipe:
    """A recipe from what `dataclasses.asdict` and JSON made of it.

    Raises:
        RecipeError: a field is out of its range.
    """
    layers = {field: tuple((layer, weight) for layer, weight in fields[field]) for field in LAYER_FIELDS}
    return Recipe(**{**fields, **layers})


def _spread(evaluations: int, scales: int) -> list[int]:
    """Evaluations for each scale, coarse to fine: the coarse ones are cheap, lay down the forms, and get
    more."""
    shares = [max(FINER_SHARE**index, LEAST_SHARE) for index in range(scales)]
    counts = [max(1, math.floor(evaluations * share / sum(shares))) for share in shares]
    counts[0] = max(1, counts[0] + evaluations - sum(counts))
    return counts


def _resolved(
    recipe: Recipe,
    content: Picture | None,
    texture: tuple[int, int] | None,
    auto_precision: Literal["float32", "bfloat16"],
) -> Recipe:
    if (content is None) == (texture is None):
        problem = "is missing; give a content or the size of a texture"
        raise RecipeError("content", problem if content is None else "is given and a texture too; give one")
    if texture is not None:
        for side, length in zip(("width", "height"), texture, strict=True):
            if not MIN_SIDE <= length <= MAX_LONGEST_SIDE:
                problem = f"is {length} px; give {MIN_SIDE} to {MAX_LONGEST_SIDE}"
                raise RecipeError(f"texture.{side}", problem)
    width, height = texture if content is None else pixels.picture_size(content)  # type: ignore[misc]
    recipe = recipe.resolve(width, height, texture=texture is not None)
    if recipe.precision == "auto":
        recipe = dataclasses.replace(recipe, precision=auto_precision)
    return recipe


def _canvas(
    recipe: Recipe,
    content: Picture | None,
    texture: tuple[int, int] | None,
    selection: Image.Image | None,
) -> Canvas:
    assert recipe.longest_side is not None
    if content is None:
        assert texture is not None
        return texture_canvas(texture)
    return content_canvas(content, recipe.longest_side, selection)


def _in_precision(network: Network, recipe: Recipe) -> Network:
    return network.in_dtype(torch.bfloat16) if recipe.precision == "bfloat16" else network


def _held_bytes(
    content: Picture | None,
    styles: Sequence[Style],
    start_image: Picture | None,
    regions: Sequence[Region],
    selection: Image.Image | None,
) -> int:
    """Memory of the pictures that a session keeps; of one that has several uses once."""
    masks = [mask for region in regions for mask in (region.content_mask, region.style_mask)]
    kept = [content, start_image, selection, *(style.image for style in styles), *masks]
    total = 0
    for picture in {id(each): each for each in kept if each is not None}.values():
        width, height = pixels.picture_size(picture)
        if isinstance(picture, np.ndarray):
            total += picture.nbytes
        else:
            total += width * height * len(picture.getbands())
    return total


def _mib(size: int) -> int:
    return math.ceil(size / (1 << 20))


def _check_images(
    recipe: Recipe,
    content: Picture | None,
    styles: Sequence[Style],
    start_image: Picture | None,
    selection: Image.Image | None,
) -> None:
    if not 1 <= len(styles) <= MAX_STYLES:
        raise RecipeError("styles", f"are {len(styles)}; give 1 to {MAX_STYLES}")
    for index, style in enumerate(styles):
        if not 0 < style.weight < math.inf:
            raise RecipeError(f"styles[{index}].weight", f"is {style.weight:g}; give a number above 0")
    if (recipe.start == "image") != (start_image is not None):
        raise RecipeError(
            "start_image",
            "is missing; the recipe's start is 'image'"
            if start_image is None
            else f"is given, but the recipe's start is {recipe.start!r}; make it 'image'",
        )
    if selection is not None and content is None:
        raise RecipeError("selection", "is given, but a texture has no content; leave it out")
    pictures: dict[str, tuple[Picture, str]] = {
        f"styles[{index}].image": (style.image, "RGB") for index, style in enumerate(styles)
    }
    for field, picture, mode in (
        ("content", content, "RGB"),
        ("start_image", start_image, "RGB"),
        ("selection", selection, "L"),
    ):
        if picture is not None:
            pictures[field] = (picture, mode)
    for field, (picture, mode) in pictures.items():
        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[2] != 3:
                raise RecipeError(field, "is an array, but not (H, W, 3) of uint16; give such a one")
        elif picture.mode != mode:
            raise RecipeError(field, f"has the mode {picture.mode}; convert it to {mode}")


def _check_regions(regions: Sequence[Region], styles: int, content: Picture | None) -> None:
    if len(regions) > MAX_REGIONS:
        raise RecipeError("regions", f"are {len(regions)}; give at most {MAX_REGIONS}")
    if regions and content is None:
        raise RecipeError("regions", "are given, but a texture has no content; leave them out")
    for index, region in enumerate(regions):
        if not 0 <= region.style < styles:
            raise RecipeError(
                f"regions[{index}].style", f"is {region.style}; there are {styles} styles, from 0"
            )
        for field, mask in (("content_mask", region.content_mask), ("style_mask", region.style_mask)):
            if mask is None:
                continue
            if mask.mode != "L":
                raise RecipeError(f"regions[{index}].{field}", f"has the mode {mask.mode}; convert it to L")
            if mask.getbbox() is None:
                raise RecipeError(
                    f"regions[{index}].{field}", "is black everywhere; paint white what it is for"
                )
