"""The objectives: what a painting can minimise, one module for each.

A new objective is a module here, its line below, and its value in the contract's enum `Objective`.
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
