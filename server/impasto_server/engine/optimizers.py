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
        """Takes up a state.

        Args:
            tensors: on the CPU; they are copied, to the image's device as far as they are used.
            values: what `state` gave beside them.
        """


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
            state = {name: _copied_to(self._image, tensor) for name, tensor in tensors.items()}
            # Adam counts its steps on the CPU.
            self._adam.state[self._image] = {**state, "step": tensors["step"].clone()}


class LBFGS:
    """L-BFGS (Nocedal, Wright: Numerical Optimization, section 7.2) without a line search.

    Full quasi-Newton steps need one evaluation each and nearly always lower these losses. One that makes
    the loss much worse or not finite is taken back and quartered.

    The image is not moved pixel by pixel: it is x = A z, A = I + `COARSE_WEIGHT` · B, B the image's part that
    a coarser grid can hold. In z, where all of this happens, large forms weigh more and settle sooner.

    The inverse Hessian is kept as in Byrd, Nocedal, Schnabel 1994 (section 3): all products with the pairs
    take a few passes over them and a few transfers from the device, where the usual recursion has a transfer
    for each product.

    Args:
        image: (1, 3, H, W), moved in place.
        learning_rate: factor of each step.
        history: pairs of steps and gradient changes remembered.
    """

    FIRST_STEP = 0.02
    """Root mean square of the first move, in units of the normalised image: nothing is known of the
    curvature yet."""

    WORSE = 1.5
    """A loss this many times the last one is taken back."""

    RETRIES = 8

    COARSE_WEIGHT = 1.25
    COARSE_GRID = 4
    """Pixels between the points of the coarser grid."""

    def __init__(self, image: torch.Tensor, learning_rate: float, history: int) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._history = history
        # Steps s and gradient changes y, (2, history, H·W·3), in turns overwritten; in use are the first
        # `_count`, the oldest at 0 or, once all are, at `_next`.
        self._pairs = image.new_empty((2, history, 0))
        self._count = self._next = 0
        # s_i · y_j (of use where s_i is not newer than y_j) and y_i · y_j by the pairs' places; else 0.
        self._sy = torch.zeros((history, history), dtype=torch.float64)
        self._yy = torch.zeros((history, history), dtype=torch.float64)
        self._before: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self._move: torch.Tensor | None = None
        self._retries = 0

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        gradient = self._weighted(gradient).flatten()
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
        self._before = (self._image.detach().clone(), gradient, loss)
        self._image.add_(self._weighted(self._move.view_as(self._image)))
        return True

    def _weighted(self, image: torch.Tensor) -> torch.Tensor:
        """A · image. A is symmetric: what takes z to x takes gradients for x to those for z."""
        height, width = image.shape[2:]
        coarse = [max(1, height // self.COARSE_GRID), max(1, width // self.COARSE_GRID)]
        # B = W Wᵀ, W the interpolation from the coarser grid, with the sums of Wᵀ made means.
        sums = torch.ops.aten.upsample_bilinear2d_backward(
            image.contiguous(), [height, width], [*image.shape[:2], *coarse], False
        )
        factor = self.COARSE_WEIGHT * coarse[0] * coarse[1] / (height * width)
        weighted: torch.Tensor = torch.ops.aten.upsample_bilinear2d(sums, [height, width], False)
        return weighted.mul_(factor).add_(image)

    def _take_back(self, image: torch.Tensor) -> bool:
        """Goes back to where the last move began, and a quarter of it forward."""
        assert self._move is not None
        self._retries += 1
        # What was learnt on the way here does not hold.
        self._count = self._next = 0
        self._sy.zero_()
        self._yy.zero_()
        self._move *= 0.25
        self._image.copy_(image + self._weighted(self._move.view_as(image)))
        return self._retries <= self.RETRIES

    def _learn(self, move: torch.Tensor, change: torch.Tensor) -> None:
        curvature, length = torch.stack([change @ move, move @ move]).tolist()
        if not curvature > 1e-10 * length:
            return
        if not self._pairs.numel():
            self._pairs = move.new_empty((2, self._history, len(move)))
        place = self._next
        self._pairs[0, place] = move
        self._pairs[1, place] = change
        self._next = (place + 1) % self._history
        self._count = max(self._count, place + 1)
        steps, changes = self._pairs[:, : self._count]
        products = torch.stack([torch.mv(steps, change), torch.mv(changes, change)]).cpu().double()
        self._sy[: self._count, place] = products[0]
        self._yy[: self._count, place] = self._yy[place, : self._count] = products[1]

    def _direction(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """The move: the learning rate times −H g, H the inverse Hessian's estimate:
        γ I + [S γY] [[R⁻ᵀ (D + γ YᵀY) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]] [S γY]ᵀ, R the upper triangle of SᵀY, D its
        diagonal."""
        if not self._count:
            norm = float(gradient.norm())
            if not 0 < norm < float("inf"):
                return None
            length = self._learning_rate * self.FIRST_STEP * gradient.numel() ** 0.5
            return gradient.mul(-length / norm)
        steps, changes = self._pairs[:, : self._count]
        sg, yg = torch.stack([torch.mv(steps, gradient), torch.mv(changes, gradient)]).cpu().double()
        order = _oldest_first(self._count, self._next, self._history)
        sy, yy = (matrix[order][:, order] for matrix in (self._sy, self._yy))
        upper = sy.triu()
        gamma = float(sy[-1, -1] / yy[-1, -1])
        r_sg = torch.linalg.solve_triangular(upper, sg[order, None], upper=True)
        inner = sy.diagonal()[:, None] * r_sg + gamma * (yy @ r_sg - yg[order, None])
        of_steps = torch.linalg.solve_triangular(upper.T, inner, upper=False)
        factors = torch.empty((2, self._count), dtype=torch.float64)
        factors[0, order] = -of_steps[:, 0]
        factors[1, order] = gamma * r_sg[:, 0]
        of_steps, of_changes = (factors * self._learning_rate).to(gradient)
        direction = torch.mv(steps.T, of_steps).add_(gradient, alpha=-gamma * self._learning_rate)
        return direction.addmv_(changes.T, of_changes)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {"sy": self._sy, "yy": self._yy}
        if self._count:
            tensors["pairs"] = self._pairs[:, : self._count]
        values: dict[str, Any] = {"next": self._next, "retries": self._retries}
        if self._before is not None and self._move is not None:
            image, gradient, loss = self._before
            tensors |= {"before": image, "gradient": gradient, "move": self._move}
            values["loss"] = loss
        return tensors, values

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Takes up a state, whatever its history was: of more pairs than there is room for, the newest."""
        self._retries = values["retries"]
        if "pairs" in tensors:
            self._restore_pairs(tensors["pairs"], tensors["sy"], tensors["yy"], values["next"])
        if "move" in tensors:
            image, gradient, self._move = (
                _copied_to(self._image, tensors[name]) for name in ("before", "gradient", "move")
            )
            self._before = (image, gradient, values["loss"])

    def _restore_pairs(
        self, pairs: torch.Tensor, sy: torch.Tensor, yy: torch.Tensor, next_place: int
    ) -> None:
        saved_history, count = len(sy), pairs.shape[1]
        if saved_history == self._history:
            # In the same places, so that sums come out to the last bit as they would have.
            places = torch.arange(count)
            self._next = next_place
        else:
            places = _oldest_first(count, next_place, saved_history)[-self._history :]
            self._next = len(places) % self._history
        self._count = len(places)
        self._pairs = self._image.new_empty((2, self._history, pairs.shape[2]))
        for place, saved_place in enumerate(places.tolist()):
            # One at a time: all of them twice may be more than the device's memory holds.
            self._pairs[:, place] = pairs[:, saved_place].to(self._pairs)
        for products, saved in ((self._sy, sy), (self._yy, yy)):
            products[: self._count, : self._count] = saved[places][:, places]


def _oldest_first(count: int, next_place: int, history: int) -> torch.Tensor:
    """The places in use, by the age of their pairs."""
    first = next_place if count == history else 0
    return (torch.arange(count) + first) % count


def _copied_to(image: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A copy on an image's device: sums come out otherwise where a tensor lies in memory as files have it."""
    return tensor.to(image.device, copy=True)
