"""Runs the planned simulation and the measurements: see the package."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from simulation.planned.costs import (
    PREVIEW_BYTES,
    bytes_per_queued_job,
    message_costs,
    plan_times,
    store_rates,
)
from simulation.planned.fleet import Fleet, Outcome

SIZES = ((10, 1_000), (10, 100_000), (100, 10_000), (100, 100_000), (1_000, 10_000), (1_000, 100_000))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulation.planned", description=__doc__)
    parser.add_argument(
        "--devices", type=int, default=1_000, help="devices, 8 in each machine (default: 1000)"
    )
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the first queue (default: 100000)")
    parser.add_argument("--tenants", type=int, default=200, help="tenants of unequal weights (default: 200)")
    parser.add_argument("--seconds", type=float, default=300.0, help="simulated seconds (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (default: 1)")
    parser.add_argument(
        "--kind", choices=("gpu", "cpu"), default="gpu", help="evaluation times (default: gpu)"
    )
    parser.add_argument(
        "--deaths-every",
        type=float,
        default=60.0,
        help="mean seconds between deaths of machines (default: 60)",
    )
    parser.add_argument(
        "--rounds", type=int, default=40, help="plans of each size that are timed (default: 40)"
    )
    parser.add_argument("--only", choices=("fleet", "plans", "costs"), help="run one part (default: all)")
    options = parser.parse_args()
    if options.only in (None, "fleet"):
        fleet = Fleet(
            devices=options.devices,
            jobs=options.jobs,
            tenants=options.tenants,
            seconds=options.seconds,
            kind=options.kind,
            seed=options.seed,
            deaths_every=options.deaths_every,
        )
        print("\n".join(_report(fleet.run())), flush=True)
    if options.only in (None, "plans"):
        _print_plans(options.rounds)
    if options.only in (None, "costs"):
        _print_costs()


def _report(outcome: Outcome) -> list[str]:
    shares = [outcome.device_seconds[t] / outcome.weights[t] for t in sorted(outcome.demanding)]
    plans = outcome.plan_seconds
    lines = [
        f"{outcome.seconds:.0f} s simulated, at most {outcome.most_jobs} unfinished jobs:"
        f" {outcome.finished} finished, {outcome.evaluations} evaluations,"
        f" devices busy {outcome.busy:.1%} of the time",
        f"{outcome.deaths} machines died; {outcome.lost_evaluations} evaluations were made again",
        f"{outcome.suspended} jobs made room for others, {outcome.moved} moved to a device with fewer jobs",
        f"plans (CPU of the gateway): first {_ms(plans[0])}, {_quantiles(plans[1:], 1e3)} ms",
    ]
    if shares:
        jain = sum(shares) ** 2 / len(shares) / sum(share * share for share in shares)
        mean = statistics.fmean(shares)
        worst = max(abs(share / mean - 1) for share in shares)
        lines.append(
            f"fairness of {len(shares)} tenants that always had waiting jobs: Jain index {jain:.4f}, device"
            f" seconds by weight {min(shares):.0f} to {max(shares):.0f}, at most {worst:.1%} from the mean"
        )
    for interactive, waited in sorted(outcome.waited.items()):
        word = "interactive" if interactive else "other"
        lines.append(f"{len(waited)} {word} jobs started, after {_quantiles(waited, 1.0)} s")
    rates = {what: number / outcome.seconds for what, number in sorted(outcome.writes.items())}
    lines.append("store, per second: " + ", ".join(f"{rate:.0f} {what}" for what, rate in rates.items()))
    lines[-1] += f" ({outcome.checkpoint_bytes / outcome.seconds / 1e9:.1f} GB)"
    return lines


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _quantiles(values: Sequence[float], factor: float) -> str:
    ordered = sorted(values) or [0.0]
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] * factor for share in (0.5, 0.99)]
    return f"median {at[0]:.1f}, 99th percentile {at[1]:.1f}, maximum {ordered[-1] * factor:.1f}"


def _print_plans(rounds: int) -> None:
    print("CPU time of plan() in a steady state: devices, jobs: first, median, 99th percentile, maximum")
    for devices, jobs in SIZES:
        times = plan_times(devices, jobs, rounds=rounds)
        columns = (times.first, times.median, times.p99, times.most)
        print(f"{devices:7} {jobs:8}:", ", ".join(_ms(seconds) for seconds in columns), flush=True)


def _print_costs() -> None:
    used, message = bytes_per_queued_job()
    print(f"memory of a queued job in the gateway: {used} bytes; its message: {message * 1e6:.0f} µs")
    costs = message_costs()
    print(
        f"gateway, CPU per message of a worker: progress {costs.progress * 1e6:.0f} µs,"
        f" with a watcher {costs.watched_progress * 1e6:.0f} µs,"
        f" preview of {PREVIEW_BYTES} bytes {costs.preview * 1e6:.0f} µs"
    )
    rates = store_rates(Path(tempfile.gettempdir()))
    print(
        f"store, per second: {rates.created:.0f} new jobs (durable),"
        f" {rates.saved:.0f} state changes (not durable), {rates.checkpoints:.1f} checkpoints of 10 MiB,"
        f" {rates.results:.0f} results of 1 MiB"
    )


if __name__ == "__main__":
    main()
