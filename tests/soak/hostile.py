"""Measures a server's memory, and how long another tenant waits, while one caller attacks it.

    python tests/soak/hostile.py [ATTACK ...]

Prints for each attack (by default all): resident memory of the gateway and of its child processes before the
attack and at the peak, in MiB; and the median and 99th percentile of the other tenant's GetJob, in
milliseconds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

import hostile_pictures
import PIL.Image
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc as pb_grpc
from impasto_server.gateway.tokens import Tokens
from support.raw_http2 import Caller, framed
from support.samples import coded, photo, stylize_request
from support.server_process import ServerProcess, children, running_server, until

Metadata = tuple[tuple[str, str], ...]
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
LARGE = 60 * 1024 * 1024
LARGEST_WINDOW = (1 << 31) - 1
CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin", "--memory", "512MiB")


class Scene:
    """A server, the tokens of the attacker and of another tenant, and a job of each.

    Attributes:
        job: the attacker's job.
    """

    def __init__(self, server: ServerProcess, victim: Metadata, attacker: Metadata) -> None:
        self.server, self.victim, self.attacker = server, victim, attacker
        self.address = server.address
        self.job = create(server, attacker)
        self._stack = contextlib.ExitStack()

    def stub(self) -> pb_grpc.StyleTransferStub:
        """A stub on a new connection."""
        return pb_grpc.StyleTransferStub(self.channel())

    def channel(self) -> grpc.Channel:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        return self._stack.enter_context(grpc.insecure_channel(self.address, options))

    def raw(self, window: int = 65535) -> Caller:
        caller = Caller(self.address, window=window)
        self._stack.callback(caller.close)
        return caller

    @property
    def header(self) -> list[tuple[bytes, bytes]]:
        return [(key.encode(), value.encode()) for key, value in self.attacker]

    def close(self) -> None:
        self._stack.close()


Attack = Callable[[Scene], None]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def at_once(*works: Callable[[], object]) -> None:
    """Runs all works at the same time, and ignores their errors."""

    def run(work: Callable[[], object]) -> None:
        with contextlib.suppress(grpc.RpcError):
            work()

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def raw_request(content: bytes) -> bytes:
    request = pb.CreateJobRequest(spec=stylize_request(content).spec)
    return request.SerializeToString()


def _large_messages(scene: Scene, method: str, metadata: Metadata) -> None:
    message = raw_request(bytes(LARGE))
    calls = []
    for _ in range(12):
        call = scene.channel().unary_unary(method)
        calls.append(lambda call=call: call(message, timeout=60, metadata=metadata))
    at_once(*calls)


@attack
def quiet(scene: Scene) -> None:
    """Nothing."""
    time.sleep(5)


@attack
def strangers(scene: Scene) -> None:
    """12 requests of 60 MiB without a token."""
    _large_messages(scene, "/impasto.v1.StyleTransfer/CreateJob", ())


@attack
def strangers_at_health(scene: Scene) -> None:
    """12 requests of 60 MiB without a token, to the call that needs none."""
    _large_messages(scene, "/grpc.health.v1.Health/Check", ())


@attack
def large_for_small(scene: Scene) -> None:
    """12 messages of 60 MiB to a call whose requests are small."""
    _large_messages(scene, "/impasto.v1.StyleTransfer/GetJob", scene.attacker)


@attack
def large_contents(scene: Scene) -> None:
    """12 requests of 60 MiB with a token, whose content is not an image."""
    _large_messages(scene, "/impasto.v1.StyleTransfer/CreateJob", scene.attacker)


@attack
def large_jobs(scene: Scene) -> None:
    """20 jobs with contents of 24 MiB, by CreateJob and by streams of Stylize."""
    image = noise_image()
    stub = scene.stub()
    for number in range(10):
        request = stylize_request(image + bytes([number]), recipe=ENDLESS)
        stub.CreateJob(pb.CreateJobRequest(spec=request.spec), timeout=60, metadata=scene.attacker)
        request.spec.content.encoded += b"another"
        next(iter(stub.Stylize(request, timeout=60, metadata=scene.attacker)))


@attack
def half_sent(scene: Scene) -> None:
    """150 requests on 3 connections that stop after 4 of 60 MiB."""
    for _ in range(3):
        caller = scene.raw()
        for _ in range(50):
            stream = caller.open(b"/impasto.v1.StyleTransfer/CreateJob", scene.header)
            caller.send(stream, framed(bytes(4 << 20), claimed=LARGE), patience=0.02)
    time.sleep(1)


@attack
def many_fields(scene: Scene) -> None:
    """Four requests of 60 MiB with 30 million empty styles, and four with invalid paths."""
    length = LARGE // 2 * 2
    spec = b"\x12\x00" * (length // 2)
    size = pb.UploadImageRequest(offset=length).SerializeToString()[1:]
    message = b"\x0a" + size + spec
    calls = []
    for _ in range(4):
        create = scene.channel().unary_unary("/impasto.v1.StyleTransfer/CreateJob")
        calls.append(lambda create=create: create(message, timeout=60, metadata=scene.attacker))
        update = scene.stub().UpdateJob
        mask = FieldMask(paths=["x"] * 80_000)
        request = pb.UpdateJobRequest(job=pb.Job(name=scene.job), update_mask=mask)
        calls.append(
            lambda update=update, request=request: update(request, timeout=60, metadata=scene.attacker)
        )
    at_once(*calls)


@attack
def costly_small_calls(scene: Scene) -> None:
    """Three seconds of the costliest small calls: messages of the maximum size, and of one megabyte."""
    end = time.monotonic() + 3

    def calls(size: int) -> Iterator[Callable[[pb_grpc.StyleTransferStub], object]]:
        whole: dict[str, Any] = {"timeout": 60, "metadata": scene.attacker}
        update = pb.UpdateJobRequest(job=pb.Job(name=scene.job, title="x", stop_message="y" * (size // 2)))
        update.update_mask.paths.extend(["title"] * min(size // 20, 2000))
        path = pb.UpdateJobRequest(job=pb.Job(name=scene.job), update_mask=FieldMask(paths=["x" * size]))
        name, states = pb.GetJobRequest(name="x" * size), pb.ListJobsRequest(states=[1] * min(size, 4000))
        image = pb.CreateJobRequest(spec=pb.JobSpec(content=pb.Image(style="x" * size)))
        yield lambda stub: stub.UpdateJob(update, **whole)
        yield lambda stub: stub.UpdateJob(path, **whole)
        yield lambda stub: stub.GetJob(name, **whole)
        yield lambda stub: stub.ListJobs(states, **whole)
        yield lambda stub: stub.CreateJob(image, **whole)

    def again_and_again(call: Callable[[pb_grpc.StyleTransferStub], object]) -> None:
        stub = scene.stub()
        while time.monotonic() < end:
            with contextlib.suppress(grpc.RpcError):
                call(stub)

    each = [call for size in (60_000, 1_000_000) for call in calls(size)]
    at_once(*(functools.partial(again_and_again, call) for call in each))


@attack
def gzip_bombs(scene: Scene) -> None:
    """40 requests of 60 KB that decompress to 60 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(raw_request(bytes(LARGE))) + packer.flush()
    message = framed(packed, compressed=True)
    for _ in range(4):
        caller = scene.raw()
        for method in (b"CreateJob", b"GetJob") * 5:
            path = b"/impasto.v1.StyleTransfer/" + method
            stream = caller.open(path, [*scene.header, (b"grpc-encoding", b"gzip")])
            caller.send(stream, message, end=True)
    time.sleep(3)


