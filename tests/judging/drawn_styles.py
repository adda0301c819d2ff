"""Styles that are drawn by code, the same every time: an ink drawing, an abstract painting, a watercolour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

_SIZE = 768, 600
_FINER = 3  # lines are drawn 3 times as large and then made smaller, so that they have soft edges


def hatching(photo: PIL.Image.Image) -> PIL.Image.Image:
    """Returns a photograph as an ink drawing on white: outlined, and hatched densely where it is dark."""
    photo = photo.convert("L")
    photo.thumbnail(_SIZE, PIL.Image.Resampling.LANCZOS)
    smooth = np.asarray(photo.filter(PIL.ImageFilter.GaussianBlur(2)), float)
    dark = 1 - (smooth - smooth.min()) / np.ptp(smooth)
    ranks = dark.ravel().argsort().argsort().reshape(dark.shape) / dark.size
    random = np.random.default_rng(1)
    sheet = PIL.Image.new("L", (photo.width * _FINER, photo.height * _FINER), 255)
    draw = PIL.ImageDraw.Draw(sheet)
    for angle, least, spacing in ((45, 0.35, 6.0), (-40, 0.58, 6.5), (5, 0.76, 7.0), (85, 0.9, 6.0)):
        _hatch(draw, ranks, np.radians(angle), least, spacing, random)
    ink = np.asarray(sheet.resize(photo.size, PIL.Image.Resampling.LANCZOS), float)
    fine, coarse = (np.asarray(photo.filter(PIL.ImageFilter.GaussianBlur(r)), float) for r in (1.2, 2.4))
    outlines = 255 - np.clip((coarse - fine - 2) * 60, 0, 235)
    return PIL.Image.fromarray(np.minimum(ink, outlines).round().astype(np.uint8)).convert("RGB")


def _hatch(
    draw: PIL.ImageDraw.ImageDraw,
    darkness: npt.NDArray[np.floating],
    angle: float,
    least: float,
    spacing: float,
    random: np.random.Generator,
) -> None:
    """Draws strokes in one direction (radians) where `darkness` (0 … 1) is at least `least`."""
    height, width = darkness.shape
    reach = (height + width) / 2
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    for offset in np.arange(-reach, reach, spacing):
        bend, phase = random.uniform(-1.5, 1.5), random.uniform(0, 6)
        steps = np.arange(-reach, reach, 2.0)
        points = np.array([width / 2, height / 2]) + np.outer(steps, along)
        points += np.outer(offset + bend * np.sin(steps / 40 + phase), across)
        stroke: list[tuple[float, float]] = []
        length = random.integers(12, 30)
        for x, y in points:
            inside = 0 <= x < width and 0 <= y < height and darkness[int(y), int(x)] >= least
            if inside and len(stroke) < length:
                stroke.append((x * _FINER, y * _FINER))
                continue
            if len(stroke) > 1:
                draw.line(
                    stroke, fill=int(random.integers(0, 50)), width=int(random.integers(3, 6)), joint="curve"
                )
            stroke, length = [], random.integers(12, 30)


def rectangles() -> PIL.Image.Image:
    """Returns red, yellow, blue and pale rectangles between black bars, with brush marks."""
    random = np.random.default_rng(4)
    width, height = _SIZE
    picture = PIL.Image.new("RGB", _SIZE, "black")
    draw = PIL.ImageDraw.Draw(picture)
    colors = [(234, 230, 218), (226, 224, 214), (214, 216, 214), (196, 34, 30), (243, 200, 40), (28, 62, 140)]

    def split(left: int, top: int, right: int, bottom: int, depth: int) -> None:
        wide, high = right - left, bottom - top
        if depth == 0 or max(wide, high) < 110 or (depth < 3 and random.random() < 0.25):
            color = colors[random.choice(6, p=[0.22, 0.18, 0.12, 0.18, 0.15, 0.15])]
            draw.rectangle((left, top, right, bottom), fill=color)
            return
        bar, cut = int(random.choice([6, 9, 14])), random.uniform(0.3, 0.7)
        if wide > high:
            at = left + int(wide * cut)
            split(left, top, at - bar, bottom, depth - 1)
            split(at + 1, top, right, bottom, depth - 1)
        else:
            at = top + int(high * cut)
            split(left, top, right, at - bar, depth - 1)
            split(left, at + 1, right, bottom, depth - 1)

    split(0, 0, width - 1, height - 1, 5)
    marks = _noise(random, 2, 14)[:height, :width] * 5 + _noise(random, 14, 2)[:height, :width] * 4
    painted = np.asarray(picture, float) + marks[..., None]
    return PIL.Image.fromarray(painted.clip(0, 255).round().astype(np.uint8))


def watercolour() -> PIL.Image.Image:
    """Returns overlapping washes of six pigments with darker edges, on rough white paper."""
    random = np.random.default_rng(9)
    width, height = _SIZE
    paper = np.ones((height, width, 3)) * [0.98, 0.97, 0.94]
    pigments = np.array(
        [
            [0.18, 0.42, 0.72],
            [0.85, 0.45, 0.30],
            [0.95, 0.78, 0.35],
            [0.35, 0.60, 0.40],
            [0.55, 0.35, 0.60],
            [0.2, 0.6, 0.65],
        ]
    )
    rows, columns = np.mgrid[:height, :width]
    grain = _noise(random, 1.2, 1.2)[:height, :width]
    for number in range(42):
        x, y, size = random.uniform(0, width), random.uniform(0, height), random.uniform(50, 150)
        shape = random.uniform(0.6, 1.6)
        away = np.hypot((columns - x) / shape, (rows - y) * shape) / size
        away += 0.16 * _noise(random, 22, 22)[:height, :width] + 0.05 * _noise(random, 5, 5)[:height, :width]
        inside = 1 / (1 + np.exp((away - 1) * 45))
        edge = np.exp(-(((away - 0.96) / 0.035) ** 2))
        flow = 0.5 + 0.22 * _noise(random, 35, 35)[:height, :width]
        depth = inside * flow.clip(0.12, 1) * random.uniform(0.35, 0.9) + 0.3 * edge * inside
        depth *= 1 + 0.18 * grain
        paper *= pigments[number % 6] ** depth.clip(0, 2)[..., None]
    paper *= 1 + 0.012 * grain[..., None]
    return PIL.Image.fromarray((paper * 255).clip(0, 255).round().astype(np.uint8))


def _noise(random: np.random.Generator, down: float, across: float) -> npt.NDArray[np.floating]:
    """Returns smooth noise (600, 768) with deviation 1, blurred by `down` and `across` pixels."""
    height, width = _SIZE[1], _SIZE[0]
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum *= np.exp(-2 * np.pi**2 * ((fy * down) ** 2 + (fx * across) ** 2))
    noise = np.fft.irfft2(spectrum, (height, width))
    noise -= noise.mean()
    noise /= noise.std()
    return noise
