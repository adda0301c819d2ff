"""How the image is moved: Adam and L-BFGS, each told a loss and its gradient, one evaluation at a time."""

from __future__ import annotations

from typing import Protocol

import torch


class Optimizer(Protocol):
    """Moves an image, in place, once for each evaluation it is told of."""

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        """Takes the loss and its gradient (shape of the image) where the image is, and moves it.

        Returns:
            False if it cannot move it to any use.
        """


class Adam:
    """Adam as torch implements it (Kingma, Ba 2015); β₁ 0.5 and β₂ 0.999 as in the report's program."""

    def __init__(self, image: torch.Tensor, learning_rate: float) -> None:
        self._image = image
        self._adam = torch.optim.Adam([image], lr=learning_rate, betas=(0.5, 0.999))

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        self._image.grad = gradient
        self._adam.step()
        self._image.grad = None
        return True


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

    def __init__(self, image: torch.Tensor, learning_rate: float, history: int = 12) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._history = history
        self._steps: list[torch.Tensor] = []
        self._changes: list[torch.Tensor] = []
        self._curvatures: list[float] = []
        self._before: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self._move: torch.Tensor | None = None
        self._retries = 0

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        gradient = gradient.flatten()
        if self._before is not None and self._move is not None:
            image, last_gradient, last_loss = self._before
            if not (loss <= self.WORSE * last_loss and bool(gradient.isfinite().all())):
                self._retries += 1
                # What was learnt on the way here does not hold.
                self._forget()
                self._move *= 0.25
                self._image.copy_(image + self._move.view_as(image))
                return self._retries <= self.RETRIES
            change = gradient - last_gradient
            curvature = float(change @ self._move)
            if curvature > 1e-10 * float(self._move @ self._move):
                self._steps.append(self._move)
                self._changes.append(change)
                self._curvatures.append(curvature)
                if len(self._steps) > self._history:
                    del self._steps[0], self._changes[0], self._curvatures[0]
        self._retries = 0
        self._move = self._direction(gradient)
        if self._move is None:
            return False
        self._before = (self._image.detach().clone(), gradient, loss)
        self._image.add_(self._move.view_as(self._image))
        return True

    def _forget(self) -> None:
        self._steps.clear()
        self._changes.clear()
        self._curvatures.clear()

    def _direction(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """The move: the learning rate times −H g, H the inverse Hessian's estimate."""
        if not self._steps:
            norm = float(gradient.norm())
            if not 0 < norm < float("inf"):
                return None
            length = self._learning_rate * self.FIRST_STEP * gradient.numel() ** 0.5
            return gradient.mul(-length / norm)
        direction = -gradient
        alphas = []
        for s, y, ys in zip(
            reversed(self._steps), reversed(self._changes), reversed(self._curvatures), strict=True
        ):
            alpha = float(s @ direction) / ys
            direction.add_(y, alpha=-alpha)
            alphas.append(alpha)
        y = self._changes[-1]
        direction.mul_(self._curvatures[-1] / float(y @ y))
        for s, y, ys, alpha in zip(
            self._steps, self._changes, self._curvatures, reversed(alphas), strict=True
        ):
            beta = float(y @ direction) / ys
            direction.add_(s, alpha=alpha - beta)
        return direction.mul_(self._learning_rate)