@attack
def broken_names(scene: Scene) -> None:
    """Methods and metadata that are not UTF-8, without a token; unknown methods."""
    for path in (b"/\xff\xfe/x", b"/impasto.v1.StyleTransfer/\xc3\x28", b"", b"x", b"/a.B/C"):
        with contextlib.closing(scene.raw()) as caller:
            stream = caller.open(path, [(b"authorization", b"Bearer \xff\xfe")])
            caller.send(stream, b"", end=True)
            caller.status(stream, 2)
    stub = scene.channel().unary_unary("/impasto.v1.StyleTransfer/Nothing")
    at_once(*[lambda: stub(b"\xff\xff\xff", timeout=20, metadata=scene.attacker)] * 200)


@attack
def no_messages(scene: Scene) -> None:
    """1,000 messages that are not protobuf."""
    call = scene.channel().unary_unary("/impasto.v1.StyleTransfer/GetJob")
    for _ in range(1000):
        with contextlib.suppress(grpc.RpcError):
            call(b"\xff\xff\xff", timeout=20, metadata=scene.attacker)


@attack
def silent_calls(scene: Scene) -> None:
    """600 calls on 3 connections that never send their messages."""
    for _ in range(3):
        caller = scene.raw()
        for _ in range(200):
            caller.open(b"/impasto.v1.StyleTransfer/GetJob", scene.header)
    time.sleep(8)


