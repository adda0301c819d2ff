"""The service `impasto.v1.Admin`, the right to use it, and `impasto-server admin`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.test_jobs import ENDLESS, create_request, refusal
from impasto.python_programs import module_command
from impasto.v1 import admin_pb2, admin_pb2_grpc
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.tokens import Tokens
from support.server_process import PATIENCE, ServerProcess, running_server, until

SERVICE = admin_pb2.DESCRIPTOR.services_by_name["Admin"]


class House:
    """A mock server with an administrator and two other tenants.

    Attributes:
        server: the server.
        data: its data folder.
        tokens: its tokens.
        token: the token of each tenant.
        admin: the calls of the service.
    """

    def __init__(self, server: ServerProcess, data: Path, token: dict[str, str]) -> None:
        self.server = server
        self.data = data
        self.tokens = Tokens(data / "tokens.json")
        self.token = token
        self.admin = admin_pb2_grpc.AdminStub(server.channel)

    def as_(self, tenant: str) -> dict[str, object]:
        """The arguments of a call by a tenant."""
        return {"metadata": [("authorization", f"Bearer {self.token[tenant]}")], "timeout": PATIENCE}

    def create(self, tenant: str, **fields: object) -> str:
        """Makes a job that does not end by itself."""
        request = create_request(recipe=ENDLESS, **fields)
        return str(self.server.stub.CreateJob(request, **self.as_(tenant)).name)

    def get(self, tenant: str, name: str) -> pb.Job:
        return self.server.stub.GetJob(pb.GetJobRequest(name=name), **self.as_(tenant))

    def status(self) -> admin_pb2.ServerStatus:
        return self.admin.GetStatus(admin_pb2.GetStatusRequest(), **self.as_("boss"))

    def list(self, **fields: object) -> admin_pb2.ListAllJobsResponse:
        return self.admin.ListAllJobs(admin_pb2.ListAllJobsRequest(**fields), **self.as_("boss"))  # type: ignore

    def worker(self) -> int:
        """The process of the worker."""
        (pid,) = re.findall(r"worker started pid=(\d+)", self.server.log)
        return int(pid)

    def until_painted(self, name: str) -> None:
        until(lambda: self.get("anna", name), lambda job: job.progress.evaluation > 0)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="h") as folder:
        tokens = Tokens(Path(folder) / "tokens.json")
        token = {
            "boss": tokens.add("boss", administrator=True),
            "anna": tokens.add("anna", weight=2),
            "bert": tokens.add("bert"),
        }
        options = ("--mock", "--port", "0", "--data-dir", folder, "--tokens-file", str(tokens.path))
        with running_server(*options, "--mock-evaluation-time", "10ms") as server:
            yield House(server, Path(folder), token)


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_no_call_is_for_others(house: House, method: str) -> None:
    request = getattr(admin_pb2, SERVICE.methods_by_name[method].input_type.name)()

    def call(**caller: object) -> None:
        answer = getattr(house.admin, method)(request, **caller)
        if SERVICE.methods_by_name[method].server_streaming:
            list(answer)

    assert refusal(lambda: call(**house.as_("anna")))[:2] == (
        grpc.StatusCode.PERMISSION_DENIED,
        "NOT_ADMINISTRATOR",
    )
    assert refusal(lambda: call(timeout=PATIENCE))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")


def test_the_refusal_says_what_to_do(house: House) -> None:
    with pytest.raises(grpc.RpcError, match="`impasto-server token admin NAME on`"):
        house.admin.GetStatus(admin_pb2.GetStatusRequest(), **house.as_("anna"))


def test_a_caller_is_told_of_its_right(house: House) -> None:
    def info(tenant: str) -> pb.GetServerInfoResponse:
        return house.server.stub.GetServerInfo(pb.GetServerInfoRequest(), **house.as_(tenant))

    assert (info("boss").administrator, info("anna").administrator) == (True, False)


def test_a_stream_ends_when_the_right_is_taken_away(house: House) -> None:
    house.tokens.set_administrator("bert", True)
    request = admin_pb2.WatchStatusRequest(interval=Duration(nanos=500_000_000))

    def watch() -> Iterator[admin_pb2.ServerStatus]:
        return house.admin.WatchStatus(request, **house.as_("bert"))

    def first() -> Iterator[admin_pb2.ServerStatus] | None:
        stream = watch()
        try:
            next(stream)
        except grpc.RpcError:
            return None
        return stream

    stream = until(first, lambda stream: stream is not None)
    assert stream is not None
    assert next(stream).open_streams >= 1
    house.tokens.set_administrator("bert", False)
    assert refusal(stream)[:2] == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ADMINISTRATOR")


def test_the_status_shows_devices_tenants_and_errors(house: House) -> None:
    name = house.create("anna")
    house.until_painted(name)
    failed = create_request(recipe=pb.Recipe(seed=9001, evaluations=4))
    failing = house.server.stub.CreateJob(failed, **house.as_("bert")).name
    until(lambda: house.get("bert", failing), lambda job: job.state == pb.JOB_STATE_FAILED)
    status = house.status()
    (device,) = status.devices
    assert device.device.name == "mock"
    assert name in device.jobs
    assert device.used_memory_bytes > 0
    assert 0 < device.load <= 1
    assert device.evaluations_per_second > 0
    by_name = {tenant.name: tenant for tenant in status.tenants}
    assert [tenant.name for tenant in status.tenants] == ["anna", "bert", "boss"]
    anna, bert, boss = by_name["anna"], by_name["bert"], by_name["boss"]
    assert (anna.weight, anna.running_jobs, anna.administrator) == (2, 1, False)
    assert (boss.weight, boss.running_jobs, boss.administrator) == (1, 0, True)
    assert anna.device_time.ToNanoseconds() > 0
    assert sum(tenant.recent_share for tenant in status.tenants) == pytest.approx(1)
    assert anna.stored_bytes > 0 == boss.stored_bytes
    assert bert.stored_bytes > 0
    assert status.running_jobs == 1
    assert 0 < status.stored_bytes < status.free_disk_bytes
    assert status.memory_bytes > 10_000_000
    assert status.start_time.ToNanoseconds() < status.time.ToNanoseconds()
    error = status.recent_errors[0]
    assert (error.job, error.tenant, error.device) == (failing, "bert", "mock")
    assert error.message
    house.admin.CancelAnyJob(admin_pb2.CancelAnyJobRequest(name=name), **house.as_("boss"))


def test_the_death_of_a_worker_is_shown(house: House) -> None:
    def is_ready(status: admin_pb2.ServerStatus) -> bool:
        return status.devices[0].device.state == pb.DEVICE_STATE_READY

    until(house.status, is_ready)
    os.kill(house.worker(), signal.SIGKILL)
    error = until(house.status, lambda status: any(not e.job for e in status.recent_errors))
    death = next(e for e in error.recent_errors if not e.job)
    assert death.device == "mock"
    assert re.match(r"the worker has died \(.+\) and is started again", death.message)
    until(house.status, is_ready)


def test_intervals_are_checked(house: House) -> None:
    for seconds in (0, 61):
        request = admin_pb2.WatchStatusRequest(interval=Duration(seconds=seconds))
        code, _, fields = refusal(house.admin.WatchStatus(request, **house.as_("boss")))
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"interval"})


def test_all_jobs_are_listed_page_by_page(house: House) -> None:
    made = [house.create(tenant, title=tenant) for tenant in ("anna", "bert", "anna")]
    states = [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING]
    first = house.list(page_size=2, states=states)
    second = house.list(page_size=2, states=states, page_token=first.next_page_token)
    listed = [*first.jobs, *second.jobs]
    assert [(each.tenant, each.job.name) for each in listed] == [
        ("anna", made[2]),
        ("bert", made[1]),
        ("anna", made[0]),
    ]
    assert not second.next_page_token
    assert not any(each.job.HasField("spec") for each in listed)
    assert [each.job.name for each in house.list(tenant="bert", states=states).jobs] == [made[1]]
    for wrong, field in (
        ({"page_size": 201}, "page_size"),
        ({"states": [99]}, "states"),
        ({"page_token": "x"}, "page_token"),
        # A token of one list is not one of another.
        ({"page_token": first.next_page_token}, "page_token"),
    ):
        code, _, fields = refusal(lambda wrong=wrong: house.list(**wrong))  # type: ignore[misc]
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {field})
    for name in made:
        house.admin.CancelAnyJob(admin_pb2.CancelAnyJobRequest(name=name), **house.as_("boss"))


def test_a_held_job_waits_for_the_administrator(house: House) -> None:
    name = house.create("anna")
    house.until_painted(name)
    held = house.admin.HoldJob(admin_pb2.HoldJobRequest(name=name), **house.as_("boss"))
    assert (held.tenant, held.job.state, held.job.held) == ("anna", pb.JOB_STATE_PAUSED, True)
    resume = pb.ResumeJobRequest(name=name)
    code, reason, subjects = refusal(lambda: house.server.stub.ResumeJob(resume, **house.as_("anna")))
    assert (code, reason, subjects) == (grpc.StatusCode.FAILED_PRECONDITION, "HELD", {name})
    again = admin_pb2.ResumeAnyJobRequest(name=name)
    assert refusal(lambda: house.admin.ResumeAnyJob(again, **house.as_("boss")))[1] == "HELD"
    # It leaves the device with a checkpoint.
    until(house.status, lambda status: name not in status.devices[0].jobs)
    painted = house.get("anna", name).progress.evaluation
    house.admin.ReleaseJob(admin_pb2.ReleaseJobRequest(name=name), **house.as_("boss"))
    went_on = until(lambda: house.get("anna", name), lambda job: job.progress.evaluation > painted)
    assert (went_on.state, went_on.held) == (pb.JOB_STATE_RUNNING, False)
    house.admin.CancelAnyJob(admin_pb2.CancelAnyJobRequest(name=name), **house.as_("boss"))
    assert house.get("anna", name).state == pb.JOB_STATE_CANCELLED


def test_any_job_is_paused_and_resumed_and_the_log_says_who_did_it(house: House) -> None:
    name = house.create("bert")
    boss = house.as_("boss")
    paused = house.admin.PauseAnyJob(admin_pb2.PauseAnyJobRequest(name=name), **boss)
    assert (paused.job.state, paused.job.held) == (pb.JOB_STATE_PAUSED, False)
    resumed = house.admin.ResumeAnyJob(admin_pb2.ResumeAnyJobRequest(name=name), **boss)
    assert resumed.job.state == pb.JOB_STATE_QUEUED
    house.admin.CancelAnyJob(admin_pb2.CancelAnyJobRequest(name=name), **boss)
    said = re.findall(rf"by=boss action=(\w+) job={name} tenant=bert", house.server.log)
    assert said == ["pause", "resume", "cancel"]
    missing = admin_pb2.PauseAnyJobRequest(name="jobs/none")
    assert refusal(lambda: house.admin.PauseAnyJob(missing, **boss))[0] == grpc.StatusCode.NOT_FOUND
    late = admin_pb2.HoldJobRequest(name=name)
    assert refusal(lambda: house.admin.HoldJob(late, **boss))[1] == "JOB_IS_OVER"


def test_a_hold_survives_a_kill(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="h") as folder:
        options = ("--mock", "--port", "0", "--data-dir", folder)
        with running_server(*options) as server:
            name = server.stub.CreateJob(create_request(recipe=ENDLESS), timeout=PATIENCE).name
            admin_pb2_grpc.AdminStub(server.channel).HoldJob(
                admin_pb2.HoldJobRequest(name=name), timeout=PATIENCE
            )
            server.process.kill()
        with running_server(*options) as server:
            job = server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)
            assert (job.state, job.held) == (pb.JOB_STATE_PAUSED, True)


# The commands.


def run(house: House, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*module_command("impasto_server"), "admin", arguments[0], "--data-dir", str(house.data)]
    return subprocess.run(
        [*command, *map(str, arguments[1:])], capture_output=True, text=True, timeout=PATIENCE
    )


def test_the_commands_need_no_token_and_show_what_the_calls_show(house: House) -> None:
    name = house.create("anna", title="Sea")
    house.until_painted(name)
    status = run(house, "status")
    assert (status.returncode, status.stderr) == (0, "")
    assert re.search(r"^mock +ready +\d+% +[\d.]+/s +1 ", status.stdout, re.MULTILINE)
    assert re.search(r"^anna +2 +\d+% .* administrator$|^boss .* administrator$", status.stdout, re.MULTILINE)
    data = json.loads(run(house, "status", "--json").stdout)
    assert data["devices"][0]["jobs"] == [name]
    listed = run(house, "jobs")
    assert re.search(rf"^{name} +anna +running +\d+/\d+ +mock .* Sea$", listed.stdout, re.MULTILINE)
    assert run(house, "jobs", "--tenant", "bert").stdout == "There are no such jobs.\n"
    identifier = name.removeprefix("jobs/")
    words = {"hold": "held", "release": "queued", "pause": "paused", "cancel": "cancelled"}
    for action, word in words.items():
        done = run(house, action, "--", identifier)
        assert (done.returncode, done.stdout) == (0, f"{name} of anna: {word}\n")
    assert run(house, "jobs").stdout == "There are no such jobs.\n"
    found = json.loads(run(house, "jobs", "--state", "cancelled", "--json").stdout)
    assert name in [each["job"]["name"] for each in found]
    assert f"by='on this machine' action=hold job={name}" in house.server.log


def test_a_job_that_cannot_be_changed_does_not_keep_the_others_from_it(house: House) -> None:
    name = house.create("bert")
    done = run(house, "cancel", "none", name)
    assert (done.returncode, done.stdout) == (2, f"{name} of bert: cancelled\n")
    assert done.stderr == "impasto-server: jobs/none does not exist\n"
    alone = run(house, "cancel", name)
    assert alone.returncode == 0
    assert run(house, "hold", name).stderr == (
        f"impasto-server: {name} was cancelled, and a final job cannot be changed\n"
    )
