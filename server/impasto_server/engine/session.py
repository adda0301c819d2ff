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
from impasto_server.engine.objectives import SHAPES, Losses, Objective
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
        self._content = content
        self._styles = list(styles)
        self._start_image = start_image
        self._network = network.in_dtype(torch.bfloat16) if recipe.precision == "bfloat16" else network
        # The image, the losses and the optimiser keep the network's own arithmetic: float32, as a rule.
        self._like = torch.empty(0, dtype=network.dtype, device=network.device)
        self._scales = plan_scales(recipe, content.size)
        self._scale = -1
        self._evaluation = 0
        self._seconds = 0.0
        self._enter_scale(self._starting_image())

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
        return pixels.to_picture(self._without_margin(), max_side)

    def step(self) -> Progress:
        """Evaluates the loss once and moves the image.

        Raises:
            RuntimeError: the session is done, or the device failed (out of memory).
        """
        if self.done:
            raise RuntimeError("the session is done")
        begin = time.perf_counter()
        scale = self._scales[self._scale]
        self._image.requires_grad_(True)
        losses = self._evaluate()
        (gradient,) = torch.autograd.grad(losses.total, self._image)
        self._image.requires_grad_(False)
        # One transfer from the device for all the numbers.
        numbers = torch.stack([losses.total, losses.content, losses.style, losses.tv]).detach().tolist()
        loss = numbers[0]
        self._evaluation += 1
        self._here += 1
        if loss < self._best_loss:
            self._best_loss = loss
            self._best_image = self._image.clone()
        last_here = self._here == scale.evaluations
        position = self._scale
        self._move(loss, gradient, last_here)
        self._seconds += time.perf_counter() - begin
        self._spent_here += time.perf_counter() - begin
        progress = Progress(
            evaluation=self._evaluation,
            evaluations=self._evaluation + self._remaining(),
            scale=position + 1,
            scales=len(self._scales),
            width=scale.width,
            height=scale.height,
            loss=loss,
            content_loss=numbers[1],
            style_loss=numbers[2],
            tv_loss=numbers[3],
            seconds=self._seconds,
            seconds_left=self._seconds_left(scale),
        )
        if self._leave and not self.done:
            self._enter_scale(self._without_margin())
        return progress

    def _evaluate(self) -> Losses:
        if self._objective is None:
            scale = self._scales[self._scale]
            content = pixels.to_tensor(self._content, scale.size, like=self._like)
            content = pixels.with_margin(content, scale.margin)
            self._objective = Objective(self.recipe, self._network, content, self._style_tensors(scale))
        return self._objective(self._image)

    def _move(self, loss: float, gradient: torch.Tensor, last_here: bool) -> None:
        """Moves the image, or ends this scale with its best or newest image."""
        self._leave = last_here
        last_scale = self._scale == len(self._scales) - 1
        if self.recipe.optimizer == "adam":
            if not math.isfinite(loss):
                self._leave = True
                self._image.copy_(self._best_image)
                self._note("not_finite", "the loss was not finite; a lower learning rate may help")
            else:
                self._optimizer.step(loss, gradient)
        elif last_here or not self._optimizer.step(loss, gradient):
            # Without a line search the newest point is not always the best.
            self._image.copy_(self._best_image)
            if not last_here:
                self._leave = True
                if math.isfinite(loss):
                    self._note("converged", "no step of the optimiser improved the image any more")
                else:
                    self._note("not_finite", "the loss was not finite; a lower learning rate may help")
        if self._leave and last_scale:
            # Adam's last move is not evaluated, so that it may have ended anywhere.
            if not bool(self._image.isfinite().all()):
                self._image.copy_(self._best_image)
                self._note("not_finite", "the image was not finite; a lower learning rate may help")
            self._finish()

    def _note(self, reason: StopReason, message: str) -> None:
        scale = self._scales[self._scale]
        self._trouble = (
            reason,
            f"stopped at evaluation {self._evaluation} ({scale.width} × {scale.height}): {message}; "
            "the result is the best image before that",
        )

    def _finish(self) -> None:
        if self._trouble is not None:
            self.stop_reason, self.stop_message = self._trouble
        else:
            self.stop_reason, self.stop_message = "completed", f"all {self._evaluation} evaluations were made"
        self._objective = None

    def _remaining(self) -> int:
        if self.done:
            return 0
        here = 0 if self._leave else self._scales[self._scale].evaluations - self._here
        return here + sum(scale.evaluations for scale in self._scales[self._scale + 1 :])

    def _seconds_left(self, scale: Scale) -> float | None:
        if self.done:
            return 0.0
        # A scale's first evaluation pays for its targets.
        per_pixel = self._spent_here / self._here / scale.pixels
        here = 0 if self._leave else scale.evaluations - self._here
        later = sum(s.evaluations * s.pixels for s in self._scales[self._scale + 1 :])
        return per_pixel * (here * scale.pixels + later)

    def _without_margin(self) -> torch.Tensor:
        scale, margin = self._scales[self._scale], self._scales[self._scale].margin
        return self._image[:, :, margin : margin + scale.height, margin : margin + scale.width]

    def _enter_scale(self, image: torch.Tensor) -> None:
        """Begins the next scale with an image (1, 3, H, W) of any size, without margin."""
        self._scale += 1
        scale = self._scales[self._scale]
        if (image.shape[3], image.shape[2]) != scale.size:
            image = pixels.resized(image, scale.size)
        if SHAPES[self.recipe.objective].match_palette:
            image = pixels.match_palette(image, self._style_tensors(scale))
        self._image = pixels.with_margin(image, scale.margin).clone()
        self._objective: Objective | None = None
        learning_rate = self.recipe.learning_rate
        assert learning_rate is not None
        self._optimizer: Optimizer = (
            Adam(self._image, learning_rate)
            if self.recipe.optimizer == "adam"
            else LBFGS(self._image, learning_rate)
        )
        self._best_loss = math.inf
        self._best_image = self._image.clone()
        self._here = 0
        self._spent_here = 0.0
        self._leave = False
        self._trouble: tuple[StopReason, str] | None = None

    def _starting_image(self) -> torch.Tensor:
        size = self._scales[0].size
        if self.recipe.start == "noise":
            return pixels.noise(size, self.recipe.seed, like=self._like)
        if self._start_image is not None:
            return pixels.to_tensor(self._start_image, size, like=self._like)
        return pixels.to_tensor(self._content, size, like=self._like)

    def _style_tensors(self, scale: Scale) -> list[tuple[torch.Tensor, float]]:
        """The styles at the size that goes with a scale."""
        as_content = SHAPES[self.recipe.objective].style_as_content
        sized = []
        for style in self._styles:
            if as_content:
                size = scale.width, scale.height
            else:
                # As many pixels as the content has here, so that strokes are as large beside it whatever the
                # two shapes are; never enlarged, which would teach blur.
                factor = min(1.0, math.sqrt(scale.width * scale.height / math.prod(style.image.size)))
                width, height = style.image.size
                size = max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))
            sized.append((pixels.to_tensor(style.image, size, like=self._like), style.weight))
        return sized


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
