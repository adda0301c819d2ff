"""The command `impasto`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from impasto.address import parse
from impasto.errors import (
    DeadlineExceeded,
    ImpastoError,
    InvalidRequest,
    PrivateServerError,
    Unavailable,
    Unreachable,
)
from impasto.recipe import Effort, Objective, Optimizer, Precision, Recipe

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.job import ServerInfo
    from impasto.recipe import ImageSource, StyleSource
    from impasto.terminal import Display

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

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

PAINTING, RUNNING = "How to paint", "Where and how to run"

Size = Annotated[
    int | None,
    typer.Option("--size", metavar="PIXELS", help="Longer side of the result.", rich_help_panel=PAINTING),
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
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of everything random.", rich_help_panel=PAINTING),
]
PrecisionName = Annotated[
    Precision | None,
    typer.Option("--precision", help="Arithmetic of the feature network.", rich_help_panel=PAINTING),
]
PreviewDir = Annotated[
    Path | None,
    typer.Option(
        "--preview-dir",
        metavar="DIR",
        help="Keep every preview in this folder, numbered.",
        rich_help_panel=RUNNING,
    ),
]
Animate = Annotated[
    Path | None,
    typer.Option(
        "--animate",
        metavar="FILE.webp",
        help="Write the painting of the picture as a film.",
        rich_help_panel=RUNNING,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Events as lines of JSON on stdout.", rich_help_panel=RUNNING)
]
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
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say only what went wrong.", rich_help_panel=RUNNING)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show the private server's whole log.", rich_help_panel=RUNNING)
]


@dataclasses.dataclass(frozen=True)
class _Run:
    """Where a command runs and what it shows."""

    server: str | None
    weights: str | None
    device: str | None
    timeout: float | None
    json: bool
    quiet: bool
    verbose: bool


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
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.png", help="Where to write the picture, a PNG.")
    ],
    size: Size = None,
    recipe: Annotated[
        Objective | None, typer.Option("--recipe", help="What is minimised.", rich_help_panel=PAINTING)
    ] = None,
    content_weight: Annotated[
        float | None,
        typer.Option(help="More keeps more of the photograph.", rich_help_panel=PAINTING, metavar="W"),
    ] = None,
    style_weight: Annotated[
        float | None, typer.Option(help="Weight of the style loss.", rich_help_panel=PAINTING, metavar="W")
    ] = None,
    tv_weight: Annotated[
        float | None, typer.Option(help="More gives smoother areas.", rich_help_panel=PAINTING, metavar="W")
    ] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option(help="How the image is moved.", rich_help_panel=PAINTING)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Step length of the optimiser.", rich_help_panel=PAINTING, metavar="LR"),
    ] = None,
    effort: EffortName = None,
    evaluations: Evaluations = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="content|noise|FILE", help="What the painting starts from.", rich_help_panel=PAINTING
        ),
    ] = None,
    seed: Seed = None,
    precision: PrecisionName = None,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    json: Json = False,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint the photograph CONTENT in the style of the painting STYLE."""
    start_file = None if start in (None, "content", "noise") else start
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
        start=start if start_file is None else "image",  # type: ignore[arg-type]
        seed=seed,
        precision=precision,
    )
    names = {"spec.content": str(content), "spec.start_image": f"--start {start}"}
    names |= {f"spec.styles[{i}]": str(style) for i, style in enumerate(styles)}
    run = _Run(server, weights, device, timeout, json, quiet, verbose)
    with _outcome(run, names) as display:
        for image in [content, *styles, *([Path(start_file)] if start_file else [])]:
            _check_readable(image)
            if out.exists() and out.samefile(image):
                raise InvalidRequest(f"{out} is one of the images to paint from; give another name with -o")
        _paint(
            content,
            list(styles),
            settings,
            start_file,
            _Output(out, preview_dir, animate),
            run,
            display,
        )


