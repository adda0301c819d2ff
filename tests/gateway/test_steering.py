"""The changes that an update makes to a job."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, FIELDS, STEERABLE, Recipe, evaluations_of
from impasto_server.gateway import steering
from impasto_server.gateway.steering import changed_job


def job(*, made: int = 0, **recipe: Any) -> pb.Job:
    """A job after a number of evaluations."""
    resolved = Recipe(**recipe).resolve(64, 48)
    found = pb.Job(name="jobs/a", width=64, height=48, recipe=recipe_to_proto(resolved))
    if made:
        found.progress.evaluation = made
    return found


def steered(before: pb.Job, *paths: str, **recipe: Any) -> pb.Job:
    """The job with changed fields of its recipe; `paths` are further paths of the mask."""
    request = pb.UpdateJobRequest(job=pb.Job(name=before.name, recipe=pb.Recipe(**recipe)))
    request.update_mask.paths.extend([f"recipe.{field}" for field in (*recipe, *paths)])
    return changed_job(before, request)


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_exactly_the_steerable_fields_of_the_table_can_be_changed(name: str) -> None:
    before = job()
    if name in STEERABLE:
        assert steered(before, name).recipe == before.recipe
        return
    with pytest.raises(CallError) as refused:
        steered(before, name)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in refused.value.status.details)
    (violation,) = bad_request.field_violations
    assert violation.field == "update_mask"
    assert f"names 'recipe.{name}', which cannot be changed" in violation.description
    for steerable in STEERABLE:
        assert f"recipe.{steerable}" in violation.description


@pytest.mark.parametrize(("made", "wanted", "shown"), [(18, 1, 18), (18, 18, 18), (18, 19, 19), (0, 1, 1)])
def test_an_update_never_sets_fewer_evaluations_than_were_made(made: int, wanted: int, shown: int) -> None:
    assert steered(job(made=made), evaluations=wanted).recipe.evaluations == shown


def test_an_effort_below_the_evaluations_made_sets_the_number_made() -> None:
    before = job(made=50, effort="fine")
    assert steered(before, effort=pb.EFFORT_DRAFT).recipe.evaluations == 50
    assert steered(before, effort=pb.EFFORT_STANDARD).recipe.evaluations == evaluations_of(
        DEFAULT_OBJECTIVE, "standard"
    )


def test_a_change_of_another_field_keeps_the_evaluations() -> None:
    before = job(made=18, evaluations=40)
    changed = steered(before, content_weight=2)
    assert changed.recipe.evaluations == 40
    assert changed.recipe.content_weight == 2


def test_defaults_that_depend_on_the_optimiser_change_with_it() -> None:
    before = job(optimizer="lbfgs")
    changed = steered(before, optimizer=pb.OPTIMIZER_ADAM)
    assert (changed.recipe.learning_rate, changed.recipe.averaging) == (0.05, 0.99)
    changed = steered(before, optimizer=pb.OPTIMIZER_ADAM, learning_rate=0.5)
    assert (changed.recipe.learning_rate, changed.recipe.averaging) == (0.5, 0.99)
    changed = steered(changed, optimizer=pb.OPTIMIZER_LBFGS)
    assert (changed.recipe.learning_rate, changed.recipe.averaging) == (1, 0)
    # The given job is not changed.
    assert before.recipe.optimizer == pb.OPTIMIZER_LBFGS


def test_a_value_out_of_range_is_refused_with_its_path() -> None:
    with pytest.raises(CallError) as refused:
        steered(job(), tv_weight=-1, averaging=2)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in refused.value.status.details)
    assert {violation.field: violation.description for violation in bad_request.field_violations} == {
        "job.recipe.tv_weight": "is -1; give 0 or more",
        "job.recipe.averaging": "is 2; give 0 to 0.9999",
    }


def test_an_update_changes_only_the_paths_of_its_mask() -> None:
    before = job(objective="balanced")
    before.title = "before"
    before.preview.max_side = 300
    layers = [pb.LayerWeight(layer="relu1_1", weight=2.0), pb.LayerWeight(layer="relu2_1", weight=1.0)]
    request = pb.UpdateJobRequest(job=pb.Job(title="after", stop_message="x", width=9))
    request.job.recipe.style_layers.extend(layers)
    request.job.recipe.content_weight = 3.0
    request.job.preview.min_interval.seconds = 2
    paths = ["recipe.style_layers", "preview.min_interval", "preview.max_side", "title", "title"]
    request.update_mask.paths.extend(paths)
    after = changed_job(before, request)
    assert list(after.recipe.style_layers) == layers
    assert after.recipe.content_weight == before.recipe.content_weight
    assert after.preview == pb.PreviewOptions(min_interval=Duration(seconds=2))
    assert (after.title, after.stop_message, after.width) == ("after", "", 64)


def test_an_update_applies_a_repeated_path_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    take = steering._take
    monkeypatch.setattr(
        steering, "_take", lambda changed, given, path: (taken.append(path), take(changed, given, path))
    )
    request = pb.UpdateJobRequest(job=pb.Job(title="x"))
    request.update_mask.paths.extend(["title", "priority"] * 1000)
    assert changed_job(job(), request).title == "x"
    assert taken == ["title", "priority"]
