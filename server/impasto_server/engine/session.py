"""A painting being made: a state machine that evaluates the loss once at each step and moves the image."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from PIL import Image

from impasto_server.engine import pixels
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import SHAPES, Objective
from impasto_server.engine.optimizers import LBFGS, Adam, Optimizer
from impasto_server.engine.recipe import MAX_STYLES, MIN_SIDE, Recipe, RecipeError, result_size

StopReason = Literal["completed", "converged", "not_finite"]

COARSEST = 128
"""Longer side, in pixels, that a painting from coarse to fine begins at or a little above."""

FINER_SHARE = 0.45
"""Evaluations at one scale, in proportion to those at the scale before it."""

MARGIN = 16
"""Pixels painted around the picture and cut off, where a scale begins from a coarser one."""

COARSEST_MARGIN = 32
"""The same at the first scale, where large forms are laid down."""


@dataclasses.dataclass(frozen=True)
class Style:
    """A painting to learn the style from.

    Attributes:
        image: mode RGB.
        weight: its share beside the other styles', above 0.
    """

    image: Image.Image
    weight: float = 1.0


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
        objective: None until the first evaluation, which pays for its targets.
        evaluations, seconds: made and spent here.
        trouble: why the optimiser gave up here.
        left: whether the work here is over.
    """

    scale: Scale
    image: torch.Tensor
    optimizer: Optimizer
    best_image: torch.Tensor
    best_loss: float = math.inf
    objective: Objective | None = None
    evaluations: int = 0
    seconds: float = 0.0
    trouble: tuple[StopReason, str] | None = None
    left: bool = False

    @property
    def evaluations_left(self) -> int:
        return 0 if self.left else self.scale.evaluations - self.evaluations

    @property
    def picture(self) -> torch.Tensor:
        """The image without its margin."""
        margin = self.scale.margin
        return self.image[:, :, margin : margin + self.scale.height, margin : margin + self.scale.width]

    def note(self, loss: float) -> None:
        """Keeps the image if it is the best so far."""
        self.evaluations += 1
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_image = self.image.clone()

    def give_up(self, reason: StopReason, why: str) -> None:
        """Leaves this scale early, with its best image."""
        self.image.copy_(self.best_image)
        self.left = True
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
        content: the photograph, mode RGB.
        styles: at least one painting.
        network: the feature network, on the device to use.
        start_image: what to start from, mode RGB; for a recipe whose `start` is "image" only.
        auto_precision: what the recipe's precision "auto" means here.

    Attributes:
        recipe: as it is run, every field set.
        size: (width, height) of the result in pixels.
        stop_reason: None until `done`.
        stop_message: the reason in a sentence.

    Raises:
        RecipeError: something cannot be painted.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        content: Image.Image,
        styles: Sequence[Style],
        network: Network,
        start_image: Image.Image | None = None,
        auto_precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        _check_images(recipe, content, styles, start_image)
        recipe = recipe.resolve(*content.size)
        if recipe.precision == "auto":
            recipe = dataclasses.replace(recipe, precision=auto_precision)
        assert recipe.longest_side is not None
        self.recipe = recipe
        self.size = result_size(*content.size, recipe.longest_side)
        self.stop_reason: StopReason | None = None
        self.stop_message = ""
        self._shape = SHAPES[recipe.objective]
        self._content = content
        self._styles = list(styles)
        self._start_image = start_image
        self._network = network.in_dtype(torch.bfloat16) if recipe.precision == "bfloat16" else network
        # The image, the losses and the optimiser keep the network's own arithmetic: float32, as a rule.
        self._like = torch.empty(0, dtype=network.dtype, device=network.device)
        self._scales = plan_scales(recipe, content.size)
        self._scale = 0
        self._evaluation = 0
        self._seconds = 0.0
        self._stage = self._enter(self._starting_image())

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.stop_reason is not None

    def __iter__(self) -> Iterator[Progress]:
        while not self.done:
            yield self.step()

    def picture(self, max_side: int | None = None) -> Image.Image:
        """The image as it is now; once `done`, the result.

        Args:
            max_side: longer side at most, in pixels.
        """
        return pixels.to_picture(self._stage.picture, max_side)

    def step(self) -> Progress:
        """Evaluates the loss once and moves the image.

        Raises:
            RuntimeError: the session is done, or the device failed (out of memory).
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

    def _evaluate(self, stage: _Stage) -> tuple[list[float], torch.Tensor]:
        """Total, content, style and TV loss of the image as it is, and the total's gradient."""
        if stage.objective is None:
            content = pixels.to_tensor(self._content, stage.scale.size, like=self._like)
            content = pixels.with_margin(content, stage.scale.margin)
            styles = self._style_tensors(stage.scale)
            stage.objective = Objective(self.recipe, self._network, content, styles)
        image = stage.image.detach().requires_grad_(True)
        losses = stage.objective(image)
        (gradient,) = torch.autograd.grad(losses.total, image)
        # One transfer from the device for all the numbers.
        numbers = torch.stack([losses.total, losses.content, losses.style, losses.tv]).detach().tolist()
        return numbers, gradient

    def _move(self, stage: _Stage, loss: float, gradient: torch.Tensor) -> None:
        last = stage.evaluations == stage.scale.evaluations
        if self.recipe.optimizer == "adam":
            stage.left = last
            moved = math.isfinite(loss) and stage.optimizer.step(loss, gradient)
            # The last move is not evaluated: it may have ended anywhere.
            if not moved or (last and not bool(stage.image.isfinite().all())):
                stage.give_up("not_finite", "the loss was not finite; a lower learning rate may help")
        elif last:
            # Without a line search the newest image is not always the best, and one more move would not be
            # evaluated.
            stage.left = True
            stage.image.copy_(stage.best_image)
        elif not stage.optimizer.step(loss, gradient):
            if math.isfinite(loss):
                stage.give_up("converged", "no step of the optimiser improved the image any more")
            else:
                stage.give_up("not_finite", "the loss was not finite; a lower learning rate may help")

    def _leave(self, stage: _Stage) -> None:
        """Goes on to the next scale, or ends."""
        self._scale += 1
        if self._scale < len(self._scales):
            self._stage = self._enter(stage.picture)
            return
        self._scale -= 1
        self.stop_reason, self.stop_message = stage.trouble or (
            "completed",
            f"all {self._evaluation} evaluations were made",
        )
        # What the picture does not need is given back.
        stage.objective = None

    def _enter(self, image: torch.Tensor) -> _Stage:
        """Begins a scale with an image (1, 3, H, W) of any size, without margin."""
        scale = self._scales[self._scale]
        if (image.shape[3], image.shape[2]) != scale.size:
            image = pixels.resized(image, scale.size)
        if self._shape.match_palette:
            image = pixels.match_palette(image, self._style_tensors(scale))
        image = pixels.with_margin(image, scale.margin).clone()
        learning_rate = self.recipe.learning_rate
        assert learning_rate is not None
        optimizer = Adam if self.recipe.optimizer == "adam" else LBFGS
        return _Stage(scale, image, optimizer(image, learning_rate), best_image=image.clone())

    def _starting_image(self) -> torch.Tensor:
        size = self._scales[0].size
        if self.recipe.start == "noise":
            return pixels.noise(size, self.recipe.seed, like=self._like)
        start = self._content if self._start_image is None else self._start_image
        return pixels.to_tensor(start, size, like=self._like)

    def _style_tensors(self, scale: Scale) -> list[tuple[torch.Tensor, float]]:
        """The styles, and their weights, at the size that goes with a scale."""
        return [
            (pixels.to_tensor(style.image, self._style_size(style, scale), like=self._like), style.weight)
            for style in self._styles
        ]

    def _style_size(self, style: Style, scale: Scale) -> tuple[int, int]:
        if self._shape.style_as_content:
            return scale.size
        # As many pixels as the content has here, so that strokes are as large beside it whatever the two
        # shapes are; never enlarged, which would teach blur.
        width, height = style.image.size
        factor = min(1.0, math.sqrt(scale.width * scale.height / (width * height)))
        return max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))


