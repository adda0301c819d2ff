from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from impasto_server.engine.network import Network
from impasto_server.engine.weights import convolution_names, torchvision_indices
from support.plain_network import plain_features
from support.random_networks import random_weights


@pytest.mark.parametrize(("architecture", "letter"), [("vgg16", "D"), ("vgg19", "E")])
def test_each_layer_name_means_the_same_layer_as_in_torchvision(architecture, letter):
    features = make_layers(cfgs[letter], batch_norm=False)
    indices = torchvision_indices(architecture)
    assert [i for i, m in enumerate(features) if isinstance(m, nn.Conv2d)] == list(indices.values())

    weights = random_weights(architecture)
    with torch.no_grad():
        for name, (weight, bias) in weights.convolutions.items():
            features[indices[name]].weight.copy_(weight)
            features[indices[name]].bias.copy_(bias)
    for module in features:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    image = torch.randn(1, 3, 37, 50)
    names = [name.replace("conv", "relu") for name in weights.convolutions]
    got = Network(weights)(image, names)
    x = image
    expected = {}
    for index, module in enumerate(features):
        x = module(x)
        for name in names:
            if indices[name.replace("relu", "conv")] + 1 == index:
                expected[name] = x
    assert list(got) == names
    for name in names:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-5)


def test_it_is_frozen_and_stops_after_the_last_layer_needed(network, monkeypatch):
    """Trap 4: weights get no gradients, and no layer after the last one needed is run."""
    assert list(network.parameters()) == []
    assert not any(buffer.requires_grad for buffer in network.buffers())
    convolved = []
    convolve = Network._convolved
    monkeypatch.setattr(
        Network, "_convolved", lambda self, x, name, *a: convolved.append(name) or convolve(self, x, name, *a)
    )
    for compute in (network, network.trunk):
        compute(torch.zeros(1, 3, 32, 32), ["relu1_1", "relu3_1"])
        assert convolved == ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]
        convolved.clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("layers", [["relu1_2", "relu3_1"], ["relu2_2", "relu4_2", "relu5_1"], ["relu1_1"]])
def test_the_gradient_equals_that_of_torch(network, dtype, layers):
    """The layers are before, after and between poolings; with odd sizes, a pooling drops the last row."""
    network = copy.deepcopy(network).to(dtype)
    image = torch.randn(1, 3, 37, 51, dtype=dtype)
    weights = {layer: torch.randn_like(f) for layer, f in network(image, layers).items()}
    pixels = image.clone().requires_grad_(True)
    expected = plain_features(network, pixels, layers)
    trunk = network.trunk(image, layers)
    assert list(trunk.features) == layers
    for layer in layers:
        torch.testing.assert_close(trunk.features[layer], expected[layer])
    loss = sum((expected[layer] * weights[layer]).sum() for layer in layers)
    (of_pixels,) = torch.autograd.grad(loss, pixels)
    asked = []

    def add(layer, features, gradient):
        asked.append(layer)
        torch.testing.assert_close(features, expected[layer])
        gradient += weights[layer]

    gradient = trunk.gradient(add)
    assert asked == layers[::-1]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    assert (gradient - of_pixels).norm() <= tolerance * of_pixels.norm()


def test_everything_is_channels_last(network):
    """Another layout would be converted again and again."""
    for of_type in (network, network.in_dtype(torch.bfloat16), network.in_dtype(torch.float64)):
        trunk = of_type.trunk(torch.randn(1, 3, 37, 51), ["relu2_1", "relu3_2"])
        seen = [*trunk.features.values()]

        def add(layer, features, gradient, seen=seen):
            seen += [features, gradient]
            gradient += features

        seen.append(trunk.gradient(add))
        assert len(seen) == 7
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


def test_packed_weights_give_the_same_bits(network):
    image = torch.randn(1, 3, 40, 56)
    for of_type in (network, network.in_dtype(torch.bfloat16)):
        of_type._packed.clear()
        # Once packed for another size and another padding.
        of_type(torch.randn(1, 3, 16, 144), ["relu3_1"], padding="reflect")
        x = image.to(of_type.dtype, memory_format=torch.channels_last)
        for name in convolution_names(network.architecture)[:4]:
            weight, bias = of_type.get_buffer(f"{name}_weight"), of_type.get_buffer(f"{name}_bias")
            expected = torch.nn.functional.conv2d(x, weight, bias, padding=1).relu()
            assert torch.equal(of_type._convolved(x, name), expected)
            x = expected


def test_an_evaluation_leaves_nothing_in_memory(network):
    """Not even until the cyclic garbage collector runs."""
    trunk = network.trunk(torch.randn(1, 3, 32, 32), ["relu2_1"])
    features = weakref.ref(trunk.features["relu2_1"])
    gc.disable()
    try:
        trunk.gradient(lambda layer, features, gradient: gradient.add_(features))
        assert features() is None
    finally:
        gc.enable()


def test_features_are_not_overwritten_by_later_layers(network):
    """Trap 1: an in-place ReLU must not change features that were returned."""
    image = torch.randn(1, 3, 32, 32)
    alone = network(image, ["relu2_1"])["relu2_1"]
    among_others = network(image, ["relu2_1", "relu5_1"])["relu2_1"]
    assert torch.equal(alone, among_others)


def test_the_error_names_unknown_layers(network):
    with pytest.raises(ValueError, match="relu9_9"):
        network(torch.zeros(1, 3, 32, 32), ["relu9_9"])
    with pytest.raises(ValueError, match="relu3_4"):
        network(torch.zeros(1, 3, 32, 32), ["relu3_4"])  # only VGG-19 has it


def test_a_cast_is_made_once_and_leaves_the_original(network):
    half = network.in_dtype(torch.bfloat16)
    assert half is network.in_dtype(torch.bfloat16)
    assert (half.dtype, network.dtype) == (torch.bfloat16, torch.float32)
    assert half.sha256 == network.sha256
    image = torch.randn(1, 3, 48, 32)
    exact, rounded = (n(image, ["relu4_1"])["relu4_1"].float() for n in (network, half))
    assert 0 < (exact - rounded).norm() / exact.norm() < 0.03


def test_casts_follow_a_network_that_is_moved_or_cast():
    network = Network(random_weights("vgg16"))
    half = network.in_dtype(torch.bfloat16)
    network.double()
    single = network.in_dtype(torch.float32)
    assert (network.dtype, single.dtype, half.dtype) == (torch.float64, torch.float32, torch.bfloat16)
    assert single is network.in_dtype(torch.float32)
    network.float()
    assert network.in_dtype(torch.float32) is network
    network.in_dtype(torch.bfloat16)
    network.to("meta")
    assert network.in_dtype(torch.bfloat16).device.type == "meta"


def test_a_cast_network_that_was_cast_again_is_not_reused(network):
    network.in_dtype(torch.float64).half()
    assert network.in_dtype(torch.float64).dtype == torch.float64
    assert network.dtype == torch.float32


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 200), (131, 17)])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_any_size_from_16_pixels_has_features(network, padding, height, width):
    features = network(torch.randn(1, 3, height, width), ["relu5_1"], padding=padding)["relu5_1"]
    assert features.shape == (1, 512, height // 16, width // 16)
    assert features.isfinite().all()


def test_the_convolutions_of_each_architecture_have_their_names():
    assert convolution_names("vgg16")[-1] == "conv5_3"
    assert len(convolution_names("vgg19")) == 16
