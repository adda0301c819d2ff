"""The targets of the objective "neighbours": where each place's nearest neighbours are, and how they mix."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import torch
import torch.nn.functional as F

from impasto_server.engine.hypercolumns import LAYERS, SPACING, HypercolumnTerm, Inner, rows_of, term_of
from impasto_server.engine.losses import wide
from impasto_server.engine.matching import Lattice, index_of, nearest
from impasto_server.engine.objectives.neighbours import HALF_WEIGHT, STYLE_CROP, TURNS
from impasto_server.engine.objectives.objective import Part, Setting, Terms
from impasto_server.engine.recipe import MIN_SIDE
from impasto_server.engine.targets import StyleImage

_AT_ONCE = 256 * 256
"""Pixels of an image whose targets take too little time to tell of."""

_PIECE = 4096


def neighbour_terms(setting: Setting) -> Generator[float, None, Terms]:
    """Finds the targets; yields the share that is done, as `Definition.terms` does."""
    if not setting.recipe.style_weight:
        return Terms([], [])
    height, width = setting.content.shape[2:]
    pieces = _Targets(setting).found()
    while True:
        try:
            share = next(pieces)
        except StopIteration as end:
            return end.value
        if height * width > _AT_ONCE:
            yield share


class _Targets:
    """The work of finding targets."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._inner = Inner(*setting.content.shape[2:], setting.margin)
        pairs = [(part, style, share) for part in setting.parts for style, share in _shares(part)]
        self._pairs = pairs
        # For each painting: its turns and a few steps of the search; two for the picture itself.
        searches = 0 if setting.kept else math.ceil(self._inner.count / _PIECE)
        self._pieces = 2 + len(pairs) * (len(TURNS) + searches)
        self._done = 0

    def found(self) -> Generator[float, None, Terms]:
        """Finds them."""
        setting, inner = self._setting, self._inner
        queries: torch.Tensor | None = None
        if not setting.kept:
            queries = self._queries()
            yield self._another(2)
        mixed: torch.Tensor | None = None
        covered = torch.zeros(inner.count, device=setting.content.device)
        kept: dict[str, torch.Tensor] = {}
        for number, (part, style, share) in enumerate(self._pairs):
            rows, lattice, allowed = yield from self._style(style)
            weights = self._weights(part)
            name = f"places.{number}"
            if queries is None:
                places = setting.kept[name].long()
            else:
                index = index_of(rows, lattice, allowed)
                pieces = []
                for piece in nearest(index, queries, weights):
                    pieces.append(piece)
                    yield self._another()
                places = torch.cat(pieces)
                del index
            kept[name] = places.int()
            share_of_place = share if weights is None else share * weights
            mixed = _added(mixed, rows, places, share_of_place)
            covered += share_of_place
            del rows
        assert mixed is not None
        bare = 1 - covered
        if bool((bare > 1e-3).any()):
            # What no region covers stays as it is.
            content = _collected(self._rows_of(setting.content, setting.margin), inner.count)
            mixed = _added(
                mixed, content, torch.arange(inner.count, device=content.device), bare.clamp_min(0)
            )
        targets = torch.cat(
            [F.normalize(piece.float(), dim=1).to(mixed.dtype) for piece in mixed.split(_PIECE)]
        )
        return Terms([], [self._term(targets)], kept)

    def _term(self, targets: torch.Tensor) -> HypercolumnTerm:
        return term_of(targets, self._inner, channels(self._setting))

    def _queries(self) -> torch.Tensor:
        """What is looked for at each place, (n, C)."""
        setting = self._setting
        weight = setting.recipe.content_weight or 0.0
        share = weight / (weight + HALF_WEIGHT)
        if weight and setting.coarsest:
            share = 1.0
        count = self._inner.count
        if share == 1:
            return _collected(self._rows_of(setting.content, setting.margin), count)
        start = _collected(self._rows_of(setting.start, setting.margin), count)
        if not share:
            return start
        content = _collected(self._rows_of(setting.content, setting.margin), count)
        return start.mul_(1 - share).add_(content, alpha=share)

    def _style(
        self, style: StyleImage
    ) -> Generator[float, None, tuple[torch.Tensor, Lattice, torch.Tensor | None]]:
        """The hypercolumns of a painting and its turns, how they are numbered, and which may be found."""
        image, mask = _cropped(style.image), None if style.mask is None else _cropped(style.mask)
        rows, grids, allowed = [], [], []
        for turns in TURNS:
            turned = torch.rot90(image, turns, (2, 3)).contiguous()
            inner = Inner(*turned.shape[2:], 0)
            grids.append((inner.rows, inner.columns))
            rows.append(_collected(self._rows_of(turned, 0), inner.count))
            if mask is not None:
                of_places = F.avg_pool2d(torch.rot90(mask, turns, (2, 3)), SPACING)
                allowed.append(of_places[0, 0, : inner.rows, : inner.columns].flatten() > 0.5)
            yield self._another()
        return torch.cat(rows), Lattice(tuple(grids)), torch.cat(allowed) if allowed else None

    def _weights(self, part: Part) -> torch.Tensor | None:
        """How much of each place is in a part, (n,); None for all of all."""
        if part.mask is None:
            return None
        border, inner = self._inner.margin // SPACING, self._inner
        of_places = F.avg_pool2d(part.mask, SPACING)[0, 0, border:, border:]
        return of_places[: inner.rows, : inner.columns].flatten().float()

    def _rows_of(self, image: torch.Tensor, margin: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return rows_of(self._setting.network, image, margin=margin, tile_side=self._setting.tile_side)

    def _another(self, pieces: int = 1) -> float:
        """The share that is done after so many more pieces of work."""
        self._done += pieces
        return min(0.99, self._done / self._pieces)


def channels(setting: Setting) -> list[int]:
    """Channels of the layers of a hypercolumn."""
    return [setting.network.channels(layer) for layer in LAYERS]


def _shares(part: Part) -> list[tuple[StyleImage, float]]:
    total = sum(weight for _, weight in part.styles)
    return [(style, weight / total) for style, weight in part.styles]


def _cropped(image: torch.Tensor) -> torch.Tensor:
    """An image without its edges."""
    height, width = image.shape[2:]
    top, left = (max(0, min(int(STYLE_CROP * side), (side - MIN_SIDE) // 2)) for side in (height, width))
    return image[:, :, top : height - top, left : width - left]


def _collected(pieces: Iterator[tuple[torch.Tensor, torch.Tensor]], count: int) -> torch.Tensor:
    """(count, C) from numbered pieces."""
    rows: torch.Tensor | None = None
    for numbers, piece in pieces:
        if len(piece) == count:
            return piece
        if rows is None:
            rows = piece.new_empty((count, piece.shape[1]))
        rows[numbers] = piece
    assert rows is not None
    return rows


def _added(
    mixed: torch.Tensor | None, rows: torch.Tensor, places: torch.Tensor, share: float | torch.Tensor
) -> torch.Tensor:
    """Adds the directions of the rows at the places, each by its share, to what is there."""
    parts = []
    for first, piece in enumerate(places.split(_PIECE)):
        start = first * _PIECE
        directions = F.normalize(rows[piece].to(wide(rows.dtype)), dim=1)
        directions *= share if isinstance(share, float) else share[start : start + len(piece), None]
        if mixed is not None:
            directions += mixed[start : start + len(piece)]
        parts.append(directions.to(rows.dtype))
    return torch.cat(parts)
