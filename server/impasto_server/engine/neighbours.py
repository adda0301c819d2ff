"""The targets of the objective "neighbours": the nearest neighbours of each place, mixed by their shares."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence

import torch
import torch.nn.functional as F

from impasto_server.engine.hypercolumns import (
    APART,
    SPACING,
    TOGETHER,
    Groups,
    HypercolumnTerm,
    Inner,
    rows_of,
    term_of,
)
from impasto_server.engine.losses import wide
from impasto_server.engine.matching import QUERIES, Index, Part, Rows, index_of, nearest, projected
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import objective
from impasto_server.engine.objectives.neighbours import HALF_WEIGHT, LAYERS
from impasto_server.engine.objectives.objective import Setting, Terms
from impasto_server.engine.targets import StyleImage, piece_side, style_key

_AT_ONCE = 256 * 256
"""Pixels of a picture and its styles up to which finding the targets is too quick to report its progress."""
_DIMENSIONS = 256
"""Principal components of a style's hypercolumns, out of 2,688, that the search compares. With all of them,
the cosine at the place it finds is only 0.001 more on average."""
_DIMENSIONS_OF_A_LAYER = 48
"""Principal components that the search compares when each layer finds its own nearest place."""


def neighbour_terms(setting: Setting) -> Generator[float, None, Terms]:
    """Finds the targets and makes the terms; yields the share that is done, as `Definition.terms` does."""
    search = _Search(setting)
    work = search.terms()
    while True:
        try:
            search.step(work)
        except StopIteration as end:
            terms: Terms = end.value
            return terms
        if search.pixels > _AT_ONCE:
            yield search.share


class _Painting:
    """A style to search: its hypercolumns, and the places of it that may be found.

    Attributes:
        share: the style's share in its part of the picture.
        weights: (m,): the share of each place of the picture that is in the part; None for all of it.
        grid: numbers of rows and columns of the style's places.
        allowed: (n,), booleans: the places that may be found; None for all.
    """

    def __init__(self, setting: Setting, part: objective.Part, style: StyleImage, share: float) -> None:
        self.share = share
        of_picture = _inner(setting.content, setting.margin)
        self.weights = None if part.mask is None else _at_places(part.mask, of_picture)
        self._setting = setting
        self._style = style
        self._whole: torch.Tensor | None = None
        inner = _inner(style.image, style.margin)
        self.grid = inner.rows, inner.columns
        self.allowed: torch.Tensor | None = None
        if style.mask is not None:
            of_places = _at_places(style.mask, inner)
            # A mask smaller than a place allows the places where it is whitest.
            self.allowed = of_places >= min(0.5, float(of_places.max()))

    def rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields its hypercolumns, as `rows_of` does; keeps them if they come in one piece."""
        count = math.prod(self.grid)
        if self._whole is not None:
            yield torch.arange(count, device=self._whole.device), self._whole
            return
        for numbers, piece in _rows_of(self._setting, self._style.image, self._style.margin):
            if len(piece) == count:
                self._whole = piece
            yield numbers, piece

    @property
    def pixels(self) -> int:
        """Number of pixels of the style."""
        return math.prod(self._style.image.shape[2:])

    def index(self, columns: Sequence[slice]) -> Generator[None, None, Index]:
        """Returns the index of the style, from the cache if it is there; yields as `index_of` does.

        Args:
            columns: the columns of each part that finds its own nearest places.
        """
        cache = self._setting.cache
        key = style_key(self._setting.network, self._style, f"index of {len(columns)}")
        made = None if cache is None else cache.find(key)
        if made is not None:
            parts = [
                Part(of_part, made[f"components.{number}"], made[f"rows.{number}"])
                for number, of_part in enumerate(columns)
            ]
            return Index(self.grid, parts, self.allowed)
        dimensions = _DIMENSIONS if len(columns) == 1 else _DIMENSIONS_OF_A_LAYER
        index = yield from index_of(
            self.rows, self.grid, self.allowed, columns=columns, dimensions=dimensions
        )
        if cache is not None:
            tensors: dict[str, torch.Tensor] = {}
            for number, part in enumerate(index.parts):
                tensors |= {f"components.{number}": part.components, f"rows.{number}": part.rows}
            cache.keep(key, tensors)
        return index

    def release(self) -> None:
        """Frees the memory of the hypercolumns."""
        self._whole = None


