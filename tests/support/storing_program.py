"""A process that stores jobs until it is killed, and reports what was acknowledged.

`storing_program.py FOLDER` prints a line of JSON for each acknowledged change. `storing_program.py FOLDER
every-step` makes a few changes in child processes that die just before or just after each step that makes
something durable or removes something, and checks the store after each.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import Record, Store

# Python puts the folder of this program on its path, not the one that `support` is in.
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.stored_jobs import ended, files_in, new_record, write_checkpoint

Tell = Callable[[dict[str, Any]], None]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def whole_life(store: Store, chance: random.Random, tell: Tell) -> None:
    """Stores a job from its image to its result, and perhaps deletes it."""
    image = chance.randbytes(chance.randrange(1, 50_000))
    if chance.random() < 0.5:
        sha256 = store.images.put("anna", image)
    else:
        sha256, half = sha256_of(image), len(image) // 2
        tell({"upload": sha256, "size": len(image), "committed": 0})
        for offset, piece in ((0, image[:half]), (half, image[half:])):
            committed = store.uploads.append("anna", sha256, len(image), offset, piece)
            tell({"upload": sha256, "size": len(image), "committed": committed})
        store.uploads.finish("anna", sha256, len(image), None)
    tell({"image": sha256})
    record = store.jobs.create(new_record([sha256], request_id=sha256))
    name = record.job.name
    tell({"job": name, "image": sha256})
    for evaluation in range(chance.randrange(4)):
        checkpoint = chance.randbytes(chance.randrange(1, 100_000))
        # Reported before the change too: after a kill between the two, either outcome is right.
        tell({"job": name, "checkpoint": sha256_of(checkpoint), "evaluation": evaluation, "sure": False})
        write_checkpoint(store, name, evaluation, checkpoint)
        tell({"job": name, "checkpoint": sha256_of(checkpoint), "evaluation": evaluation, "sure": True})
        record.furthest = evaluation
        store.jobs.save(record)
        tell({"job": name, "furthest": evaluation})
    result = chance.randbytes(chance.randrange(1, 50_000))
    tell({"job": name, "result": sha256_of(result), "sure": False})
    store.results.finish(ended(record, pb.JOB_STATE_SUCCEEDED), io.BytesIO(result))
    tell({"job": name, "result": sha256_of(result), "sure": True})
    if chance.random() < 0.3:
        tell({"job": name, "deleted": True, "sure": False})
        store.jobs.delete(name)
        tell({"job": name, "deleted": True, "sure": True})


def check(folder: Path, told: list[dict[str, Any]]) -> int:
    """Opens the store and compares it with the reports. Returns the number of jobs checked."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for line in told:
        if "job" in line:
            jobs.setdefault(line["job"], []).append(line)
    store = Store(folder)
    assert store.missing == ()
    for line in told:
        if "image" in line:
            image = store.images.get("anna", line["image"])
            assert image is not None
            assert sha256_of(image.path.read_bytes()) == line["image"]
        elif "upload" in line:
            committed, whole = store.uploads.offset("anna", line["upload"], line["size"])
            assert whole or committed >= line["committed"]
    for name, lines in jobs.items():
        record = store.jobs.get(name)
        deletions = [line["sure"] for line in lines if "deleted" in line]
        assert record is not None or deletions, lines
        assert record is None or True not in deletions
        if record is not None:
            check_job(store, record, lines)
    for record in store.jobs.unfinished():
        assert store.images.get("anna", record.spec.content.sha256) is not None
    assert not list((folder / "temporary").iterdir())
    expected = {
        record.job.name.removeprefix("jobs/") for record in store.jobs.list("anna", page_size=10**6)[0]
    }
    kept = {Path(file).parts[1].removesuffix(".png") for file in files_in(folder) if file[0] in "rc"}
    assert kept <= expected
    store.close()
    return len(jobs)


def check_job(store: Store, record: Record, lines: list[dict[str, Any]]) -> None:
    name = record.job.name
    assert record.furthest >= max((line["furthest"] for line in lines if "furthest" in line), default=0)
    results = [line for line in lines if "result" in line]
    result, checkpoint = store.results.path(name), store.checkpoints.path(name)
    if result is not None:
        assert record.job.state == pb.JOB_STATE_SUCCEEDED
        assert sha256_of(result.read_bytes()) == results[0]["result"]
        assert checkpoint is None
        return
    assert record.job.state == pb.JOB_STATE_QUEUED
    assert not any(line["sure"] for line in results)
    checkpoints = [line for line in lines if "checkpoint" in line]
    allowed = [] if not checkpoints else checkpoints[-1:] if checkpoints[-1]["sure"] else checkpoints[-2:]
    if checkpoint is None:
        assert not any(line["sure"] for line in checkpoints)
    else:
        found = (sha256_of(checkpoint.read_bytes()), record.checkpoint)
        assert found in [(line["checkpoint"], line["evaluation"]) for line in allowed]


def die_at(step: int, after: bool) -> None:
    """Kills this process just before or after a step, counted from 0."""
    steps = itertools.count()

    def fatal(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            last = next(steps) == step
            if last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **options)
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in ("fsync", "replace", "unlink", "rmdir", "write", "mkdir"):
        setattr(os, name, fatal(getattr(os, name)))


def teller(descriptor: int) -> Tell:
    write = os.write  # the original, before `die_at` replaces it

    def tell(line: dict[str, Any]) -> None:
        write(descriptor, json.dumps(line).encode() + b"\n")

    return tell


def every_step(folder: Path) -> int:
    """Kills a child at each of its steps. Returns the number of steps."""
    for step in itertools.count():
        for after in (False, True):
            place, log = folder / f"{step}-{after}", folder / f"{step}-{after}.log"
            child = os.fork()
            if child == 0:
                tell = teller(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
                die_at(step, after)
                store = Store(place)
                for seed in (0, 1, 2):
                    whole_life(store, random.Random(seed), tell)
                store.close()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            told = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            check(place, told)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                return step
            assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.argv[2:] == ["every-step"]:
        sys.stdout.write(f"{every_step(folder)}\n")
        return
    store, chance, tell = Store(folder), random.Random(), teller(sys.stdout.fileno())
    while True:
        whole_life(store, chance, tell)


if __name__ == "__main__":
    main()
