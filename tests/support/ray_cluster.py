"""A real Ray cluster for tests: a head without devices, and nodes that can be killed, cut off and added.

Each node is in a network namespace of its own, if this process may make them (root on Linux). All nodes of a
cluster are on a bridge of its own, whose address is this machine's address for the cluster. So a node can be
cut off from the others. Without the right, all nodes share this machine's loopback address.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import grpc

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.ray_node import descendants
from support.server_process import PATIENCE, children, is_alive, until

_KEEPER = str(Path(__file__).with_name("ray_node.py"))
_START_SECONDS = 90.0
"""Seconds after which the start of a node has failed; Ray's own limits are shorter."""
_OBJECT_STORE = 80 << 20
"""Bytes; Ray wants at least 75 MiB. The fleet keeps nothing in it."""


@functools.cache
def why_no_namespaces() -> str:
    """Returns why this process cannot make network namespaces; empty if it can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and the command ip (iproute2)"
    name = f"ir{secrets.token_hex(4)}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", name, "type", "bridge")
            _ip("link", "del", name)
        finally:
            _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    return ""


class RayNode:
    """A node of a cluster: a raylet, and what it has started.

    Attributes:
        name: of the node.
        address: its IP address.
    """

    def __init__(self, cluster: RayCluster, name: str, address: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.address = address
        self._cluster = cluster
        self._arguments = list(arguments)
        self._keeper: subprocess.Popen[bytes] | None = None
        self.namespace = ""

    def begin(self) -> None:
        """Begins to start the node's processes."""
        self.end()
        within = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        folder = self._cluster.folder / self.name
        folder.mkdir(exist_ok=True)
        # A head that was killed would count as running, because other nodes of this machine belong to it.
        (folder / "ray_current_cluster").unlink(missing_ok=True)
        with folder.with_suffix(".log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [
                    *(*within, sys.executable, _KEEPER),
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", *self._arguments),
                    *("--node-ip-address", self.address, "--temp-dir", str(folder)),
                    *("--object-store-memory", str(_OBJECT_STORE), "--include-log-monitor", "false"),
                    *("--disable-usage-stats", "--log-color", "false"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self._cluster.folder), **self._cluster.environment},
                start_new_session=True,
            )

    def started(self) -> None:
        """Waits until the node is part of the cluster."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        ready, _, _ = select.select([self._keeper.stdout], [], [], _START_SECONDS)
        code = self._keeper.stdout.readline() if ready else b""
        assert code == b"0\n", f"the node {self.name} did not start:\n{self.log}"

    def start(self) -> None:
        """Starts the node's processes. They must not be running."""
        self.begin()
        self.started()

    @property
    def log(self) -> str:
        """What `ray start` has printed."""
        return (self._cluster.folder / f"{self.name}.log").read_text(errors="replace")

    def pids(self, *parts: str) -> list[int]:
        """Process IDs of the node's running processes whose command line contains all these parts."""
        if self._keeper is None:
            return []
        found = [pid for pid in descendants(self._keeper.pid) if is_alive(pid)]
        return [pid for pid in found if all(part in _command(pid) for part in parts)]

    def worker_pids(self) -> list[int]:
        """Process IDs of the workers that paint, or pretend to."""
        return [pid for pid in self.pids() if _runs_a_worker(pid)]

    def actor_pids(self) -> list[int]:
        """Process IDs of the actors that start and watch workers."""
        return self.pids("ray::WorkerActor")

    def kill(self) -> None:
        """Kills all processes of the node, as if its machine lost power."""
        kill(self.pids)

    def kill_raylet(self) -> None:
        """Kills Ray's process of the node. What it has started ends by itself, or does not."""
        kill(lambda: self.pids("raylet/raylet"))

    def end(self) -> None:
        """Kills all processes of the node, and the one that keeps them together."""
        if self._keeper is None:
            return
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(PATIENCE)
        self._keeper.stdout.close()
        self._keeper = None

    def cut(self) -> None:
        """Cuts the node off from the network."""
        assert self.namespace, "only a node in a namespace of its own can be cut off"
        _ip("link", "set", self._cluster.link(self), "down")

    def heal(self) -> None:
        """Connects the node to the network again."""
        _ip("link", "set", self._cluster.link(self), "up")


