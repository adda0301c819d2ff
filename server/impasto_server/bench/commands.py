"""The commands `impasto-server bench` and `impasto-server contact-sheet`."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from impasto_server.bench.compared_recipes import compared_recipes
from impasto_server.engine.recipe import (
    DEFAULT_LONGEST_SIDE,
    FIELD,
    MAX_LONGEST_SIDE,
    MIN_SIDE,
    Effort,
    RecipeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from impasto_server.bench.compared_recipes import NamedRecipe
    from impasto_server.bench.comparison import Pair
    from impasto_server.bench.pictures import Picture
    from impasto_server.engine import Network, Progress, Recipe

_DEFAULT_OBJECTIVE: str = FIELD["objective"].default.otherwise

Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What to paint on: cpu, cuda:0, mps. Default: a GPU, else the CPU."),
]
WeightsName = Annotated[
    str, typer.Option(metavar="vgg19|builtin|FILE", help="Weights of the feature network.")
]


class ReferenceName(str, enum.Enum):
    """Where the report's program ends."""

    recorded = "recorded"
    fresh = "fresh"


def bench(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="With --json: where to write it, beside the table on stdout."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the table, or write it to FILE.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="About two minutes instead of many; fewer repetitions and sizes."),
    ] = False,
    device: Device = None,
    weights: WeightsName = "builtin",
    reference: Annotated[
        ReferenceName,
        typer.Option(
            help="The loss that the report's program ends at: as recorded, or computed again, which takes "
            "half an hour."
        ),
    ] = ReferenceName.recorded,
) -> None:
    """Measures how fast this machine paints: the engine, its share of what the machine can do, the report's
    program beside it, and what the service adds.

    Nothing has to be prepared; leave the machine alone meanwhile. Progress goes to stderr.
    """
    if file is not None and not json:
        raise typer.BadParameter("a FILE is for JSON; give --json too", param_hint="FILE")
    from rich.console import Console

    _be_like_a_worker()
    import impasto
    from impasto_server.bench.bench import measure
    from impasto_server.bench.figures import FULL, QUICK, table
    from impasto_server.engine.weights import WeightsError

    with _until_interrupted(), _spinner() as say:
        try:
            figures = measure(
                QUICK if quick else FULL,
                device=_checked(device),
                weights=weights,
                reference=reference.value,
                say=say,
            )
        except (WeightsError, impasto.ImpastoError) as error:
            _exit_with(error)
    if json and file is None:
        sys.stdout.write(figures.json())
        return
    Console().print(table(figures))
    if file is not None:
        try:
            file.write_text(figures.json(), encoding="utf-8")
        except OSError as error:
            _exit_with(error)


def contact_sheet(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="SHEET.jpg", help="Where to write the sheet.")],
    contents: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A photograph; repeat it for more. Default: the demo's.", show_default=False
        ),
    ] = None,
    styles: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A painting; repeat it for more. Default: the demo's.", show_default=False
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.txt",
            help="Pairs to paint, instead of every content in every style: a text with the paths of a "
            "content and a style on each line, relative to the text's folder.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(min=MIN_SIDE, max=MAX_LONGEST_SIDE, help="Longer side of each painting in pixels."),
    ] = DEFAULT_LONGEST_SIDE,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help=f"What is minimised. Default: {_DEFAULT_OBJECTIVE}.", show_default=False
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPES",
            help="Recipes to compare, separated by commas: objectives, each with fields after colons if you "
            "like, as in balanced,gatys:content_weight=2:effort=fine.",
        ),
    ] = None,
    effort: Annotated[
        Effort, typer.Option(help="How much work; a recipe of --compare may say otherwise.")
    ] = "standard",
    numbers: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Where to write a comparison's numbers.")
    ] = None,
    faces: Annotated[
        bool,
        typer.Option(
            "--faces",
            help="Measure in a comparison whether faces stay the same person's. It needs two packages: "
            "dlib-bin and face-recognition-models.",
        ),
    ] = False,
    device: Device = None,
    weights: WeightsName = "builtin",
) -> None:
    """Paints every content in every style and puts the pictures on one sheet: contents down the side, styles
    along the top.

    With --compare, --pairs, --numbers or --faces it makes a comparison: a row for each pair of content and
    style, a column for each recipe, and below each painting its numbers.
    """
    _be_like_a_worker()
    from impasto_server.bench.sheet_table import MAX_SIDES, SheetError

    if out.suffix.lower() not in MAX_SIDES:
        raise typer.BadParameter(f"{out} is not named .jpg, .png or .webp", param_hint="--out")
    if numbers is not None and numbers.suffix.lower() != ".json":
        raise typer.BadParameter(f"{numbers} is not named .json", param_hint="--numbers")
    if recipe is not None and compare is not None:
        raise typer.BadParameter("--recipe is given too; give one of them", param_hint="--compare")
    if pairs is not None and (contents or styles):
        raise typer.BadParameter("--contents or --styles is given too; leave it out", param_hint="--pairs")
    try:
        recipes = compared_recipes(
            recipe or _DEFAULT_OBJECTIVE if compare is None else compare, effort=effort, longest_side=size
        )
    except RecipeError as error:
        raise typer.BadParameter(str(error), param_hint="--compare") from error
    from impasto_server.bench.faces import FacesError
    from impasto_server.bench.pictures import PictureError
    from impasto_server.engine import WeightsError

    for path in (out, numbers):
        if path is not None:
            _check_writable(path)
    with _until_interrupted(), _spinner() as say:
        try:
            if compare is None and pairs is None and numbers is None and not faces:
                told = _paint_grid(out, contents, styles, recipes[0].recipe, device, weights, say)
            else:
                chosen = _chosen_pairs(contents, styles, pairs)
                told = _paint_comparison(out, numbers, chosen, recipes, faces, device, weights, say)
        except (FacesError, PictureError, SheetError, WeightsError) as error:
            _exit_with(error)
    typer.echo(told)


