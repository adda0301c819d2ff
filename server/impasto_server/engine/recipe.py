"""The recipe of a painting, as plain data, and the table of its fields.

The table is the dataclass `Recipe`: each field carries its row as metadata. Ranges, defaults and the fields
that may be steered are defined here and nowhere else. The check of a recipe, the conversion from the contract
and steering derive from `FIELDS`. The client has a copy of the table (`impasto_server.contract.client_table`
writes it), from which its command line and the plugins derive.

To add a field, add a row here and a field in the contract, and use it in the engine.

Imports nothing heavy, so that the gateway, which has no torch, can check a recipe before any work starts.
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
"""Layers of a VGG network that may be compared. Only VGG-19 has "relu3_4" and "relu4_4"."""
MAX_LONGEST_SIDE = 8192
MIN_SIDE = 16
"""Minimum side of an image in pixels. A shorter one vanishes in the fourth pooling of a VGG network."""
MAX_EVALUATIONS = 100_000
MAX_STYLES = 16
MAX_REGIONS = 16
MAX_IMAGE_PIXELS = 100_000_000
DEFAULT_LONGEST_SIDE = 512


class RecipeError(ValueError):
    """A recipe or an image that cannot be painted.

    Attributes:
        field: the field at fault, of the recipe ("longest_side") or of the scene ("content").
        remedy: what is wrong and what to do, in words that follow the field's name: "is -1; give 0 or more".
    """

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field} {remedy}")
        self.field = field
        self.remedy = remedy


DEFAULT_OBJECTIVE = "neighbours"
EVALUATIONS: dict[Effort, int] = {"draft": 30, "standard": 68, "fine": 200}
"""Evaluations of the loss for each effort, for objectives without numbers of their own."""


def _by_objective(field: str) -> tuple[tuple[dict[str, Any], Any], ...]:
    """Returns the cases of a field's default that depend on the objective."""
    return tuple(
        ({"objective": name}, objective.defaults[field])
        for name, objective in OBJECTIVES.items()
        if field in objective.defaults
    )


def _fixing(field: str) -> tuple[str, ...]:
    """Returns the names of the objectives that fix a field."""
    return tuple(name for name, objective in OBJECTIVES.items() if field in objective.fixed)


def _not_with(field: str) -> str:
    """Returns a sentence for the help of a field that objectives fix: "Not with report or neighbours."."""
    return f"Not with {' or '.join(_fixing(field))}."


