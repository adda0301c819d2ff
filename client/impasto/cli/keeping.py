"""What is written when a picture is done: each file by itself, so that one that fails costs no other."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from impasto import png
from impasto.cli.output import Output, write
from impasto.errors import ImpastoError
from impasto.files import write_whole
from impasto.formats import SUFFIXES, coding

if TYPE_CHECKING:
    from impasto.cli.film import Film
    from impasto.cli.terminal import Display
    from impasto.client import Client
    from impasto.picture import CodedImage, Picture


def keep(
    client: Client, picture: Picture, film: Film | None, output: Output, display: Display, *, on_server: bool
) -> None:
    """Writes a picture and what is to be kept with it, and says so.

    Args:
        film: of its painting, if there is to be one.
        on_server: the server goes on, and has the result.

    Raises:
        ImpastoError: something could not be had or written; the message says what was written, and where the
            picture is.
    """
    file: CodedImage = picture
    coded = coding(output.format)
    paths: dict[str, str] = {}
    faults: list[ImpastoError] = []

    def coded_picture() -> bytes:
        nonlocal file
        if coded != "png":
            file = client.download(result_of=picture.job.name, format=coded)
        return file.data

    def keep_each(what: str, path: Path | None, data: Callable[[], bytes]) -> None:
        if path is None:
            return
        try:
            write(path, data())
            paths[what] = str(path)
        except ImpastoError as error:
            faults.append(error)

    keep_each("path", output.picture, coded_picture)
    rescued = [_elsewhere(picture, file, output.picture, on_server)] if output.picture and faults else []
    keep_each("sidecar", output.sidecar, lambda: _sidecar(picture, output.sidecar))
    if film is not None:
        keep_each("film", output.film, lambda: film.webp(picture))

    if "path" in paths and coded == "jpeg" and png.is_transparent(picture.data):
        display.warning(
            f"{output.picture} is over white: a JPEG cannot be transparent, as the picture is; write a "
            "PNG, TIFF or WebP to keep that"
        )
    if not faults:
        display.finished(picture, file, paths)
        return
    there = rescued + ([f"written: {', '.join(paths.values())}"] if paths else [])
    first = faults[0]
    if type(first) is ImpastoError:
        raise ImpastoError("; ".join([fault.message for fault in faults] + there))
    # What the server says has words and an exit code of its own.
    display.warning("; ".join([fault.message for fault in faults[1:]] + there))
    raise first


def _sidecar(picture: Picture, path: Path | None) -> bytes:
    if not picture.metadata:
        raise ImpastoError(f"{path} is not written: the server does not say how it painted")
    told = dict(picture.metadata)
    if png.depth(picture.data) == 16:
        # The picture itself shows it; who has only the sidecar could not tell.
        told["bits_per_channel"] = 16
    return json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n"


def _elsewhere(picture: Picture, file: CodedImage, wanted: Path, on_server: bool) -> str:
    """Where a picture is that could not be had or written where it was wanted, in a clause."""
    if on_server:
        job = picture.job.name
        return f"`impasto get {job} -o FILE` fetches the picture, as long as the server keeps it"
    name = wanted.name if coding(file.format) == SUFFIXES[wanted.suffix.lower()] else f"{wanted.stem}.png"
    try:
        # In a folder of its own: a temporary folder is everybody's.
        folder = Path(tempfile.mkdtemp(prefix="impasto-"))
        try:
            write_whole(folder / name, file.data)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError:
        return "nor can a temporary file be written, so the picture is lost"
    return f"the picture is in {folder / name} instead"