def watch_unread(scene: Scene) -> None:
    """50 watchers of the attacker's job that read nothing."""
    for _ in range(5):
        caller = scene.raw(LARGEST_WINDOW)
        for _ in range(10):
            request = pb.WatchJobRequest(name=scene.job).SerializeToString()
            stream = caller.open(b"/impasto.v1.StyleTransfer/WatchJob", scene.header)
            caller.send(stream, framed(request), end=True)


@attack
def watchers(scene: Scene) -> None:
    """50 watchers that read nothing, and 4,438 changes of the title."""
    watch_unread(scene)
    update = pb.UpdateJobRequest(update_mask=FieldMask(paths=["title"]))
    update.job.name = scene.job
    for number in range(4438):
        update.job.title = f"{number:0200}"
        scene.server.stub.UpdateJob(update, timeout=60, metadata=scene.attacker)


@attack
def paused_and_resumed(scene: Scene) -> None:
    """50 watchers that read nothing, and 1,000 changes of the state."""
    watch_unread(scene)
    stub = scene.server.stub
    for _ in range(500):
        stub.PauseJob(pb.PauseJobRequest(name=scene.job), timeout=60, metadata=scene.attacker)
        stub.ResumeJob(pb.ResumeJobRequest(name=scene.job), timeout=60, metadata=scene.attacker)


@attack
def downloads(scene: Scene) -> None:
    """16 downloads of 24 MiB that are not read."""
    data = noise_image()
    sha256 = hashlib.sha256(data).hexdigest()
    pieces = (
        pb.UploadImageRequest(
            sha256=sha256, size_bytes=len(data), offset=offset, data=data[offset : offset + (1 << 18)]
        )
        for offset in range(0, len(data), 1 << 18)
    )
    scene.stub().UploadImage(pieces, timeout=60, metadata=scene.attacker)
    request = pb.DownloadImageRequest(sha256=sha256).SerializeToString()
    for _ in range(4):
        caller = scene.raw(LARGEST_WINDOW)
        for _ in range(4):
            stream = caller.open(b"/impasto.v1.StyleTransfer/DownloadImage", scene.header)
            caller.send(stream, framed(request), end=True)
    time.sleep(6)


@attack
def health_watchers(scene: Scene) -> None:
    """1,000 streams of the health service, without a token."""
    for _ in range(5):
        stub = health_pb2_grpc.HealthStub(scene.channel())
        for _ in range(200):
            stub.Watch(health_pb2.HealthCheckRequest())
    time.sleep(3)


@attack
def idle_connections(scene: Scene) -> None:
    """1,100 idle connections to a process that may open 1,024 files."""
    _connect(scene, 1100)


