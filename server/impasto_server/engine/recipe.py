"""What to do, as plain data: the recipe of a painting, and the table of its fields.

The table is the dataclass `Recipe`: a field and its row stand together. Every range, every default and what
may be steered stand here and nowhere else. From `FIELDS` derive the check of a recipe, the conversion from
the contract, and steering; the client has a copy (`impasto_server.contract.client_table` writes it), from
which its command line and the plugins derive. A new field is a row here, its field in the contract, and the
engine's use of it.

Imports nothing heavy, so that a front door without torch can check a recipe before any work starts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import field
from typing import Any, Literal, get_args

from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.objectives.definition import Definition, LayerWeights
from impasto_server.engine.recipe_fields import Default, row, rows
from impasto_server.engine.recipe_fields import RecipeField as RecipeField

OptimizerName = Literal["adam", "lbfgs"]
Effort = Literal["draft", "standard", "fine"]
Start = Literal["content", "noise", "image"]
Precision = Literal["auto", "float32", "bfloat16"]
Color = Literal["style", "luminance", "matched"]

LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4"),
    *("relu4_1", "relu4_2", "relu4_3", "relu4_4", "relu5_1"),
)
"""Layers of a VGG network that may be compared; "relu3_4" and "relu4_4" are VGG-19's alone."""
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


DEFAULT_OBJECTIVE = "neighbours"
EVALUATIONS: dict[Effort, int] = {"draft": 30, "standard": 68, "fine": 200}
"""Evaluations of the loss that an effort means, where the objective does not say otherwise."""


def _by_objective(field: str) -> tuple[tuple[dict[str, Any], Any], ...]:
    """The cases of a field's default that the objectives decide."""
    return tuple(
        ({"objective": name}, objective.defaults[field])
        for name, objective in OBJECTIVES.items()
        if field in objective.defaults
    )


def _fixing(field: str) -> tuple[str, ...]:
    """The objectives that fix a field."""
    return tuple(name for name, objective in OBJECTIVES.items() if field in objective.fixed)


def _evaluations() -> Default:
    """The default number of evaluations, by objective and effort."""
    cases = [
        ({"objective": name, "effort": effort}, number)
        for name, objective in OBJECTIVES.items()
        for effort, number in objective.defaults.get("evaluations", {}).items()
    ]
    return Default(
        EVALUATIONS["standard"],
        (*cases, *(({"effort": effort}, number) for effort, number in EVALUATIONS.items())),
    )


def _with_objectives(default: object, field: str, key: str | None = None) -> str:
    """A default in words, with those of the objectives: "512 (report 400)"."""
    others = [
        f"{name} {objective.defaults[field] if key is None else objective.defaults[field][key]}"
        for name, objective in OBJECTIVES.items()
        if field in objective.defaults
    ]
    return f"{default} ({', '.join(others)})" if others else f"{default}"


