"""CUDA graphs without CUDA: PyTorch's operators are recorded and called again with the same tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from impasto_server.engine.evaluation import Evaluation


@dataclasses.dataclass
class FakeRecording:
    """Operators in the order in which they were called, each with its arguments and its results.

    As in a CUDA graph, numbers are those of the recording, tensors are always the same ones, and a result is
    worth nothing before the first replay.
    """

    calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[torch.Tensor]]]
    replays: int = 0
    freed: bool = False

    @torch.no_grad()
    def replay(self) -> None:
        assert not self.freed
        self.replays += 1
        for function, arguments, options, results in self.calls:
            for result, new in zip(results, _tensors(function(*arguments, **options)), strict=True):
                # A view of an argument, or the argument itself, is up to date already.
                if (
                    result is not new
                    and result.untyped_storage().data_ptr() != new.untyped_storage().data_ptr()
                ):
                    result.copy_(new)

    def reset(self) -> None:
        self.freed = True
        self.calls.clear()


class FakeRecorder:
    """A `graphs.Recorder` for the CPU.

    Attributes:
        usable: as of every recorder.
        recordings: everything that it has recorded.
        warmed_up: number of times that it did work without recording it.
        fails_with: what to raise instead of recording.
        spoils: whether its recordings give other numbers.
    """

    def __init__(self) -> None:
        self.recordings: list[FakeRecording] = []
        self.usable = True
        self.warmed_up = 0
        self.fails_with: Exception | None = None
        self.spoils = False

    def warm_up(self, work: Callable[[], Evaluation]) -> Evaluation:
        self.warmed_up += 1
        return work()

    def record(self, work: Callable[[], Evaluation]) -> tuple[FakeRecording, Evaluation]:
        if self.fails_with is not None:
            raise self.fails_with
        with _Recording() as recording:
            evaluation = work()
        for made in recording.made:
            made.fill_(torch.nan)
        if self.spoils:
            recording.calls.append((torch.add, (evaluation.losses, 1e-6), {}, [evaluation.losses]))
        self.recordings.append(FakeRecording(recording.calls))
        return self.recordings[-1], evaluation


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[torch.Tensor]]] = []
        self.made: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A value that the program reads, or a tensor that it makes of numbers, would fail or be wrong.
        assert func not in _ON_HOST, func
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        own = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        new = [tensor for tensor in _tensors(results) if tensor.untyped_storage().data_ptr() not in own]
        self.made += [tensor for tensor in new if tensor.is_floating_point()]
        self.calls.append((func, args, kwargs, _tensors(results)))
        return results


_ON_HOST = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
}


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
