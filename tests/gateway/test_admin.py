"""`impasto-server fleet`: what it shows, what it changes, and its errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.admin import ADMIN_FILE
from impasto_server.gateway.admin_client import AdminClient, AdminError
from support.fake_fleet import FakeFleet, serving
from support.samples import stylize_request
from support.server_process import PATIENCE, running_server, until

TABLE = """\
machine  address   device          state    jobs    memory  restarts  description
render1  10.0.0.1  render1/cuda:0  ready     2/8  70.0 GiB         0  a test
render2  10.0.0.2  render2/cuda:0  ready     2/8  70.0 GiB         1  a test
render3  10.0.0.3                  joining

2 workers now, 3 wanted, no maximum; 5 jobs wait for a device
The Ray cluster head:6379 cannot be reached (no answer).
"""


def command(*arguments: object) -> list[str]:
    return [*module_command("impasto_server"), "fleet", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said that could not be carried out: one line."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path, as data folders have: those of pytest are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="h") as folder:
        yield Path(folder)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FakeFleet]:
    fake = FakeFleet()
    with serving(fake, tmp_path):
        yield fake


def test_the_table_shows_every_machine_and_device(fleet: FakeFleet, tmp_path: Path) -> None:
    done = run("--data-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == TABLE
    assert run(IMPASTO_DATA_DIR=str(tmp_path)).stdout == TABLE


def test_without_machines_there_is_no_table(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.by_name.clear()
    assert run("--data-dir", tmp_path).stdout.startswith("There are no machines yet.\n\n2 workers now")
    assert refused(run("drain", "x", "--data-dir", tmp_path)) == (
        "impasto-server: there is no machine 'x'; there are no machines yet"
    )


def test_the_json_has_every_field(fleet: FakeFleet, tmp_path: Path) -> None:
    data = json.loads(run("--data-dir", tmp_path, "--json").stdout)
    assert [machine["name"] for machine in data["machines"]] == ["render1", "render2", "render3"]
    assert data["machines"][1] == {
        "name": "render2",
        "address": "10.0.0.2",
        "state": "ready",
        "devices": [
            {
                "name": "render2/cuda:0",
                "state": "ready",
                "jobs": 2,
                "places": 8,
                "memory_bytes": 70 << 30,
                "restarts": 1,
                "description": "a test",
            }
        ],
        "resources": {"GPU": 1.0},
    }
    del data["machines"]
    assert data == {
        "workers": 2,
        "wanted_workers": 3,
        "max_workers": 0,
        "waiting_jobs": 5,
        "trouble": FakeFleet.trouble,
    }


def test_a_drained_machine_is_shown_and_can_be_used_again(fleet: FakeFleet, tmp_path: Path) -> None:
    done = run("drain", "render2", "--data-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "render2 gets no more jobs. 2 jobs will move to render1.\n"
    assert re.search(r"^render2 .* draining +2/8 ", run("--data-dir", tmp_path).stdout, re.MULTILINE)
    fleet.remove_jobs("render2")
    assert re.search(r"^render2 .* drained +0/8 ", run("--data-dir", tmp_path).stdout, re.MULTILINE)
    assert run("undrain", "render2", "--data-dir", tmp_path).stdout == "render2 gets jobs again.\n"
    assert run("--data-dir", tmp_path).stdout.count(" ready ") == 2


def test_draining_the_last_machine_says_that_jobs_wait(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.drain("render1")
    assert run("drain", "render2", "--data-dir", tmp_path).stdout == (
        "render2 gets no more jobs. No other machine is ready: jobs wait until one is, or until "
        "`impasto-server fleet undrain render2`.\n"
    )


@pytest.mark.parametrize("change", ["drain", "undrain"])
def test_an_unknown_machine_is_refused_with_the_names_of_the_machines(
    fleet: FakeFleet, tmp_path: Path, change: str
) -> None:
    assert refused(run(change, "redner1", "--data-dir", tmp_path)) == (
        "impasto-server: there is no machine 'redner1'; the machines are render1, render2, render3"
    )
    assert {machine.state for machine in fleet.by_name.values()} == {"ready", "joining"}


@contextlib.contextmanager
def waiting_drain(data: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that waits until render2 has no jobs, and has said how many it has."""
    arguments = command("drain", "render2", "--wait", "--data-dir", data)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "jobs left: 2\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "end", [lambda fleet: fleet.remove_jobs("render2"), lambda fleet: fleet.by_name.pop("render2")]
)
def test_drain_can_wait_until_the_machine_has_no_jobs_or_is_gone(
    fleet: FakeFleet, tmp_path: Path, end: Callable[[FakeFleet], object]
) -> None:
    with waiting_drain(tmp_path) as process:
        time.sleep(1)
        assert process.poll() is None
        end(fleet)
        said, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert said.splitlines()[-1] == "render2 has no jobs."


def test_drain_stops_waiting_if_the_machine_is_used_again(fleet: FakeFleet, tmp_path: Path) -> None:
    with waiting_drain(tmp_path) as process:
        fleet.undrain("render2")
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert errors == "impasto-server: render2 has been taken into use again\n"


