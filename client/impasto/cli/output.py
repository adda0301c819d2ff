"""The files that a command reads and writes, checked before the work begins."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from impasto.cli.values import web_fault
from impasto.errors import ImpastoError, InvalidRequest
from impasto.files import check_readable, check_writable, folder_of, write_whole
from impasto.formats import FileFormat, file_format

Input = tuple[str, Path]
"""A file to read, and the text before its name in an error: "--start ", or "" for an argument."""

_HERE = Path()
_PREVIEW_NAME = re.compile(r"[0-9]{4,}\.(jpg|png|webp)")


@dataclasses.dataclass(frozen=True)
class Output:
    """The files that a painting leaves on disk.

    Attributes:
        picture: file of the result; None if it is not kept.
        previews: folder of the previews, made with the first preview; None if they are not kept.
        film: file of the film; None for no film.
        sidecar: file of the metadata; None for no such file.
        format: format of the picture.
    """

    picture: Path | None
    previews: Path | None
    film: Path | None
    sidecar: Path | None
    format: FileFormat = "png"

    @classmethod
    def at(
        cls,
        picture: Path | None,
        *,
        previews: Path | None,
        film: Path | None,
        sidecar: bool,
        format: FileFormat | None = None,
    ) -> Output:
        """Makes an output from the values of the options.

        Args:
            sidecar: whether to write a sidecar beside the picture.
            format: format of the picture; None for the one of its name's ending.

        Raises:
            InvalidRequest: the picture's name has the ending of another format, or of none.
        """
        chosen = format or "png"
        if picture is not None:
            chosen = format_of(picture, format)
        beside = picture.with_suffix(".json") if picture and sidecar else None
        return cls(picture, previews, film, beside, chosen)

    def check(self, inputs: Iterable[Input]) -> None:
        """Refuses files that cannot be read now, or cannot be written at the end.

        Raises:
            InvalidRequest: names the option and the file.
        """
        read = list(inputs)
        check_inputs(read)
        self._check_overwriting([file for _, file in read])
        if self.picture is not None:
            check_output(self.picture, "--out")
        if self.sidecar is not None:
            check_output(self.sidecar, "--sidecar")
        if self.film is not None:
            if self.film == _HERE:
                raise InvalidRequest("--animate . is a folder; give a file's name: film.webp")
            if self.film.name.lower() == ".webp":
                raise InvalidRequest(
                    f"--animate {self.film} has no name before its ending; give a whole name: film.webp"
                )
            if self.film.suffix.lower() != ".webp":
                raise InvalidRequest(
                    f"--animate {self.film} does not end in .webp; a film is an animated WebP: film.webp"
                )
            check_output(self.film, "--animate")
        if self.previews is not None:
            _check_new_folder(self.previews, "--preview-dir")

    def _check_overwriting(self, read: Sequence[Path]) -> None:
        """Refuses to overwrite a file that is read, and to write two things to one file."""
        written = {"--out ": self.picture, "--animate ": self.film, "the sidecar ": self.sidecar}
        files = [(option, file) for option, file in written.items() if file is not None]
        for index, (option, file) in enumerate(files):
            if any(_same(file, other) for other in read):
                raise InvalidRequest(f"{option}{file} is one of the files to paint from; give another name")
            for what, other in files[:index]:
                if _same(file, other):
                    raise InvalidRequest(
                        f"{option}{file} is the same file as {what}{other}; give another name"
                    )
        if self.previews is None:
            return
        option, folder = f"--preview-dir {self.previews}", Path(os.path.realpath(self.previews))
        for file in [*read, *(file for _, file in files)]:
            real = Path(os.path.realpath(file))
            if real.parent == folder and _PREVIEW_NAME.fullmatch(real.name):
                raise InvalidRequest(f"{option}: a preview would overwrite {file}; give another folder")
        for _, file in files:
            if Path(os.path.realpath(file)) in (folder, *folder.parents):
                raise InvalidRequest(f"{option}: {file} will be a file; give another folder")

    def write_preview(self, number: int, format: str, data: bytes) -> Path | None:
        """Writes a preview, if previews are kept, and returns its file.

        Raises:
            ImpastoError: the preview cannot be written.
        """
        if self.previews is None:
            return None
        try:
            self.previews.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImpastoError(f"--preview-dir {self.previews} cannot be made: {error.strerror}") from None
        path = self.previews / f"{number:04}.{format.replace('jpeg', 'jpg')}"
        write(path, data)
        return path


def format_of(picture: Path, format: FileFormat | None) -> FileFormat:
    """Returns the format to write a picture in: the one that is given, or else that of its name's ending.

    Raises:
        InvalidRequest: the name has the ending of another format, or of none.
    """
    if picture == _HERE:
        raise InvalidRequest("--out . is a folder; give a file's name: out.png")
    try:
        return file_format(picture, format)
    except ValueError as error:
        raise InvalidRequest(f"--out {picture} {error}") from None


def check_inputs(inputs: Iterable[Input]) -> None:
    """Refuses files that cannot be read.

    Raises:
        InvalidRequest: names the option and the file.
    """
    for option, file in inputs:
        try:
            check_readable(file)
        except FileNotFoundError:
            if fault := web_fault(str(file)):
                raise InvalidRequest(f"{option}{fault}") from None
            missing = f"{option}{file}: there is no such file" if option else f"there is no file {file}"
            raise InvalidRequest(missing) from None
        except OSError as error:
            raise InvalidRequest(f"{option}{file} {why_not(error, 'read')}") from None


def check_output(file: Path, option: str) -> None:
    """Refuses a file that cannot be written.

    Raises:
        InvalidRequest: names the option, and the file or the folder.
    """
    try:
        check_writable(file)
    except OSError as error:
        if error.errno == errno.EACCES:
            fault = f"the folder {_folder(file)} is not writable; give another folder"
        elif error.errno != errno.ENAMETOOLONG and not os.path.isdir(folder_of(file)):
            fault = f"there is no folder {_folder(file)}; make it, or give another"
        else:
            raise InvalidRequest(f"{option} {file} {why_not(error, 'written')}") from None
        raise InvalidRequest(f"{option} {file}: {fault}") from None


def write(path: Path, data: bytes) -> None:
    """Writes a file: the whole file, or nothing.

    Raises:
        ImpastoError: the file cannot be written.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise ImpastoError(f"{path} {why_not(error, 'written')}") from None


