"""The positions of waiting jobs."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from impasto_server.jobs.queues import Queues


@dataclasses.dataclass
class QueuedJob:
    name: str
    tenant: str
    rank: tuple[int, int]
    waiting: bool = True


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 7), st.integers(-1, 1), st.booleans()),
        max_size=30,
    )
)
def test_a_position_counts_the_waiting_jobs_of_the_tenant_that_come_before(
    changes: list[tuple[int, int, bool]],
) -> None:
    queues, jobs = Queues(), {n: QueuedJob(f"jobs/{n}", "ab"[n % 2], (0, n), waiting=False) for n in range(8)}
    for number, priority, waiting in changes:
        jobs[number].rank = (-priority, number)
        jobs[number].waiting = waiting
        queues.update(jobs[number])
    waiting_jobs = [job for job in jobs.values() if job.waiting]
    assert len(queues) == len(waiting_jobs)
    for job in jobs.values():
        before = [o for o in waiting_jobs if o.tenant == job.tenant and o.rank < job.rank]
        assert queues.position(job) == 1 + len(before)
