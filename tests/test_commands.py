"""The command `impasto-server`: what it refuses before it starts, its messages and its help."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from impasto_server.commands import app
from impasto_server.fleet.intake import IntakeProcess
from impasto_server.gateway.settings import fields, flag, gather
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.gateway.tokens import Tokens
from support.certificates import Authority
from support.samples import coded, photo

COMMAND = [sys.executable, "-c", "from impasto_server.cli import main; main()"]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--styles-dir", "/nonexistent"], "--styles-dir /nonexistent cannot be read (No such file"),
        (["--styles-dir", __file__], "cannot be read (Not a directory); give a folder"),
        (["--styles-dir", "/" + "x" * 300], "cannot be read (File name too long); give a folder"),
        (["--styles-dir", ""], "--styles-dir is empty; give a path"),
        (["--weights", "."], "--weights . is a folder; give vgg19, builtin or a file"),
        (
            ["--weights", "/nonexistent"],
            "--weights /nonexistent does not exist; give vgg19, builtin or a file",
        ),
        (["--host", ""], "--host is empty; give an address"),
        (
            ["--device", "gpu"],
            "--device is 'gpu'; give auto, or a comma-separated list of cpu, mps, cuda and cuda:N",
        ),
        (["--device", "cuda:0,gpu"], "--device is 'cuda:0,gpu'"),
        (["--keep-results-for", "abc"], "give a time with its unit"),
    ],
)
@pytest.mark.parametrize("optimized", ["", "1", "2"])
def test_an_invalid_setting_is_refused_before_anything_is_started(
    tmp_path: Path, arguments: list[str], words: str, optimized: str
) -> None:
    data = tmp_path / "data"
    done = run("serve", "--port", 0, "--data-dir", data, *arguments, PYTHONOPTIMIZE=optimized)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("impasto-server: ")
    assert words in line
    assert not data.exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e10", "0", "-1"])
def test_a_timeout_of_health_that_is_out_of_range_is_refused(seconds: str) -> None:
    done = run("health", "127.0.0.1:9", "--timeout", seconds)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--timeout" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["token", "add", "x", "--weight", "heavy"], "--weight is 'heavy'; give a finite number above 0"),
        (["token", "add", "x", "--weight", "inf"], "--weight is 'inf'; give a finite number above 0"),
        (["health", "--timeout", "soon"], "--timeout is 'soon'; give 0.1 to 3600 seconds"),
        (["health", "--timeout", "nan"], "--timeout is 'nan'; give 0.1 to 3600 seconds"),
        (["health", "--timeout", "0"], "--timeout is '0'; give 0.1 to 3600 seconds"),
        (["health", "--timeout", "1e9"], "--timeout is '1e9'; give 0.1 to 3600 seconds"),
        (["token", "list", "x"], "`impasto-server token list` does not take 'x'; leave it out"),
        (["settings", "x", "y"], "`impasto-server settings` does not take 'x y'; leave it out"),
        (["paint"], "there is no command 'paint'; `impasto-server --help` lists the commands"),
        (["serve", "--x"], "there is no option --x; `impasto-server serve --help` lists the options"),
        (["--x"], "there is no option --x; `impasto-server --help` lists the options"),
        (["serve", "--port"], "--port needs a value; give one after it"),
        (["bench", "--json=3"], "--json takes no value; leave the value out"),
        (["token", "add"], "NAME is missing; `impasto-server token add --help` describes it"),
        (["contact-sheet"], "--out is missing; `impasto-server contact-sheet --help` describes it"),
        (["contact-sheet", "-o", "x.png", "--size", "3"], "--size is '3'; give 16 to 8192 pixels"),
        (["bench", "--reference", "x"], "--reference is 'x'; give one of recorded, fresh"),
    ],
)
def test_an_invalid_option_is_refused_in_plain_words(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"impasto-server: {words}\n"


def test_the_command_prints_its_version() -> None:
    done = run("--version")
    assert re.fullmatch(r"impasto-server \d+\.\d+\.\d+\S*\n", done.stdout)


def commands() -> Iterator[tuple[list[str], Any]]:
    group: Any = get_command(app)
    for name, command in group.commands.items():
        yield [name], command
        yield from (([name, inner], found) for inner, found in getattr(command, "commands", {}).items())


@pytest.mark.parametrize(("names", "command"), commands(), ids=str)
def test_every_help_text_is_a_sentence_and_says_the_default(names: list[str], command: Any) -> None:
    assert re.match(r"(?!\w+s )[A-Z].*\.$", command.help.partition("\n")[0])
    for parameter in command.params:
        about = parameter.help.partition(" [")[0]
        assert re.fullmatch(r"[A-Z].*\.", about), parameter.opts
        if not parameter.required:
            assert "Default: " in about, parameter.opts


def test_help_shows_no_types_and_cuts_nothing_off() -> None:
    shown = run("-h", COLUMNS="80").stdout
    assert shown == run("--help", COLUMNS="80").stdout
    for names, _ in commands():
        shown += run(*names, "-h", COLUMNS="80").stdout
    # Arguments that can be repeated end with dots.
    others = re.sub(r"(\[[A-Z]+\]|JOB)\.\.\.\n", "\n", shown)
    assert not re.search(r"<\w|<=|\[default|\[required|\[env var|\{NAME|\.\.\.\n", others)
    assert "put the paintings on\n                 one sheet." in shown


def test_health_says_in_plain_words_why_it_got_no_answer() -> None:
    done = run("health", "127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "UNAVAILABLE: no server listens there\n")


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:0,cuda:12", "cpu,cpu"])
def test_valid_names_of_devices_are_accepted(device: str) -> None:
    assert gather({"device": device}, {}).device == device


@pytest.mark.parametrize(
    "device", ["gpu", "CPU", "cuda:", "cuda:x", "auto,cpu", "cpu, mps", "cpu,", "cpu:0", " "]
)
def test_invalid_names_of_devices_are_refused(device: str) -> None:
    with pytest.raises(Exception, match="give auto, or a comma-separated list"):
        gather({"device": device}, {})


def encoded(text: str, encoding: str) -> bytes:
    mark = "" if encoding.endswith(("-sig", "16")) or encoding == "utf-8" else "\ufeff"
    return (mark + text).encode(encoding)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_of_settings_can_have_any_encoding_of_windows(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "impasto.toml"
    file.write_bytes(encoded('port = 7\r\ndevice = "cpu"\r\nstyles_dir = "/für/später"\r\n', encoding))
    settings = gather({}, {}, file)
    assert (settings.port, settings.device, str(settings.styles_dir)) == (7, "cpu", "/für/später")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_of_tokens_can_have_any_encoding_of_windows(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "tokens.json"
    token = Tokens(path).add("studio")
    path.write_bytes(encoded(path.read_text(), encoding))
    found = Tokens(path).tenant_of(token)
    assert found is not None
    assert found.name == "studio"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\xff", b"[" * 100_000, b"", b"{}"])
def test_a_file_without_tokens_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    done = run("token", "list", "--tokens-file", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a file of tokens; use a file that `impasto-server token` has written" in done.stderr


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_help_never_cuts_off_the_name_of_an_option(columns: str) -> None:
    shown = run("serve", "--help", COLUMNS=columns).stdout
    for field in fields():
        if not field.metadata["hidden"]:
            assert re.search(rf"{flag(field)}\b", shown), field.name
            # Text that is wider than its column goes on in the next line.
            assert f"IMPASTO_{field.name.upper()}]" in re.sub(r"\s", "", shown)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= int(columns)


def without(*missing: str) -> str:
    """A program that runs `impasto-server` where some libraries are not installed."""
    return (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
        "from impasto_server.cli import main; main()"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["weights"],
        ["weights", "fetch"],
        ["bench", "--quick"],
        ["contact-sheet", "-o", "x.png"],
    ],
)
def test_without_pytorch_it_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    program = without("torch", "torchvision", "safetensors")
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("impasto-server: PyTorch is not installed (")
    assert "Run: pip install 'impasto-server[torch]'" in line
    assert ("or give --mock" in line) == (command == ["serve"])


def test_without_another_library_it_says_what_to_install() -> None:
    command = [sys.executable, "-c", without("platformdirs"), "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("impasto-server: platformdirs is not installed. Run: pip install impasto-server\n")


def test_hidden_files_are_not_listed_as_styles(tmp_path: Path) -> None:
    for name in ("x.png", "._x.png", ".hidden.jpg"):
        (tmp_path / name).write_bytes(coded(photo(20, 20)))

    async def look() -> None:
        async with IntakeProcess() as intake:
            library = StyleLibrary(tmp_path, intake)
            styles, _ = await library.page(50)
            assert [style.name for style in styles] == ["styles/starry-night", "styles/x"]
            assert await library.get("styles/hidden") is None

    asyncio.run(look())


READ_FILES = [
    ("serve", "--config"),
    ("serve", "--tokens-file"),
    ("serve", "--tls-cert"),
    ("serve", "--tls-key"),
    ("serve", "--tls-client-ca"),
    ("token list", "--tokens-file"),
    ("token list", "--config"),
    ("health 127.0.0.1:9", "--ca"),
    ("health 127.0.0.1:9", "--config"),
]


@pytest.mark.parametrize(("command", "option"), READ_FILES)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "huge"])
def test_a_file_that_cannot_be_read_to_its_end_is_refused(
    tmp_path: Path, command: str, option: str, what: str
) -> None:
    pair = Authority(tmp_path).issue("server")
    odd = Path("/dev/zero") if what == "device" else tmp_path / what
    if what == "pipe":
        os.mkfifo(odd)
    elif what == "folder":
        odd.mkdir()
    elif what == "huge":
        odd.touch()
        os.truncate(odd, 1 << 40)
    options = [option, odd]
    if option.startswith("--tls"):
        others = {"--tls-cert": pair.cert, "--tls-key": pair.key}
        options += [word for pair in others.items() if pair[0] != option for word in pair]
    if command == "serve":
        options += ["--port", 0, "--data-dir", tmp_path / "data"]
    if "health" in command and option == "--config":
        command = "health"
    done = run(*command.split(), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(odd) in done.stderr
    assert {
        "pipe": "it is a pipe, not a regular file",
        "device": "it is a device or a socket, not a regular file",
        "folder": "directory",
        "huge": "it is larger than 16 MiB",
    }[what] in done.stderr