def _folder(file: Path) -> str:
    """Returns the folder of a file, in the user's words unless the file is a link to another folder."""
    # `Path.is_symlink` raises an error if the folder may not be read.
    return folder_of(file) if os.path.islink(file) else str(file.parent)


def why_not(error: OSError, done: str) -> str:
    """Returns why a file cannot be `done` ("read", "written"), as a clause that follows its name."""
    if error.errno == errno.ENAMETOOLONG:
        return f"cannot be {done}: its name is too long; give a shorter one"
    said = error.strerror or str(error)
    # `impasto.files` raises errors with clauses; the system's errors are no clauses.
    return said if said.startswith(("is ", "has ")) else f"cannot be {done}: {said}"


def _same(one: Path, other: Path) -> bool:
    """Returns whether two names mean the same file, which need not exist."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _check_new_folder(folder: Path, option: str) -> None:
    """Refuses a folder that cannot be made or written to. Does not make it."""
    try:
        for there in (folder, *folder.parents):
            if _is_there(there):
                check_writable(there / "0001.png")
                return
    except OSError as error:
        raise InvalidRequest(
            f"{option} {folder} cannot be used: {error.strerror}; give another folder"
        ) from None
    raise InvalidRequest(f"{option} {folder}: there is no folder in which it could be made")


def _is_there(path: Path) -> bool:
    """Returns whether a file or folder exists. `Path.exists` would not raise OSError for a bad name."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
