"""A server on this machine for one caller."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType

from impasto.errors import PrivateServerError
from impasto.python_programs import module_command

START_TIMEOUT = 60.0
GRACE = 5.0
"""Seconds to wait after each attempt to stop the server, before a harder one."""

_NEEDED = ("impasto_server", "torch", "torchvision", "safetensors")


def check_installed() -> None:
    """Checks that a server can be started on this machine.

    Raises:
        PrivateServerError: it is not installed; the message says what to do.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PrivateServerError(
            f"the server is not installed on this machine (missing: {', '.join(missing)}). "
            "Run: pip install 'impasto-server[torch]'; or name a server with --server HOST:PORT"
        )


class PrivateServer:
    """A server for one caller, as a context manager.

        with impasto.PrivateServer() as server, impasto.Client(server.address) as client:
            client.stylize("photo.jpg", "painting.jpg").result().save("painted.png")

    Entering starts the server without waiting for it; `address` waits. Leaving stops it, and it stops by
    itself if this process dies. Ctrl-C in a terminal does not reach it, because it has its own session, so
    that the caller can cancel jobs first.

    Args:
        weights: weights of the feature network: "vgg19", "builtin" or a file; None for the server's choice.
        device: the device: for example "cpu" or "cuda:0"; None for the server's choice.
        page: whether it has a page for browsers, at `ServerInfo.page`.
        on_line: called with each line of the server's log, in another thread.

    Raises:
        PrivateServerError: the server is not installed (on entering).
    """

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        page: bool = False,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        # The options override variables of the environment, which are meant for a server for others.
        self._command = [*module_command("impasto_server"), "serve", "--private"]
        self._command += ["--host", "127.0.0.1", "--port", "0"]
        if weights is not None:
            self._command += ["--weights", os.fspath(weights)]
        if device is not None:
            self._command += ["--device", device]
        if page:
            self._command += ["--web-port", "0"]
        self._on_line = on_line
        self._last_lines: collections.deque[str] = collections.deque(maxlen=20)
        self._listening = threading.Event()
        self._address: str | None = None

    def __enter__(self) -> PrivateServer:
        check_installed()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=reader, daemon=True) for reader in (self._read_stdout, self._read_stderr)
        ]
        for thread in self._readers:
            thread.start()
        return self

    @property
    def address(self) -> str:
        """The address of the server. Waits until the server listens.

        Raises:
            PrivateServerError: it ended instead, or took too long.
        """
        if not self._listening.wait(START_TIMEOUT):
            raise PrivateServerError(f"the private server did not start within {START_TIMEOUT:.0f} s")
        if self._address is None:
            raise self.death() or PrivateServerError("the private server closed its output before it started")
        return self._address

    def death(self) -> PrivateServerError | None:
        """Waits a moment for the server to end. Returns why it ended; None if it still runs."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return None
        for thread in self._readers:
            thread.join(GRACE)
        if code < 0:
            name = signal.Signals(-code).name
            return PrivateServerError(
                f"the private server was killed ({name}); is there too little memory?", exit_code=code
            )
        words = [line.removeprefix("impasto-server: ") for line in self._last_lines if line.strip()]
        return PrivateServerError(
            f"the private server ended: {words[-1] if words else f'exit code {code}'}", exit_code=code
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(GRACE)
        finally:
            # The server may still run, if it ignored the signals or after a second Ctrl-C.
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            for thread in self._readers:
                thread.join(GRACE)

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._address = str(json.loads(line)["address"])
                    self._listening.set()
        self._listening.set()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                line = line.rstrip("\n")
                self._last_lines.append(line)
                if self._on_line is not None:
                    self._on_line(line)
