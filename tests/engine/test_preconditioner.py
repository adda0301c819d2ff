"""The preconditioner of gradients equals torch's enlargement of images, and its way to the coarser grid."""

from __future__ import annotations

import pytest
import torch

from impasto_server.engine import preconditioner
from impasto_server.engine.preconditioner import COARSE_GRID, COARSE_WEIGHT, Preconditioner

SIZES = [(128, 128), (37, 50), (3, 7), (1, 1), (300, 129), (5, 260)]


def weighted(image: torch.Tensor) -> torch.Tensor:
    """Returns A · image by torch's bilinear enlargement and its gradient."""
    height, width = image.shape[2:]
    coarse = [max(1, height // COARSE_GRID), max(1, width // COARSE_GRID)]
    sums = torch.ops.aten.upsample_bilinear2d_backward(
        image, [height, width], [*image.shape[:2], *coarse], False
    )
    factor = COARSE_WEIGHT * coarse[0] * coarse[1] / (height * width)
    return image + factor * torch.ops.aten.upsample_bilinear2d(sums, [height, width], False)


@pytest.mark.parametrize("piece", [preconditioner._PIECE, 1 << 20], ids=["in pieces", "at once, as on a GPU"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_is_the_square_of_the_weighting(monkeypatch, height, width, piece):
    monkeypatch.setattr(preconditioner, "_PIECE", piece)
    image = torch.randn(1, 3, height, width, dtype=torch.float64)
    torch.testing.assert_close(
        Preconditioner(image)(image), weighted(weighted(image)), rtol=1e-12, atol=1e-12
    )


def test_it_favours_large_forms():
    image = torch.ones(1, 3, 37, 50)
    precondition = Preconditioner(image)
    assert abs(precondition(image).mean() - (1 + COARSE_WEIGHT) ** 2) < 0.2
    image[..., ::2] = -1
    assert precondition(image).abs().mean() < 1.4


def test_a_gradient_in_any_layout_gives_the_same_bits():
    gradient = torch.randn(1, 3, 20, 24)
    precondition = Preconditioner(gradient)
    other = gradient.to(memory_format=torch.channels_last)
    assert torch.equal(precondition(gradient), precondition(other))
