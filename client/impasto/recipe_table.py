"""The recipe's fields, with the ranges and the defaults of a server of the same version.

Written by `python -m impasto_server.contract.client_table` from the table in `impasto_server.engine.recipe`:
change it there.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypedDict

from impasto.recipe_fields import LayerWeights, RecipeField, pairs_of_layers, with_known_settings

Objective = Literal["balanced", "gatys", "report", "wasserstein", "neighbours"]
Optimizer = Literal["adam", "lbfgs"]
Effort = Literal["draft", "standard", "fine"]
Start = Literal["content", "noise", "image"]
Precision = Literal["auto", "float32", "bfloat16"]
Color = Literal["style", "luminance", "matched"]


@with_known_settings
@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to paint. None leaves the choice to the server.

    Attributes:
        objective: Formula that the painting follows. Default: neighbours.
        content_weight: Weight of the content. A larger weight keeps more of the photograph. Range: 0 or more.
            Default: 0.3; 1 with gatys or report.
        style_weight: Weight of the style loss. A larger weight takes more from the paintings. With
            neighbours, which has no content loss, it counts only relative to the total variation and cannot
            be 0. Range: 0 or more. Default: 1; 10000000 with gatys; 100 with report.
        tv_weight: Weight of the total variation. A larger weight gives smoother areas. Range: 0 or more.
            Default: 0; 0.005 with neighbours.
        optimizer: Optimiser that changes the image. Default: lbfgs; adam with report.
        learning_rate: Step length of Adam in units of the normalised image; with lbfgs, a factor of each
            step. Range: more than 0, at most 100. Default: 0.05; 1 with lbfgs; 0.003 with report.
        effort: Amount of work, by name. Give this or a number of evaluations. Default: standard.
        evaluations: Number of evaluations of the loss, over all scales. Give this or an effort. Range: 1 to
            100000. Default: that of the effort: draft 30 (report 500, neighbours 40); standard 68 (report
            2000, neighbours 80); fine 200 (report 5000, neighbours 250).
        size: Longer side of the result in pixels. Range: 16 to 8192. Default: the content's own, at most 512
            (report 400).
        start: Picture that the painting starts from. Default: content; noise with a texture.
        seed: Seed of the random numbers. Range: 0 to 4294967295. Default: 0.
        precision: Arithmetic of the feature network. auto takes the faster one on the device. Default: auto;
            float32 with report.
        style_scale: Size of the styles' strokes relative to the content: at 2 they are twice as large. Not
            with report. Range: 0.1 to 4. Default: 1.
        color: Colours of the result: those of the style (style); those of the photograph, of which only the
            lightness is painted (luminance); or those of the photograph, to which the style's colours are
            matched first (matched). Default: style.
        content_layers: Layers at which the content is compared, with their shares. Not with report or
            neighbours. Range of a share: more than 0. Default: the objective's own.
        style_layers: Layers at which the style is compared, with their shares. Not with report or neighbours.
            Range of a share: more than 0. Default: the objective's own.
        averaging: Decay of the running average of Adam's images, which is shown because it has less noise
            than the last image; at 0 there is no average. It has no effect with lbfgs. Range: 0 to 0.9999.
            Default: 0.99; 0 with lbfgs or report.
        stop_on_plateau: Finish a scale early when its loss has almost stopped falling. Default: yes; no with
            report.

    Raises:
        InvalidRequest: layers are neither a mapping nor pairs.
        TypeError: a recipe has no such field; the message names the nearest one.
    """

    objective: Objective | None = None
    content_weight: float | None = None
    style_weight: float | None = None
    tv_weight: float | None = None
    optimizer: Optimizer | None = None
    learning_rate: float | None = None
    effort: Effort | None = None
    evaluations: int | None = None
    size: int | None = None
    start: Start | None = None
    seed: int | None = None
    precision: Precision | None = None
    style_scale: float | None = None
    color: Color | None = None
    content_layers: LayerWeights | None = None
    style_layers: LayerWeights | None = None
    averaging: float | None = None
    stop_on_plateau: bool | None = None

    def __post_init__(self) -> None:
        for field in LAYER_FIELDS:
            object.__setattr__(self, field, pairs_of_layers(field, getattr(self, field)))


