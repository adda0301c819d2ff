"""The command `impasto`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from impasto.cli.again import Given, paint_again
from impasto.cli.options import (
    OPTION_OF_FIELD,
    Animate,
    Averaging,
    ColorName,
    ContentLayers,
    ContentWeight,
    Device,
    EffortName,
    Evaluations,
    Json,
    LearningRate,
    ObjectiveName,
    OptimizerName,
    Out,
    Plateau,
    PrecisionName,
    PreviewDir,
    Quiet,
    RegionOption,
    Regions,
    RegionsAgain,
    Seed,
    Selection,
    SelectionAgain,
    Server,
    Shares,
    Sidecar,
    Size,
    StartAgain,
    StartFrom,
    StyleLayers,
    StyleScale,
    StyleWeight,
    TextureSize,
    TextureStartFrom,
    Timeout,
    TvWeight,
    Verbose,
    Weights,
    parse_layers,
    parse_region,
    parse_shares,
    parse_size,
    parse_start,
)
from impasto.cli.running import Output, Run, Spec, info_once_ready, outcome, paint, serving
from impasto.errors import InvalidRequest
from impasto.recipe import Recipe, Region, Style

EPILOG = (
    "Exit codes: 0 done; 1 the job failed or the server made an error; 2 wrong usage or an image that cannot "
    "be painted; 3 the server cannot be reached, is not available, or took longer than --timeout; 130 Ctrl-C."
)

app = typer.Typer(
    name="impasto",
    help="Paint a photograph in the style of a painting, and watch.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a sign that the terminal's encoding lacks is no reason to lose a picture.
        sys.stdout.reconfigure(errors="replace")
    # What gRPC logs of a connection that ends would stand between our own lines; errors are told by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
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


@app.command(epilog=EPILOG)
def stylize(
    content: Annotated[Path, typer.Argument(metavar="CONTENT", help="The photograph.", show_default=False)],
    styles: Annotated[
        list[Path],
        typer.Argument(
            metavar="STYLE", help="The painting, or several to share the style.", show_default=False
        ),
    ],
    out: Out,
    size: Size = None,
    recipe: ObjectiveName = None,
    content_weight: ContentWeight = None,
    style_scale: StyleScale = None,
    color: ColorName = None,
    effort: EffortName = None,
    evaluations: Evaluations = None,
    start: StartFrom = None,
    seed: Seed = None,
    shares: Shares = None,
    region: Regions = None,
    selection: Selection = None,
    style_weight: StyleWeight = None,
    tv_weight: TvWeight = None,
    content_layer: ContentLayers = None,
    style_layer: StyleLayers = None,
    optimizer: OptimizerName = None,
    learning_rate: LearningRate = None,
    averaging: Averaging = None,
    plateau: Plateau = None,
    precision: PrecisionName = None,
    sidecar: Sidecar = False,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint the photograph CONTENT in the style of the painting STYLE."""
    run = Run(server, weights, device, timeout, json, quiet, verbose)
    names = {"spec.content": str(content), "spec.start_image": f"--start {start}"}
    with outcome(run, names) as display:
        regions = [parse_region(text) for text in region or ()]
        named_start, start_file = parse_start(start)
        settings = Recipe(
            objective=recipe,
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            optimizer=optimizer,
            learning_rate=learning_rate,
            effort=effort,
            evaluations=evaluations,
            longest_side=size,
            start=named_start,
            seed=seed,
            precision=precision,
            style_scale=style_scale,
            color=color,
            content_layers=_layers("content_layers", content_layer, names),
            style_layers=_layers("style_layers", style_layer, names),
            averaging=averaging,
            stop_on_plateau=plateau,
        )
        spec = Spec(
            content,
            _styles(styles, shares, names),
            settings,
            start_image=start_file,
            regions=_regions(regions, len(styles), names),
            selection=selection,
        )
        output = Output.at(out, previews=preview_dir, film=animate, sidecar=sidecar)
        output.check([content, *styles, start_file, *_masks(regions), selection])
        paint(spec, output, run, display)


