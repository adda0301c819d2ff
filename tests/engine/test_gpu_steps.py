"""What a step must not do on a GPU, seen on a CPU: wait for the device more than once, or sum in no fixed
order."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from impasto_server.engine import Recipe, Region, Scene, Session, Style, losses, memory
from impasto_server.engine import stage as stages
from impasto_server.engine.objectives import OBJECTIVES
from support.random_networks import picture

WAITS = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::linalg_eigh",
}
"""Operators that wait for a GPU: their result, or its shape, is needed on the host."""

TO_HOST = ("tolist", "item", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__", "__array__")
"""Methods of a tensor that bring its values to the host."""

# By the beginnings of their names: the operators that torch's documentation of
# `use_deterministic_algorithms` lists, except those that no image goes through.
UNORDERED = (
    "aten::upsample_linear1d_backward",
    "aten::upsample_bilinear2d_backward",
    "aten::upsample_bicubic2d_backward",
    "aten::upsample_trilinear3d_backward",
    "aten::_upsample_bilinear2d_aa_backward",
    "aten::_upsample_bicubic2d_aa_backward",
    "aten::reflection_pad",
    "aten::replication_pad",
    "aten::adaptive_avg_pool2d_backward",
    "aten::_adaptive_avg_pool2d_backward",
    "aten::adaptive_max_pool2d_backward",
    "aten::avg_pool3d_backward",
    "aten::max_pool3d_with_indices_backward",
    "aten::fractional_max_pool",
    "aten::max_unpool",
    "aten::grid_sampler_2d_backward",
    "aten::grid_sampler_3d_backward",
    "aten::embedding_dense_backward",
    "aten::nll_loss2d",
    "aten::histc",
    "aten::bincount",
    "aten::kthvalue",
    "aten::median",
    "aten::index_add",
    "aten::index_reduce",
    "aten::scatter_add",
    "aten::scatter_reduce",
    "aten::put",
    "aten::gather_backward",
    "aten::_cdist_backward",
)


class Watched(TorchDispatchMode):
    """Notes which of some operators are called."""

    def __init__(self, is_bad) -> None:
        super().__init__()
        self.is_bad, self.found = is_bad, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name
        if self.is_bad(name, args, kwargs):
            self.found.add(name)
        return function(*args, **kwargs)


def is_unordered(name, args, kwargs):
    if name in ("aten::cumsum", "aten::cumsum_"):
        return args[0].is_floating_point()
    if name.startswith(("aten::index_put", "aten::_index_put", "aten::put")):
        # Without adding up, each place is written once here.
        return bool(args[3] if len(args) > 3 else kwargs.get("accumulate", False))
    if name.startswith(("aten::reflection_pad", "aten::replication_pad")):
        return name.endswith("_backward")
    return name.startswith(UNORDERED)


def test_what_is_watched_for_is_found():
    image = torch.ones(1, 1, 4, 4, requires_grad=True)
    with Watched(is_unordered) as watched:
        torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear").sum().backward()
        image.detach().cumsum(0).index_put_([torch.tensor([0])], torch.ones(1), accumulate=True)
        torch.arange(3).cumsum(0)[torch.tensor([0])] = 2
    assert watched.found == {"aten::upsample_bilinear2d_backward", "aten::cumsum", "aten::index_put_"}
    with Watched(lambda name, args, kwargs: name in WAITS) as watched:
        float(image.detach().sum())
        image.detach().nonzero()
    assert watched.found == {"aten::_local_scalar_dense", "aten::nonzero"}


def session(network, objective, optimizer="lbfgs", regions=(), **recipe):
    scene = Scene(
        content=picture(64, 48, 1),
        styles=[Style(picture(60, 70, 2)), Style(picture(50, 40, 3))],
        regions=regions,
    )
    values = {"optimizer": optimizer, "evaluations": 9, "tv_weight": 0.1, "stop_on_plateau": False, **recipe}
    return Session(Recipe(objective=objective, **values), scene, network)


@pytest.mark.parametrize(
    ("objective", "optimizer"), [*((objective, "lbfgs") for objective in OBJECTIVES), ("report", "adam")]
)
def test_a_step_waits_for_the_device_once(network, monkeypatch, objective, optimizer):
    made = session(network, objective, optimizer)
    while made.evaluation < 2:
        made.step()
    # On a CPU, reading the factor costs nothing; on a GPU, this is the way.
    monkeypatch.setattr(losses, "_add_scaled", lambda to, values, factor: to.add_(values * factor))
    transfers = []

    def on_host(tensor):
        transfers.append(tensor.shape)
        return tolist(tensor)

    tolist = torch.Tensor.tolist
    monkeypatch.setattr(stages, "on_host", on_host)

    def refuse(self, *args, **kwargs):
        raise AssertionError("a value is brought to the host by the way")

    for method in TO_HOST:
        monkeypatch.setattr(torch.Tensor, method, refuse)
    with Watched(lambda name, args, kwargs: name in WAITS) as watched:
        for _ in range(5):
            made.step()
    assert made.evaluation == 7
    assert watched.found == set()
    assert len(transfers) == 5


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("optimizer", "tiled"), [("lbfgs", False), ("adam", True)], ids=["plain", "tiled"])
def test_a_painting_uses_no_operator_that_sums_in_no_fixed_order(
    network, monkeypatch, objective, optimizer, tiled
):
    if tiled:
        monkeypatch.setattr(memory, "TILE_SIDES", (48,))
    top = Image.linear_gradient("L").resize((64, 48))
    made = session(
        network, objective, optimizer, [Region(top, 0), Region(top.rotate(180), 1, top)], evaluations=4
    )
    if tiled:
        made._plans = [plans[1:] for plans in made._plans]
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with Watched(is_unordered) as watched:
            for _ in made:
                pass
            made.picture(50)
    finally:
        torch.use_deterministic_algorithms(deterministic)
    assert made.stop_reason == "completed"
    assert watched.found == set()