_EFFORTS = "; ".join(
    f"{effort} {_with_objectives(number, 'evaluations', effort)}" for effort, number in EVALUATIONS.items()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to paint, and the table of what can be said of it: `help(RecipeField)` tells what a row has.

    A field that is None takes its row's default; `resolve` fills it in.

    Raises:
        RecipeError: a field is out of its range, or does not go with another.
    """

    objective: str = field(
        default=DEFAULT_OBJECTIVE,
        metadata=row(
            "choice",
            "Objective that is minimised.",
            words=tuple(OBJECTIVES),
            content_words=tuple(name for name, objective in OBJECTIVES.items() if objective.needs_content),
            option="--recipe",
        ),
    )
    content_weight: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Weight of the content: more keeps more of the photograph.",
            # Where every term is a relative error, the same weights serve; "neighbours" has its own
            # constant, so that this one serves there too.
            default=Default(0.3, _by_objective("content_weight")),
            least=0.0,
            steerable=True,
            texture=False,
            metavar="W",
        ),
    )
    style_weight: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Weight of the style loss: more takes more from the paintings.",
            default=Default(1.0, _by_objective("style_weight")),
            least=0.0,
            steerable=True,
            metavar="W",
            detail=True,
        ),
    )
    tv_weight: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Weight of total variation: more gives smoother areas.",
            default=Default(0.0, _by_objective("tv_weight")),
            least=0.0,
            steerable=True,
            metavar="W",
            detail=True,
        ),
    )
    optimizer: OptimizerName | None = field(
        default=None,
        metadata=row(
            "choice",
            "Optimiser that changes the image.",
            default=Default("lbfgs", _by_objective("optimizer")),
            words=get_args(OptimizerName),
            steerable=True,
            detail=True,
        ),
    )
    learning_rate: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Step length of the optimiser, in units of the normalised image.",
            default=Default(0.05, (({"optimizer": "lbfgs"}, 1.0), *_by_objective("learning_rate"))),
            least=0.0,
            above_least=True,
            most=100.0,
            steerable=True,
            metavar="LR",
            detail=True,
        ),
    )
    effort: Effort | None = field(
        default=None,
        metadata=row(
            "choice",
            "Amount of work by name, in place of a number of evaluations.",
            default=Default("standard"),
            words=get_args(Effort),
            steerable=True,
        ),
    )
    evaluations: int | None = field(
        default=None,
        metadata=row(
            "whole number",
            "Number of evaluations of the loss over all scales, in place of an effort.",
            default=_evaluations(),
            default_words=f"that of the effort: {_EFFORTS}",
            least=1,
            most=MAX_EVALUATIONS,
            steerable=True,
            metavar="N",
        ),
    )
    longest_side: int | None = field(
        default=None,
        metadata=row(
            "whole number",
            "Longer side of the result in pixels.",
            default=Default(DEFAULT_LONGEST_SIDE, _by_objective("longest_side")),
            default_words="the content's own, at most "
            + _with_objectives(DEFAULT_LONGEST_SIDE, "longest_side"),
            least=MIN_SIDE,
            most=MAX_LONGEST_SIDE,
            unit="px",
            texture=False,
            option="--size",
            metavar="PIXELS",
        ),
    )
    start: Start | None = field(
        default=None,
        metadata=row(
            "choice",
            "Picture that the painting starts from.",
            default=Default("content", (({"texture": True}, "noise"),)),
            words=get_args(Start),
            content_words=("content",),
            file_word="image",
        ),
    )
    seed: int = field(
        default=0,
        metadata=row("whole number", "Seed of everything random.", least=0, most=2**32 - 1, metavar="N"),
    )
    precision: Precision | None = field(
        default=None,
        metadata=row(
            "choice",
            "Arithmetic of the feature network; auto is the faster on the device.",
            default=Default("auto", _by_objective("precision")),
            words=get_args(Precision),
            steerable=True,
            detail=True,
        ),
    )
    style_scale: float = field(
        default=1.0,
        metadata=row(
            "number",
            "Size of the styles' strokes beside the content: at 2 they are twice as large.",
            least=0.1,
            most=4.0,
            fixed_by=_fixing("style_scale"),
            metavar="S",
        ),
    )
    color: Color = field(
        default="style",
        metadata=row(
            "choice",
            "Colours of the result: those of the style; those of the photograph, with only its lightness "
            "painted (luminance); or those of the photograph, with the style's colours matched to them first "
            "(matched).",
            words=get_args(Color),
            content_words=("luminance", "matched"),
            steerable=True,
        ),
    )
    content_layers: LayerWeights = field(
        default=(),
        metadata=row(
            "layers",
            "Layers at which the content is compared, with their shares.",
            default_words="the objective's own",
            words=LAYERS,
            least=0.0,
            above_least=True,
            fixed_by=_fixing("content_layers"),
            steerable=True,
            texture=False,
            option="--content-layer",
            detail=True,
        ),
    )
    style_layers: LayerWeights = field(
        default=(),
        metadata=row(
            "layers",
            "Layers at which the style is compared, with their shares.",
            default_words="the objective's own",
            words=LAYERS,
            least=0.0,
            above_least=True,
            fixed_by=_fixing("style_layers"),
            steerable=True,
            option="--style-layer",
            detail=True,
        ),
    )
    averaging: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Averaging of Adam's images: the share of the average so far that each new image leaves. It does "
            "not affect L-BFGS.",
            default=Default(0.99, (({"optimizer": "lbfgs"}, 0.0), *_by_objective("averaging"))),
            least=0.0,
            most=0.9999,
            steerable=True,
            metavar="A",
            detail=True,
        ),
    )
    stop_on_plateau: bool | None = field(
        default=None,
        metadata=row(
            "yes or no",
            "Leave a scale early once its loss hardly falls any more.",
            default=Default(True, _by_objective("stop_on_plateau")),
            steerable=True,
            option="--plateau",
            detail=True,
        ),
    )

    def __post_init__(self) -> None:
        for about in FIELDS:
            value = getattr(self, about.name)
            if value is not None and (fault := about.fault(value)):
                where, remedy = fault
                raise RecipeError(about.name + where, remedy)
            if self.objective in about.fixed_by and value != about.default.otherwise:
                raise RecipeError(
                    about.name,
                    f"is fixed by the objective {self.objective}; leave it out or give another objective",
                )
        if (self._filled("content_weight"), self._filled("style_weight")) == (0, 0):
            raise RecipeError("style_weight", "is 0 and so is content_weight; give at least one of them")
        if self.effort is not None and self.evaluations is not None:
            raise RecipeError("effort", "is given and evaluations too; give one of them")

    @property
    def definition(self) -> Definition:
        """Of the objective."""
        return OBJECTIVES[self.objective]

    @property
    def compared_layers(self) -> tuple[LayerWeights, LayerWeights]:
        """Layers of the content's terms and of the style's, and their shares."""
        definition = self.definition
        return self.content_layers or definition.content_layers, self.style_layers or definition.style_layers

    def _filled(self, name: str) -> Any:
        """A field, or the default that the objective gives it."""
        value = getattr(self, name)
        return FIELD[name].default.value({"objective": self.objective}) if value is None else value

    def resolve(self, content_width: int, content_height: int, *, texture: bool = False) -> Recipe:
        """The recipe as it is run: every field set, and the effort said in evaluations.

        Args:
            content_width, content_height: of the content image, or of the texture, in pixels.
            texture: whether there is no content.

        Raises:
            RecipeError: the result's shorter side would be under `MIN_SIDE` pixels, or the recipe asks for a
                content that a texture does not have.
        """
        if not self.definition.content_layers and self._filled("style_weight") == 0:
            raise RecipeError(
                "style_weight", f"is 0, but the objective {self.objective} has no content loss; give more"
            )
        longest = max(content_width, content_height)
        if texture:
            self._check_texture(longest)
        # A default may depend on the fields before it, so in the table's order.
        known: dict[str, Any] = {"texture": texture}
        for about in FIELDS:
            value = getattr(self, about.name)
            known[about.name] = about.default.value(known) if value is None else value
        del known["texture"]
        known["effort"] = None
        if known["optimizer"] == "lbfgs":
            known["averaging"] = 0.0
        if texture:
            known |= {"longest_side": longest, "content_weight": 0.0}
        elif self.longest_side is None:
            # Never enlarged unless asked for, and never below what the network can see.
            known["longest_side"] = max(MIN_SIDE, min(longest, known["longest_side"]))
        longest_side = known["longest_side"]
        if min(result_size(content_width, content_height, longest_side)) < MIN_SIDE:
            needed = math.ceil(longest * MIN_SIDE / min(content_width, content_height))
            raise RecipeError(
                "longest_side",
                f"of {longest_side} px leaves less than {MIN_SIDE} px for the shorter side of a "
                f"{content_width} × {content_height} content image; "
                + (f"give at least {needed}" if needed <= MAX_LONGEST_SIDE else "crop the image"),
            )
        return Recipe(**known)

    def _check_texture(self, longest: int) -> None:
        """That the recipe asks for nothing of a content."""
        if self.longest_side not in (None, longest):
            raise RecipeError("longest_side", f"is not the texture's {longest} px; leave it out")
        if self.content_weight not in (None, 0):
            raise RecipeError("content_weight", "is given, but a texture has no content; leave it out")
        if self._filled("style_weight") == 0:
            raise RecipeError("style_weight", "is 0, but a texture has nothing else; give more")
        for about in FIELDS:
            value = getattr(self, about.name)
            if about.content_words and value in about.content_words:
                others = [word for word in about.words if word not in about.content_words]
                raise RecipeError(
                    about.name, f"is {value!r}, but a texture has no content; give {' or '.join(others)}"
                )


FIELDS: tuple[RecipeField, ...] = rows(Recipe)
"""The table of the recipe's fields, in their order."""
FIELD: dict[str, RecipeField] = {about.name: about for about in FIELDS}
"""The rows by name."""
STEERABLE: tuple[str, ...] = tuple(about.name for about in FIELDS if about.steerable)
"""Fields that may change while the job is painted."""
LAYER_FIELDS: tuple[str, ...] = tuple(about.name for about in FIELDS if about.kind == "layers")
"""Fields that are layers with their shares."""


def evaluations_of(objective: str, effort: Effort) -> int:
    """Evaluations that an effort means with an objective."""
    return int(FIELD["evaluations"].default.value({"objective": objective, "effort": effort}))


def style_size(
    style: tuple[int, int],
    full_size: tuple[int, int],
    style_scale: float,
    *,
    zoom: float = 1.0,
) -> tuple[int, int]:
    """The size at which a style is looked at.

    As many pixels as the whole picture has, so that strokes are as large beside it whatever the two shapes
    are, and whatever part of it is painted; never enlarged, which would teach blur, but by the recipe's word.

    Args:
        style: (width, height) of the painting in pixels, as it was given.
        full_size: (width, height) of the whole result in pixels.
        style_scale: the recipe's.
        zoom: how large a scale is beside the result.
    """
    width, height = style
    area = math.prod(full_size) * zoom**2
    factor = min(1.0, math.sqrt(area / (width * height))) * style_scale
    return max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))


