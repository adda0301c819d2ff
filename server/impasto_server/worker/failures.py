"""The statuses for callers of errors that end a painting or refuse a change to it."""

from __future__ import annotations

import dataclasses
import re

import grpc
from google.rpc import status_pb2

from impasto_server.contract.errors import (
    does_not_fit,
    internal,
    invalid_argument,
    status,
)
from impasto_server.engine.devices import is_out_of_memory
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.recipe import Recipe, RecipeError

_RECIPE_FIELDS = frozenset(field.name for field in dataclasses.fields(Recipe))


def failure_of(error: Exception) -> status_pb2.Status:
    """Returns the status of a job that failed with an error."""
    if isinstance(error, RecipeError):
        if isinstance(error.__cause__, DoesNotFit):
            return does_not_fit(_path(error), error.remedy)
        return refusal_of(error)
    if is_out_of_memory(error):
        return status(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OUT_OF_MEMORY",
            "the device has too little memory for this job; give a smaller size, or try again when fewer "
            "jobs run",
        )
    return internal("PAINTING_FAILED", "the painting failed; see the server log")


def refusal_of(error: RecipeError) -> status_pb2.Status:
    """Returns the status of a recipe or an image that cannot be painted, with the field at fault."""
    return invalid_argument([(_path(error), error.remedy)])


def _path(error: RecipeError) -> str:
    """Returns the path of the field at fault in a caller's request."""
    top = re.split(r"[.\[]", error.field)[0]
    return f"spec.recipe.{error.field}" if top in _RECIPE_FIELDS else f"spec.{error.field}"
