from __future__ import annotations

import itertools

import pytest
import safetensors.torch
import torch

from impasto_server.engine import Recipe, RecipeError, Scene, Session, Style, checkpoint, memory
from support.random_networks import picture

TENSORS = {"image": torch.randn(1, 3, 5, 7), "step": torch.tensor(3.0), "wide": torch.randn(2, 4)}
VALUES = {"loss": 0.1 + 0.2, "bests": [float("inf"), 1e-300], "name": "ü"}


def test_what_was_saved_is_loaded_exactly():
    data = checkpoint.take(TENSORS, VALUES).dump()
    tensors, values = checkpoint.load(data)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert {**values, **VALUES} == values
    assert set(safetensors.torch.load(data)) == set(TENSORS)


@pytest.mark.parametrize("length", [1, 7, 64, 1 << 20])
def test_the_pieces_of_a_checkpoint_make_up_its_bytes(length):
    saved = checkpoint.take(TENSORS, VALUES)
    pieces = list(saved.pieces(length))
    assert b"".join(pieces) == saved.dump()
    assert max(map(len, pieces)) <= length
    assert saved.size_bytes == sum(map(len, pieces))


def test_every_flipped_bit_is_detected():
    data = checkpoint.take(TENSORS, VALUES).dump()
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            tensors, values = checkpoint.load(flipped)
        except checkpoint.CheckpointError:
            continue
        # A flipped bit may be in a place without meaning, such as a space in the header.
        assert values == checkpoint.load(data)[1]
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def scene():
    return Scene(content=picture(20, 16), styles=[Style(picture(20, 16, seed=1))])


def after_five_steps(recipe, arguments):
    session = Session(recipe, **arguments)
    for _ in range(5):
        session.step()
    return session


def test_a_snapshot_stays_as_it_was_while_the_session_goes_on(network):
    for optimizer in ("adam", "lbfgs"):
        recipe = Recipe(optimizer=optimizer, evaluations=12, averaging=0.5, precision="float32")
        arguments = {"scene": scene(), "network": network}
        session = after_five_steps(recipe, arguments)
        at_once, later = session.state(), session.snapshot()
        for _ in session:
            pass
        assert later.dump() == at_once
        resumed = Session.restore(at_once, **arguments)
        assert resumed.evaluation == 5
        for _ in resumed:
            pass
        assert resumed.picture().tobytes() == session.picture().tobytes()


def test_an_update_that_does_not_fit_changes_nothing(network):
    recipe = Recipe(optimizer="adam", evaluations=12, precision="float32")
    session = Session(recipe, scene(), network)
    session.step()
    before = session.state()
    with pytest.raises(RecipeError, match="longest_side"):
        session.update(Recipe(optimizer="lbfgs", evaluations=12, precision="float32"), memory_bytes=1000)
    assert session.state() == before
    session.step()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_checkpoint_of_format_4_is_resumed(network, monkeypatch, optimizer):
    """Its state of Adam is the same. L-BFGS starts again from the image: its pairs meant something else."""
    recipe = Recipe(optimizer=optimizer, evaluations=12, precision="float32")
    arguments = {"scene": scene(), "network": network}
    session = after_five_steps(recipe, arguments)
    saved = session.snapshot()
    tensors = dict(saved.tensors)
    if optimizer == "lbfgs":
        pixels = tensors["image"].numel()
        for name in [name for name in tensors if name.startswith("optimizer.")]:
            del tensors[name]
        tensors |= {
            "optimizer.sy": torch.zeros((12, 12), dtype=torch.float64),
            "optimizer.yy": torch.zeros((12, 12), dtype=torch.float64),
            "optimizer.pairs": torch.zeros((2, 3, pixels)),
            "optimizer.before": tensors["image"],
            "optimizer.gradient": torch.zeros(pixels),
            "optimizer.move": torch.zeros(pixels),
        }
        values = {**saved.values, "optimizer": {"next": 3, "retries": 0, "loss": 1.0}}
    else:
        values = saved.values
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "_FORMAT", 4)
        data = checkpoint.Checkpoint(tensors, values).dump()
    resumed = Session.restore(data, **arguments)
    assert torch.equal(resumed._stage.image, session._stage.image)
    before = resumed._stage.best_loss
    assert [progress.evaluation for progress in resumed] == list(range(6, 13))
    assert resumed._stage.best_loss < before
    if optimizer == "adam":
        list(session)
        assert torch.equal(resumed._stage.image, session._stage.image)


def test_a_checkpoint_of_an_unknown_format_is_refused(monkeypatch):
    monkeypatch.setattr(checkpoint, "_FORMAT", 3)
    with pytest.raises(checkpoint.CheckpointError, match="format 3"):
        checkpoint.load(checkpoint.take(TENSORS, VALUES).dump())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [("adam", *pair) for pair in itertools.permutations(["free", "least"])]
    + [("lbfgs", *pair) for pair in itertools.permutations(["free", "scarce", "least"], 2)],
)
def test_a_checkpoint_is_resumed_under_any_memory_limit(network, monkeypatch, optimizer, first, second):
    """With less memory, the plan changes: it uses tiles and a shorter history."""
    monkeypatch.setattr(memory, "TILE_SIDES", (32,))
    layers = (("relu1_2", 1.0),)
    recipe = Recipe(
        objective="balanced",
        optimizer=optimizer,
        evaluations=17,
        averaging=0.5,
        precision="float32",
        start="noise",
        longest_side=64,
        content_layers=layers,
        style_layers=layers,
    )
    arguments = {
        "scene": Scene(content=picture(64, 56), styles=[Style(picture(40, 40, seed=1))]),
        "network": network,
    }
    plans = [plan.estimated_bytes for plan in Session(recipe, **arguments)._plans[-1]]
    limits = {"free": None, "scarce": max(plans) - 1, "least": min(plans)}
    session = Session(recipe, **arguments, memory_bytes=limits[first])
    before = [session.step() for _ in range(14)]
    resumed = Session.restore(session.state(), **arguments, memory_bytes=limits[second])
    assert resumed.plan != session.plan
    after = list(resumed)
    assert len(after) == 3
    # It continues from the same image, because another plan minimises the same function.
    assert after[0].loss < before[0].loss
    assert min(progress.loss for progress in after) < min(progress.loss for progress in before)
    # The other way round, it works too.
    assert Session.restore(resumed.state(), **arguments, memory_bytes=limits[first]).done
