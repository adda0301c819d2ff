"""The commands `impasto-server bench` and `impasto-server contact-sheet`."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import DEFAULT_LONGEST_SIDE, MAX_LONGEST_SIDE, MIN_SIDE, Effort

if TYPE_CHECKING:
    from collections.abc import Callable

    from impasto_server.bench.pictures import Picture
    from impasto_server.engine import Progress

Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What to paint on: cpu, cuda:0, mps. Default: a GPU, else the CPU."),
]
WeightsName = Annotated[
    str, typer.Option(metavar="vgg19|builtin|FILE", help="Weights of the feature network.")
]


def _known(objective: str) -> str:
    if objective not in OBJECTIVES:
        raise typer.BadParameter(f"{objective} is no objective; give one of {', '.join(OBJECTIVES)}")
    return objective


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
        typer.Option("--quick", help="About one minute instead of several; fewer repetitions and sizes."),
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
    size: Annotated[
        int,
        typer.Option(min=MIN_SIDE, max=MAX_LONGEST_SIDE, help="Longer side of each painting in pixels."),
    ] = DEFAULT_LONGEST_SIDE,
    recipe: Annotated[
        str,
        typer.Option(metavar="|".join(OBJECTIVES), callback=_known, help="Objective that is minimised."),
    ] = "balanced",
    effort: Annotated[Effort, typer.Option(help="How much work.")] = "standard",
    device: Device = None,
    weights: WeightsName = "builtin",
) -> None:
    """Paints every content in every style and puts the pictures on one sheet: contents down the side, styles
    along the top."""
    _be_like_a_worker()
    from impasto_server.bench.contact_sheet import SheetError, lay_out, paint_all
    from impasto_server.bench.pictures import PictureError, demo_content, demo_style, read_picture
    from impasto_server.engine import Network, Recipe, WeightsError, load_weights
    from impasto_server.engine.devices import fastest_precision, keep_freed_memory

    if out.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
        raise typer.BadParameter(f"{out} is not named .jpg, .png or .webp", param_hint="--out")
    with _until_interrupted(), _spinner() as say:
        try:
            rows = [read_picture(path) for path in contents] if contents else [demo_content()]
            columns = [read_picture(path) for path in styles] if styles else [demo_style()]
            name = _checked(device)
            keep_freed_memory()
            network = Network(load_weights(weights)).to(name)

            def on_progress(number: int, content: Picture, style: Picture, progress: Progress) -> None:
                say(
                    f"{number} of {len(rows) * len(columns)}: {content.name} in the style of {style.name}, "
                    f"{progress.width} × {progress.height}"
                )

            paintings = paint_all(
                rows,
                columns,
                Recipe(objective=recipe, effort=effort, longest_side=size),
                network,
                auto_precision=fastest_precision(name),
                on_progress=on_progress,
            )
        except (PictureError, SheetError, WeightsError) as error:
            _exit_with(error)
    sheet = lay_out(rows, columns, paintings, size)
    try:
        sheet.save(out, quality=92)
    except OSError as error:
        _exit_with(error)
    typer.echo(f"{out}: {sheet.width} × {sheet.height}, {len(rows) * len(columns)} paintings")


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
