"""Adam equals torch's; L-BFGS equals the textbook's recursion and starts from the preconditioner."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from impasto_server.engine import preconditioner
from impasto_server.engine.optimizers import LBFGS, Adam
from impasto_server.engine.preconditioner import Preconditioner


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


def step(optimizer, loss, gradient):
    """Moves an optimiser's image once."""
    return optimizer.step(loss, optimizer.look(gradient).tolist())


def bowl(seed=0, shape=(1, 3, 6, 8)):
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    hessian = root @ root.T / size + 0.3 * torch.eye(size, dtype=torch.float64)
    return torch.randn(shape, generator=generator, dtype=torch.float64), hessian


def test_it_makes_the_same_moves_as_the_recursion(monkeypatch):
    monkeypatch.setattr(preconditioner, "COARSE_WEIGHT", 0.0)
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
        assert step(optimizer, float(x @ gradient) / 2, gradient.view_as(image))
        if evaluation:
            torch.testing.assert_close(image.flatten() - x, recursion(pairs, gradient), rtol=1e-8, atol=1e-10)


def test_it_works_as_if_its_variables_were_preconditioned():
    """In z with x = A z, A² the preconditioner, the first estimate of the inverse Hessian is γ I."""
    image, hessian = bowl()
    eye = torch.eye(image.numel(), dtype=image.dtype)
    squared = torch.stack([Preconditioner(image)(row.view_as(image)).flatten() for row in eye])
    values, vectors = torch.linalg.eigh(squared)
    root = vectors @ values.sqrt().diag() @ vectors.T
    optimizer = LBFGS(image, 1.0, 4)
    optimizer.WORSE = 1e9
    pairs, last = [], None
    for evaluation in range(14):
        x = image.flatten().clone()
        gradient = hessian @ x
        z, of_z = torch.linalg.solve(root, x), root @ gradient
        if last is not None:
            pairs = [*pairs, (z - last[0], of_z - last[1])][-4:]
        last = z, of_z
        assert step(optimizer, float(x @ gradient) / 2, gradient.view_as(image))
        if evaluation:
            expected = root @ recursion(pairs, of_z)
        else:
            expected = root @ of_z * (-LBFGS.FIRST_STEP * len(x) ** 0.5 / of_z.norm())
        torch.testing.assert_close(image.flatten() - x, expected, rtol=1e-8, atol=1e-10)


def test_a_step_that_makes_the_loss_much_larger_is_taken_back():
    image, hessian = bowl()
    begin = image.clone()
    optimizer = LBFGS(image, 1.0, 4)
    gradient = (hessian @ begin.flatten()).view_as(image)
    step(optimizer, 1.0, gradient)
    first = image - begin
    assert step(optimizer, math.nan, gradient)
    torch.testing.assert_close(image - begin, first / 4)
    for _ in range(LBFGS.RETRIES - 1):
        assert step(optimizer, 5.0, gradient)
    assert not step(optimizer, 5.0, gradient)


def test_a_restored_state_continues_with_the_same_bytes():
    image, hessian = bowl()
    other = image.clone()
    whole, stopped = LBFGS(image, 1.0, 4), None
    for evaluation in range(12):
        gradient = hessian @ image.flatten()
        loss = float(image.flatten() @ gradient) / 2
        if stopped is not None:
            step(stopped, loss, gradient.view_as(image).clone())
        step(whole, loss, gradient.view_as(image))
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
        assert step(optimizer, float(x @ gradient) / 2, gradient.view_as(image))
    return seen


@pytest.mark.parametrize("evaluations", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("before", [2, 4, 7])
@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_a_state_can_be_restored_with_any_history_and_keeps_the_newest_pairs(
    monkeypatch, before, after, evaluations
):
    monkeypatch.setattr(preconditioner, "COARSE_WEIGHT", 0.0)
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
    step(saved, math.nan, torch.zeros_like(image))
    descend(saved, image, hessian, evaluations)
    tensors, values = saved.state()
    resumed = LBFGS(image, 1.0, 4)
    resumed.restore(tensors, values)
    again, values_again = resumed.state()
    assert values_again == values
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_makes_the_same_moves_as_torch(dtype):
    image, hessian = (tensor.to(dtype) for tensor in bowl())
    other = image.clone()
    adam, expected = Adam(image, 0.1), torch.optim.Adam([other], lr=0.1, betas=(0.5, 0.999), foreach=False)
    for _ in range(30):
        step(adam, 1.0, (hessian @ image.flatten()).view_as(image))
        other.grad = (hessian @ other.flatten()).view_as(other)
        expected.step()
        assert torch.equal(image, other)
