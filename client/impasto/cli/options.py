"""The options that several commands share, and what their texts mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import typer

from impasto.errors import InvalidRequest
from impasto.recipe import Color, Effort, Objective, Optimizer, Precision, Start

PAINTING, PARTS, LOSSES, KEEPING, RUNNING = (
    "How to paint",
    "Parts and shares",
    "Losses and optimiser",
    "What to keep",
    "Where to run",
)

# How to paint.

Size = Annotated[
    int | None,
    typer.Option("--size", metavar="PIXELS", help="Longer side of the result.", rich_help_panel=PAINTING),
]
TextureSize = Annotated[
    str,
    typer.Option("--size", metavar="WxH", help="Its width and height in pixels.", rich_help_panel=PAINTING),
]
EffortName = Annotated[
    Effort | None, typer.Option("--effort", help="A named amount of work.", rich_help_panel=PAINTING)
]
Evaluations = Annotated[
    int | None,
    typer.Option(
        "--evaluations",
        metavar="N",
        help="The work in evaluations of the loss, in place of --effort.",
        rich_help_panel=PAINTING,
    ),
]
ObjectiveName = Annotated[
    Objective | None, typer.Option("--recipe", help="What is minimised.", rich_help_panel=PAINTING)
]
ContentWeight = Annotated[
    float | None,
    typer.Option(
        "--content-weight",
        metavar="W",
        help="More keeps more of the photograph.",
        rich_help_panel=PAINTING,
    ),
]
StyleScale = Annotated[
    float | None,
    typer.Option(
        "--style-scale",
        metavar="S",
        help="Size of the strokes; at 2 they are twice as large.",
        rich_help_panel=PAINTING,
    ),
]
ColorName = Annotated[
    Color | None,
    typer.Option(
        "--color",
        help="Whose colours: the style's; the photograph's, with only its lightness painted; or the "
        "photograph's, with the style's colours matched to them first.",
        rich_help_panel=PAINTING,
    ),
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="content|noise|FILE",
        help="What the painting starts from.",
        rich_help_panel=PAINTING,
    ),
]
TextureStartFrom = Annotated[
    str | None,
    typer.Option(
        "--start", metavar="noise|FILE", help="What the texture starts from.", rich_help_panel=PAINTING
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of everything random.", rich_help_panel=PAINTING),
]

# Parts and shares.

Shares = Annotated[
    str | None,
    typer.Option(
        "--shares",
        metavar="W,W,…",
        help="The styles' shares, in their order: 2,1 takes twice as much of the first.",
        rich_help_panel=PARTS,
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="MASK[,style=N][,style-mask=FILE]",
        help="Paint what is white in MASK in style N (from 1, in the order given; else the first), or in the "
        "part of it that is white in FILE. Repeat it for each region.",
        rich_help_panel=PARTS,
    ),
]
Selection = Annotated[
    Path | None,
    typer.Option(
        "--selection",
        metavar="MASK",
        help="Paint only what is white in MASK; the rest stays as it is.",
        rich_help_panel=PARTS,
    ),
]

StartAgain = Annotated[
    Path | None,
    typer.Option(
        "--start", metavar="FILE", help="The picture it started from, if it did.", rich_help_panel=PARTS
    ),
]
RegionsAgain = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="MASK[,style-mask=FILE]",
        help="The masks of its regions, in their order, if it had any.",
        rich_help_panel=PARTS,
    ),
]
SelectionAgain = Annotated[
    Path | None,
    typer.Option(
        "--selection", metavar="MASK", help="The mask of its selection, if it had one.", rich_help_panel=PARTS
    ),
]

# Losses and optimiser.

StyleWeight = Annotated[
    float | None,
    typer.Option("--style-weight", metavar="W", help="Weight of the style loss.", rich_help_panel=LOSSES),
]
TvWeight = Annotated[
    float | None,
    typer.Option("--tv-weight", metavar="W", help="More gives smoother areas.", rich_help_panel=LOSSES),
]
ContentLayers = Annotated[
    list[str] | None,
    typer.Option(
        "--content-layer",
        metavar="NAME[=W]",
        help="Compare the content at this layer, as relu4_2=1. Repeat it for several.",
        rich_help_panel=LOSSES,
    ),
]
StyleLayers = Annotated[
    list[str] | None,
    typer.Option(
        "--style-layer",
        metavar="NAME[=W]",
        help="Compare the style at this layer, as relu3_1=0.5. Repeat it for several.",
        rich_help_panel=LOSSES,
    ),
]
OptimizerName = Annotated[
    Optimizer | None,
    typer.Option("--optimizer", help="How the image is moved.", rich_help_panel=LOSSES),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="LR", help="Step length of the optimiser.", rich_help_panel=LOSSES
    ),
]
Averaging = Annotated[
    float | None,
    typer.Option(
        "--averaging",
        metavar="A",
        help="With Adam: how much of the average so far each new image leaves, as 0.99.",
        rich_help_panel=LOSSES,
    ),
]
Plateau = Annotated[
    bool | None,
    typer.Option(
        "--plateau/--no-plateau",
        help="Whether to leave a scale early once its loss hardly falls any more.",
        rich_help_panel=LOSSES,
    ),
]
PrecisionName = Annotated[
    Precision | None,
    typer.Option("--precision", help="Arithmetic of the feature network.", rich_help_panel=LOSSES),
]

# What to keep.

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="OUT.png",
        help="Where to write the picture, a PNG.",
        rich_help_panel=KEEPING,
    ),
]
Sidecar = Annotated[
    bool,
    typer.Option(
        "--sidecar",
        help="Write how the picture was made beside it too, as OUT.json.",
        rich_help_panel=KEEPING,
    ),
]
PreviewDir = Annotated[
    Path | None,
    typer.Option(
        "--preview-dir",
        metavar="DIR",
        help="Keep every preview in this folder, numbered.",
        rich_help_panel=KEEPING,
    ),
]
Animate = Annotated[
    Path | None,
    typer.Option(
        "--animate",
        metavar="FILE.webp",
        help="Write the painting of the picture as a film.",
        rich_help_panel=KEEPING,
    ),
]

# Where to run.

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        envvar="IMPASTO_SERVER",
        help="The server that paints. Without one, a private server is started for this call.",
        rich_help_panel=RUNNING,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="vgg19|builtin|FILE",
        help="Weights of the feature network of the private server.",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda:0|mps",
        help="What the private server paints with.",
        rich_help_panel=RUNNING,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.001, help="Give up after so long.", rich_help_panel=RUNNING
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Events as lines of JSON on stdout.", rich_help_panel=RUNNING)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say only what went wrong.", rich_help_panel=RUNNING)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show the private server's whole log.", rich_help_panel=RUNNING)
]

OPTION_OF_FIELD = {
    "spec.recipe.longest_side": "--size",
    "spec.recipe.objective": "--recipe",
    "spec.recipe.content_layers": "--content-layer",
    "spec.recipe.style_layers": "--style-layer",
    "spec.recipe.stop_on_plateau": "--plateau",
    **{
        f"spec.recipe.{field}": f"--{field.replace('_', '-')}"
        for field in (
            "content_weight",
            "style_weight",
            "tv_weight",
            "optimizer",
            "learning_rate",
            "effort",
            "evaluations",
            "start",
            "seed",
            "precision",
            "style_scale",
            "color",
            "averaging",
        )
    },
    "spec.styles": "STYLE",
    "spec.texture": "--size",
    "spec.regions": "--region",
    "spec.selection": "--selection",
}
"""What the command line calls a field of the request, by the field's path."""


