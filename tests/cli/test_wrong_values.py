"""Every option of every command with every kind of wrong value: an error that names the option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.main import get_command

from impasto.cli import app
from support.command_line import Impasto
from support.fake_server import FakeServer, bad_request, refuse, status

WRONG = {
    "empty": "",
    "negative": "-5",
    "too large": "99999999999999999999",
    "no number": "abc",
    "a fraction": "2.5",
    "not a number": "nan",
    "infinite": "inf",
    "a missing file": "none.png",
    "a folder": "folder",
    "a web address": "https://example.org/a.png",
}
ARGUMENTS = {
    "stylize": ["content.png", "style.png", "-o", "out.png"],
    "submit": ["content.png", "style.png"],
    "texture": ["style.png", "--size", "64", "-o", "out.png"],
    "again": ["result.json", "content.png", "style.png", "-o", "out.png"],
    "demo": [],
    "info": [],
    "jobs": [],
    "watch": ["last"],
    "steer": ["last"],
    "get": ["last", "-o", "out.png"],
    "styles": [],
    "upload": ["content.png"],
}
FREE = {"--title", "--server", "--weights", "--device"}
"""Options whose values the server checks, or that name a server."""
LEAKS = re.compile(
    r"Value error|Input should|unable to parse|Traceback|Invalid value|longest_side|spec\.|job\.|\w_weight"
)


def options() -> Iterator[tuple[str, str]]:
    """Every command with each of its options that takes a value."""
    group: Any = get_command(app)
    for command in ARGUMENTS:
        for parameter in group.commands[command].params:
            name = max(parameter.opts, key=len)
            flag = getattr(parameter, "is_flag", False)
            if name.startswith("--") and not flag and name not in FREE:
                yield command, name


@pytest.fixture
def files() -> None:
    Path("folder").mkdir()
    Path("result.json").write_text("{}")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "option"), list(options()))
def test_an_error_names_the_option_of_a_wrong_value(
    at_fake: Impasto, fake: FakeServer, files: None, command: str, option: str
) -> None:
    accepted = []
    for kind, value in WRONG.items():
        outcome = at_fake(command, *ARGUMENTS[command], option, value)
        said = outcome.err
        assert not LEAKS.search(said), said
        if outcome.code == 0:
            accepted.append(kind)
            continue
        assert outcome.code in (1, 2), outcome
        *_, last = said.splitlines()
        if any(text in last for text in ("result.json", "there are no jobs", "there is nothing to change")):
            continue  # The command came as far as its next check.
        assert last.startswith(f"Error: {option}"), said
        assert (outcome.code, said.count("\n")) == (2, 1)
    assert set(accepted) <= {*ACCEPTED.get(option, ())}, accepted


ANY_NUMBER = ("too large", "a fraction")
ACCEPTED: dict[str, tuple[str, ...]] = {
    "--content-weight": ANY_NUMBER,
    "--style-weight": ANY_NUMBER,
    "--tv-weight": ANY_NUMBER,
    "--learning-rate": ("a fraction",),
    "--style-scale": ("a fraction",),
    "--shares": ANY_NUMBER,
    "--timeout": (*ANY_NUMBER, "infinite"),
    "--preview-interval": ("a fraction",),
    "--priority": ("negative",),
    # The name of a file or folder that does not exist yet.
    "--out": ("a missing file",),
    "--preview-dir": tuple(WRONG),
    "--save-thumbnails": tuple(WRONG),
}


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--server", "HOST:PORT"),
        ("--weights", "vgg19, builtin or a file's name"),
        ("--device", "auto, cpu, cuda:0 or mps"),
    ],
)
def test_an_empty_value_is_refused(impasto: Impasto, option: str, values: str) -> None:
    outcome = impasto("demo", option, "")
    assert (outcome.code, outcome.err) == (2, f"Error: {option} is empty; give {values}\n")


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        ("none.pth", "none.pth: there is no such file"),
        (".", ". is a folder; give a file"),
        (
            "https://example.org/a.pth",
            "https://example.org/a.pth is a web address; download it first, and give the file",
        ),
    ],
)
def test_weights_that_are_no_file_are_refused_at_once(impasto: Impasto, weights: str, fault: str) -> None:
    outcome = impasto("demo", "--weights", weights)
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: --weights {fault}")


def test_a_flag_in_a_variable_is_yes_or_no(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_TLS", "maybe")
    outcome = at_fake("info")
    assert (outcome.code, outcome.err) == (2, "Error: IMPASTO_TLS is neither yes nor no; set it to 1 or 0\n")
    assert not fake.calls


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CA": "none.pem"}, "IMPASTO_CA none.pem cannot be read: No such file or directory"),
        ({"CA": "content.png"}, "IMPASTO_CA content.png contains no certificate; give a PEM file"),
        ({"CERT": "none.pem", "KEY": "content.png"}, "IMPASTO_CERT none.pem cannot be read: No such file or"),
        ({"CERT": "content.png", "KEY": "none.pem"}, "IMPASTO_KEY none.pem cannot be read: No such file or"),
        ({"CERT": "content.png"}, "IMPASTO_CERT is given without --key; give both or neither"),
        ({"KEY": "content.png"}, "IMPASTO_KEY is given without --cert; give both or neither"),
        ({"TOKEN_FILE": "none"}, "IMPASTO_TOKEN_FILE none cannot be read: No such file or directory"),
        ({"TOKEN_FILE": "content.png"}, "IMPASTO_TOKEN_FILE content.png contains no text; give the file of"),
        ({"TOKEN_FILE": "empty"}, "IMPASTO_TOKEN_FILE empty is empty; give the file of a token, or none"),
        ({"TOKEN_FILE": "words"}, "IMPASTO_TOKEN_FILE words contains no valid token; give the token that"),
    ],
)
def test_an_error_names_the_variable_of_a_wrong_file(
    at_fake: Impasto,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    message: str,
) -> None:
    Path("empty").write_text("")
    Path("words").write_text("two words")
    for name, value in variables.items():
        monkeypatch.setenv(f"IMPASTO_{name}", value)
    outcome = at_fake("jobs")
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {message}")
    assert not fake.calls


def test_an_option_counts_more_than_its_variable(
    at_fake: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_CA", "other.pem")
    assert at_fake("jobs", "--ca", "none.pem").err.startswith("Error: --ca none.pem cannot be read: ")


@pytest.mark.parametrize(
    "options",
    [
        ["--tls"],
        ["--ca", "ca.pem"],
        ["--cert", "cert.pem"],
        ["--key", "key.pem"],
        ["--token-file", "token"],
        ["--allow-plaintext-token"],
        ["--priority", "3"],
    ],
    ids=lambda options: options[0],
)
def test_a_private_server_takes_no_option_of_a_named_server(impasto: Impasto, options: list[str]) -> None:
    outcome = impasto("stylize", *ARGUMENTS["stylize"], *options)
    option = options[0]
    assert (outcome.code, outcome.err) == (
        2,
        f"Error: {option} has no effect on a private server; name another server with --server, or leave "
        f"{option} out\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upload", "a.png", "b.png"], "unexpected argument 'b.png'; `impasto upload` takes only FILE"),
        (["watch", "last", "more"], "unexpected argument 'more'; `impasto watch` takes only JOB"),
        (["jobs", "a", "b"], "unexpected arguments 'a', 'b'; `impasto jobs` takes no arguments"),
        (
            ["plugin", "build", "krita", "gimp"],
            "unexpected argument 'gimp'; `impasto plugin build` takes only",
        ),
    ],
)
def test_an_argument_too_many_is_refused(impasto: Impasto, arguments: list[str], message: str) -> None:
    outcome = impasto(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"Error: {message}")
    assert outcome.err.count("\n") == 1
    (line,) = impasto(*arguments, "--json").lines if arguments[0] != "plugin" else [{"exit_code": 2}]
    assert line["exit_code"] == 2


def test_a_wrong_value_in_json(at_fake: Impasto, fake: FakeServer) -> None:
    (line,) = at_fake("demo", "--json", "--size", "abc").lines
    assert line["event"] == "error"
    assert line["message"] == "--size is 'abc'; give a whole number: 16 to 8192"
    assert (line["code"], line["exit_code"]) == ("INVALID_ARGUMENT", 2)


def test_the_last_of_a_repeated_option_counts(at_fake: Impasto, fake: FakeServer) -> None:
    assert at_fake("demo", "--size", "64", "--size", "32").code == 0
    assert fake.requests[0].spec.recipe.longest_side == 32


def test_a_texture_cannot_start_from_the_content(at_fake: Impasto, fake: FakeServer) -> None:
    outcome = at_fake("texture", *ARGUMENTS["texture"], "--start", "content")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: --start is 'content', but a texture has no content; give noise or a file\n",
    )


def test_the_server_names_fields_and_the_error_names_options(at_fake: Impasto, fake: FakeServer) -> None:
    told = bad_request(spec__recipe__style_weight="is 0 and so is content_weight; give at least one of them")
    fake.script = refuse(grpc.StatusCode.INVALID_ARGUMENT, "no", told)
    outcome = at_fake("demo")
    assert outcome.err == "Error: --style-weight is 0 and so is --content-weight; give at least one of them\n"
    fake.faults["ListJobs"] = [status(grpc.StatusCode.INVALID_ARGUMENT, "no", bad_request(states="is new"))]
    assert at_fake("jobs").err == "Error: --state is new\n"


def test_an_error_says_recipe_where_the_server_says_objective(at_fake: Impasto, fake: FakeServer) -> None:
    clause = "is fixed by the objective report; leave it out or give another objective"
    told = bad_request(spec__recipe__style_scale=clause, title="cannot be 'objective'")
    fake.script = refuse(grpc.StatusCode.INVALID_ARGUMENT, "no", told)
    assert at_fake("demo").err == (
        "Error: --style-scale is fixed by the recipe report; leave it out or give another recipe; "
        "--title cannot be 'objective'\n"
    )


def test_the_former_name_of_an_option_still_works(at_fake: Impasto, fake: FakeServer) -> None:
    for options in (["--no-plateau"], ["--plateau"], ["--no-plateau", "--stop-on-plateau"]):
        assert at_fake("stylize", *ARGUMENTS["stylize"], *options).code == 0
    assert [request.spec.recipe.stop_on_plateau for request in fake.requests] == [False, True, True]
    assert "--plateau" not in at_fake("stylize", "--help").out