def _evaluations() -> Default:
    """Returns the default number of evaluations, by objective and effort."""
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
    """Returns a default in words, with those of the objectives: "512 (report 400)"."""
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
    """How to paint. The fields are also the table's rows: see `RecipeField`.

    A field that is None means the default of its row, which `resolve` fills in.

    Raises:
        RecipeError: a field is out of its range, or cannot be combined with another.
    """

    objective: str = field(
        default=DEFAULT_OBJECTIVE,
        metadata=row(
            "choice",
            "Formula that the painting follows.",
            words=tuple(OBJECTIVES),
            content_words=tuple(name for name, objective in OBJECTIVES.items() if objective.needs_content),
            option="--recipe",
        ),
    )
    content_weight: float | None = field(
        default=None,
        metadata=row(
            "number",
            "Weight of the content. A larger weight keeps more of the photograph.",
            # One default suits all objectives whose terms are relative errors. `HALF_WEIGHT` is chosen so
            # that it suits "neighbours" too.
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
            "Weight of the style loss. A larger weight takes more from the paintings. With neighbours, which "
            "has no content loss, it counts only relative to the total variation and cannot be 0.",
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
            "Weight of the total variation. A larger weight gives smoother areas.",
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
            "Step length of Adam in units of the normalised image; with lbfgs, a factor of each step.",
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
            "Amount of work, by name. Give this or a number of evaluations.",
            default=Default("standard"),
            words=get_args(Effort),
            steerable=True,
        ),
    )
    evaluations: int | None = field(
        default=None,
        metadata=row(
            "whole number",
            "Number of evaluations of the loss, over all scales. Give this or an effort.",
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
            python_name="size",
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
        metadata=row("whole number", "Seed of the random numbers.", least=0, most=2**32 - 1, metavar="N"),
    )
    precision: Precision | None = field(
        default=None,
        metadata=row(
            "choice",
            "Arithmetic of the feature network. auto takes the faster one on the device.",
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
            "Size of the styles' strokes relative to the content: at 2 they are twice as large. "
            + _not_with("style_scale"),
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
            "Colours of the result: those of the style (style); those of the photograph, of which only the "
            "lightness is painted (luminance); or those of the photograph, to which the style's colours are "
            "matched first (matched).",
            words=get_args(Color),
            content_words=("luminance", "matched"),
            steerable=True,
        ),
    )
    content_layers: LayerWeights = field(
        default=(),
        metadata=row(
            "layers",
            "Layers at which the content is compared, with their shares. " + _not_with("content_layers"),
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
            "Layers at which the style is compared, with their shares. " + _not_with("style_layers"),
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
            "Decay of the running average of Adam's images, which is shown because it has less noise than "
            "the last image; at 0 there is no average. It has no effect with lbfgs.",
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
            "Finish a scale early when its loss has almost stopped falling.",
            default=Default(True, _by_objective("stop_on_plateau")),
            steerable=True,
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
            raise RecipeError("style_weight", "is 0, and the content's weight is 0 too; raise one of them")
        if self.effort is not None and self.evaluations is not None:
            raise RecipeError("effort", "cannot be combined with a number of evaluations; give one of them")

    @property
    def definition(self) -> Definition:
        """Definition of the objective."""
        return OBJECTIVES[self.objective]

    @property
    def compared_layers(self) -> tuple[LayerWeights, LayerWeights]:
        """Layers of the content's terms, and layers of the style's terms, with their shares."""
        definition = self.definition
        return self.content_layers or definition.content_layers, self.style_layers or definition.style_layers

    def _filled(self, name: str) -> Any:
        """Returns a field, or its default with this objective."""
        value = getattr(self, name)
        return FIELD[name].default.value({"objective": self.objective}) if value is None else value

    def resolve(self, content_width: int, content_height: int, *, texture: bool = False) -> Recipe:
        """Returns the recipe as it is run: every field is set, and evaluations replace the effort.

        Args:
            content_width, content_height: size of the content image, or of the texture, in pixels.
            texture: whether a texture is painted, without a content.

        Raises:
            RecipeError: the result's shorter side would have less than `MIN_SIDE` pixels, or the recipe needs
                a content, which a texture does not have.
        """
        if not self.definition.content_layers and self._filled("style_weight") == 0:
            raise RecipeError(
                "style_weight", f"is 0, but the objective {self.objective} has no content loss; raise it"
            )
        longest = max(content_width, content_height)
        if texture:
            self._check_texture(longest)
        # In the table's order, because a default may depend on the fields before it.
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
            # By default the content is not enlarged, except to what the network needs.
            known["longest_side"] = max(MIN_SIDE, min(longest, known["longest_side"]))
        longest_side = known["longest_side"]
        if min(result_size(content_width, content_height, longest_side)) < MIN_SIDE:
            needed = math.ceil(longest * MIN_SIDE / min(content_width, content_height))
            raise RecipeError(
                "longest_side",
                f"of {longest_side} px leaves less than {MIN_SIDE} px for the shorter side of the "
                f"{content_width} × {content_height} content image; "
                + (f"give at least {needed}" if needed <= MAX_LONGEST_SIDE else "crop the image"),
            )
        return Recipe(**known)

    def _check_texture(self, longest: int) -> None:
        """Makes sure that the recipe does not need a content."""
        if self.longest_side not in (None, longest):
            raise RecipeError("longest_side", f"differs from the texture's {longest} px; leave it out")
        if self.content_weight not in (None, 0):
            raise RecipeError("content_weight", "is given, but a texture has no content; leave it out")
        if self._filled("style_weight") == 0:
            raise RecipeError("style_weight", "is 0, but a texture has no other loss; raise it")
        for about in FIELDS:
            value = getattr(self, about.name)
            if about.content_words and value in about.content_words:
                others = [word for word in about.words if word not in about.content_words]
                raise RecipeError(
                    about.name, f"is {value!r}, but a texture has no content; give {' or '.join(others)}"
                )


FIELDS: tuple[RecipeField, ...] = rows(Recipe)
"""The rows of the table, in the order of the fields."""
FIELD: dict[str, RecipeField] = {about.name: about for about in FIELDS}
"""The rows by the field's name."""
STEERABLE: tuple[str, ...] = tuple(about.name for about in FIELDS if about.steerable)
"""Names of the fields that may change while the job is painted."""
LAYER_FIELDS: tuple[str, ...] = tuple(about.name for about in FIELDS if about.kind == "layers")
"""Names of the fields that are layers with their shares."""


def evaluations_of(objective: str, effort: Effort) -> int:
    """Returns the number of evaluations of an effort with an objective."""
    return int(FIELD["evaluations"].default.value({"objective": objective, "effort": effort}))


def style_size(
    style: tuple[int, int],
    full_size: tuple[int, int],
    style_scale: float,
    *,
    zoom: float = 1.0,
) -> tuple[int, int]:
    """Returns the (width, height) in pixels to which a style is resized.

    The style gets as many pixels as the whole picture, so that the size of strokes depends neither on the two
    shapes nor on the part that is painted. It is not enlarged unless `style_scale` asks for that, because the
    painting would become blurred.

    Args:
        style: (width, height) of the painting in pixels, as it was given.
        full_size: (width, height) of the whole result in pixels.
        style_scale: `Recipe.style_scale`.
        zoom: size of the scale, as a multiple of the result's.
    """
    width, height = style
    area = math.prod(full_size) * zoom**2
    factor = min(1.0, math.sqrt(area / (width * height))) * style_scale
    return max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))


def result_size(content_width: int, content_height: int, longest_side: int) -> tuple[int, int]:
    """Returns the width and height in pixels of an image with the content's proportions, rounded."""
    scale = longest_side / max(content_width, content_height)
    width, height = int(content_width * scale + 0.5), int(content_height * scale + 0.5)
    return max(1, width), max(1, height)


def updated(recipe: Recipe, update: Recipe, size: tuple[int, int], *, texture: bool) -> Recipe:
    """Returns the recipe of a painting after an update, resolved.

    Args:
        recipe: the painting's recipe, resolved.
        update: a complete recipe. If it has no size or no start, the painting's own is kept.
        size: (width, height) of the content or of the texture, in pixels.
        texture: whether a texture is painted, without a content.

    Raises:
        RecipeError: the update changes a field that cannot change during painting, or does not suit the
            painting.
    """
    update = dataclasses.replace(
        update, longest_side=update.longest_side or recipe.longest_side, start=update.start or recipe.start
    ).resolve(*size, texture=texture)
    for about in FIELDS:
        fixed = getattr(recipe, about.name)
        if not about.steerable and getattr(update, about.name) != fixed:
            raise RecipeError(about.name, f"cannot change while the job is painted; leave it at {fixed}")
    return update


def recipe_from_dict(fields: dict[str, Any]) -> Recipe:
    """Returns the recipe that `dataclasses.asdict` and JSON have made into a dictionary.

    Raises:
        RecipeError: a field is out of its range.
    """
    layers = {name: tuple((layer, weight) for layer, weight in fields[name]) for name in LAYER_FIELDS}
    return Recipe(**{**fields, **layers})
