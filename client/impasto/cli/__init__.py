"""The command `impasto`."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from impasto.cli import jobs, plugin, web
from impasto.cli.again import Given, paint_again
from impasto.cli.grouped import grouped
from impasto.cli.json_lines import plain, print_json
from impasto.cli.options import (
    Connection,
    DemoOut,
    Format,
    FormatAgain,
    FormatOnServer,
    KeepRunning,
    Kept,
    Out,
    Parts,
    PreviewOptions,
    Priority,
    RegionsAgain,
    Run,
    SelectionAgain,
    Shares,
    StartAgain,
    TextureSize,
    Title,
    option,
)
from impasto.cli.output import Input, Output, check_inputs
from impasto.cli.plain_help import PlainCommand, PlainGroup
from impasto.cli.recipe_options import GivenRecipe, Painted, PaintedTexture, Tried
from impasto.cli.running import connected, estimate, info_once_ready, outcome, paint, serving, submit
from impasto.cli.signals import end_in_good_order
from impasto.cli.spec import Spec
from impasto.cli.tables import server_table
from impasto.cli.values import RegionOption, file_name, parse_image, parse_region, parse_shares, parse_size
from impasto.cli.words import counted
from impasto.errors import InvalidRequest
from impasto.formats import FileFormat, StoredFormat, stored
from impasto.recipe import Previews, Recipe, Region, Style

EPILOG = (
    "Exit codes: 0 done; 1 the job failed, or the server made an error; 2 wrong usage, or an image that "
    "cannot be painted; 3 the server cannot be reached, is unavailable, or took longer than --timeout; "
    "129 SIGHUP, 130 Ctrl-C, 131 SIGQUIT, 143 SIGTERM."
)

TABLE_COLUMNS = 80
"""Number of columns that a terminal needs for help in tables."""


app = typer.Typer(
    name="impasto",
    cls=PlainGroup,
    help="Paint photographs in the style of paintings, and watch.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # A narrow table would cut off the options' names.
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= TABLE_COLUMNS else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command line and exits with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal cannot show must not lose a picture.
        sys.stdout.reconfigure(errors="replace")
    # gRPC would log each connection that ends between our lines. We report errors ourselves.
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
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


Content = Annotated[
    str,
    typer.Argument(
        metavar="CONTENT",
        help="The photograph: a file, or sha256:DIGEST for an uploaded image.",
        show_default=False,
    ),
]
Styles = Annotated[
    list[str],
    typer.Argument(
        metavar="STYLE",
        help="The painting, or several paintings: files, styles/NAME for styles of the server, or "
        "sha256:DIGEST for uploaded images.",
        show_default=False,
    ),
]


@app.command(epilog=EPILOG, cls=PlainCommand)
@grouped
def stylize(
    content: Content,
    styles: Styles,
    out: Out,
    recipe: Painted,
    parts: Parts,
    kept: Kept,
    run: Run,
    preview_options: PreviewOptions,
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
            previews=preview_options.wanted(),
        )
        output.check(spec.files())
        paint(spec, output, run, display, keep_running=keep_running)


@app.command(name="submit", epilog=EPILOG, cls=PlainCommand)
@grouped
def submit_job(
    content: Content,
    styles: Styles,
    recipe: Painted,
    parts: Parts,
    connection: Connection,
    preview_options: PreviewOptions,
    format: FormatOnServer = None,
    title: Title = None,
    priority: Priority = None,
) -> None:
    """Submit a job that paints CONTENT in the style of STYLE, and print its name without waiting."""
    names: dict[str, str] = {}
    with outcome(
        connection, names, interrupted="stopped; the job may have been created, see `impasto jobs`"
    ) as display:
        spec = _spec(
            *(content, styles, recipe, parts, names),
            title=title,
            priority=priority,
            format=format,
            previews=preview_options.wanted(),
        )
        check_inputs(spec.files())
        submit(spec, connection, display)


@app.command(name="estimate", epilog=EPILOG, cls=PlainCommand)
@grouped
def estimate_job(
    content: Content,
    styles: Styles,
    recipe: Painted,
    parts: Parts,
    run: Run,
    format: FormatOnServer = None,
) -> None:
    """Print what painting CONTENT in the style of STYLE would take: size, memory, device and time."""
    names: dict[str, str] = {}
    with outcome(run, names, interrupted="stopped") as display:
        spec = _spec(
            *(content, styles, recipe, parts, names),
            title=None,
            priority=None,
            format=format,
            previews=None,
        )
        check_inputs(spec.files())
        estimate(spec, run, display)


@app.command(epilog=EPILOG, cls=PlainCommand)
@grouped
def texture(
    styles: Styles,
    size: TextureSize,
    out: Out,
    kept: Kept,
    run: Run,
    recipe: PaintedTexture,
    preview_options: PreviewOptions,
    format: Format = None,
    shares: Shares = None,
    title: Title = None,
    priority: Priority = None,
    keep_running: KeepRunning = False,
) -> None:
    """Paint a texture of any size in the style of the painting STYLE, without a photograph."""
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
            previews=preview_options.wanted(),
        )
        output.check(spec.files())
        paint(spec, output, run, display, keep_running=keep_running)


@app.command(epilog=EPILOG, cls=PlainCommand)
@grouped
def again(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT",
            parser=file_name,
            help="A picture that Impasto painted (PNG or TIFF), or its sidecar (JSON).",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONTENT STYLE",
            parser=file_name,
            help="The files from which RESULT was painted, in their order; of a texture the styles only.",
            show_default=False,
        ),
    ],
    out: Out,
    kept: Kept,
    run: Run,
    anyway: Annotated[
        bool,
        option("--anyway", help="Paint even if the files differ from those of RESULT. Default: no."),
    ] = False,
    strict: Annotated[
        bool,
        option(
            "--strict",
            help="Refuse a server that differs from the one that painted RESULT, and fail if the new picture "
            "differs. Default: no.",
        ),
    ] = False,
    format: FormatAgain = None,
    start: StartAgain = None,
    region: RegionsAgain = None,
    selection: SelectionAgain = None,
) -> None:
    """Paint RESULT again, as its record says it was made, and compare the two pictures."""
    names: dict[str, str] = {}
    with outcome(run, names) as display:
        regions = [parse_region(text) for text in region or ()]
        output = _output(out, kept, format)
        output.check(_files_again(result, images, start, regions, selection))
        given = Given(images, start, regions, selection)
        paint_again(result, given, output, run, display, names, format=format, anyway=anyway, strict=strict)


@app.command(epilog=EPILOG, cls=PlainCommand)
@grouped
def demo(
    recipe: Tried,
    kept: Kept,
    run: Run,
    out: DemoOut = Path("impasto-demo.png"),
    format: Format = None,
    in_browser: web.InBrowser = False,
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
            title="Demo" if in_browser else None,
            format=stored(output.format),
        )
        if in_browser:
            web.show_demo(spec, run, display)
            return
        output.check([])
        paint(spec, output, run, display)


@app.command(epilog=EPILOG, cls=PlainCommand)
@grouped
def info(run: Run) -> None:
    """Print the devices, the feature network and the limits of a server."""
    with outcome(run, {}, interrupted="stopped") as display, serving(run, display) as address:
        with connected(run, address(), timeout=run.timeout) as client:
            said = client.info() if run.server else info_once_ready(client, client.timeout)
        display.close()
        if run.json:
            print_json("info", plain(said))
        else:
            server_table(said)


jobs.add_commands(app, EPILOG)
web.add_command(app, EPILOG)
app.add_typer(plugin.app, name="plugin")

# `names` gets the user's names for the fields of the request: the files and options on the command line.


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
    previews: Previews | None,
) -> Spec:
    names |= {"spec.content": content, "spec.start_image": f"--start {recipe.start_image}"}
    regions = [parse_region(text) for text in parts.region or ()]
    return Spec(
        parse_image(content, "CONTENT"),
        _styles(styles, parts.shares, names),
        Recipe(**recipe.settings(names)),
        start_image=recipe.start_image,
        regions=_regions(regions, len(styles), names),
        selection=parts.selection,
        title=title,
        priority=priority,
        format=format,
        previews=previews,
    )


def _output(out: Path, kept: Kept, format: FileFormat | None) -> Output:
    return Output.at(out, previews=kept.preview_dir, film=kept.animate, sidecar=kept.sidecar, format=format)


def _styles(texts: Sequence[str], shares: str | None, names: dict[str, str]) -> list[Style]:
    for i, text in enumerate(texts):
        names[f"spec.styles[{i}]"] = text
        names[f"spec.styles[{i}].weight"] = f"--shares {shares}: the share of {text}"
    return [
        Style(parse_image(text, "STYLE"), share)
        for text, share in zip(texts, parse_shares(shares, len(texts)), strict=True)
    ]


def _regions(options: Sequence[RegionOption], count: int, names: dict[str, str]) -> list[Region]:
    regions = []
    for i, region in enumerate(options):
        style = 1 if region.style is None else region.style
        if not 1 <= style <= count:
            there = "there is only 1 style" if count == 1 else f"there are {counted(count, 'style')}"
            raise InvalidRequest(
                f"--region {region.mask},style={style}: {there}; give "
                f"{'style=1' if count == 1 else f'style=1 to style={count}'}"
            )
        names[f"spec.regions[{i}]"] = f"--region {region.mask}"
        names[f"spec.regions[{i}].style_mask"] = f"--region {region.mask},style-mask={region.style_mask}"
        regions.append(Region(region.mask, style - 1, region.style_mask))
    return regions


def _files_again(
    result: Path,
    images: Sequence[Path],
    start: Path | None,
    regions: Sequence[RegionOption],
    selection: Path | None,
) -> list[Input]:
    """Returns the files to read, each with the option that names it."""
    given: list[tuple[str, Path | None]] = [("", result), *(("", image) for image in images)]
    given += [("--start ", start), ("--selection ", selection)]
    for region in regions:
        given.append(("--region ", region.mask))
        given.append((f"--region {region.mask},style-mask=", region.style_mask))
    return [(option, file) for option, file in given if file is not None]
