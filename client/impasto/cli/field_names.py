"""Errors in the words of the command line: options in place of the fields of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from impasto.recipe import FIELDS

OPTION_OF_FIELD = {
    **{f"spec.recipe.{field.wire_name}": field.option for field in FIELDS.values()},
    "spec.content": "CONTENT",
    "spec.styles": "STYLE",
    "spec.start_image": "--start",
    "spec.texture": "--size",
    "spec.regions": "--region",
    "spec.selection": "--selection",
    "spec.result_format": "--format",
    "title": "--title",
    "priority": "--priority",
    "preview.min_interval": "--preview-interval",
    "preview.max_side": "--preview-side",
    "states": "--state",
    "format": "--format",
    "timeout": "--timeout",
    **dict.fromkeys(("name", "result_of", "preview_of", "job.name"), "JOB"),
}
# UpdateJob has the same fields in a job.
OPTION_OF_FIELD |= {
    f"job.{field.removeprefix('spec.')}": option
    for field, option in OPTION_OF_FIELD.items()
    if field.startswith(("spec.recipe.", "title", "priority", "preview."))
}
"""The option or argument that sets a field of a request, by the field's path."""

_OPTION_OF_NAME = {field.wire_name: field.option for field in FIELDS.values() if "_" in field.wire_name}
"""Names of fields that cannot be mistaken for English words."""


def in_options(faults: Iterable[tuple[str, str]], names: Mapping[str, str]) -> str:
    """Returns the faults of a request as one line that names options.

    Args:
        faults: pairs of a field's path and a clause that continues the field's name.
        names: names of fields beside `OPTION_OF_FIELD`, such as the file that was given as the content.
    """
    known = {**OPTION_OF_FIELD, **names}
    clauses = []
    for field, clause in faults:
        # A name is valid for everything below its path: spec.styles[0].image.raw is the file of the style.
        path = max((path for path in known if _is_within(field, path)), key=len, default=None)
        clauses.append(f"{known[path] if path else field} {_renamed(clause)}")
    # --size of a texture sets two fields, which may have the same fault.
    return "; ".join(dict.fromkeys(clauses))


def _is_within(field: str, path: str) -> bool:
    return field == path or field.startswith((f"{path}.", f"{path}["))


def _renamed(clause: str) -> str:
    clause = re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda name: _OPTION_OF_NAME.get(name[0], name[0]), clause)
    return recipe_for_objective(clause)


_QUOTED_OR_OBJECTIVE = re.compile(r"(?P<quoted>(?<!\w)'[^']*')|\bobjective\b")


def recipe_for_objective(text: str) -> str:
    """Returns a text with the command line's word for the objective, which `--recipe` sets.

    What the text quotes stays as it is.
    """
    return _QUOTED_OR_OBJECTIVE.sub(lambda found: found["quoted"] or "recipe", text)
