"""The count of operations, compared with torch's, and the rates that use it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from impasto_server.bench import bench
from impasto_server.bench.convolution_rate import convolution_rates
from impasto_server.engine import Network, Recipe, Scene, Session, Style
from impasto_server.engine.evaluation import evaluate
from impasto_server.engine.flops import convolution_flops, convolutions, gram_flops
from impasto_server.engine.losses import add_gram_gradient, gram_matrix
from impasto_server.engine.weights import Architecture
from support.random_networks import picture, random_weights


class Counter(TorchDispatchMode):
    """Counts operations by torch's formulas; FlopCounterMode does not work with torch.autograd.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.of_convolutions = self.of_products = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if "_convolution_pointwise" in str(function):
            # torch has no formula for oneDNN's convolution with a fused ReLU.
            self.of_convolutions += conv_flop_count(args[0].shape, args[1].shape, result.shape)
            return result
        packet = function._overloadpacket
        # torch has no formula for the product that is added in place.
        formula = flop_registry.get(torch.ops.aten.addmm if packet is torch.ops.aten.addmm_ else packet)
        if formula is not None:
            flops = formula(*args, **(kwargs or {}), out_val=result)
            if "convolution" in str(function):
                self.of_convolutions += flops
            else:
                self.of_products += flops
        return result


LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_an_evaluation_has_the_operations_that_torch_counts(architecture: Architecture) -> None:
    network = Network(random_weights(architecture))
    image = torch.randn(1, 3, 37, 50)
    with Counter() as counter:
        trunk = network.trunk(image, LAYERS)
        for features in trunk.features.values():
            gram_matrix(features)

        def add(layer: str, features: torch.Tensor, gradient: torch.Tensor) -> None:
            add_gram_gradient(features, torch.ones(2 * (features.shape[1],)), gradient)

        trunk.gradient(add)
    layers = convolutions(architecture, 37, 50, "relu5_1")
    assert convolution_flops(layers) == counter.of_convolutions
    assert gram_flops(layers, LAYERS) == counter.of_products


def test_the_bench_counts_what_an_evaluation_computes(network: Network) -> None:
    """If the engine used other layers, the bench would count the wrong operations."""
    session = Session(
        Recipe(objective=bench.STATISTICS, longest_side=16, evaluations=2),
        Scene(content=picture(16, 16, seed=1), styles=[Style(picture(16, 16, seed=2))]),
        network,
    )
    session.step()
    stage = session._stage
    assert stage.objective is not None
    # Without the optimiser, whose products are no part of an evaluation.
    with Counter() as counter:
        evaluate(stage.objective, stage.image)
    width, height = session.painted_size
    assert (width, height) == (48, 48)
    layers = convolutions("vgg16", height, width, bench.DEEPEST)
    assert convolution_flops(layers) == counter.of_convolutions
    # Gram matrices are of whole rows of positions, without the rows of the margin.
    inner = convolutions("vgg16", 16, width, bench.DEEPEST)
    assert gram_flops(inner, bench.GRAM_LAYERS) == counter.of_products


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="relu6_1"):
        convolutions("vgg16", 32, 32, "relu6_1")


def test_every_convolution_is_timed_in_each_arithmetic() -> None:
    layers = convolutions("vgg16", 16, 24, "relu2_1")
    rates = convolution_rates(layers, [torch.float32, torch.bfloat16], "cpu", repeats=1)
    assert [(r.name, r.dtype) for r in rates] == [
        (name, dtype) for dtype in ("float32", "bfloat16") for name in ("conv1_1", "conv1_2", "conv2_1")
    ]
    for rate, layer in zip(rates, layers * 2, strict=True):
        assert rate.gflops * rate.seconds * 1e9 == pytest.approx(2 * layer.forward_flops)
