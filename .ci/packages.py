"""Builds both distributions into dist/ and tries each wheel in an empty environment, as a user installs it.

The client must call a server without the server's package; the server must serve without PyTorch, as a mock.
Exits with an error that says what failed.
"""

from __future__ import annotations

import email.message
import email.parser
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
CLIENT_MB = 2
"""Size of the client's wheel at most, in MB: no weights and no server may get into it."""


def main() -> None:
    for old in DIST.glob("impasto*"):
        old.unlink()
    # What is published suits every machine. A package index takes no wheel that was compiled on any Linux.
    os.environ["IMPASTO_NO_KERNELS"] = "1"
    for project in (ROOT, ROOT / "server"):
        run(sys.executable, "-m", "build", "--outdir", DIST, project, quiet=True)
    del os.environ["IMPASTO_NO_KERNELS"]
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    client, server = (one(f"{name}-*.whl") for name in ("impasto", "impasto_server"))
    check_contents(client, server)
    with tempfile.TemporaryDirectory() as folder:
        try_wheels(Path(folder), client, server)
        try_kernels(Path(folder), server)
    print("The packages are in", DIST)


def one(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


def check_contents(client: Path, server: Path) -> None:
    """Checks what the wheels have in them, and that both have one version."""
    if client.stat().st_size > CLIENT_MB * 1e6:
        fail(f"{client.name} has more than {CLIENT_MB} MB. Leave out what only the server needs.")
    tops = {client: {"impasto"}, server: {"impasto_server"}}
    for wheel, expected in tops.items():
        names = zipfile.ZipFile(wheel).namelist()
        found = {name.split("/")[0] for name in names if ".dist-info/" not in name}
        if found != expected:
            fail(f"{wheel.name} has {sorted(found)} at its top level, not {sorted(expected)}")
        for name in ("py.typed", "licenses/LICENSE"):
            if not any(entry.endswith(name) for entry in names):
                fail(f"{wheel.name} has no {name}")
    if "impasto/hosts/locale/de.mo" not in zipfile.ZipFile(client).namelist():
        fail(f"{client.name} has no translations of the plugins' texts")
    versions = {metadata(wheel)["Version"] for wheel in tops}
    if len(versions) != 1:
        fail(f"the versions differ: {sorted(map(str, versions))}")
    if f"impasto=={metadata(client)['Version']}" not in metadata(server).get_all("Requires-Dist", []):
        fail(f"{server.name} does not ask for the client of its own version")


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(file.read(name).decode())


def try_wheels(folder: Path, client: Path, server: Path) -> None:
    """Installs each wheel into an environment of its own, and paints from one on the other."""
    environments = {name: folder / name for name in ("client", "server")}
    for environment in environments.values():
        venv.create(environment, with_pip=True)
    caller, gpu_machine = (environment / "bin" for environment in environments.values())
    run(caller / "python", "-m", "pip", "install", "-q", client)
    run(gpu_machine / "python", "-m", "pip", "install", "-q", client, server)
    for module in ("impasto_server", "torch", "numpy"):
        if subprocess.run([caller / "python", "-c", f"import {module}"], capture_output=True).returncode == 0:
            fail(f"the client's environment has {module}")
    run(caller / "impasto", "--version")
    address_file = folder / "address"
    with address_file.open("w") as out:
        serving = subprocess.Popen(
            [gpu_machine / "impasto-server", "serve", "--mock", "--port", "0"], stdout=out, cwd=folder
        )
    try:
        address = wait_for_address(address_file, serving)
        data = "import impasto; print(impasto.__path__[0] + '/data')"
        images = Path(run(caller / "python", "-c", data, quiet=True).strip())
        result = folder / "result.png"
        run(
            *(caller / "impasto", "stylize", images / "astronaut.jpg", images / "starry_night.jpg"),
            *("-o", result, "--server", address, "--effort", "draft", "--size", "128"),
        )
        size = f"from PIL import Image; print(*Image.open({str(result)!r}).size)"
        if run(caller / "python", "-c", size, quiet=True).split() != ["128", "128"]:
            fail("the result has not 128×128 pixels")
    finally:
        serving.terminate()
        serving.wait(60)


def try_kernels(folder: Path, pure: Path) -> None:
    """Builds the wheel with compiled kernels, as an installation does, and tries it."""
    if not pure.name.endswith("-py3-none-any.whl") or any(name.endswith(".so") for name in names_in(pure)):
        fail(f"{pure.name} is not for every machine")
    if sys.platform != "linux" or shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        print("There is no C compiler: the wheel with compiled kernels is not tried")
        return
    # By way of the sdist, which has to contain the source.
    run(sys.executable, "-m", "build", "--outdir", folder / "compiled", ROOT / "server", quiet=True)
    (wheel,) = (folder / "compiled").glob("*.whl")
    if f"-py3-none-linux_{platform.machine()}.whl" not in wheel.name:
        fail(f"{wheel.name} has compiled kernels and is not for this kind of machine only")
    python = folder / "server" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel)
    # Without PyTorch, its OpenMP is missing: the functions are not looked up until they are called.
    program = (
        "import ctypes, os, runpy, importlib.util;"
        "package = importlib.util.find_spec('impasto_server').submodule_search_locations[0];"
        "building = runpy.run_path(package + '/engine/kernels/building.py');"
        "source = ctypes.CDLL(str(building['LIBRARY']), mode=os.RTLD_LAZY).source;"
        "source.restype = ctypes.c_char_p;"
        "assert source().decode() == building['source_version']()"
    )
    run(python, "-c", program)


def names_in(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def wait_for_address(file: Path, serving: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 60
    while not (line := file.read_text()).endswith("\n"):
        if time.monotonic() > end or serving.poll() is not None:
            fail("the mock server of the wheel does not start")
        time.sleep(0.1)
    return line.split('"')[3]


def run(*command: str | os.PathLike[str], quiet: bool = False) -> str:
    """Runs a command and gives back its output, which is shown too unless `quiet`."""
    done = subprocess.run(list(map(os.fspath, command)), stdout=subprocess.PIPE, text=True)
    if not quiet or done.returncode:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        fail(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def fail(why: str) -> NoReturn:
    sys.exit(f".ci/packages.py: {why}")


if __name__ == "__main__":
    main()
