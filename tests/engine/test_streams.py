from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from impasto_server.engine import checkpoint, streams
from impasto_server.engine.checkpoint import Checkpoint


class Late:
    """A side stream whose work is done only when somebody waits for it."""

    def __init__(self) -> None:
        self.uses: list[torch.Tensor] = []

    def host_memory(self, like: torch.Tensor) -> torch.Tensor:
        return torch.full(like.shape, -1, dtype=like.dtype)

    def begin(self, work: Callable[[], None], uses: Sequence[torch.Tensor]) -> Callable[[], None]:
        self.uses += uses
        return work


class Full(Late):
    """The side stream of a device without room for another copy."""

    def begin(self, work: Callable[[], None], uses: Sequence[torch.Tensor]) -> Callable[[], None]:
        raise torch.OutOfMemoryError


class Failing(Late):
    def begin(self, work: Callable[[], None], uses: Sequence[torch.Tensor]) -> Callable[[], None]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def tensors() -> dict[str, torch.Tensor]:
    return {"image": torch.arange(12.0).view(3, 4).T, "numbers": torch.arange(5, dtype=torch.int32)}


def test_copies_are_of_the_moment_although_they_arrive_after_the_next_step() -> None:
    side = Late()
    there = tensors()
    copies, arrive = streams.to_host(there, lambda device: side)
    for tensor in there.values():
        tensor.mul_(0)
    assert all((copy == -1).all() for copy in copies.values())
    arrive()
    assert all(torch.equal(copies[name], tensor) for name, tensor in tensors().items())
    assert all(copy.is_contiguous() for copy in copies.values())
    assert len(side.uses) == len(there), "the stream keeps the device's copies until it has read them"


@pytest.mark.parametrize("side", [None, Full()])
def test_copies_are_whole_at_once_without_a_stream_or_without_room(side: Late | None) -> None:
    there = tensors()
    copies, _ = streams.to_host(there, lambda device: side)
    for tensor in there.values():
        tensor.mul_(0)
    assert all(torch.equal(copies[name], tensor) for name, tensor in tensors().items())


def test_an_error_of_the_device_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="illegal memory access"):
        streams.to_host(tensors(), lambda device: Failing())


@pytest.mark.parametrize(
    "bytes_of", [Checkpoint.dump, lambda taken: b"".join(taken.pieces(7)), lambda taken: taken.size_bytes]
)
def test_the_bytes_of_a_checkpoint_wait_for_its_copies(
    bytes_of: Callable[[Checkpoint], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bytes_of(checkpoint.take(tensors(), {"step": 1}))
    monkeypatch.setattr(streams, "_side_stream", lambda device: Late())
    taken = checkpoint.take(tensors(), {"step": 1})
    assert (taken.tensors["image"] == -1).all()
    assert bytes_of(taken) == expected
    assert torch.equal(taken.tensors["image"], tensors()["image"])
