"""Loads the compiled kernels."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

# Loads the OpenMP that the kernels share with it.
import torch

from impasto_server.engine.kernels import plain
from impasto_server.engine.kernels.building import LIBRARY, reason, source_version

TYPES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}

_POINTER, _SIZE, _THREADS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_ARGUMENTS = {
    "pooled": [_POINTER] * 2 + [_SIZE] * 3,
    "unpooled": [_POINTER] * 4 + [_SIZE] * 3,
    "mask": [_POINTER] * 2 + [_SIZE],
    "place_sums": [_POINTER] * 4 + [_SIZE] * 10,
    "add_place_gradient": [_POINTER] * 5 + [_SIZE] * 10,
}

_ALONE = 32768
"""Numbers up to which other threads take longer to wake than the work takes. PyTorch has the same limit."""


class LibraryError(Exception):
    """There is no library that can be used; the text says why."""


class Library:
    """The compiled kernels.

    Attributes:
        file: the library's file.

    Raises:
        LibraryError: the file is missing, was made from another source, cannot be loaded, or computes
            wrongly.
    """

    def __init__(self, file: Path = LIBRARY) -> None:
        self.file = file
        why = reason(file)
        if not file.exists():
            raise LibraryError(
                "they were not compiled when impasto-server was installed" + (f": {why}" if why else "")
            )
        try:
            if not _is_complete(file):
                raise LibraryError(f"{file} cannot be loaded: it is cut short; install impasto-server again")
            loaded = ctypes.CDLL(str(file), mode=os.RTLD_NOW)
            loaded.source.restype = ctypes.c_char_p
            if loaded.source().decode() != source_version():
                then = f"compiling it again failed: {why}" if why else "install impasto-server again"
                raise LibraryError(f"{file} is of another version; {then}")
            self._functions = {}
            for name, arguments in _ARGUMENTS.items():
                for dtype, suffix in TYPES.items():
                    function = loaded[f"{name}_{suffix}"]
                    function.argtypes, function.restype = [*arguments, _THREADS], None
                    self._functions[name, dtype] = function
        except (OSError, AttributeError) as error:
            raise LibraryError(f"{file} cannot be loaded: {error}") from None
        if not _is_right(self):
            raise LibraryError(f"{file} computes wrongly on this machine")

    @staticmethod
    def takes(*maps: torch.Tensor) -> bool:
        """Whether the kernels can work on these maps."""
        dtype = maps[0].dtype
        return dtype in TYPES and all(
            each.device.type == "cpu"
            and each.dtype == dtype
            and each.dim() == 4
            and len(each) == 1
            and each.is_contiguous(memory_format=torch.channels_last)
            for each in maps
        )

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        _, channels, height, width = x.shape
        values = _new(x, height // 2, width // 2)
        self._call("pooled", x, [values, x], [height, width, channels])
        return values

    def unpooled(self, gradient: torch.Tensor, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        _, channels, height, width = x.shape
        result = _new(x, height, width)
        self._call("unpooled", x, [result, gradient, x, values], [height, width, channels])
        return result

    def mask_(self, gradient: torch.Tensor, x: torch.Tensor) -> None:
        self._call("mask", x, [gradient, x], [x.numel()])

    def place_sums(
        self, x: torch.Tensor, target: torch.Tensor, window: tuple[slice, slice], side: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        product, square = (x.new_empty(_of_window(target), dtype=torch.float32) for _ in range(2))
        sizes = _place_sizes(x, target, window, side)
        self._call("place_sums", x, [product, square, x, target], sizes)
        return product, square

    def add_place_gradient_(
        self,
        gradient: torch.Tensor,
        x: torch.Tensor,
        target: torch.Tensor,
        of_target: torch.Tensor,
        of_seen: torch.Tensor,
        window: tuple[slice, slice],
        side: int,
    ) -> None:
        of_places = [each.expand(_of_window(target)).float().contiguous() for each in (of_target, of_seen)]
        sizes = _place_sizes(x, target, window, side)
        self._call("add_place_gradient", x, [gradient, x, target, *of_places], sizes)

    def _call(self, name: str, like: torch.Tensor, maps: list[torch.Tensor], sizes: list[int]) -> None:
        if not like.numel():
            return
        threads = torch.get_num_threads() if like.numel() > _ALONE else 1
        self._functions[name, like.dtype](*(each.data_ptr() for each in maps), *sizes, threads)


def _is_complete(file: Path) -> bool:
    """Whether a library has its end: one that was cut short would end the process when it is loaded.

    At the end is the table of sections, whose place and size the header has (ELF, 64 bits).
    """
    data = file.read_bytes()
    if len(data) < 64:
        return False
    start, size, count = struct.unpack_from("=Q10xHH", data, 40)
    return bool(len(data) >= start + size * count)


def _new(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    shape = (1, like.shape[1], height, width)
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)


def _of_window(target: torch.Tensor) -> tuple[int, int, int, int]:
    """Returns the shape of one number for each place of a target."""
    return (1, 1, *target.shape[2:])


def _place_sizes(x: torch.Tensor, target: torch.Tensor, window: tuple[slice, slice], side: int) -> list[int]:
    """Returns the sizes that the kernels for places take.

    Raises:
        ValueError: the features have no such places, or the target has other sizes.
    """
    _, channels, height, width = x.shape
    rows, columns = window
    places = [(length // side) if side else 2 * length for length in (height, width)]
    inside = all(0 <= each.start <= each.stop <= end for each, end in zip(window, places, strict=True))
    sizes = rows.stop - rows.start, columns.stop - columns.start
    if not inside or target.shape != (1, channels, *sizes):
        raise ValueError(f"a target of {tuple(target.shape)} for the places {window} of {tuple(x.shape)}")
    return [
        target.stride(2),
        target.stride(3),
        rows.start,
        columns.start,
        *sizes,
        *x.shape[2:],
        channels,
        side,
    ]


def _is_right(library: Library) -> bool:
    """Whether the kernels compute what PyTorch does, on small maps with ties, zeros and odd sides."""
    for dtype in TYPES:
        # Channels for the widest registers and some more.
        numbers = (torch.arange(5 * 7 * 67) * 7919 % 11 - 5).view(1, 5, 7, 67).permute(0, 3, 1, 2)
        x, gradient = numbers.to(dtype).relu(), numbers.flip(1).to(dtype) / 3
        values = plain.pooled(x)
        of_values = gradient[:, :, :2, :3].contiguous(memory_format=torch.channels_last)
        of_library, of_plain = gradient.clone(), gradient.clone()
        library.mask_(of_library, x)
        plain.mask_(of_plain, x)
        if not (
            torch.equal(library.pooled(x), values)
            and torch.equal(library.unpooled(of_values, x, values), plain.unpooled(of_values, x, values))
            and torch.equal(of_library, of_plain)
        ):
            return False
    return True
