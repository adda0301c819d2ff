"""Every error that an artist can be told of, with the short sentence and the remedy for it."""

from __future__ import annotations

import errno
import ssl

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
    invalid_field,
)
from impasto.hosts import words
from impasto.security import TlsFileError

STUDIO = "studio:50051"
SETTINGS, AGAIN = words.SERVER_SETTINGS, words.TRY_AGAIN

TOLD: list[tuple[Exception, str, str, str]] = [
    # The connection.
    (Unreachable("gone"), STUDIO, "No server answers at studio:50051.", SETTINGS),
    (Unreachable("gone", cause="Connection refused"), "", "The server does not answer.", SETTINGS),
    (Unreachable("gone"), words.HERE, "Impasto on this computer does not answer.", AGAIN),
    (
        Unreachable("x", cause="odd", remedy="mend"),
        STUDIO,
        "The server studio:50051 cannot be used.",
        SETTINGS,
    ),
    (Unavailable("broken pipe"), STUDIO, "The connection to studio:50051 is lost.", AGAIN),
    (Unavailable("broken pipe"), "", "The connection to the server is lost.", AGAIN),
    (Unavailable("x"), words.HERE, "The connection to Impasto on this computer is lost.", AGAIN),
    (Unavailable("x", reason="SHUTTING_DOWN"), STUDIO, "The server studio:50051 is shutting down.", ""),
    (Unavailable("x", reason="INTAKE"), STUDIO, "The server studio:50051 is busy.", AGAIN),
    (Unavailable("x", reason="STORAGE_BUSY"), "", "The server is busy.", AGAIN),
    (Unavailable("x", reason="WORKER_BUSY"), words.HERE, "Impasto on this computer is busy.", AGAIN),
    (DeadlineExceeded("x"), STUDIO, "The server studio:50051 takes too long to answer.", AGAIN),
    (DeadlineExceeded("x", reason="SLOW_REQUEST"), STUDIO, "Sending the picture took too long.", AGAIN),
    (DeadlineExceeded("x", reason="MAX_DEADLINE"), "", "The server takes too long to answer.", AGAIN),
    # Access.
    (
        Unauthenticated("this server requires a token; ask …", reason="NO_TOKEN"),
        STUDIO,
        "The server needs a token from you.",
        SETTINGS,
    ),
    (
        Unauthenticated("the token is not valid; ask …", reason="NO_TOKEN"),
        STUDIO,
        "The server does not know your token.",
        SETTINGS,
    ),
    (
        Unauthenticated("x", reason="NO_COMMON_NAME"),
        STUDIO,
        "The server does not accept your certificate.",
        SETTINGS,
    ),
    (PermissionDenied("x"), STUDIO, "The server does not let you do this.", SETTINGS),
    # The server's limits.
    (ResourceExhausted("x", reason="OUT_OF_MEMORY"), "", "The server has too little memory for this.", AGAIN),
    (
        ResourceExhausted("needs about 4,000 MiB of memory, but 2,000 MiB are there", reason="DOES_NOT_FIT"),
        "",
        "The size is too large for the server.",
        AGAIN,
    ),
    (
        ResourceExhausted("x", reason="TOO_MANY_JOBS"),
        "",
        "You have too many paintings on the server.",
        AGAIN,
    ),
    (ResourceExhausted("x", reason="QUEUE_FULL"), "", "The server's queue is full.", AGAIN),
    (ResourceExhausted("x", reason="TOO_MANY_BYTES"), "", "Your space on the server is full.", AGAIN),
    (ResourceExhausted("x", reason="STORAGE"), "", "The server's disk is full.", AGAIN),
    *(
        (
            ResourceExhausted("x", reason=reason),
            "",
            "The server has too much to do for you at once.",
            AGAIN,
        )
        for reason in (
            "TOO_MANY_UPLOADS",
            "TOO_MANY_CALLS",
            "TOO_MANY_REQUESTS",
            "TOO_MANY_DOWNLOADS",
            "TOO_MANY_WATCHERS",
        )
    ),
    (ResourceExhausted("x"), "", "The server has no room for this now.", AGAIN),
    # What is wrong with the order.
    (InvalidRequest("odd"), "", "The server refuses this.", ""),
    (
        invalid_field("spec.styles[1].image", "is empty; give the bytes of a PNG, JPEG, WebP or TIFF file"),
        "",
        "Style “Mine”: The file is empty.",
        "",
    ),
    (
        invalid_field("spec.regions[0].content_mask", "cannot be read as an image; save it again and resend"),
        "",
        "Area “Sky”: The file is damaged or incomplete.",
        "",
    ),
    (
        invalid_field("spec.recipe.longest_side", "is 9000 px; give 16 to 8192"),
        "",
        "Size: The server does not accept 9000.",
        "",
    ),
    (invalid_field("spec.recipe.seed", "is odd"), "", "The server cannot use this: Seed.", ""),
    (
        invalid_field("request", "has 9,000,000 bytes; send at most 8,000,000"),
        "",
        "The pictures are too large to send.",
        AGAIN,
    ),
    (
        invalid_field("update_mask", "is empty; name the fields to change"),
        "",
        "The server does not understand the plugin.",
        "",
    ),
    # What the server no longer has.
    (NotFound("styles/a does not exist", reason="NOT_FOUND"), "", "The server no longer has this style.", ""),
    (
        NotFound("jobs/a does not exist", reason="NOT_FOUND"),
        "",
        "The server no longer has this painting.",
        "",
    ),
    (NotFound("image a does not exist"), "", "The server no longer has this picture.", ""),
    *(
        (
            FailedPrecondition("x", reason=reason),
            "",
            "The server has lost a picture that it needs.",
            AGAIN,
        )
        for reason in ("IMAGE_MISSING", "IMAGE_LOST", "IMAGE_DAMAGED")
    ),
    (FailedPrecondition("x", reason="WRONG_OFFSET"), "", "Sending the picture was interrupted.", AGAIN),
    (FailedPrecondition("x", reason="JOB_IS_OVER"), "", "The painting has ended already.", ""),
    (
        FailedPrecondition("x", reason="HELD"),
        "",
        "The server's administrator has stopped the painting.",
        "",
    ),
    (FailedPrecondition("x", reason="NO_RESULT"), "", "The painting has no result.", ""),
    (FailedPrecondition("x", reason="NO_PREVIEW"), "", "The painting has no preview yet.", ""),
    (FailedPrecondition("x"), "", "This is not possible now.", ""),
    (DataLoss("x", reason="DAMAGED"), "", "The result is damaged on the server.", ""),
    (DataLoss("ends early"), "", "The picture arrived damaged.", AGAIN),
    # Faults.
    (JobCancelled("x"), "", "The painting was cancelled.", ""),
    (JobFailed("strange"), "", "The painting failed.", AGAIN),
    (ServerError("x", reason="INTERNAL"), "", "The server has a fault.", AGAIN),
    (ServerError("x", reason="PAINTING_FAILED"), "", "The painting failed on the server.", AGAIN),
    (ServerError("x", reason="JOB_KILLS_WORKER"), "", "The server cannot paint this.", ""),
    (
        ServerError("x", code="UNIMPLEMENTED", reason="UNKNOWN_METHOD"),
        "",
        "The server does not fit this plugin.",
        "",
    ),
    (ServerError("odd"), "", "The server has a fault.", AGAIN),
    (ImpastoError("odd"), "", "This did not work.", AGAIN),
    (ClientClosed(), "", "The connection to the server was closed.", AGAIN),
    (TransportMissing("no grpclib"), "", "A part of the plugin is missing.", ""),
    (PrivateServerError("ended with 1"), "", "Impasto could not start on this computer.", AGAIN),
    (
        TlsFileError("ca", "ca.pem", "contains no certificate", "x"),
        "",
        "The certificate file cannot be used.",
        SETTINGS,
    ),
    (KeyError("bug"), "", "The plugin has a fault.", ""),
    (ValueError(""), "", "The plugin has a fault.", ""),
    (UnicodeEncodeError("utf-8", "x", 0, 1, "odd"), "", "The plugin has a fault.", ""),
    (MemoryError(), "", "There is not enough memory for this picture.", ""),
    # Files.
    (FileNotFoundError(errno.ENOENT, "No such file", "/a/b.png"), "", "b.png does not exist.", ""),
    (PermissionError(errno.EACCES, "Denied", b"/a/b.png"), "", "You have no permission for b.png.", ""),
    (OSError(errno.EROFS, "Read-only", "/a/b.png"), "", "You have no permission for b.png.", ""),
    (IsADirectoryError(errno.EISDIR, "is a folder; give a file", "/a/b/"), "", "b is a folder.", ""),
    (OSError(errno.ENOSPC, "No space left", "/a/b.png"), "", "The disk is full.", AGAIN),
    (OSError(errno.EINVAL, "is a device or a socket", "/a/b"), "", "b cannot be used.", ""),
    (OSError(errno.EIO, "Input/output error", "/a/b"), "", "b cannot be used.", ""),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"), "", "b cannot be used.", ""),
    (OSError(errno.ENAMETOOLONG, "File name too long", "/a/b"), "", "b cannot be used.", ""),
    (OSError("odd"), "", "The system reports an error.", ""),
    (OSError(), "", "The system reports an error.", ""),
    (ssl.SSLError("odd"), "", "The system reports an error.", ""),
    (ValueError("The layer is empty."), "", "The layer is empty.", ""),
    (words.ToldError("A.", "B.", AGAIN), "", "A.", AGAIN),
]
"""The error, the server's address, the short sentence, and the remedy."""
