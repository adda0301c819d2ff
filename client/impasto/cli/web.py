"""The command `impasto web`, and the demo in a browser."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from impasto.cli import page
from impasto.cli.grouped import grouped
from impasto.cli.json_lines import print_json
from impasto.cli.options import RUNNING, Connection, Run, option
from impasto.cli.plain_help import PlainCommand
from impasto.cli.running import connected, named_server, outcome, serving, token_of
from impasto.cli.spec import Spec
from impasto.cli.words import say
from impasto.errors import InvalidRequest

if TYPE_CHECKING:
    from impasto.cli.terminal import Display
    from impasto.client import Client

LOOK_SECONDS = 2.0
"""Time between two looks whether the server still runs."""

NoOpen = Annotated[
    bool,
    option("--no-open", help="Print the address, and open no browser. Default: no.", panel=RUNNING),
]
Qr = Annotated[
    bool,
    option(
        "--qr",
        help="Print the address as a QR code too, for a telephone in the same network. Default: no.",
        panel=RUNNING,
    ),
]
InBrowser = Annotated[
    bool,
    option(
        "--web",
        help="Show the painting on the server's page, in the browser, and write no file. Default: no.",
        panel=RUNNING,
    ),
]
PageServer = Annotated[
    str | None,
    option(
        "--server",
        metavar="HOST:PORT",
        environment="IMPASTO_SERVER",
        help="Server whose page to open. Default: one on this machine that keeps its jobs, until Ctrl-C.",
        panel=RUNNING,
    ),
]


@dataclasses.dataclass(frozen=True)
class Visit(Connection):
    """Whose page to open."""

    server: PageServer = None


def add_command(app: typer.Typer, epilog: str) -> None:
    """Adds `web` to the command line."""
    app.command(name="web", epilog=epilog, cls=PlainCommand)(grouped(web))


def web(visit: Visit, no_open: NoOpen = False, qr: Qr = False) -> None:
    """Open the page of a server in the browser, signed in without typing the token."""
    # By a code in the address, which works once, within ten minutes.
    with outcome(visit, {}, interrupted="stopped; the jobs are kept, and go on next time") as display:
        if visit.server is not None:
            server = named_server(visit)
            with connected(visit, server, timeout=visit.timeout) as client:
                _show(client, server, visit, display, opens=not no_open, qr=qr)
            return
        if qr:
            raise InvalidRequest(
                "--qr needs a server that telephones can reach, with --host 0.0.0.0 and --web-port; name it "
                "with --server"
            )
        from impasto.cli.kept_server import kept_server

        display.note("Starting the server on this machine…")
        with kept_server() as (address, folder), connected(visit, address) as client:
            _show(client, address, visit, display, opens=not no_open)
            display.note(f"Ctrl-C ends it. Its jobs are kept in {folder}.")
            _wait(client)


def show_demo(spec: Spec, run: Run, display: Display) -> None:
    """Has the demo painted, and shows it on the server's page. A private server runs until Ctrl-C."""
    with serving(run, display, page=True) as address, connected(run, address()) as client:
        job = client.create_job(spec.content, spec.styles, **spec.keywords(), previews=True)
        _show(client, address(), run, display, place=job.name)
        if run.server is not None:
            return
        display.note("Ctrl-C ends the server.")
        _wait(client)


def _show(
    client: Client,
    server: str,
    connection: Connection,
    display: Display,
    *,
    place: str = "",
    opens: bool = True,
    qr: bool = False,
) -> None:
    """Opens the page, or prints its address.

    Args:
        place: name of the job to show; empty for the page's beginning.
    """
    info = client.info()
    tls = bool(connection.tls or connection.ca or connection.cert)
    address = page.address_of(info, server, tls=tls)
    # A server without tokens makes no codes.
    token = token_of(connection) if connection.server is not None and info.tenant else None
    once = ", which signs you in once, within ten minutes" if token else ""
    here = page.at(page.with_sign_in(address, token, connection), place)
    shown = f"{address}#/{place}" if place else address
    is_open = opens and page.open_in_browser(here)
    display.close()
    if connection.json:
        print_json("page", {"address": here, "opened": is_open})
    elif is_open:
        say(f"The page is {shown}")
    else:
        if qr:
            display.note(f"In a browser on this computer, open this address{once}:")
        say(here)
    if qr:
        # Each code works once: the telephone gets one of its own.
        there = page.in_network(page.with_sign_in(address, token, connection))
        display.note(f"On a telephone in the same network, scan this, or enter the address below it{once}:")
        print(page.qr_code(there))
        say(there)


def _wait(client: Client) -> NoReturn:
    """Waits until Ctrl-C.

    Raises:
        KeyboardInterrupt: with words for the user: nothing was cancelled.
        Unavailable: the server has ended.
    """
    try:
        while True:
            time.sleep(LOOK_SECONDS)
            client.info()
    except KeyboardInterrupt as interrupt:
        interrupt.args = ("the server was ended",)
        raise
