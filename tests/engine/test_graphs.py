"""Recorded evaluations, with a recorder that does on the CPU what a CUDA graph does."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from impasto_server.engine import graphs, kernels, losses, roots, session
from impasto_server.engine import network as network_module
from impasto_server.engine.evaluation import evaluate
from impasto_server.engine.graphs import Evaluator
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scene import Scene, Style
from impasto_server.engine.session import Session
from support.fake_graphs import FakeRecorder
from support.random_networks import picture

OBJECTIVES = ("balanced", "gatys", "neighbours", "report", "wasserstein")


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    """Takes a GPU's ways through the engine: without kernels in C, oneDNN, eigenvectors or syncs."""
    monkeypatch.setattr(kernels, "_library", None)
    monkeypatch.setattr(network_module, "_HAS_ONEDNN", False)
    monkeypatch.setattr(
        roots,
        "_by_eigenvectors",
        lambda covariance, target: roots._by_products(target.mean, covariance, target),
    )
    monkeypatch.setattr(
        losses,
        "_add_scaled",
        lambda gradient, values, factor: gradient.add_(values * factor.view(1, 1, 1, 1)),
    )


@pytest.fixture
def recorder(monkeypatch):
    """The recorder of every session that is made."""
    fake = FakeRecorder()
    monkeypatch.setattr(session, "recorder", lambda device: fake)
    return fake


def scene():
    return Scene(content=picture(40, 32, 1), styles=[Style(picture(32, 40, 2))])


def made(network, **fields):
    recipe = {
        "objective": "balanced",
        "longest_side": 40,
        "evaluations": 8,
        "stop_on_plateau": False,
        **fields,
    }
    return Session(Recipe(**recipe), scene(), network)


def finished(session):
    """Returns the losses of a session's remaining steps, and its result."""
    return [progress.loss for progress in session], session.samples(8).tobytes()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replays_give_the_bits_of_evaluations(network, recorder, objective, precision):
    fields = {"objective": objective, "precision": precision, "evaluations": 5}
    if objective == "wasserstein":
        # Products of 512 × 512 take long here.
        fields["style_layers"] = (("relu1_1", 1.0), ("relu3_1", 1.0))
    expected = finished(without_graphs(made(network, **fields)))
    got = finished(made(network, **fields))
    assert sum(recording.replays for recording in recorder.recordings) >= 4
    assert all(recording.freed for recording in recorder.recordings)
    assert got == expected


def without_graphs(session):
    session._evaluator = Evaluator(None)
    return session


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_each_replay_has_results_of_its_own(network, recorder, optimizer):
    """An optimiser may keep a gradient, and a caller the losses, for as long as they like."""
    painting = made(network, optimizer=optimizer)
    while not recorder.recordings:
        painting.step()
    stage = painting._stage
    first, second = (
        painting._evaluator.evaluate(stage.objective, image) for image in (stage.image, -stage.image)
    )
    expected = [evaluate(stage.objective, image) for image in (stage.image, -stage.image)]
    for got, right in zip((first, second), expected, strict=True):
        assert torch.equal(got.losses, right.losses)
        assert torch.equal(got.gradient, right.gradient)


def test_a_steered_objective_is_recorded_anew(network, recorder):
    def steered(painting):
        for _ in range(5):
            painting.step()
        painting.update(dataclasses.replace(painting.recipe, content_weight=0.9))
        return finished(painting)

    expected = steered(without_graphs(made(network, evaluations=12)))
    before = len(recorder.recordings)
    assert steered(made(network, evaluations=12)) == expected
    assert len(recorder.recordings) == before + 2
    assert recorder.recordings[-2].freed


def test_a_painting_goes_on_from_a_checkpoint_with_the_same_bits(network, recorder):
    whole = finished(made(network, evaluations=12))
    half = made(network, evaluations=12)
    first = [half.step().loss for _ in range(6)]
    losses, result = finished(Session.restore(half.state(), scene(), network))
    assert (first + losses, result) == whole
    assert len(recorder.recordings) == 3


