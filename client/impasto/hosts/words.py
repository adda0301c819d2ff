"""Sentences for artists: the progress of a painting, and errors with what to do about them."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from impasto.errors import (
    ClientClosed,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    ImpastoError,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    PermissionDenied,
    PrivateServerError,
    ResourceExhausted,
    ServerError,
    TransportMissing,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from impasto.hosts import refusals
from impasto.hosts.told import SERVER_SETTINGS, TRY_AGAIN, Told, ToldError, cut, ended, joined
from impasto.hosts.translate import _
from impasto.security import TlsFileError

if TYPE_CHECKING:
    from impasto.job import Progress

__all__ = [
    "HERE",
    "RETRIABLE",
    "SERVER_SETTINGS",
    "TRY_AGAIN",
    "Told",
    "ToldError",
    "cut",
    "duration",
    "failed",
    "joined",
    "painting",
    "place",
    "sentence",
    "short",
    "tell",
]

RETRIABLE = (Unavailable, DeadlineExceeded)
"""Errors after which the same call may succeed later."""

HERE = "this computer"
"""Stands for the address of the server that the plugin starts on this computer."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def sentence(
    error: BaseException, address: str = "", *, styles: Sequence[str] = (), areas: Sequence[str] = ()
) -> str:
    """Return an error as whole sentences; see `tell`."""
    return tell(error, address, styles=styles, areas=areas).sentence


def short(
    error: BaseException, address: str = "", *, styles: Sequence[str] = (), areas: Sequence[str] = ()
) -> str:
    """Return an error as one short sentence; see `tell`."""
    return tell(error, address, styles=styles, areas=areas).short


def tell(
    error: BaseException, address: str = "", *, styles: Sequence[str] = (), areas: Sequence[str] = ()
) -> Told:
    """Return what an artist is told about an error.

    Args:
        address: the server's address, or `HERE`; "" if unknown.
        styles: titles of the order's styles, in its order: an error of one of them names it.
        areas: names of the order's areas, likewise.
    """
    if isinstance(error, ToldError):
        return error.told
    if isinstance(error, Unreachable):
        return _unreachable(error, address)
    if isinstance(error, (Unavailable, DeadlineExceeded)):
        return _out_of_contact(error, address)
    if isinstance(error, (Unauthenticated, PermissionDenied)):
        return _without_access(error)
    if isinstance(error, ResourceExhausted):
        return _exhausted(error)
    if isinstance(error, InvalidRequest):
        return refusals.tell(error.fields, error.message, styles=styles, areas=areas)
    if isinstance(error, (NotFound, FailedPrecondition)):
        return _gone(error)
    if isinstance(error, (ClientClosed, TransportMissing, PrivateServerError)):
        return _of_this_side(error)
    if isinstance(error, JobCancelled):
        return Told(_("The painting was cancelled."))
    if isinstance(error, DataLoss):
        return _damaged(error)
    if isinstance(error, ImpastoError):
        return _of_the_server(error)
    if isinstance(error, TlsFileError):
        return Told(
            _("The certificate file cannot be used."),
            _("{file} contains no certificate. Choose a PEM file in the server settings.").format(
                file=error.file
            ),
            SERVER_SETTINGS,
        )
    if isinstance(error, OSError):
        return _of_the_system(error)
    # One of a subclass, such as UnicodeError, has not been written for people.
    if type(error) is ValueError and str(error).strip():
        return Told(ended(str(error)))
    if isinstance(error, MemoryError):
        return Told(
            _("There is not enough memory for this picture."),
            _("Choose a smaller part or a smaller size, or close other programs."),
        )
    return Told(
        _("The plugin has a fault."),
        _("Please report it: {kind}: {said}").format(kind=type(error).__name__, said=error),
    )


def failed(
    error: ImpastoError | None,
    address: str = "",
    *,
    styles: Sequence[str] = (),
    areas: Sequence[str] = (),
) -> Told:
    """Return what an artist is told about a failed job.

    Args:
        error: `Job.error`; None if the server did not say why the job failed.
        address, styles, areas: as for `tell`.
    """
    if error is None:
        return Told(_("The painting failed."), _("The server did not say why. Try again."), TRY_AGAIN)
    if isinstance(error, RETRIABLE):
        # Here the job's worker was unavailable, not the server.
        return Told(
            _("The painting failed."),
            _("The program that painted it on the server ended. Try again."),
            TRY_AGAIN,
        )
    return tell(error, address, styles=styles, areas=areas)


