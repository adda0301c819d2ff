"""The optimisers that move the image: Adam and L-BFGS. Each makes one move for each evaluation.

A move has two halves. `look` computes on the device what has to be known about a gradient; `step` decides on
the host and queues the move. Between them lies the only transfer from the device in a step of a painting. All
large tensors are allocated in `look`, which can be called again after it ran out of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from impasto_server.engine.preconditioner import Preconditioner


class Optimizer(Protocol):
    """Moves an image in place, once for each evaluation."""

    def look(self, gradient: torch.Tensor) -> torch.Tensor:
        """Computes the numbers that `step` needs. Moves nothing.

        Args:
            gradient: the gradient of the loss at the image as it is, shaped like the image.

        Returns:
            A vector on the image's device. Its first number is the square of a norm of the gradient.
        """

    def step(self, loss: float, numbers: Sequence[float]) -> bool:
        """Moves the image along the gradient of the last `look`.

        Args:
            loss: the loss at the image as it is.
            numbers: what `look` returned.

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
    """Adam (Kingma, Ba 2015: Adam: A Method for Stochastic Optimization, algorithm 1).

    Its β₁ = 0.5 and β₂ = 0.999 are the report's. The arithmetic is that of `torch.optim.Adam`, whose first
    use in a process imports torch's compiler, which takes more than a second.
    """

    BETAS = 0.5, 0.999
    EPSILON = 1e-8

    def __init__(self, image: torch.Tensor, learning_rate: float) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._steps = 0
        # Running means of the gradient and of its square, and room for one intermediate result.
        self._means: tuple[torch.Tensor, torch.Tensor] | None = None
        self._room = image.new_empty(0)
        self._seen: torch.Tensor | None = None

    def look(self, gradient: torch.Tensor) -> torch.Tensor:
        if self._means is None:
            self._means = torch.zeros_like(self._image), torch.zeros_like(self._image)
        if not self._room.numel():
            self._room = torch.empty_like(self._image)
        self._seen = gradient
        flat = gradient.reshape(-1)
        return torch.dot(flat, flat)[None]

    def step(self, loss: float, numbers: Sequence[float]) -> bool:
        assert self._means is not None
        assert self._seen is not None
        (mean, square), gradient = self._means, self._seen
        self._seen = None
        self._steps += 1
        first, second = self.BETAS
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = torch.sqrt(square, out=self._room)
        root.div_(math.sqrt(1 - second**self._steps)).add_(self.EPSILON)
        self._image.addcdiv_(mean, root, value=-self._learning_rate / (1 - first**self._steps))
        return True

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        if self._means is None:
            return {}, {}
        mean, square = self._means
        return {"exp_avg": mean, "exp_avg_sq": square, "step": torch.tensor(float(self._steps))}, {}

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        if tensors:
            mean, square = (_copied_to(self._image, tensors[name]) for name in ("exp_avg", "exp_avg_sq"))
            self._means, self._steps = (mean, square), int(tensors["step"].item())


