"""How busy the devices and the tenants were in the last minute, in constant memory for each."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 60


class LastMinute:
    """A sum over the last minute: one number for each second."""

    def __init__(self) -> None:
        self._sums = [0.0] * _SECONDS
        self._second = 0

    def add(self, amount: float, second: int) -> None:
        """Adds an amount.

        Args:
            amount: what is added.
            second: the current second; never less than before.
        """
        self._forget(second)
        self._sums[second % _SECONDS] += amount

    def total(self, second: int) -> float:
        """Returns the sum of the minute that ends with the current second."""
        self._forget(second)
        return sum(self._sums)

    def _forget(self, second: int) -> None:
        if second != self._second:
            for old in range(max(self._second + 1, second - _SECONDS + 1), second + 1):
                self._sums[old % _SECONDS] = 0.0
            self._second = second


class _Device:
    def __init__(self) -> None:
        self.seconds, self.evaluations = LastMinute(), LastMinute()


class _Tenant:
    def __init__(self) -> None:
        self.seconds, self.ever = LastMinute(), 0.0


class Activity:
    """Sums up the device time and the evaluations of all jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: returns the time in seconds; it never goes back.
        """
        self._clock = clock
        self._begin = clock()
        self._devices: dict[str, _Device] = {}
        self._tenants: dict[str, _Tenant] = {}

    def worked(self, tenant: str, device: str, seconds: float, evaluations: int) -> None:
        """A device has worked for a tenant.

        Args:
            tenant: owner of the job.
            device: name of the device.
            seconds: device time.
            evaluations: evaluations that were made in this time; 0 if there was other work.
        """
        second = int(self._clock())
        if device not in self._devices:
            self._devices[device] = _Device()
        if tenant not in self._tenants:
            self._tenants[tenant] = _Tenant()
        of_device, of_tenant = self._devices[device], self._tenants[tenant]
        of_device.seconds.add(seconds, second)
        of_device.evaluations.add(evaluations, second)
        of_tenant.seconds.add(seconds, second)
        of_tenant.ever += seconds

    def load(self, device: str) -> float:
        """Returns the share of the last minute (or since the start) for which a device worked, 0 to 1."""
        if device not in self._devices:
            return 0.0
        return min(1.0, self._devices[device].seconds.total(int(self._clock())) / self._span())

    def evaluations_per_second(self, device: str) -> float:
        """Returns the evaluations per second of the last minute, or since the start."""
        if device not in self._devices:
            return 0.0
        return self._devices[device].evaluations.total(int(self._clock())) / self._span()

    def tenants(self) -> list[str]:
        """Returns the tenants that had device time."""
        return list(self._tenants)

    def device_seconds(self, tenant: str) -> float:
        """Returns the device time of a tenant since the start, in seconds."""
        return self._tenants[tenant].ever if tenant in self._tenants else 0.0

    def shares(self) -> dict[str, float]:
        """Returns each tenant's share of all device time of the last minute, 0 to 1."""
        second = int(self._clock())
        totals = {name: tenant.seconds.total(second) for name, tenant in self._tenants.items()}
        whole = sum(totals.values())
        return {name: total / whole if whole else 0.0 for name, total in totals.items()}

    def _span(self) -> float:
        """The time in seconds that the sums are of. The current second is not over yet."""
        now = self._clock()
        return max(1.0, min(_SECONDS - 1 + now % 1, now - self._begin))
