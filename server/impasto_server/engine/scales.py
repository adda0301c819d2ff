"""The scales of a painting, from coarse to fine, and the number of evaluations at each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from impasto_server.engine.objectives.definition import Definition
from impasto_server.engine.recipe import MIN_SIDE, Recipe, result_size

LEAST_SHARE = 0.3
"""Minimum number of evaluations at a scale, as a share of those at the first. Each scale needs some
evaluations until its own strokes settle."""

LEAST_FINISHING = 4
"""Minimum number of evaluations of a last pass. If it would have fewer, there is no last pass."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of the painting, or the last pass at the largest size.

    Attributes:
        width, height: size without the margin, in pixels.
        margin: pixels that are painted around it on each side.
        evaluations: number of evaluations of the loss at this scale.
        finishing: whether this is the last pass.
    """

    width: int
    height: int
    margin: int
    evaluations: int
    finishing: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels without the margin."""
        return self.width, self.height

    @property
    def painted_size(self) -> tuple[int, int]:
        """(width, height) in pixels with the margin."""
        return self.width + 2 * self.margin, self.height + 2 * self.margin

    @property
    def pixels(self) -> int:
        """Number of pixels of an evaluation, with the margin."""
        return math.prod(self.painted_size)


def plan_scales(recipe: Recipe, size: tuple[int, int]) -> list[Scale]:
    """Plans the scales of a painting, from coarse to fine, each with its share of the evaluations.

    Args:
        recipe: resolved recipe.
        size: (width, height) of the painted part, in the result's pixels.
    """
    assert recipe.evaluations is not None
    coarsest = recipe.definition.coarsest
    sides = [max(size)]
    if coarsest is not None:
        while sides[0] >= coarsest * 2 and min(result_size(*size, sides[0] // 2)) >= 2 * MIN_SIDE:
            sides.insert(0, math.ceil(sides[0] / 2))
    # Every scale needs at least one evaluation.
    sides = sides[-recipe.evaluations :]
    definition = recipe.definition
    scales = [Scale(*result_size(*size, side), definition.margin, 0) for side in sides]
    return _finished(recipe.evaluations, scales, definition)


def replanned(recipe: Recipe, scales: Sequence[Scale], at: int, made_here: int, made: int) -> list[Scale]:
    """Plans the scales again for another number of evaluations.

    Finished scales stay as they are, and the remaining evaluations are spread over the others. A last pass
    that has not begun is added or dropped as needed.

    Args:
        recipe: resolved recipe with the new number.
        scales: the scales so far.
        at: index of the current scale.
        made_here, made: number of evaluations made at the current scale, and at all scales.
    """
    assert recipe.evaluations is not None
    left = max(least_left(scales, at), recipe.evaluations - made)
    remaining = [scale for scale in scales[at:] if not scale.finishing]
    if remaining:
        current, *later = _finished(left, remaining, recipe.definition)
    else:
        current, *later = _spread(left, scales[at:], recipe.definition)
    current = dataclasses.replace(current, evaluations=current.evaluations + made_here)
    return [*scales[:at], current, *later]


def least_left(scales: Sequence[Scale], at: int) -> int:
    """Returns the minimum number of evaluations for the scales from index `at` on.

    Each needs one, except a last pass that has not begun, which can be dropped.
    """
    return max(1, sum(not scale.finishing for scale in scales[at:]))


def _finished(evaluations: int, scales: Sequence[Scale], definition: Definition) -> list[Scale]:
    """Returns the scales with their numbers of evaluations, and a last pass if there are enough for one."""
    if definition.finishing_share:
        finishing = dataclasses.replace(scales[-1], finishing=True)
        planned = _spread(evaluations, [*scales, finishing], definition)
        if planned[-1].evaluations >= LEAST_FINISHING:
            return planned
    return _spread(evaluations, scales, definition)


def _spread(evaluations: int, scales: Sequence[Scale], definition: Definition) -> list[Scale]:
    """Returns the scales with their numbers of evaluations, from coarse to fine.

    Coarse scales get more: their evaluations are cheap, and they decide the large forms.
    """
    shares = [max(definition.finer_share**index, LEAST_SHARE) for index in range(len(scales))]
    if scales[-1].finishing and len(scales) > 1:
        shares[-1] = shares[-2] * definition.finishing_share
    counts = [max(1, math.floor(evaluations * share / sum(shares))) for share in shares]
    counts[0] = max(1, counts[0] + evaluations - sum(counts))
    return [
        dataclasses.replace(scale, evaluations=count) for scale, count in zip(scales, counts, strict=True)
    ]
