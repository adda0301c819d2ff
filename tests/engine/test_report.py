"""Compares the recipe `report` with an independent, literal transcription of the report's program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from impasto_server.engine import Recipe, Scene, Session, Style, load_weights
from impasto_server.engine.network import Network
from support.random_networks import picture
from support.report_program import ReportProgram, vgg19_features


@pytest.mark.slow
def test_report_makes_the_same_steps_as_the_program_of_the_report(tmp_path):
    features = vgg19_features()
    path = tmp_path / "vgg19.pth"
    torch.save({f"features.{name}": tensor for name, tensor in features.state_dict().items()}, path)
    content, style = picture(61, 44, seed=1), picture(50, 70, seed=2)

    program = ReportProgram(features, content, style)
    session = Session(
        Recipe(objective="report", evaluations=10),
        Scene(content=content, styles=[Style(style)]),
        Network(load_weights(str(path))).double(),
    )
    assert session.size == (61, 44)

    # Loss and gradient at the program's start.
    expected = program.loss()
    (expected_gradient,) = torch.autograd.grad(expected, program.x)
    evaluation = session._evaluate(session._stage)
    assert (evaluation.losses[0] - expected).abs() <= 1e-9 * expected
    assert (evaluation.gradient - expected_gradient).norm() <= 1e-9 * expected_gradient.norm()

    # The first ten steps: the same losses, the same image, the same picture.
    for _ in range(10):
        loss = program.step()
        assert abs(session.step().loss - loss) <= 1e-9 * loss
        assert (session._stage.image - program.x).abs().max() <= 1e-9
    assert session.stop_reason == "completed"
    assert np.array_equal(np.asarray(session.picture()), np.asarray(program.show()))


def test_the_report_compares_features_after_in_place_relus():
    """Trap 1: without in-place ReLUs, the captured layers and the loss are different."""
    features = vgg19_features()
    program = ReportProgram(features, picture(40, 36, seed=1), picture(40, 36, seed=2))
    with_in_place = program.loss().item()
    for module in features:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    assert abs(program.loss().item() / with_in_place - 1) > 0.01
