"""cuDNN's fused convolution, with stand-ins for the operator, which a CPU does not have."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from impasto_server.engine import cudnn


def right(x, weight, bias, stride, padding, dilation, groups):
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups).relu()


def missing(*arguments):
    raise RuntimeError("GET was unable to find an engine to execute this computation")


def without_bias(x, weight, bias, *others):
    return right(x, weight, None, *others)


def without_relu(*arguments):
    return F.conv2d(*arguments)


def less_precise(x, weight, *others):
    """As with TF32, of 10 bits."""
    return right(x, (weight * (1 + 2.0**-11)), *others)


def of_unwritten_memory(*arguments):
    return right(*arguments) + 0 * torch.full((), torch.nan)


@pytest.fixture
def convolution(monkeypatch):
    """Puts an operator in place, and returns a convolution's arguments."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, generator=generator) for shape in ((1, 6, 9, 7), (8, 6, 3, 3), (8,))
    )
    monkeypatch.setattr(cudnn, "_may_have", lambda x: True)
    monkeypatch.setattr(cudnn, "_proved", {})

    def with_operator(operator, dtype=torch.float32):
        calls = []

        def counted(*arguments):
            calls.append(arguments)
            return operator(*arguments)

        monkeypatch.setattr(torch, "cudnn_convolution_relu", counted)
        return [tensor.to(dtype) for tensor in (x, weight, bias)], calls

    return with_operator


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("border", [0, 1])
def test_a_right_operator_is_used_after_one_trial_for_each_shape(convolution, dtype, border):
    given, calls = convolution(right, dtype)
    for _ in range(3):
        got = cudnn.convolved(*given, border)
        assert torch.equal(got, F.conv2d(*given, padding=border).relu())
    assert len(calls) == 3
    cudnn.convolved(given[0][:, :, 1:], *given[1:], border)
    assert list(cudnn._proved.values()) == [True, True]


@pytest.mark.parametrize(
    "operator",
    [missing, without_bias, without_relu, less_precise, of_unwritten_memory],
    ids=lambda f: f.__name__,
)
def test_a_wrong_operator_is_not_used(convolution, operator):
    given, calls = convolution(operator)
    for _ in range(3):
        assert torch.equal(cudnn.convolved(*given, 1), F.conv2d(*given, padding=1).relu())
    assert len(calls) == 1


def test_running_out_of_memory_decides_nothing(convolution):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    given, _ = convolution(full)
    with pytest.raises(torch.OutOfMemoryError):
        cudnn.convolved(*given, 1)
    assert not cudnn._proved


def test_a_painting_that_has_failed_decides_nothing(convolution):
    (x, *others), calls = convolution(right)
    assert not cudnn.convolved(x * torch.nan, *others, 1).isfinite().any()
    assert not calls
    assert torch.equal(cudnn.convolved(x, *others, 1), F.conv2d(x, *others, padding=1).relu())
    assert list(cudnn._proved.values()) == [True]


def test_not_more_shapes_are_remembered_than_a_worker_can_keep(convolution, monkeypatch):
    monkeypatch.setattr(cudnn, "_KEPT_SHAPES", 3)
    given, _ = convolution(right)
    for height in range(3, 9):
        cudnn.convolved(given[0][:, :, :height], *given[1:], 1)
        assert len(cudnn._proved) <= 3


def test_a_cpu_has_no_such_operator(monkeypatch):
    monkeypatch.setattr(torch, "cudnn_convolution_relu", missing)
    x, weight, bias = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3), torch.ones(3)
    assert torch.equal(cudnn.convolved(x, weight, bias, 1), F.conv2d(x, weight, bias, padding=1))