class _Search:
    """The search for the targets.

    Attributes:
        pixels: number of pixels of the picture and its styles.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._inner = _inner(setting.content, setting.margin)
        self._groups = APART if setting.finishing else TOGETHER
        self._columns = list(_columns(setting.network, self._groups))
        self._paintings = [
            _Painting(setting, part, style, weight / sum(each for _, each in part.styles))
            for part in setting.parts
            for style, weight in part.styles
        ]
        # For each painting: its index, the projected picture, the pieces of the search, and the mixing.
        self._pieces = len(self._paintings) * (3 + math.ceil(self._inner.count / QUERIES))
        self._done = self._steps = 0
        self.pixels = math.prod(setting.content.shape[2:]) + sum(each.pixels for each in self._paintings)

    def step(self, work: Iterator[None]) -> None:
        """Does one step of the generator that `terms` returned."""
        next(work)
        self._steps += 1

    @property
    def share(self) -> float:
        """Share of the search that is done, above 0 and below 1."""
        # The number of steps of a piece is not known: each step counts as a tenth of what is left of it.
        return min(0.99, (self._done + 1 - 0.9 ** (self._steps + 1)) / self._pieces)

    def terms(self) -> Generator[None, None, Terms]:
        """Finds the targets and returns the terms; yields after each piece of work."""
        kept = dict(self._setting.kept)
        if not kept:
            kept = yield from self._places()
        mixed: torch.Tensor | None = None
        covered = torch.zeros(self._inner.count, device=self._setting.content.device)
        for number, painting in enumerate(self._paintings):
            weights = painting.share if painting.weights is None else painting.share * painting.weights
            places = kept[_name(number)].long()
            mixed = yield from _mixed(mixed, painting.rows, places, weights, self._columns)
            painting.release()
            covered += weights
            self._piece_done()
            yield
        bare = (1 - covered).clamp_min(0)
        if bool((bare > 1e-3).any()):
            # Where no region is, the target is the content itself.
            every = torch.arange(self._inner.count, device=bare.device)[:, None]
            every = every.expand(-1, len(self._columns))
            mixed = yield from _mixed(mixed, self._content_rows, every, bare, self._columns)
        assert mixed is not None
        for piece in torch.split(mixed, QUERIES):
            for columns in self._columns:
                of_part = piece[:, columns]
                of_part.copy_(F.normalize(of_part.to(wide(piece.dtype)), dim=1))
        return Terms([], [self._term(mixed)], kept)

    def _term(self, targets: torch.Tensor) -> HypercolumnTerm:
        channels = [self._setting.network.channels(layer) for layer in LAYERS]
        return term_of(targets, self._inner, channels, self._groups)

    def _places(self) -> Generator[None, None, dict[str, torch.Tensor]]:
        """Finds the nearest places in each painting: (m, groups of layers), numbered row by row."""
        found = {}
        # One style after the other, because the places of all of them may need more memory than the rest.
        for number, painting in enumerate(self._paintings):
            index = yield from painting.index(self._columns)
            if len(self._paintings) > 1:
                painting.release()
            self._piece_done()
            yield
            queries = yield from projected(index, self._looked_for())
            self._piece_done()
            yield
            weights = painting.weights
            for query in queries:
                if weights is None:
                    query -= query.mean(0)
                else:
                    query -= weights.to(query) @ query / weights.sum().clamp_min(1e-12)
            pieces = []
            for piece in nearest(index, queries):
                pieces.append(piece.int())
                self._piece_done()
                yield
            found[_name(number)] = torch.cat(pieces)
        return found

    def _looked_for(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields (1 − a) φ(start) + a φ(content), the hypercolumns to search for, as `rows_of` does."""
        weight = self._setting.recipe.content_weight or 0.0
        share = weight / (weight + HALF_WEIGHT)
        if weight and self._setting.coarsest:
            share = 1.0
        elif self._setting.finishing:
            share = 0.0
        start = _rows_of(self._setting, self._setting.start, self._setting.margin)
        if share == 1:
            yield from self._content_rows()
        elif not share:
            yield from start
        else:
            for (numbers, of_start), (_, of_content) in zip(start, self._content_rows(), strict=True):
                yield numbers, torch.lerp(of_start, of_content, share)

    def _content_rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return _rows_of(self._setting, self._setting.content, self._setting.margin)

    def _piece_done(self) -> None:
        self._done += 1
        self._steps = -1


def _rows_of(
    setting: Setting, image: torch.Tensor, margin: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    # With zeros beyond the edge, places at the edge would match places at the style's edge.
    side = piece_side(image, setting.content, setting.tile_side)
    return rows_of(setting.network, image, margin=margin, padding="reflect", tile_side=side)


def _inner(image: torch.Tensor, margin: int) -> Inner:
    height, width = image.shape[2:]
    return Inner(height, width, margin)


def _columns(network: Network, groups: Groups) -> Iterator[slice]:
    """Yields the columns of the hypercolumns that belong to each group of layers."""
    begin = 0
    for group in groups:
        end = begin + sum(network.channels(layer) for layer in group)
        yield slice(begin, end)
        begin = end


def _name(number: int) -> str:
    return f"places.{number}"


def _at_places(mask: torch.Tensor, inner: Inner) -> torch.Tensor:
    """Averages a mask (1, 1, H, W), which includes the margin, to the places: (n,)."""
    border = inner.margin // SPACING
    of_places = F.avg_pool2d(mask, SPACING)[0, 0, border:, border:]
    return of_places[: inner.rows, : inner.columns].flatten()


def _mixed(
    mixed: torch.Tensor | None,
    rows: Rows,
    places: torch.Tensor,
    weights: float | torch.Tensor,
    columns: Sequence[slice],
) -> Generator[None, None, torch.Tensor]:
    """Adds the directions of an image's hypercolumns to a mixture; yields after each piece of the image.

    Args:
        mixed: (m, C), the mixture so far; None for an empty one.
        rows: yields the image's hypercolumns.
        places: (m, parts): the image's place for each place of the picture and each part of a hypercolumn.
        weights: weight of the directions: one number, or one for each place of the picture, (m,).
        columns: the columns of each part.
    """
    last = int(places.max())
    for numbers, piece in rows():
        if mixed is None:
            mixed = piece.new_zeros((len(places), piece.shape[1]))
        # The places of the picture whose neighbour is in this piece, a few at a time.
        where = torch.full((last + 1,), -1, device=numbers.device)
        inside = (numbers <= last).nonzero()[:, 0]
        where[numbers[inside]] = inside
        for of_part, of_columns in zip(places.T, columns, strict=True):
            wanted = (where[of_part] >= 0).nonzero()[:, 0]
            for some in torch.split(wanted, QUERIES):
                found = piece[where[of_part[some]], of_columns]
                directions = F.normalize(found.to(wide(piece.dtype)), dim=1)
                directions *= weights if isinstance(weights, float) else weights[some, None].to(directions)
                mixed[some, of_columns] = (directions + mixed[some, of_columns]).to(mixed.dtype)
        yield
    assert mixed is not None
    return mixed
