"""Writes the files of a finished picture. A file that fails does not keep the others from being written."""

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
    """Writes a picture and the files that belong to it, and shows that it is finished.

    Args:
        film: the film of the painting; None for no film.
        on_server: whether the server keeps the result after this command.

    Raises:
        ImpastoError: a file could not be downloaded or written. The message says what was written, and where
            the picture is.
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

    if output.picture and "path" in paths and coded == "jpeg" and png.is_transparent(picture.data):
        display.warning(lost_transparency(output.picture))
    if not faults:
        display.finished(picture, file, paths)
        return
    there = rescued + ([f"written: {', '.join(paths.values())}"] if paths else [])
    first = faults[0]
    if type(first) is ImpastoError:
        raise ImpastoError("; ".join([fault.message for fault in faults] + there))
    # The server's error has its own words and its own exit code.
    display.warning("; ".join([fault.message for fault in faults[1:]] + there))
    raise first


def lost_transparency(file: Path) -> str:
    """Returns the warning that a JPEG of a transparent picture has a white background."""
    return (
        f"{file} has a white background: the picture is transparent, which a JPEG cannot be; write a PNG, "
        "TIFF or WebP to keep the transparency"
    )


def _sidecar(picture: Picture, path: Path | None) -> bytes:
    if not picture.metadata:
        raise ImpastoError(f"{path} is not written: the result does not say how it was made")
    told = dict(picture.metadata)
    if png.depth(picture.data) == 16:
        # The picture shows this itself; the sidecar alone would not.
        told["bits_per_channel"] = 16
    return json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n"


def _elsewhere(picture: Picture, file: CodedImage, wanted: Path, on_server: bool) -> str:
    """Saves a picture that could not be written where it was wanted; returns a clause about where."""
    if on_server:
        job = picture.job.name
        return f"fetch the picture with `impasto get {job} -o FILE` while the server keeps it"
    name = wanted.name if coding(file.format) == SUFFIXES[wanted.suffix.lower()] else f"{wanted.stem}.png"
    try:
        # In a new folder, because other users can read the temporary folder.
        folder = Path(tempfile.mkdtemp(prefix="impasto-"))
        try:
            write_whole(folder / name, file.data)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError:
        return "a temporary file cannot be written either, so the picture is lost"
    return f"the picture is in {folder / name} instead"
