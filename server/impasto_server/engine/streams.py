"""Copies a device's tensors to the host while the device goes on working."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from impasto_server.engine.devices import is_out_of_memory


class SideStream(Protocol):
    """Work on a device beside its other work."""

    def host_memory(self, like: torch.Tensor) -> torch.Tensor:
        """Returns memory of the host for a tensor, which the device can write to by itself."""
        ...

    def begin(self, work: Callable[[], None], uses: Sequence[torch.Tensor]) -> Callable[[], None]:
        """Begins some work once everything that was asked of the device before is done.

        Args:
            work: asks for the work; called at once.
            uses: the device's tensors in the work, which may be freed before it is done.

        Returns:
            A function that waits until the work is done. Any thread may call it.
        """
        ...


def to_host(
    tensors: Mapping[str, torch.Tensor],
    side_stream: Callable[[torch.device], SideStream | None] | None = None,
) -> tuple[dict[str, torch.Tensor], Callable[[], None]]:
    """Begins to copy tensors to the host. What is asked of the device from now on may change them.

    On a GPU they are first copied within its memory, which is quick. If there is no room for that, and on
    other devices, the copies are whole when this returns.

    Args:
        tensors: on one device.
        side_stream: gives the side stream of a device, or None if it has none; by default, a GPU's.

    Returns:
        The copies, contiguous and on the CPU, and a function that waits until they are whole. Any thread may
        call it.
    """
    devices = {tensor.device for tensor in tensors.values()}
    side = (side_stream or _side_stream)(devices.pop()) if len(devices) == 1 else None
    if side is not None:
        try:
            return _copied_beside(tensors, side)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
        for name, tensor in tensors.items()
    }, lambda: None


def _copied_beside(
    tensors: Mapping[str, torch.Tensor], side: SideStream
) -> tuple[dict[str, torch.Tensor], Callable[[], None]]:
    copies = {name: side.host_memory(tensor) for name, tensor in tensors.items()}
    # The next step changes the tensors in place, perhaps before the slow copy to the host is done.
    as_now = [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in tensors.values()]

    def copy() -> None:
        for target, source in zip(copies.values(), as_now, strict=True):
            target.copy_(source, non_blocking=True)

    return copies, side.begin(copy, as_now)


class _CudaStream:
    """A stream of a GPU for copies to the host. See `SideStream`."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def host_memory(self, like: torch.Tensor) -> torch.Tensor:
        # A GPU writes by itself only to memory that cannot be swapped out.
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def begin(self, work: Callable[[], None], uses: Sequence[torch.Tensor]) -> Callable[[], None]:
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        # A thread that waits for the event sleeps.
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream):
            work()
            done.record(self._stream)
        for tensor in uses:
            tensor.record_stream(self._stream)
        return done.synchronize


@functools.cache
def _side_stream(device: torch.device) -> SideStream | None:
    return _CudaStream(device) if device.type == "cuda" else None
