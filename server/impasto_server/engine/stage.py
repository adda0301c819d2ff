"""The work at one scale: an image, the optimiser that moves it, and the best image so far."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal

import torch

from impasto_server.engine.objectives.objective import Objective
from impasto_server.engine.optimizers import Optimizer
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scales import Scale

StopReason = Literal["completed", "plateau", "converged", "not_finite"]

PLATEAU_EVALUATIONS = 20
PLATEAU_IMPROVEMENT = 0.002
"""A scale is left when its best loss has fallen by less than this share in so many evaluations."""

DIVERGED = 1.5
"""Adam's last image, or the average of its images, gives way to the best image if the last loss was more than
this many times the best one."""

_OPTIMIZER = "optimizer."
_KEPT = "kept."


@dataclasses.dataclass
class Stage:
    """The work at one scale.

    Attributes:
        scale: where.
        image: (1, 3, H, W) with the margin, what the optimiser moves.
        optimizer: moves it.
        best_image, best_loss: the best that was evaluated.
        average: running average of the images; None without averaging.
        preparation: makes the objective, as `objectives.objective.preparation` does; None before and after.
        objective: None until it is prepared.
        kept: what the objective's terms keep of an image that has changed since.
        bests: the best loss after each evaluation here.
        seconds, preparing_seconds: spent on evaluations here, and on making the objective.
        trouble: why the optimiser gave up here.
        left: whether the work here is over.
    """

    scale: Scale
    image: torch.Tensor
    optimizer: Optimizer
    best_image: torch.Tensor
    average: torch.Tensor | None
    best_loss: float = math.inf
    preparation: Generator[float, None, Objective] | None = None
    objective: Objective | None = None
    kept: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    bests: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    preparing_seconds: float = 0.0
    trouble: tuple[StopReason, str] | None = None
    left: bool = False

    @property
    def evaluations(self) -> int:
        """How many were made here."""
        return len(self.bests)

    @property
    def evaluations_left(self) -> int:
        """How many are still to be made here."""
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

    def move(self, recipe: Recipe, losses: Sequence[float], gradient: torch.Tensor) -> None:
        """Moves the image, or ends the work here.

        Args:
            recipe: as it is run.
            losses: at the image as it is: total, content, style and total variation.
            gradient: of the total there, shaped like the image.
        """
        loss = losses[0]
        if not math.isfinite(self.best_loss):
            # Nothing to go back to.
            self._give_up("not_finite", _overflow(recipe, losses))
            return
        last = self.evaluations >= self.scale.evaluations
        if recipe.stop_on_plateau and not last and self._is_flat():
            self._settle()
            self.trouble = ("plateau", "")
        elif recipe.optimizer == "adam":
            self.left = last
            moved = _can_descend(loss, gradient) and self.optimizer.step(loss, gradient)
            self._average_in(recipe.averaging or 0.0)
            # The last move is not evaluated: it may have ended anywhere.
            if not moved or (last and not bool(self.image.isfinite().all())):
                self._give_up("not_finite", _overflow(recipe, losses))
            elif last and not loss <= DIVERGED * self.best_loss:
                self._settle()
                self.average = None
        elif last:
            # One more move would not be evaluated.
            self._settle()
        elif not self.optimizer.step(loss, gradient):
            if _can_descend(loss, gradient):
                self._give_up("converged", "no step of the optimiser improved the image any more")
            else:
                self._give_up("not_finite", _overflow(recipe, losses))

    def anew(self, optimizer: Optimizer, *, averaging: bool, keep: bool) -> Stage:
        """The work here when another function is minimised: nothing that was learnt of the last one holds.

        Args:
            optimizer: of this image, fresh.
            averaging: whether to show the images' average.
            keep: whether what the objective keeps still holds.
        """
        return dataclasses.replace(
            self,
            preparation=None,
            objective=None,
            kept=self.kept if keep else {},
            optimizer=optimizer,
            average=self.image.clone() if averaging else None,
            best_loss=math.inf,
            best_image=self.image.clone(),
            bests=[math.inf] * self.evaluations,
        )

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
        """All of it, for a checkpoint: tensors, the optimiser's values and its own, both JSON's."""
        optimizer_tensors, optimizer_values = self.optimizer.state()
        tensors = {"image": self.image, "best_image": self.best_image}
        if self.average is not None:
            tensors["average"] = self.average
        tensors |= {f"{_OPTIMIZER}{name}": tensor for name, tensor in optimizer_tensors.items()}
        tensors |= {f"{_KEPT}{name}": tensor for name, tensor in self.kept.items()}
        values = {
            "best_loss": self.best_loss,
            "bests": list(self.bests),
            "seconds": self.seconds,
            "trouble": self.trouble,
            "left": self.left,
        }
        return tensors, optimizer_values, values

    @classmethod
    def restored(
        cls,
        scale: Scale,
        tensors: Mapping[str, torch.Tensor],
        optimizer_values: dict[str, Any],
        values: dict[str, Any],
        *,
        device: torch.device,
        optimizer: Callable[[torch.Tensor], Optimizer],
    ) -> Stage:
        """The stage of a state.

        Args:
            scale: where.
            tensors, optimizer_values, values: from `state`; the tensors on the CPU.
            device: to work on.
            optimizer: makes the optimiser of an image.
        """
        # Copied, so that they lie in memory as tensors do: sums come out otherwise where they do not.
        image, best_image, average = (
            tensors[name].to(device, copy=True) if name in tensors else None
            for name in ("image", "best_image", "average")
        )
        if image is None or best_image is None:
            raise KeyError("image")
        moves = optimizer(image)
        moves.restore(_beginning(tensors, _OPTIMIZER), optimizer_values)
        return cls(
            scale,
            image,
            moves,
            best_image,
            average,
            best_loss=values["best_loss"],
            kept={name: kept.to(device, copy=True) for name, kept in _beginning(tensors, _KEPT).items()},
            bests=values["bests"],
            seconds=values["seconds"],
            trouble=tuple(values["trouble"]) if values["trouble"] else None,
            left=values["left"],
        )

    def _average_in(self, decay: float) -> None:
        if self.average is not None:
            # The first images are far from any good: the average grows with what there is to average.
            decay = min(decay, (1 + self.evaluations) / (10 + self.evaluations))
            self.average.lerp_(self.image, 1 - decay)

    def _is_flat(self) -> bool:
        """Whether the loss hardly falls any more."""
        if self.evaluations <= PLATEAU_EVALUATIONS:
            return False
        before = self.bests[-1 - PLATEAU_EVALUATIONS]
        return before - self.bests[-1] < PLATEAU_IMPROVEMENT * abs(before)

    def _settle(self) -> None:
        """Goes back to the best image: without a line search the newest is not always that."""
        self.image.copy_(self.best_image)
        self.left = True

    def _give_up(self, reason: StopReason, why: str) -> None:
        """Leaves this scale early, with its best image."""
        self._settle()
        self.average = None
        self.trouble = (
            reason,
            f"stopped at {self.scale.width} × {self.scale.height} after {self.evaluations} evaluations: "
            f"{why}; the result is the best image before that",
        )


def _can_descend(loss: float, gradient: torch.Tensor) -> bool:
    """Whether loss and gradient, and the gradient's square, are finite: no optimiser can do with less."""
    return math.isfinite(loss) and math.isfinite(float(gradient.norm()))


def _overflow(recipe: Recipe, losses: Sequence[float]) -> str:
    """Why a loss or its gradient is not finite, and what to do; losses as for `Stage.move`."""
    names = ("content_weight", "style_weight", "tv_weight")
    weights = [getattr(recipe, name) for name in names]
    # A term that is not there has a loss of 0, whatever its weight is.
    weighed = [weight * loss if loss else 0.0 for weight, loss in zip(weights, losses[1:], strict=True)]
    # A loss that is not a number is the one.
    heaviest = max(range(3), key=lambda term: math.inf if math.isnan(weighed[term]) else weighed[term])
    return (
        f"the loss or its gradient was not finite; a lower learning_rate or a lower {names[heaviest]} "
        f"(it is {weights[heaviest]:g}) may help"
    )


def _beginning(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