@app.command(epilog=EPILOG)
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.png", help="Where to write the picture, a PNG.")
    ] = Path("impasto-demo.png"),
    size: Size = None,
    effort: EffortName = None,
    evaluations: Evaluations = None,
    seed: Seed = None,
    precision: PrecisionName = None,
    preview_dir: PreviewDir = None,
    animate: Animate = None,
    json: Json = False,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint an astronaut in the style of Van Gogh's The Starry Night; both come with Impasto."""
    from importlib.resources import files

    images = files("impasto") / "data"
    settings = Recipe(
        effort=effort, evaluations=evaluations, longest_side=size, seed=seed, precision=precision
    )
    run = _Run(server, weights, device, timeout, json, quiet, verbose)
    with _outcome(run, {}) as display:
        _paint(
            (images / "astronaut.jpg").read_bytes(),
            [(images / "starry_night.jpg").read_bytes()],
            settings,
            None,
            _Output(out, preview_dir, animate),
            run,
            display,
        )


@app.command(epilog=EPILOG)
def info(
    json: Annotated[bool, typer.Option("--json", help="As a line of JSON on stdout.")] = False,
    server: Server = None,
    weights: Weights = None,
    device: Device = None,
    timeout: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Say what a server is: its devices, feature network and limits."""
    run = _Run(server, weights, device, timeout, json, False, verbose)
    with _outcome(run, {}) as display, _server(run, display) as address:
        from impasto.client import DEFAULT_TIMEOUT, Client
        from impasto.terminal import plain, print_json, server_table

        with Client(address(), timeout=timeout or DEFAULT_TIMEOUT) as client:
            said = client.info() if server else _info_once_ready(client)
        display.close()
        if json:
            print_json("info", plain(said))
        else:
            server_table(said)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a sign that the terminal's encoding lacks is no reason to lose a picture.
        sys.stdout.reconfigure(errors="replace")
    app()


@dataclasses.dataclass(frozen=True)
class _Output:
    """What a painting leaves on disk.

    Attributes:
        picture: the result's file.
        previews: folder for the previews, if they are kept.
        film: file of the film, if there is to be one.
    """

    picture: Path
    previews: Path | None
    film: Path | None

    def check(self) -> None:
        """Refuses what could not be written at the end, before any work.

        Raises:
            InvalidRequest: with the option at fault.
        """
        _check_writable(self.picture, ".png", "a result is a PNG")
        if self.film is not None:
            _check_writable(self.film, ".webp", "a film is an animated WebP")
        if self.previews is not None:
            try:
                self.previews.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidRequest(f"--preview-dir {self.previews}: {error.strerror}") from None
            _check_folder(self.previews)


def _paint(
    content: ImageSource,
    styles: list[StyleSource],
    recipe: Recipe,
    start_image: ImageSource | None,
    output: _Output,
    run: _Run,
    display: Display,
) -> None:
    output.check()
    with _server(run, display) as address:
        # Imported while a private server starts.
        from impasto.client import Client
        from impasto.film import Film
        from impasto.job import Preview

        film = Film() if output.film else None
        numbered = 0
        with (
            Client(address()) as client,
            client.stylize(
                content,
                styles,
                recipe=recipe,
                start_image=start_image,
                previews=bool(film or output.previews or run.json),
                timeout=run.timeout,
            ) as painting,
        ):
            for event in painting:
                path = None
                if isinstance(event, Preview):
                    if film:
                        film.add(event)
                    if output.previews:
                        numbered += 1
                        path = output.previews / f"{numbered:04}.{event.format.replace('jpeg', 'jpg')}"
                        _write(path, event.data)
                display.event(event, str(path) if path else None)
            picture = painting.result()
    _write(output.picture, picture.data)
    paths = {"path": str(output.picture)}
    if film and output.film:
        _write(output.film, film.webp(picture))
        paths["film"] = str(output.film)
    display.finished(picture, paths)


@contextlib.contextmanager
def _server(run: _Run, display: Display) -> Iterator[Callable[[], str]]:
    """Gives the server's address when asked; a private server is starting meanwhile and ends afterwards."""
    if run.server is not None:
        for option, value in (("--weights", run.weights), ("--device", run.device)):
            if value is not None:
                raise InvalidRequest(
                    f"{option} is for a private server, but {run.server} is to paint (--server or "
                    "IMPASTO_SERVER), with what it was started with; leave out one of the two"
                )
        try:
            server = parse(run.server)
        except ValueError as error:
            raise InvalidRequest(f"--server: {error}") from None
        yield lambda: server
        return

    from impasto.private_server import PrivateServer

    def show(line: str) -> None:
        text = line if run.verbose else _worth_seeing(line)
        if text:
            display.note(text)

    with PrivateServer(weights=run.weights, device=run.device, on_line=show) as private:
        try:
            yield lambda: private.address
        except Unavailable as error:
            # A worker's death leaves the server alive, which says so; anything else is likely its own end.
            if error.reason == "WORKER_DIED":
                raise
            raise private.death() or error from None


@contextlib.contextmanager
def _outcome(run: _Run, names: dict[str, str]) -> Iterator[Display]:
    """Shows how a command ends and turns it into the exit code.

    Args:
        names: what the user calls the fields of the request, beside the options of `_OPTIONS`.
    """
    from impasto import terminal

    with terminal.display(json_lines=run.json, quiet=run.quiet) as display:
        try:
            yield display
        except KeyboardInterrupt:
            display.error(ImpastoError("cancelled", code="CANCELLED"), "cancelled", INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None
        except ImpastoError as error:
            code = _exit_code(error)
            display.error(error, _in_words(error, run, names), code)
            raise typer.Exit(code) from None
        except BrokenPipeError:
            # Whoever read stdout has gone; nothing more can be said there, not even on closing it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None


_OPTIONS = {
    "spec.recipe.longest_side": "--size",
    "spec.recipe.objective": "--recipe",
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
        )
    },
    "spec.styles": "STYLE",
}


