"""Runs seeds of the simulation: see the package."""

from __future__ import annotations

import argparse
import sys
import time

from simulation import mutations
from simulation.seeds import Outcome, Simulation
from simulation.world import ALL

TOLD = 40
"""Number of last events that the report of a failed seed shows."""


def main() -> None:
    """Runs the seeds and reports those that fail.

    Raises:
        SystemExit: with 1 if a seed fails, or if none fails despite a mutation.
    """
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", default="0-999", help="one seed, or the first and the last: 1000-2000")
    parser.add_argument("--mutation", choices=sorted(mutations.MUTATIONS), help="fault to put into the code")
    parser.add_argument("--trace", action="store_true", help="print all events")
    parser.add_argument("--go-on", action="store_true", help="continue after a seed that fails")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    begin, calls, jobs, bad = time.monotonic(), 0, 0, 0
    number = 0
    kind = mutations.MUTATIONS[options.mutation].kind if options.mutation else ALL
    with mutations.put_in(options.mutation), Simulation() as simulation:
        for seed in range(int(first), int(last or first) + 1):
            outcome = simulation.outcome(seed, kind)
            number, calls, jobs = number + 1, calls + outcome.calls, jobs + outcome.jobs
            if options.trace and not outcome.violations:
                print("\n".join(outcome.trace))
            if outcome.violations:
                bad += 1
                print(report(outcome, options.mutation, len(outcome.trace) if options.trace else TOLD))
                if not options.go_on:
                    break
    seconds = time.monotonic() - begin
    print(f"{number} seeds, {jobs} jobs, {calls} calls in {seconds:.1f} s; {bad} seeds fail")
    sys.exit(bool(bad) != bool(options.mutation))


def report(outcome: Outcome, mutation: str | None = None, told: int = TOLD) -> str:
    """The report about a seed that fails."""
    command = f"cd tests && python -m simulation --trace --seeds {outcome.seed}"
    if mutation:
        command += f" --mutation {mutation}"
    lines = [f"seed {outcome.seed}: {outcome.violations[0]}", *outcome.trace[-told:], f"again: {command}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
