"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets


def write_whole(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o666) -> None:
    """Writes a file by way of a temporary one beside it, so that nobody ever sees half of it.

    Args:
        mode: its permissions, less the process's umask.

    Raises:
        OSError: it cannot be written; whatever stood there before still does.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
