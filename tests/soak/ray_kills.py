"""Kills the parts of a fleet on Ray at random moments under load, and checks that nothing is lost.

    python tests/soak/ray_kills.py --kills 200

A cluster of a head and three machines runs on this machine, with a mock on each machine or, with --real, a
worker that paints. Several clients submit, watch, steer, pause and cancel jobs, upload images and download
results; others follow one job after another from its first event to its last. What was killed is started
again after a moment, as a service manager would do it. Afterwards every acknowledged job must be in the right
state, every result must have the bytes of an undisturbed run, and no stray worker may be left.

Prints how long jobs stood still after each kind of kill.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from impasto.v1 import style_transfer_pb2 as pb
from soak.kills import CALM_SECONDS, Acknowledged, Caller, check, download, undisturbed, variant
from support.ray_cluster import Gateway, RayCluster, RayNode, ray_cluster
from support.server_process import until

KINDS = {
    "worker": 5,
    "actor": 3,
    "raylet": 2,
    "machine": 3,
    "power": 2,
    "broker": 3,
    "gateway": 3,
    "head": 1,
}
"""What is killed, and how often in proportion. "machine": a raylet and all that it has started; "power": the
same, and the machine's network is cut off first, so that nothing says goodbye."""
OF_ONE_MACHINE = ("worker", "actor", "raylet", "machine", "power")
FOLLOWED = pb.Recipe(
    objective=pb.OBJECTIVE_REPORT, optimizer=pb.OPTIMIZER_ADAM, evaluations=1500, stop_on_plateau=False
)
FINAL = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)
_LONG_SECONDS = 10.0
"""Standstills above this are printed one by one."""
_ECHO_SECONDS = 0.3
"""Events that arrive within this time after a kill may have been on their way before."""


@dataclasses.dataclass
class Kill:
    """A kill.

    Attributes:
        kind: see `KINDS`.
        moment: when (monotonic time).
        followers: those whose jobs were painted there.
    """

    kind: str
    moment: float
    followers: list[Follower]


class Follower(threading.Thread):
    """Creates one job after another, and follows each from its first event to its last.

    Attributes:
        jobs: acknowledged jobs.
        moments: when it received progress (monotonic time).
        machine: on which its job is being painted; empty if it waits.
        breaks: number of times that it could not watch.
        error: what ended it.
    """

    def __init__(self, address: str, number: int, stop: threading.Event, expected: bytes) -> None:
        super().__init__(daemon=True)
        self.jobs: list[Acknowledged] = []
        self.moments: list[float] = []
        self.machine = ""
        self.breaks = 0
        self.error: BaseException | None = None
        self._number = number
        self._stop_event = stop
        self._expected = expected
        self._channel = grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 500)])
        self._caller = Caller(address, number, stop)

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                self._one_job()
        except BaseException as error:
            self.error = error

    def _one_job(self) -> None:
        from impasto.v1 import style_transfer_pb2_grpc

        stub = style_transfer_pb2_grpc.StyleTransferStub(self._channel)
        request = with_priority()
        name = self._caller._again(lambda: stub.CreateJob(request, timeout=10)).name
        after, last = 0, pb.Job()
        while last.state not in FINAL:
            try:
                watch = pb.WatchJobRequest(name=name, after_sequence=after)
                for event in stub.WatchJob(watch):
                    assert event.sequence >= after, "a sequence went back"
                    after = event.sequence
                    if event.HasField("job"):
                        assert last.state not in FINAL or event.job == last, "a final job has changed"
                        last.CopyFrom(event.job)
                        running = last.state == pb.JOB_STATE_RUNNING
                        self.machine = last.device.partition("/")[0] if running else ""
                    elif event.HasField("progress"):
                        self.moments.append(time.monotonic())
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error  # type: ignore[attr-defined]
                self.breaks += 1
                time.sleep(0.1)
        self.machine = ""
        assert last.state == pb.JOB_STATE_SUCCEEDED, last
        picture = self._caller._again(lambda: download(stub, name))
        assert picture == self._expected, f"another picture than expected: {name}"
        self.jobs.append(Acknowledged(name, -1))

    def standstill_after(self, moment: float) -> float:
        """Returns the seconds from a kill to the next progress."""
        later = (each for each in self.moments if each > moment + _ECHO_SECONDS)
        return next(later, float("nan")) - moment


