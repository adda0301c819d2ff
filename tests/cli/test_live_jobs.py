"""The jobs of the live table."""

from __future__ import annotations

import pytest

import impasto
from impasto.cli.live_jobs import LiveJobs
from impasto.job import Job
from support.job_server import Jobs, serving
from support.samples import coded, photo
from support.server_process import PATIENCE, running_server, until

IMAGE = coded(photo())


def test_the_table_follows_all_jobs_with_one_stream() -> None:
    with running_server("--mock", "--port", "0") as server, impasto.Client(server.address) as client:
        done = client.create_job(IMAGE, IMAGE, evaluations=1)
        with client.watch(done) as painting:
            painting.result()
        listings = []

        def look() -> list[Job]:
            listings.append(1)
            return list(client.jobs())

        live = LiveJobs(client, look, lambda job: job.title != "hidden")
        assert live.listed.wait(PATIENCE)
        hidden = client.create_job(IMAGE, IMAGE, evaluations=100_000, title="hidden")
        # Of jobs whose previews nobody wants, the oldest is painted first.
        client.pause(hidden)
        shown = client.create_job(IMAGE, IMAGE, evaluations=100_000)
        until(lambda: live.now()[0], lambda jobs: bool(jobs[0].progress) and jobs[0].name == shown.name)
        assert [job.name for job in live.now()[0]] == [shown.name, done.name]
        client.cancel(shown)
        until(lambda: live.now()[0][0].state, lambda state: state == "cancelled")
        client.delete(shown)
        client.delete(hidden)
        until(lambda: [job.name for job in live.now()[0]], lambda names: names == [done.name])
        assert live.now()[1] == 0
        assert len(listings) == 1


def test_a_server_without_the_stream_is_asked_again_and_again() -> None:
    with serving(Jobs()) as server, impasto.Client(server.address) as client:
        lists: list[list[Job]] = [[], []]
        live = LiveJobs(client, lambda: lists.pop() if lists else [], lambda job: True)
        until(lambda: len(lists), lambda left: left == 0)
        assert live.now() == ([], 0.0)


def test_an_error_ends_the_table() -> None:
    with serving(Jobs()) as server, impasto.Client(server.address) as client:

        def look() -> list[Job]:
            raise impasto.InvalidRequest("no")

        live = LiveJobs(client, look, lambda job: True)
        assert live.listed.wait(PATIENCE)
        with pytest.raises(impasto.InvalidRequest, match="no"):
            live.now()
