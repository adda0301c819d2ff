"""The server's metrics, which Prometheus reads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from impasto_server.fleet.machines import DEVICE_STATES, Machine
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.activity import Activity
from impasto_server.gateway.admin import Machines

_log = logging.getLogger(__name__)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

_PATIENCE = 5.0
_FLEET_SECONDS = 1.0


class Metrics:
    """The metrics of one server, in a registry of their own.

    Only device time has the tenant as a label, and only devices have the machine: with further labels the
    number of series would multiply.

    Attributes:
        activity: what devices and tenants did in the last minute, for the administrator.
    """

    def __init__(self) -> None:
        self.activity = Activity()
        self.registry = registry = prometheus.CollectorRegistry()
        self._jobs = prometheus.Gauge(
            "impasto_jobs", "Unfinished jobs, by state", ["state"], registry=registry
        )
        self._ended = prometheus.Counter(
            "impasto_jobs_ended", "Jobs that became final, by state and reason of the error",
            ["state", "reason"], registry=registry,
        )  # fmt: skip
        self._queue = prometheus.Gauge(
            "impasto_queue_length", "Jobs that wait for a device", registry=registry
        )
        self._waited = self._histogram(
            "impasto_queue_seconds", "Time until a job first got a device, in seconds"
        )
        self._preview = self._histogram(
            "impasto_first_preview_seconds", "Time from getting a device to the first preview, in seconds"
        )
        self._evaluation = prometheus.Histogram(
            "impasto_evaluation_seconds", "Time of one evaluation in seconds, by device", ["device"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._device_seconds = prometheus.Counter(
            "impasto_device_seconds", "Device time in seconds, by tenant", ["tenant"], registry=registry
        )
        self._previews = prometheus.Counter(
            "impasto_previews", "Previews for watchers, sent or skipped", ["what"], registry=registry
        )
        self._watchers = prometheus.Gauge("impasto_watchers", "Streams that watch a job", registry=registry)
        self._restarts = prometheus.Gauge("impasto_worker_restarts", "Restarts of workers", registry=registry)
        self._calls = prometheus.Histogram(
            "impasto_call_seconds", "Duration of calls in seconds, by method and code", ["method", "code"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip

    def _histogram(self, name: str, help: str) -> prometheus.Histogram:
        return prometheus.Histogram(name, help, buckets=_SECONDS, registry=self.registry)

    def job_states(self, count: Callable[[str], int], states: tuple[str, ...]) -> None:
        """Sets the function that counts the unfinished jobs of a state, called when metrics are read."""
        for state in states:
            self._jobs.labels(state).set_function(lambda state=state: count(state))  # type: ignore[misc]

    def worker_restarts(self, count: Callable[[], int]) -> None:
        """Sets the function that counts restarts of workers, called when metrics are read."""
        self._restarts.set_function(count)

    def fleet(self, fleet: Machines) -> None:
        """Sets the fleet whose devices are counted when metrics are read. Called in its event loop."""
        self.registry.register(_FleetCollector(fleet, asyncio.get_running_loop()))

    def job_ended(self, state: str, reason: str) -> None:
        self._ended.labels(state, reason).inc()

    def queue_waited(self, seconds: float) -> None:
        self._waited.observe(seconds)

    def first_preview(self, seconds: float) -> None:
        self._preview.observe(seconds)

    def worked(self, tenant: str, device: str, seconds: float, evaluations: int) -> None:
        self._device_seconds.labels(tenant).inc(seconds)
        if evaluations > 0:
            self._evaluation.labels(device).observe(seconds / evaluations)
        self.activity.worked(tenant, device, seconds, max(0, evaluations))

    def queue_length(self, jobs: int) -> None:
        self._queue.set(jobs)

    def preview_sent(self) -> None:
        self._previews.labels("sent").inc()

    def previews_skipped(self, number: int) -> None:
        self._previews.labels("skipped").inc(number)

    def watchers(self, more: int) -> None:
        self._watchers.inc(more)

    def call(self, method: str, code: str, seconds: float) -> None:
        self._calls.labels(method.rpartition("/")[2], code).observe(seconds)

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serves the metrics at http://HOST:PORT/metrics.

        Returns:
            The actual port, and a function that ends the serving.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        try:
            server, thread = prometheus.start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be served at {host}:{port} ({error.strerror}); give another --metrics-host "
                "or --metrics-port"
            ) from error

        server.RequestHandlerClass = _impatient(server.RequestHandlerClass)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return int(server.server_port), end


class _FleetCollector(Collector):
    """Counts machines and devices, in the thread that answers a request for metrics."""

    def __init__(self, fleet: Machines, loop: asyncio.AbstractEventLoop) -> None:
        self._fleet = fleet
        self._loop = loop
        self._machines: Sequence[Machine] = ()
        self._wanted = 0

    def collect(self) -> Iterator[GaugeMetricFamily]:
        self._read()
        devices = GaugeMetricFamily(
            "impasto_devices", "Devices, by machine and state of the worker", labels=["machine", "state"]
        )
        jobs = GaugeMetricFamily(
            "impasto_device_jobs", "Jobs that are on a device", labels=["machine", "device"]
        )
        for machine in self._machines:
            for state in DEVICE_STATES:
                count = sum(device.state == state for device in machine.devices)
                devices.add_metric([machine.name, state], count)
            for device in machine.devices:
                jobs.add_metric([machine.name, device.name], device.jobs)
        yield devices
        yield jobs
        yield GaugeMetricFamily(
            "impasto_workers_wanted",
            "Workers that the running and waiting jobs want",
            value=self._wanted,
        )

    async def _ask(self) -> tuple[Sequence[Machine], int]:
        return await self._fleet.machines(), self._fleet.wanted_workers()[1]

    def _read(self) -> None:
        """Asks the fleet, in its event loop. If it does not answer soon, the last answer stays."""
        asked = self._ask()
        try:
            answer = asyncio.run_coroutine_threadsafe(asked, self._loop)
        except RuntimeError:
            # The server is shutting down, and the loop has ended.
            asked.close()
            return
        try:
            self._machines, self._wanted = answer.result(_FLEET_SECONDS)
        except concurrent.futures.TimeoutError:
            answer.cancel()
        except Exception as error:
            _log.error("machines not counted error=%r", str(error))


def _impatient(handler: Any) -> Any:
    """Returns a request handler that closes silent connections: each occupies a thread and an open file."""

    class Handler(handler):  # type: ignore[misc]
        timeout = _PATIENCE

        def handle(self) -> None:
            with contextlib.suppress(TimeoutError):
                super().handle()

    return Handler
