"""How a command runs: its server, its painting, its files, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from impasto.address import parse
from impasto.cli.options import OPTION_OF_FIELD
from impasto.errors import (
    DeadlineExceeded,
    ImpastoError,
    InvalidRequest,
    PrivateServerError,
    Unavailable,
    Unreachable,
)
from impasto.recipe import Recipe, Region

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.job import ServerInfo
    from impasto.picture import Picture
    from impasto.recipe import ImageSource, StyleSource
    from impasto.terminal import Display

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a command runs and what it shows."""

    server: str | None
    weights: str | None
    device: str | None
    timeout: float | None
    json: bool
    quiet: bool
    verbose: bool


@dataclasses.dataclass(frozen=True)
class Spec:
    """What to paint; see `impasto.Client.stylize`."""

    content: ImageSource | None
    styles: Sequence[StyleSource]
    recipe: Recipe
    start_image: ImageSource | None = None
    texture: tuple[int, int] | None = None
    regions: Sequence[Region] = ()
    selection: ImageSource | None = None


@dataclasses.dataclass(frozen=True)
class Output:
    """What a painting leaves on disk.

    Attributes:
        picture: the result's file.
        previews: folder for the previews, if they are kept.
        film: file of the film, if there is to be one.
        sidecar: file of the metadata, if there is to be one.
    """

    picture: Path
    previews: Path | None
    film: Path | None
    sidecar: Path | None

    @classmethod
    def at(cls, picture: Path, *, previews: Path | None, film: Path | None, sidecar: bool) -> Output:
        """With a sidecar beside the picture, or without."""
        return cls(picture, previews, film, picture.with_suffix(".json") if sidecar else None)

    def check(self, inputs: Iterable[Path | None]) -> None:
        """Refuses what could not be read, or not be written at the end, before any work.

        Args:
            inputs: the files to paint from; None for those not given.

        Raises:
            InvalidRequest: with the file or the option at fault.
        """
        for file in inputs:
            if file is None:
                continue
            _check_readable(file)
            for written in (self.picture, self.film, self.sidecar):
                if written is not None and written.exists() and written.samefile(file):
                    raise InvalidRequest(f"{written} is one of the files to paint from; give another name")
        _check_writable(self.picture, ".png", "a result is a PNG")
        if self.sidecar is not None:
            _check_writable(self.sidecar, ".json", "a sidecar is JSON")
        if self.film is not None:
            _check_writable(self.film, ".webp", "a film is an animated WebP")
        if self.previews is not None:
            try:
                self.previews.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidRequest(f"--preview-dir {self.previews}: {error.strerror}") from None
            _check_folder(self.previews)


def paint(
    spec: Spec,
    output: Output,
    run: Run,
    display: Display,
    *,
    look_at: Callable[[Client], None] | None = None,
) -> Picture:
    """Paints a picture, shows it being painted, and writes what is to be kept.

    Args:
        look_at: what to do with the server before it is asked to paint.

    Raises:
        ImpastoError: it failed; no picture is written.
    """
    with serving(run, display) as address:
        # Imported while a private server starts.
        from impasto.client import Client
        from impasto.film import Film
        from impasto.job import Preview

        film = Film() if output.film else None
        numbered = 0
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(Client(address()))
            if look_at is not None:
                look_at(client)
            painting = stack.enter_context(
                client.stylize(
                    spec.content,
                    spec.styles,
                    recipe=spec.recipe,
                    start_image=spec.start_image,
                    texture=spec.texture,
                    regions=spec.regions,
                    selection=spec.selection,
                    previews=bool(film or output.previews or run.json),
                    timeout=run.timeout,
                )
            )
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
    if output.sidecar:
        if not picture.metadata:
            raise ImpastoError(f"{output.sidecar} is not written: the server does not say how it painted")
        _write(output.sidecar, json.dumps(picture.metadata, indent=2, ensure_ascii=False).encode() + b"\n")
        paths["sidecar"] = str(output.sidecar)
    display.finished(picture, paths)
    return picture


@contextlib.contextmanager
def serving(run: Run, display: Display) -> Iterator[Callable[[], str]]:
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
def outcome(run: Run, names: Mapping[str, str]) -> Iterator[Display]:
    """Shows how a command ends and turns it into the exit code.

    Args:
        names: what the user calls the fields of the request, beside the options of `OPTION_OF_FIELD`; read
            only at the end.
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


def _in_words(error: ImpastoError, run: Run, names: Mapping[str, str]) -> str:
    """An error in the words of the command line: options for fields, and what to do next."""
    if error.fields:
        known = {**OPTION_OF_FIELD, **names}
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


def info_once_ready(client: Client, patience: float) -> ServerInfo:
    """What a server says when its worker has loaded its weights, or after so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        said = client.info()
        if said.network is not None or time.monotonic() > deadline:
            return said
        time.sleep(0.1)
