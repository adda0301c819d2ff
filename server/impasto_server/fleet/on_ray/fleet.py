"""The workers on the machines of a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

from impasto_server.fleet.fleet import Fleet, Refused
from impasto_server.fleet.machines import Machine
from impasto_server.fleet.on_ray.ask import Ask
from impasto_server.fleet.on_ray.broker import Broker, BrokerGone, ClusterError, RayMissing
from impasto_server.fleet.on_ray.nodes import Node, smallest_cpus, told_apart
from impasto_server.fleet.on_ray.remote_process import RemoteLauncher
from impasto_server.fleet.program import WORKER_MODULE, PlaceLost
from impasto_server.fleet.worker_process import ConfigurationError, WorkerProcess
from impasto_server.identity import Identity

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_HUNG_SECONDS = 60.0
"""Maximum duration of the regular work, after which the broker is killed and started again."""
_TOLD_SECONDS = 60.0
"""Interval of the log lines about a cluster without room."""
_REMOVAL_SECONDS = 2.0
"""Maximum time for the removal of actors at the end."""
_PREFIX = "worker-"
_DRAINED = "drained.json"
_LOST_SECONDS, _MAX_LOST_SECONDS = 1.0, 60.0
"""Times for which a machine is avoided after a worker could not run there: the first, and the longest."""


class RayFleet(Fleet):
    """One worker for each device that it gets of a Ray cluster, between a minimum and a maximum.

    There are as many workers as there are jobs, as far as the machines have room and the limits allow. What
    does not fit is asked of the cluster's autoscaler. A worker that idles is given back.

    Its actors outlive the gateway for some minutes, so that a gateway that is started again finds its
    workers ready.
    """

    def __init__(
        self,
        address: str,
        devices: Sequence[str],
        worker_arguments: Sequence[str],
        *,
        ask: Ask | None,
        min_workers: int,
        max_workers: int | None,
        idle_seconds: float,
        folder: Path | None,
        max_resident: int,
        worker_timeout: float,
        turn_timeout: float,
        worker_module: str = WORKER_MODULE,
        log_level: str = "info",
        log_format: str = "text",
    ) -> None:
        """
        Args:
            address: of the cluster: auto, HOST:PORT, ray://HOST:PORT; or local, to start one on this machine.
            devices: "auto", "cpu" or "cuda" alone: which device of those that a machine gives it a worker
            takes.
            worker_arguments: further arguments of `python -m impasto_server.worker`.
            ask: what each worker asks a machine for; None for one GPU, or all cores of the smallest machine
            if no
                machine has a GPU.
            min_workers, max_workers: limits of the number of workers; None for no maximum.
            idle_seconds: time without jobs after which a worker beyond the minimum is given back.
            folder: for what outlives a restart: the gateway's key, which its workers know, and the names of
                the drained machines. None if nothing does.
            max_resident: maximum number of jobs on a device at a time.
            worker_timeout: seconds without an answer after which a worker is killed and restarted. After a
                quarter of this time it gets no jobs. Above 0.
            turn_timeout: maximum duration of a turn in seconds, after which the worker is killed and
                restarted. Above 0.
            worker_module: the program that each worker runs.
            log_level, log_format: of the broker.

        Raises:
            ConfigurationError: the settings do not fit together.
        """
        super().__init__(max_resident)
        if list(devices) not in (["auto"], ["cpu"], ["cuda"]):
            raise ConfigurationError(
                "with --ray, each worker gets one device; give --device auto, cpu or cuda"
            )
        if ask is not None and list(devices) == ["cpu"] and ask.gpu:
            raise ConfigurationError(
                "--ray-worker asks for a GPU, which --device cpu would not use; give another of the two"
            )
        if ask is not None and list(devices) == ["cuda"] and not ask.gpu:
            raise ConfigurationError("--device cuda needs a GPU; add gpu=1 to --ray-worker")
        if max_workers is not None and max_workers < min_workers:
            raise ConfigurationError(
                f"--ray-max-workers {max_workers} is less than --ray-min-workers {min_workers}; give a "
                "larger maximum"
            )
        self._device = devices[0]
        self._ask = ask
        self._min_workers, self._max_workers = min_workers, max_workers
        self._idle_seconds = idle_seconds
        self._worker_timeout, self._turn_timeout = worker_timeout, turn_timeout
        self._arguments = [*worker_arguments, "--max-resident", str(max_resident)]
        self._module = worker_module
        self._folder = folder
        self._identity = Identity.new() if folder is None else _identity(folder)
        if folder is not None:
            self._draining.update(_drained(folder / _DRAINED))
        namespace = f"impasto-{hashlib.sha256(self._identity.certificate).hexdigest()[:16]}"
        self._broker = Broker(address, namespace, log_level=log_level, log_format=log_format)
        self._tasks: list[asyncio.Task[None]] = []
        self._nodes: dict[str, Node] = {}
        self._jobs = 0
        # The number of workers for which the autoscaler was asked, and through which connection.
        self._requested: tuple[int, int] | None = None
        # Names of actors that are not wanted any more, and of those among them that are still to be removed.
        self._unwanted: set[str] = set()
        self._to_remove: set[str] = set()
        self._was_ready = False
        # SHA-256 of the weights with which the fleet paints, once they are known.
        self._network: str | None = None
        # Machines where a worker could not run: until when they are avoided, and for how long.
        self._avoided: dict[str, tuple[float, float]] = {}
        self._tell_after = 0.0

    async def __aenter__(self) -> RayFleet:
        for work in (self._keep_broker(), self._keep_shape()):
            self._tasks.append(asyncio.create_task(work))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tasks[1].cancel()
        workers = list(self._workers)
        await super().__aexit__()
        if self._folder is None:
            # No later gateway could take them up.
            self._to_remove.update(worker.key for worker in workers)
        with contextlib.suppress(BrokerGone, ClusterError, asyncio.TimeoutError):
            await asyncio.wait_for(self._remove_actors(), _REMOVAL_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self) -> None:
        """See `Fleet`."""
        self._broker.kill()

    def want(self, jobs: int) -> None:
        """See `Fleet`."""
        self._jobs = jobs

    def wanted_workers(self) -> tuple[int, int, int]:
        """See `Fleet`."""
        return len(self._workers), self._wanted, self._max_workers or 0

    async def machines(self) -> list[Machine]:
        """See `Fleet`."""
        found = []
        for name in self._names():
            node = next((node for node in self._nodes.values() if node.name == name), None)
            workers = [worker for worker in self._workers if worker.machine == name]
            devices = self._loads(workers)
            state = "ready" if any(worker.ready for worker in workers) else "joining"
            if name in self._draining or (node is not None and node.draining):
                state = "draining" if workers else "drained"
            elif not workers:
                state = "unused"
            address, resources = ("", {}) if node is None else (node.address, node.resources)
            found.append(
                Machine(name=name, address=address, state=state, devices=devices, resources=resources)
            )
        return found

    @property
    def takes_jobs(self) -> bool:
        """See `Fleet`. Without a minimum, a connected fleet makes its first worker when there is a job."""
        return super().takes_jobs or (not self._min_workers and self._broker.connected.is_set())

    @property
    def trouble(self) -> str:
        """See `Fleet`."""
        broker = self._broker
        if broker.connected.is_set():
            return self._no_room
        why = f" ({broker.trouble})" if broker.trouble else ""
        return f"the Ray cluster {broker.address} cannot be reached{why}; workers that are ready go on"

    @property
    def _no_room(self) -> str:
        """Says that no machine has room for any worker; empty if that is not so."""
        if self._workers or not self._wanted or self._ask is None:
            return ""
        if any(self._ask.fits(node.free) for node in self._usable_nodes):
            return ""
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in self._ask.as_ray().items())
        return (
            f"no machine has room for a worker, which asks for {wanted}; see `ray status`, or give another "
            "--ray-worker"
        )

    @property
    def _usable_nodes(self) -> list[Node]:
        nodes = self._nodes.values()
        return [node for node in nodes if not node.draining and node.name not in self._draining]

    def drain(self, machine: str) -> None:
        """See `Fleet`. The machine stays drained after a restart of the server."""
        super().drain(machine)
        self._keep_draining()

    def undrain(self, machine: str) -> None:
        """See `Fleet`."""
        if any(node.draining and node.name == machine for node in self._nodes.values()):
            raise Refused(
                f"Ray itself takes the machine {machine!r} out of use, and never uses it again; let it join "
                "the cluster again with `ray start`"
            )
        super().undrain(machine)
        self._keep_draining()

    def _keep_draining(self) -> None:
        """Stores the names of the drained machines."""
        if self._folder is not None:
            new = self._folder / f"{_DRAINED}.new"
            try:
                new.write_text(json.dumps(sorted(self._draining)), encoding="utf-8")
                new.replace(self._folder / _DRAINED)
            except OSError as error:
                _log.error("drained machines cannot be stored error=%r", str(error))

    @property
    def _wanted(self) -> int:
        most = self._jobs if self._max_workers is None else min(self._jobs, self._max_workers)
        return max(most, self._min_workers)

    def _names(self) -> list[str]:
        names = {node.name for node in self._nodes.values() if node.has_devices}
        names |= {worker.machine for worker in self._workers if worker.machine}
        # Also a drained machine that has left the cluster: it stays drained when it joins again.
        return sorted(names | self._draining)

    def _is_leaving(self, worker: WorkerProcess) -> bool:
        drained = {node.name for node in self._nodes.values() if node.draining} | self._draining
        return worker.machine in drained

    # The broker, and the regular work.

    async def _keep_broker(self) -> None:
        try:
            await self._broker.keep_alive()
        except RayMissing:
            if not self.failed.done():
                self.failed.set_exception(
                    ConfigurationError(
                        "--ray needs Ray, which is not installed; install it: "
                        "pip install 'impasto-server[ray]'"
                    )
                )

    async def _keep_shape(self) -> None:
        """Looks at the cluster every second, and makes, adopts and gives back workers."""
        told = ""
        took_jobs = False
        while True:
            if self.takes_jobs != took_jobs:
                took_jobs = self.takes_jobs
                self._note_change()
            try:
                await asyncio.wait_for(self._shape(), _HUNG_SECONDS)
                told = ""
            except asyncio.TimeoutError:
                _log.error("broker does not answer, it is killed seconds=%.0f", _HUNG_SECONDS)
                self._broker.kill()
            except BrokerGone:
                pass
            except ClusterError as error:
                if str(error) != told:
                    told = str(error)
                    _log.warning("cluster does not do what it is asked for error=%r", told)
            except Exception:
                _log.exception("error in the regular work on the cluster")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _shape(self) -> None:
        census = await self._broker.call("census")
        used = {worker.machine for worker in self._workers}
        kept = {id: node for id, node in self._nodes.items() if node.name in used or node.has_plain_name}
        self._nodes = told_apart(census["nodes"], kept)
        self._note_change_of_nodes()
        await self._remove_actors()
        # Before workers of an earlier gateway are adopted: another order than theirs would end them.
        ask = self._asked()
        if ask is None:
            return
        known = {worker.key for worker in self._workers} | self._unwanted
        for name in census["actors"]:
            if name.startswith(_PREFIX) and name not in known:
                self._adopt(name, ask)
        await self._request(ask)
        await self._give_back()
        await self._make(ask)

    def _asked(self) -> Ask | None:
        """What each worker asks for; None while it is not known."""
        if self._ask is None:
            nodes = list(self._nodes.values())
            if self._device == "cuda" or (self._device == "auto" and any(node.gpus for node in nodes)):
                self._ask = Ask(gpu=1.0)
            elif cpus := smallest_cpus(nodes):
                self._ask = Ask(cpu=cpus)
        return self._ask

    def _note_change_of_nodes(self) -> None:
        if any(worker.leaving != self._is_leaving(worker) for worker in self._workers):
            self._note_change()

    async def _request(self, ask: Ask) -> None:
        """Tells the autoscaler how much room the wanted workers need."""
        drained = sum(worker.leaving for worker in self._workers)
        # Workers that are leaving still occupy their machines.
        wanted = self._wanted + drained
        # A broker withdraws the request when it ends.
        if (wanted, self._broker.connections) != self._requested:
            connections = self._broker.connections
            await self._broker.call("request", bundles=ask.bundles(wanted))
            self._requested = wanted, connections

    async def _give_back(self) -> None:
        """Removes workers that leave and have no jobs, and workers that idle."""
        now = asyncio.get_running_loop().time()
        spare = sum(not worker.leaving for worker in self._workers) - self._wanted
        for worker in sorted(self._workers, key=lambda worker: worker.used):
            if worker.jobs or (not worker.leaving and now - worker.used < self._idle_seconds):
                continue
            if not worker.leaving:
                if spare <= 0:
                    continue
                spare -= 1
            _log.info("worker is given back device=%s actor=%s", worker.device, worker.key)
            self._remove(worker)
        await self._remove_actors()

    async def _make(self, ask: Ask) -> None:
        """Makes the workers that are missing, as far as the machines have room."""
        loop = asyncio.get_running_loop()
        missing = self._wanted - sum(not worker.leaving for worker in self._workers)
        if missing <= 0:
            return
        nodes = self._usable_nodes
        counts = {node.name: 0 for node in nodes}
        for worker in self._workers:
            if worker.machine in counts:
                counts[worker.machine] += 1
        free = {node.id: dict(node.free) for node in nodes}
        usable = [node for node in nodes if self._avoided.get(node.name, (0.0, 0.0))[0] <= loop.time()]
        for _ in range(missing):
            fitting = [node for node in usable if ask.fits(free[node.id])]
            if not fitting:
                self._tell_no_room()
                return
            # Where fewest workers are: they do not share a machine's memory and network more than they have
            # to.
            node = min(fitting, key=lambda node: counts[node.name])
            counts[node.name] += 1
            for resource, amount in ask.as_ray().items():
                free[node.id][resource] -= amount
            name = f"{_PREFIX}{secrets.token_hex(4)}"
            await self._broker.call("create", name=name, node=node.id, ask=dataclasses.asdict(ask))
            self._adopt(name, ask, node.name)

    def _tell_no_room(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._no_room and now >= self._tell_after:
            self._tell_after = now + _TOLD_SECONDS
            _log.warning("no worker can be made why=%r", self._no_room)

    def _adopt(self, name: str, ask: Ask, machine: str = "") -> None:
        """Adds the worker of an actor.

        Args:
            name: of the actor.
            ask: what it has asked its machine for.
            machine: on which it is expected to be; empty if that is not known.
        """
        launcher = RemoteLauncher(
            self._broker,
            name,
            self._identity,
            module=self._module,
            cpus=ask.cpu,
            machine_of=self._machine_of,
        )

        def device_name(machine: str, device: str) -> str:
            return self._name_of(worker, launcher.gpus, machine, device) if machine else device

        worker = WorkerProcess(
            self._device_of(ask),
            key=name,
            name=device_name,
            launcher=launcher,
            machine=machine,
            arguments=self._arguments,
            changed=self._note_change,
            timeout=self._worker_timeout,
            turn_timeout=self._turn_timeout,
        )
        self._add(worker)

    def _device_of(self, ask: Ask) -> str:
        """Returns torch's name of the device that a worker takes of those that its machine gives it.

        It is never "auto": a worker that has asked for a GPU must not paint on the CPU because torch does not
        find the GPU.
        """
        # Ray shows a worker only the GPU that it has been given.
        return "cuda:0" if ask.gpu else "cpu"

    def _name_of(self, worker: WorkerProcess, gpus: Sequence[str], machine: str, device: str) -> str:
        """Names a device of the fleet: "MACHINE/cuda:0", or "MACHINE/cpu:1" if there is a "MACHINE/cpu"."""
        if gpus and device.startswith("cuda"):
            # The worker sees one GPU only, and calls it cuda:0.
            device = f"cuda:{gpus[0]}"
        taken = {other.device for other in self._workers if other is not worker}
        separator = ":" if device == "cpu" else "/"
        names = itertools.chain([""], (f"{separator}{number}" for number in itertools.count(1)))
        return next(name for end in names if (name := f"{machine}/{device}{end}") not in taken)

    def _machine_of(self, node: str) -> str:
        return self._nodes[node].name if node in self._nodes else node[:6]

    # The ends of workers.

    def _remove(self, worker: WorkerProcess) -> None:
        super()._remove(worker)
        self._unwanted.add(worker.key)
        self._to_remove.add(worker.key)

    async def _remove_actors(self) -> None:
        """Removes the actors of the workers that are not wanted any more."""
        for name in list(self._to_remove):
            await self._broker.call("release", name=name)
            self._to_remove.discard(name)

    def _on_place_lost(self, worker: WorkerProcess, error: PlaceLost) -> None:
        super()._on_place_lost(worker, error)
        self._avoid(worker.machine, _LOST_SECONDS)

    def _on_worker_failed(self, worker: WorkerProcess, error: BaseException) -> None:
        _log.error("worker cannot run machine=%s error=%r", worker.machine, str(error))
        self._remove(worker)
        self._avoid(worker.machine, _MAX_LOST_SECONDS)
        if not self._was_ready and not self._others_to_try:
            # No machine can run a worker with these settings.
            why = f"the worker on the machine {worker.machine} cannot run: {error}"
            super()._on_worker_failed(worker, ConfigurationError(why))

    @property
    def _others_to_try(self) -> list[Node]:
        """The machines that could run a worker as far as is known, whether they have room now or not."""
        now = asyncio.get_running_loop().time()
        return [
            node
            for node in self._usable_nodes
            if self._avoided.get(node.name, (0.0, 0.0))[0] <= now
            and (self._ask is None or self._ask.fits(node.resources))
        ]

    def _avoid(self, machine: str, seconds: float) -> None:
        """Makes no workers on a machine for a time, which doubles with each fault in a row."""
        now = asyncio.get_running_loop().time()
        until, pause = self._avoided.get(machine, (0.0, 0.0))
        pause = (
            min(max(seconds, 2 * pause), _MAX_LOST_SECONDS) if now < until + _MAX_LOST_SECONDS else seconds
        )
        self._avoided[machine] = now + pause, pause

    def _note_change(self) -> None:
        for worker in [worker for worker in self._workers if worker.info is not None]:
            self._check_network(worker)
        self._was_ready = self._was_ready or bool(self.ready_workers)
        super()._note_change()

    def _check_network(self, worker: WorkerProcess) -> None:
        """Refuses a worker with other weights than the first: a picture must not depend on its machine."""
        network = worker.network
        if self._network is None or all(other.info is None for other in self._workers if other is not worker):
            self._network = network.sha256
        elif network.sha256 != self._network:
            _log.error(
                "worker has other weights than the fleet machine=%s weights=%s remedy=%r",
                worker.machine,
                network.weights,
                "give --weights builtin, or put the same weights on every machine",
            )
            self._remove(worker)
            self._avoid(worker.machine, _MAX_LOST_SECONDS)


def _drained(file: Path) -> set[str]:
    """Reads the names of the drained machines. A damaged file must not keep the server from starting."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        _log.error("drained machines cannot be read, none is drained file=%s error=%r", file, str(error))
        return set()
    if not isinstance(names, list):
        _log.error("drained machines cannot be read, none is drained file=%s", file)
        return set()
    return {name for name in names if isinstance(name, str)}


def _identity(folder: Path) -> Identity:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Identity.kept_in(folder)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the gateway's key in {folder} cannot be read or made ({error}); give another --data-dir"
        ) from error
