"""Applies an `UpdateJob` request to a job."""

from __future__ import annotations

from google.protobuf.message import Message

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument, quoted
from impasto_server.contract.previews import preview_faults
from impasto_server.contract.recipes import recipe_faults, recipe_from_proto, recipe_to_proto
from impasto_server.engine.recipe import FIELDS, STEERABLE, RecipeError
from impasto_server.gateway.checks import check_priority, check_title

_PREVIEW = tuple(field.name for field in pb.PreviewOptions.DESCRIPTOR.fields)
_PATHS = (
    "title",
    "priority",
    *(f"recipe.{field}" for field in STEERABLE),
    "preview",
    *(f"preview.{field}" for field in _PREVIEW),
)

# The fields whose defaults depend on a field.
_FOLLOWERS = {
    field: tuple(other.name for other in FIELDS if field in other.default.decided_by) for field in STEERABLE
}


def changed_job(job: pb.Job, request: pb.UpdateJobRequest) -> pb.Job:
    """Returns the job with the request's changes of recipe, preview, priority and title; the recipe resolved.

    Raises:
        CallError: INVALID_ARGUMENT: a path cannot be changed, or a value is out of range.
    """
    paths = list(dict.fromkeys(request.update_mask.paths))
    faults = [
        ("update_mask", f"names {quoted(path)!r}, which cannot be changed; give paths of {', '.join(_PATHS)}")
        for path in paths
        if path not in _PATHS
    ]
    if not paths:
        faults.append(("update_mask", "is empty; name the fields to change, such as recipe.content_weight"))
    if faults:
        raise CallError(invalid_argument(faults))
    changed = pb.Job()
    changed.CopyFrom(job)
    for path in paths:
        _take(changed, request.job, path)
    faults += check_title(changed.title, "job.title") + check_priority(changed.priority, "job.priority")
    faults += [(f"job.preview.{fault.field}", fault.remedy) for fault in preview_faults(changed.preview)]
    recipe_fields = {path.partition(".")[2] for path in paths if path.startswith("recipe.")}
    if recipe_fields:
        faults += _settle_recipe(changed, recipe_fields)
    if faults:
        raise CallError(invalid_argument(faults))
    return changed


def _take(changed: pb.Job, given: pb.Job, path: str) -> None:
    """Copies the field at a path; if it is not set, the field gets its default."""
    *parents, field = path.split(".")
    for parent in parents:
        changed, given = getattr(changed, parent), getattr(given, parent)
    changed.ClearField(field)
    if field in ("effort", "evaluations"):
        changed.ClearField("duration")
    # Only fields that are set are listed. The rest of the message is not copied, because it can be large.
    value = next((value for descriptor, value in given.ListFields() if descriptor.name == field), None)
    if isinstance(value, Message):
        getattr(changed, field).CopyFrom(value)
    elif hasattr(value, "extend"):
        getattr(changed, field).extend(value)
    elif value is not None:
        setattr(changed, field, value)


def _settle_recipe(changed: pb.Job, fields: set[str]) -> list[tuple[str, str]]:
    for field in fields:
        for follower in _FOLLOWERS[field]:
            if follower not in fields:
                changed.recipe.ClearField(follower)
    faults = recipe_faults(changed.recipe)
    if not faults:
        is_texture = changed.spec.HasField("texture")
        try:
            recipe = recipe_from_proto(changed.recipe)
            resolved = recipe.resolve(changed.width, changed.height, texture=is_texture)
        except RecipeError as fault:
            faults = [fault]
        else:
            changed.recipe.CopyFrom(recipe_to_proto(resolved))
            # Evaluations cannot be undone. A smaller number ends the painting.
            changed.recipe.evaluations = max(changed.recipe.evaluations, changed.progress.evaluation)
    return [(f"job.recipe.{fault.field}", fault.remedy) for fault in faults]