class Keeper(threading.Thread):
    """Starts the cluster's nodes again after their end, as a service manager does."""

    def __init__(self, cluster: RayCluster, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._random = random.Random(seed)
        self._stop_event = stop
        self.restarts = 0

    def run(self) -> None:
        while not self._stop_event.wait(0.5):
            for node in self._cluster.all_nodes():
                if not node.pids("raylet/raylet") and not self._stop_event.is_set():
                    self._start(node)

    def _start(self, node: RayNode) -> None:
        time.sleep(self._random.uniform(0, 2))
        node.end()
        if node.namespace:
            node.heal()
        # Fails while the head is gone.
        with contextlib.suppress(AssertionError):
            node.start()
            self.restarts += 1


def followed() -> pb.JobSpec:
    """The spec of the jobs that are followed."""
    spec = variant(0)
    spec.recipe.CopyFrom(FOLLOWED)
    return spec


def with_priority() -> pb.CreateJobRequest:
    """A request for a job that is followed. It waits for no other job, only for workers."""
    return pb.CreateJobRequest(spec=followed(), request_id=str(uuid.uuid4()), priority=100)


def kill_one(kind: str, cluster: RayCluster, server: Gateway, chance: random.Random) -> RayNode | None:
    """Kills something of a kind.

    Returns:
        The machine that it was on; None for the head and what is on this machine.

    Raises:
        LookupError: there is nothing of this kind at the moment.
    """
    if kind == "gateway":
        server.kill()
        time.sleep(chance.uniform(0, 1))
        server.start()
    elif kind == "broker":
        os.kill(server.broker_pid(), signal.SIGKILL)
    elif kind == "head":
        if not cluster.head.pids("raylet/raylet"):
            raise LookupError
        cluster.head.kill()
    else:
        node = chance.choice(list(cluster.nodes.values()))
        look = {
            "worker": node.worker_pids,
            "actor": node.actor_pids,
            "raylet": lambda: node.pids("raylet/raylet"),
        }.get(kind, node.worker_pids)
        pids = look()
        if not pids:
            raise LookupError
        if kind == "power":
            node.cut()
        if kind in ("machine", "power"):
            node.kill()
        else:
            os.kill(chance.choice(pids), signal.SIGKILL)
        return node
    return None


def kill_something(
    cluster: RayCluster, server: Gateway, followers: Sequence[Follower], chance: random.Random
) -> Kill:
    """Kills something at random."""
    while True:
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        if kind == "power" and not cluster.head.address.startswith("198."):
            continue
        before = {follower: follower.machine for follower in followers}
        moment = time.monotonic()
        try:
            node = kill_one(kind, cluster, server, chance)
        except (LookupError, ProcessLookupError, ValueError):
            time.sleep(0.2)
            continue
        hit = [
            follower
            for follower, machine in before.items()
            if machine and (kind in ("gateway", "broker", "head") or (node and machine == node.name))
        ]
        return Kill(kind, moment, hit)


def soak(
    kills: int, callers: int, seed: int, say: Callable[[str], None], *, real: bool = False
) -> dict[str, int]:
    """Runs the test. Returns counts of the actions, and of the final states of the jobs."""
    chance = random.Random(seed)
    painting = ("--weights", "builtin") if real else ("--mock", "--mock-evaluation-time", "10ms")
    scaling = ("--ray-worker", "cpu=1", "--ray-min-workers", "3", "--ray-max-workers", "3")
    with (
        tempfile.TemporaryDirectory(prefix="impasto-kills-") as name,
        # Raylets that a new head does not know end after this time; Ray's default is a minute.
        ray_cluster("one", "two", "three", RAY_gcs_rpc_server_reconnect_timeout_s="8") as cluster,
    ):
        folder = Path(name)
        arguments = ["--ray", cluster.address, *scaling, *painting, "--checkpoint-interval", "200ms"]
        server = Gateway(folder, arguments, cluster.environment)
        try:
            server.ready(3)
            with grpc.insecure_channel(server.address) as channel:
                from impasto.v1 import style_transfer_pb2_grpc

                stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
                expected = undisturbed(stub)
                job = stub.CreateJob(pb.CreateJobRequest(spec=followed()), timeout=60)
                *_, last = stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=CALM_SECONDS)
                assert last.job.state == pb.JOB_STATE_SUCCEEDED, last
                picture = download(stub, job.name)
            stop, keep = threading.Event(), threading.Event()
            keeper = Keeper(cluster, seed, keep)
            threads = [Caller(server.address, seed + i, stop) for i in range(callers)]
            followers = [Follower(server.address, i, stop, picture) for i in range(3)]
            for thread in (keeper, *threads, *followers):
                thread.start()
            done: list[Kill] = []
            for number in range(kills):
                time.sleep(chance.choice([chance.uniform(0, 1), chance.uniform(2, 9)]))
                if chance.random() < 0.7:
                    _await_two_workers(cluster)
                done.append(kill_something(cluster, server, followers, chance))
                if number % 10 == 9:
                    made = sum(len(thread.jobs) for thread in (*threads, *followers))
                    now = time.strftime("%T")
                    say(f"{now} {number + 1} kills, {made} jobs, {keeper.restarts} starts of nodes")
                for thread in (*threads, *followers):
                    if thread.error is not None:
                        raise thread.error
            time.sleep(20)
            calm = time.monotonic()
            stop.set()
            counts: dict[str, int] = {}
            for thread in (*threads, *followers):
                thread.join(CALM_SECONDS)
                assert not thread.is_alive(), "a caller hangs"
                if thread.error is not None:
                    raise thread.error
            for thread in threads:
                for action, count in thread.counts.items():
                    counts[action] = counts.get(action, 0) + count
            jobs = [job for thread in threads for job in thread.jobs]
            say(f"no more kills; waiting for {len(jobs)} jobs")
            counts |= check(server, jobs, expected, folder)  # type: ignore[arg-type]
            counts["followed"] = sum(len(follower.jobs) for follower in followers)
            # All is as it was before the first kill.
            server.ready(3)
            until(cluster.worker_pids, lambda pids: len(pids) == 3)
            assert all(len(node.worker_pids()) == 1 for node in cluster.nodes.values())
            keep.set()
            keeper.join(60)
            assert server.end() == 0
            cluster.forget_actors()
            _report(done, followers, calm, say)
            return counts
        finally:
            kept = Path(tempfile.gettempdir()) / "impasto-ray-kills.log"
            shutil.copy(server.log_file, kept)
            say(f"the gateway's log is in {kept}")
            server.close()


