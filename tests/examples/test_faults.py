"""The examples against a fake server that fails in a chosen way."""

from __future__ import annotations

import os
import re
import subprocess

import grpc
import pytest
from google.rpc import error_details_pb2

from impasto.v1 import style_transfer_pb2 as pb
from support.certificates import Authority
from support.example_programs import Program
from support.fake_server import bad_request
from support.job_server import Jobs, serving
from support.server_process import until


@pytest.mark.slow
def test_a_lost_answer_does_not_create_a_second_job(program: Program) -> None:
    with serving(Jobs(lose_answers=2)) as server:
        run = program.paint(server.address)
        assert run.end() == 0, run.said
        assert server.jobs.only().state == pb.JOB_STATE_SUCCEEDED
        assert (program.folder / "out.png").read_bytes() == server.jobs.picture
        assert "shutting down; trying again" in run.said


def test_a_broken_stream_is_resumed_where_it_broke(program: Program) -> None:
    with serving(Jobs(cut_watches=2, cut_downloads=1)) as server:
        run = program.paint(server.address)
        assert run.end() == 0, run.said
        jobs = server.jobs
        assert (program.folder / "out.png").read_bytes() == jobs.picture
        sequences = [watch.after_sequence for watch in jobs.watches]
        assert len(sequences) == 3
        assert sequences[0] == 0
        assert sequences == sorted(set(sequences))
        assert [download.offset for download in jobs.downloads] == [0, 100]


def test_the_program_waits_for_a_server_that_shuts_down(program: Program) -> None:
    with serving(Jobs(drain=True)) as server:
        run = program.paint(server.address)
        assert run.end() == 0, run.said
        assert len(server.jobs.watches) == 2
        assert server.jobs.watches[1].after_sequence > 0


def test_the_program_waits_for_a_server_that_was_killed(program: Program) -> None:
    jobs = Jobs(pace=0.1)
    with serving(jobs) as server:
        run = program.paint(server.address, "--evaluations", 20)
        run.wait_for("evaluation 3/20")
    run.wait_for("trying again")
    assert run.process.poll() is None
    jobs.pace = 0.01
    with serving(jobs, port=int(server.address.rpartition(":")[2])):
        assert run.end() == 0, run.said
    assert (program.folder / "out.png").read_bytes() == jobs.picture


@pytest.mark.parametrize("program", ["ruby"], indirect=True)
def test_a_stream_that_breaks_inside_grpc_is_resumed(program: Program) -> None:
    patch = program.folder / "breaking.rb"
    patch.write_text(
        "require 'grpc'\n"
        "GRPC::ActiveCall.prepend(Module.new do\n"
        "  def receive_and_check_status\n"
        "    before, $broken = $broken, true\n"
        "    raise GRPC::Core::CallError, 'broke inside' unless before\n"
        "    super\n"
        "  end\n"
        "end)\n"
    )
    with serving(Jobs(cut_watches=1)) as server:
        run = program.paint(server.address, RUBYOPT=f"-r{patch}")
        assert run.end() == 0, run.said
        assert "broke inside; trying again" in run.said
        assert (program.folder / "out.png").read_bytes() == server.jobs.picture


def test_a_damaged_picture_is_not_kept(program: Program) -> None:
    with serving(Jobs(damage=True)) as server:
        run = program.paint(server.address)
        assert run.end() == 1
        assert "damaged" in run.said
        assert not (program.folder / "out.png").exists()


def test_the_error_of_a_failed_job_names_the_field_and_what_to_do(program: Program) -> None:
    error = bad_request(spec__recipe__longest_side='needs 9 GB; give "2048" or less')
    with serving(Jobs(error=error)) as server:
        run = program.paint(server.address)
        assert run.end() == 1
        assert 'stylize: spec.recipe.longest_side needs 9 GB; give "2048" or less\n' in run.said
        assert not (program.folder / "out.png").exists()


