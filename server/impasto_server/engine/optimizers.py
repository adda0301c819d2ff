"""The optimisers that move the image: Adam and L-BFGS. Each makes one move for each evaluation."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Optimizer(Protocol):
    """Moves an image in place, once for each evaluation."""

    def step(self, loss: float, gradient: torch.Tensor) -> bool:
        """Moves the image.

        Args:
            loss: the loss at the image as it is.
            gradient: its gradient there, shaped like the image.

        Returns:
            False if no move can improve the image.
        """

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Returns everything that it remembers, as tensors and JSON values."""

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Restores a state.

        Args:
            tensors: tensors from `state`, on the CPU; those that are used are copied to the image's device.
            values: values from `state`.
        """


class Adam:
    """Adam (Kingma, Ba 2015) in torch's implementation, with the report's β₁ = 0.5 and β₂ = 0.999."""

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

    Full quasi-Newton steps need one evaluation each and nearly always lower these losses. A step that makes
    the loss much larger or not finite is taken back and tried again at a quarter of its length.

    The variables are not the pixels x but z, with x = A z and A = I + `COARSE_WEIGHT` · B, where B averages
    the image to a coarser grid and enlarges it again. In z, large forms weigh more and settle sooner.

    The inverse Hessian has the compact form of Byrd, Nocedal, Schnabel 1994 (section 3). All products with
    the pairs take a few passes over them and a few transfers from the device; the usual recursion needs a
    transfer for each product.

    Args:
        image: (1, 3, H, W), moved in place.
        learning_rate: factor of each step.
        history: number of pairs of steps and gradient changes to remember.
    """

    FIRST_STEP = 0.02
    """Root mean square of the first move in units of the normalised image; no curvature is known then."""

    WORSE = 1.5
    """A move is taken back if the loss is then more than this many times the last one."""

    RETRIES = 8
    """Number of times that one move is tried again."""

    COARSE_WEIGHT = 1.25
    COARSE_GRID = 4
    """Pixels between the points of the coarser grid."""

    def __init__(self, image: torch.Tensor, learning_rate: float, history: int) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._history = history
        # A ring buffer of steps s and gradient changes y, (2, history, H·W·3). The first `_count` are in use;
        # the oldest is at 0 or, once the buffer is full, at `_next`.
        self._pairs = image.new_empty((2, history, 0))
        self._count = self._next = 0
        # s_i · y_j and y_i · y_j by the pairs' places, 0 where none is in use. Of s_i · y_j, only those are
        # used in which s_i is not newer than y_j.
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
        """Returns A · image. As A is symmetric, it maps z to x and also gradients for x to those for z."""
        height, width = image.shape[2:]
        coarse = [max(1, height // self.COARSE_GRID), max(1, width // self.COARSE_GRID)]
        # B = W Wᵀ, scaled so that Wᵀ gives means, where W is the interpolation from the coarser grid.
        sums = torch.ops.aten.upsample_bilinear2d_backward(
            image.contiguous(), [height, width], [*image.shape[:2], *coarse], False
        )
        factor = self.COARSE_WEIGHT * coarse[0] * coarse[1] / (height * width)
        weighted: torch.Tensor = torch.ops.aten.upsample_bilinear2d(sums, [height, width], False)
        return weighted.mul_(factor).add_(image)

    def _take_back(self, image: torch.Tensor) -> bool:
        """Goes back to where the last move began, and makes a quarter of that move."""
        assert self._move is not None
        self._retries += 1
        # The estimate of the curvature led here, so it is wrong.
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
        """Returns the move: −H g times the learning rate, or None if there is none.

        The estimate of the inverse Hessian is H = γ I + [S γY] [[R⁻ᵀ (D + γ YᵀY) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]]
        [S γY]ᵀ, where R is the upper triangle of SᵀY and D its diagonal.
        """
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
        """Restores a state of any history; if it has more pairs than there is room for, the newest ones."""
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
            # In the same places, so that sums are the same to the last bit.
            places = torch.arange(count)
            self._next = next_place
        else:
            places = _oldest_first(count, next_place, saved_history)[-self._history :]
            self._next = len(places) % self._history
        self._count = len(places)
        self._pairs = self._image.new_empty((2, self._history, pairs.shape[2]))
        for place, saved_place in enumerate(places.tolist()):
            # One at a time, because a copy of all may not fit into the device's memory.
            self._pairs[:, place] = pairs[:, saved_place].to(self._pairs)
        for products, saved in ((self._sy, sy), (self._yy, yy)):
            products[: self._count, : self._count] = saved[places][:, places]


def _oldest_first(count: int, next_place: int, history: int) -> torch.Tensor:
    """Returns the places in use, from the oldest pair to the newest."""
    first = next_place if count == history else 0
    return (torch.arange(count) + first) % count


def _copied_to(image: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a copy on the image's device.

    Always a copy: sums can differ in the last bit if a tensor keeps a file's alignment in memory.
    """
    return tensor.to(image.device, copy=True)
