"""The intake process: `python -m impasto_server.intake`. The gateway starts it; people do not.

It reads no picture itself. For each task it forks a child, which works within limits on memory and time and
then ends, so that no picture can affect the work on another one. A task arrives on a socket as one JSON
message with the file descriptors that it needs: first the pipe for the answer (one line of JSON), then the
files. It answers "ping" at once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from impasto_server.intake.loading import prepare
from impasto_server.intake.tasks import do
from impasto_server.logs import FORMATS, LEVELS, log_to_stderr

_log = logging.getLogger(__name__)

_MAX_TASK_BYTES = 1 << 18
_MAX_FILES = 8
_PING = b"ping"
_PR_SET_PDEATHSIG = 1


class _Child:
    """A child process that works on a task, and the pipe for its answer."""

    def __init__(self, pid: int, answer: int) -> None:
        self.pid = pid
        self.answer = answer


class _Parent:
    """Forks a child for each task, and answers for children that died before they could answer."""

    def __init__(self, tasks: socket.socket) -> None:
        self._tasks = tasks
        self._children: dict[int, _Child] = {}
        self._poll = select.poll()
        self._poll.register(tasks, select.POLLIN)
        # Wakes `poll` when a child ends.
        self._woken, wake = socket.socketpair()
        self._woken.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._poll.register(self._woken, select.POLLIN)

    def work(self) -> None:
        """Takes tasks until the gateway closes its end of the socket."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._tasks.fileno():
                    if not self._take():
                        self._kill_all()
                        return
                elif descriptor == self._woken.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    self._give_up(descriptor)
            self._reap()

    def _take(self) -> bool:
        """Starts the next task. Returns False if the gateway has closed the socket."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._tasks, _MAX_TASK_BYTES, _MAX_FILES)
        except ConnectionError:
            return False
        if not message:
            return False
        answer, *files = descriptors
        if message == _PING:
            _tell(answer, {"done": {}})
            os.close(answer)
            return True
        try:
            pid = os.fork()
        except OSError as error:
            _log.error("no process for a task error=%r", str(error))
            _tell(answer, {"unable": str(error)})
            pid = -1
        if pid == 0:
            self._be_child(message, answer, files)
        for descriptor in files:
            os.close(descriptor)
        if pid < 0:
            os.close(answer)
        else:
            self._children[answer] = _Child(pid, answer)
            # The poll reports it when nobody waits for the answer any more.
            self._poll.register(answer, 0)
        return True

    def _be_child(self, message: bytes, answer: int, files: list[int]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._tasks.close()
            for child in self._children.values():
                os.close(child.answer)
            # Libraries write their complaints about pictures there.
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            task = json.loads(message)
            _limit(task["limits"])
            _tell(answer, _answer(task, files))
        except BaseException:
            _log.exception("task failed")
            os._exit(1)
        os._exit(0)

    def _reap(self) -> None:
        """Reaps the children that have ended, and answers for those that died."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((each for each in self._children.values() if each.pid == pid), None)
            if child is not None:
                if status != 0:
                    how = f"exit status {status}"
                    if os.WIFSIGNALED(status):
                        how = signal.Signals(os.WTERMSIG(status)).name
                    _tell(child.answer, {"died": how})
                self._forget(child)

    def _give_up(self, answer: int) -> None:
        """Kills a child whose answer nobody waits for."""
        child = self._children.get(answer)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            self._forget(child)

    def _forget(self, child: _Child) -> None:
        self._poll.unregister(child.answer)
        os.close(child.answer)
        del self._children[child.answer]

    def _kill_all(self) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)


def _limit(limits: Mapping[str, int]) -> None:
    """Sets the limits of a child.

    Args:
        limits: "memory" in bytes, "cpu_seconds", "seconds", "file_bytes" (the largest file that it may
            write), and "yields" (true for a lower priority).
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits["seconds"])
    for kind, limit, beyond in (
        (resource.RLIMIT_AS, limits["memory"], 0),
        # The soft limit sends SIGXCPU; one second later the hard limit sends SIGKILL.
        (resource.RLIMIT_CPU, limits["cpu_seconds"], 1),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        # A system may lack one of these limits; the others still apply.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (limit, limit + beyond))
    if limits.get("yields"):
        os.nice(5)
    _end_with_parent()


def _end_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(task: Mapping[str, Any], files: list[int]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = do(task, files)
    except MemoryError:
        return {"died": "out of memory"}
    return answer


def _tell(descriptor: int, answer: dict[str, Any]) -> None:
    """Sends an answer, if anybody still waits for it."""
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Does tasks until the gateway's end of the socket closes."""
    parser = argparse.ArgumentParser(prog="python -m impasto_server.intake", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the socket for tasks")
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="text")
    arguments = parser.parse_args()
    # The gateway decides when this process ends, but Ctrl-C in a terminal signals both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A stopped process would not notice that the socket was closed.
    _end_with_parent()
    log_to_stderr("intake", arguments.log_level, arguments.log_format)
    tasks = socket.socket(fileno=arguments.socket)
    prepare()
    _Parent(tasks).work()


if __name__ == "__main__":
    main()
