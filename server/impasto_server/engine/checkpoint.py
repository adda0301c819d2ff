"""The format of checkpoints: tensors as safetensors, everything else as JSON in the header. No pickle."""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import safetensors
import safetensors.torch
import torch

from impasto_server.engine.streams import to_host

_KEY = "impasto_session"
_CHECK = "crc32"
_FORMAT = 5
_READABLE = (4, 5)
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int32: "I32"}


class CheckpointError(ValueError):
    """Bytes that are not a checkpoint, or not a checkpoint of this painting."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a session at one moment, copied to the host's memory.

    Taking a checkpoint interrupts the work of the device. Making its bytes does not: another thread can do
    that while the session goes on. From a GPU, the copies may still be on their way when it is taken.

    Attributes:
        tensors: contiguous copies on the CPU; nothing else uses them.
        values: values that JSON can hold; floats keep every bit.
        arrive: waits until the copies are whole.
    """

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]
    arrive: Callable[[], None] = lambda: None

    @functools.cached_property
    def size_bytes(self) -> int:
        """Total number of bytes."""
        return len(self._header) + sum(tensor.nbytes for tensor in self.tensors.values())

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yields the bytes in pieces of at most `length`."""
        # safetensors' own writer would make two more copies in memory and hold Python's lock meanwhile.
        for part in (memoryview(self._header), *map(_bytes_of, self.tensors.values())):
            for offset in range(0, len(part), length):
                yield bytes(part[offset : offset + length])

    def dump(self) -> bytes:
        """Returns all the bytes."""
        return b"".join(self.pieces(1 << 20))

    @functools.cached_property
    def _header(self) -> bytes:
        # Whoever wants the bytes needs the header first.
        self.arrive()
        text = json.dumps({"format": _FORMAT, **self.values})
        entries: dict[str, Any] = {}
        offset = 0
        for name, tensor in self.tensors.items():
            entries[name] = {
                "dtype": _DTYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [offset, offset + tensor.nbytes],
            }
            offset += tensor.nbytes
        check = _checksum(entries, text, map(_bytes_of, self.tensors.values()))
        entries["__metadata__"] = {_KEY: text, _CHECK: check}
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header


def take(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> Checkpoint:
    """Returns a checkpoint of tensors that will change later; copies them to the host."""
    # Sorted, so that a restored session gives the same bytes again.
    on_host, arrive = to_host(dict(sorted(tensors.items())))
    return Checkpoint(on_host, values, arrive)


def load(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Returns the tensors (on the CPU) and the values of a checkpoint.

    Raises:
        CheckpointError: the bytes are not a checkpoint of this format, or are damaged.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + length])
        metadata = entries.pop("__metadata__")
        text = metadata[_KEY]
        values = json.loads(text)
        if values["format"] not in _READABLE:
            raise CheckpointError(f"the checkpoint has format {values['format']}, not {_FORMAT}")
        if _checksum(entries, text, [memoryview(data)[8 + length :]]) != metadata[_CHECK]:
            raise CheckpointError("the checkpoint is damaged: its checksum does not match its bytes")
        tensors = safetensors.torch.load(data)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError("the bytes are not a checkpoint of a painting, or they are damaged") from error
    return tensors, values


def _checksum(entries: dict[str, Any], text: str, parts: Iterable[memoryview]) -> str:
    """Returns the CRC-32 of the header's entries, the values and the tensors' bytes."""
    check = zlib.crc32(json.dumps([entries, text]).encode())
    for part in parts:
        check = zlib.crc32(part, check)
    return str(check)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.reshape(-1).numpy().data.cast("B")