def test_two_paintings_in_turn_do_not_disturb_each_other(network, recorder):
    def alone(weight):
        return finished(made(network, content_weight=weight))

    expected = alone(0.1), alone(0.9)
    one, other = made(network, content_weight=0.1), made(network, content_weight=0.9)
    losses = [(one.step().loss, other.step().loss) for _ in range(8)]
    got = [
        (list(of_one), painting.samples(8).tobytes())
        for of_one, painting in zip(zip(*losses, strict=True), (one, other), strict=True)
    ]
    assert tuple(got) == expected
    assert len(recorder.recordings) == 4


def test_without_memory_for_a_recording_this_scale_is_evaluated(network, recorder, caplog):
    expected = finished(without_graphs(made(network, evaluations=4)))
    recorder.fails_with = torch.OutOfMemoryError("CUDA out of memory. Tried")
    with caplog.at_level(logging.WARNING):
        assert finished(made(network, evaluations=4)) == expected
    assert [record.getMessage().partition(" why=")[2] for record in caplog.records] == [
        "'CUDA out of memory. Tried'"
    ]
    recorder.fails_with = None
    assert finished(made(network, evaluations=4)) == expected
    assert len(recorder.recordings) == 1


def test_after_a_recording_that_cuda_refuses_all_is_evaluated(network, recorder, caplog):
    expected = finished(without_graphs(made(network, evaluations=4)))
    recorder.fails_with = RuntimeError("operation not permitted\ndetails")
    with caplog.at_level(logging.WARNING):
        assert finished(made(network, evaluations=4)) == expected
        recorder.fails_with = None
        assert finished(made(network, evaluations=4)) == expected
    assert [record.getMessage().partition(" why=")[2] for record in caplog.records] == [
        "'operation not permitted; this process records no more'"
    ]
    assert not recorder.recordings
    assert recorder.warmed_up == 2


def test_a_device_has_one_recorder_for_all_paintings(monkeypatch):
    monkeypatch.setattr(graphs, "CudaRecorder", lambda device: object())
    graphs._cuda_recorder.cache_clear()
    one, same, other = (graphs.recorder(torch.device(name)) for name in ("cuda:0", "cuda:0", "cuda:1"))
    graphs._cuda_recorder.cache_clear()
    assert one is same
    assert one is not other


def test_a_recording_that_gives_other_numbers_is_not_used(network, recorder, caplog, monkeypatch):
    expected = finished(without_graphs(made(network)))
    monkeypatch.setattr(recorder, "spoils", True)
    with caplog.at_level(logging.WARNING):
        assert finished(made(network)) == expected
    assert [recording.replays for recording in recorder.recordings] == [1]
    assert recorder.recordings[0].freed
    assert "other numbers" in caplog.text


def test_tiles_are_not_recorded(network, recorder):
    painting = made(network)
    painting.step()
    stage, evaluator = painting._stage, Evaluator(recorder)
    for _ in range(3):
        evaluator.evaluate(stage.objective, stage.image, "tiled", 64)
    assert not recorder.recordings


def test_graphs_are_for_cuda_and_can_be_switched_off(monkeypatch):
    assert graphs.recorder(torch.device("cpu")) is None
    monkeypatch.setenv("IMPASTO_CUDA_GRAPHS", "0")
    assert graphs.recorder(torch.device("cuda:0")) is None


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_map_of_features_changes_its_layout(network, objective, precision):
    """A copy into another layout takes a GPU as long as a convolution of few channels."""
    painting = made(network, objective=objective, precision=precision)
    stage = painting._stage
    painting.step()
    copied = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if isinstance(result, torch.Tensor) and result.dim() == 4 and result.shape[1] >= 64:
                last = result.is_contiguous(memory_format=torch.channels_last)
                if name in ("convolution", "max_pool2d_with_indices", "max_pool2d"):
                    assert last, (name, result.shape, result.stride())
                elif name in ("clone", "contiguous", "_to_copy") and args[0].stride() != result.stride():
                    copied.append((name, result.shape, args[0].stride(), result.stride()))
            return result

    with Watch():
        evaluate(stage.objective, stage.image)
    assert not copied
