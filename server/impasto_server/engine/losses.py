"""The terms of the objectives: small modules on features, and the mathematics they are made of."""

from __future__ import annotations

import torch
from torch import nn

Features = dict[str, torch.Tensor]

_GRAM_BLOCK = 1024


class _Gram(torch.autograd.Function):
    """F Fᵀ with the gradient written out: one symmetric product each way."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features)
        _, channels, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(height * width, channels)
        if features.dtype != torch.bfloat16:
            return torch.mm(rows.T, rows)
        # A bfloat16 product is rounded to 8 bits at its end. Sums over blocks of positions, added up in
        # float32, keep the products fast and the Gram matrix good to three or four digits.
        whole = len(rows) // _GRAM_BLOCK * _GRAM_BLOCK
        rest = rows[whole:].float()
        gram = rest.T @ rest
        if whole:
            blocks = rows[:whole].view(-1, _GRAM_BLOCK, channels)
            gram += torch.bmm(blocks.transpose(1, 2), blocks).sum(0, dtype=torch.float32)
        return gram

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: torch.Tensor) -> torch.Tensor:
        (features,) = ctx.saved_tensors  # type: ignore[attr-defined]
        _, channels, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(height * width, channels)
        symmetric = (grad_outputs[0] + grad_outputs[0].T).to(features.dtype)
        gradient = torch.mm(rows, symmetric)
        return gradient.view(1, height, width, channels).permute(0, 3, 1, 2)


def gram_matrix(features: torch.Tensor) -> torch.Tensor:
    """Gram matrix G = F Fᵀ of a feature map, F its C × N matrix, N = H · W (Gatys et al. 2016, eq. 3).

    Not normalised. It does not depend on where the features are.

    Args:
        features: (1, C, H, W).

    Returns:
        (C, C); float32 for features in bfloat16, else in their type.
    """
    gram: torch.Tensor = _Gram.apply(features)
    return gram


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbouring pixels: vertical plus horizontal.

    Args:
        image: (1, 3, H, W).

    Returns:
        Scalar.
    """
    vertical = (image[:, :, 1:] - image[:, :, :-1]).square().mean()
    horizontal = (image[:, :, :, 1:] - image[:, :, :, :-1]).square().mean()
    return vertical + horizontal


class ContentLoss(nn.Module):
    """scale · Σ (F − P)² at one layer.

    Args:
        layer: where.
        target: P, the content image's features, (1, C, H, W).
        scale: factor of the sum of squares.
    """

    def __init__(self, layer: str, target: torch.Tensor, scale: float | torch.Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.target = target
        self.scale = scale

    def forward(self, features: Features) -> torch.Tensor:
        difference = _at_least_float32(features[self.layer]) - self.target
        return difference.square().sum() * self.scale


class GramLoss(nn.Module):
    """scale · Σ (G/N − Ĝ)² at one layer, G the Gram matrix of the image, N its positions there.

    Args:
        layer: where.
        target: Ĝ, the styles' mean Gram matrix over its positions, (C, C).
        scale: factor of the sum of squares.
    """

    def __init__(self, layer: str, target: torch.Tensor, scale: float | torch.Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.target = target
        self.scale = scale

    def forward(self, features: Features) -> torch.Tensor:
        f = features[self.layer]
        difference = gram_matrix(f) / positions(f) - self.target
        return difference.square().sum() * self.scale


def positions(features: torch.Tensor) -> int:
    """N = H · W of a feature map (1, C, H, W)."""
    return features.shape[2] * features.shape[3]


def _at_least_float32(features: torch.Tensor) -> torch.Tensor:
    return features.float() if features.dtype == torch.bfloat16 else features
