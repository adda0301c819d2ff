"""The command `impasto`."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from impasto.cli import jobs, plugin
from impasto.cli.again import Given, paint_again
from impasto.cli.grouped import grouped
from impasto.cli.options import (
    Connection,
    Format,
    FormatAgain,
    KeepRunning,
    Kept,
    Out,
    Parts,
    Priority,
    RegionOption,
    RegionsAgain,
    ResultFormat,
    Run,
    SelectionAgain,
    Shares,
    StartAgain,
    TextureSize,
    Title,
    parse_image,
    parse_region,
    parse_shares,
    parse_size,
)
from impasto.cli.output import Output, check_inputs
from impasto.cli.recipe_options import GivenRecipe, Painted, PaintedTexture, Tried
from impasto.cli.running import connected, info_once_ready, outcome, paint, serving, submit
from impasto.cli.signals import end_in_good_order
from impasto.cli.spec import Spec
from impasto.errors import InvalidRequest
from impasto.formats import FileFormat, StoredFormat, stored
from impasto.recipe import Recipe, Region, Style

EPILOG = (
    "Exit codes: 0 done; 1 the job failed or the server made an error; 2 wrong usage or an image that cannot "
    "be painted; 3 the server cannot be reached, is not available, or took longer than --timeout; "
    "129 SIGHUP, 130 Ctrl-C, 143 SIGTERM."
)

TABLE_COLUMNS = 80
"""Columns of a terminal from which on help is a table."""


class _PlainlySpoken(TyperGroup):
    """Leaves out of errors about options what only says that Python raised them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="impasto",
    cls=_PlainlySpoken,
    help="Paint a photograph in the style of a painting, and watch.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # In a narrow table, long names of options are cut off.
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= TABLE_COLUMNS else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a sign that the terminal's encoding lacks is no reason to lose a picture.
        sys.stdout.reconfigure(errors="replace")
    # What gRPC logs of a connection that ends would stand between our own lines; errors are told by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    end_in_good_order()
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"impasto {version('impasto')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and end."),
    ] = False,
) -> None:
    pass


Content = Annotated[
    str,
    typer.Argument(
        metavar="CONTENT",
        help="The photograph: a file, or an image that was uploaded as sha256:DIGEST.",
        show_default=False,
    ),
]
Styles = Annotated[
    list[str],
    typer.Argument(
        metavar="STYLE",
        help="The painting, or several to share the style: files, styles/NAME of the server, or "
        "sha256:DIGEST of what was uploaded.",
        show_default=False,
    ),
]


@app.command(epilog=EPILOG)
@grouped
def stylize(
    content: Content,
    styles: Styles,
    out: Out,
    recipe: Painted,
    parts: Parts,
    kept: Kept,
    run: Run,
    format: Format = None,
    title: Title = None,
    priority: Priority = None,
    keep_running: KeepRunning = False,
) -> None:
    """Paint the photograph CONTENT in the style of the painting STYLE."""
    names: dict[str, str] = {}
    with outcome(run, names) as display:
        output = _output(out, kept, format)
        spec = _spec(
            *(content, styles, recipe, parts, names),
            title=title,
            priority=priority,
            format=stored(output.format),
        )
        output.check(spec.files())
        paint(spec, output, run, display, keep_running=keep_running)


@app.command(name="submit", epilog=EPILOG)
@grouped
def submit_job(
    content: Content,
    styles: Styles,
    recipe: Painted,
    parts: Parts,
    connection: Connection,
    format: ResultFormat = None,
    title: Title = None,
    priority: Priority = None,
) -> None:
    """Have CONTENT painted in the style of STYLE, do not wait for it, and print the job's name."""
    names: dict[str, str] = {}
    with outcome(connection, names, interrupted="stopped; the job may have been made") as display:
        spec = _spec(*(content, styles, recipe, parts, names), title=title, priority=priority, format=format)
        check_inputs(spec.files())
        submit(spec, connection, display)


@app.command(epilog=EPILOG)
@grouped
def texture(
    styles: Styles,
    size: TextureSize,
    out: Out,
    kept: Kept,
    run: Run,
    recipe: PaintedTexture,
    format: Format = None,
    shares: Shares = None,
    title: Title = None,
    priority: Priority = None,
    keep_running: KeepRunning = False,
) -> None:
    """Make a texture in the manner of the painting STYLE, of any size, without a photograph."""
    names = {"spec.start_image": f"--start {recipe.start_image}"}
    with outcome(run, names) as display:
        output = _output(out, kept, format)
        spec = Spec(
            None,
            _styles(styles, shares, names),
            Recipe(**recipe.settings(names)),
            start_image=recipe.start_image,
            texture=parse_size(size),
            title=title,
            priority=priority,
            format=stored(output.format),
        )
        output.check(spec.files())
        paint(spec, output, run, display, keep_running=keep_running)


