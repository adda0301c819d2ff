"""The kernels: each does what PyTorch's operators do, bit for bit, whether in C or not."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.engine import kernels
from impasto_server.engine.kernels import building, plain
from impasto_server.engine.kernels.library import Library, LibraryError

COMPILER = os.environ.get("CC", "cc").split()[0]
needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which(COMPILER) is None, reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kernels compiled from this source, whatever is installed."""
    file = tmp_path_factory.mktemp("kernels") / "kernels.so"
    building.build(file, flags=("-Werror",))
    return Library(file)


@st.composite
def maps(draw: st.DrawFn, count: int) -> list[torch.Tensor]:
    """Maps of one shape and type: few different numbers, so that many are equal, and some that are special."""
    dtype = draw(st.sampled_from([torch.bfloat16, torch.float32]))
    channels = draw(st.sampled_from([1, 3, 16, 64, 67, 130, 512]))
    height, width = (draw(st.integers(0, 7)) for _ in range(2))
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.5, -1.5, 3.1415926, 1e-40, 3e38, -3e38, *SPECIAL])
    made = []
    for _ in range(count):
        chosen = torch.tensor(draw(st.lists(numbers, min_size=1, max_size=5)))
        places = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
        offset = draw(st.integers(0, 3))
        at = torch.randint(len(chosen), (offset + height * width * channels,), generator=places)
        # Memory that does not begin where the allocation does.
        memory = chosen[at].to(dtype)[offset:]
        made.append(memory.view(1, height, width, channels).permute(0, 3, 1, 2))
    return made


SPECIAL = (float("nan"), float("inf"), float("-inf"))


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal numbers and memory layout; all NaNs are alike, and so are 0 and -0."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert not found.numel() or found.is_contiguous(memory_format=torch.channels_last)


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(maps(2))
def test_pooling_is_that_of_pytorch(library: Library, drawn: list[torch.Tensor]) -> None:
    x = drawn[0].relu()
    values = library.pooled(x)
    same(values, plain.pooled(x))
    if values.numel():
        same(values, F.max_pool2d(x, 2))
    of_values = drawn[1][:, :, : values.shape[2], : values.shape[3]]
    of_values = of_values.contiguous(memory_format=torch.channels_last)
    gradient = library.unpooled(of_values, x, values)
    same(gradient, plain.unpooled(of_values, x, values))
    if values.numel() and not x.isnan().any():
        expected, indices = F.max_pool2d(x, 2, return_indices=True)
        expected = torch.ops.aten.max_pool2d_with_indices_backward(
            of_values, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        same(gradient, torch.ops.aten.threshold_backward(expected, x, 0))


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(maps(3))
def test_masks_are_those_of_pytorch(library: Library, drawn: list[torch.Tensor]) -> None:
    gradient, own, x = drawn
    for path in (library, plain):
        masked, added = gradient.clone(), gradient.clone()
        path.mask_(masked, x)
        same(masked, torch.ops.aten.threshold_backward(gradient, x, 0))
        path.add_masked_(added, own, x)
        same(added, torch.ops.aten.threshold_backward(gradient + own, x, 0))