@app.command(epilog=EPILOG)
def texture(
    styles: Annotated[
        list[Path],
        typer.Argument(
            metavar="STYLE", help="The painting, or several to share the style.", show_default=False
        ),
    ],
    size: TextureSize,
    out: Out,
    recipe: ObjectiveName = None,
    style_scale: StyleScale = None,
    effort: EffortName = None,
    evaluations: Evaluations = None,
    start: TextureStartFrom = None,
    seed: Seed = None,
    shares: Shares = None,
    style_weight: StyleWeight = None,
    tv_weight: TvWeight = None,
    style_layer: StyleLayers = None,
    optimizer: OptimizerName = None,
    learning_rate: LearningRate = None,
    averaging: Averaging = None,
    plateau: Plateau = None,
    precision: PrecisionName = None,
    sidecar: Sidecar = False,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a texture in the manner of the painting STYLE, of any size, without a photograph."""
    run = Run(server, weights, device, timeout, json, quiet, verbose)
    names = {"spec.start_image": f"--start {start}"}
    with outcome(run, names) as display:
        named_start, start_file = parse_start(start)
        settings = Recipe(
            objective=recipe,
            style_weight=style_weight,
            tv_weight=tv_weight,
            optimizer=optimizer,
            learning_rate=learning_rate,
            effort=effort,
            evaluations=evaluations,
            start=named_start,
            seed=seed,
            precision=precision,
            style_scale=style_scale,
            style_layers=_layers("style_layers", style_layer, names),
            averaging=averaging,
            stop_on_plateau=plateau,
        )
        spec = Spec(
            None,
            _styles(styles, shares, names),
            settings,
            start_image=start_file,
            texture=parse_size(size),
        )
        output = Output.at(out, previews=preview_dir, film=animate, sidecar=sidecar)
        output.check([*styles, start_file])
        paint(spec, output, run, display)


@app.command(epilog=EPILOG)
def again(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT", help="A picture of Impasto's (PNG), or its sidecar (JSON).", show_default=False
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
    start: StartAgain = None,
    region: RegionsAgain = None,
    selection: SelectionAgain = None,
    sidecar: Sidecar = False,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint the picture RESULT again, as it says that it was made, and compare the two."""
    run = Run(server, weights, device, timeout, json, quiet, verbose)
    names: dict[str, str] = {}
    with outcome(run, names) as display:
        regions = [parse_region(text) for text in region or ()]
        output = Output.at(out, previews=preview_dir, film=animate, sidecar=sidecar)
        output.check([result, *images, start, *_masks(regions), selection])
        given = Given(images, start, regions, selection)
        paint_again(result, given, output, run, display, names, anyway=anyway, strict=strict)


@app.command(epilog=EPILOG)
def demo(
    out: Out = Path("impasto-demo.png"),
    size: Size = None,
    effort: EffortName = None,
    evaluations: Evaluations = None,
    seed: Seed = None,
    precision: PrecisionName = None,
    sidecar: Sidecar = False,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint an astronaut in the style of Van Gogh's The Starry Night; both come with Impasto."""
    from importlib.resources import files

    images = files("impasto") / "data"
    settings = Recipe(
        effort=effort, evaluations=evaluations, longest_side=size, seed=seed, precision=precision
    )
    run = Run(server, weights, device, timeout, json, quiet, verbose)
    with outcome(run, {}) as display:
        spec = Spec(
            (images / "astronaut.jpg").read_bytes(), [(images / "starry_night.jpg").read_bytes()], settings
        )
        output = Output.at(out, previews=preview_dir, film=animate, sidecar=sidecar)
        output.check([])
        paint(spec, output, run, display)


@app.command(epilog=EPILOG)
def info(
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what a server is: its devices, feature network and limits."""
    run = Run(server, weights, device, timeout, json, False, verbose)
    with outcome(run, {}) as display, serving(run, display) as address:
        from impasto.calls import DEFAULT_TIMEOUT
        from impasto.client import Client
        from impasto.terminal import plain, print_json, server_table

        with Client(address(), timeout=timeout or DEFAULT_TIMEOUT) as client:
            said = client.info() if server else info_once_ready(client, client.timeout)
        display.close()
        if json:
            print_json("info", plain(said))
        else:
            server_table(said)


# What is noted in `names` is what the user calls the fields of the request.


def _styles(files: Sequence[Path], shares: str | None, names: dict[str, str]) -> list[Style]:
    for i, file in enumerate(files):
        names[f"spec.styles[{i}]"] = str(file)
        names[f"spec.styles[{i}].weight"] = f"--shares {shares}: the share of {file}"
    return [Style(file, share) for file, share in zip(files, parse_shares(shares, len(files)), strict=True)]


def _layers(field: str, texts: list[str] | None, names: dict[str, str]) -> list[tuple[str, float]] | None:
    if not texts:
        return None
    option = OPTION_OF_FIELD[f"spec.recipe.{field}"]
    names.update({f"spec.recipe.{field}[{i}]": f"{option} {text}" for i, text in enumerate(texts)})
    return parse_layers(option, texts)


def _regions(options: Sequence[RegionOption], count: int, names: dict[str, str]) -> list[Region]:
    regions = []
    for i, region in enumerate(options):
        style = 1 if region.style is None else region.style
        if not 1 <= style <= count:
            raise InvalidRequest(f"--region {region.mask}: there is no style {style}; give 1 to {count}")
        names[f"spec.regions[{i}]"] = f"--region {region.mask}"
        names[f"spec.regions[{i}].content_mask"] = str(region.mask)
        names[f"spec.regions[{i}].style_mask"] = str(region.style_mask)
        regions.append(Region(region.mask, style - 1, region.style_mask))
    return regions


def _masks(options: Sequence[RegionOption]) -> list[Path | None]:
    return [mask for region in options for mask in (region.mask, region.style_mask)]
