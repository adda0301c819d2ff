"""Finds the nearest place of a style for each place of a picture, by the direction of their hypercolumns.

A hypercolumn can also be cut into parts, each of which finds its own nearest place.

The mean of each side is subtracted first (Kolkin et al. 2022, section 4). The search compares the first
principal components of the style's hypercolumns. If a style has more than `CANDIDATES` places, the search
compares an evenly spaced selection of them and then goes on to better neighbours of the place it found. Of
equally near places, the one with the lowest number counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F

from impasto_server.engine.losses import wide

CANDIDATES = 1 << 14
"""Maximum number of a style's places that are compared with every place of the picture."""
QUERIES = 4096
"""Number of the picture's places that are matched at a time."""
_SAMPLE = 4096
"""Approximate number of a style's places from which its principal components are computed."""
_LEVELS = 1 << 20
_FEWEST = 64
"""Minimum number of allowed places in an evenly spaced selection; below it, all allowed places count."""

Rows: TypeAlias = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]
"""A function that yields an image's hypercolumns in pieces: the places' numbers (n,), and theirs (n, C)."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Columns of a style's hypercolumns that find their own nearest places.

    Attributes:
        columns: the columns, C of them.
        components: (C, D), the principal components, orthonormal.
        rows: (n, D): for each place, the components of its difference from the mean, divided by the length of
            that difference.
    """

    columns: slice
    components: torch.Tensor
    rows: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Index:
    """A style's places, ready for the search.

    Attributes:
        grid: numbers of rows and columns of places.
        parts: the parts of their hypercolumns.
        allowed: (n,), booleans: the places that may be found; None for all.
    """

    grid: tuple[int, int]
    parts: Sequence[Part]
    allowed: torch.Tensor | None