def painting(progress: Progress | None) -> str:
    """Return the progress of a painting in words.

    Args:
        progress: the newest progress; None before the first.
    """
    if progress is None:
        return _("Starting …")
    made, all, left = progress.evaluation, progress.evaluations, progress.time_left
    if progress.preparing is not None:
        percent = round(100 * progress.preparing)
        if left is None:
            return _("Painting, {made} of {all}: comparing with the style, {percent} %").format(
                made=made, all=all, percent=percent
            )
        return _("Painting, {made} of {all}: comparing with the style, {percent} %, {time} left").format(
            made=made, all=all, percent=percent, time=duration(left)
        )
    if left is None:
        return _("Painting, {made} of {all}").format(made=made, all=all)
    return _("Painting, {made} of {all}, {time} left").format(made=made, all=all, time=duration(left))


def duration(seconds: float) -> str:
    """Return a duration in words: "8 s", "about 3 min", "about 2 h"."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=max(1, math.ceil(seconds)))
    if seconds < 90 * 60:
        return _("about {minutes} min").format(minutes=round(seconds / 60))
    return _("about {hours} h").format(hours=round(seconds / 3600))


def place(address: str) -> str:
    """Return the name of a server for people: its address, "this computer", or "the server" if unknown."""
    if address == HERE:
        return _("this computer")
    return address or _("the server")


def _server(address: str) -> str:
    """Returns a server as the subject of a sentence."""
    if address == HERE:
        return _("Impasto on this computer")
    return _("The server {address}").format(address=cut(address)) if address else _("The server")


# The connection.


def _unreachable(error: Unreachable, address: str) -> Told:
    told = _diagnosed(error, address)
    if told is not None:
        return told
    if address == HERE:
        return Told(_("Impasto on this computer does not answer."), _("Start it again."), TRY_AGAIN)
    if not address:
        return Told(_("The server does not answer."), _advice_for_silence(), SERVER_SETTINGS)
    return Told(
        _("No server answers at {address}.").format(address=cut(address)),
        _advice_for_silence(),
        SERVER_SETTINGS,
    )


def _advice_for_silence() -> str:
    return _(
        "Check the address in the server settings. If it is right, ask the server's administrator whether "
        "the server is running."
    )


def _diagnosed(error: Unreachable, address: str) -> Told | None:
    """Returns what an artist is told about a cause that is known; None if none is."""
    host = cut(address.rpartition(":")[0] or address)
    known = {
        "unknown host": (
            _("There is no computer named {host}.").format(host=host),
            _("Check the spelling of the address in the server settings, and the network."),
        ),
        "web server": (
            _("A web server answers there, not Impasto."),
            _(
                "Check the port of the address in the server settings. If a proxy is in between, it must "
                "pass on HTTP/2 (gRPC)."
            ),
        ),
        "another program": (
            _("Another program answers there, not Impasto."),
            _("Check the port of the address in the server settings."),
        ),
        "needs TLS": (
            _("The server uses encryption (TLS)."),
            _("Switch on encryption in the server settings."),
        ),
        "no TLS": (
            _("The server does not use encryption (TLS)."),
            _(
                "Switch off encryption in the server settings, or ask the server's administrator to switch "
                "it on there."
            ),
        ),
        "TLS fails": (
            _("The encrypted connection (TLS) fails."),
            _("The server must use TLS 1.2 or newer. Ask the server's administrator."),
        ),
        "certificate files": (
            _("The certificate file cannot be used."),
            _("Choose another file (PEM) in the server settings."),
        ),
        "certificate for another name": (
            _("The server's certificate is for another name."),
            _(
                "Enter the server's address with the name that is in its certificate, or ask the server's "
                "administrator for one."
            ),
        ),
        "certificate expired": (
            _("The server's certificate has expired."),
            _("Check this computer's date. If it is right, ask the server's administrator to renew it."),
        ),
        "certificate not valid yet": (
            _("The server's certificate is not valid yet."),
            _("Check this computer's date and time."),
        ),
        "certificate not trusted": (
            _("The server's certificate is not trusted."),
            _(
                "Ask the server's administrator for the file with the certificate that signed it, and choose "
                "this file in the server settings."
            ),
        ),
        "needs a certificate": (
            _("The server wants a certificate of yours."),
            _("This plugin cannot send one. Ask the server's administrator for access with a token."),
        ),
    }
    if error.kind in known:
        return Told(*known[error.kind], SERVER_SETTINGS)
    if not error.remedy:
        return None
    return Told(
        _("{server} cannot be used.").format(server=_server(address)),
        joined(ended(error.cause), _("Check the server settings.")),
        SERVER_SETTINGS,
    )


def _out_of_contact(error: Unavailable | DeadlineExceeded, address: str) -> Told:
    if error.reason == "SHUTTING_DOWN":
        return Told(
            _("{server} is shutting down.").format(server=_server(address)), _("Try again when it is back.")
        )
    if error.reason in ("INTAKE", "STORAGE_BUSY", "WORKER_BUSY"):
        return Told(
            _("{server} is busy.").format(server=_server(address)), _("Try again in a moment."), TRY_AGAIN
        )
    if error.reason == "SLOW_REQUEST":
        return Told(
            _("Sending the picture took too long."),
            _("The network is slow. Choose a smaller size, or try again."),
            TRY_AGAIN,
        )
    if isinstance(error, DeadlineExceeded):
        return Told(
            _("{server} takes too long to answer.").format(server=_server(address)),
            _("It may be busy, or the network may be slow."),
            TRY_AGAIN,
        )
    if address == HERE:
        return Told(
            _("The connection to Impasto on this computer is lost."), _("It may have ended."), TRY_AGAIN
        )
    return Told(
        _("The connection to {server} is lost.").format(server=cut(place(address))),
        _("The server may be restarting, or the network may be interrupted."),
        TRY_AGAIN,
    )


def _without_access(error: Unauthenticated | PermissionDenied) -> Told:
    if isinstance(error, PermissionDenied):
        return Told(
            _("The server does not let you do this."),
            _("Ask the server's administrator for the right to do it."),
            SERVER_SETTINGS,
        )
    if error.reason == "NO_COMMON_NAME":
        return Told(
            _("The server does not accept your certificate."),
            _("Ask the server's administrator for another one."),
            SERVER_SETTINGS,
        )
    # The server has one reason for both.
    if "requires a token" in error.message:
        return Told(
            _("The server needs a token from you."),
            _("Ask the server's administrator for one, and enter it in the server settings."),
            SERVER_SETTINGS,
        )
    return Told(
        _("The server does not know your token."),
        _(
            "Check the token in the server settings. If it is right, it may no longer be valid: ask the "
            "server's administrator for a new one."
        ),
        SERVER_SETTINGS,
    )


# The server's limits, and what it no longer has.


def _exhausted(error: ResourceExhausted) -> Told:
    later = _("Try again later.")
    if error.retry_after is not None:
        later = _("Try again in {time}.").format(time=duration(error.retry_after))
    if error.reason == "DOES_NOT_FIT":
        return refusals.too_large(error.message)
    if error.reason == "OUT_OF_MEMORY":
        return Told(
            _("The server has too little memory for this."),
            _("Choose a smaller size, or try again when other paintings are finished."),
            TRY_AGAIN,
        )
    if error.reason == "TOO_MANY_JOBS":
        return Told(
            _("You have too many paintings on the server."),
            _("Wait until one of them is finished, or cancel one."),
            TRY_AGAIN,
        )
    if error.reason == "QUEUE_FULL":
        return Told(_("The server's queue is full."), later, TRY_AGAIN)
    if error.reason == "TOO_MANY_BYTES":
        return Told(
            _("Your space on the server is full."),
            _(
                "The server makes room when it deletes your older paintings. Try again later, choose a "
                "smaller size, or ask the server's administrator for more space."
            ),
            TRY_AGAIN,
        )
    if error.reason == "STORAGE":
        return Told(
            _("The server's disk is full."),
            _("Try again later. If it is still full then, tell the server's administrator."),
            TRY_AGAIN,
        )
    if error.reason.startswith("TOO_MANY_"):
        return Told(_("The server has too much to do for you at once."), later, TRY_AGAIN)
    advice = later
    if error.retry_after is None:
        advice = _("Choose a smaller size, or wait until other paintings are finished.")
    return Told(_("The server has no room for this now."), joined(_quoted(error), advice), TRY_AGAIN)


def _gone(error: NotFound | FailedPrecondition) -> Told:
    if isinstance(error, NotFound):
        if "styles/" in error.message:
            return Told(
                _("The server no longer has this style."), _("Choose another style, and start again.")
            )
        if "jobs/" in error.message:
            return Told(
                _("The server no longer has this painting."),
                _("It was deleted there. Paint the picture again."),
            )
        return Told(_("The server no longer has this picture."), _("Start again."))
    if error.reason in ("IMAGE_MISSING", "IMAGE_LOST", "IMAGE_DAMAGED"):
        return Told(_("The server has lost a picture that it needs."), _("Start again."), TRY_AGAIN)
    if error.reason == "WRONG_OFFSET":
        return Told(_("Sending the picture was interrupted."), _("Try again."), TRY_AGAIN)
    if error.reason == "JOB_IS_OVER":
        return Told(_("The painting has ended already."), _("It can no longer be changed."))
    if error.reason == "HELD":
        return held()
    if error.reason == "NO_RESULT":
        return Told(_("The painting has no result."), _("Paint the picture again."))
    if error.reason == "NO_PREVIEW":
        return Told(_("The painting has no preview yet."))
    return Told(_("This is not possible now."), _quoted(error))


def held() -> Told:
    """Return what an artist is told of a painting that the server's administrator holds."""
    return Told(
        _("The server's administrator has stopped the painting."), _("It waits until they let it go on.")
    )


