"""Measures how a real worker shares its device: `python tests/worker/measure_sharing.py WHAT`.

WHAT is even, weighted, draft, switching or checkpoints.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from google.protobuf.duration_pb2 import Duration

from impasto.v1 import style_transfer_pb2 as pb
from support.worker_process import IMAGES, Outcome, WorkerProcess, job, running_worker


def still(side: int) -> pb.Recipe:
    """Returns a recipe with Adam at one size that practically never ends."""
    return pb.Recipe(
        objective=pb.OBJECTIVE_REPORT, evaluations=100_000, longest_side=side, precision=pb.PRECISION_FLOAT32
    )


class Reader:
    """A job that runs beside others; a thread reads its responses."""

    def __init__(self, worker: WorkerProcess, name: str, recipe: pb.Recipe, **fields: Any) -> None:
        self.outcome = Outcome()
        self.call = worker.run(job(name, recipe, **fields), IMAGES, timeout=300)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self.outcome.take(response)
        except Exception:
            return

    @property
    def device_seconds(self) -> float:
        if not self.outcome.progress:
            return 0.0
        return self.outcome.progress[-1].device_time.ToMilliseconds() / 1000

    @property
    def evaluations(self) -> int:
        return self.outcome.progress[-1].evaluation if self.outcome.progress else 0


def ratio(weight: float) -> None:
    with running_worker() as worker:
        one = Reader(worker, "jobs/a", still(128), tenant="a")
        other = Reader(worker, "jobs/b", still(64), tenant="b", tenant_weight=weight)
        time.sleep(3)
        before = one.device_seconds, other.device_seconds
        time.sleep(60)
        had = one.device_seconds - before[0], other.device_seconds - before[1]
        print(f"weights 1:{weight:g}: {had[0]:.2f} s and {had[1]:.2f} s, ratio {had[1] / had[0]:.3f}")


def draft() -> None:
    with running_worker() as worker:
        long = [
            Reader(worker, f"jobs/{i}", still(512), tenant="ab"[i % 2], watched=i % 3 == 0) for i in range(8)
        ]
        time.sleep(20)
        each = sum(j.device_seconds for j in long) / max(1, sum(j.evaluations for j in long))
        print(f"8 jobs of 512 px run, {each:.2f} s an evaluation")
        for tenant in ("a", "c", "a"):
            begin = time.monotonic()
            recipe = pb.Recipe(effort=pb.EFFORT_DRAFT, longest_side=512)
            call = worker.run(job("jobs/draft", recipe, tenant=tenant, watched=True), IMAGES)
            outcome = Outcome().read(call, "started")
            started = time.monotonic()
            outcome.read(call, "preview")
            print(
                f"draft of tenant {tenant}: started after {started - begin:.2f} s, first preview "
                f"{time.monotonic() - started:.2f} s later ({outcome.previews[0].width} px)"
            )
            call.cancel()
            time.sleep(5)


def switching() -> None:
    # Alternates between one job alone, by its priority, and all eight jobs, because the machine's speed
    # varies. Measures the worker's CPU time, because other processes may use the CPU as well.
    with running_worker() as worker:
        jobs = [Reader(worker, f"jobs/{i}", still(256), watched=True) for i in range(8)]
        for i in range(8):
            worker.update(f"jobs/{i}", preview=pb.PreviewOptions(disabled=True))
        while not all(j.evaluations > 1 for j in jobs):
            time.sleep(0.1)
        each: dict[str, list[float]] = {"alone": [], "in turn": []}
        for window in range(20):
            worker.update("jobs/0", priority=1 - window % 2)
            begin, before = processor_seconds(worker), sum(j.evaluations for j in jobs)
            while sum(j.evaluations for j in jobs) < before + 16:
                time.sleep(0.005)
            made = sum(j.evaluations for j in jobs) - before
            each["in turn" if window % 2 else "alone"].append((processor_seconds(worker) - begin) / made)
        alone, in_turn = (statistics.median(seconds) for seconds in each.values())
        print(
            f"256 px: {alone:.4f} s an evaluation alone, {in_turn:.4f} s with 8 in turn: "
            f"{100 * (in_turn / alone - 1):+.1f} % (quartiles alone {quartiles(each['alone'])}, in turn "
            f"{quartiles(each['in turn'])})"
        )


def processor_seconds(worker: WorkerProcess) -> float:
    """Returns the CPU time of all threads of the worker."""
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quartiles(seconds: list[float]) -> str:
    low, _, high = statistics.quantiles(seconds)
    return f"{low:.4f} to {high:.4f}"


def checkpoints() -> None:
    # L-BFGS at one size. Checkpoints are taken 5 times as often as usual, which gives as many bytes per
    # second as at 570 px. The CPU time includes the time to send them.
    recipe = pb.Recipe(
        evaluations=100_000, longest_side=255, stop_on_plateau=False, precision=pb.PRECISION_FLOAT32
    )
    with running_worker() as worker:
        for interval in (0, 1, 0, 1):
            reader = Reader(worker, "jobs/1", recipe, checkpoint_interval=Duration(seconds=interval))
            while reader.evaluations < 16:
                time.sleep(0.01)
            begin, before = processor_seconds(worker), reader.evaluations
            saved = len(reader.outcome.checkpoints)
            while reader.evaluations < before + 40:
                time.sleep(0.005)
            seconds = (processor_seconds(worker) - begin) / (reader.evaluations - before)
            checkpoints = reader.outcome.checkpoints[saved:]
            print(
                f"every {interval} s: {seconds:.4f} s an evaluation, {len(checkpoints)} checkpoints"
                + (f" of {len(checkpoints[-1]) / 1e6:.0f} MB" if checkpoints else ""),
                flush=True,
            )
            reader.call.cancel()
            time.sleep(1)


if __name__ == "__main__":
    {
        "even": lambda: ratio(1.0),
        "weighted": lambda: ratio(3.0),
        "draft": draft,
        "switching": switching,
        "checkpoints": checkpoints,
    }[sys.argv[1]]()