@attack
def too_many_connections(scene: Scene) -> None:
    """More idle connections than the process can open files, whatever its limit."""
    resource.prlimit(scene.server.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    _connect(scene, 1100)


def _connect(scene: Scene, number: int) -> None:
    host, _, port = scene.address.rpartition(":")
    sockets = []
    try:
        for _ in range(number):
            sockets.append(socket.create_connection((host, int(port))))
        time.sleep(5)
        begin = time.monotonic()
        ask = health_pb2.HealthCheckRequest()
        try:
            health_pb2_grpc.HealthStub(scene.channel()).Check(ask, timeout=30, wait_for_ready=True)
            print(f"  a new caller gets in after {time.monotonic() - begin:.1f} s")
        except grpc.RpcError as error:
            print(f"  a new caller does not get in: {error.code().name}")
    finally:
        for each in sockets:
            each.close()


for of_pictures in hostile_pictures.ATTACKS:
    attack(of_pictures)


def noise_image() -> bytes:
    """A PNG of 24 MiB."""
    pixels = os.urandom(2896 * 2896 * 3)
    return coded(PIL.Image.frombytes("RGB", (2896, 2896), pixels), compress_level=0)


def create(server: ServerProcess, metadata: Metadata) -> str:
    request = pb.CreateJobRequest(spec=stylize_request(coded(photo()), recipe=ENDLESS).spec)
    return server.stub.CreateJob(request, timeout=60, metadata=metadata).name


class Observer:
    """Measures memory of the server's processes and times the other tenant's calls, until the block ends.

    Attributes:
        before, peak: resident memory by process, in MiB.
        times: durations of the other tenant's GetJob, in milliseconds.
        errors: errors of these calls.
    """

    def __init__(self, server: ServerProcess, metadata: Metadata, job: str) -> None:
        self._pid = server.process.pid
        self.before = self._weigh()
        self.peak = dict(self.before)
        self.times: list[float] = []
        self.errors: list[str] = []
        self._over = threading.Event()
        self._weighing = threading.Thread(target=self._keep_weighing)
        # In another process, which the attack's own work in this process does not slow down.
        command = [sys.executable, __file__, "--call", server.address, metadata[0][1], job]
        self._caller = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._caller.stdout is not None
        self._caller.stdout.readline()

    def __enter__(self) -> Observer:
        self._weighing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._weighing.join()
        words, _errors = self._caller.communicate()
        self.times, self.errors = json.loads(words)

    def _keep_weighing(self) -> None:
        while not self._over.wait(0.02):
            for name, size in self._weigh().items():
                self.peak[name] = max(size, self.peak.get(name, 0))

    def _weigh(self) -> dict[str, int]:
        # Mapped files do not count as memory of a process.
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {"shared": next(int(line.split()[1]) for line in lines if line.startswith("Shmem:")) // 1024}
        for pid in family(self._pid):
            with contextlib.suppress(OSError, IndexError, StopIteration):
                name = "gateway" if pid == self._pid else program(pid)
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                size = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024
                found[name] = found.get(name, 0) + size
        return found


def keep_calling(address: str, bearer: str, job: str) -> None:
    """The other tenant's process: makes calls until its stdin ends, and prints how long each took."""
    times: list[float] = []
    errors: list[str] = []
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    with grpc.insecure_channel(address) as channel:
        stub, request = pb_grpc.StyleTransferStub(channel), pb.GetJobRequest(name=job)
        print(flush=True)
        while not over.wait(0.02):
            begin = time.monotonic()
            try:
                stub.GetJob(request, timeout=60, metadata=[("authorization", bearer)])
                times.append((time.monotonic() - begin) * 1e3)
            except grpc.RpcError as error:
                errors.append(error.code().name)
    print(json.dumps([times, errors]))


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for child in children(pid):
            yield from family(child)


def program(pid: int) -> str:
    """The name of the module that a process runs."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return next(word for word in words if word.startswith("impasto_server")).rpartition(".")[2]


@contextlib.contextmanager
def few_files() -> Iterator[None]:
    """Processes started within may open 1,024 files, unless they raise their own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        tokens = Path(folder) / "tokens.json"
        of_tenant = [Tokens(tokens).add(tenant) for tenant in ("victim", "attacker")]
        victim, attacker = ((("authorization", f"Bearer {token}"),) for token in of_tenant)
        with few_files():
            server = stack.enter_context(running_server(*CPU, "--tokens-file", str(tokens)))
        ask = pb.GetServerInfoRequest()
        until(
            lambda: server.stub.GetServerInfo(ask, timeout=60, metadata=victim).devices[0].state,
            lambda state: state == pb.DEVICE_STATE_READY,
        )
        job, scene = create(server, victim), Scene(server, victim, attacker)
        lines = server.log.count("\n")
        begin = time.monotonic()
        with contextlib.closing(scene), Observer(server, victim, job) as seen:
            time.sleep(2)
            ATTACKS[name](scene)
            time.sleep(1)
        taken = time.monotonic() - begin
        weights = "  ".join(f"{who} {seen.before.get(who, 0)} → {most}" for who, most in seen.peak.items())
        waits = "no call was answered"
        if len(seen.times) > 1:
            percents = statistics.quantiles(seen.times, n=100)
            waits = f"median {percents[49]:.1f} 99 % {percents[98]:.0f} max {max(seen.times):.0f}"
        errors = f"  errors {sorted(set(seen.errors))} {len(seen.errors)}" if seen.errors else ""
        lines = server.log.count("\n") - lines
        is_dead = "" if server.process.poll() is None else "  THE SERVER ENDED"
        print(
            f"{name:20} MiB: {weights}  GetJob: {waits} n={len(seen.times)}{errors}  "
            f"log lines {lines}  {taken:.0f} s{is_dead}",
            flush=True,
        )


def main() -> None:
    if sys.argv[1:2] == ["--call"]:
        keep_calling(*sys.argv[2:])
        return
    for name in sys.argv[1:] or ATTACKS:
        run(name)


if __name__ == "__main__":
    main()
