"""How a command runs: its server, its painting, its files, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import typer

from impasto.address import parse
from impasto.cli.keeping import keep
from impasto.cli.options import OPTION_OF_FIELD, Connection, Run
from impasto.cli.output import Output, why_not
from impasto.cli.signals import exit_code_of
from impasto.cli.spec import Spec
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
from impasto.security import Tls

if TYPE_CHECKING:
    from impasto.cli.terminal import Display
    from impasto.client import Client
    from impasto.job import ServerInfo
    from impasto.painting import Painting
    from impasto.picture import Picture

FAILED, WRONG, UNREACHABLE = 1, 2, 3

PRIVATE_PATIENCE = 5.0
"""Seconds that a private server is given to answer again."""


def paint(
    spec: Spec,
    output: Output,
    run: Run,
    display: Display,
    *,
    look_at: Callable[[Client], None] | None = None,
    keep_running: bool = False,
) -> Picture:
    """Paints a picture, shows it being painted, and writes what is to be kept.

    Args:
        look_at: what to do with the server before it is asked to paint.
        keep_running: the job goes on when it is left.

    Raises:
        ImpastoError: it failed, or something could not be written.
    """
    if keep_running and run.server is None:
        raise InvalidRequest("--keep-running is for a server that goes on itself; name it with --server")
    with serving(run, display) as address, connected(run, address()) as client, spec.missing_by_name():
        if look_at is not None:
            look_at(client)
        with client.stylize(
            spec.content,
            spec.styles,
            **spec.keywords(),
            previews=bool(output.film or output.previews or run.json),
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
    """Shows a picture being painted, and writes what is to be kept.

    Args:
        client: what the painting came from.
        goes_on: the job does when it is left.
        on_server: the server goes on when this command has ended, and has the result.

    Raises:
        ImpastoError: it failed, or something could not be written.
        KeyboardInterrupt: Ctrl-C; its message is for the user.
    """
    from impasto.cli.film import Film
    from impasto.job import Preview

    film = Film() if output.film else None
    numbered = 0
    try:
        for event in painting:
            path = None
            if isinstance(event, Preview):
                if film:
                    film.add(event)
                numbered += 1
                path = output.write_preview(numbered, event.format, event.data)
            display.event(event, str(path) if path else None)
        picture = painting.result()
    except KeyboardInterrupt as interrupt:
        if goes_on:
            name = painting.job.name
            interrupt.args = (f"stopped watching; {name} goes on, `impasto watch {name}` comes back to it",)
        raise
    keep(client, picture, film, output, display, on_server=on_server)
    return picture


def submit(spec: Spec, connection: Connection, display: Display) -> None:
    """Makes a job and prints its name.

    Raises:
        ImpastoError: it is refused.
    """
    from impasto.cli.terminal import plain, print_json, say

    server = named_server(connection)
    with connected(connection, server, timeout=connection.timeout) as client, spec.missing_by_name():
        job = client.create_job(spec.content, spec.styles, **spec.keywords())
    display.close()
    if connection.json:
        print_json("job", plain(job))
    else:
        say(job.name)


def named_server(connection: Connection) -> str:
    """The address of the server that has the jobs.

    Raises:
        InvalidRequest: there is none, or it is no address.
    """
    if connection.server is None:
        raise InvalidRequest("no server is named; give --server HOST:PORT, or set IMPASTO_SERVER")
    try:
        return parse(connection.server)
    except ValueError as error:
        raise InvalidRequest(f"--server: {error}") from None


@contextlib.contextmanager
def connected(connection: Connection, address: str, *, timeout: float | None = None) -> Iterator[Client]:
    """A client of the server that is named, with what the user says of TLS and token, or of a private server.

    Raises:
        InvalidRequest: what the user says cannot be.
    """
    # Imported while a private server starts.
    from impasto.calls import DEFAULT_PATIENCE, DEFAULT_TIMEOUT
    from impasto.client import Client

    given = connection if connection.server is not None else Connection()
    has_token = f"--token-file {given.token_file}" if given.token_file is not None else "IMPASTO_TOKEN"
    try:
        token = _token(given) if connection.server is not None else None
        tls: Tls | bool = given.tls
        if given.ca or given.cert or given.key:
            tls = Tls(ca=given.ca, cert=given.cert, key=given.key)
        client = Client(
            address,
            token=token,
            tls=tls,
            timeout=timeout or DEFAULT_TIMEOUT,
            # A private server that is gone does not come back.
            patience=DEFAULT_PATIENCE if connection.server is not None else PRIVATE_PATIENCE,
            allow_plaintext_token=given.allow_plaintext_token,
        )
    except OSError as error:
        if error.filename is None:  # What OpenSSL says has no file's name.
            raise InvalidRequest(
                f"--ca, --cert or --key cannot be used ({error.strerror}); give PEM files"
            ) from None
        files = {"--ca": given.ca, "--cert": given.cert, "--key": given.key, "--token-file": given.token_file}
        options = [f"{option} " for option, file in files.items() if file and str(file) == error.filename]
        raise InvalidRequest(f"{''.join(options[:1])}{error.filename} {why_not(error, 'read')}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"--token-file {given.token_file} has no token in it; give another file"
        ) from None
    except ValueError as error:
        said = _with_options(str(error)).replace(
            "the token is not one:", f"what {has_token} has is no token:"
        )
        raise InvalidRequest(said) from None
    with client:
        yield client


def _token(connection: Connection) -> str | None:
    """The token to show to the server; None if there is to be none.

    Raises:
        InvalidRequest: what is given has no token in it.
        OSError, UnicodeDecodeError: as `read_text`.
    """
    if connection.token_file is not None:
        written = read_text(connection.token_file).strip()
        if not written:
            raise InvalidRequest(
                f"--token-file {connection.token_file} has no token in it; give another file, or none"
            )
        return written
    token = os.environ.get("IMPASTO_TOKEN")
    if not token:
        return None  # An empty variable is none, as for every other of the options.
    if not token.strip():
        raise InvalidRequest("IMPASTO_TOKEN is blank; set it to a token, or unset it")
    return token


def _with_options(words: str) -> str:
    """What the client says of its arguments, in options."""
    for python, option in _IN_OPTIONS.items():
        words = words.replace(python, option)
    return words


_IN_OPTIONS = {
    "tls=Tls(ca=FILE)": "--ca FILE",
    "tls=Tls(cert=FILE, key=FILE), and ca with them": "--cert FILE and --key FILE, and --ca with them",
    ", or give that as tls=Tls(server_name=NAME)": "",
    "not signed by what ca has": "not signed by what --ca has",
    "leave out tls, or": "leave out --tls, --ca, --cert and --key, or",
    "tls=True": "--tls",
    "allow_plaintext_token=True": "--allow-plaintext-token",
    "cert is given without key": "--cert is given without --key",
    "key is given without cert": "--key is given without --cert",
}


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
        server = named_server(run)
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
def outcome(
    connection: Connection, names: Mapping[str, str], *, quiet: bool = False, interrupted: str = "cancelled"
) -> Iterator[Display]:
    """Shows how a command ends and turns it into the exit code.

    Args:
        names: what the user calls the fields of the request, beside the options of `OPTION_OF_FIELD`; read
            only at the end.
        interrupted: what to say after Ctrl-C or SIGTERM, unless the interrupt has words of its own.
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
            # A file that was there when it was looked for.
            if isinstance(error, BrokenPipeError) or error.filename is None:
                raise
            told = InvalidRequest(f"{error.filename} {why_not(error, 'read')}")
            display.error(told, told.message, WRONG)
            raise typer.Exit(WRONG) from None
        except BrokenPipeError:
            # Whoever read stdout has gone; nothing more can be said there, not even on closing it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None


