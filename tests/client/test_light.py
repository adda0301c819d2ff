"""The few dependencies of the client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import impasto
from support.fake_server import FakeServer, png


@pytest.mark.parametrize("name", ["grpc", "google.protobuf", "PIL", "torch", "typer", "impasto_server"])
def test_importing_impasto_imports_nothing_heavy(name: str) -> None:
    check = f"import sys, impasto; impasto.Recipe; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


@pytest.mark.parametrize("name", ["grpc", "PIL", "typer", "rich"])
def test_only_the_transport_imports_grpcio(name: str) -> None:
    check = f"import sys, impasto.client, impasto.painting; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_painting_needs_no_pillow(fake: FakeServer, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png())
    program = f"""
import sys
sys.modules["PIL"] = None
import impasto
with impasto.Client({fake.address!r}) as client:
    painting = client.stylize({str(picture)!r}, {str(picture)!r})
    assert any(isinstance(event, impasto.Preview) and event.data for event in painting)
    assert painting.result().metadata
assert "impasto_server" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_painting_needs_no_compiled_modules(fake: FakeServer) -> None:
    fake.result = png(300, 200)
    program = f"""
import sys
for name in ("grpc", "PIL", "numpy", "torch", "google._upb", "multidict._multidict"):
    sys.modules[name] = None
import impasto
pixels = impasto.RawPixels(600, 500, bytes(4 * 600 * 500))
with impasto.Client({fake.address!r}) as client:
    client.upload(pixels)
    painting = client.stylize(pixels, {png()!r})
    assert any(isinstance(event, impasto.Preview) and event.data for event in painting)
    assert painting.result().metadata
    assert len(client.download(result_of="jobs/fake").data) == {len(fake.result)}
    try:
        client.job("jobs/none")
    except impasto.NotFound as error:
        assert "jobs/none" in error.message
    else:
        sys.exit("found what is not there")
compiled = [
    name for name, module in list(sys.modules.items())
    if (getattr(module, "__file__", None) or "").endswith((".so", ".pyd"))
    and "site-packages" in module.__file__
]
assert not compiled, compiled
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("missing", "code", "words"),
    [
        (("grpc",), 0, "9.9"),
        (("grpc", "grpclib"), 1, "no gRPC library is installed; run `pip install grpcio`"),
    ],
)
def test_the_command_line_needs_one_of_the_two_grpc_libraries(
    fake: FakeServer, missing: tuple[str, ...], code: int, words: str
) -> None:
    program = f"""
import sys
for name in {missing!r}:
    sys.modules[name] = None
sys.argv = ["impasto", "info", "--server", {fake.address!r}]
from impasto.cli import main
main()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == code, run.stderr
    assert words in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_a_named_transport_that_is_missing_is_told_with_what_to_install() -> None:
    program = """
import sys
sys.modules["grpc"] = None
import impasto
try:
    impasto.Client("127.0.0.1", transport="grpcio")
except impasto.TransportMissing as error:
    assert "run `pip install grpcio`" in str(error)
else:
    sys.exit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_any_grpc_library_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["grpc"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "grpclib" else find(name)
import impasto
try:
    impasto.Client("127.0.0.1")
except impasto.TransportMissing as error:
    assert isinstance(error, ImportError)
    assert "run `pip install grpcio` or `pip install grpclib`" in str(error)
else:
    sys.exit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("stack", ["http", ""])
def test_an_unknown_transport_is_refused(stack: str) -> None:
    with pytest.raises(ValueError, match="no transport; give"):
        impasto.Client("127.0.0.1", transport=stack)  # type: ignore[arg-type]
