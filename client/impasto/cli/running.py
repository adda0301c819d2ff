"""How a command runs: its server, its painting, its files, and its end."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from impasto.address import parse
from impasto.cli.field_names import in_options
from impasto.cli.json_lines import plain, print_json
from impasto.cli.keeping import keep
from impasto.cli.options import NAMED_WEIGHTS, Connection, Run
from impasto.cli.output import Output, check_inputs, why_not
from impasto.cli.proportions import stretched
from impasto.cli.signals import exit_code_of
from impasto.cli.sources import written
from impasto.cli.spec import Spec
from impasto.cli.words import say
from impasto.errors import (
    DeadlineExceeded,
    ImpastoError,
    InvalidRequest,
    PrivateServerError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from impasto.files import read_text
from impasto.security import Tls, TlsFileError

if TYPE_CHECKING:
    from impasto.cli.terminal import Display
    from impasto.client import Client
    from impasto.job import ServerInfo
    from impasto.painting import Painting
    from impasto.picture import Picture

FAILED, WRONG, UNREACHABLE = 1, 2, 3

PRIVATE_PATIENCE = 5.0
"""Seconds for which a private server that does not answer is called again."""

PRIVATE_START = 120.0
"""Seconds in which a private server has to load its weights."""


def paint(
    spec: Spec,
    output: Output,
    run: Run,
    display: Display,
    *,
    look_at: Callable[[Client], None] | None = None,
    keep_running: bool = False,
) -> Picture:
    """Has a picture painted, shows its progress, and writes its files.

    Args:
        look_at: called with the client before it asks for the painting.
        keep_running: whether the job continues when this command ends early.

    Raises:
        ImpastoError: the painting failed, or a file could not be written.
    """
    if keep_running and run.server is None:
        raise InvalidRequest(
            "--keep-running needs a server that outlives this command; name one with --server, or leave "
            "--keep-running out"
        )
    for warning in stretched(spec.content, spec.fitted_files()):
        display.warning(warning)
    with serving(run, display) as address, connected(run, address()) as client, spec.missing_by_name():
        if look_at is not None:
            look_at(client)
        with client.stylize(
            spec.content,
            spec.styles,
            **spec.keywords(),
            previews=(spec.previews or True) if output.film or output.previews or run.json else False,
            keep_running=keep_running,
            timeout=run.timeout,
        ) as painting:
            return follow(
                client,
                painting,
                output,
                display,
                goes_on=keep_running,
                on_server=run.server is not None,
            )


def follow(
    client: Client,
    painting: Painting,
    output: Output,
    display: Display,
    *,
    goes_on: bool,
    on_server: bool = True,
) -> Picture:
    """Shows the progress of a painting, and writes its files.

    Args:
        client: the client that the painting came from.
        goes_on: whether the job continues when this command ends early.
        on_server: whether the server keeps the result after this command.

    Raises:
        ImpastoError: the painting failed, or a file could not be written.
        KeyboardInterrupt: Ctrl-C; its message is for the user.
    """
    from impasto.cli.film import Film
    from impasto.job import Preview

    film = Film() if output.film else None
    numbered, keeps_previews = 0, True
    try:
        for event in painting:
            path = None
            if isinstance(event, Preview):
                if film:
                    film.add(event)
                numbered += 1
                try:
                    if keeps_previews:
                        path = output.write_preview(numbered, event.format, event.data)
                except ImpastoError as error:
                    keeps_previews = False
                    display.warning(f"{error.message}; the painting continues, without further previews")
            display.event(event, str(path) if path else None)
        picture = painting.result()
    except KeyboardInterrupt as interrupt:
        if goes_on:
            name = painting.job.name
            interrupt.args = (
                f"stopped watching; {name} continues, and `impasto watch {name}` returns to it",
            )
        raise
    keep(client, picture, film, output, display, on_server=on_server)
    return picture


def submit(spec: Spec, connection: Connection, display: Display) -> None:
    """Creates a job and prints its name.

    Raises:
        ImpastoError: the server refuses the job.
    """
    server = named_server(connection)
    for warning in stretched(spec.content, spec.fitted_files()):
        display.warning(warning)
    with connected(connection, server, timeout=connection.timeout) as client, spec.missing_by_name():
        job = client.create_job(spec.content, spec.styles, **spec.keywords(), previews=spec.previews or True)
    display.close()
    if connection.json:
        print_json("job", plain(job))
    else:
        say(job.name)


def estimate(spec: Spec, run: Run, display: Display) -> None:
    """Prints what painting would take.

    Raises:
        ImpastoError: it cannot be painted, or the server cannot say.
    """
    from impasto.cli.tables import estimate_table

    for warning in stretched(spec.content, spec.fitted_files()):
        display.warning(warning)
    with serving(run, display) as address, connected(run, address(), timeout=run.timeout) as client:
        if run.server is None:
            info_once_ready(client, run.timeout or PRIVATE_START)
        with spec.missing_by_name():
            told = client.estimate(spec.content, spec.styles, **spec.what())
    display.close()
    if run.json:
        print_json("estimate", plain(told))
    else:
        estimate_table(told)


def named_server(connection: Connection) -> str:
    """Returns the address of the server that has the jobs.

    Raises:
        InvalidRequest: no server is named, or the address is wrong.
    """
    if connection.server is None:
        raise InvalidRequest("no server is given; give --server HOST:PORT, or set IMPASTO_SERVER")
    try:
        return parse(connection.server)
    except ValueError as error:
        raise InvalidRequest(f"--server {error}") from None


@contextlib.contextmanager
def connected(connection: Connection, address: str, *, timeout: float | None = None) -> Iterator[Client]:
    """Gives a client of the named server, with the user's options for TLS and token, or of a private server.

    Raises:
        InvalidRequest: the options are wrong.
    """
    # Importing these takes a moment, in which a private server starts.
    from impasto.calls import DEFAULT_PATIENCE, DEFAULT_TIMEOUT
    from impasto.client import Client

    given = connection if connection.server is not None else Connection()
    try:
        token = token_of(given) if connection.server is not None else None
        tls: Tls | bool = given.tls
        if given.ca or given.cert or given.key:
            tls = Tls(ca=given.ca, cert=given.cert, key=given.key)
        client = Client(
            address,
            token=token,
            tls=tls,
            timeout=timeout or DEFAULT_TIMEOUT,
            # A private server that has ended does not return.
            patience=DEFAULT_PATIENCE if connection.server is not None else PRIVATE_PATIENCE,
            allow_plaintext_token=given.allow_plaintext_token,
        )
    except OSError as error:
        if error.filename is None:  # An error of OpenSSL has no file's name.
            raise InvalidRequest(
                f"--ca, --cert or --key cannot be used ({error.strerror}); give PEM files"
            ) from None
        files = {name: getattr(given, name) for name in ("ca", "cert", "key", "token_file")}
        options = [f"{_named(name)} " for name, file in files.items() if file and str(file) == error.filename]
        raise InvalidRequest(f"{''.join(options[:1])}{error.filename} {why_not(error, 'read')}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"{_source_of_token(given)} contains no text; give the file of a token"
        ) from None
    except TlsFileError as error:
        raise InvalidRequest(f"{_named(error.argument)} {error.file} {error.cause}; {error.remedy}") from None
    except ValueError as error:
        raise InvalidRequest(_with_options(str(error))) from None
    with client:
        yield client


def _named(parameter: str) -> str:
    """Returns what the user wrote to name a file: an option, or the variable that stands for it."""
    return written(parameter) or "--" + parameter.replace("_", "-")


def _source_of_token(connection: Connection) -> str:
    if connection.token_file is not None:
        return f"{_named('token_file')} {connection.token_file}"
    return "IMPASTO_TOKEN"


def token_of(connection: Connection) -> str | None:
    """Returns the token to send to the server; None for no token.

    Raises:
        InvalidRequest: the file or the variable contains no token.
        OSError, UnicodeDecodeError: as `read_text`.
    """
    if connection.token_file is not None:
        written = read_text(connection.token_file).strip()
        if not written:
            raise InvalidRequest(
                f"{_source_of_token(connection)} is empty; give the file of a token, or none"
            )
        token = written
    else:
        token = os.environ.get("IMPASTO_TOKEN", "")
        if not token:
            return None  # An empty variable counts as unset, as it does for every option.
        if not token.strip():
            raise InvalidRequest("IMPASTO_TOKEN is blank; set it to a token, or unset it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidRequest(
            f"{_source_of_token(connection)} contains no valid token; give the token that `impasto-server "
            "token add` printed"
        )
    return token


def _with_options(words: str) -> str:
    """Replaces the client library's arguments by options in an error's words."""
    if found := re.match("(cert|key) is given without (cert|key)", words):
        words = f"{_named(found[1])} is given without --{found[2]}{words[found.end() :]}"
    for python, option in _IN_OPTIONS.items():
        words = words.replace(python, option)
    return words


_IN_OPTIONS = {
    "tls=Tls(ca=FILE)": "--ca FILE",
    "tls=Tls(cert=FILE, key=FILE), and ca with them": "--cert FILE and --key FILE, and --ca with them",
    ", or give that as tls=Tls(server_name=NAME)": "",
    "leave out tls, or": "leave out --tls, --ca, --cert and --key, or",
    "tls=True": "--tls",
    "allow_plaintext_token=True": "--allow-plaintext-token",
}


_OF_A_NAMED_SERVER = ("tls", "ca", "cert", "key", "token_file", "allow_plaintext_token", "priority")
"""Options without a meaning for a private server, by their parameters."""


@contextlib.contextmanager
def serving(run: Run, display: Display, *, page: bool = False) -> Iterator[Callable[[], str]]:
    """Gives a function that returns the server's address. Starts and ends a private server if needed.

    Args:
        page: whether a private server has a page for browsers.
    """
    if run.server is not None:
        for option, value in (("--weights", run.weights), ("--device", run.device)):
            if value is not None:
                raise InvalidRequest(
                    f"{option} sets up a private server, but --server or IMPASTO_SERVER names {run.server}; "
                    "leave out one of the two"
                )
        server = named_server(run)
        yield lambda: server
        return

    for name in _OF_A_NAMED_SERVER:
        given = written(name)
        # The environment may have settings for other commands.
        if given is not None and given.startswith("--"):
            raise InvalidRequest(
                f"{given} has no effect on a private server; name another server with --server, or leave "
                f"{given} out"
            )

    from impasto.private_server import PrivateServer

    if run.weights is not None and run.weights not in NAMED_WEIGHTS:
        check_inputs([("--weights ", Path(run.weights))])

    def show(line: str) -> None:
        text = line if run.verbose else _worth_seeing(line)
        if text:
            display.note(text)

    with PrivateServer(weights=run.weights, device=run.device, page=page, on_line=show) as private:
        try:
            yield lambda: private.address
        except Unavailable as error:
            # The server survives the death of a worker and reports it. Otherwise the server itself has ended.
            if error.reason == "WORKER_DIED":
                raise
            raise private.death() or error from None


@contextlib.contextmanager
def outcome(
    connection: Connection, names: Mapping[str, str], *, quiet: bool = False, interrupted: str = "cancelled"
) -> Iterator[Display]:
    """Shows how a command ends, and ends it with the exit code.

    Args:
        names: the user's names for fields of the request, beside those of `field_names`. They are read only
            when an error is shown.
        interrupted: the words to show after Ctrl-C or SIGTERM, unless the interrupt has its own.
    """
    from impasto.cli import terminal

    with terminal.display(json_lines=connection.json, quiet=quiet or connection.quiet) as display:
        try:
            yield display
        except KeyboardInterrupt as interrupt:
            words, code = str(interrupt) or interrupted, exit_code_of(interrupt)
            display.error(ImpastoError(words, code="CANCELLED"), words, code)
            raise typer.Exit(code) from None
        except ImpastoError as error:
            code = _exit_code(error)
            display.error(error, _in_words(error, connection, names), code)
            raise typer.Exit(code) from None
        except OSError as error:
            # The file existed when the command checked it.
            if isinstance(error, BrokenPipeError) or error.filename is None:
                raise
            told = InvalidRequest(f"{error.filename} {why_not(error, 'read')}")
            display.error(told, told.message, WRONG)
            raise typer.Exit(WRONG) from None
        except BrokenPipeError:
            # The reader of stdout has gone. Without this, closing stdout would raise the error again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None


def _in_words(error: ImpastoError, connection: Connection, names: Mapping[str, str]) -> str:
    """Returns an error's message with options instead of fields, and with what to do."""
    if error.fields:
        return in_options(error.fields, names)
    if isinstance(error, Unreachable) and error.remedy:
        return _with_options(error.message)
    if isinstance(error, Unreachable) and connection.server:
        remedy = "leave out --server to paint here" if isinstance(connection, Run) else "check --server"
        return f"{error.message}. Start one with `impasto-server serve`, or {remedy}"
    if isinstance(error, DeadlineExceeded) and connection.timeout:
        return (
            f"not finished within --timeout {connection.timeout:g} seconds; give more time, or leave it out"
        )
    if isinstance(error, Unauthenticated) and connection.server and error.reason in ("", "NO_TOKEN"):
        given = connection.token_file is not None or os.environ.get("IMPASTO_TOKEN")
        if given:
            return f"{connection.server} does not accept the token in {_source_of_token(connection)}; {_ASK}"
        return f"{connection.server} requires a token; give --token-file, or set IMPASTO_TOKEN; {_ASK}"
    unsaid = [sentence for _, sentence in error.violations if sentence not in error.message]
    message = "; ".join([error.message, *unsaid])
    if isinstance(error, ResourceExhausted) and error.retry_after is not None:
        return f"{message}; try again in {error.retry_after:.0f} s"
    return message


_ASK = "ask the server's administrator for a token"


def _exit_code(error: ImpastoError) -> int:
    if isinstance(error, PrivateServerError):
        return error.exit_code if error.exit_code and error.exit_code > 0 else UNREACHABLE
    if isinstance(error, InvalidRequest):
        return WRONG
    return UNREACHABLE if isinstance(error, (Unavailable, DeadlineExceeded)) else FAILED


_LOG_LINE = re.compile(r"\S*time=\S+ level=(?P<level>\w+) process=\S+ event=(?P<event>.*)")


def _worth_seeing(line: str) -> str | None:
    """Returns the part of a line of the private server's log that its user should see, if any."""
    match = _LOG_LINE.fullmatch(line)
    if match is None:
        return None
    about_weights = "weights fetch" in match["event"]
    return match["event"] if about_weights or match["level"] not in ("DEBUG", "INFO") else None


def info_once_ready(client: Client, patience: float) -> ServerInfo:
    """Returns a server's information once its weights are loaded, at the latest after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        said = client.info()
        if said.network is not None or time.monotonic() > deadline:
            return said
        time.sleep(0.1)
