"""The sizes that a painting grows through, coarse to fine, and the evaluations made at each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from impasto_server.engine.objectives.definition import Definition
from impasto_server.engine.recipe import MIN_SIDE, Recipe, result_size

LEAST_SHARE = 0.3
"""Evaluations at one scale, in proportion to those at the first, at least: strokes of its own take a scale
some evaluations to settle."""

LEAST_FINISHING = 4
"""Evaluations of a last pass; with fewer there is none."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of the painting on its way, or the last pass at the largest size.

    Attributes:
        width, height: in pixels.
        margin: pixels painted around it on each side.
        evaluations: of the loss, to be made here.
        finishing: whether it is the last pass.
    """

    width: int
    height: int
    margin: int
    evaluations: int
    finishing: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) without the margin."""
        return self.width, self.height

    @property
    def painted_size(self) -> tuple[int, int]:
        """(width, height) that an evaluation sees, with the margin."""
        return self.width + 2 * self.margin, self.height + 2 * self.margin

    @property
    def pixels(self) -> int:
        """What an evaluation sees, the margin too."""
        return math.prod(self.painted_size)


def plan_scales(recipe: Recipe, size: tuple[int, int]) -> list[Scale]:
    """The scales of a painting, coarse to fine, each with its share of the evaluations.

    Args:
        recipe: resolved.
        size: (width, height) of what is painted, in the result's pixels.
    """
    assert recipe.evaluations is not None
    coarsest = recipe.definition.coarsest
    sides = [max(size)]
    if coarsest is not None:
        while sides[0] >= coarsest * 2 and min(result_size(*size, sides[0] // 2)) >= 2 * MIN_SIDE:
            sides.insert(0, math.ceil(sides[0] / 2))
    # Every scale needs one evaluation.
    sides = sides[-recipe.evaluations :]
    definition = recipe.definition
    scales = [Scale(*result_size(*size, side), definition.margin, 0) for side in sides]
    return _finished(recipe.evaluations, scales, definition)


def replanned(recipe: Recipe, scales: Sequence[Scale], at: int, made_here: int, made: int) -> list[Scale]:
    """The scales for another number of evaluations: what is over stays, the rest is spread anew; a last pass
    that has not begun comes or goes with it.

    Args:
        recipe: resolved, with that number.
        scales: so far.
        at: index of the scale at work.
        made_here, made: evaluations made at it, and in all.
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
    """Evaluations that the scales from an index on need at least: one each, but for a last pass to come."""
    return max(1, sum(not scale.finishing for scale in scales[at:]))


def _finished(evaluations: int, scales: Sequence[Scale], definition: Definition) -> list[Scale]:
    """Scales with their evaluations, and a last pass if there is work for it."""
    if definition.finishing_share:
        finishing = dataclasses.replace(scales[-1], finishing=True)
        planned = _spread(evaluations, [*scales, finishing], definition)
        if planned[-1].evaluations >= LEAST_FINISHING:
            return planned
    return _spread(evaluations, scales, definition)


def _spread(evaluations: int, scales: Sequence[Scale], definition: Definition) -> list[Scale]:
    """Scales with their evaluations, coarse to fine: the coarse ones are cheap, lay down the forms, and get
    more."""
    shares = [max(definition.finer_share**index, LEAST_SHARE) for index in range(len(scales))]
    if scales[-1].finishing and len(scales) > 1:
        shares[-1] = shares[-2] * definition.finishing_share
    counts = [max(1, math.floor(evaluations * share / sum(shares))) for share in shares]
    counts[0] = max(1, counts[0] + evaluations - sum(counts))
    return [
        dataclasses.replace(scale, evaluations=count) for scale, count in zip(scales, counts, strict=True)
    ]