class RayCluster:
    """A running cluster.

    Attributes:
        id: unique among all clusters.
        folder: for Ray's files and logs.
        address: of the head, HOST:PORT, for a gateway on this machine.
        client_address: the same for a gateway that is no part of the cluster, "ray://HOST:PORT".
        head: the node without devices, on this machine.
        nodes: the nodes with devices, by name.
        environment: environment variables of all nodes, also for programs that connect to them.
    """

    def __init__(
        self, folder: Path, id: str, subnet: str, environment: dict[str, str], *, head_apart: bool
    ) -> None:
        self.id = id
        self.folder = folder
        self.environment = environment
        self._subnet = subnet
        self._numbers = itertools.count(11)
        host = f"{subnet}.1" if subnet else "127.0.0.1"
        port, client_port, *rest = _free_ports(host, 6)
        if head_apart:
            host = f"{subnet}.{next(self._numbers)}"
        self.address = f"{host}:{port}"
        self.client_address = f"ray://{host}:{client_port}"
        self.nodes: dict[str, RayNode] = {}
        names = ["--node-manager-port", "--object-manager-port", "--dashboard-agent-listen-port"]
        arguments = ["--head", "--port", str(port), "--ray-client-server-port", str(client_port)]
        arguments += ["--num-cpus", "0", "--num-gpus", "0", "--include-dashboard", "false"]
        arguments += ["--node-name", "head"]
        arguments += itertools.chain.from_iterable(zip(names, map(str, rest), strict=False))
        self.head = RayNode(self, "head", host, arguments)
        if head_apart:
            self._separate(self.head)

    def add(self, name: str, *, cpus: int = 1) -> RayNode:
        """Starts a node, and waits until it is part of the cluster."""
        node = self.begin(name, cpus=cpus)
        node.started()
        return node

    def begin(self, name: str, *, cpus: int = 1) -> RayNode:
        """Begins to start a node."""
        number = next(self._numbers)
        host = f"{self._subnet}.{number}" if self._subnet else "127.0.0.1"
        arguments = ["--address", self.address, "--node-name", name]
        arguments += ["--num-cpus", str(cpus), "--num-gpus", "0"]
        node = self.nodes[name] = RayNode(self, name, host, arguments)
        if self._subnet:
            self._separate(node)
        node.begin()
        return node

    def forget_actors(self) -> None:
        """Removes all actors, with what they have started."""
        program = (
            "import ray\n"
            f"ray.init({self.address!r}, log_to_driver=False, logging_level='ERROR', namespace='tests')\n"
            "for actor in ray.util.list_named_actors(all_namespaces=True):\n"
            "    ray.kill(ray.get_actor(**actor), no_restart=True)\n"
        )
        environment = {**os.environ, **self.environment}
        subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE, env=environment)
        until(self.worker_pids, lambda pids: not pids)

    def _separate(self, node: RayNode) -> None:
        """Makes a node's network namespace."""
        number = node.address.rpartition(".")[2]
        node.namespace = f"{self.id}-{number}"
        link = self.link(node)
        _ip("netns", "add", node.namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
        _ip("link", "set", link, "master", self.id, "up")
        _ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
        _ip("-n", node.namespace, "link", "set", "eth0", "up")
        _ip("-n", node.namespace, "link", "set", "lo", "up")

    def link(self, node: RayNode) -> str:
        """Name of the node's network link on this machine."""
        return f"{self.id}{node.address.rpartition('.')[2]}"

    def all_nodes(self) -> list[RayNode]:
        """The head and all other nodes."""
        return [self.head, *self.nodes.values()]

    def worker_pids(self) -> list[int]:
        """Process IDs of all workers that paint, or pretend to."""
        return [pid for node in self.nodes.values() for pid in node.worker_pids()]

    def node_of(self, pid: int) -> RayNode:
        """The node of a process."""
        return next(node for node in self.nodes.values() if pid in node.pids())

    def end(self) -> None:
        """Kills everything, and removes files and network."""
        for node in reversed(self.all_nodes()):
            node.end()
        for node in self.all_nodes():
            if node.namespace:
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip("link", "del", self.link(node))
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip("netns", "del", node.namespace)
        if self._subnet:
            _remove_bridge(self.id)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def ray_cluster(
    *names: str, cpus: int = 1, namespaces: bool = True, head_apart: bool = False, **environment: str
) -> Iterator[RayCluster]:
    """Starts a cluster, and ends it with everything that it has started.

    Args:
        names: of the nodes.
        cpus: number of cores of each node, as Ray counts them.
        namespaces: whether each node gets a network namespace of its own, if that is possible.
        head_apart: whether the head gets one, too. Then a gateway on this machine can only connect by
            `client_address`.
        environment: environment variables of all nodes.
    """
    # Names of network links have at most 15 characters.
    id = f"ir{os.getpid():x}x{secrets.token_hex(1)}"
    subnet = ""
    if namespaces and not (reason := why_no_namespaces()):
        _remove_left()
        subnet = _add_bridge(id)
    elif namespaces:
        print(f"all nodes of the Ray cluster share the loopback address: {reason}")
    # Sockets lie in it: the path must be short.
    folder = Path(tempfile.mkdtemp(prefix="ir-", dir="/tmp"))
    # Without a token of its own, Ray takes the one in the home folder, if there is one by now.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = RayCluster(
        folder,
        id,
        subnet,
        {"OMP_NUM_THREADS": "1", **_LIGHT, **token, **environment},
        head_apart=head_apart and bool(subnet),
    )
    try:
        cluster.head.start()
        nodes = [cluster.begin(name, cpus=cpus) for name in names]
        for node in nodes:
            node.started()
        yield cluster
    finally:
        cluster.end()