class LBFGS:
    """L-BFGS (Nocedal, Wright: Numerical Optimization, section 7.2) without a line search.

    Full quasi-Newton steps need one evaluation each and nearly always lower these losses. A step that makes
    the loss much larger or not finite is taken back and tried again at a quarter of its length.

    The first estimate of the inverse Hessian is γ P, where P is the `Preconditioner`: large forms weigh more
    and settle sooner. A pair is a step s and P y, where y is the change of the gradient: the estimate needs
    y only in products.

    The inverse Hessian has the compact form of Byrd, Nocedal, Schnabel 1994 (section 3). It takes one pass
    over the pairs for all products and one for the move. The usual recursion needs a transfer from the device
    for each product.

    Args:
        image: (1, 3, H, W), moved in place.
        learning_rate: factor of each step.
        history: number of pairs to remember.
    """

    FIRST_STEP = 0.02
    """Size of the first move, when no curvature is known: the root mean square of P^-½ s, in units of the
    normalised image."""

    WORSE = 1.5
    """A move is taken back if the loss is then more than this many times the last one."""

    RETRIES = 8
    """Number of times that one move is tried again."""

    def __init__(self, image: torch.Tensor, learning_rate: float, history: int) -> None:
        self._image = image
        self._learning_rate = learning_rate
        self._history = history
        self._precondition: Preconditioner | None = None
        # A ring of pairs, (history + 1, 2, 3 H W). `_count` places are in use. The place `_next` is free: the
        # last move and what comes of it are written there. While the ring is not full, it is the last place;
        # then the oldest pair follows it.
        self._pairs = image.new_empty((0, 2, image.numel()))
        self._count = self._next = 0
        # Where the last move began: the image, the gradient g, and P g.
        self._before = self._gradient = self._preconditioned = image.new_empty(0)
        self._factors = self._factors_on_host = image.new_empty(0)
        self._seen: tuple[torch.Tensor, torch.Tensor] | None = None
        # On the host, by the pairs' places: s_i · y_j and y_i · P y_j, and the products of s_i and of P y_i
        # with the gradient. Of s_i · y_j, only those are used in which s_i is not newer than y_j.
        self._sy, self._yy = np.zeros((2, history + 1, history + 1))
        self._products = np.zeros((history + 1, 2))
        # The loss where the last move began; None before the first.
        self._loss: float | None = None
        self._retries = 0

    def look(self, gradient: torch.Tensor) -> torch.Tensor:
        precondition = self._allocate()
        flat = gradient.reshape(-1)
        preconditioned = precondition(gradient).view(-1)
        numbers = [torch.dot(flat, preconditioned)[None]]
        if self._loss is not None:
            new = self._pairs[self._next]
            move, change = new
            torch.sub(preconditioned, self._preconditioned, out=change)
            numbers += [
                torch.dot(move, move)[None],
                torch.mv(new, flat - self._gradient),
                torch.mv(self._pairs[: self._count + 1].flatten(0, 1), flat),
            ]
        self._seen = flat, preconditioned
        return torch.cat(numbers)

    def step(self, loss: float, numbers: Sequence[float]) -> bool:
        assert self._seen is not None
        gradient, preconditioned = self._seen
        self._seen = None
        steepness = numbers[0]
        if self._loss is not None:
            if not (loss <= self.WORSE * self._loss and math.isfinite(steepness)):
                return self._take_back()
            length, sy, yy = numbers[1:4]
            self._learn(length, sy, yy, np.asarray(numbers[4:]).reshape(-1, 2))
        self._retries = 0
        self._loss = None
        if not 0 < steepness < math.inf:
            return False
        self._loss = loss
        self._preconditioned = preconditioned
        self._gradient.copy_(gradient)
        self._before.copy_(self._image)
        self._image.add_(self._moved(steepness).view_as(self._image))
        return True

    def _allocate(self) -> Preconditioner:
        """Allocates everything that stays, unless that is done."""
        if self._precondition is None:
            precondition = Preconditioner(self._image)
            pairs = self._image.new_empty((self._history + 1, *self._pairs.shape[1:]))
            self._factors = self._image.new_empty((len(pairs), 2))
            self._factors_on_host = torch.empty((len(pairs), 2), dtype=pairs.dtype)
            self._before, self._gradient = torch.empty_like(self._image), torch.empty_like(pairs[0, 0])
            self._pairs, self._precondition = pairs, precondition
        return self._precondition

    def _take_back(self) -> bool:
        """Goes back to where the last move began, and makes a quarter of that move."""
        self._retries += 1
        move = self._pairs[self._next, 0].mul_(0.25)
        # The estimate of the curvature led here, so it is wrong.
        if self._next:
            move = self._pairs[0, 0].copy_(move)
        self._count = self._next = 0
        self._sy[:] = 0
        self._yy[:] = 0
        torch.add(self._before, move.view_as(self._before), out=self._image)
        return self._retries <= self.RETRIES

    def _learn(self, length: float, sy: float, yy: float, products: npt.NDArray[np.float64]) -> None:
        """Keeps the pair of the last move if the curvature along it is positive.

        Args:
            length, sy, yy: s · s, s · y and y · P y of the pair.
            products: (count + 1, 2): products of all pairs, this one too, with the gradient.
        """
        place, seen = self._next, len(products)
        # What y adds to the products is the difference between two gradients' products.
        of_change = products - self._products[:seen]
        self._products[:seen] = products
        if not sy > 1e-10 * length:
            return
        of_change[place] = sy, yy
        self._sy[:seen, place] = of_change[:, 0]
        self._yy[:seen, place] = self._yy[place, :seen] = of_change[:, 1]
        self._next = (place + 1) % len(self._sy)
        self._count = min(self._count + 1, self._history)

    def _moved(self, steepness: float) -> torch.Tensor:
        """Computes the next move, −H g times the learning rate, in its place in the ring.

        The estimate of the inverse Hessian is H = γ P + [S γPY] [[R⁻ᵀ (D + γ YᵀPY) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]]
        [S γPY]ᵀ, where R is the upper triangle of SᵀY and D its diagonal.

        Args:
            steepness: g · P g.
        """
        move = self._pairs[self._next, 0]
        if not self._count:
            length = self.FIRST_STEP * math.sqrt(move.numel() / steepness)
            return torch.mul(self._preconditioned, -self._learning_rate * length, out=move)
        order = self._oldest_first()
        sg, yg = self._products[order].T
        sy, yy = (matrix[np.ix_(order, order)] for matrix in (self._sy, self._yy))
        upper = np.triu(sy)
        gamma = float(sy[-1, -1] / yy[-1, -1])
        r_sg = np.linalg.solve(upper, sg)
        of_steps = np.linalg.solve(upper.T, sy.diagonal() * r_sg + gamma * (yy @ r_sg - yg))
        factors = np.zeros_like(self._products)
        factors[order, 0] = -self._learning_rate * of_steps
        factors[order, 1] = self._learning_rate * gamma * r_sg
        # Not waited for. The copy of the last step has been made: this step's numbers came after it.
        self._factors_on_host.copy_(torch.from_numpy(factors))
        self._factors.copy_(self._factors_on_host, non_blocking=True)
        torch.mul(self._preconditioned, -self._learning_rate * gamma, out=move)
        for places in self._used():
            pairs = self._pairs[places].flatten(0, 1)
            move.addmv_(pairs.T, self._factors[places].flatten())
        return move

    def _oldest_first(self) -> npt.NDArray[np.int64]:
        """Returns the places in use, from the oldest pair to the newest."""
        return (self._next - self._count + np.arange(self._count)) % len(self._sy)

    def _used(self) -> list[slice]:
        """Returns the places in use as slices: the newer pairs, then the older ones."""
        newer, older = slice(0, self._next), slice(self._next + 1, self._count + 1)
        return [places for places in (newer, older) if places.start < places.stop]

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {
            name: torch.from_numpy(array)
            for name, array in (("sy", self._sy), ("yy", self._yy), ("products", self._products))
        }
        values: dict[str, Any] = {"next": self._next, "count": self._count, "retries": self._retries}
        for places in self._used():
            tensors[f"pairs.{places.start}"] = self._pairs[places]
        if self._loss is not None:
            tensors |= {
                "before": self._before,
                "gradient": self._gradient,
                "preconditioned": self._preconditioned,
                "move": self._pairs[self._next, 0],
            }
            values["loss"] = self._loss
        return tensors, values

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Restores a state of any history; if it has more pairs than there is room for, the newest ones."""
        if "products" not in tensors or "move" not in tensors:
            # Nothing to remember, or a checkpoint of format 4, whose pairs meant something else: start again.
            return
        self._retries, self._loss = values["retries"], values["loss"]
        self._allocate()
        self._restore_pairs(tensors, values["next"], values["count"])
        self._before.copy_(tensors["before"])
        self._gradient.copy_(tensors["gradient"])
        self._pairs[self._next, 0] = tensors["move"].to(self._pairs)
        self._preconditioned = _copied_to(self._image, tensors["preconditioned"])

    def _restore_pairs(self, tensors: dict[str, torch.Tensor], next_place: int, count: int) -> None:
        saved = {name: tensors[name].numpy() for name in ("sy", "yy", "products")}
        places = (next_place - count + np.arange(count)) % len(saved["sy"])
        if len(saved["sy"]) == len(self._sy):
            # In the same places, so that sums are the same to the last bit.
            at, self._next = places, next_place
            self._sy[:], self._yy[:], self._products[:] = saved.values()
        else:
            places = places[-self._history :]
            at, self._next = np.arange(len(places)), len(places)
            for matrix, name in ((self._sy, "sy"), (self._yy, "yy")):
                matrix[np.ix_(at, at)] = saved[name][np.ix_(places, places)]
            self._products[at] = saved["products"][places]
        self._count = len(places)
        for place, saved_place in zip(at.tolist(), places.tolist(), strict=True):
            # One at a time, because a copy of all may not fit into the device's memory.
            begin = 0 if saved_place < next_place else next_place + 1
            self._pairs[place] = tensors[f"pairs.{begin}"][saved_place - begin].to(self._pairs)


def _copied_to(image: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a copy on the image's device.

    Always a copy: sums can differ in the last bit if a tensor keeps a file's alignment in memory.
    """
    return tensor.to(image.device, copy=True)
