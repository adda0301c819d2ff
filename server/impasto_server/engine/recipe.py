"""What to do, as plain data: the recipe of a painting, its ranges and its defaults.

Imports nothing heavy, so that a front door without torch can check a recipe before any work starts.
Every default and every range of the project stands here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal, get_args

Objective = Literal["balanced", "gatys", "report", "wasserstein"]
OptimizerName = Literal["adam", "lbfgs"]
Effort = Literal["draft", "standard", "fine"]
Start = Literal["content", "noise", "image"]
Precision = Literal["auto", "float32", "bfloat16"]
Color = Literal["style", "luminance", "matched"]
LayerWeights = tuple[tuple[str, float], ...]
"""Layers by name, and their shares."""

MAX_LONGEST_SIDE = 8192
MIN_SIDE = 16
"""Shorter sides vanish in the fourth pooling of a VGG network."""
MAX_EVALUATIONS = 100_000
MAX_STYLES = 16
MAX_REGIONS = 16
MAX_IMAGE_PIXELS = 100_000_000
DEFAULT_LONGEST_SIDE = 512


class RecipeError(ValueError):
    """A recipe or an image that cannot be painted.

    Attributes:
        field: the field at fault, as in the recipe ("longest_side") or beside it ("content").
        remedy: a sentence that says what is wrong and what to do.
    """

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field
        self.remedy = remedy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaults:
    """What an objective's recipe is where it says nothing."""

    content_weight: float
    style_weight: float
    optimizer: OptimizerName
    adam_learning_rate: float
    longest_side: int
    precision: Precision
    evaluations: dict[Effort, int]
    adam_averaging: float = 0.99
    stop_on_plateau: bool = True


# Where every term is a relative error, the same weights serve.
_RELATIVE = Defaults(
    content_weight=0.3,
    style_weight=1.0,
    optimizer="lbfgs",
    adam_learning_rate=0.05,
    longest_side=DEFAULT_LONGEST_SIDE,
    precision="auto",
    evaluations={"draft": 30, "standard": 68, "fine": 200},
)

DEFAULTS: dict[Objective, Defaults] = {
    "balanced": _RELATIVE,
    "gatys": Defaults(
        content_weight=1.0,
        style_weight=1e7,
        optimizer="lbfgs",
        adam_learning_rate=0.05,
        longest_side=DEFAULT_LONGEST_SIDE,
        precision="auto",
        evaluations={"draft": 30, "standard": 68, "fine": 200},
    ),
    # The report's program: see OBJECTIVE_REPORT in the proto.
    "report": Defaults(
        content_weight=1.0,
        style_weight=100.0,
        optimizer="adam",
        adam_learning_rate=0.003,
        longest_side=400,
        precision="float32",
        evaluations={"draft": 500, "standard": 2000, "fine": 5000},
        adam_averaging=0.0,
        stop_on_plateau=False,
    ),
    "wasserstein": _RELATIVE,
}

