"""The state of the work at one scale: the image, the optimiser that moves it, and the best image so far."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal

import torch

from impasto_server.engine.evaluation import Evaluation
from impasto_server.engine.objectives.objective import Objective
from impasto_server.engine.optimizers import Optimizer
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scales import Scale

StopReason = Literal["completed", "plateau", "converged", "not_finite"]

PLATEAU_EVALUATIONS = 20
PLATEAU_IMPROVEMENT = 0.002
"""A scale ends early if its best loss has fallen by less than the share `PLATEAU_IMPROVEMENT` in the last
`PLATEAU_EVALUATIONS`."""

DIVERGED = 1.5
"""If Adam's last loss is more than this many times the best one, the best image is used instead of the last
image or the average."""

_OPTIMIZER = "optimizer."
_KEPT = "kept."


@dataclasses.dataclass
class Stage:
    """The state of the work at one scale.

    Attributes:
        scale: the scale.
        image: (1, 3, H, W) with the margin; the optimiser moves it.
        optimizer: the optimiser of `image`.
        best_image, best_loss: the evaluated image with the lowest loss, and that loss.
        average: running average of the images; None without averaging.
        preparation: the generator `objectives.objective.preparation`, while it makes the objective; otherwise
            None.
        objective: the objective; None until it is made.
        kept: `Terms.kept` of the objective.
        bests: the lowest loss so far after each evaluation at this scale.
        seconds, preparing_seconds: time spent on evaluations at this scale, and on making the objective.
        trouble: reason and message if this scale ended early; otherwise None.
        left: whether the work at this scale is finished.
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
        """Number of evaluations made at this scale."""
        return len(self.bests)

    @property
    def evaluations_left(self) -> int:
        """Number of evaluations still to be made at this scale."""
        return 0 if self.left else self.scale.evaluations - self.evaluations

    @property
    def shown(self) -> torch.Tensor:
        """The average of the images, or without averaging the image, without the margin."""
        margin = self.scale.margin
        image = self.image if self.average is None else self.average
        return image[:, :, margin : margin + self.scale.height, margin : margin + self.scale.width]

    def look(self, evaluation: Evaluation) -> tuple[list[float], list[float]]:
        """Returns what `move` needs of an evaluation of the image as it is: the losses, and `Optimizer.look`.

        This is the one transfer from the device in a step, and nothing after it in the step allocates a large
        tensor: out of memory can be dealt with here, where nothing has changed yet.
        """
        numbers = on_host(torch.cat([evaluation.losses, self.optimizer.look(evaluation.gradient)]))
        return numbers[:4], numbers[4:]

    def note(self, loss: float) -> None:
        """Records the loss of the image, and keeps the image if it is the best so far."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_image.copy_(self.image)
        self.bests.append(self.best_loss)

    def move(self, recipe: Recipe, losses: Sequence[float], seen: Sequence[float]) -> None:
        """Moves the image, or ends the work at this scale.

        Args:
            recipe: the recipe as it is run.
            losses: total, content, style and TV loss of the image as it is.
            seen: what the optimiser saw in the gradient of the total loss.
        """
        loss = losses[0]
        # The norm of the gradient, like the loss, must be finite for every optimiser.
        can_descend = math.isfinite(loss) and math.isfinite(seen[0])
        if not math.isfinite(self.best_loss):
            # There is no good image to go back to.
            self._give_up("not_finite", _overflow(recipe, losses))
            return
        last = self.evaluations >= self.scale.evaluations
        if recipe.stop_on_plateau and not last and self._is_flat():
            self._settle()
            self.trouble = ("plateau", "")
        elif recipe.optimizer == "adam":
            self.left = last
            moved = can_descend and self.optimizer.step(loss, seen)
            self._average_in(recipe.averaging or 0.0)
            # The image after the last move is not evaluated and may not even be finite.
            if not moved or (last and not _is_finite(self.image)):
                self._give_up("not_finite", _overflow(recipe, losses))
            elif last and not loss <= DIVERGED * self.best_loss:
                self._settle()
                self.average = None
        elif last:
            # One more move would not be evaluated.
            self._settle()
        elif not self.optimizer.step(loss, seen):
            if can_descend:
                self._give_up("converged", "the optimiser found no step that improves the image")
            else:
                self._give_up("not_finite", _overflow(recipe, losses))

    def anew(self, optimizer: Optimizer, *, averaging: bool, keep: bool) -> Stage:
        """Returns a stage that goes on from this image with another objective.

        The best loss, the average and the optimiser's state belong to the old objective and are dropped.

        Args:
            optimizer: a new optimiser of this image.
            averaging: whether to average the images.
            keep: whether `kept` is still valid.
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
        """Returns the state for a checkpoint: tensors, and the optimiser's and its own JSON values."""
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
        """Returns the stage of a state.

        Args:
            scale: the scale.
            tensors, optimizer_values, values: from `state`; the tensors on the CPU.
            device: device to work on.
            optimizer: makes the optimiser of an image.
        """
        # Always copied: sums can differ in the last bit if a tensor keeps a file's alignment in memory.
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
            # The first images are poor, so the decay starts low and the average forgets them quickly.
            decay = min(decay, (1 + self.evaluations) / (10 + self.evaluations))
            self.average.lerp_(self.image, 1 - decay)

    def _is_flat(self) -> bool:
        """Whether the loss has almost stopped falling."""
        if self.evaluations <= PLATEAU_EVALUATIONS:
            return False
        before = self.bests[-1 - PLATEAU_EVALUATIONS]
        return before - self.bests[-1] < PLATEAU_IMPROVEMENT * abs(before)

    def _settle(self) -> None:
        """Ends the scale with the best image; without a line search, the newest is not always the best."""
        self.image.copy_(self.best_image)
        self.left = True

    def _give_up(self, reason: StopReason, why: str) -> None:
        """Ends the scale early with its best image and a reason."""
        self._settle()
        self.average = None
        made = "1 evaluation" if self.evaluations == 1 else f"{self.evaluations} evaluations"
        self.trouble = (
            reason,
            f"stopped at {self.scale.width} × {self.scale.height} pixels after {made}: {why}; the result is "
            "the best image before that",
        )


def on_host(tensor: torch.Tensor) -> list[float]:
    """Returns the numbers of a vector; waits for the device to finish everything that it was given."""
    numbers: list[float] = tensor.tolist()
    return numbers


def _is_finite(image: torch.Tensor) -> bool:
    # As a product, because `isfinite` makes another tensor of the image's size.
    flat = image.view(-1)
    return math.isfinite(*on_host(torch.dot(flat, flat)[None]))


def _overflow(recipe: Recipe, losses: Sequence[float]) -> str:
    """Returns why a loss or its gradient is not finite, and what to do; losses as for `Stage.move`."""
    names = ("content_weight", "style_weight", "tv_weight")
    weights = [getattr(recipe, name) for name in names]
    # A missing term has a loss of 0, even if its weight is infinite.
    weighed = [weight * loss if loss else 0.0 for weight, loss in zip(weights, losses[1:], strict=True)]
    # If a loss is not a number, it is the cause.
    heaviest = max(range(3), key=lambda term: math.inf if math.isnan(weighed[term]) else weighed[term])
    return (
        f"the loss or its gradient was not finite; try a lower learning_rate or a lower {names[heaviest]} "
        f"(now {weights[heaviest]:g})"
    )


def _beginning(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Returns the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
