"""How a real worker shares its device, in figures: `python tests/worker/measure_sharing.py WHAT`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from google.protobuf.duration_pb2 import Duration

from impasto.v1 import style_transfer_pb2 as pb
from worker_process import IMAGES, Outcome, WorkerProcess, job, running_worker


class Reader:
    """A job that runs beside others, its responses read by a thread."""

    def __init__(self, worker: WorkerProcess, name: str, side: int, **fields: object) -> None:
        recipe = pb.Recipe(
            objective=pb.OBJECTIVE_REPORT,
            evaluations=100_000,
            longest_side=side,
            precision=pb.PRECISION_FLOAT32,
        )
        self.outcome = Outcome()
        self.begin = time.monotonic()
        self.call = worker.run(job(name, recipe, **fields), IMAGES)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

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
        one = Reader(worker, "jobs/a", 128, tenant="a")
        other = Reader(worker, "jobs/b", 64, tenant="b", tenant_weight=weight)
        time.sleep(3)
        before = one.device_seconds, other.device_seconds
        time.sleep(60)
        had = one.device_seconds - before[0], other.device_seconds - before[1]
        print(f"weights 1:{weight:g}: {had[0]:.2f} s and {had[1]:.2f} s, ratio {had[1] / had[0]:.3f}")


def draft() -> None:
    with running_worker() as worker:
        long = [Reader(worker, f"jobs/{i}", 512, tenant="ab"[i % 2], watched=i % 3 == 0) for i in range(8)]
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
    with running_worker() as worker:
        for count in (1, 8, 1, 8):
            jobs = [Reader(worker, f"jobs/{count}-{i}", 256, tenant=f"t{i}") for i in range(count)]
            time.sleep(2 + 2 * count)
            begin, before = time.monotonic(), sum(j.evaluations for j in jobs)
            time.sleep(30)
            seconds = time.monotonic() - begin
            made = sum(j.evaluations for j in jobs) - before
            print(f"{count} jobs of 256 px: {seconds / made:.4f} s an evaluation", flush=True)
            for j in jobs:
                j.call.cancel()
            time.sleep(2)


def checkpoints() -> None:
    for side in (128, 512):
        with running_worker() as worker:
            for interval in (0, 5, 0, 5):
                recipe = pb.Recipe(evaluations=100_000, longest_side=side, stop_on_plateau=False)
                recipe.precision = pb.PRECISION_FLOAT32
                fields = {"checkpoint_interval": Duration(seconds=interval)}
                reader = Reader.__new__(Reader)
                reader.outcome = Outcome()
                reader.call = worker.run(job("jobs/1", recipe, **fields), IMAGES)
                thread = threading.Thread(target=reader._read, daemon=True)
                thread.start()
                time.sleep(5)
                begin, before = time.monotonic(), reader.evaluations
                time.sleep(22)
                made = reader.evaluations - before
                print(
                    f"{side} px, checkpoint every {interval} s: {(time.monotonic() - begin) / made:.4f} s an "
                    f"evaluation, {len(reader.outcome.checkpoints)} checkpoints",
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
    }[sys.argv[1]]()