def result_size(content_width: int, content_height: int, longest_side: int) -> tuple[int, int]:
    """Width and height (pixels) of an image of the content's proportions, rounded to the nearest pixel."""
    scale = longest_side / max(content_width, content_height)
    width, height = int(content_width * scale + 0.5), int(content_height * scale + 0.5)
    return max(1, width), max(1, height)


def updated(recipe: Recipe, update: Recipe, size: tuple[int, int], *, texture: bool) -> Recipe:
    """The recipe of a painting after an update, resolved.

    Args:
        recipe: of the painting, resolved.
        update: whole; where it leaves size and start to their defaults, it means those of the painting.
        size: (width, height) of the content or of the texture.
        texture: whether there is no content.

    Raises:
        RecipeError: the update changes what cannot change while painting, or does not suit the painting.
    """
    update = dataclasses.replace(
        update, longest_side=update.longest_side or recipe.longest_side, start=update.start or recipe.start
    ).resolve(*size, texture=texture)
    for about in FIELDS:
        fixed = getattr(recipe, about.name)
        if not about.steerable and getattr(update, about.name) != fixed:
            raise RecipeError(about.name, f"cannot change while painting; it is {fixed}")
    return update


def recipe_from_dict(fields: dict[str, Any]) -> Recipe:
    """A recipe from what `dataclasses.asdict` and JSON made of it.

    Raises:
        RecipeError: a field is out of its range.
    """
    layers = {name: tuple((layer, weight) for layer, weight in fields[name]) for name in LAYER_FIELDS}
    return Recipe(**{**fields, **layers})