def _damaged(error: DataLoss) -> Told:
    if error.reason == "DAMAGED":
        return Told(_("The result is damaged on the server."), _("Paint the picture again."))
    return Told(
        _("The picture arrived damaged."),
        _("The connection was probably interrupted. Try again."),
        TRY_AGAIN,
    )


# Faults.


def _of_this_side(error: ImpastoError) -> Told:
    if isinstance(error, ClientClosed):
        return Told(_("The connection to the server was closed."), _("Try again."), TRY_AGAIN)
    if isinstance(error, TransportMissing):
        return Told(
            _("A part of the plugin is missing."),
            joined(ended(error.message), _("Install the plugin again.")),
        )
    return Told(_("Impasto could not start on this computer."), ended(error.message), TRY_AGAIN)


def _of_the_server(error: ImpastoError) -> Told:
    if error.code == "UNIMPLEMENTED":
        return Told(
            _("The server does not fit this plugin."),
            _(
                "One of them is older. Update the plugin, or ask the server's administrator to update the "
                "server."
            ),
        )
    if error.reason == "JOB_KILLS_WORKER":
        return Told(
            _("The server cannot paint this."),
            _("It failed several times without progress. Try another size, or another style."),
        )
    persists = _("Try again. If it fails again, tell the server's administrator.")
    if error.reason == "PAINTING_FAILED":
        return Told(_("The painting failed on the server."), persists, TRY_AGAIN)
    if error.reason == "INTERNAL":
        return Told(_("The server has a fault."), persists, TRY_AGAIN)
    if isinstance(error, JobFailed):
        return Told(_("The painting failed."), joined(_quoted(error), persists), TRY_AGAIN)
    known = _("The server has a fault.") if isinstance(error, ServerError) else _("This did not work.")
    return Told(known, joined(_quoted(error), persists), TRY_AGAIN)