def _in_words(error: ImpastoError, connection: Connection, names: Mapping[str, str]) -> str:
    """An error in the words of the command line: options for fields, and what to do next."""
    if error.fields:
        known = {**OPTION_OF_FIELD, **names}
        sentences = []
        for field, sentence in error.fields:
            # The longest path that has a name stands for all below it: spec.styles[0].image.raw is the file.
            name = max((path for path in known if field.startswith(path)), key=len, default=None)
            sentences.append(f"{known[name] if name else field} {sentence}")
        # An option that sets two fields, as --size does a texture's width and height, is at fault once.
        return "; ".join(dict.fromkeys(sentences))
    if isinstance(error, Unreachable) and error.remedy:
        return _with_options(error.message)
    if isinstance(error, Unreachable) and connection.server:
        return f"{error.message}. Start one with `impasto-server serve`, or leave out --server to paint here"
    if isinstance(error, DeadlineExceeded) and connection.timeout:
        return f"not done within --timeout {connection.timeout:g}"
    unsaid = [sentence for _, sentence in error.violations if sentence not in error.message]
    message = "; ".join([error.message, *unsaid])
    if isinstance(error, Unauthenticated):
        return f"{message}. Give a token with --token-file or IMPASTO_TOKEN"
    if isinstance(error, ResourceExhausted) and error.retry_after is not None:
        return f"{message}; try again in {error.retry_after:.0f} s"
    return message


def _exit_code(error: ImpastoError) -> int:
    if isinstance(error, PrivateServerError):
        return error.exit_code if error.exit_code and error.exit_code > 0 else UNREACHABLE
    if isinstance(error, InvalidRequest):
        return WRONG
    return UNREACHABLE if isinstance(error, (Unavailable, DeadlineExceeded)) else FAILED


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