@app.command(epilog=EPILOG)
@grouped
def again(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT",
            help="A picture of Impasto's (PNG or TIFF), or its sidecar (JSON).",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONTENT STYLE",
            help="The images it was painted from, in their order; for a texture the styles alone.",
            show_default=False,
        ),
    ],
    out: Out,
    kept: Kept,
    run: Run,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Paint even if these are not the images it was painted from.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a server unlike the one that painted it, and fail if the new picture differs.",
        ),
    ] = False,
    format: FormatAgain = None,
    start: StartAgain = None,
    region: RegionsAgain = None,
    selection: SelectionAgain = None,
) -> None:
    """Paint the picture RESULT again, as it says that it was made, and compare the two."""
    names: dict[str, str] = {}
    with outcome(run, names) as display:
        regions = [parse_region(text) for text in region or ()]
        output = _output(out, kept, format)
        output.check([result, *images, start, *_masks(regions), selection])
        given = Given(images, start, regions, selection)
        paint_again(result, given, output, run, display, names, format=format, anyway=anyway, strict=strict)


@app.command(epilog=EPILOG)
@grouped
def demo(
    recipe: Tried,
    kept: Kept,
    run: Run,
    out: Out = Path("impasto-demo.png"),
    format: Format = None,
) -> None:
    """Paint an astronaut in the style of Van Gogh's The Starry Night; both come with Impasto."""
    from importlib.resources import files

    images = files("impasto") / "data"
    with outcome(run, {}) as display:
        output = _output(out, kept, format)
        spec = Spec(
            (images / "astronaut.jpg").read_bytes(),
            [Style((images / "starry_night.jpg").read_bytes())],
            Recipe(**recipe.settings({})),
            format=stored(output.format),
        )
        output.check([])
        paint(spec, output, run, display)


@app.command(epilog=EPILOG)
@grouped
def info(run: Run) -> None:
    """Say what a server is: its devices, feature network and limits."""
    with outcome(run, {}, interrupted="stopped") as display, serving(run, display) as address:
        from impasto.cli.terminal import plain, print_json, server_table

        with connected(run, address(), timeout=run.timeout) as client:
            said = client.info() if run.server else info_once_ready(client, client.timeout)
        display.close()
        if run.json:
            print_json("info", plain(said))
        else:
            server_table(said)


jobs.add_commands(app, EPILOG)
app.add_typer(plugin.app, name="plugin")

# What is noted in `names` is what the user calls the fields of the request.


def _spec(
    content: str,
    styles: Sequence[str],
    recipe: GivenRecipe,
    parts: Parts,
    names: dict[str, str],
    *,
    title: str | None,
    priority: int | None,
    format: StoredFormat | None,
) -> Spec:
    names |= {"spec.content": content, "spec.start_image": f"--start {recipe.start_image}"}
    regions = [parse_region(text) for text in parts.region or ()]
    return Spec(
        parse_image(content),
        _styles(styles, parts.shares, names),
        Recipe(**recipe.settings(names)),
        start_image=recipe.start_image,
        regions=_regions(regions, len(styles), names),
        selection=parts.selection,
        title=title,
        priority=priority,
        format=format,
    )


def _output(out: Path, kept: Kept, format: FileFormat | None) -> Output:
    return Output.at(out, previews=kept.preview_dir, film=kept.animate, sidecar=kept.sidecar, format=format)


def _styles(texts: Sequence[str], shares: str | None, names: dict[str, str]) -> list[Style]:
    for i, text in enumerate(texts):
        names[f"spec.styles[{i}]"] = text
        names[f"spec.styles[{i}].weight"] = f"--shares {shares}: the share of {text}"
    return [
        Style(parse_image(text), share)
        for text, share in zip(texts, parse_shares(shares, len(texts)), strict=True)
    ]


def _regions(options: Sequence[RegionOption], count: int, names: dict[str, str]) -> list[Region]:
    regions = []
    for i, region in enumerate(options):
        style = 1 if region.style is None else region.style
        if not 1 <= style <= count:
            raise InvalidRequest(f"--region {region.mask}: there is no style {style}; give 1 to {count}")
        names[f"spec.regions[{i}]"] = f"--region {region.mask}"
        names[f"spec.regions[{i}].style_mask"] = f"--region {region.mask},style-mask={region.style_mask}"
        regions.append(Region(region.mask, style - 1, region.style_mask))
    return regions


def _masks(options: Sequence[RegionOption]) -> list[Path | None]:
    return [mask for region in options for mask in (region.mask, region.style_mask)]
