"""L-BFGS: its compact form equals the textbook's recursion, and its weighting of the image is symmetric."""

from __future__ import annotations

import itertools

import pytest
import torch

from impasto_server.engine.optimizers import LBFGS


def recursion(pairs, gradient):
    """Returns the direction by the two-loop recursion (Nocedal, Wright: algorithm 7.4)."""
    direction, alphas = gradient.neg(), []
    for s, y in reversed(pairs):
        alphas.append((s @ direction) / (s @ y))
        direction = direction - alphas[-1] * y
    s, y = pairs[-1]
    direction = direction * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        direction = direction + (alpha - (y @ direction) / (s @ y)) * s
    return direction


def bowl(seed=0, shape=(1, 3, 6, 8)):
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    hessian = root @ root.T / size + 0.3 * torch.eye(size, dtype=torch.float64)
    return torch.randn(shape, generator=generator, dtype=torch.float64), hessian


def test_it_makes_the_same_moves_as_the_recursion(monkeypatch):
    monkeypatch.setattr(LBFGS, "COARSE_WEIGHT", 0.0)
    monkeypatch.setattr(LBFGS, "WORSE", 1e9)
    image, hessian = bowl()
    optimizer = LBFGS(image, 1.0, 4)
    pairs, last = [], None
    for evaluation in range(14):
        x = image.flatten().clone()
        gradient = hessian @ x
        if last is not None:
            pairs = [*pairs, (x - last[0], gradient - last[1])][-4:]
        last = x, gradient
        assert optimizer.step(float(x @ gradient) / 2, gradient.view_as(image))
        if evaluation:
            torch.testing.assert_close(image.flatten() - x, recursion(pairs, gradient), rtol=1e-8, atol=1e-10)


def test_its_weighting_is_symmetric_and_favours_large_forms():
    optimizer = LBFGS(torch.zeros(1, 3, 37, 50, dtype=torch.float64), 1.0, 4)
    a, b = torch.randn(2, 1, 3, 37, 50, dtype=torch.float64)
    weighted = [optimizer._weighted(a), optimizer._weighted(b)]
    torch.testing.assert_close((weighted[0] * b).sum(), (weighted[1] * a).sum())
    flat = optimizer._weighted(torch.ones_like(a)).mean()
    checkered = torch.ones_like(a)
    checkered[..., ::2] = -1
    assert abs(flat - (1 + LBFGS.COARSE_WEIGHT)) < 0.05
    assert optimizer._weighted(checkered).abs().mean() < 1.2


def test_a_step_that_makes_the_loss_much_larger_is_taken_back():
    image, hessian = bowl()
    begin = image.clone()
    optimizer = LBFGS(image, 1.0, 4)
    gradient = (hessian @ begin.flatten()).view_as(image)
    optimizer.step(1.0, gradient)
    first = image - begin
    assert optimizer.step(float("nan"), gradient)
    torch.testing.assert_close(image - begin, first / 4)
    for _ in range(LBFGS.RETRIES - 1):
        assert optimizer.step(5.0, gradient)
    assert not optimizer.step(5.0, gradient)


def test_a_restored_state_continues_with_the_same_bytes():
    image, hessian = bowl()
    other = image.clone()
    whole, stopped = LBFGS(image, 1.0, 4), None
    for evaluation in range(12):
        gradient = hessian @ image.flatten()
        loss = float(image.flatten() @ gradient) / 2
        if stopped is not None:
            stopped.step(loss, gradient.view_as(image).clone())
        whole.step(loss, gradient.view_as(image))
        if stopped is not None:
            assert torch.equal(other, image)
        if evaluation in (2, 7):
            other = image.clone()
            stopped = LBFGS(other, 1.0, 4)
            tensors, values = whole.state()
            stopped.restore({name: tensor.clone() for name, tensor in tensors.items()}, values)


def descend(optimizer, image, hessian, evaluations):
    """Lets an optimiser move an image; returns (x, gradient) of each evaluation."""
    seen = []
    for _ in range(evaluations):
        x = image.flatten().clone()
        gradient = hessian @ x
        seen.append((x, gradient))
        assert optimizer.step(float(x @ gradient) / 2, gradient.view_as(image))
    return seen


@pytest.mark.parametrize("evaluations", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("before", [2, 4, 7])
@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_a_state_can_be_restored_with_any_history_and_keeps_the_newest_pairs(
    monkeypatch, before, after, evaluations
):
    monkeypatch.setattr(LBFGS, "COARSE_WEIGHT", 0.0)
    monkeypatch.setattr(LBFGS, "WORSE", 1e9)
    image, hessian = bowl()
    saved = LBFGS(image, 1.0, before)
    seen = descend(saved, image, hessian, evaluations)
    tensors, values = saved.state()
    resumed = LBFGS(image, 1.0, after)
    resumed.restore({name: tensor.clone() for name, tensor in tensors.items()}, values)
    pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(seen)][-before:][-after:]
    # Long enough for the ring buffer of pairs to be overwritten completely, and more.
    for _ in range(2 * after + 1):
        ((x, gradient),) = descend(resumed, image, hessian, 1)
        pairs = [*pairs, (x - seen[-1][0], gradient - seen[-1][1])][-after:]
        seen.append((x, gradient))
        torch.testing.assert_close(image.flatten() - x, recursion(pairs, gradient), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("evaluations", [1, 3, 9])
def test_a_restored_state_is_the_same_state(evaluations):
    image, hessian = bowl()
    saved = LBFGS(image, 1.0, 4)
    descend(saved, image, hessian, evaluations)
    # This step is taken back, so that the pairs are dropped.
    saved.step(float("nan"), torch.zeros_like(image))
    descend(saved, image, hessian, evaluations)
    tensors, values = saved.state()
    resumed = LBFGS(image, 1.0, 4)
    resumed.restore(tensors, values)
    again, values_again = resumed.state()
    assert values_again == values
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