def _of_the_system(error: OSError) -> Told:
    file = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    # A widget takes no halves of characters.
    file = file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if error.errno in _FULL:
        return Told(_("The disk is full."), _("Make room on it, and try again."), TRY_AGAIN)
    why = _of_the_number(error)
    if not file:
        return Told(_("The system reports an error."), why)
    name = cut(os.path.basename(file.rstrip("/\\")) or file)
    where = _("Its place: {path}").format(path=file)
    if isinstance(error, FileNotFoundError):
        return Told(_("{file} does not exist.").format(file=name), where)
    if error.errno in _DENIED:
        return Told(_("You have no permission for {file}.").format(file=name), where)
    if isinstance(error, IsADirectoryError):
        return Told(_("{file} is a folder.").format(file=name), joined(_("A file is needed here."), where))
    return Told(_("{file} cannot be used.").format(file=name), joined(why, where))


def _of_the_number(error: OSError) -> str:
    """Returns why a file cannot be used."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return _("Something else of this name is in the way. Move or rename it.")
    if error.errno == errno.ENAMETOOLONG:
        return _("The name is too long. Choose a shorter one.")
    if error.errno in (errno.EIO, getattr(errno, "ESTALE", errno.EIO)):
        return _("The disk or the network drive has a fault. Choose a place on another one.")
    said = error.strerror or (str(error.args[-1]) if error.args else type(error).__name__)
    # The system's own words, which may be in another language.
    return _("The system says: {said}").format(said=ended(said))


def _quoted(error: ImpastoError) -> str:
    """Returns what the server says, for what this has no words of its own for."""
    return _("The server says: {said}").format(said=ended(error.message))