def test_the_error_of_a_failed_job_without_a_field_says_why(program: Program) -> None:
    with serving(Jobs(error=error_details_pb2.ErrorInfo(reason="MEMORY", domain="impasto"))) as server:
        run = program.paint(server.address)
        assert run.end() == 1
        assert "stylize: too large\n" in run.said


def test_the_program_ends_when_someone_else_cancels_the_job(program: Program) -> None:
    with serving(Jobs(pace=0.1)) as server:
        run = program.paint(server.address, "--evaluations", 1000)
        run.wait_for("evaluation 1/1000")
        server.jobs.only().state = pb.JOB_STATE_CANCELLED
        assert run.end() == 1
        assert "stylize: someone cancelled the job\n" in run.said


def test_ctrl_c_while_the_server_is_away_names_the_job_that_is_not_cancelled(program: Program) -> None:
    with serving(Jobs(pace=0.1)) as server:
        run = program.paint(server.address, "--evaluations", 1000)
        run.wait_for("evaluation 1/1000")
    run.wait_for("trying again")
    run.interrupt()
    assert run.end() == 130
    assert "could not cancel jobs/fake-1: " in run.said


@pytest.mark.slow
def test_tls_with_a_token_from_a_file(program: Program) -> None:
    authority = Authority(program.folder)
    pair = authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.cert.read_bytes())])
    (program.folder / "token").write_text("secret-1\n")
    with serving(Jobs(token="secret-1"), credentials=credentials) as server:
        run = program.paint(server.address, "--tls", "--ca", authority.cert, "--token-file", "token")
        assert run.end() == 0, run.said
        assert (program.folder / "out.png").read_bytes() == server.jobs.picture
        run = program.paint(server.address, "--tls", "--token-file", "token")
        assert run.end() == 1, "the authority is not one that the system trusts"
        assert len(server.jobs.made) == 1


def test_an_unknown_token_is_an_error(program: Program) -> None:
    with serving(Jobs(token="secret-1")) as server:
        run = program.paint(server.address, IMPASTO_TOKEN="secret-2")
        assert run.end() == 1
        assert "stylize: the token is not known; ask for one\n" in run.said
        run = program.paint(server.address, IMPASTO_TOKEN="secret-1")
        assert run.end() == 0, run.said


def test_no_command_line_shows_the_token(program: Program) -> None:
    with serving(Jobs(pace=0.1, token="secret-1")) as server:
        run = program.paint(server.address, "--evaluations", 1000, IMPASTO_TOKEN="secret-1")
        run.wait_for("evaluation 1/1000")
        group = subprocess.run(
            ["ps", "-e", "-o", "pgid=,args="], capture_output=True, text=True, check=True
        ).stdout
        lines = [line for line in group.splitlines() if line.split()[0] == str(os.getpgid(run.process.pid))]
        assert lines
        assert not any("secret-1" in line for line in lines)
        run.interrupt()
        assert run.end() == 130
        until(lambda: server.jobs.only().state, lambda state: state == pb.JOB_STATE_CANCELLED)


@pytest.mark.slow
def test_an_unreachable_server_is_an_error(program: Program) -> None:
    with serving(Jobs()) as server:
        address = server.address
    run = program.paint(address)
    assert run.end() == 1
    assert re.search(r"(?i)stylize: .*refused", run.said)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("content.png", "style.png"), "give CONTENT, STYLE and OUT"),
        (("content.png", "style.png", "out.png", "--size", "12x"), "--size 12x"),
        (("content.png", "style.png", "out.png", "--effort", "great"), "--effort great"),
        (("content.png", "style.png", "out.png", "--fast"), "usage"),
    ],
)
def test_a_wrong_command_prints_the_usage(program: Program, arguments: tuple[str, ...], fault: str) -> None:
    run = program.start(*arguments)
    assert run.end() == 2
    assert fault in run.said
    assert "usage: " in run.said


def test_the_error_names_a_missing_file(program: Program) -> None:
    run = program.start("nothing.png", "style.png", "out.png", "--server", "localhost:1")
    assert run.end() == 1
    assert "nothing.png" in run.said
