"""The options that several commands share, and what their texts mean."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import typer

from impasto.errors import InvalidRequest
from impasto.formats import FILE_FORMATS, FileFormat, StoredFormat
from impasto.recipe import FIELDS, StyleName, UploadedImage

PAINTING, PARTS, LOSSES, KEEPING, RUNNING = (
    "How to paint",
    "Parts and shares",
    "Losses and optimiser",
    "What to keep",
    "Where to run",
)


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is not None and math.isnan(timeout):
        raise typer.BadParameter("nan is no time; give seconds, or inf for never")
    return timeout


# How to paint.

TextureSize = Annotated[
    str,
    typer.Option("--size", metavar="WxH", help="Its width and height in pixels.", rich_help_panel=PAINTING),
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


# What to keep.

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="OUT.png",
        help="Where to write the picture: a PNG, TIFF, JPEG or WebP, as its name ends.",
        rich_help_panel=KEEPING,
    ),
]
OutIfAny = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="OUT.png", help="Where to write the picture.", rich_help_panel=KEEPING
    ),
]
Format = Annotated[
    FileFormat | None,
    typer.Option(
        "--format",
        metavar="|".join(FILE_FORMATS),
        help="How to write the picture; by default as OUT ends, with 8 bits per channel. png16 and tiff16 "
        "have 16.",
        rich_help_panel=KEEPING,
    ),
]
FormatAgain = Annotated[
    FileFormat | None,
    typer.Option(
        "--format",
        metavar="|".join(FILE_FORMATS),
        help="How to write the picture; by default as OUT ends, with as many bits per channel as RESULT has.",
        rich_help_panel=KEEPING,
    ),
]
ResultFormat = Annotated[
    StoredFormat | None,
    typer.Option(
        "--format",
        metavar="png|png16",
        help="What the result is kept as on the server [default: png]; png16 has 16 bits per channel.",
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
NamedServer = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        envvar="IMPASTO_SERVER",
        help="The server that has the jobs.",
        rich_help_panel=RUNNING,
    ),
]
UseTls = Annotated[
    bool,
    typer.Option(
        "--tls",
        envvar="IMPASTO_TLS",
        help="Connect with TLS, and trust what the system trusts.",
        rich_help_panel=RUNNING,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        envvar="IMPASTO_CA",
        help="Connect with TLS, and trust the certificates in this file (PEM).",
        rich_help_panel=RUNNING,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        metavar="FILE",
        envvar="IMPASTO_CERT",
        help="Own certificate (PEM), for a server that asks for one.",
        rich_help_panel=RUNNING,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar="IMPASTO_KEY",
        help="The private key of --cert (PEM).",
        rich_help_panel=RUNNING,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="IMPASTO_TOKEN_FILE",
        help="File that has the token to show to the server; else IMPASTO_TOKEN is shown, if it is set.",
        rich_help_panel=RUNNING,
    ),
]
PlaintextToken = Annotated[
    bool,
    typer.Option(
        "--allow-plaintext-token",
        help="Send the token without TLS, over a network that is protected itself.",
        rich_help_panel=RUNNING,
    ),
]
KeepRunning = Annotated[
    bool,
    typer.Option(
        "--keep-running",
        help="Let the job go on when this command ends, however it does; `impasto watch` comes back to it.",
        rich_help_panel=RUNNING,
    ),
]
Title = Annotated[
    str | None,
    typer.Option("--title", metavar="TEXT", help="What lists call the job.", rich_help_panel=RUNNING),
]
Priority = Annotated[
    int | None,
    typer.Option(
        "--priority",
        metavar="N",
        help="Among one's own jobs higher goes first, -100 to 100.",
        rich_help_panel=RUNNING,
    ),
]
PreviewInterval = Annotated[
    float | None,
    typer.Option(
        "--preview-interval",
        metavar="SECONDS",
        help="Shortest time between two previews.",
        rich_help_panel=RUNNING,
    ),
]
PreviewSide = Annotated[
    int | None,
    typer.Option(
        "--preview-side",
        metavar="PIXELS",
        help="Longer side of the previews at most.",
        rich_help_panel=RUNNING,
    ),
]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job's name or the beginning of it, as `impasto jobs` shows it, or `last` for the newest.",
        show_default=False,
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
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        callback=_checked_timeout,
        help="Give up after so long; inf for never.",
        rich_help_panel=RUNNING,
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
    **{f"spec.recipe.{field.wire_name}": field.option for field in FIELDS.values()},
    "spec.styles": "STYLE",
    "spec.texture": "--size",
    "spec.regions": "--region",
    "spec.selection": "--selection",
    "spec.result_format": "--format",
    "title": "--title",
    "priority": "--priority",
    "preview.min_interval": "--preview-interval",
    "preview.max_side": "--preview-side",
}
# UpdateJob has the same fields of a job.
OPTION_OF_FIELD |= {
    f"job.{field.removeprefix('spec.')}": option
    for field, option in OPTION_OF_FIELD.items()
    if field.startswith("spec.recipe.") or not field.startswith("spec.")
}
"""What the command line calls a field of the request, by the field's path."""


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
    """Which parts of a photograph are painted, and how much of each style there is."""

    shares: Shares = None
    region: Regions = None
    selection: Selection = None


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a painting leaves on disk beside the picture."""

    sidecar: Sidecar = False
    preview_dir: PreviewDir = None
    animate: Animate = None


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
_REGION = re.compile(
    r"(?P<mask>.+?)(,style=(?P<style>[0-9]{1,9}))?(,style-mask=(?P<style_mask>.+))?", re.DOTALL
)


def parse_region(text: str) -> RegionOption:
    """What a `--region` means.

    Raises:
        InvalidRequest: it is empty, or says something that is not understood.
    """
    found = _REGION.fullmatch(text)
    if found is None:
        raise InvalidRequest("--region is empty; give MASK[,style=N][,style-mask=FILE]")
    for file in (found["mask"], found["style_mask"] or ""):
        unknown = re.search(r",([\w-]+)=", file)
        if unknown and not os.path.exists(file):
            raise InvalidRequest(
                f"--region {text}: {unknown[1]}= is not understood where it stands, and there is no file "
                f"{file}; give MASK[,style=N][,style-mask=FILE]"
            )
    return RegionOption(
        Path(found["mask"]),
        int(found["style"]) if found["style"] else None,
        Path(found["style_mask"]) if found["style_mask"] else None,
    )


def parse_image(text: str) -> Path | StyleName | UploadedImage:
    """What a CONTENT or STYLE means: a file, or if there is none a style by name, or an uploaded image.

    Raises:
        InvalidRequest: it is empty.
    """
    if not text:
        raise InvalidRequest("the name of an image to paint from is empty; give a file")
    path = Path(text)
    # Not `Path.exists`, which raises an error for a name that is too long.
    if not os.path.exists(path):
        if re.fullmatch("styles/[a-z0-9-]+", text):
            return StyleName(text)
        if text.startswith("sha256:"):
            return UploadedImage(text.removeprefix("sha256:"))
    return path


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
    found = re.fullmatch(r"([0-9]{1,20})(?:[x×X]([0-9]{1,20}))?", text)
    if found is None:
        raise InvalidRequest(f"--size {text} is no size; give WIDTHxHEIGHT in pixels, as 640x480")
    return int(found[1]), int(found[2] or found[1])
