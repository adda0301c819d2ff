"""The options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from impasto.cli.values import (
    file_name,
    folder_name,
    interval,
    one_of,
    seconds,
    some_text,
    whole_number,
    word_or_file,
)
from impasto.formats import FILE_FORMATS, FileFormat, StoredFormat
from impasto.recipe import Previews

PAINTING, PARTS, LOSSES, KEEPING, RUNNING = (
    "How to paint",
    "Parts and shares",
    "Losses and optimiser",
    "What to keep",
    "Where to run",
)
NAMED_WEIGHTS = ("vgg19", "builtin")
FORMATS = f"{', '.join(FILE_FORMATS[:-1])} or {FILE_FORMATS[-1]}"
ENDINGS = "Its ending sets the format: .png, .tif, .jpg or .webp."


def option(
    *names: str,
    help: str,
    metavar: str | None = None,
    parser: Callable[[str], Any] | None = None,
    panel: str | None = None,
    environment: str | None = None,
    hidden: bool = False,
) -> Any:
    """Describes an option for Typer. Its help says the default, so Typer does not add it."""
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        parser=parser,
        rich_help_panel=panel,
        envvar=environment,
        show_default=False,
        hidden=hidden,
    )


# How to paint.

TextureSize = Annotated[
    str,
    option(
        "--size",
        metavar="WxH",
        help="Width and height of the texture in pixels: 640x480. One number makes a square.",
        panel=PAINTING,
    ),
]

# Parts and shares.

Shares = Annotated[
    str | None,
    option(
        "--shares",
        metavar="W,W,…",
        help="Shares of the styles, in their order: with 2,1 the first style counts twice as much as the "
        "second. Default: equal shares.",
        panel=PARTS,
    ),
]
Regions = Annotated[
    list[str] | None,
    option(
        "--region",
        metavar="MASK…",
        help="Region that is painted in one style: MASK[,style=N][,style-mask=FILE]. White in MASK marks the "
        "region. N is the number of the style, from 1; default: 1. White in FILE marks the part of the style "
        "that is used; default: all. Repeat the option for each region. Default: every style everywhere.",
        panel=PARTS,
    ),
]
Selection = Annotated[
    Path | None,
    option(
        "--selection",
        metavar="MASK",
        parser=file_name,
        help="Mask of the part to paint: white marks it. The rest of the photograph stays as it is. Default: "
        "the whole photograph.",
        panel=PARTS,
    ),
]

StartAgain = Annotated[
    Path | None,
    option(
        "--start",
        metavar="FILE",
        parser=file_name,
        help="Picture from which the painting of RESULT started. Required if it started from one.",
        panel=PARTS,
    ),
]
RegionsAgain = Annotated[
    list[str] | None,
    option(
        "--region",
        metavar="MASK…",
        help="Masks of a region of RESULT: MASK[,style-mask=FILE]. Repeat the option for each region, in "
        "their order. Required if it has regions.",
        panel=PARTS,
    ),
]
SelectionAgain = Annotated[
    Path | None,
    option(
        "--selection",
        metavar="MASK",
        parser=file_name,
        help="Mask of the selection of RESULT. Required if it has one.",
        panel=PARTS,
    ),
]


# What to keep.


def _out(help: str) -> Any:
    return option("--out", "-o", metavar="OUT", parser=file_name, help=help, panel=KEEPING)


def _format(help: str, words: tuple[str, ...] = FILE_FORMATS) -> Any:
    return option("--format", metavar="FORMAT", parser=one_of(words), help=help, panel=KEEPING)


Out = Annotated[Path, _out(f"File to write the picture to. {ENDINGS}")]
DemoOut = Annotated[Path, _out(f"File to write the picture to. {ENDINGS} Default: impasto-demo.png.")]
OutIfAny = Annotated[
    Path | None, _out(f"File to write the picture to. {ENDINGS} Default: none; the picture is not written.")
]
Format = Annotated[
    FileFormat | None,
    _format(
        f"Format of the picture: {FORMATS}. png16 and tiff16 have 16 bits per channel. Default: by the "
        "ending of OUT, with 8 bits per channel."
    ),
]
FormatAgain = Annotated[
    FileFormat | None,
    _format(
        f"Format of the picture: {FORMATS}. Default: by the ending of OUT, with as many bits per channel as "
        "RESULT."
    ),
]
FormatOfResult = Annotated[
    FileFormat | None,
    _format(
        f"Format of the picture: {FORMATS}. Default: by the ending of OUT, with as many bits per channel as "
        "the server keeps."
    ),
]
FormatOnServer = Annotated[
    StoredFormat | None,
    _format(
        "Format in which the server keeps the result: png, or png16 with 16 bits per channel. Default: png.",
        ("png", "png16"),
    ),
]
Sidecar = Annotated[
    bool,
    option(
        "--sidecar",
        help="Write a JSON file beside the picture too (result.json for result.png), which says how it was "
        "made. Default: no.",
        panel=KEEPING,
    ),
]
PreviewDir = Annotated[
    Path | None,
    option(
        "--preview-dir",
        metavar="FOLDER",
        parser=folder_name,
        help="Folder in which every preview is kept, numbered from 0001. Default: none.",
        panel=KEEPING,
    ),
]
Animate = Annotated[
    Path | None,
    option(
        "--animate",
        metavar="FILE.webp",
        parser=file_name,
        help="File to write a film of the painting to, an animated WebP. Default: none.",
        panel=KEEPING,
    ),
]

# Where to run.

Server = Annotated[
    str | None,
    option(
        "--server",
        metavar="ADDRESS",
        parser=some_text("HOST:PORT"),
        environment="IMPASTO_SERVER",
        help="Address of the server that paints: HOST:PORT. Default: none; a private server is started for "
        "this command.",
        panel=RUNNING,
    ),
]
NamedServer = Annotated[
    str | None,
    option(
        "--server",
        metavar="ADDRESS",
        parser=some_text("HOST:PORT"),
        environment="IMPASTO_SERVER",
        help="Address of the server that has the jobs: HOST:PORT. Required, here or in IMPASTO_SERVER.",
        panel=RUNNING,
    ),
]
UseTls = Annotated[
    bool,
    option(
        "--tls",
        environment="IMPASTO_TLS",
        help="Connect with TLS and trust the certificates that this system trusts. Default: no.",
        panel=RUNNING,
    ),
]
Ca = Annotated[
    Path | None,
    option(
        "--ca",
        metavar="FILE",
        parser=file_name,
        environment="IMPASTO_CA",
        help="Connect with TLS and trust the certificates in this PEM file. Default: none.",
        panel=RUNNING,
    ),
]
Cert = Annotated[
    Path | None,
    option(
        "--cert",
        metavar="FILE",
        parser=file_name,
        environment="IMPASTO_CERT",
        help="Certificate to show to a server that asks for one, a PEM file. Default: none.",
        panel=RUNNING,
    ),
]
Key = Annotated[
    Path | None,
    option(
        "--key",
        metavar="FILE",
        parser=file_name,
        environment="IMPASTO_KEY",
        help="Private key of --cert, a PEM file. Default: none.",
        panel=RUNNING,
    ),
]
TokenFile = Annotated[
    Path | None,
    option(
        "--token-file",
        metavar="FILE",
        parser=file_name,
        environment="IMPASTO_TOKEN_FILE",
        help="File with the token to send to the server. Default: the token in IMPASTO_TOKEN, if it is set.",
        panel=RUNNING,
    ),
]
PlaintextToken = Annotated[
    bool,
    option(
        "--allow-plaintext-token",
        help="Send the token without TLS; safe only in a protected network. Default: no.",
        panel=RUNNING,
    ),
]
KeepRunning = Annotated[
    bool,
    option(
        "--keep-running",
        help="Let the job continue on the server when this command ends early; `impasto watch` returns to "
        "it. Default: no.",
        panel=RUNNING,
    ),
]


def _title(default: str) -> Any:
    help = f"Title of the job in lists. Default: {default}."
    return option("--title", metavar="TEXT", help=help, panel=RUNNING)


def _priority(default: str) -> Any:
    help = f"Priority among your own jobs, -100 to 100; higher goes first. Default: {default}."
    parser = whole_number("a whole number: -100 to 100", -100, 100)
    return option("--priority", metavar="N", parser=parser, help=help, panel=RUNNING)


def _preview_interval(default: str) -> Any:
    help = f"Shortest time between two previews, 0.1 to 60 seconds. Default: {default}."
    return option("--preview-interval", metavar="SECONDS", parser=interval, help=help, panel=RUNNING)


def _preview_side(default: str) -> Any:
    help = f"Longer side of the previews, at most this many pixels, 16 to 2048. Default: {default}."
    parser = whole_number("a whole number: 16 to 2048", 16, 2048)
    return option("--preview-side", metavar="PIXELS", parser=parser, help=help, panel=RUNNING)


Title = Annotated[str | None, _title("none")]
NewTitle = Annotated[str | None, _title("unchanged")]
Priority = Annotated[int | None, _priority("0")]
NewPriority = Annotated[int | None, _priority("unchanged")]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Name of the job, the beginning of its name as `impasto jobs` shows it, or `last` for the "
        "newest job.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    option(
        "--weights",
        metavar="NAME|FILE",
        parser=word_or_file(NAMED_WEIGHTS),
        help="Weights of the private server's feature network: vgg19, builtin, or a file. Default: vgg19 if "
        "it is on this machine, else builtin.",
        panel=RUNNING,
    ),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        metavar="DEVICE",
        parser=some_text("auto, cpu, cuda:0 or mps"),
        help="Device that the private server paints with: auto, cpu, cuda:0 or mps. Default: auto, a GPU if "
        "there is one.",
        panel=RUNNING,
    ),
]
Timeout = Annotated[
    float | None,
    option(
        "--timeout",
        metavar="SECONDS",
        parser=seconds,
        help="Give up after this many seconds; inf for no limit. Default: no limit for a painting, 10 "
        "seconds for an answer of the server.",
        panel=RUNNING,
    ),
]
Json = Annotated[
    bool, option("--json", help="Print events as lines of JSON on stdout. Default: no.", panel=RUNNING)
]
Quiet = Annotated[
    bool, option("--quiet", "-q", help="Print errors and warnings only. Default: no.", panel=RUNNING)
]
Verbose = Annotated[
    bool, option("--verbose", help="Print the private server's whole log. Default: no.", panel=RUNNING)
]


@dataclasses.dataclass(frozen=True)
class Connection:
    """How to reach a server."""

    server: NamedServer = None
    tls: UseTls = False
    ca: Ca = None
    cert: Cert = None
    key: Key = None
    token_file: TokenFile = None
    allow_plaintext_token: PlaintextToken = False
    timeout: Timeout = None
    json: Json = False

    quiet: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Run(Connection):
    """Where a picture is painted and what is shown of it."""

    server: Server = None
    weights: Weights = None
    device: Device = None
    quiet: Quiet = False  # type: ignore[misc]
    verbose: Verbose = False


@dataclasses.dataclass(frozen=True)
class Parts:
    """Which parts of a photograph are painted, and the shares of the styles."""

    shares: Shares = None
    region: Regions = None
    selection: Selection = None


@dataclasses.dataclass(frozen=True)
class Kept:
    """The files that a painting leaves beside the picture."""

    sidecar: Sidecar = False
    preview_dir: PreviewDir = None
    animate: Animate = None


@dataclasses.dataclass(frozen=True)
class PreviewOptions:
    """How often previews are made, and their size."""

    preview_interval: Annotated[float | None, _preview_interval("0.25")] = None
    preview_side: Annotated[int | None, _preview_side("512")] = None

    def wanted(self) -> Previews | None:
        """Returns the previews to ask for; None if no option is given."""
        if self.preview_interval is None and self.preview_side is None:
            return None
        return Previews(min_interval=self.preview_interval, max_side=self.preview_side)


@dataclasses.dataclass(frozen=True)
class NewPreviewOptions(PreviewOptions):
    """The same options for a job that exists."""

    preview_interval: Annotated[float | None, _preview_interval("unchanged")] = None
    preview_side: Annotated[int | None, _preview_side("unchanged")] = None
