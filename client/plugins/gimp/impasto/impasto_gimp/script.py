"""Painting without the dialog: for scripts, and for "Repeat". It blocks until the picture is there.

GIMP shows its own progress bar, whose Cancel kills this process: the job is made so that it ends soon after.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

from gi.repository import Gimp, GLib

from impasto.address import is_local, parse
from impasto.errors import NotFound, Unavailable, Unreachable
from impasto.hosts import Choices, Controller, Server, ThisComputer, Timing, open_client, plan, words
from impasto.hosts.translate import _
from impasto.job import Progress
from impasto.recipe import RawPixels, StyleName
from impasto_gimp import kept, made, placing
from impasto_gimp.content import Part
from impasto_gimp.host import GimpHost
from impasto_gimp.pictures import Pixels

PATIENCE = 60.0
"""How long a painting waits without contact to the server, in seconds."""
LINGER = 4.0
"""Seconds for which the server goes on without this process: enough to connect again, and few enough that
GIMP's Cancel, which kills it, ends the painting."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What to paint with.

    Attributes:
        server: the server that paints.
        style: a file, or the name of a style on the server.
        choices: how to paint.
    """

    server: Server
    style: str
    choices: Choices


def request(config: Any) -> Request:
    """Returns what a procedure's arguments ask for.

    Raises:
        ValueError: an argument is missing or wrong; the message is a sentence for people.
    """
    style = (config.get_property("style") or "").strip()
    if not style:
        raise ValueError(_("Choose a style: a picture file, or the name of a style on the server."))
    values = {
        field.name: config.get_property(field.name.replace("_", "-")) for field in dataclasses.fields(Choices)
    }
    return Request(server(config), style, Choices(**values))


def server(config: Any) -> Server:
    """Returns the server that a procedure's arguments name.

    Raises:
        ValueError: its address is missing or invalid, the token cannot be read, or a network would carry the
            token unencrypted; the message is a sentence for people.
    """
    address = (config.get_property("server") or "").strip()
    if not address:
        raise ValueError(
            _("Enter the address of an Impasto server. Ask its administrator if you do not know it.")
        )
    encrypted = config.get_property("tls")
    token_file, ca = _file(config, "token-file"), _file(config, "ca-file")
    token = ""
    if token_file:
        token = token_of(token_file)
        if not encrypted and not is_local(parse(address)):
            raise ValueError(plaintext(address))
    if ca and encrypted:
        _text(ca, _("The certificate file {file} cannot be read: {why}."))
    return Server(address, token, encrypted, str(ca or ""))


def plaintext(address: str) -> str:
    """Returns a sentence about a token that a network would carry unencrypted."""
    return _(
        "Your token would go to {address} unencrypted, and anyone on the network could read it. "
        "Switch on Encrypted (TLS); if the server does not support it, ask its administrator."
    ).format(address=address)


def token_of(file: pathlib.Path) -> str:
    """Returns the token in a file.

    Raises:
        ValueError: it cannot be read, or is empty; the message is a sentence for people.
    """
    token = _text(file, _("The token file {file} cannot be read: {why}.")).strip()
    if not token:
        raise ValueError(_("The token file {file} is empty.").format(file=file))
    return token


def _file(config: Any, name: str) -> pathlib.Path | None:
    path = (config.get_property(name) or "").strip()
    return pathlib.Path(path).expanduser() if path else None


def _text(path: pathlib.Path, complaint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or _("it is not a text file")
        raise ValueError(complaint.format(file=path, why=why)) from None


def style_source(style: str) -> pathlib.Path | StyleName:
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
        raise ValueError(_("There is no style file {file}. Choose another one.").format(file=style))
    return StyleName(f"styles/{style}")


def paint(config: Any, part: Part) -> Gimp.Layer:
    """Paints as a procedure's arguments say, and returns the new layer.

    Raises:
        ImpastoError, OSError, ValueError: it failed; `sentence` puts the error into words.
    """
    asked = request(config)
    source = style_source(asked.style)
    title = asked.style.removeprefix("styles/")
    if os.path.sep in title or "." in title:
        title = pathlib.Path(title).stem
    styles = [{"key": asked.style, "title": title, "share": 100}]
    # From a painting of Impasto, a second go is meant; else the seed is the script's.
    choices = made.fresh(part, styles, asked.choices) if part.told else asked.choices
    with open_client(asked.server, Timing(patience=PATIENCE)) as client:
        try:
            return _paint(client, source, part, choices, styles, show=False)
        except NotFound:
            raise ValueError(_no_such_style(client, asked.style)) from None


def repeat(part: Part) -> Gimp.Layer:
    """Paints as it was chosen last in the dialog, and returns the new layer.

    Raises:
        ImpastoError, OSError, ValueError: it failed; `sentence` puts the error into words.
    """
    storage = kept.storage()
    last = kept.load(storage)
    if not last.styles:
        raise ValueError(
            _("Nothing to repeat yet. Choose a style in Filters → Artistic → Paint in a Style… first.")
        )
    host = GimpHost(lambda placed, painted: None)
    controller = Controller(
        host,
        storage,
        timing=Timing(patience=PATIENCE),
        this_computer=ThisComputer(host, process=os.getppid()),
    )
    try:
        client = _connected(controller)
        library, server = controller.library, controller.connection.key
        sources = [(library.source(share.style, client, server), float(share.share)) for share in last.styles]
        choices = made.fresh(part, made.described(last.styles), last.choices)
        return _paint(client, sources, part, choices, made.described(last.styles), show=True)
    finally:
        controller.close()


def _connected(controller: Controller) -> Any:
    """Returns a client of the server that was used last, as soon as it answers."""
    if controller.server is None:
        raise ValueError(
            _("No server is chosen. Open Filters → Artistic → Paint in a Style… and choose one first.")
        )
    connection, waited = controller.connection, []
    GLib.timeout_add(round(1000 * PATIENCE), lambda: waited.append(True))
    controller.start()
    context = GLib.MainContext.default()
    while connection.client is None:
        computer = controller.this_computer
        if controller.is_here and computer is not None and computer.state in ("absent", "failed"):
            raise ValueError(computer.sentence)
        if connection.state == "refused" or (waited and connection.state != "connecting"):
            raise ValueError(connection.sentence)
        context.iteration(True)
    return connection.client


def _paint(
    client: Any, source: Any, part: Part, choices: Choices, styles: list[dict[str, Any]], *, show: bool
) -> Gimp.Layer:
    Gimp.progress_init(part.told or _("Painting …"))
    try:
        size = plan(part.width, part.height, choices.size, most=client.info().limits.max_longest_side)
        pixels = part.read(size.painted_width, size.painted_height)
        place = part.place("above")
        painting = client.stylize(
            RawPixels(pixels.width, pixels.height, pixels.rgba, pixels.bits),
            source,
            title=part.title,
            previews=False,
            size=size.longest_side,
            format="png16" if pixels.bits == 16 else None,
            linger=LINGER,
            **choices.settings(),
        )
        with painting:
            for event in painting:
                if isinstance(event, Progress):
                    Gimp.progress_set_text(words.painting(event))
                    Gimp.progress_update(event.evaluation / event.evaluations)
            picture = painting.result()
            format = "rgba16" if pixels.bits == 16 else "rgba8"
            image = client.download(result_of=painting.job.name, format=format)
    finally:
        Gimp.progress_end()
    painted = Pixels(image.width, image.height, image.data, pixels.bits)
    name = made.name([style["title"] for style in styles], choices)
    how = made.record(styles, choices, picture.metadata, place)
    return placing.put(painted, place, name, how, show=show).layer


def _no_such_style(client: Any, style: str) -> str:
    offered = ", ".join(style.name.removeprefix("styles/") for style in client.styles())
    if offered:
        return _("The server has no style “{style}”. It has: {offered}.").format(style=style, offered=offered)
    return _("The server has no style “{style}”. It has none; choose a picture file.").format(style=style)


def sentence(error: Exception, address: str) -> str:
    """Returns an error as a sentence."""
    if isinstance(error, Unavailable) and not isinstance(error, Unreachable):
        return _(
            "The connection to {address} was lost and did not come back. Your image is unchanged. "
            "Try again when the server is available."
        ).format(address=address)
    return words.sentence(error, address)