class RegionOption(NamedTuple):
    """What `--region` says.

    Attributes:
        mask: where in the content.
        style: which style, from 1; None if not said.
        style_mask: where in the style; None for all of it.
    """

    mask: Path
    style: int | None
    style_mask: Path | None


# Read from its end, so that a comma, a colon or "=" in a file's name is no matter.
_REGION = re.compile(r"(?P<mask>.+?)(,style=(?P<style>[0-9]+))?(,style-mask=(?P<style_mask>.+))?", re.DOTALL)


def parse_region(text: str) -> RegionOption:
    """What a `--region` means."""
    found = _REGION.fullmatch(text)
    if found is None:
        raise InvalidRequest("--region is empty; give MASK[,style=N][,style-mask=FILE]")
    return RegionOption(
        Path(found["mask"]),
        int(found["style"]) if found["style"] else None,
        Path(found["style_mask"]) if found["style_mask"] else None,
    )


def parse_layers(option: str, texts: list[str]) -> list[tuple[str, float]]:
    """What several `--content-layer` or `--style-layer` mean: names and weights."""
    layers = []
    for text in texts:
        name, _, weight = text.partition("=")
        try:
            layers.append((name, float(weight or 1)))
        except ValueError:
            raise InvalidRequest(f"{option} {text}: {weight!r} is not a number") from None
    return layers


def parse_shares(text: str | None, count: int) -> list[float | None]:
    """What `--shares` means for so many styles."""
    if text is None:
        return [None] * count
    try:
        shares = [float(share) for share in text.split(",")]
    except ValueError:
        raise InvalidRequest(f"--shares {text} are not numbers with commas between, as 2,1") from None
    if len(shares) != count:
        raise InvalidRequest(
            f"--shares {text} are {len(shares)}, but the styles are {count}; give each its own"
        )
    return list(shares)


def parse_size(text: str) -> tuple[int, int]:
    """What the `--size` of a texture means: width and height in pixels."""
    found = re.fullmatch(r"([0-9]+)(?:[x×X]([0-9]+))?", text)
    if found is None:
        raise InvalidRequest(f"--size {text} is no size; give WIDTHxHEIGHT in pixels, as 640x480")
    return int(found[1]), int(found[2] or found[1])


def parse_start(text: str | None) -> tuple[Start | None, Path | None]:
    """What `--start` means: a start by name, or the file of one."""
    if text is None or text in ("content", "noise"):
        return cast("Start | None", text), None
    return None, Path(text)