class Settings(TypedDict, total=False):
    """The fields of a `Recipe` as keywords."""

    objective: Objective | None
    content_weight: float | None
    style_weight: float | None
    tv_weight: float | None
    optimizer: Optimizer | None
    learning_rate: float | None
    effort: Effort | None
    evaluations: int | None
    size: int | None
    start: Start | None
    seed: int | None
    precision: Precision | None
    style_scale: float | None
    color: Color | None
    content_layers: LayerWeights | None
    style_layers: LayerWeights | None
    averaging: float | None
    stop_on_plateau: bool | None


_ROWS = (
    RecipeField(
        name="objective",
        kind="choice",
        help="Formula that the painting follows.",
        default="neighbours",
        default_value="neighbours",
        words=("balanced", "gatys", "report", "wasserstein", "neighbours"),
        content_words=("report",),
        option="--recipe",
    ),
    RecipeField(
        name="content_weight",
        kind="number",
        help="Weight of the content. A larger weight keeps more of the photograph.",
        range="0 or more",
        default="0.3; 1 with gatys or report",
        default_value=0.3,
        least=0.0,
        steerable=True,
        texture=False,
        option="--content-weight",
        metavar="W",
    ),
    RecipeField(
        name="style_weight",
        kind="number",
        help=(
            "Weight of the style loss. A larger weight takes more from the paintings. With neighbours, "
            "which has no content loss, it counts only relative to the total variation and cannot be 0."
        ),
        range="0 or more",
        default="1; 10000000 with gatys; 100 with report",
        default_value=1.0,
        least=0.0,
        steerable=True,
        option="--style-weight",
        metavar="W",
        detail=True,
    ),
    RecipeField(
        name="tv_weight",
        kind="number",
        help="Weight of the total variation. A larger weight gives smoother areas.",
        range="0 or more",
        default="0; 0.005 with neighbours",
        default_value=0.005,
        least=0.0,
        steerable=True,
        option="--tv-weight",
        metavar="W",
        detail=True,
    ),
    RecipeField(
        name="optimizer",
        kind="choice",
        help="Optimiser that changes the image.",
        default="lbfgs; adam with report",
        default_value="lbfgs",
        words=("adam", "lbfgs"),
        steerable=True,
        option="--optimizer",
        detail=True,
    ),
    RecipeField(
        name="learning_rate",
        kind="number",
        help="Step length of Adam in units of the normalised image; with lbfgs, a factor of each step.",
        range="more than 0, at most 100",
        default="0.05; 1 with lbfgs; 0.003 with report",
        least=0.0,
        most=100.0,
        above_least=True,
        steerable=True,
        option="--learning-rate",
        metavar="LR",
        detail=True,
    ),
    RecipeField(
        name="effort",
        kind="choice",
        help="Amount of work, by name. Give this or a number of evaluations.",
        default="standard",
        default_value="standard",
        words=("draft", "standard", "fine"),
        steerable=True,
        option="--effort",
    ),
    RecipeField(
        name="evaluations",
        kind="whole number",
        help="Number of evaluations of the loss, over all scales. Give this or an effort.",
        range="1 to 100000",
        default=(
            "that of the effort: draft 30 (report 500, neighbours 40); standard 68 (report 2000, neighbours"
            " 80); fine 200 (report 5000, neighbours 250)"
        ),
        least=1,
        most=100000,
        steerable=True,
        option="--evaluations",
        metavar="N",
    ),
    RecipeField(
        name="size",
        wire_name="longest_side",
        kind="whole number",
        help="Longer side of the result in pixels.",
        range="16 to 8192",
        default="the content's own, at most 512 (report 400)",
        default_value=512,
        least=16,
        most=8192,
        unit="px",
        texture=False,
        option="--size",
        metavar="PIXELS",
    ),
    RecipeField(
        name="start",
        kind="choice",
        help="Picture that the painting starts from.",
        default="content; noise with a texture",
        words=("content", "noise", "image"),
        content_words=("content",),
        option="--start",
        file_word="image",
    ),
    RecipeField(
        name="seed",
        kind="whole number",
        help="Seed of the random numbers.",
        range="0 to 4294967295",
        default="0",
        default_value=0,
        least=0,
        most=4294967295,
        option="--seed",
        metavar="N",
    ),
    RecipeField(
        name="precision",
        kind="choice",
        help="Arithmetic of the feature network. auto takes the faster one on the device.",
        default="auto; float32 with report",
        default_value="auto",
        words=("auto", "float32", "bfloat16"),
        steerable=True,
        option="--precision",
        detail=True,
    ),
    RecipeField(
        name="style_scale",
        kind="number",
        help=(
            "Size of the styles' strokes relative to the content: at 2 they are twice as large. Not with "
            "report."
        ),
        range="0.1 to 4",
        default="1",
        default_value=1.0,
        least=0.1,
        most=4.0,
        option="--style-scale",
        metavar="S",
    ),
    RecipeField(
        name="color",
        kind="choice",
        help=(
            "Colours of the result: those of the style (style); those of the photograph, of which only the "
            "lightness is painted (luminance); or those of the photograph, to which the style's colours are"
            " matched first (matched)."
        ),
        default="style",
        default_value="style",
        words=("style", "luminance", "matched"),
        content_words=("luminance", "matched"),
        steerable=True,
        option="--color",
    ),
    RecipeField(
        name="content_layers",
        kind="layers",
        help="Layers at which the content is compared, with their shares. Not with report or neighbours.",
        range="more than 0",
        default="the objective's own",
        default_value=(),
        least=0.0,
        above_least=True,
        words=(
            "relu1_1",
            "relu1_2",
            "relu2_1",
            "relu2_2",
            "relu3_1",
            "relu3_2",
            "relu3_3",
            "relu3_4",
            "relu4_1",
            "relu4_2",
            "relu4_3",
            "relu4_4",
            "relu5_1",
        ),
        steerable=True,
        texture=False,
        option="--content-layer",
        detail=True,
    ),
    RecipeField(
        name="style_layers",
        kind="layers",
        help="Layers at which the style is compared, with their shares. Not with report or neighbours.",
        range="more than 0",
        default="the objective's own",
        default_value=(),
        least=0.0,
        above_least=True,
        words=(
            "relu1_1",
            "relu1_2",
            "relu2_1",
            "relu2_2",
            "relu3_1",
            "relu3_2",
            "relu3_3",
            "relu3_4",
            "relu4_1",
            "relu4_2",
            "relu4_3",
            "relu4_4",
            "relu5_1",
        ),
        steerable=True,
        option="--style-layer",
        detail=True,
    ),
    RecipeField(
        name="averaging",
        kind="number",
        help=(
            "Decay of the running average of Adam's images, which is shown because it has less noise than "
            "the last image; at 0 there is no average. It has no effect with lbfgs."
        ),
        range="0 to 0.9999",
        default="0.99; 0 with lbfgs or report",
        least=0.0,
        most=0.9999,
        steerable=True,
        option="--averaging",
        metavar="A",
        detail=True,
    ),
    RecipeField(
        name="stop_on_plateau",
        kind="yes or no",
        help="Finish a scale early when its loss has almost stopped falling.",
        default="yes; no with report",
        default_value=True,
        steerable=True,
        option="--stop-on-plateau",
        detail=True,
    ),
)
FIELDS: dict[str, RecipeField] = {row.name: row for row in _ROWS}
"""The fields by name, in their order."""
LAYER_FIELDS = tuple(row.name for row in _ROWS if row.kind == "layers")
"""Fields that are layers with their shares."""
STEERABLE = tuple(row.name for row in _ROWS if row.steerable)
"""Fields that may change while the job is painted."""
