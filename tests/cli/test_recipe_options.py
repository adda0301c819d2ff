"""The recipe's options: made from the table, and checked before a server is called."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.cli.field_names import OPTION_OF_FIELD
from impasto.cli.recipe_options import GivenRecipe
from impasto.errors import InvalidRequest
from impasto.recipe import FIELDS, RecipeField
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import Recipe, RecipeError
from support.command_line import Impasto
from support.fake_server import FakeServer

IMAGES = ("stylize", "content.png", "style.png", "-o", "out.png")
NUMBERS = [field for field in FIELDS.values() if field.kind in ("number", "whole number")]
OPTIONS = {field.option for field in FIELDS.values()}


def by_name(field: RecipeField) -> str:
    return field.name


@pytest.fixture
def help_of(impasto: Impasto, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command's help says, on one line."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")

    def said(command: str) -> str:
        return " ".join(re.sub("[│╭╮╰╯─]", " ", impasto(command, "--help").out).split())

    return said


def options_in(text: str) -> set[str]:
    return OPTIONS & set(re.findall(r"--[a-z-]+", text))


def test_help_has_every_field_with_its_range_and_default(help_of: Any) -> None:
    text = help_of("stylize")
    assert options_in(text) == OPTIONS
    for field in FIELDS.values():
        default = field.default.replace("; noise with a texture", "").replace("objective", "recipe")
        assert f"Default: {default}." in text
        assert field.help in text
        if field.range:
            assert f": {field.range}. Default: {default}." in text
    for command in ("stylize", "submit"):
        assert options_in(help_of(command)) == OPTIONS


def test_steer_has_the_steerable_fields(help_of: Any) -> None:
    steerable = {field.option for field in FIELDS.values() if field.steerable}
    assert options_in(help_of("steer")) == steerable


def test_texture_has_the_fields_that_need_no_content(help_of: Any) -> None:
    text = help_of("texture")
    without = {FIELDS[name].option for name in ("content_weight", "content_layers", "color")}
    assert options_in(text) == OPTIONS - without
    objective = FIELDS["objective"]
    assert objective.content_words
    *others, last = (word for word in objective.words if word not in objective.content_words)
    assert f"One of {', '.join(others)} or {last}." in text
    assert "One of: noise, or a file. Default: noise." in text


def test_texture_refuses_an_objective_that_needs_a_content(impasto: Impasto, fake: FakeServer) -> None:
    texture = ("texture", "style.png", "-o", "out.png", "--size", "32", "--server", fake.address)
    assert impasto(*texture, "--recipe", "report").code == 2
    assert not fake.requests
    assert impasto(*texture, "--recipe", "gatys").code == 0
    assert fake.requests[0].spec.recipe == pb.Recipe(objective=pb.OBJECTIVE_GATYS)


@pytest.mark.parametrize("field", FIELDS.values(), ids=by_name)
def test_errors_have_an_option_for_every_field(field: RecipeField) -> None:
    assert OPTION_OF_FIELD[f"spec.recipe.{field.wire_name}"] == field.option
    assert OPTION_OF_FIELD[f"job.recipe.{field.wire_name}"] == field.option


def beyond(field: RecipeField) -> float:
    """A value just out of the range."""
    if field.kind == "whole number":
        return int(field.most) + 1
    if math.isfinite(field.most):
        return math.nextafter(field.most, math.inf)
    return math.nextafter(field.least, -math.inf)


@pytest.mark.parametrize("field", NUMBERS, ids=by_name)
def test_an_error_names_the_option_of_a_value_out_of_range(
    impasto: Impasto, fake: FakeServer, field: RecipeField
) -> None:
    outcome = impasto(*IMAGES, "--server", fake.address, field.option, repr(beyond(field)))
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {field.option} is ")
    assert outcome.err.endswith(f"; give {field.range}\n")
    assert not fake.requests


@pytest.mark.parametrize("field", NUMBERS, ids=by_name)
def test_the_end_of_a_range_is_sent(impasto: Impasto, fake: FakeServer, field: RecipeField) -> None:
    end = field.most if math.isfinite(field.most) else field.least
    value = int(end) if field.kind == "whole number" else end
    assert impasto(*IMAGES, "--server", fake.address, field.option, repr(value)).code == 0
    assert getattr(fake.requests[0].spec.recipe, field.wire_name) == value


ANY_NUMBER = st.sampled_from(NUMBERS).flatmap(
    lambda field: st.tuples(
        st.just(field), st.integers() if field.kind == "whole number" else st.floats() | st.floats(-1, 101)
    )
)


@given(ANY_NUMBER)
def test_the_command_line_refuses_the_same_values_as_the_server(given: tuple[RecipeField, Any]) -> None:
    field, value = given
    recipe = GivenRecipe({field.name: value})
    try:
        Recipe(**{field.wire_name: value})
    except RecipeError as fault:
        with pytest.raises(InvalidRequest) as refused:
            recipe.settings({})
        assert refused.value.fields == ((f"spec.recipe.{field.wire_name}", fault.remedy),)
    else:
        assert recipe.settings({}) == {field.name: value}


def test_all_values_out_of_range_are_in_one_error(impasto: Impasto, fake: FakeServer) -> None:
    outcome = impasto(
        *(*IMAGES, "--server", fake.address, "--style-scale", 9, "--averaging", 2, "--seed", -1),
        *("--style-layer", "relu1_1", "--style-layer", "conv9=2", "--content-layer", "relu4_2=0"),
    )
    assert outcome.code == 2
    for words in (
        "--seed is -1; give 0 to 4294967295",
        "--style-scale is 9; give 0.1 to 4",
        "--averaging is 2; give 0 to 0.9999",
        "--style-layer is 'conv9'; give one of relu1_1, ",
        "--content-layer relu4_2=0 is 0; give more than 0",
    ):
        assert words in outcome.err
    assert not fake.requests


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_a_weight_has_to_be_a_finite_number(stylize: Impasto, fake: FakeServer, value: str) -> None:
    outcome = stylize("--content-weight", value, "--style-layer", f"relu1_1={value}")
    assert (outcome.code, outcome.err) == (
        2,
        f"Error: --content-weight is {value}; give a finite number: 0 or more; "
        f"--style-layer relu1_1={value} is {value}; give a finite number: more than 0\n",
    )
    assert not fake.requests


def test_an_error_names_the_option_of_a_steered_value_out_of_range(
    impasto: Impasto, fake: FakeServer
) -> None:
    outcome = impasto("steer", "jobs/fake", "--server", fake.address, "--content-weight", -1)
    assert (outcome.code, outcome.err) == (2, "Error: --content-weight is -1; give 0 or more\n")
    assert not fake.called("UpdateJob")
    layers = ("--style-layer", "relu1_1", "--style-layer", "relu9_9=2", "--json")
    (line,) = impasto("steer", "jobs/fake", "--server", fake.address, *layers).lines
    assert line["message"].startswith("--style-layer is 'relu9_9'; give one of relu1_1, ")
    assert line["fields"][0]["field"] == "job.recipe.style_layers[1].layer"
    assert not fake.called("UpdateJob")


@pytest.mark.parametrize(
    "arguments", [("--color", "blue"), ("--precision", "double"), ("--format", "gif"), ("--timeout", "0")]
)
def test_wrong_values_are_refused_in_plain_words(stylize: Impasto, arguments: tuple[str, str]) -> None:
    outcome = stylize(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {arguments[0]} is '{arguments[1]}'; give ")