class Gateway:
    """A gateway of a cluster, which can be killed and started again with the same address and data folder.

    Attributes:
        process: the running process.
        address: HOST:PORT.
        stub: a connection to it, also after it has been started again.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            folder: an existing folder for the data, temporary files and the log.
            arguments: of `impasto-server serve`.
            environment: further environment variables.
        """
        self._folder = folder
        self._arguments = list(arguments)
        self._environment = dict(environment or {})
        self._port = 0
        self.start()
        options = [("grpc.max_send_message_length", -1), ("grpc.max_reconnect_backoff_ms", 500)]
        self._channel = grpc.insecure_channel(self.address, options)
        self.stub = style_transfer_pb2_grpc.StyleTransferStub(self._channel)

    def start(self) -> None:
        """Starts it, and waits until it answers calls."""
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*module_command("impasto_server"), "serve", "--port", str(self._port)),
                    *("--data-dir", str(self.data_folder), *self._arguments),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), **self._environment},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the gateway did not start:\n{self.log}"
        self.address: str = json.loads(line)["address"]
        self._port = int(self.address.rpartition(":")[2])

    @property
    def data_folder(self) -> Path:
        """The folder with its data."""
        return self._folder / "data"

    @property
    def log_file(self) -> Path:
        """The file with its log."""
        return self._folder / "gateway.log"

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self.log_file.read_text(errors="replace")

    def broker_pid(self) -> int:
        """Process ID of the process that speaks to Ray."""
        (pid,) = (pid for pid in children(self.process.pid) if "on_ray" in _command(pid))
        return pid

    def info(self) -> pb.GetServerInfoResponse:
        """Describes it."""
        return self.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE, wait_for_ready=True)

    def ready(self, workers: int = 1) -> pb.GetServerInfoResponse:
        """Waits until so many workers are ready, and no others exist."""

        def are_ready(info: pb.GetServerInfoResponse) -> bool:
            states = [device.state for device in info.devices]
            return states == [pb.DEVICE_STATE_READY] * workers

        return until(self.info, are_ready)

    def kill(self) -> None:
        """Kills it, as if its machine lost power."""
        self.process.kill()
        self.process.wait()
        self._close()

    def end(self) -> int:
        """Ends it in good order, and returns its exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self._close()
        return code

    def close(self) -> None:
        """Ends it in any way, for the end of a test."""
        self._channel.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        self._close()

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def gateway(*arguments: str, **environment: str) -> Iterator[Gateway]:
    """Starts a gateway with a new data folder, and ends it.

    Args:
        arguments: of `impasto-server serve`.
        environment: further environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="impasto-gateway-") as folder:
        server = Gateway(Path(folder), arguments, environment)
        try:
            yield server
        finally:
            server.close()


_LIGHT = {
    # Workers are started when an actor needs one, not in advance.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}


def kill(look: Callable[[], list[int]]) -> None:
    """Kills processes, and waits for their end.

    Args:
        look: returns the process IDs of those that are left.
    """
    begin = time.monotonic()
    while pids := look():
        assert time.monotonic() < begin + 30, f"processes cannot be killed: {pids}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda pids=pids: any(map(is_alive, pids)), lambda alive: not alive)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    # It has ended meanwhile.
    return ""


def _runs_a_worker(pid: int) -> bool:
    return any(module in _command(pid) for module in ("impasto_server.worker", "impasto_server.mock"))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)


def _add_bridge(name: str) -> str:
    """Makes a bridge with an address of its own, and returns the first three numbers of its network."""
    _ip("link", "add", name, "type", "bridge")
    try:
        # A network for benchmarks (RFC 2544), which nobody routes.
        taken = subprocess.run(["ip", "-o", "addr"], check=True, capture_output=True, text=True).stdout
        free = [f"198.{18 + high}.{low}" for high in range(2) for low in range(256)]
        subnet = secrets.choice([subnet for subnet in free if f" {subnet}." not in taken])
        _ip("addr", "add", f"{subnet}.1/24", "dev", name)
        _ip("link", "set", name, "up")
    except BaseException:
        _remove_bridge(name)
        raise
    return subnet


def _remove_left() -> None:
    """Removes networks whose test programs were killed. Their processes have ended by themselves."""
    shown = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    spaces = subprocess.run(["ip", "netns"], check=True, capture_output=True, text=True).stdout
    for delete, names in (("link", shown), ("netns", spaces)):
        for found in re.finditer(r"\b(ir([0-9a-f]+)x[0-9a-f]{2}-?[0-9]*)\b", names, re.M):
            if not is_alive(int(found[2], 16)):
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip(delete, "del", found[1])


def _remove_bridge(name: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("link", "del", name)


def _free_ports(host: str, number: int) -> list[int]:
    """Finds free ports that stay free while nothing listens there.

    They are none of those that Linux gives to outgoing connections, and none that Ray takes by default.
    """
    found: list[int] = []
    while len(found) < number:
        port = 24_100 + secrets.randbelow(8_000)
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind((host, port))
            found += [port] if port not in found else []
    return found
