"""The environment that every test runs in, whatever environment pytest was started in.

A test and the programs that it starts see only the variables that `clean` keeps: no settings of Impasto, no
locale, no terminal, no proxy, no activated environment, and a separate home folder. The interpreter's folder
comes first in PATH, so that `python`, `impasto` and `buf` are those installed beside pytest.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

CALLERS: Mapping[str, str] = dict(os.environ)
"""The environment that pytest was started in."""

_LET_THROUGH = re.compile(
    # How the interpreter and PyTorch find libraries and devices, and how many threads they use.
    "LD_LIBRARY_PATH|DYLD_.*|(CUDA|NVIDIA|ROCR|HIP|HSA|PYTORCH)_.*|(OMP|MKL)_NUM_THREADS"
    # How pip reaches its index, for the tests that install packages. Other programs see no proxy.
    "|PIP_.*|REQUESTS_CA_BUNDLE"
    # Options of pytest and its plugins.
    "|CI|BUILD_NUMBER|(PYTEST|HYPOTHESIS|COV|COVERAGE)_.*"
    # Options of the tests themselves.
    "|IMPASTO_REQUIRE_(EXAMPLES|HOSTS)|IMPASTO_KEEP_PICTURES"
)


def clean(callers: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables of an environment that tests may see.

    Args:
        home: the home folder of the tests.
    """
    environment = {name: value for name, value in callers.items() if _LET_THROUGH.fullmatch(name)}
    tools = dict.fromkeys([str(Path(sys.executable).parent), sysconfig.get_path("scripts")])
    environment["PATH"] = os.pathsep.join([*tools, callers.get("PATH") or os.defpath])
    environment["HOME"] = str(home)
    environment["TMPDIR"] = tempfile.gettempdir()
    environment["LANG"] = "C.UTF-8"
    environment["TZ"] = "UTC"
    if proxy := callers.get("https_proxy") or callers.get("HTTPS_PROXY"):
        environment.setdefault("PIP_PROXY", proxy)
    config = _config_of_pip(callers)
    if config.is_file():
        environment.setdefault("PIP_CONFIG_FILE", str(config))
    return environment


def enter() -> None:
    """Cleans the environment of this process, until the process ends."""
    home = Path(tempfile.mkdtemp(prefix="impasto-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    environment = clean(CALLERS, home)
    for name in CALLERS.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    time.tzset()
    # For tests that check who may read a file.
    os.umask(0o022)


def _config_of_pip(callers: Mapping[str, str]) -> Path:
    """The user's pip configuration, which is in the home folder that tests do not see."""
    home = Path(callers.get("HOME") or "/")
    return Path(callers.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