def _paint_grid(
    out: Path,
    contents: list[Path] | None,
    styles: list[Path] | None,
    recipe: Recipe,
    device: str | None,
    weights: str,
    say: Callable[[str], None],
) -> str:
    """Writes a sheet of every content in every style, and says what it is."""
    from impasto_server.bench.contact_sheet import lay_out, paint_all, planned_layout
    from impasto_server.bench.sheet_table import check_sheet_size, encoded_sheet

    rows, columns = _pictures(contents, styles)
    assert recipe.longest_side is not None
    check_sheet_size(planned_layout(rows, columns, recipe.longest_side).size, out)
    network, precision = _network(device, weights)

    def on_progress(number: int, content: Picture, style: Picture, progress: Progress) -> None:
        say(
            f"{number} of {len(rows) * len(columns)}: {content.name} in the style of {style.name}, "
            f"{progress.width} × {progress.height}"
        )

    paintings = paint_all(rows, columns, recipe, network, auto_precision=precision, on_progress=on_progress)
    sheet = lay_out(rows, columns, paintings, recipe.longest_side)
    _write(out, encoded_sheet(sheet, out))
    return f"{out}: {sheet.width} × {sheet.height}, {len(rows) * len(columns)} paintings"


def _paint_comparison(
    out: Path,
    numbers: Path | None,
    pairs: list[Pair],
    recipes: list[NamedRecipe],
    with_faces: bool,
    device: str | None,
    weights: str,
    say: Callable[[str], None],
) -> str:
    """Writes a comparison's sheet, and its numbers where they are wanted, and says what it is."""
    from impasto_server.bench.comparison import paint_pairs
    from impasto_server.bench.comparison_sheet import comparison_sheet, numbers_json, planned_size
    from impasto_server.bench.faces import Faces
    from impasto_server.bench.sheet_table import check_sheet_size, encoded_sheet

    side = recipes[0].recipe.longest_side
    assert side is not None
    check_sheet_size(planned_size(pairs, recipes, side, faces=with_faces), out)
    faces = Faces() if with_faces else None
    network, precision = _network(device, weights)

    def on_progress(number: int, pair: Pair, named: NamedRecipe, progress: Progress | None) -> None:
        doing = "measuring" if progress is None else f"{progress.width} × {progress.height}"
        say(
            f"{number} of {len(pairs) * len(recipes)}: {pair.content.name} in the style of "
            f"{pair.style.name}, {named.name}, {doing}"
        )

    paintings = paint_pairs(
        pairs, recipes, network, auto_precision=precision, faces=faces, on_progress=on_progress
    )
    sheet = comparison_sheet(pairs, recipes, paintings, side)
    if numbers is not None:
        about = {"device": str(network.device), "weights": network.weights_name, "precision": precision}
        _write(numbers, numbers_json(pairs, recipes, paintings, **about).encode())
    _write(out, encoded_sheet(sheet, out))
    return f"{out}: {sheet.width} × {sheet.height}, {len(pairs) * len(recipes)} paintings"


def _chosen_pairs(contents: list[Path] | None, styles: list[Path] | None, pairs: Path | None) -> list[Pair]:
    """The pairs of a text, or every content with every style."""
    from impasto_server.bench.comparison import Pair, read_pairs

    if pairs is not None:
        return read_pairs(pairs)
    rows, columns = _pictures(contents, styles)
    return [Pair(content, style) for content in rows for style in columns]


def _pictures(contents: list[Path] | None, styles: list[Path] | None) -> tuple[list[Picture], list[Picture]]:
    """The contents and the styles; the demo's where none are given."""
    from impasto_server.bench.pictures import demo_content, demo_style, read_picture

    return (
        [read_picture(path) for path in contents] if contents else [demo_content()],
        [read_picture(path) for path in styles] if styles else [demo_style()],
    )


def _network(device: str | None, weights: str) -> tuple[Network, Literal["float32", "bfloat16"]]:
    """The feature network on the device, and the precision that is fastest there."""
    from impasto_server.engine import Network, load_weights
    from impasto_server.engine.devices import fastest_precision, keep_freed_memory

    name = _checked(device)
    keep_freed_memory()
    return Network(load_weights(weights)).to(name), fastest_precision(name)


def _check_writable(path: Path) -> None:
    """Before hours of painting."""
    from impasto.files import check_writable

    with _written(path):
        check_writable(path)


def _write(path: Path, data: bytes) -> None:
    """Writes a whole file, or none."""
    from impasto.files import write_whole

    with _written(path):
        write_whole(path, data)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Ends the command where a file cannot be written."""
    try:
        yield
    except OSError as error:
        _exit_with(OSError(f"{path} cannot be written: {error.strerror or error}"))


def _be_like_a_worker() -> None:
    """Gives this process a worker's environment; before torch is loaded, which reads it then."""
    from impasto_server.fleet.worker_life import WORKER_ENVIRONMENT

    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ends the command in a word at Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """Gives what shows on stderr what goes on: a line that changes on a terminal, else a line for each."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting")
        said = ""

        def say(text: str) -> None:
            nonlocal said
            if text != said:
                progress.update(task, description=text)
                if not console.is_terminal:
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
            said = text

        yield say


def _checked(device: str | None) -> str:
    """The device, or the best one there is."""
    from impasto_server.engine.devices import available_devices, check_device

    if device is None:
        return available_devices()[0]
    try:
        check_device(device)
    except ValueError as error:
        _exit_with(error)
    return device


def _exit_with(error: Exception) -> NoReturn:
    print(f"impasto-server: {error}", file=sys.stderr, flush=True)
    raise typer.Exit(2)
