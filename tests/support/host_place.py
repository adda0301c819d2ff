"""Where the real hosts run: on this machine, or in a chroot of a newer Debian release."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from impasto.cli import plugins
from support.clean_environment import CALLERS

PROGRAMS = Path(__file__).parents[1] / "plugins"
CHROOT = PROGRAMS / "chroot"
"""The chroots are in the user's cache, since they take minutes; programs in them see no environment."""
CANNOT = 77
SCREEN = 87
"""Number of the X screen in a chroot. This machine must not have it: programs in a chroot see those too."""
SETTING_UP = 900.0
"""Maximum seconds to make a chroot, once per machine."""
_PATH = "/usr/bin:/bin"


@dataclasses.dataclass(frozen=True)
class Place:
    """A machine to run hosts on.

    Attributes:
        suite: the Debian release of the chroot; empty for this machine.
    """

    suite: str = ""

    def __str__(self) -> str:
        return self.suite or "this machine"

    def set_up(self, host: plugins.HostName, version: str = "") -> None:
        """Makes the chroot if necessary, and fetches what the plugin needs. Skips the test if that fails.

        Args:
            version: what the host's version begins with; "" for any.
        """
        self._make(host)
        found = self._version(host)
        if version and f"{found}.".removeprefix(version)[:1] != ".":
            pytest.skip(f"{host} of {self}: it has version {found}, not {version}")
        try:
            plugins.vendored_files()
        except plugins.PluginError as error:
            pytest.skip(str(error))

    def _make(self, host: plugins.HostName) -> None:
        if self.suite:
            made = subprocess.run(
                [CHROOT, "make", self.suite, host],
                env=CALLERS,
                capture_output=True,
                text=True,
                timeout=SETTING_UP,
            )
            if made.returncode == CANNOT:
                pytest.skip(f"{host} of {self}: {made.stderr.strip()}")
            assert made.returncode == 0, made.stderr
        elif missing := [name for name in (host, "Xvfb", "openbox") if not shutil.which(name, path=_PATH)]:
            pytest.skip(f"{host} of {self}: not installed: {', '.join(missing)}")

    def _version(self, host: plugins.HostName) -> str:
        """The version of the host's package, such as 5.2.9."""
        asked = ["dpkg-query", "--show", "--showformat", "${Version}", host]
        within = [str(CHROOT), "run", self.suite] if self.suite else []
        found = subprocess.run([*within, *asked], env=CALLERS, capture_output=True, text=True, check=True)
        # Without the packaging's own numbers.
        return found.stdout.rpartition(":")[2].partition("-")[0].partition("+")[0]

    def seen(self, folder: Path) -> str:
        """The path at which a program sees the folder that it is given."""
        return "/share" if self.suite else str(folder)

    def run(
        self,
        folder: Path,
        command: list[str],
        *,
        patience: float,
        screen: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with a home folder in the given folder, and nothing of the tests' environment.

        Args:
            patience: maximum seconds.
            screen: on a virtual screen.
            variables: what its environment has besides.
        """
        seen = self.seen(folder)
        (folder / "home").mkdir(exist_ok=True)
        (folder / "home").chmod(0o700)
        if screen:
            shutil.copy(PROGRAMS / "screen", folder / "screen")
            command = ["sh", f"{seen}/screen", str(SCREEN) if self.suite else "", *command]
        given = [f"HOME={seen}/home", f"XDG_RUNTIME_DIR={seen}/home", "PYTHONDONTWRITEBYTECODE=1"]
        given += [f"{name}={value}" for name, value in variables.items()]
        with tempfile.TemporaryDirectory(prefix="host-") as temporary:
            if self.suite:
                whole = [str(CHROOT), "run", self.suite, "env", *given, *command]
            else:
                # One of its own: a host looks there whether it runs already, and leaves the work to that one.
                given.append(f"TMPDIR={temporary}")
                whole = ["env", "-i", f"PATH={_PATH}", "LC_ALL=C.UTF-8", *given, *command]
            return _ended(whole, folder, patience)


def _ended(command: list[str], folder: Path, patience: float) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, or kills it and all that it has started."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**CALLERS, "HOST_SHARE": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            # The screen and the host are of its group.
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, said)
