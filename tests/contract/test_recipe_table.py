"""The table of recipe fields, and everything that must agree with it."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

import impasto.recipe
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract import client_table
from impasto_server.contract.recipes import recipe_faults, recipe_from_proto, words
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import FIELD, FIELDS, STEERABLE, Recipe, RecipeError, RecipeField

PROTO = (Path(__file__).parents[2] / "proto" / "impasto" / "v1" / "style_transfer.proto").read_text("utf-8")

TYPES = {
    "number": FieldDescriptor.TYPE_DOUBLE,
    "whole number": FieldDescriptor.TYPE_UINT32,
    "yes or no": FieldDescriptor.TYPE_BOOL,
    "choice": FieldDescriptor.TYPE_ENUM,
    "layers": FieldDescriptor.TYPE_MESSAGE,
}
NUMBERS = [field for field in FIELDS if field.kind in ("number", "whole number")]


def by_name(field: RecipeField) -> str:
    return field.name


def test_the_table_and_the_contract_have_the_same_fields() -> None:
    assert [field.name for field in FIELDS] == [field.name for field in pb.Recipe.DESCRIPTOR.fields]


@pytest.mark.parametrize("field", FIELDS, ids=by_name)
def test_a_field_has_the_same_type_in_the_table_the_contract_and_the_engine(field: RecipeField) -> None:
    descriptor = pb.Recipe.DESCRIPTOR.fields_by_name[field.name]
    assert descriptor.type == TYPES[field.kind]
    hint = get_type_hints(Recipe)[field.name]
    if field.kind == "choice":
        assert set(words(descriptor).values()) == set(field.words)
        named = next((kind for kind in get_args(hint) if get_args(kind)), hint)
        # The objectives are named by their modules.
        assert (get_args(named) or tuple(OBJECTIVES)) == field.words
        assert getattr(impasto.recipe, descriptor.enum_type.name)
    elif field.kind != "layers":
        kind = {"number": float, "whole number": int, "yes or no": bool}[field.kind]
        assert kind in (hint, *get_args(hint))


@pytest.mark.parametrize("field", FIELDS, ids=by_name)
def test_every_row_has_help_default_option_and_range(field: RecipeField) -> None:
    assert re.fullmatch(r"[A-Z].*\.", field.help)
    assert field.shown_default
    assert re.fullmatch("--[a-z-]+", field.option)
    assert bool(field.range) == (field.kind in ("number", "whole number", "layers"))
    assert set(field.content_words) < set(field.words) or not field.content_words
    assert field.file_word in ("", *field.words)


def test_no_two_fields_have_the_same_option() -> None:
    assert len({field.option for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("objective", FIELD["objective"].words)
@pytest.mark.parametrize("optimizer", [None, *FIELD["optimizer"].words])
@pytest.mark.parametrize("effort", [None, *FIELD["effort"].words])
def test_an_empty_recipe_gets_the_defaults_of_the_table(objective: Any, optimizer: Any, effort: Any) -> None:
    resolved = Recipe(objective=objective, optimizer=optimizer, effort=effort).resolve(2000, 1000)
    known = {**dataclasses.asdict(resolved), "effort": effort or "standard"}
    for field in FIELDS:
        if field.name not in ("objective", "optimizer", "effort"):
            assert getattr(resolved, field.name) == field.default.value(known), field.name
        for default in field.default.values:
            assert field.fault(default) is None


# Ranges.


def values_of(field: RecipeField) -> st.SearchStrategy[Any]:
    """Values inside and outside the range, including its ends and their neighbours."""
    ends = [end for end in (field.least, field.most) if math.isfinite(end)]
    if field.kind == "whole number":
        return st.integers(0, 2**32 - 1) | st.sampled_from(
            [int(end) + step for end in ends for step in (-1, 0, 1) if 0 <= end + step < 2**32]
        )
    beside = [math.nextafter(end, toward) for end in ends for toward in (-math.inf, math.inf)]
    return st.floats() | st.sampled_from([*ends, *beside, math.nan, math.inf])


NAMED_VALUES = st.sampled_from(NUMBERS).flatmap(lambda field: st.tuples(st.just(field), values_of(field)))


def is_in_range(field: RecipeField, value: float) -> bool:
    above = value > field.least if field.above_least else value >= field.least
    return above and value <= field.most and math.isfinite(value)


@given(NAMED_VALUES)
def test_the_engine_the_contract_and_the_client_refuse_the_same_values_in_the_same_words(
    given: tuple[RecipeField, float],
) -> None:
    field, value = given
    try:
        Recipe(**{field.name: value})
        of_engine = None
    except RecipeError as fault:
        of_engine = (fault.field, fault.remedy)
    of_contract = [(fault.field, fault.remedy) for fault in recipe_faults(pb.Recipe(**{field.name: value}))]
    of_client = impasto.recipe.FIELDS[field.python_name or field.name].fault(value)
    if is_in_range(field, value):
        assert (of_engine, of_contract, of_client) == (None, [], None)
        assert getattr(recipe_from_proto(pb.Recipe(**{field.name: value})), field.name) == value
    else:
        assert of_engine is not None
        assert of_contract == [of_engine]
        assert of_client == ("", of_engine[1])
        assert of_engine[0] == field.name
        wanted = field.range if math.isfinite(value) else f"a finite number: {field.range}"
        assert of_engine[1].endswith(f"; give {wanted}")


LAYERS = st.lists(
    st.tuples(st.sampled_from([*FIELD["style_layers"].words, "relu9_9"]), st.floats()), max_size=3
).map(tuple)


@given(LAYERS)
def test_the_engine_and_the_client_refuse_the_same_layers_in_the_same_words(
    layers: tuple[tuple[str, float], ...],
) -> None:
    of_client = impasto.recipe.FIELDS["style_layers"].fault(layers)
    try:
        Recipe(objective="balanced", style_layers=layers)
        assert of_client is None
    except RecipeError as fault:
        assert of_client is not None
        where, remedy = of_client
        assert (fault.field, fault.remedy) == (f"style_layers{where}", remedy)


@pytest.mark.parametrize("field", [field for field in FIELDS if field.kind == "choice"], ids=by_name)
def test_an_unknown_word_of_a_choice_is_refused(field: RecipeField) -> None:
    with pytest.raises(RecipeError, match=f"{field.name} is 'cubist'; give one of {field.words[0]}"):
        Recipe(**{field.name: "cubist"})
    assert impasto.recipe.FIELDS[field.python_name or field.name].fault("cubist") == field.fault("cubist")


@pytest.mark.parametrize("field", [field for field in FIELDS if field.content_words], ids=by_name)
def test_a_word_that_needs_a_content_is_refused_for_a_texture(field: RecipeField) -> None:
    for word in field.words:
        recipe = Recipe(**{field.name: word})
        if word in field.content_words:
            with pytest.raises(RecipeError, match=f"{field.name} is '{word}', but a texture has no content"):
                recipe.resolve(64, 64, texture=True)
        else:
            assert getattr(recipe.resolve(64, 64, texture=True), field.name) == word


# The client's copy of the table.


def test_the_table_of_the_client_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["client_table", "--check"])
    client_table.main()


def test_the_check_finds_a_table_of_the_client_that_is_not_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifted = tmp_path / "recipe_table.py"
    drifted.write_text(client_table.text().replace("least=0.1", "least=0.2"), encoding="utf-8")
    monkeypatch.setattr(client_table, "FILE", drifted)
    monkeypatch.setattr(sys, "argv", ["client_table", "--check"])
    with pytest.raises(SystemExit, match="is not up to date; run"):
        client_table.main()
    monkeypatch.setattr(sys, "argv", ["client_table"])
    client_table.main()
    assert drifted.read_text(encoding="utf-8") == client_table.text()


def test_the_client_knows_the_same_fields() -> None:
    assert [field.wire_name for field in impasto.recipe.FIELDS.values()] == [field.name for field in FIELDS]
    assert impasto.recipe.STEERABLE == STEERABLE
    for fields in (dataclasses.fields(impasto.Recipe), get_type_hints(impasto.recipe.Settings)):
        assert [getattr(field, "name", field) for field in fields] == list(impasto.recipe.FIELDS)
    for field in FIELDS:
        known = impasto.recipe.FIELDS[field.python_name or field.name]
        for about in dataclasses.fields(known):
            if about.name in ("name", "wire_name"):
                assert (known.name, known.wire_name) == (field.python_name or field.name, field.name)
            elif about.name == "default":
                assert known.default == field.shown_default
            elif about.name == "default_value":
                # For the default objective, unless the default depends on further fields.
                beside = {"objective": FIELD["objective"].default.otherwise}
                assert known.default_value in (None, field.default.value(beside))
            else:
                assert getattr(known, about.name) == getattr(field, about.name), about.name


# The contract's comments.


def comments(message: str) -> Iterator[tuple[str, str]]:
    """The fields of a message or the values of an enum of the contract, each with its comment."""
    (body,) = re.findall(rf"^(?:message|enum) {message} {{\n(.*?)^}}", PROTO, flags=re.MULTILINE | re.DOTALL)
    for comment, name in re.findall(r"((?:^ *//.*\n)+) *(?:[\w. ]+ )?(\w+) = \d+;", body, flags=re.MULTILINE):
        yield name, " ".join(re.findall(r"// ?(.*)", comment))


def numbers(text: str) -> set[float]:
    found = re.findall(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?![\w-])", text)
    return {float(number.replace(",", "")) for number in found}


def test_the_contract_lists_the_steerable_fields() -> None:
    (listed,) = re.findall(r'and of "recipe" the fields ([^.]*)\. A named', re.sub(r"\s*//\s*", " ", PROTO))
    assert tuple(re.findall(r"\w+_\w+|\w{4,}", listed)) == STEERABLE


COMMENTS = dict(comments("Recipe"))


def test_each_field_of_the_contract_has_a_comment() -> None:
    assert set(COMMENTS) == set(FIELD)


@pytest.mark.parametrize("field", NUMBERS, ids=by_name)
def test_the_contract_states_the_range_of_the_table(field: RecipeField) -> None:
    about, _, _ = COMMENTS[field.name].partition("Default")
    ends = {end for end in (field.least, field.most) if math.isfinite(end)}
    if field.name == "longest_side":
        assert "`Limits.max_longest_side`" in about
        ends.remove(field.most)
    if field.name == "seed":
        # Every value of the type.
        assert ends == {0, 2**32 - 1}
        ends = set()
    assert ends <= numbers(about), about


@pytest.mark.parametrize("field", FIELDS, ids=by_name)
def test_the_contract_states_the_defaults_of_the_table(field: RecipeField) -> None:
    _, stated, text = COMMENTS[field.name].partition("Default")
    assert stated or field.default_words, "a default must be stated, or be told in words"
    sentence = re.split(r"\.(?: |$)", text)[0]
    defaults = field.default.values
    if field.kind == "choice":
        enum = pb.Recipe.DESCRIPTOR.fields_by_name[field.name].enum_type
        prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
        found = set(re.findall(rf"{prefix}(\w+)", text))
        assert found
        assert {word.lower() for word in found} <= set(defaults)
        unset = dict(comments(enum.name))[enum.values[0].name]
        for word in re.findall(rf"The default: {prefix}(\w+)", unset):
            assert word.lower() == field.default.otherwise
    elif field.kind == "yes or no":
        assert re.findall("true|false", sentence) == [str(default).lower() for default in defaults]
    elif field.kind != "layers":
        assert numbers(sentence) <= {float(default) for default in defaults}, sentence