def test_an_error_of_the_server_is_told_without_a_stack_trace(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.broken = True
    assert refused(run("--data-dir", tmp_path)) == (
        "impasto-server: the server failed to answer; its log says why"
    )


def test_without_a_server_the_command_names_the_data_folder(tmp_path: Path) -> None:
    assert refused(run("--data-dir", tmp_path)) == (
        f"impasto-server: no server runs on the data folder {tmp_path} on this machine; start one, or give "
        "another folder with --data-dir"
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"socket": 3}', b"\xff"])
def test_a_damaged_file_of_the_server_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ADMIN_FILE).write_bytes(content)
    with pytest.raises(AdminError, match=rf"{ADMIN_FILE} is damaged; restart the server"):
        AdminClient(tmp_path)


def test_options_belong_after_the_command(tmp_path: Path) -> None:
    said = refused(run("--data-dir", tmp_path, "drain", "render1"))
    assert "give options after `impasto-server fleet drain`" in said


def test_only_the_servers_own_user_can_call_it(fleet: FakeFleet, tmp_path: Path) -> None:
    file = tmp_path / ADMIN_FILE
    folder = Path(json.loads(file.read_text())["socket"]).parent
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_server_removes_its_file_but_not_that_of_its_successor(tmp_path: Path) -> None:
    with serving(FakeFleet(), tmp_path):
        assert (tmp_path / ADMIN_FILE).exists()
    assert not list(tmp_path.iterdir())
    with serving(FakeFleet(), tmp_path), serving(FakeFleet(), tmp_path / "."):
        # The inner server has replaced the file, and has removed it when it ended.
        (tmp_path / ADMIN_FILE).write_text("another server's")
    assert (tmp_path / ADMIN_FILE).read_text() == "another server's"


def test_the_socket_is_in_the_data_folder(fleet: FakeFleet, tmp_path: Path) -> None:
    """Where other programs see it, even if systemd hides the server's folder for temporary files."""
    assert tmp_path in Path(json.loads((tmp_path / ADMIN_FILE).read_text())["socket"]).parents


@pytest.mark.parametrize("name", ["a b", "ä", "100%20", "a?b#c"])
def test_the_data_folder_can_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with serving(FakeFleet(), folder), AdminClient(folder) as client:
        assert len(client.machines().machines) == 3


def test_the_data_folder_and_the_folder_for_temporary_files_can_have_long_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with serving(FakeFleet(), long), AdminClient(long) as client:
        assert len(client.machines().machines) == 3
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with serving(FakeFleet(), long), AdminClient(long) as client:
        assert len(client.machines().machines) == 3


def test_a_server_that_cannot_write_its_file_serves_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(FakeFleet(), tmp_path / "missing"):
        assert "administrator's commands cannot be served" in caplog.text


@pytest.mark.slow
def test_a_drained_server_paints_no_jobs_until_it_is_used_again(tmp_path: Path) -> None:
    arguments = ("--mock", "--port", "0", "--mock-evaluation-time", "5ms", "--data-dir", str(tmp_path))
    with running_server(*arguments, "--metrics-port", "0") as server:
        server.ready()

        def fleet() -> dict[str, object]:
            with AdminClient(tmp_path) as client:
                (machine,) = client.machines().machines
                (device,) = machine.devices
                return {"machine": machine.state, "device": device.state, "jobs": device.jobs}

        assert fleet() == {"machine": "ready", "device": "ready", "jobs": 0}
        (device,) = server.info().devices
        # Long enough for two commands to be started while it is painted.
        long = pb.Recipe(evaluations=2000)
        request = pb.CreateJobRequest(spec=stylize_request(recipe=long).spec)
        job = server.stub.CreateJob(request, timeout=PATIENCE)
        until(fleet, lambda found: found["jobs"] == 1)
        (name,) = re.findall(r"^(\S+) +this machine ", run("--data-dir", tmp_path).stdout, re.MULTILINE)
        assert run("drain", name, "--wait", "--data-dir", tmp_path).returncode == 0
        assert fleet() == {"machine": "drained", "device": "leaving", "jobs": 0}
        assert server.info().devices[0].state == pb.DEVICE_STATE_DRAINING

        address = until(lambda: re.search(r"event=metrics address=(\S+)", server.log), bool)
        assert address is not None
        with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=PATIENCE) as answer:
            metrics = answer.read().decode()
        assert f'impasto_devices{{machine="{name}",state="leaving"}} 1.0' in metrics
        assert f'impasto_devices{{machine="{name}",state="ready"}} 0.0' in metrics
        assert f'impasto_device_jobs{{device="{device.name}",machine="{name}"}} 0.0' in metrics

        assert server.stub.GetJob(pb.GetJobRequest(name=job.name), timeout=PATIENCE).state == (
            pb.JOB_STATE_QUEUED
        )
        assert run("undrain", name, "--data-dir", tmp_path).returncode == 0
        *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=PATIENCE)
        assert last.job.state == pb.JOB_STATE_SUCCEEDED
        starts = re.findall(r"job started.* job=(\S+) device=(\S+) evaluation=(\d+)", server.log)
        assert [start[:2] for start in starts] == [(job.name, device.name)] * 2
        assert int(starts[1][2]) > 0

        server.process.kill()
        server.process.wait(PATIENCE)
        assert (tmp_path / ADMIN_FILE).exists()
        assert "no server runs on the data folder" in refused(run("--data-dir", tmp_path))
