"""Runs thousands of small worlds, and checks that faults in the code are found."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from simulation import mutations
from simulation.__main__ import report
from simulation.seeds import Simulation

SEEDS = int(os.environ.get("IMPASTO_SIMULATION_SEEDS", "2000"))
"""Number of worlds; they take about a minute on one core."""

BLOCKS = 10

TRIES = 800
"""Number of worlds in which a fault must show; usually one of the first hundred shows it."""


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_world_keeps_the_guarantees(simulation: Simulation, block: int) -> None:
    for seed in range(block * SEEDS // BLOCKS, (block + 1) * SEEDS // BLOCKS):
        outcome = simulation.outcome(seed)
        assert not outcome.violations, report(outcome)


HAPPENINGS = (
    "killed",
    "drained",
    ": left",
    ": full",
    ": busy",
    "hangs",
    "goes on",
    "dies blames=True",
    "dies blames=False turn=",
    "does not fit",
    "JOB_IS_OVER",
    "HELD",
    "HoldJob jobs/job-1: OK",
    "ReleaseJob jobs/job-1: OK",
    "SHUTTING_DOWN",
    "TOO_MANY_JOBS",
    "WORKER_BUSY",
    "INVALID_FIELD",
    "NOT_FOUND",
    "store commit: done",
    "sees JOB_STATE_PAUSED",
    "sees JOB_STATE_FAILED",
    "sees JOB_STATE_CANCELLED",
    "sees JOB_STATE_SUCCEEDED",
    "DownloadImage jobs/job-1: OK",
    "stops watching",
    "job's state cannot be stored yet",
    "end of a job cannot be stored yet",
    "cannot be painted yet",
)


@pytest.mark.slow
def test_every_kind_of_event_occurs(simulation: Simulation) -> None:
    seen: set[str] = set()
    for seed in range(TRIES):
        trace = "\n".join(simulation.outcome(seed).trace)
        seen.update(what for what in HAPPENINGS if what in trace)
        if len(seen) == len(HAPPENINGS):
            break
    missing = sorted(set(HAPPENINGS) - seen)
    assert not missing


@pytest.mark.parametrize("seed", [1, 17, 20])
def test_a_seed_always_gives_the_same_world(simulation: Simulation, seed: int) -> None:
    first, second = (simulation.outcome(seed) for _ in range(2))
    assert first.trace == second.trace
    assert first.digest == second.digest != simulation.outcome(seed + 1).digest


@pytest.mark.slow
@pytest.mark.parametrize("name", mutations.MUTATIONS)
def test_each_fault_in_the_code_is_found(simulation: Simulation, name: str) -> None:
    kind = mutations.MUTATIONS[name].kind
    with mutations.put_in(name):
        found = any(simulation.outcome(seed, kind).violations for seed in range(TRIES))
    assert found, f"{mutations.MUTATIONS[name].fault}: not seen in {TRIES} worlds"


def test_a_seed_reproduces_its_fault(simulation: Simulation) -> None:
    with mutations.put_in("merge-before-lock"):
        outcomes = (simulation.outcome(seed) for seed in range(TRIES))
        found = next(outcome for outcome in outcomes if outcome.violations)
        again = simulation.outcome(found.seed)
    assert (again.violations, again.digest) == (found.violations, found.digest)
    assert found.violations[0] in report(found)
    assert f"--seeds {found.seed}" in report(found)
