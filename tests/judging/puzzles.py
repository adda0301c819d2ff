"""Joins the pieces of GCompris's jigsaw puzzles into complete paintings."""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt
import PIL.Image

_BOARD = (702, 515)  # width and height of the board in pixels, from the boards' files
_REACH = 12  # pixels to search around a piece's position, which is rounded by up to half of that
_MARGIN = 40  # pixels around the board, so that a piece never leaves the array
_EDGE = 2  # pixels cut off at each side of the painting, where the pieces have ragged ends

Mask = npt.NDArray[np.bool_]


def assembled_puzzle(resources: dict[str, bytes], folder: str, board: int) -> PIL.Image.Image:
    """Returns the painting of a board.

    Args:
        resources: files by path, with the boards and the pieces.
        folder: path of the activity's resources, with a "/" at the end.
        board: number of the board.
    """
    text = resources[f"{folder}board/board{board}_0.qml"].decode()
    found = re.findall(r'"(image/[^"]+\.webp)"[^}]*?"x"\s*:\s*"?([\d.]+)[^}]*?"y"\s*:\s*"?([\d.]+)', text)
    pieces = []
    for file, x, y in found:
        piece = np.array(PIL.Image.open(io.BytesIO(resources[folder + file])).convert("RGBA"))
        centre = float(x) * _BOARD[0], float(y) * _BOARD[1]
        pieces.append((piece, *centre))
    pieces.sort(key=lambda piece: (round(piece[2] / 60), piece[1]))
    return PIL.Image.fromarray(_joined(pieces))


def _joined(pieces: list[tuple[npt.NDArray[np.uint8], float, float]]) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((_BOARD[1] + 2 * _MARGIN, _BOARD[0] + 2 * _MARGIN, 3), np.uint8)
    covered = np.zeros(canvas.shape[:2], bool)
    for piece, x, y in pieces:
        shape = piece[..., 3] > 127
        height, width = shape.shape
        top, left = round(y - height / 2) + _MARGIN, round(x - width / 2) + _MARGIN
        if covered.any():
            top, left = _fitted(shape, covered, top, left)
        here = np.s_[top : top + height, left : left + width]
        canvas[here][shape] = piece[..., :3][shape]
        covered[here] |= shape
    rows, columns = _mostly(covered.mean(1)), _mostly(covered.mean(0))
    return _without_holes(canvas[rows, columns], covered[rows, columns])


def _fitted(shape: Mask, covered: Mask, top: int, left: int) -> tuple[int, int]:
    """Returns the place near (top, left) where a piece touches the others most and covers them least."""
    height, width = shape.shape
    ring = _grown(np.pad(shape, 1)) & ~np.pad(shape, 1)
    best = -np.inf, top, left
    for t in range(top - _REACH, top + _REACH + 1):
        for k in range(left - _REACH, left + _REACH + 1):
            touching = (ring & covered[t - 1 : t + height + 1, k - 1 : k + width + 1]).sum()
            covering = (shape & covered[t : t + height, k : k + width]).sum()
            moved = abs(t - top) + abs(k - left)
            best = max(best, (touching - 0.7 * covering - 0.02 * moved, t, k))
    return best[1], best[2]


def _grown(mask: Mask) -> Mask:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _mostly(share: npt.NDArray[np.floating]) -> slice:
    """Returns the range of lines that the painting covers, without `_EDGE` at both ends."""
    lines = np.flatnonzero(share > share.max() / 2)
    return slice(int(lines[0]) + _EDGE, int(lines[-1]) + 1 - _EDGE)


def _without_holes(picture: npt.NDArray[np.uint8], covered: Mask) -> npt.NDArray[np.uint8]:
    """Fills the gaps between the pieces with the colours around them."""
    colors, known = picture.astype(float), covered.copy()
    while not known.all():
        total, count = np.zeros_like(colors), np.zeros(known.shape)
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            total += np.roll(colors * known[..., None], shift, (0, 1))
            count += np.roll(known, shift, (0, 1))
        new = ~known & (count > 0)
        colors[new] = total[new] / count[new][:, None]
        known |= new
    return colors.round().astype(np.uint8)