def plan_scales(recipe: Recipe, content_size: tuple[int, int]) -> list[Scale]:
    """The sizes that a painting grows through, coarse to fine, each with its share of the evaluations.

    Args:
        recipe: resolved.
        content_size: (width, height) of the content image in pixels.
    """
    assert recipe.longest_side is not None
    assert recipe.evaluations is not None
    shape = SHAPES[recipe.objective]
    sides = [recipe.longest_side]
    if shape.coarse_to_fine:
        while sides[0] >= COARSEST * 2 and min(result_size(*content_size, sides[0] // 2)) >= 2 * MIN_SIDE:
            sides.insert(0, math.ceil(sides[0] / 2))
    # Every scale needs one evaluation; the coarse ones are cheap, lay down the forms, and get more.
    sides = sides[-recipe.evaluations :]
    shares = [FINER_SHARE**index for index in range(len(sides))]
    counts = [max(1, math.floor(recipe.evaluations * share / sum(shares))) for share in shares]
    counts[0] += recipe.evaluations - sum(counts)
    margins = [COARSEST_MARGIN if index == 0 else MARGIN for index in range(len(sides))]
    return [
        Scale(*result_size(*content_size, side), margin if shape.margin else 0, count)
        for side, margin, count in zip(sides, margins, counts, strict=True)
    ]


def _check_images(
    recipe: Recipe, content: Image.Image, styles: Sequence[Style], start_image: Image.Image | None
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
    pictures = {"content": content, **{f"styles[{i}].image": style.image for i, style in enumerate(styles)}}
    if start_image is not None:
        pictures["start_image"] = start_image
    for field, picture in pictures.items():
        if picture.mode != "RGB":
            raise RecipeError(field, f"has the mode {picture.mode}; convert it to RGB")
