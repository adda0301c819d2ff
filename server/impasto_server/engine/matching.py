"""The nearest place of a style for each place of a picture, by the direction of their hypercolumns.

Both sides are taken about their own mean (Kolkin et al. 2022, section 4). The search runs over the
hypercolumns' `DIMENSIONS` principal components; where a style has more than `CANDIDATES` places, over an even
choice of them, then among the neighbours of the place that was found. Equal places are settled by the lowest
number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from impasto_server.engine.losses import wide

DIMENSIONS = 256
"""Principal components of a style's hypercolumns that the search sees, of 2,688."""
CANDIDATES = 1 << 14
"""Places of a style that are compared with every place of the picture."""
_SAMPLE = 4096
"""Places of a style that its principal components are found from."""
_QUERIES = 4096
"""Places of the picture that are matched at a time."""


@dataclasses.dataclass(frozen=True)
class Lattice:
    """How a style's places are numbered: some grids, one after the other, each row by row.

    Attributes:
        grids: (rows, columns) of each.
    """

    grids: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """How many places there are."""
        return sum(rows * columns for rows, columns in self.grids)

    def every(self, step: int, device: torch.device) -> torch.Tensor:
        """The numbers of the places in every `step`-th row and column."""
        chosen, first = [], 0
        for rows, columns in self.grids:
            numbers = torch.arange(rows * columns, device=device).view(rows, columns)
            chosen.append(first + numbers[step // 2 :: step, step // 2 :: step].flatten())
            first += rows * columns
        return torch.cat(chosen)

    def around(self, numbers: torch.Tensor, step: int) -> torch.Tensor:
        """(n, 9): each place and those `step` rows or columns away, at an edge of its grid the nearest."""
        tensor = torch.tensor(self.grids, device=numbers.device)
        sizes = tensor[:, 0] * tensor[:, 1]
        ends = sizes.cumsum(0)
        of_grid = torch.bucketize(numbers, ends, right=True)
        rows, columns = tensor[of_grid].unbind(1)
        first = (ends - sizes)[of_grid]
        row, column = (numbers - first) // columns, (numbers - first) % columns
        offsets = torch.tensor([-step, 0, step], device=numbers.device)
        near_rows = torch.minimum((row[:, None] + offsets).clamp_min(0), rows[:, None] - 1)
        near_columns = torch.minimum((column[:, None] + offsets).clamp_min(0), columns[:, None] - 1)
        near = near_rows[:, :, None] * columns[:, None, None] + near_columns[:, None, :]
        return (first[:, None, None] + near).flatten(1)


@dataclasses.dataclass(frozen=True)
class Index:
    """A style's places, ready to be searched.

    Attributes:
        components: (C, D), orthonormal.
        rows: (n, D): the places' components about their mean, over their length.
        allowed: (n,), which places may be found; None for all.
        lattice: how they are numbered.
    """

    components: torch.Tensor
    rows: torch.Tensor
    allowed: torch.Tensor | None
    lattice: Lattice


def index_of(rows: torch.Tensor, lattice: Lattice, allowed: torch.Tensor | None = None) -> Index:
    """Prepares a search.

    Args:
        rows: (n, C), the style's hypercolumns.
        lattice: how they are numbered.
        allowed: (n,), booleans: which of them may be found; None for all, or if it allows none.
    """
    if allowed is not None and not bool(allowed.any()):
        allowed = None
    counted = rows if allowed is None else rows[allowed]
    # In pieces: all of them in the wide type are much larger.
    dtype = wide(rows.dtype)
    mean = sum(piece.to(dtype).sum(0) for piece in counted.split(_QUERIES)) / len(counted)
    sample = counted[:: -(-len(counted) // _SAMPLE)].to(dtype) - mean
    components = _principal_components(sample)
    lengths, projected = [], []
    for piece in rows.split(_QUERIES):
        centred = piece.to(dtype) - mean
        lengths.append(torch.linalg.vector_norm(centred, dim=1, keepdim=True).clamp_min(1e-12))
        projected.append(centred @ components)
    found = torch.cat(projected) / torch.cat(lengths)
    return Index(components, found.to(rows.dtype), allowed, lattice)


def _principal_components(sample: torch.Tensor) -> torch.Tensor:
    """The first `DIMENSIONS` of centred rows (n, C), as columns (C, D), by subspace iteration (Halko,
    Martinsson, Tropp 2011, algorithm 4.4)."""
    count = min(DIMENSIONS, *sample.shape)
    # Drawn on the CPU, so that they are the same on every device.
    start = torch.randn((sample.shape[1], count), generator=torch.Generator().manual_seed(0))
    basis = start.to(sample)
    for _ in range(2):
        basis = torch.linalg.qr(sample.T @ (sample @ basis)).Q
    return basis


def nearest(
    index: Index, queries: torch.Tensor, weights: torch.Tensor | None = None
) -> Iterator[torch.Tensor]:
    """Finds the style's places nearest to places of a picture, in pieces.

    Args:
        index: the style.
        queries: (m, C), the picture's hypercolumns.
        weights: (m,): how much each counts in the mean that they are taken about; None for evenly.

    Yields:
        The numbers of the style's places for the next places of the picture, (n,).
    """
    dtype = wide(queries.dtype)
    if weights is None:
        mean = sum(piece.to(dtype).sum(0) for piece in queries.split(_QUERIES)) / len(queries)
    else:
        pairs = zip(queries.split(_QUERIES), weights.to(dtype).split(_QUERIES), strict=True)
        mean = sum(w @ piece.to(dtype) for piece, w in pairs) / weights.sum().clamp_min(1e-12)
    step = 1
    while index.lattice.count / step**2 > CANDIDATES:
        step *= 2
    candidates = index.lattice.every(step, queries.device)
    if index.allowed is not None:
        within = candidates[index.allowed[candidates]]
        # A small part may fall between the places of the choice.
        candidates = within if len(within) >= 64 else index.allowed.nonzero()[:, 0]
    rows = index.rows[candidates]
    for piece in queries.split(_QUERIES):
        query = ((piece.to(dtype) - mean) @ index.components).to(index.rows.dtype)
        found = candidates[_best(query, rows)]
        reach = step // 2
        while reach:
            found = _climbed(index, query, found, reach)
            reach //= 2
        yield found


def _best(query: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The number of the row with the largest product, the lowest of equal ones."""
    values = query.new_full((len(query),), -torch.inf)
    places = torch.zeros(len(query), dtype=torch.long, device=query.device)
    for first, part in enumerate(rows.split(_QUERIES)):
        value, place = (query @ part.T).max(1)
        better = value > values
        values = torch.where(better, value, values)
        places = torch.where(better, place + first * _QUERIES, places)
    return places


def _climbed(index: Index, query: torch.Tensor, found: torch.Tensor, step: int) -> torch.Tensor:
    """The best of each place and its neighbours, the lowest of equal ones."""
    near = index.lattice.around(found, step).sort(1).values
    dtype = wide(query.dtype)
    products = torch.stack(
        [(index.rows[near[:, k]] * query).sum(1, dtype=dtype) for k in range(near.shape[1])], 1
    )
    if index.allowed is not None:
        products = products.masked_fill(~index.allowed[near], -torch.inf)
    return near.gather(1, products.max(1).indices[:, None])[:, 0]