LBFGS_LEARNING_RATE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to paint. A field that is None takes its objective's default; `resolve` fills it in.

    Attributes:
        objective: what is minimised.
        content_weight, style_weight, tv_weight: weights of the loss terms, at least 0.
        optimizer: how the image is moved.
        learning_rate: step length of the optimiser, in (0, 100].
        effort: a named amount of work; not together with `evaluations`.
        evaluations: evaluations of the loss over all scales, 1 to `MAX_EVALUATIONS`.
        longest_side: longer side of the result in pixels, `MIN_SIDE` to `MAX_LONGEST_SIDE`.
        start: what the painting starts from; by default "content", for a texture "noise".
        seed: seed of everything random, 0 to 2**32 - 1.
        precision: arithmetic of the feature network.
        style_scale: size of the styles' strokes beside the content, 0.1 to 4.
        color: whose colours the result has: the styles', or the content's by painting only its luminance or
            by matching the styles' colours to it first.
        content_layers, style_layers: layers compared, with their shares; empty for the objective's own.
        averaging: decay of the running average of Adam's images that is shown, 0 to 0.9999.
        stop_on_plateau: whether a scale is left early once its loss hardly falls any more.

    Raises:
        RecipeError: a field is out of its range.
    """

    objective: Objective = "balanced"
    content_weight: float | None = None
    style_weight: float | None = None
    tv_weight: float = 0.0
    optimizer: OptimizerName | None = None
    learning_rate: float | None = None
    effort: Effort | None = None
    evaluations: int | None = None
    longest_side: int | None = None
    start: Start | None = None
    seed: int = 0
    precision: Precision | None = None
    style_scale: float = 1.0
    color: Color = "style"
    content_layers: LayerWeights = ()
    style_layers: LayerWeights = ()
    averaging: float | None = None
    stop_on_plateau: bool | None = None

    def __post_init__(self) -> None:
        _one_of("objective", self.objective, get_args(Objective))
        for field in ("content_weight", "style_weight", "tv_weight"):
            value = getattr(self, field)
            if value is not None and not 0 <= value < math.inf:
                raise RecipeError(field, f"is {value:g}; give a number from 0 up")
        weights = self._filled("content_weight"), self._filled("style_weight")
        if weights == (0, 0):
            raise RecipeError("style_weight", "is 0 and so is content_weight; give at least one of them")
        if self.optimizer is not None:
            _one_of("optimizer", self.optimizer, get_args(OptimizerName))
        if self.learning_rate is not None and not 0 < self.learning_rate <= 100:
            raise RecipeError(
                "learning_rate", f"is {self.learning_rate:g}; give a number above 0, at most 100"
            )
        if self.effort is not None:
            _one_of("effort", self.effort, get_args(Effort))
            if self.evaluations is not None:
                raise RecipeError("effort", "is given and evaluations too; give one of them")
        if self.evaluations is not None and not 1 <= self.evaluations <= MAX_EVALUATIONS:
            raise RecipeError("evaluations", f"is {self.evaluations}; give 1 to {MAX_EVALUATIONS}")
        if self.longest_side is not None and not MIN_SIDE <= self.longest_side <= MAX_LONGEST_SIDE:
            raise RecipeError(
                "longest_side", f"is {self.longest_side} px; give {MIN_SIDE} to {MAX_LONGEST_SIDE}"
            )
        if self.start is not None:
            _one_of("start", self.start, get_args(Start))
        if not 0 <= self.seed < 2**32:
            raise RecipeError("seed", f"is {self.seed}; give 0 to {2**32 - 1}")
        if self.precision is not None:
            _one_of("precision", self.precision, get_args(Precision))
        if not 0.1 <= self.style_scale <= 4:
            raise RecipeError("style_scale", f"is {self.style_scale:g}; give 0.1 to 4")
        _one_of("color", self.color, get_args(Color))
        if self.averaging is not None and not 0 <= self.averaging <= 0.9999:
            raise RecipeError("averaging", f"is {self.averaging:g}; give 0 to 0.9999")
        for field in ("content_layers", "style_layers"):
            _check_layers(field, getattr(self, field))
        if self.objective == "report":
            for field, plain in (("style_scale", 1.0), ("content_layers", ()), ("style_layers", ())):
                if getattr(self, field) != plain:
                    raise RecipeError(field, "is fixed by the objective report; leave it out")

    def _filled(self, field: str) -> float:
        value = getattr(self, field)
        return float(getattr(DEFAULTS[self.objective], field) if value is None else value)

    def resolve(self, content_width: int, content_height: int, *, texture: bool = False) -> Recipe:
        """The recipe as it is run: every field set.

        Args:
            content_width, content_height: of the content image, or of the texture, in pixels.
            texture: whether there is no content.

        Raises:
            RecipeError: the result's shorter side would be under `MIN_SIDE` pixels, or the recipe asks for a
                content that a texture does not have.
        """
        defaults = DEFAULTS[self.objective]
        longest = max(content_width, content_height)
        longest_side = self.longest_side
        content_weight = self._filled("content_weight")
        start = self.start or "content"
        if texture:
            longest_side, content_weight, start = self._check_texture(longest)
        elif longest_side is None:
            # Never enlarged unless asked for, and never below what the network can see.
            longest_side = max(MIN_SIDE, min(longest, defaults.longest_side))
        optimizer = self.optimizer or defaults.optimizer
        learning_rate, averaging = LBFGS_LEARNING_RATE, 0.0
        if optimizer == "adam":
            learning_rate = defaults.adam_learning_rate
            averaging = defaults.adam_averaging if self.averaging is None else self.averaging
        if min(result_size(content_width, content_height, longest_side)) < MIN_SIDE:
            needed = math.ceil(longest * MIN_SIDE / min(content_width, content_height))
            raise RecipeError(
                "longest_side",
                f"of {longest_side} px leaves less than {MIN_SIDE} px for the shorter side of a "
                f"{content_width} × {content_height} content image; "
                + (f"give at least {needed}" if needed <= MAX_LONGEST_SIDE else "crop the image"),
            )
        return dataclasses.replace(
            self,
            content_weight=content_weight,
            style_weight=self._filled("style_weight"),
            optimizer=optimizer,
            learning_rate=learning_rate if self.learning_rate is None else self.learning_rate,
            effort=None,
            evaluations=self.evaluations or defaults.evaluations[self.effort or "standard"],
            longest_side=longest_side,
            start=start,
            precision=self.precision or defaults.precision,
            averaging=averaging,
            stop_on_plateau=(
                defaults.stop_on_plateau if self.stop_on_plateau is None else self.stop_on_plateau
            ),
        )

    def _check_texture(self, longest: int) -> tuple[int, float, Start]:
        """Longest side, content weight and start of a texture."""
        if self.longest_side not in (None, longest):
            raise RecipeError("longest_side", f"is not the texture's {longest} px; leave it out")
        if self.content_weight not in (None, 0):
            raise RecipeError("content_weight", "is given, but a texture has no content; leave it out")
        if self._filled("style_weight") == 0:
            raise RecipeError("style_weight", "is 0, but a texture has nothing else; give more")
        if self.start == "content":
            raise RecipeError("start", "is 'content', but a texture has none; give noise or image")
        if self.color != "style":
            raise RecipeError("color", f"is {self.color!r}, but a texture has no content; leave it out")
        if self.objective == "report":
            raise RecipeError("objective", "is report, which needs a content; give another")
        return longest, 0.0, self.start or "noise"


def result_size(content_width: int, content_height: int, longest_side: int) -> tuple[int, int]:
    """Width and height (pixels) of an image of the content's proportions, rounded to the nearest pixel."""
    scale = longest_side / max(content_width, content_height)
    width, height = int(content_width * scale + 0.5), int(content_height * scale + 0.5)
    return max(1, width), max(1, height)


def _one_of(field: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise RecipeError(field, f"is {value!r}; give one of {', '.join(values)}")


def _check_layers(field: str, layers: LayerWeights) -> None:
    for index, (layer, weight) in enumerate(layers):
        if not re.fullmatch(r"relu(1_[12]|2_[12]|3_[1-4]|4_[1-4]|5_1)", layer):
            raise RecipeError(
                f"{field}[{index}].layer",
                f"is {layer!r}; give a layer such as relu1_1 or relu4_2, up to relu5_1",
            )
        if not 0 < weight < math.inf:
            raise RecipeError(f"{field}[{index}].weight", f"is {weight:g}; give a number above 0")
    names = [layer for layer, _ in layers]
    if len(set(names)) < len(names):
        raise RecipeError(field, "name a layer twice; give each once")
