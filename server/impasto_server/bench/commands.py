"""The commands `impasto-server bench` and `impasto-server contact-sheet`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, cast, get_args

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
from impasto_server.plain_help import one_of, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from impasto_server.bench.compared_recipes import NamedRecipe
    from impasto_server.bench.comparison import Pair
    from impasto_server.bench.pictures import Picture
    from impasto_server.engine import Network, Progress, Recipe

_DEFAULT_OBJECTIVE: str = FIELD["objective"].default.otherwise

Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Device to paint on: cpu, cuda:0, mps. Default: a GPU, or the CPU if there is none.",
    ),
]
WeightsName = Annotated[
    str,
    typer.Option(metavar="vgg19|builtin|FILE", help="Weights of the feature network. Default: builtin."),
]


def bench(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="File for the JSON of --json; the table is then printed as well. Default: none.",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON instead of the table, or write JSON to FILE. Default: no."),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Measure less: about 3 minutes on two CPU cores, instead of about 10. Default: no.",
        ),
    ] = False,
    device: Device = None,
    weights: WeightsName = "builtin",
    reference: Annotated[
        str,
        typer.Option(
            parser=one_of("recorded", "fresh"),
            metavar="recorded|fresh",
            help="Final loss of the report's program: the recorded one, or a fresh one, which takes half an "
            "hour to compute. Default: recorded.",
        ),
    ] = "recorded",
) -> None:
    """Measure how fast this machine paints.

    The command times the engine, compares it with the speed of the machine's convolutions and with the
    program of the course report, and measures what the service adds. Run nothing else on the machine
    meanwhile. Progress goes to stderr.
    """
    if file is not None and not json:
        raise typer.BadParameter("needs --json; give --json too", param_hint="FILE")
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
                reference="fresh" if reference == "fresh" else "recorded",
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
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="SHEET.jpg", help="File of the sheet: .jpg, .png or .webp. Required."
        ),
    ],
    contents: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Photograph to paint; repeat it for more. Default: that of `impasto demo`.",
        ),
    ] = None,
    styles: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Painting that gives the style; repeat it for more. Default: that of `impasto demo`.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.txt",
            help="Text file with the pairs to paint, instead of every content in every style: on each line "
            "the paths of a content and a style, relative to the file's folder. Default: none.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            parser=whole_number(MIN_SIDE, MAX_LONGEST_SIDE, f"{MIN_SIDE} to {MAX_LONGEST_SIDE} pixels"),
            metavar="PIXELS",
            help=f"Longer side of each painting in pixels. Range: {MIN_SIDE} to {MAX_LONGEST_SIDE}. Default: "
            f"{DEFAULT_LONGEST_SIDE}.",
        ),
    ] = DEFAULT_LONGEST_SIDE,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="|".join(FIELD["objective"].words),
            help=f"{FIELD['objective'].help} Default: {_DEFAULT_OBJECTIVE}.",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPES",
            help="Recipes to compare, separated by commas. A recipe can have fields, each after a colon: "
            "balanced,gatys:content_weight=2:effort=fine. Default: none, no comparison.",
        ),
    ] = None,
    effort: Annotated[
        str,
        typer.Option(
            parser=one_of(*get_args(Effort)),
            metavar="|".join(get_args(Effort)),
            help="Amount of work for a painting. A recipe in --compare can set its own. Default: standard.",
        ),
    ] = "standard",
    numbers: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="File for the numbers of a comparison. Default: none."),
    ] = None,
    faces: Annotated[
        bool,
        typer.Option(
            "--faces",
            help="Measure in a comparison whether each face is still recognised. Needs two packages: "
            "dlib-bin and face-recognition-models. Default: no.",
        ),
    ] = False,
    device: Device = None,
    weights: WeightsName = "builtin",
) -> None:
    """Paint every content in every style and put the paintings on one sheet.

    The contents are at the left and the styles at the top. With --compare, --pairs, --numbers or --faces, the
    sheet is a comparison: it has a row for each pair of content and style, a column for each recipe, and the
    numbers of each painting below it.
    """
    _be_like_a_worker()
    from impasto_server.bench.sheet_table import MAX_SIDES, SheetError

    if out.suffix.lower() not in MAX_SIDES:
        raise typer.BadParameter(f"{out} does not end in .jpg, .png or .webp", param_hint="--out")
    if numbers is not None and numbers.suffix.lower() != ".json":
        raise typer.BadParameter(f"{numbers} does not end in .json", param_hint="--numbers")
    if recipe is not None and compare is not None:
        raise typer.BadParameter("cannot be combined with --recipe; give one of them", param_hint="--compare")
    if pairs is not None and (contents or styles):
        raise typer.BadParameter(
            "cannot be combined with --contents or --styles; leave them out", param_hint="--pairs"
        )
    try:
        recipes = compared_recipes(
            recipe or _DEFAULT_OBJECTIVE if compare is None else compare,
            effort=cast(Effort, effort),
            longest_side=size,
        )
    except RecipeError as error:
        hint = "--recipe" if compare is None else "--compare"
        _exit_with(ValueError(f"{hint}: {error}"))
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
    """Writes a sheet of every content in every style; returns a line about it."""
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
    return _written_sheet(out, sheet, len(rows) * len(columns))


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
    """Writes a comparison's sheet, and its numbers if there is a file for them; returns a line about it."""
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
    return _written_sheet(out, sheet, len(pairs) * len(recipes))


