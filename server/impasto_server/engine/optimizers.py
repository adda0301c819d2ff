"""How the image is moved: Adam and L-BFGS, each told a loss and its gradient, one evaluation at a time."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Optimizer(Protocol):
    """Moves an image, in place, once for each evaluation it is told of."""

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        """Takes the loss and its gradient (shape of the image) where the image is, and moves it.

        Returns:
            False if it cannot move it to any use.
        """

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """All it remembers, as tensors and JSON values."""

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Takes up a state, its tensors on the image's device."""


class Adam:
    """Adam (Kingma, Ba 2015) as torch implements it; β₁ 0.5 and β₂ 0.999 as in the report's program."""

    def __init__(self, image: torch.Tensor, learning_rate: float) -> None:
        self._image = image
        self._adam = torch.optim.Adam([image], lr=learning_rate, betas=(0.5, 0.999))

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        self._image.grad = gradient
        self._adam.step()
        self._image.grad = None
        return True

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return dict(self._adam.state.get(self._image, {})), {}

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        if tensors:
            # Adam counts its steps on the CPU.
            self._adam.state[self._image] = {**tensors, "step": tensors["step"].cpu()}


class LBFGS:
    """L-BFGS (Nocedal, Wright: Numerical Optimization, algorithm 7.4) without a line search.

    Full quasi-Newton steps need one evaluation each and nearly always lower these losses. One that makes
    the loss much worse or not finite is taken back and halved.

    Args:
        image: moved in place.
        learning_rate: factor of each step.
        history: pairs of steps and gradient changes remembered.
    """

    FIRST_STEP = 0.02
    """Root mean square of the first move, in units of the normalised image: nothing is known of the
    curvature yet."""

    WORSE = 1.5
    """A loss this many times the last one is taken back."""

    RETRIES = 8

    def __init__(self, image: torch.Tensor, learning_rate: float, history: int) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._history = history
        self._pairs: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        self._before: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self._move: torch.Tensor | None = None
        self._retries = 0

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        gradient = gradient.flatten()
        if self._before is not None and self._move is not None:
            image, last_gradient, last_loss = self._before
            if not (loss <= self.WORSE * last_loss and bool(gradient.isfinite().all())):
                return self._take_back(image)
            self._learn(self._move, gradient - last_gradient)
        self._retries = 0
        self._before = None
        self._move = self._direction(gradient)
        if self._move is None:
            return False
        self._before = (self._image.detach().flatten().clone(), gradient, loss)
        self._image.add_(self._move.view_as(self._image))
        return True

    def _take_back(self, image: torch.Tensor) -> bool:
        """Goes back to where the last move began, and a quarter of it forward."""
        assert self._move is not None
        self._retries += 1
        # What was learnt on the way here does not hold.
        self._pairs.clear()
        self._move *= 0.25
        self._image.copy_((image + self._move).view_as(self._image))
        return self._retries <= self.RETRIES

    def _learn(self, move: torch.Tensor, change: torch.Tensor) -> None:
        curvature = float(change @ move)
        if curvature > 1e-10 * float(move @ move):
            self._pairs.append((move, change, curvature))
            del self._pairs[: -self._history]

    def _direction(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """The move: the learning rate times −H g, H the inverse Hessian's estimate."""
        if not self._pairs:
            norm = float(gradient.norm())
            if not 0 < norm < float("inf"):
                return None
            length = self._learning_rate * self.FIRST_STEP * gradient.numel() ** 0.5
            return gradient.mul(-length / norm)
        direction = gradient.neg()
        alphas = []
        for s, y, ys in reversed(self._pairs):
            alpha = float(s @ direction) / ys
            direction.add_(y, alpha=-alpha)
            alphas.append(alpha)
        _, y, ys = self._pairs[-1]
        direction.mul_(ys / float(y @ y))
        for (s, y, ys), alpha in zip(self._pairs, reversed(alphas), strict=True):
            beta = float(y @ direction) / ys
            direction.add_(s, alpha=alpha - beta)
        return direction.mul_(self._learning_rate)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors: dict[str, torch.Tensor] = {}
        for index, (s, y, _) in enumerate(self._pairs):
            tensors |= {f"s{index}": s, f"y{index}": y}
        values: dict[str, Any] = {"curvatures": [ys for _, _, ys in self._pairs], "retries": self._retries}
        if self._before is not None and self._move is not None:
            image, gradient, loss = self._before
            tensors |= {"before": image, "gradient": gradient, "move": self._move}
            values["loss"] = loss
        return tensors, values

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        self._pairs = [(tensors[f"s{i}"], tensors[f"y{i}"], ys) for i, ys in enumerate(values["curvatures"])]
        self._retries = values["retries"]
        if "move" in tensors:
            self._move = tensors["move"]
            self._before = (tensors["before"], tensors["gradient"], values["loss"])
