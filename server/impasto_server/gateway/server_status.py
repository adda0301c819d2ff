"""The state of the whole server, for its administrator."""

from __future__ import annotations

import asyncio
import collections
import importlib.metadata
import os
from collections.abc import Sequence
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from impasto.v1 import admin_pb2
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.run import Run
from impasto_server.fleet.worker_process import Death
from impasto_server.gateway.access import Access
from impasto_server.gateway.activity import Activity
from impasto_server.gateway.tokens import Tenant
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.states import now

_SHOWN_ERRORS = 20

_STATES = {
    pb.JOB_STATE_QUEUED: "queued_jobs",
    pb.JOB_STATE_RUNNING: "running_jobs",
    pb.JOB_STATE_PAUSED: "paused_jobs",
}


class Devices(Protocol):
    """The part of a fleet that is shown; see `Fleet`."""

    @property
    def trouble(self) -> str: ...

    @property
    def deaths(self) -> Sequence[Death]: ...

    async def describe_devices(self) -> Sequence[pb.Device]: ...


class Runs(Protocol):
    """Knows which jobs are on a device; see `Placer`."""

    @property
    def runs(self) -> Sequence[Run]: ...


class StatusTaker:
    """Puts the state of the server together from what its parts know."""

    def __init__(
        self, devices: Devices, runs: Runs, registry: Registry, access: Access, activity: Activity
    ) -> None:
        """
        Args:
            devices: the devices.
            runs: knows which jobs are on a device.
            registry: the jobs.
            access: knows the tenants and the open calls.
            activity: what devices and tenants did in the last minute.
        """
        self._devices = devices
        self._runs = runs
        self._registry = registry
        self._access = access
        self._activity = activity
        self._start = now()

    async def take(self) -> admin_pb2.ServerStatus:
        """Returns the state as it is now.

        Raises:
            StoreError: the data folder cannot be read.
            TokensError: the tokens cannot be read.
        """
        tenants = self._tenants()
        store = self._registry.store
        usage = await store.read(store.store.usage.measure, list(tenants))
        described = sorted(await self._devices.describe_devices(), key=lambda device: device.name)
        devices = [self._device(device) for device in described]
        status = admin_pb2.ServerStatus(
            time=now(),
            version=importlib.metadata.version("impasto"),
            start_time=self._start,
            devices=devices,
            open_streams=self._access.open_streams,
            memory_bytes=_memory_bytes(),
            stored_bytes=usage.stored_bytes,
            free_disk_bytes=usage.free_bytes,
            trouble=self._devices.trouble,
            recent_errors=self._errors(),
        )
        for name, tenant in tenants.items():
            tenant.stored_bytes = usage.by_tenant[name]
            for field in _STATES.values():
                setattr(status, field, getattr(status, field) + getattr(tenant, field))
        status.tenants.extend(tenants[name] for name in sorted(tenants))
        waits = [job.queued_at for job in self._registry if job.waiting and not job.has_started]
        if waits:
            status.longest_wait.CopyFrom(_duration(asyncio.get_running_loop().time() - min(waits)))
        return status

    def _device(self, device: pb.Device) -> admin_pb2.DeviceStatus:
        runs = [run for run in self._runs.runs if run.worker.device == device.name]
        used = sum(run.job.record.job.memory_plan.estimated_bytes for run in runs if run.started)
        return admin_pb2.DeviceStatus(
            device=device,
            load=self._activity.load(device.name),
            used_memory_bytes=used,
            jobs=[run.job.name for run in runs],
            evaluations_per_second=self._activity.evaluations_per_second(device.name),
        )

    def _tenants(self) -> dict[str, admin_pb2.TenantStatus]:
        """Returns the tenants that have a token, unfinished jobs or device time, without what they store."""
        known = {tenant.name: tenant for tenant in self._access.tenants()}
        shares = self._activity.shares()
        tenants = {
            name: admin_pb2.TenantStatus(
                name=name,
                weight=self._access.weight(name),
                device_time=_duration(self._activity.device_seconds(name)),
                recent_share=shares.get(name, 0.0),
                administrator=known.get(name, Tenant(name)).administrator,
            )
            for name in {*known, *self._registry.tenants, *self._activity.tenants()}
        }
        counts = collections.Counter((job.tenant, job.state) for job in self._registry)
        for (name, state), number in counts.items():
            setattr(tenants[name], _STATES[state], number)
        return tenants

    def _errors(self) -> list[admin_pb2.RecentError]:
        failures = [
            (
                failure.time,
                admin_pb2.RecentError(
                    message=failure.message, job=failure.job, tenant=failure.tenant, device=failure.device
                ),
            )
            for failure in self._registry.failures
        ]
        deaths = [
            (
                death.time,
                admin_pb2.RecentError(
                    message=f"the worker has died ({death.how}) and is started again", device=death.device
                ),
            )
            for death in self._devices.deaths
        ]
        newest = sorted([*failures, *deaths], key=lambda error: error[0], reverse=True)[:_SHOWN_ERRORS]
        for seconds, error in newest:
            error.time.CopyFrom(_time(seconds))
        return [error for _, error in newest]


def _time(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(round(seconds * 1e9))
    return moment


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(max(0, round(seconds * 1e9)))
    return duration


def _memory_bytes() -> int:
    """The memory of this process in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