def _written_sheet(out: Path, sheet: Image, paintings: int) -> str:
    """Returns a line about a sheet: "sheet.jpg: 640 × 480 pixels, 1 painting"."""
    count = "1 painting" if paintings == 1 else f"{paintings} paintings"
    return f"{out}: {sheet.width} × {sheet.height} pixels, {count}"


def _chosen_pairs(contents: list[Path] | None, styles: list[Path] | None, pairs: Path | None) -> list[Pair]:
    """Returns the pairs of a text file, or every content with every style."""
    from impasto_server.bench.comparison import Pair, read_pairs

    if pairs is not None:
        return read_pairs(pairs)
    rows, columns = _pictures(contents, styles)
    return [Pair(content, style) for content in rows for style in columns]


def _pictures(contents: list[Path] | None, styles: list[Path] | None) -> tuple[list[Picture], list[Picture]]:
    """Returns the contents and the styles; those of `impasto demo` if none are given."""
    from impasto_server.bench.pictures import demo_content, demo_style, read_picture

    return (
        [read_picture(path) for path in contents] if contents else [demo_content()],
        [read_picture(path) for path in styles] if styles else [demo_style()],
    )


def _network(device: str | None, weights: str) -> tuple[Network, Literal["float32", "bfloat16"]]:
    """Returns the feature network on the device, and the precision that is fastest there."""
    from impasto_server.engine import Network, load_weights
    from impasto_server.engine.devices import fastest_precision, keep_freed_memory

    name = _checked(device)
    keep_freed_memory()
    return Network(load_weights(weights)).to(name), fastest_precision(name)


def _check_writable(path: Path) -> None:
    """Ends the command if a file cannot be written, before it paints for hours."""
    from impasto.files import check_writable

    with _written(path):
        check_writable(path)


def _write(path: Path, data: bytes) -> None:
    """Writes a file completely, or not at all."""
    from impasto.files import write_whole

    with _written(path):
        write_whole(path, data)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Ends the command with an error if a file cannot be written."""
    try:
        yield
    except OSError as error:
        _exit_with(OSError(f"{path} cannot be written: {error.strerror or error}"))


def _be_like_a_worker() -> None:
    """Gives this process a worker's environment. Call it before torch is imported, which reads it then."""
    from impasto_server.fleet.local_process import worker_environment

    os.environ.update(worker_environment())


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ends the command with a short message on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows a text on stderr: in a changing line on a terminal, else in a new one."""
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
    """Returns the device, or the best device of this machine if none is given."""
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
