"""The request to the server, its course, and sentences about it for artists."""

import dataclasses
import os
import pathlib
import threading

from canvas import Painted
from gi.repository import Gimp

from impasto.address import is_local, parse
from impasto.errors import JobCancelled, NotFound, Unavailable, Unreachable
from impasto.hosts import Choices, Server, Timing, open_client, plan, words
from impasto.job import Progress
from impasto.recipe import Previews, StyleName

PREVIEW_SIDE = 512
"""Longer side of the previews in pixels."""
PATIENCE = 60.0
"""How long a painting waits without contact to the server, in seconds."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to paint with.

    Attributes:
        server: the server that paints.
        style: a file, or the name of a style on the server.
        choices: how to paint.
    """

    server: Server
    style: str
    choices: Choices


def order(config):
    """Returns the order that a procedure's arguments make.

    Raises:
        ValueError: an argument is missing or wrong; the message is a sentence for people.
    """
    chosen = {name: config.get_property(name) for name in ("strength", "effort", "color", "size", "seed")}
    style = (config.get_property("style") or "").strip()
    if not style:
        raise ValueError("Choose a style: a picture file, or the name of a style on the server.")
    choices = Choices(**{name.replace("-", "_"): value for name, value in chosen.items()})
    return Order(server(config), style, choices)


def server(config):
    """Returns the server that a procedure's arguments name.

    Raises:
        ValueError: its address is missing or invalid, the token cannot be read, or a network would carry the
            token unencrypted; the message is a sentence for people.
    """
    address = (config.get_property("server") or "").strip()
    if not address:
        raise ValueError(
            "Enter the address of an Impasto server. Ask its administrator if you do not know it."
        )
    encrypted = config.get_property("tls")
    token_file, ca = _file(config, "token-file"), _file(config, "ca-file")
    token = ""
    if token_file:
        token = _text(token_file, "token").strip()
        if not token:
            raise ValueError(f"The token file {token_file} is empty.")
        if not encrypted and not is_local(parse(address)):
            raise ValueError(
                f"Your token would go to {address} unencrypted, and anyone on the network could read it. "
                "Switch on Encrypted (TLS); if the server does not support it, ask its administrator."
            )
    if ca and encrypted:
        _text(ca, "certificate")
    return Server(address, token, encrypted, str(ca or ""))


def _file(config, name):
    path = (config.get_property(name) or "").strip()
    return pathlib.Path(path).expanduser() if path else None


def _text(path, what):
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a text file"
        raise ValueError(f"The {what} file {path} cannot be read: {why}.") from None


def style_source(style):
    """Returns a style for the client: the file, if it exists, else the style on the server with that name.

    Raises:
        ValueError: it can only be a file, and there is none; the message is a sentence for people.
    """
    path = pathlib.Path(style).expanduser()
    if path.is_file():
        return path
    if style.startswith("styles/"):
        return StyleName(style)
    if path.name != style or path.suffix:
        raise ValueError(f"There is no style file {style}. Choose another one.")
    return StyleName(f"styles/{style}")


class Attempt:
    """An attempt at a painting, which another thread may cancel.

    Args:
        order: what to paint with.
        part: the part of the layer to paint.
    """

    def __init__(self, order, part):
        self._order = order
        self._part = part
        self._lock = threading.Lock()
        self._painting = None
        self._cancelled = False

    def run(self, show):
        """Paints and returns the picture. May be used from any thread.

        Args:
            show: called with the painting and each of its events.

        Raises:
            JobCancelled: it was cancelled.
            ImpastoError, OSError, ValueError: it failed; `sentence` puts the error into words.
        """
        order, part = self._order, self._part
        source = style_source(order.style)
        with open_client(order.server, Timing(patience=PATIENCE)) as client:
            most = client.info().limits.max_longest_side
            size = plan(part.width, part.height, order.choices.size, most=most)
            pixels = part.scaled(size.painted_width, size.painted_height)
            self._check()
            try:
                painting = client.stylize(
                    pixels,
                    source,
                    title=part.title,
                    previews=Previews(format="jpeg", max_side=PREVIEW_SIDE),
                    size=size.longest_side,
                    **order.choices.settings(),
                )
            except NotFound:
                offered = ", ".join(style.name.removeprefix("styles/") for style in client.styles())
                there = f"It has: {offered}." if offered else "It has none; choose a picture file."
                raise ValueError(f"The server has no style “{order.style}”. {there}") from None
            with painting:
                with self._lock:
                    self._painting = painting
                self._check()
                for event in painting:
                    show(painting, event)
                return self._painted(painting.result())

    def cancel(self):
        """Cancels the painting, which may take a few seconds. May be used from any thread."""
        with self._lock:
            self._cancelled = True
            painting = self._painting
        if painting is not None:
            painting.cancel()

    def _check(self):
        with self._lock:
            if self._cancelled:
                raise JobCancelled("the painting was cancelled")

    def _painted(self, picture):
        order = self._order
        title = order.style.removeprefix("styles/")
        if os.path.sep in title or "." in title:
            title = pathlib.Path(title).stem
        choices = order.choices
        name = f"{title}, strength {choices.strength}, seed {choices.seed}"
        made = {"style": order.style, "choices": dataclasses.asdict(choices), "job": picture.metadata}
        return Painted(picture.data, name, made)


def paint_for_script(config, part):
    """Paints without a dialog, with GIMP's own progress bar.

    Raises:
        ImpastoError, OSError, ValueError: it failed; `sentence` puts the error into words.
    """
    attempt = Attempt(order(config), part)
    Gimp.progress_init("Painting …")

    def show(painting, event):
        if isinstance(event, Progress):
            Gimp.progress_set_text(stands(painting))
            Gimp.progress_update(event.evaluation / event.evaluations)

    try:
        return attempt.run(show)
    finally:
        Gimp.progress_end()


def stands(painting):
    """Returns the state of a painting as a sentence."""
    job, progress = painting.job, painting.progress
    if job.state == "queued":
        place = job.queue_position
        return "Waiting for a free device …" if place is None else f"Waiting, number {place} in the queue …"
    if job.state == "paused":
        return "Paused on the server, which keeps the painting."
    return words.painting(progress)


def sentence(error, address):
    """Returns an error as a sentence."""
    if isinstance(error, Unavailable) and not isinstance(error, Unreachable):
        return (
            f"The connection to {address} was lost and did not come back. Your image is unchanged. "
            "Try again when the server is available."
        )
    return words.sentence(error, address)