def _await_two_workers(cluster: RayCluster) -> None:
    """Waits until two machines have workers, but not for long: there are also more failures at a time."""
    deadline = time.monotonic() + 20
    while (
        sum(bool(node.worker_pids()) for node in cluster.nodes.values()) < 2 and time.monotonic() < deadline
    ):
        time.sleep(0.2)


def _report(
    kills: Sequence[Kill], followers: Sequence[Follower], end: float, say: Callable[[str], None]
) -> None:
    """Prints how long jobs stood still."""
    say("seconds from a kill to the next progress that a follower of a job there received:")
    everything: list[float] = []
    for kind in KINDS:
        of_kind = [kill for kill in kills if kill.kind == kind]
        seconds = [follower.standstill_after(kill.moment) for kill in of_kind for follower in kill.followers]
        for kill in of_kind:
            for follower in kill.followers:
                if (long := follower.standstill_after(kill.moment)) > _LONG_SECONDS:
                    when = time.strftime("%T", time.gmtime(time.time() - time.monotonic() + kill.moment))
                    say(f"  {kind} at {when}: {long:.1f} s")
        seconds = sorted(each for each in seconds if each == each)
        if kind in OF_ONE_MACHINE:
            everything += seconds
        say(f"  {kind:8} {len(of_kind):3} kills, {len(seconds):3} jobs: {_summary(seconds)}")
    say(f"  worker, actor, raylet, machine and power together: {_summary(sorted(everything))}")
    pauses = [
        later - earlier
        for follower in followers
        for earlier, later in zip(follower.moments, follower.moments[1:], strict=False)
        if later < end
    ]
    say(f"longest time without progress that a follower saw: {max(pauses, default=0):.1f} s")
    say(
        f"watches that failed, each tried again after 0.1 s: {sum(follower.breaks for follower in followers)}"
    )


def _summary(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    p99 = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    return f"median {seconds[len(seconds) // 2]:.1f}, p99 {p99:.1f}, max {seconds[-1]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--real", action="store_true", help="paint, instead of mocks")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    done = soak(
        arguments.kills,
        arguments.callers,
        arguments.seed,
        lambda line: print(line, flush=True),
        real=arguments.real,
    )
    print(f"{time.monotonic() - begin:.0f} s; " + ", ".join(f"{k}: {v}" for k, v in sorted(done.items())))


if __name__ == "__main__":
    main()
