"""Measures the fleet on Ray beside the local fleet, on a Ray cluster of several nodes on this machine.

    python tests/soak/ray_speed.py [ROUNDS] [SCENARIO ...]

Each scenario measures two things in turn, ROUNDS times (3), because the machine may be busy with other work:

throughput   equal jobs with one worker and with two, and the same jobs in one and two processes without a
             service
evaluations  an evaluation on the local fleet and on Ray
previews     the age of a preview when the client gets it, and the bytes between gateway and worker
starts       the time until a worker is ready: after `serve`, after its death, after a restart of the gateway
idle         the CPU and memory of each process while there are no jobs
checkpoints  large checkpoints (L-BFGS), and GetJob meanwhile
wire         the bytes of checkpoints between two processes, without painting and without a store
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, photo, stylize_request
from support.server_process import ServerProcess, children, running_server, until

SIDE, EVALUATIONS = 256, 40
JOBS = 4
STAMPS = "IMPASTO_STAMPS"
WORKER = "impasto_server.worker"
MIB = 1 << 20
PORT = 7579


# The cluster.


@dataclasses.dataclass
class Cluster:
    """A Ray cluster on this machine: a head without cores, and nodes with one core each."""

    address: str
    nodes: list[subprocess.Popen[bytes]]
    folder: Path

    def add_node(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-name", name]
        command += ["--object-store-memory", str(100 * MIB), "--disable-usage-stats", *arguments]
        log = (self.folder / f"{name}.log").open("wb")
        self.nodes.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        )

    def release_actors(self) -> None:
        """Removes the actors that earlier servers have left."""
        program = (
            "import sys, ray, ray.util\n"
            "ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False)\n"
            "for about in ray.util.list_named_actors(all_namespaces=True):\n"
            "    ray.kill(ray.get_actor(about['name'], about['namespace']))\n"
        )
        subprocess.run([sys.executable, "-c", program, self.address], check=True, stderr=subprocess.DEVNULL)

    def processes(self) -> list[int]:
        return [pid for node in self.nodes for pid in descendants(node.pid)]


def descendants(pid: int) -> list[int]:
    own = children(pid)
    return [*own, *(other for child in own for other in descendants(child))]


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[Cluster]:
    # Ray gives its workers a niceness of 15, with which they would paint less on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # With a token in the home folder, `ray start` would use it, but drivers would not.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(f"{_own_address()}:{PORT}", [], Path(folder))
        try:
            where = ("--temp-dir", f"{folder}/ray", "--include-dashboard", "false")
            ports = ("--port", str(PORT), "--ray-client-server-port", str(PORT + 1))
            cluster.add_node("head", "--head", "--num-cpus", "0", *where, *ports)
            _wait_for_port(PORT)
            for number in range(nodes):
                cluster.add_node(f"node{number}", "--address", cluster.address, "--num-cpus", "1")
                # One after the other: two that start at once can take the same port.
                _wait_for_nodes(cluster.address, 2 + number)
            yield cluster
        except subprocess.TimeoutExpired:
            for log in Path(folder).glob("*.log"):
                print(log, log.read_text(), file=sys.stderr)
            raise
        finally:
            own = cluster.processes()
            for node in reversed(cluster.nodes):
                node.terminate()
            for node in cluster.nodes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.wait(15)
            for pid in own:
                if "ray" in command_of(pid) or WORKER in command_of(pid):
                    os.kill(pid, signal.SIGKILL)


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _wait_for_port(port: int) -> None:
    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((_own_address(), port), 1):
            return True
        return False

    until(answers, lambda yes: yes)


def _wait_for_nodes(address: str, count: int) -> None:
    program = (
        "import sys, time, ray\n"
        "while not ray.is_initialized():\n"
        "    try: ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False)\n"
        # Until the head's raylet is there.
        "    except Exception as error: print(repr(error)); time.sleep(1)\n"
        "while sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]): time.sleep(0.1)\n"
    )
    command = [sys.executable, "-c", program, address, str(count)]
    subprocess.run(command, check=True, timeout=60)


LOCAL = ("--port", "0", "--device", "cpu", "--weights", "builtin")


def on_ray(cluster: Cluster, workers: int) -> tuple[str, ...]:
    limits = ("--ray-min-workers", str(workers), "--ray-max-workers", str(workers))
    return (*LOCAL, "--ray", cluster.address, "--ray-worker", "cpu=1", *limits)


def wait_for_workers(server: ServerProcess, count: int) -> None:
    def ready() -> int:
        return sum(device.state == pb.DEVICE_STATE_READY for device in server.info().devices)

    until(ready, lambda number: number >= count)


def painters(server: ServerProcess) -> list[int]:
    """Process IDs of the newest worker of each device, from the log."""
    found = re.findall(r"worker (?:started|taken up) machine=\S+ actor=(\S+) process=(\d+)@", server.log)
    return [int(pid) for pid in dict(found).values()] or server.worker_pids()


# Jobs.


def job_request(side: int = SIDE, evaluations: int = EVALUATIONS, **recipe: Any) -> pb.CreateJobRequest:
    recipe = {"objective": pb.OBJECTIVE_BALANCED, **recipe}
    settings = pb.Recipe(longest_side=side, evaluations=evaluations, **recipe)
    picture = coded(photo(side, side))
    return pb.CreateJobRequest(
        spec=stylize_request(picture, style=coded(photo(side, side).rotate(90)), recipe=settings).spec
    )


def get(server: ServerProcess, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=60)


def paint(server: ServerProcess, count: int, request: pb.CreateJobRequest) -> tuple[float, list[pb.Job]]:
    """Paints equal jobs; returns the time from the first request to the last result, and the jobs."""
    begin = time.monotonic()
    names = [server.stub.CreateJob(request, timeout=60).name for _ in range(count)]
    jobs = []
    for name in names:
        while (job := get(server, name)).state not in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED):
            time.sleep(0.05)
        assert job.state == pb.JOB_STATE_SUCCEEDED, job
        jobs.append(job)
    return time.monotonic() - begin, jobs


def painting_seconds(pid: int) -> tuple[float, float]:
    """The time that a worker's painting thread has had a core, and has waited for one, in seconds."""
    ran, waited, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Resident memory, and what of it no other process shares, in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {name: int(size) / 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return sizes["Rss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def throughput(rounds: int) -> None:
    with (
        ray_cluster(3) as cluster,
        running_server(*on_ray(cluster, 1)) as one,
        running_server(*on_ray(cluster, 2)) as two,
        _plain(1) as plain_one,
        _plain(2) as plain_two,
    ):
        wait_for_workers(one, 1)
        wait_for_workers(two, 2)
        request = job_request()
        paint(one, 1, request)
        paint(two, 4, request)
        of_service, of_plain, projected = [], [], []
        for _ in range(rounds):
            rates, busy, plain = [], [], []
            for server in (one, two):
                gateway = [server.process.pid, *children(server.process.pid)]
                before = [painting_seconds(pid) for pid in painters(server)]
                before_all = [cpu_seconds(pid) for pid in painters(server)]
                before_gateway = sum(cpu_seconds(pid) for pid in gateway)
                seconds, _ = paint(server, JOBS, request)
                shares = [
                    (ran - ran_before, waited - waited_before)
                    for pid, (ran_before, waited_before) in zip(painters(server), before, strict=True)
                    for ran, waited in [painting_seconds(pid)]
                ]
                whole = sum(cpu_seconds(pid) for pid in painters(server)) - sum(before_all)
                around = sum(cpu_seconds(pid) for pid in gateway) - before_gateway
                rates.append(JOBS / seconds)
                # What the time would be if no painting thread had to wait for a core.
                busy.append(JOBS / (seconds - statistics.mean(waited for _, waited in shares)))
                print(
                    f"  {len(shares)} workers: {seconds:.2f} s; painting threads ran/waited "
                    + ", ".join(f"{ran:.2f}/{waited:.2f}" for ran, waited in shares)
                    + f"; workers' other threads {whole - sum(ran for ran, _ in shares):.2f} s,"
                    f" gateway, intake, broker {around:.2f} s CPU; {_load()}",
                    flush=True,
                )
            for processes in (plain_one, plain_two):
                plain.append(_plain_rate(processes))
            of_service.append(rates[1] / rates[0])
            projected.append(busy[1] / busy[0])
            of_plain.append(plain[1] / plain[0])
            print(
                f"  service {of_service[-1]:.3f} x (without waits for a core {projected[-1]:.3f} x), "
                f"two plain processes {of_plain[-1]:.3f} x",
                flush=True,
            )
        print(
            f"throughput: two workers / one: median {statistics.median(of_service):.3f}, best "
            f"{max(of_service):.3f}; without waits for a core {statistics.median(projected):.3f}; two "
            f"plain processes / one: median {statistics.median(of_plain):.3f}, best {max(of_plain):.3f}",
            flush=True,
        )


@contextlib.contextmanager
def _plain(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, __file__, "plain"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _plain_rate(processes: Sequence[subprocess.Popen[str]]) -> float:
    """Paints the same jobs without a service; returns the jobs in a second."""
    each = JOBS // len(processes)
    begin = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{each}\n")
        process.stdin.flush()
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
    seconds = time.monotonic() - begin
    print(f"  {len(processes)} plain: {seconds:.2f} s; ran/waited {', '.join(said)}; {_load()}", flush=True)
    return JOBS / seconds


def plain() -> None:
    """Paints without a service, as often as a line on stdin says."""
    import torch

    from impasto_server.engine import Network, Recipe, Scene, Session, Style, load_weights
    from impasto_server.engine.devices import keep_freed_memory
    from impasto_server.engine.targets import TargetCache

    keep_freed_memory()
    torch.set_num_threads(1)
    network, cache = Network(load_weights("builtin")), TargetCache()

    def one() -> None:
        scene = Scene(content=photo(SIDE, SIDE), styles=[Style(photo(SIDE, SIDE).rotate(90))])
        recipe = Recipe(objective="balanced", longest_side=SIDE, evaluations=EVALUATIONS)
        session = Session(recipe, scene, network, cache=cache)
        for _ in session:
            pass
        session.picture()

    one()
    print("ready", flush=True)
    for line in sys.stdin:
        before = painting_seconds(os.getpid())
        for _ in range(int(line)):
            one()
        after = painting_seconds(os.getpid())
        print(f"{after[0] - before[0]:.2f}/{after[1] - before[1]:.2f}", flush=True)


def evaluations(rounds: int) -> None:
    with (
        ray_cluster(1) as cluster,
        running_server(*LOCAL) as local,
        running_server(*on_ray(cluster, 1)) as remote,
    ):
        request = job_request()
        for server in (local, remote):
            wait_for_workers(server, 1)
            paint(server, 1, request)
        taken: dict[str, list[tuple[float, ...]]] = {"local": [], "ray": []}
        for turn in range(4 * rounds):
            pairs = [("local", local), ("ray", remote)]
            for name, server in pairs if turn % 2 else reversed(pairs):
                (pid,) = painters(server)
                before = painting_seconds(pid)
                wall, (job,) = paint(server, 1, request)
                after = painting_seconds(pid)
                ran, waited = after[0] - before[0], after[1] - before[1]
                device = job.progress.device_time.ToNanoseconds() / 1e9
                taken[name].append((device, device - waited, ran, wall, waited))
        for name, figures in taken.items():
            device, unwaited, ran, wall, waited = (
                statistics.median(column) for column in zip(*figures, strict=True)
            )
            print(
                f"  {name:5} device time {1e3 * device / EVALUATIONS:.2f} ms/evaluation (less waits for a "
                f"core {1e3 * unwaited / EVALUATIONS:.2f}), CPU of the painting thread "
                f"{1e3 * ran / EVALUATIONS:.2f}, wall of the job {wall:.3f} s; waited {waited:.2f} s",
            )
        for number, what in enumerate(("device time", "device time less waits", "CPU", "wall")):
            ratios = [b[number] / a[number] for a, b in zip(taken["local"], taken["ray"], strict=True)]
            medians = [statistics.median(f[number] for f in taken[name]) for name in ("ray", "local")]
            print(
                f"evaluations: {what}: ray / local: of the medians {medians[0] / medians[1]:.4f}, median "
                f"of the pairs {statistics.median(ratios):.4f}, n={len(ratios)}, {_load()}",
                flush=True,
            )


# The worker's stamps.


@contextlib.contextmanager
def stamps() -> Iterator[Path]:
    """Makes all workers that are started meanwhile write what they do and when, a line of JSON each."""
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "sitecustomize.py"
        start.write_text(
            f"import sys\nif {WORKER!r} in sys.orig_argv:\n"
            f"    sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "    import ray_speed\n    ray_speed.stamp()\n"
        )
        before = {name: os.environ.get(name) for name in ("PYTHONPATH", STAMPS)}
        os.environ.update({"PYTHONPATH": folder, STAMPS: folder})
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def stamp() -> None:
    """Has this process, a worker, write its stamps."""
    from impasto_server.engine.checkpoint import Checkpoint
    from impasto_server.engine.session import Session
    from impasto_server.worker import run_call
    from impasto_server.worker.painting import Painting

    out = (Path(os.environ[STAMPS]) / f"{os.getpid()}.stamps").open("w", buffering=1)

    def note(**values: Any) -> None:
        out.write(json.dumps(values) + "\n")

    picture, code, pieces = Session.picture, run_call.code_preview, Checkpoint.pieces
    sent, deliver = Painting.checkpoint_sent, run_call.RunCall._deliver
    size = 0

    def stamped_picture(self: Any, *arguments: Any) -> Any:
        taken = time.monotonic()
        made = picture(self, *arguments)
        made.info["taken"] = taken
        return made

    def stamped_code(made: Any, wish: Any) -> Any:
        taken = made.info.pop("taken")
        begin = time.monotonic()
        result = code(made, wish)
        digest = hashlib.sha256(result[0]).hexdigest()
        note(preview=digest, taken=taken, begin=begin, coded=time.monotonic(), bytes=len(result[0]))
        return result

    def stamped_pieces(self: Any, length: int) -> Any:
        nonlocal size
        size = self.size_bytes
        return pieces(self, length)

    def stamped_sent(self: Any, seconds: float) -> None:
        note(checkpoint=size, seconds=seconds, end=time.monotonic())
        sent(self, seconds)

    async def stamped_deliver(self: Any, result: Any) -> None:
        begin = time.monotonic()
        await deliver(self, result)
        now = time.monotonic()
        note(result=result.samples.nbytes, seconds=now - begin, end=now)

    patched: Any = run_call
    patched.code_preview = stamped_code
    for owner, name, method in (
        (Session, "picture", stamped_picture),
        (Checkpoint, "pieces", stamped_pieces),
        (Painting, "checkpoint_sent", stamped_sent),
        (run_call.RunCall, "_deliver", stamped_deliver),
    ):
        setattr(owner, name, method)


def read_stamps(folder: Path, pid: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{pid}.stamps").read_text().splitlines()]


def previews(rounds: int, seconds: float = 30.0) -> None:
    with (
        stamps() as folder,
        ray_cluster(1) as cluster,
        running_server(*LOCAL) as local,
        running_server(*on_ray(cluster, 1)) as remote,
    ):
        ages: dict[str, list[float]] = {"local": [], "ray": []}
        coding: dict[str, list[float]] = {"local": [], "ray": []}
        ways: dict[str, list[float]] = {"local": [], "ray": []}
        for server in (local, remote):
            wait_for_workers(server, 1)
        for _ in range(rounds):
            for name, server in (("local", local), ("ray", remote)):
                (pid,) = painters(server)
                request = job_request(evaluations=100_000)
                request.preview.min_interval.nanos = 100_000_000
                job = server.stub.CreateJob(request, timeout=60).name
                arrived: dict[str, float] = {}
                call = server.stub.WatchJob(pb.WatchJobRequest(name=job), timeout=600)
                until(
                    lambda server=server, job=job: get(server, job).progress.evaluation,
                    lambda number: number > 3,
                )
                sent = _tcp_bytes(pid)
                begin = time.monotonic()
                for event in call:
                    now = time.monotonic()
                    if event.HasField("preview"):
                        arrived[hashlib.sha256(event.preview.data).hexdigest()] = now
                    if now > begin + seconds:
                        break
                call.cancel()
                over = [b - a for a, b in zip(sent, _tcp_bytes(pid), strict=True)]
                if name == "ray":
                    print(
                        f"  ray: gateway to worker {over[1] / seconds:.0f} bytes/s, worker to gateway "
                        f"{over[0] / seconds:.0f} bytes/s, {len(arrived) / seconds:.1f} previews/s",
                        flush=True,
                    )
                server.stub.DeleteJob(pb.DeleteJobRequest(name=job), timeout=60)
                for line in read_stamps(folder, pid):
                    # Before that, nobody read.
                    if line.get("preview") in arrived and line["taken"] > begin:
                        now = arrived[line["preview"]]
                        ages[name].append(1e3 * (now - line["taken"]))
                        coding[name].append(1e3 * (line["coded"] - line["taken"]))
                        ways[name].append(1e3 * (now - line["coded"]))
        for name, values in ages.items():
            print(
                f"previews: {name:5} n={len(values)} age {_spread(values)}; until coded "
                f"{_spread(coding[name])}; from there to the client {_spread(ways[name])}; {_load()}",
                flush=True,
            )


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.9, 0.99)]
    return f"p50 {at[0]:.1f} p90 {at[1]:.1f} p99 {at[2]:.1f} max {ordered[-1]:.1f} ms"


def _tcp_bytes(pid: int) -> tuple[int, int]:
    """The bytes that a process has sent and received over its TCP connections."""
    said = subprocess.run(["ss", "-tinpHO", "state", "established"], capture_output=True, text=True).stdout
    sums = [0, 0]
    for line in said.splitlines():
        if f"pid={pid}," in line:
            for number, field in enumerate(("bytes_sent", "bytes_received")):
                if found := re.search(rf"\b{field}:(\d+)", line):
                    sums[number] += int(found[1])
    return sums[0], sums[1]


def starts(rounds: int) -> None:
    taken: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        taken.setdefault(name, []).append(seconds)
        print(f"  {name}: {seconds:.2f} s; {_load()}", flush=True)

    with ray_cluster(1) as cluster:
        for _ in range(rounds):
            for name, arguments in (("local", LOCAL), ("ray", on_ray(cluster, 1))):
                with tempfile.TemporaryDirectory() as data:
                    for which in ("first", "restarted"):
                        begin = time.monotonic()
                        with running_server(*arguments, "--data-dir", data) as server:
                            wait_for_workers(server, 1)
                            note(f"{name}: serve until ready, {which}", time.monotonic() - begin)
                            if which == "restarted":
                                (pid,) = painters(server)
                                before = server.info().devices[0].restarts
                                begin = time.monotonic()
                                os.kill(pid, signal.SIGKILL)
                                until(lambda server=server: server.info().devices[0].restarts, before.__lt__)
                                noticed = time.monotonic()
                                note(f"{name}: kill of the worker until noticed", noticed - begin)
                                wait_for_workers(server, 1)
                                note(f"{name}: kill of the worker until ready", time.monotonic() - begin)
                if name == "ray":
                    cluster.release_actors()
    for name, seconds in taken.items():
        print(f"starts: {name}: median {statistics.median(seconds):.2f} s, {len(seconds)} times", flush=True)


def idle(rounds: int, seconds: float = 20.0) -> None:
    with ray_cluster(2) as cluster, running_server(*on_ray(cluster, 2)) as server:
        wait_for_workers(server, 2)
        time.sleep(5.0)
        watched = {server.process.pid: "gateway"}
        for pid in descendants(server.process.pid):
            line = command_of(pid)
            watched[pid] = "broker" if "on_ray" in line else "intake" if "intake" in line else "other"
        kinds = ("ray::WorkerActor", WORKER, "raylet/raylet", "gcs_server", "dashboard")
        for pid in cluster.processes():
            line = command_of(pid)
            watched[pid] = next((kind for kind in kinds if kind in line), "rest of Ray")
        for _ in range(rounds):
            before = {pid: cpu_seconds(pid) for pid in watched if command_of(pid)}
            time.sleep(seconds)
            sums: dict[str, list[float]] = {}
            for pid, earlier in before.items():
                with contextlib.suppress(OSError):
                    used = 100 * (cpu_seconds(pid) - earlier) / seconds
                    of = sums.setdefault(watched[pid], [0, 0.0, 0.0, 0.0])
                    for at, value in enumerate((1, used, *memory(pid))):
                        of[at] += value
            for name, (count, used, rss, uss) in sums.items():
                print(
                    f"idle: {name} ({count:.0f}): {used:.2f} % of a core, RSS {rss:.0f} MiB, own {uss:.0f} "
                    f"MiB; {_load()}",
                    flush=True,
                )


def checkpoints(rounds: int, seconds: float = 50.0) -> None:
    extra = ("--checkpoint-interval", "100ms")
    with (
        stamps() as folder,
        ray_cluster(1) as cluster,
        running_server(*LOCAL, *extra) as local,
        running_server(*on_ray(cluster, 1), *extra) as remote,
    ):
        rates: dict[str, list[float]] = {}
        calls: dict[str, list[float]] = {}
        for server in (local, remote):
            wait_for_workers(server, 1)
        for _ in range(rounds):
            for name, server in (("local", local), ("ray", remote)):
                (pid,) = painters(server)
                # All evaluations at one size, so that L-BFGS soon remembers many pairs of images.
                one_size: dict[str, Any] = {"objective": pb.OBJECTIVE_REPORT, "optimizer": pb.OPTIMIZER_LBFGS}
                request = job_request(640, 100_000, learning_rate=0.5, **one_size)
                job = server.stub.CreateJob(request, timeout=60).name
                until(
                    lambda server=server, job=job: get(server, job).progress.evaluation,
                    lambda number: number > 1,
                )
                taken: list[tuple[float, float]] = []
                end = time.monotonic() + seconds
                while (begin := time.monotonic()) < end:
                    get(server, job)
                    taken.append((begin, time.monotonic()))
                    time.sleep(0.005)
                server.stub.DeleteJob(pb.DeleteJobRequest(name=job), timeout=60)
                windows = []
                for line in read_stamps(folder, pid):
                    if line.get("checkpoint", 0) > 20 * MIB:
                        windows.append((line["end"] - line["seconds"], line["end"]))
                        rates.setdefault(name, []).append(line["checkpoint"] / line["seconds"] / 1e6)
                        print(f"  {name}: checkpoint of {line['checkpoint'] / 1e6:.0f} MB", flush=True)
                for begin, ended in taken:
                    within = any(begin < last and ended > first for first, last in windows)
                    key = f"{name}, {'during a checkpoint' if within else 'otherwise'}"
                    calls.setdefault(key, []).append(1e3 * (ended - begin))
        for name, values in rates.items():
            print(f"checkpoints: {name}: median {statistics.median(values):.0f} MB/s, n={len(values)}")
        for name, values in calls.items():
            print(f"checkpoints: GetJob {name}: n={len(values)} {_spread(values)}", flush=True)


# The wire alone.


def wire(rounds: int) -> None:
    for _ in range(rounds):
        for way in ("unix", "tls"):
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(_receive(way, Path(folder)))


async def _receive(way: str, folder: Path) -> None:
    from impasto_server.fleet.local_process import CHANNEL_OPTIONS
    from impasto_server.identity import Identity
    from impasto_server.v1 import worker_pb2, worker_pb2_grpc

    identity = Identity.new()
    (folder / "gateway.pem").write_bytes(identity.certificate)
    command = [sys.executable, __file__, "send", way, str(folder)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: ASYNC220
    try:
        contact = folder / "contact"
        until(lambda: contact.exists() or (folder / "socket").exists(), lambda there: there)
        if way == "unix":
            channel = grpc.aio.insecure_channel(f"unix:{folder}/socket", options=CHANNEL_OPTIONS)
        else:
            about = json.loads(contact.read_text())
            channel = identity.channel(about["address"], about["certificate"].encode(), CHANNEL_OPTIONS)
        async with channel:
            stub: Any = worker_pb2_grpc.WorkerServiceStub(channel)
            for megabytes in (8, 400):
                used = cpu_seconds(os.getpid()), cpu_seconds(sender.pid)
                begin, received = time.monotonic(), 0

                async def requests(megabytes: int = megabytes) -> Any:
                    yield worker_pb2.RunRequest(begin=worker_pb2.Begin(number=megabytes))

                async for response in stub.Run(requests(), wait_for_ready=True):
                    received += len(response.checkpoint.data)
                seconds = time.monotonic() - begin
                own, theirs = (
                    (cpu_seconds(pid) - before) / received * 1e9
                    for pid, before in zip((os.getpid(), sender.pid), used, strict=True)
                )
            print(
                f"wire: {way}: {received / seconds / 1e6:.0f} MB/s; CPU for a GB: receiver {own:.2f} s, "
                f"sender {theirs:.2f} s; {_load()}",
                flush=True,
            )
            # The other way: a checkpoint for a job that goes on.
            data = os.urandom(512 * 1024)
            used = cpu_seconds(os.getpid()), cpu_seconds(sender.pid)
            begin = time.monotonic()

            async def pieces() -> Any:
                yield worker_pb2.RunRequest(begin=worker_pb2.Begin())
                for _ in range(800):
                    yield worker_pb2.RunRequest(checkpoint=worker_pb2.InputChunk(data=data))

            async for _ in stub.Run(pieces(), wait_for_ready=True):
                pass
            seconds, sent = time.monotonic() - begin, 800 * len(data)
            own, theirs = (
                (cpu_seconds(pid) - before) / sent * 1e9
                for pid, before in zip((os.getpid(), sender.pid), used, strict=True)
            )
            print(
                f"wire: {way}, to the worker: {sent / seconds / 1e6:.0f} MB/s; CPU for a GB: gateway "
                f"{own:.2f} s, worker {theirs:.2f} s; {_load()}",
                flush=True,
            )
    finally:
        sender.kill()
        sender.wait()


def send(way: str, folder: Path) -> None:
    """Answers calls of Run with as many megabytes as the request says, in pieces like a checkpoint's."""
    import argparse

    from impasto_server.v1 import worker_pb2, worker_pb2_grpc
    from impasto_server.worker.answering import answer

    data = os.urandom(MIB)

    class Sender(worker_pb2_grpc.WorkerServiceServicer):
        async def Run(self, requests: Any, context: Any) -> None:  # type: ignore[override]
            count = 0
            async for request in requests:
                count += request.begin.number
            for _ in range(count):
                chunk = worker_pb2.CheckpointChunk(data=data)
                await context.write(worker_pb2.RunResponse(checkpoint=chunk))

    arguments = argparse.Namespace(
        socket=folder / "socket" if way == "unix" else None,
        listen=_own_address(),
        gateway_certificate=folder / "gateway.pem",
        contact_file=folder / "contact",
        end_when_unused=None,
    )
    asyncio.run(answer(Sender(), arguments))


SCENARIOS: dict[str, Callable[[int], None]] = {
    scenario.__name__: scenario
    for scenario in (throughput, evaluations, previews, starts, idle, checkpoints, wire)
}


def main() -> None:
    if sys.argv[1:] == ["plain"]:
        plain()
    elif sys.argv[1:2] == ["send"]:
        send(sys.argv[2], Path(sys.argv[3]))
    else:
        os.environ["OMP_NUM_THREADS"] = "1"
        # `timeout` must not leave the cluster behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
        rounds = next((int(argument) for argument in sys.argv[1:] if argument.isdecimal()), 3)
        for name in [argument for argument in sys.argv[1:] if not argument.isdecimal()] or SCENARIOS:
            print(f"{name}, {rounds} rounds, {_load()}", flush=True)
            SCENARIOS[name](rounds)


if __name__ == "__main__":
    main()
