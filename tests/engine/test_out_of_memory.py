"""A painting that runs out of memory goes on with a smaller plan, or can be continued after the error."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from impasto_server.engine import Recipe, Scene, Session, Style, memory
from impasto_server.engine import session as sessions
from impasto_server.engine.scales import Scale
from support.random_networks import picture

LARGE = 1024
"""Bytes from which an allocation can fail; all tensors that grow with the image are larger."""
LAYERS = (("relu1_1", 1.0),)
SCENE = Scene(content=picture(40, 32, 1), styles=[Style(picture(30, 50, 2))])
STEPS = 4

LBFGS = Recipe(
    objective="gatys",
    evaluations=STEPS,
    longest_side=40,
    content_layers=LAYERS,
    style_layers=LAYERS,
    color="luminance",
    precision="float32",
)
ADAM = Recipe(
    objective="gatys",
    optimizer="adam",
    averaging=0.9,
    evaluations=STEPS,
    longest_side=40,
    content_layers=LAYERS,
    style_layers=LAYERS,
    precision="float32",
)


class Scarce(TorchDispatchMode):
    """Fails one large allocation, or all of them from one on.

    Attributes:
        count: number of large allocations so far, with the one that failed.
    """

    def __init__(self, failing: int, forever: bool = False) -> None:
        super().__init__()
        self.failing, self.forever, self.count = failing, forever, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self.count > self.failing and not self.forever:
            return result
        given = storages([*args, *(kwargs or {}).values()])
        for place, size in storages([result]).items():
            if size >= LARGE and place not in given:
                self.count += 1
                if self.count > self.failing:
                    raise torch.OutOfMemoryError("no room")
        return result


def storages(values):
    """Returns the address and the bytes of each tensor's memory; weights packed by oneDNN have none."""
    found = {}
    for value in values:
        if isinstance(value, list | tuple):
            found |= storages(value)
        elif isinstance(value, torch.Tensor) and value.layout == torch.strided:
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return found


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(memory, "TILE_SIDES", (32,))
    # Small images are painted at one scale only.
    scales = [Scale(20, 16, 0, 2), Scale(40, 32, 0, STEPS - 2)]
    monkeypatch.setattr(sessions, "plan_scales", lambda recipe, size: list(scales))


def session(network, recipe):
    return Session(recipe, SCENE, network)


def kept(made):
    """Returns what a checkpoint keeps, without the times."""
    snapshot = made.snapshot()
    values = {name: value for name, value in snapshot.values.items() if name != "seconds"}
    values["stage"] = {name: value for name, value in values["stage"].items() if name != "seconds"}
    return {name: tensor.numpy().tobytes() for name, tensor in snapshot.tensors.items()}, values


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [(LBFGS, {"smaller plan", "delayed"}), (ADAM, {"refused", "delayed"})],
    ids=["lbfgs", "adam"],
)
def test_a_failed_allocation_in_a_step_changes_the_plan_or_delays_the_next_scale(network, recipe, expected):
    @functools.cache
    def with_smaller_plan(at):
        """Paints with a smaller plan from a step on; at None, never."""
        made = session(network, recipe)
        for number in range(STEPS):
            if number == at:
                made._make_do(made._stage, torch.OutOfMemoryError())
            made.step()
        return kept(made)

    outcomes = set()
    for failing in itertools.count():
        made = session(network, recipe)
        evaluations, changed = [], None
        with Scarce(failing) as scarce:
            while not made.done:
                scale, plan = made._scale, made._plans[made._scale][0]
                try:
                    evaluations.append(made.step().evaluation)
                except torch.OutOfMemoryError:
                    if made._stage.left:
                        # The evaluation was made, but the next scale could not begin.
                        evaluations.append(made.evaluation)
                        outcomes.add("delayed")
                    else:
                        # Tiles save nothing for so small an image, and Adam has no history.
                        assert {each.estimated_bytes for each in made._plans[scale]} == {plan.estimated_bytes}
                        assert made.evaluation == len(evaluations)
                        outcomes.add("refused")
                if made._plans[scale][0] != plan:
                    changed = len(evaluations) - 1
                    outcomes.add("smaller plan")
        if scarce.count <= failing:
            break
        assert evaluations == list(range(1, STEPS + 1))
        assert kept(made) == with_smaller_plan(changed)
    assert outcomes == expected


@pytest.mark.parametrize("recipe", [LBFGS, ADAM], ids=["lbfgs", "adam"])
@pytest.mark.parametrize("evaluations", [1, 2, 3])
def test_without_any_room_a_step_ends_with_that_error_and_can_be_repeated(network, recipe, evaluations):
    made = session(network, recipe)
    for _ in range(evaluations):
        made.step()
    image = made._stage.image.clone()
    with Scarce(0, forever=True), pytest.raises(torch.OutOfMemoryError, match="no room"):
        made.step()
    assert made.evaluation == evaluations
    assert torch.equal(made._stage.image, image)
    assert [progress.evaluation for progress in made] == list(range(evaluations + 1, STEPS + 1))
    assert made.stop_reason == "completed"


def test_a_picture_that_ran_out_of_memory_is_the_same(network):
    for show in (lambda made: made.picture(30), lambda made: Image.fromarray(made.samples(8))):
        for failing in itertools.count():
            made = session(network, LBFGS)
            made.step()
            expected = show(made).tobytes()
            with Scarce(failing) as scarce:
                assert show(made).tobytes() == expected
            if scarce.count <= failing:
                break
            assert len(list(made)) == STEPS - 1
        assert failing > 0


@pytest.mark.parametrize("recipe", [LBFGS, ADAM], ids=["lbfgs", "adam"])
def test_an_update_without_room_changes_nothing(network, recipe):
    changed = dataclasses.replace(recipe, content_weight=0.5, averaging=0.5 if recipe.averaging else None)
    for failing in itertools.count():
        made = session(network, recipe)
        made.step()
        before = kept(made)
        with Scarce(failing) as scarce:
            try:
                made.update(changed)
            except torch.OutOfMemoryError:
                assert kept(made) == before
        if scarce.count <= failing:
            break
        made.update(changed)
        assert len(list(made)) == STEPS - 1
    assert failing > 0