def index_of(
    rows: Rows,
    grid: tuple[int, int],
    allowed: torch.Tensor | None = None,
    *,
    columns: Sequence[slice],
    dimensions: int,
) -> Generator[None, None, Index]:
    """Prepares a search; yields after each piece of the style.

    Args:
        rows: yields the style's hypercolumns; called twice.
        grid: numbers of rows and columns of the style's places, which are numbered row by row.
        allowed: (n,), booleans: the places that may be found; None for all.
        columns: the columns of each part that finds its own nearest places.
        dimensions: number of principal components of each part that the search compares.
    """
    count = grid[0] * grid[1]
    counted = count if allowed is None else int(allowed.sum())
    stride = -(-counted // _SAMPLE)
    total: torch.Tensor | None = None
    sampled: list[torch.Tensor] = []
    for numbers, piece in rows():
        # By rank, so that the sample does not depend on how the style is cut into pieces.
        ranks = numbers if allowed is None else allowed.cumsum(0)[numbers] - 1
        chosen = piece if allowed is None else piece[allowed[numbers]]
        of_piece = chosen.sum(0, dtype=wide(piece.dtype))
        total = of_piece if total is None else total + of_piece
        every = ranks % stride == 0
        sampled.append(piece[every if allowed is None else every & allowed[numbers]].to(of_piece.dtype))
        yield
    assert total is not None
    mean = total / counted
    sample = torch.cat(sampled) - mean
    parts = []
    for of_part in columns:
        components = _principal_components(sample[:, of_part], dimensions)
        empty = sampled[0].new_empty((count, components.shape[1]), dtype=piece.dtype)
        parts.append(Part(of_part, components, empty))
    for numbers, piece in rows():
        for some, of_some in zip(torch.split(numbers, QUERIES), torch.split(piece, QUERIES), strict=True):
            centred = of_some.to(mean.dtype) - mean
            for part in parts:
                seen = centred[:, part.columns]
                length = torch.linalg.vector_norm(seen, dim=1, keepdim=True).clamp_min(1e-12)
                part.rows[some] = (seen @ part.components / length).to(part.rows.dtype)
        yield
    return Index(grid, parts, allowed)


def _principal_components(sample: torch.Tensor, dimensions: int) -> torch.Tensor:
    """Returns the first principal components of centred rows (n, C), as columns (C, D).

    They are found by subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4).
    """
    count = min(dimensions, *sample.shape)
    # Drawn on the CPU, so that the start is the same on every device.
    start = torch.randn((sample.shape[1], count), generator=torch.Generator().manual_seed(0))
    basis = start.to(sample)
    for _ in range(2):
        basis = torch.linalg.qr(sample.T @ (sample @ basis)).Q
    return basis


def projected(
    index: Index, rows: Iterator[tuple[torch.Tensor, torch.Tensor]]
) -> Generator[None, None, list[torch.Tensor]]:
    """Projects a picture's hypercolumns onto the components of a style; yields after each piece.

    Args:
        index: the style.
        rows: the picture's hypercolumns, in pieces.

    Returns:
        For each part of the style, (m, D), in `wide`'s type.
    """
    pieces: list[list[torch.Tensor]] = [[] for _ in index.parts]
    order = []
    for numbers, piece in rows:
        order.append(numbers)
        for some in torch.split(piece, QUERIES):
            of_some = some.to(wide(piece.dtype))
            for part, found in zip(index.parts, pieces, strict=True):
                found.append(of_some[:, part.columns] @ part.components)
        yield
    by_number = torch.cat(order).argsort()
    return [torch.cat(found)[by_number] for found in pieces]


def nearest(index: Index, queries: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Finds the style's places that are nearest to the places of a picture.

    Args:
        index: the style.
        queries: from `projected`, less their mean: (m, D) for each part of the style.

    Yields:
        The numbers of the style's places for the next `QUERIES` places of the picture, (n, parts).
    """
    rows, columns = index.grid
    step = 1
    while rows * columns / step**2 > CANDIDATES:
        step *= 2
    numbers = torch.arange(rows * columns, device=queries[0].device).view(rows, columns)
    candidates = numbers[step // 2 :: step, step // 2 :: step].flatten()
    if index.allowed is not None:
        candidates = candidates[index.allowed[candidates]]
        if len(candidates) < _FEWEST:
            # A small area may fall between the selected places.
            candidates = index.allowed.nonzero()[:, 0]
    among = [part.rows[candidates] for part in index.parts]
    for pieces in zip(*(torch.split(query, QUERIES) for query in queries), strict=True):
        found = []
        for part, of_part, piece in zip(index.parts, among, pieces, strict=True):
            query = F.normalize(piece, dim=1).to(part.rows.dtype)
            places = candidates[_best(query, of_part)]
            reach = step // 2
            while reach:
                places = _climbed(index, part, query, places, reach)
                reach //= 2
            found.append(places)
        yield torch.stack(found, 1)


def _best(query: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Returns, for each query, the number of the row with the largest product; the lowest of equal ones."""
    values = query.new_full((len(query),), -torch.inf)
    places = torch.zeros(len(query), dtype=torch.long, device=query.device)
    for number, part in enumerate(torch.split(rows, QUERIES)):
        value, place = _rounded(query @ part.T).max(1)
        better = value > values
        values = torch.where(better, value, values)
        places = torch.where(better, place + number * QUERIES, places)
    return places


def _climbed(index: Index, part: Part, query: torch.Tensor, found: torch.Tensor, step: int) -> torch.Tensor:
    """Returns the best of each place and the places `step` rows or columns away; the lowest of equal ones."""
    rows, columns = index.grid
    offsets = torch.tensor([-step, 0, step], device=found.device)
    near_rows = (found // columns)[:, None].add(offsets).clamp(0, rows - 1)
    near_columns = (found % columns)[:, None].add(offsets).clamp(0, columns - 1)
    # Row by row, so that the numbers rise and the lowest comes first.
    near = (near_rows[:, :, None] * columns + near_columns[:, None, :]).flatten(1)
    dtype = wide(query.dtype)
    products = torch.stack([(part.rows[of_one] * query).sum(1, dtype=dtype) for of_one in near.T], 1)
    if index.allowed is not None:
        products = products.masked_fill(~index.allowed[near], -torch.inf)
    return near.gather(1, _rounded(products).max(1).indices[:, None])[:, 0]


def _rounded(products: torch.Tensor) -> torch.Tensor:
    """Rounds products of unit rows, in place, so that equal rows give equal products.

    The last bits of a product depend on where its row is in the matrix. bfloat16 has no such bits.
    """
    return products if products.dtype == torch.bfloat16 else products.mul_(_LEVELS).round_()
