"""What is minimised: an objective's losses, with their targets computed once from content and styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from impasto_server.engine import recipe as recipes
from impasto_server.engine.losses import (
    ContentLoss,
    GramLoss,
    gram_matrix,
    positions,
    total_variation,
)
from impasto_server.engine.network import Network, Padding

_FIVE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What an objective looks at.

    Attributes:
        content_layers, style_layers: layers compared.
        margin: whether the picture is painted with a margin around it that is cut off at the end. The
            edge of what a network sees always shows as a frame, whatever its convolutions are padded with.
        style_padding: of the network's convolutions when it looks at a style.
        style_as_content: whether the style image is brought to exactly the content's size, distorting it.
        coarse_to_fine: whether the picture grows through several sizes.
        match_palette: whether each size begins with the picture's colours brought to the styles'. Gram
            matrices see strokes well and colours badly.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    margin: bool
    style_padding: Padding
    style_as_content: bool
    coarse_to_fine: bool
    match_palette: bool


SHAPES: dict[recipes.Objective, Shape] = {
    "balanced": Shape(
        content_layers=("relu4_2",),
        style_layers=_FIVE,
        margin=True,
        style_padding="reflect",
        style_as_content=False,
        coarse_to_fine=True,
        match_palette=True,
    ),
    # Gatys et al. 2016, section 3; the growing is Gatys et al. 2017, section 6.
    "gatys": Shape(
        content_layers=("relu4_2",),
        style_layers=_FIVE,
        margin=True,
        style_padding="reflect",
        style_as_content=False,
        coarse_to_fine=True,
        match_palette=False,
    ),
    # The report's program keeps every layer after its ReLU, because torchvision's ReLUs work in place.
    "report": Shape(
        content_layers=_FIVE,
        style_layers=_FIVE,
        margin=False,
        style_padding="zeros",
        style_as_content=True,
        coarse_to_fine=False,
        match_palette=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class Losses:
    """One evaluation: scalars, each before its weight but for `total`."""

    total: torch.Tensor
    content: torch.Tensor
    style: torch.Tensor
    tv: torch.Tensor


class Objective:
    """The weighted sum of content loss, style loss and total variation for images of one size.

    With F, P the features of the image and of the content (C channels, N positions), G = F Fᵀ, Ĝ the Gram
    matrix of the style over its own positions (the weighted mean for several styles):

    * balanced: content Σ_l mean((F − P)²) / mean(P²); style mean_l of mean((G/N − Ĝ)²) / mean(Ĝ²).
    * gatys: content ½ Σ (F − P)² (eq. 1); style Σ_l w_l E_l, w_l = 1/5,
      E_l = 1/(4 C²) Σ (G/N − Ĝ)² (eq. 4, which has N in the fraction because its images are of one size).
    * report: content Σ_l mean((F − P)²); style Σ_l mean((G − N Ĝ)²) / (C N).

    Args:
        recipe: resolved.
        network: in the arithmetic to compute in.
        content: (1, 3, H, W), normalised RGB in float32 (float64 with a float64 network).
        styles: each (1, 3, H', W') and its weight.
    """

    def __init__(
        self,
        recipe: recipes.Recipe,
        network: Network,
        content: torch.Tensor,
        styles: Sequence[tuple[torch.Tensor, float]],
    ) -> None:
        assert recipe.content_weight is not None
        assert recipe.style_weight is not None
        self.content_weight = recipe.content_weight
        self.style_weight = recipe.style_weight
        self.tv_weight = recipe.tv_weight
        self._network = network
        self._zero = content.new_zeros(())
        shape = SHAPES[recipe.objective]
        # A term without weight is not computed at all.
        with torch.no_grad():
            self._content_terms = (
                self._content_losses(recipe.objective, shape, content) if self.content_weight else []
            )
            self._style_terms = (
                self._style_losses(recipe.objective, shape, styles) if self.style_weight else []
            )
        self._layers = {loss.layer for loss in (*self._content_terms, *self._style_terms)}

    def __call__(self, image: torch.Tensor) -> Losses:
        """The loss of an image (1, 3, H, W); differentiable."""
        features = self._network(image, self._layers)
        content = sum((loss(features) for loss in self._content_terms), start=self._zero)
        style = sum((loss(features) for loss in self._style_terms), start=self._zero)
        tv = total_variation(image) if self.tv_weight else self._zero
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        return Losses(total, content, style, tv)

    def _content_losses(
        self, objective: recipes.Objective, shape: Shape, content: torch.Tensor
    ) -> list[ContentLoss]:
        features = self._network(content, shape.content_layers)
        losses = []
        for layer in shape.content_layers:
            target = features[layer].to(self._zero.dtype)
            if objective == "balanced":
                scale: float | torch.Tensor = 1 / target.square().sum().clamp_min(1e-12)
            elif objective == "gatys":
                scale = 0.5
            else:
                scale = 1 / target.numel()
            losses.append(ContentLoss(layer, target, scale))
        return losses

    def _style_losses(
        self,
        objective: recipes.Objective,
        shape: Shape,
        styles: Sequence[tuple[torch.Tensor, float]],
    ) -> list[GramLoss]:
        total_weight = sum(weight for _, weight in styles)
        targets: dict[str, torch.Tensor] = {}
        sizes: dict[str, int] = {}
        for image, weight in styles:
            features = self._network(image, shape.style_layers, padding=shape.style_padding)
            for layer, f in features.items():
                sizes[layer] = positions(f)
                mean = gram_matrix(f) / sizes[layer] * (weight / total_weight)
                targets[layer] = targets[layer] + mean if layer in targets else mean
        losses = []
        for layer, target in targets.items():
            channels, share = len(target), 1 / len(targets)
            if objective == "balanced":
                scale: float | torch.Tensor = share / target.square().sum().clamp_min(1e-12)
            elif objective == "gatys":
                scale = share / (4 * channels**2)
            else:
                # mean((G − N Ĝ)²) / (C N) = N² / (C² · C N) Σ (G/N − Ĝ)²; style and image are of one size.
                scale = sizes[layer] / channels**3
            losses.append(GramLoss(layer, target, scale))
        return losses
