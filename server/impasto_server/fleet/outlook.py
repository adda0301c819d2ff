"""What a job would find if it came now: its device, and those with whom it would share it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from impasto_server.fleet.placement import Candidate, Place, Served, Waiting, plan
from impasto_server.fleet.workers import Worker


@dataclasses.dataclass(frozen=True)
class Load:
    """The unfinished jobs of one tenant on a device, with its part of those that wait for one.

    Attributes:
        weight: the tenant's share of device time relative to other tenants.
        seconds: device time that its jobs still need, as far as that is known.
        unknown: number of its jobs whose time is not known. A waiting job counts as much as the device takes
            of it: with two devices, half.
    """

    weight: float
    seconds: float = 0.0
    unknown: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What a job would find.

    Attributes:
        worker: paints it.
        loads: the jobs of all tenants, by the tenants' names.
        other_jobs: number of unfinished jobs that are on the device or wait for one.
    """

    worker: Worker
    loads: Mapping[str, Load]
    other_jobs: int


def device_of_newcomer(candidate: Candidate, places: Sequence[Place], served: Served) -> str | None:
    """Returns the device on which a job would be placed if no other job waited; None if there is none.

    If no device has a free slot, it is the one on which one is likely to be free first: that with the fewest
    jobs, then the most free memory.
    """
    start = plan(Waiting([candidate]), places, served).start
    if start:
        return start[0][1]
    large = [place for place in places if place.device not in candidate.too_small]
    if not large:
        return None
    return min(large, key=lambda place: (len(place.jobs), -place.free_bytes)).device


def time_left(tenant: str, seconds: float, weight: float, loads: Mapping[str, Load]) -> float:
    """Returns the time until the result of a tenant's new job.

    The tenant's own jobs are finished first, so that its work is W = its other jobs + this one. Meanwhile,
    each other tenant gets time in proportion to its weight, but not more than it needs: the sum over the
    tenants of min(need, W · weight / this tenant's weight). A job whose time is not known is taken to need
    as much as the new one.

    Args:
        tenant: the tenant.
        seconds: device time of the new job.
        weight: of the tenant.
        loads: the jobs of all tenants, by the tenants' names.
    """
    needs = {name: load.seconds + load.unknown * seconds for name, load in loads.items()}
    own = needs.pop(tenant, 0.0) + seconds
    others = (min(need, own * loads[name].weight / weight) for name, need in needs.items())
    return own + math.fsum(others)
