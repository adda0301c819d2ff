"""A preconditioner for gradients of images: large forms weigh more, so that they settle sooner."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

COARSE_WEIGHT = 1.25
COARSE_GRID = 4
"""Pixels between the points of the coarser grid."""

_PIECE = 64
"""Pixels of an axis that are multiplied at a time on a CPU."""


class Preconditioner:
    """The symmetric, positive definite map A², with A = I + `COARSE_WEIGHT` · B.

    B averages an image to a coarser grid and enlarges it again: B = c W Wᵀ, where W is the bilinear
    enlargement of the coarser grid to the image, and c makes c Wᵀ give means. With A² in place of the
    identity, an optimiser of x works as if its variables were z with x = A z.

    The way to the coarser grid is matrix products along one axis, which sum in a fixed order on every device.
    torch's own gradient of the enlargement does not do so on a GPU.

    Args:
        like: (1, 3, H, W), a tensor of the images' shape, type and device.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._rows, self._columns = (_Axis(length, like) for length in like.shape[2:])
        self._factor = COARSE_WEIGHT * self._rows.share * self._columns.share

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        """Returns A² · gradient, both (1, 3, H, W)."""
        image = gradient.contiguous()
        _, channels, height, width = image.shape
        rows, columns = self._rows, self._columns
        short = image.new_zeros((channels, rows.count, width))
        for pixels, points, matrix in rows.pieces:
            short[:, points].baddbmm_(matrix.T.expand(channels, -1, -1), image[0, :, pixels])
        coarse = image.new_zeros((channels * rows.count, columns.count))
        for pixels, points, matrix in columns.pieces:
            coarse[:, points].addmm_(short.view(-1, width)[:, pixels], matrix)
        coarse = coarse.view(1, channels, rows.count, columns.count)
        # A² = I + W (2 cw I + (cw)² WᵀW) Wᵀ, so one way to the coarser grid and back is enough.
        overlapping = rows.overlapped(columns.overlapped(coarse).mT).mT
        coarse.mul_(2 * self._factor).add_(overlapping, alpha=self._factor**2)
        return F.interpolate(coarse, (height, width), mode="bilinear").add_(image)


class _Axis:
    """The bilinear enlargement along one axis: a matrix W (length, count).

    A row of W has at most two values other than 0, beside each other, so W is kept in pieces.

    Attributes:
        count: number of points of the coarser grid.
        share: count / length.
        pieces: pixels, points that they lie between, and this part of W.
    """

    def __init__(self, length: int, like: torch.Tensor) -> None:
        self.count = count = max(1, length // COARSE_GRID)
        self.share = count / length
        # On a GPU, one large product is faster than many small ones.
        step = _PIECE if like.device.type == "cpu" else length
        # Where the middles of the pixels lie among the points. Beyond the first and the last, W is constant.
        places = ((torch.arange(length, dtype=torch.float64) + 0.5) * self.share - 0.5).clamp_(0, count - 1)
        self.pieces: list[tuple[slice, slice, torch.Tensor]] = []
        # WᵀW has nothing beyond the diagonals next to its main one.
        main, next_to_it = torch.zeros((2, count), dtype=torch.float64)
        for begin in range(0, length, step):
            of_piece = places[begin : begin + step]
            points = slice(math.floor(of_piece[0]), min(count, math.floor(of_piece[-1]) + 2))
            distances = of_piece[:, None] - torch.arange(points.start, points.stop)
            matrix = (1 - distances.abs()).clamp_(min=0)
            main[points] += matrix.square().sum(0)
            next_to_it[points][:-1] += (matrix[:, 1:] * matrix[:, :-1]).sum(0)
            self.pieces.append((slice(begin, begin + len(of_piece)), points, matrix.to(like)))
        self._main, self._next_to_it = main.to(like), next_to_it[:-1].to(like)

    def overlapped(self, coarse: torch.Tensor) -> torch.Tensor:
        """Returns the product of WᵀW with values along the last axis, (…, count)."""
        product: torch.Tensor = coarse * self._main
        product[..., 1:] += coarse[..., :-1] * self._next_to_it
        product[..., :-1] += coarse[..., 1:] * self._next_to_it
        return product