def _in_words(error: ImpastoError, run: _Run, names: dict[str, str]) -> str:
    """An error in the words of the command line: options for fields, and what to do next."""
    if error.fields:
        known = _OPTIONS | names
        sentences = []
        for field, sentence in error.fields:
            # The longest path that has a name stands for all below it: spec.styles[0].image.raw is the file.
            name = max((path for path in known if field.startswith(path)), key=len, default=None)
            sentences.append(f"{known[name] if name else field} {sentence}")
        return "; ".join(sentences)
    if isinstance(error, Unreachable) and run.server:
        return f"{error.message}. Start one with `impasto-server serve`, or leave out --server to paint here"
    if isinstance(error, DeadlineExceeded) and run.timeout:
        return f"not done within --timeout {run.timeout:g}"
    return error.message


def _exit_code(error: ImpastoError) -> int:
    if isinstance(error, PrivateServerError):
        return error.exit_code if error.exit_code and error.exit_code > 0 else UNREACHABLE
    if isinstance(error, InvalidRequest):
        return WRONG
    return UNREACHABLE if isinstance(error, (Unavailable, DeadlineExceeded)) else FAILED


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder; give an image file")
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InvalidRequest(f"there is no file {path}") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None


def _check_writable(path: Path, suffix: str, because: str) -> None:
    if path.suffix.lower() != suffix:
        raise InvalidRequest(f"{path} does not end in {suffix}: {because}")
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder; give a file's name")
    _check_folder(path.parent)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InvalidRequest(f"there is no folder {folder} to write to")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequest(f"the folder {folder} is not writable")


def _write(path: Path, data: bytes) -> None:
    from impasto.files import write_whole

    try:
        write_whole(path, data)
    except OSError as error:
        raise ImpastoError(f"{path} cannot be written: {error.strerror}") from None


_LOG_LINE = re.compile(r"\S*time=\S+ level=(?P<level>\w+) process=\S+ event=(?P<event>.*)")


def _worth_seeing(line: str) -> str | None:
    """What a line of the private server's log says to someone who only wants a picture, if anything."""
    match = _LOG_LINE.fullmatch(line)
    if match is None:
        return None
    about_weights = "weights fetch" in match["event"]
    return match["event"] if about_weights or match["level"] not in ("DEBUG", "INFO") else None


def _info_once_ready(client: Client) -> ServerInfo:
    """What a server says when its worker has loaded its weights."""
    deadline = time.monotonic() + client.timeout
    while True:
        said = client.info()
        if said.network is not None or time.monotonic() > deadline:
            return said
        time.sleep(0.1)
