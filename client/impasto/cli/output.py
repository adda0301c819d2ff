"""What a command reads and leaves on disk, checked before there is any work."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from impasto.errors import ImpastoError, InvalidRequest
from impasto.files import check_readable, check_writable, folder_of, write_whole
from impasto.formats import FileFormat, file_format

_NO_NAME = Path()
"""What an empty name becomes, and the folder that a command runs in."""
_PREVIEW_NAME = re.compile(r"[0-9]{4,}\.(jpg|png|webp)")


@dataclasses.dataclass(frozen=True)
class Output:
    """What a painting leaves on disk.

    Attributes:
        picture: the result's file; None if it is not kept.
        previews: folder for the previews, if they are kept; made for the first of them.
        film: file of the film, if there is to be one.
        sidecar: file of the metadata, if there is to be one.
        format: how to write the picture.
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
        """With a sidecar beside the picture, or without.

        Args:
            format: as the picture's name says if None.

        Raises:
            InvalidRequest: the picture's name says another format, or none.
        """
        chosen = format or "png"
        if picture is not None:
            chosen = format_of(picture, format)
        beside = picture.with_suffix(".json") if picture and sidecar else None
        return cls(picture, previews, film, beside, chosen)

    def check(self, inputs: Iterable[Path | None]) -> None:
        """Refuses what could not be read, or not be written at the end, before any work.

        Args:
            inputs: the files to paint from; None for those not given.

        Raises:
            InvalidRequest: with the file or the option at fault.
        """
        read = [file for file in inputs if file is not None]
        check_inputs(read)
        self._check_overwriting(read)
        if self.picture is not None:
            check_output(self.picture)
        if self.sidecar is not None:
            check_output(self.sidecar)
        if self.film is not None:
            if self.film == _NO_NAME:
                raise InvalidRequest("--animate is empty, or a folder; give a file's name, as film.webp")
            if self.film.name.lower() == ".webp":
                raise InvalidRequest(
                    f"{self.film} has nothing before its ending; give a whole name, as film.webp"
                )
            if self.film.suffix.lower() != ".webp":
                raise InvalidRequest(f"{self.film} does not end in .webp: a film is an animated WebP")
            check_output(self.film)
        if self.previews is not None:
            _check_new_folder(self.previews, "--preview-dir")

    def _check_overwriting(self, read: Sequence[Path]) -> None:
        """Refuses to write over what is read, or twice to the same file."""
        written = {"": self.picture, "--animate ": self.film, "the sidecar ": self.sidecar}
        files = [(option, file) for option, file in written.items() if file is not None]
        for index, (option, file) in enumerate(files):
            if any(_same(file, other) for other in read):
                raise InvalidRequest(f"{file} is one of the files to paint from; give another name")
            for what, other in files[:index]:
                if _same(file, other):
                    named = "the picture's file" if not what else f"the file of {what}{other} too"
                    raise InvalidRequest(f"{option}{file} is {named}; give another name")
        if self.previews is None:
            return
        option, folder = f"--preview-dir {self.previews}", Path(os.path.realpath(self.previews))
        for file in [*read, *(file for _, file in files)]:
            real = Path(os.path.realpath(file))
            if real.parent == folder and _PREVIEW_NAME.fullmatch(real.name):
                raise InvalidRequest(f"{option}: a preview would be written over {file}; give another folder")
        for _, file in files:
            if Path(os.path.realpath(file)) in (folder, *folder.parents):
                raise InvalidRequest(f"{option}: {file} is to be a file; give another folder")

    def write_preview(self, number: int, format: str, data: bytes) -> Path | None:
        """Writes a preview if they are kept; returns where.

        Raises:
            ImpastoError: it cannot be written.
        """
        if self.previews is None:
            return None
        try:
            self.previews.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImpastoError(f"--preview-dir {self.previews}: {error.strerror}") from None
        path = self.previews / f"{number:04}.{format.replace('jpeg', 'jpg')}"
        write(path, data)
        return path


def format_of(picture: Path, format: FileFormat | None) -> FileFormat:
    """How a picture is to be written, as asked for or as its name says.

    Raises:
        InvalidRequest: its name says another format, or none.
    """
    if picture == _NO_NAME:
        raise InvalidRequest("--out is empty, or a folder; give a file's name, as out.png")
    try:
        return file_format(picture, format)
    except ValueError as error:
        raise InvalidRequest(f"{picture} {error}") from None


def check_inputs(files: Iterable[Path]) -> None:
    """Refuses files that cannot be read.

    Raises:
        InvalidRequest: with the file at fault.
    """
    for file in files:
        if file == _NO_NAME:
            raise InvalidRequest("an empty name, or ., is a folder; give a file to paint from")
        try:
            check_readable(file)
        except FileNotFoundError:
            raise InvalidRequest(f"there is no file {file}") from None
        except OSError as error:
            raise InvalidRequest(f"{file} {why_not(error, 'read')}") from None


def check_output(file: Path) -> None:
    """Refuses a file that cannot be written.

    Raises:
        InvalidRequest: with the file or folder at fault.
    """
    try:
        check_writable(file)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise InvalidRequest(f"the folder {_folder(file)} is not writable; give another") from None
        if error.errno != errno.ENAMETOOLONG and not os.path.isdir(folder_of(file)):
            raise InvalidRequest(f"there is no folder {_folder(file)} to write to") from None
        raise InvalidRequest(f"{file} {why_not(error, 'written')}") from None


def write(path: Path, data: bytes) -> None:
    """Writes a file: whole, or not at all.

    Raises:
        ImpastoError: it cannot be written.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise ImpastoError(f"{path} {why_not(error, 'written')}") from None


def _folder(file: Path) -> str:
    """Where a file would be written, as the user names it unless a link leads elsewhere."""
    # Not `Path.is_symlink`, which raises an error where the folder may not be looked into.
    return folder_of(file) if os.path.islink(file) else str(file.parent)


def why_not(error: OSError, done: str) -> str:
    """What an error says of a file that could not be `done`, in words that go on from its name."""
    if error.errno == errno.ENAMETOOLONG:
        return f"cannot be {done}: its name is too long; give a shorter one"
    said = error.strerror or str(error)
    # What we say ourselves of a file is a clause, what the system says is none.
    return said if said.startswith(("is ", "has ")) else f"cannot be {done}: {said}"


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of the same file, which need not be there yet."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _check_new_folder(folder: Path, option: str) -> None:
    """Refuses a folder that cannot be made or written to, without making it."""
    try:
        for there in (folder, *folder.parents):
            if _is_there(there):
                check_writable(there / "0001.png")
                return
    except OSError as error:
        raise InvalidRequest(f"{option} {folder}: {error.strerror}; give another folder") from None
    raise InvalidRequest(f"{option} {folder}: there is no folder to make it in")


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name; unlike `Path.exists`, raises OSError where none can be."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
