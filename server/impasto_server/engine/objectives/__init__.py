"""The objectives, the formulas that a painting can minimise: one module for each.

To add an objective, write a module here, add it to `OBJECTIVES`, and add its value to the contract's enum
`Objective`.
"""

from __future__ import annotations

from impasto_server.engine.objectives import balanced, gatys, neighbours, report, wasserstein
from impasto_server.engine.objectives.definition import Definition

OBJECTIVES: dict[str, Definition] = {
    definition.name: definition
    for definition in (
        balanced.DEFINITION,
        gatys.DEFINITION,
        report.DEFINITION,
        wasserstein.DEFINITION,
        neighbours.DEFINITION,
    )
}
"""The definitions by name."""
