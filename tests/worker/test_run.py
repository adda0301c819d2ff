"""The worker's calls, with a real worker on its socket."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import reason_of
from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, FIELD
from impasto_server.v1 import worker_pb2
from impasto_server.worker.device_loss import DEVICE_LOST
from support.samples import coded, mask, still_recipe
from support.server_process import PATIENCE, until
from support.worker_process import (
    CONTENT,
    IMAGES,
    Outcome,
    WorkerProcess,
    job,
    named,
    run_requests,
    running_worker,
    with_pictures,
)

# Not "auto", which is measured when a worker starts and can differ between workers.
RECIPE = pb.Recipe(evaluations=14, precision=pb.PRECISION_FLOAT32)
LONG = pb.Recipe(evaluations=100_000, precision=pb.PRECISION_FLOAT32, stop_on_plateau=False)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with running_worker() as running:
        yield running


def is_idle(worker: WorkerProcess) -> bool:
    return worker.info().device.resident_jobs == 0


def details(error: status_pb2.Status | None) -> list[str]:
    """Returns the fields that a status names."""
    assert error is not None
    bad = error_details_pb2.BadRequest()
    return [v.field for detail in error.details if detail.Unpack(bad) for v in bad.field_violations]


def refused(call: Any) -> status_pb2.Status:
    """Returns the status of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status: status_pb2.Status | None = rpc_status.from_call(caught.value)
    assert status is not None
    return status


@pytest.mark.slow
def test_a_job_sends_its_start_its_progress_and_its_picture(worker: WorkerProcess) -> None:
    outcome = Outcome().read(worker.run(job(recipe=RECIPE), IMAGES))
    assert outcome.kinds == ["started", "progress", "finished", "result"]
    assert outcome.started is not None
    assert (outcome.started.width, outcome.started.height, outcome.started.evaluation) == (32, 24, 0)
    assert outcome.progress[-1].evaluation == 14
    assert outcome.picture.size == (32, 24)
    assert outcome.metadata["recipe"]["evaluations"] == 14
    until(lambda: is_idle(worker), bool)


def test_progress_shows_how_many_targets_of_a_large_scale_are_found(
    worker: WorkerProcess,
) -> None:
    recipe = pb.Recipe(objective=pb.OBJECTIVE_NEIGHBOURS, evaluations=3, longest_side=300)
    outcome = Outcome().read(worker.run(job(recipe=recipe), IMAGES))
    told = [progress for progress in outcome.progress if progress.HasField("preparing")]
    assert told
    # Small scales are too quick to report progress, and no evaluations are made meanwhile.
    assert {(progress.scale, progress.evaluation) for progress in told} <= {(2, 1), (3, 2)}
    shares = [progress.preparing for progress in told if progress.scale == 3]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] < 1
    assert all(progress.time_left.ToNanoseconds() > 0 for progress in told)
    assert outcome.progress[-1].evaluation == 3
    assert not outcome.progress[-1].HasField("preparing")
    assert outcome.picture.size == (300, 225)


def test_an_image_used_several_times_is_sent_once(worker: WorkerProcess) -> None:
    masks = coded(mask())
    begin = job(recipe=pb.Recipe(evaluations=2))
    begin.spec.styles[0].image.CopyFrom(named(CONTENT))
    begin.spec.regions.add(content_mask=named(masks), style_mask=named(masks))
    begin.spec.selection.CopyFrom(named(masks))
    outcome = Outcome().read(worker.run(begin, [masks, CONTENT]))
    assert outcome.finished is not None
    assert not outcome.finished.HasField("error")
    requests = list(run_requests(begin, [masks, CONTENT]))
    assert [list(picture.fields) for picture in requests[0].begin.pictures] == [
        ["content", "styles[0].image"],
        ["selection", "regions[0].content_mask", "regions[0].style_mask"],
    ]


def test_pictures_can_be_sent_in_small_chunks(worker: WorkerProcess) -> None:
    begin = job(recipe=pb.Recipe(evaluations=2))
    call = worker.stub.Run(run_requests(begin, IMAGES, chunk_bytes=100), timeout=PATIENCE)
    assert Outcome().read(call).picture.size == (32, 24)


def test_a_picture_of_16_bits_gives_a_result_of_16_bits(worker: WorkerProcess) -> None:
    samples = (np.arange(24 * 32 * 3, dtype="<u2") * 28).reshape(24, 32, 3)
    begin, pictures = with_pictures(job(recipe=still_recipe(), result_bits=16), IMAGES)
    begin.pictures[0].bits = 16
    requests = [worker_pb2.RunRequest(begin=begin)]
    for index, data in enumerate([samples.tobytes(), pictures[1]]):
        chunk = worker_pb2.PictureChunk(index=index, offset=0, data=data)
        requests.append(worker_pb2.RunRequest(picture=chunk))
    outcome = Outcome().read(worker.stub.Run(iter(requests), timeout=PATIENCE))
    assert outcome.finished is not None
    assert outcome.finished.result.bits == 16
    painted = np.frombuffer(outcome.result, "<u2").reshape(24, 32, 3)
    assert np.abs(painted.astype(int) - samples).max() <= 1


def test_pictures_larger_than_the_memory_for_jobs_are_refused_before_they_are_sent() -> None:
    with running_worker("--memory", "1") as small:
        begin = job()
        begin.pictures.add(fields=["content"], width=8192, height=8192, channels=3, bits=8)
        outcome = Outcome().read(small.stub.Run(iter([worker_pb2.RunRequest(begin=begin)]), timeout=PATIENCE))
        assert outcome.kinds == ["finished"]
        assert outcome.finished is not None
        assert reason_of(outcome.finished.error) == "DOES_NOT_FIT"
        assert details(outcome.finished.error) == ["spec.recipe.longest_side"]


def test_an_estimate_counts_with_the_memory_that_is_free() -> None:
    def larger(side: int) -> worker_pb2.Begin:
        recipe = pb.Recipe(evaluations=9, precision=pb.PRECISION_FLOAT32, longest_side=side)
        return job("jobs/2", recipe=recipe)

    with running_worker("--memory", "900") as worker:
        idle, large_idle = (worker.estimate(larger(side), IMAGES) for side in (325, 380))
        call = worker.run(job(recipe=LONG), IMAGES)
        outcome = Outcome().read(call, "progress")
        assert outcome.started is not None
        free = worker.info().device.memory_bytes - outcome.started.memory_plan.estimated_bytes
        busy, large_busy = (worker.estimate(larger(side), IMAGES) for side in (325, 380))
        assert idle.memory_plan.estimated_bytes > free >= busy.memory_plan.estimated_bytes
        # A job that does not fit beside others waits until it does.
        assert large_busy.memory_plan == large_idle.memory_plan
        call.cancel()
        until(lambda: is_idle(worker), bool)
        assert worker.estimate(larger(325), IMAGES).memory_plan == idle.memory_plan


def test_an_estimate_is_refused_as_the_job_would_fail() -> None:
    with running_worker("--memory", "1") as small:
        begin = job(recipe=RECIPE)
        failed = Outcome().read(small.run(begin, IMAGES)).finished
        assert failed is not None
        assert reason_of(failed.error) == "DOES_NOT_FIT"
        assert refused(lambda: small.estimate(begin, IMAGES)) == failed.error
        begin.pictures.add(fields=["content"], width=8192, height=8192, channels=3, bits=8)
        request = worker_pb2.EstimateRunRequest(spec=begin.spec, pictures=begin.pictures)
        told = refused(lambda: small.stub.EstimateRun(request, timeout=PATIENCE))
        assert reason_of(told) == "DOES_NOT_FIT"


def test_an_estimate_needs_the_descriptions_of_all_pictures(worker: WorkerProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        worker.stub.EstimateRun(worker_pb2.EstimateRunRequest(spec=job().spec), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "requests",
    [
        [],
        list(run_requests(job(), IMAGES))[1:],
        list(run_requests(job(), IMAGES))[:-1],
        list(run_requests(job(), IMAGES, chunk_bytes=50))[:-1],
        list(run_requests(job(), IMAGES, chunk_bytes=50))[::2],
        list(run_requests(job(), IMAGES, b"checkpoint"))[:-1],
        list(run_requests(job(), IMAGES)) * 2,
        list(run_requests(job(tenant_weight=0.0), IMAGES)),
    ],
    ids=["nothing", "no begin", "no style", "cut off", "gaps", "no checkpoint", "two begins", "no weight"],
)
def test_an_incomplete_job_is_refused(worker: WorkerProcess, requests: list[worker_pb2.RunRequest]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(worker.stub.Run(iter(requests), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: is_idle(worker), bool)


def test_a_ping_returns_the_current_job_and_how_long_it_has_had_the_device(worker: WorkerProcess) -> None:
    until(lambda: is_idle(worker), bool)
    idle = worker.ping()
    assert (idle.job_name, idle.duration.ToNanoseconds()) == ("", 0)
    call = worker.run(job(recipe=LONG), IMAGES)
    Outcome().read(call, "progress")
    busy = until(worker.ping, lambda ping: bool(ping.job_name))
    assert busy.job_name == "jobs/1"
    assert 0 < busy.duration.ToNanoseconds() < PATIENCE * 1e9
    call.cancel()
    until(worker.ping, lambda ping: not ping.job_name)


FAULTY = str(Path(__file__).parents[1] / "support" / "faulty_worker.py")


def test_a_cuda_error_ends_the_process_and_leaves_the_name_of_its_job() -> None:
    message = "CUDA error: an illegal memory access was encountered"
    with running_worker(program=(FAULTY, "5", message)) as faulty:
        with pytest.raises(grpc.RpcError) as caught:
            list(faulty.run(job("jobs/poison", recipe=LONG), IMAGES))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert faulty.process.wait(PATIENCE) == DEVICE_LOST
        assert faulty.turn_file.read_bytes().strip(b"\0") == b"jobs/poison"
        assert "device lost" in faulty.log
        assert message in faulty.log


@pytest.mark.slow
def test_an_error_that_only_mentions_memory_fails_only_its_job() -> None:
    with running_worker(program=(FAULTY, "5", "the strides in memory do not fit")) as faulty:
        outcome = Outcome().read(faulty.run(job(recipe=LONG), IMAGES))
        assert outcome.finished is not None
        assert reason_of(outcome.finished.error) == "PAINTING_FAILED"
        assert Outcome().read(faulty.run(job(recipe=RECIPE), IMAGES)).kinds[-1] == "result"


def test_previews_are_sent_only_while_somebody_watches(worker: WorkerProcess) -> None:
    call = worker.run(job(recipe=LONG), IMAGES)
    outcome = Outcome()
    while len(outcome.progress) < 5:
        outcome.read(call, "progress")
    assert outcome.previews == []
    worker.update("jobs/1", watched=True)
    outcome.read(call, "preview")
    assert outcome.previews[0].width == 32
    worker.update("jobs/1", watched=False)
    # One more preview may have been under way.
    seen = len(outcome.previews) + 1
    numbers = len(outcome.progress) + 20
    while len(outcome.progress) < numbers:
        outcome.read(call, "progress")
    assert len(outcome.previews) <= seen
    call.cancel()


def test_a_cancelled_job_leaves_the_device_at_once(worker: WorkerProcess) -> None:
    call = worker.run(job(recipe=LONG), IMAGES)
    Outcome().read(call, "progress")
    assert worker.info().device.resident_jobs == 1
    call.cancel()
    until(lambda: is_idle(worker), bool)
    assert refused(lambda: worker.update("jobs/1", watched=True)).code == 5
    until(lambda: worker.turn_file.read_bytes().strip(b"\0"), lambda name: name == b"")


@pytest.mark.slow
def test_an_update_takes_effect_at_once(worker: WorkerProcess) -> None:
    call = worker.run(job(recipe=LONG), IMAGES)
    outcome = Outcome().read(call, "progress")
    recipe = pb.Recipe(evaluations=30, style_weight=3.0, precision=pb.PRECISION_FLOAT32)
    answer = worker.update("jobs/1", recipe=recipe)
    weight = FIELD["content_weight"].default.value({"objective": DEFAULT_OBJECTIVE})
    assert answer.recipe.style_weight == 3.0
    assert answer.recipe.content_weight == pytest.approx(weight)
    outcome.read(call)
    assert outcome.metadata["recipe"]["style_weight"] == 3.0
    assert outcome.progress[-1].evaluation <= max(31, outcome.progress[0].evaluation + 300)


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (pb.Recipe(seed=7), "spec.recipe.seed"),
        (pb.Recipe(objective=pb.OBJECTIVE_GATYS), "spec.recipe.objective"),
        (pb.Recipe(learning_rate=-1.0), "spec.recipe.learning_rate"),
        (pb.Recipe(style_layers=[pb.LayerWeight(layer="x", weight=1)]), "spec.recipe.style_layers[0].layer"),
    ],
)
def test_a_refused_update_changes_nothing_in_a_running_job(
    worker: WorkerProcess, recipe: pb.Recipe, field: str
) -> None:
    call = worker.run(job(recipe=LONG), IMAGES)
    Outcome().read(call, "progress")
    error = refused(lambda: worker.update("jobs/1", recipe=recipe, watched=True))
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert details(error) == [field]
    assert worker.update("jobs/1", priority=1).recipe.evaluations == 100_000
    call.cancel()


@pytest.mark.slow
def test_a_job_that_waits_for_memory_can_be_updated_and_suspended(worker: WorkerProcess) -> None:
    # The memory is enough for one job only: the second waits.
    with running_worker("--memory", "300") as small:
        first = small.run(job("jobs/1", recipe=LONG), IMAGES)
        Outcome().read(first, "progress")
        second, third = (small.run(job(name, recipe=LONG), IMAGES) for name in ("jobs/2", "jobs/3"))
        until(lambda: small.log, lambda log: "jobs/2" in log and "jobs/3" in log)
        answer = small.update("jobs/2", recipe=pb.Recipe(evaluations=3, tv_weight=0.5))
        assert answer.recipe.tv_weight == 0.5
        assert details(refused(lambda: small.update("jobs/2", recipe=pb.Recipe(seed=7)))) == [
            "spec.recipe.seed"
        ]
        small.suspend("jobs/3")
        assert Outcome().read(third).kinds == ["suspended"]
        first.cancel()
        outcome = Outcome().read(second)
        assert outcome.progress[-1].evaluation == 3
        assert outcome.metadata["recipe"]["tv_weight"] == 0.5


def test_a_job_can_be_suspended_before_it_has_a_place_or_all_its_images(worker: WorkerProcess) -> None:
    with running_worker(max_resident=1) as narrow:
        first = narrow.run(job("jobs/1", recipe=LONG), IMAGES)
        Outcome().read(first, "progress")
        second = narrow.run(job("jobs/2"), IMAGES)
        may_go_on = threading.Event()

        def stalled() -> Iterator[worker_pb2.RunRequest]:
            yield from list(run_requests(job("jobs/3"), IMAGES))[:2]
            may_go_on.wait()

        third = narrow.stub.Run(stalled(), timeout=PATIENCE)

        def suspended(name: str) -> bool:
            try:
                narrow.suspend(name)
            except grpc.RpcError:
                return False
            return True

        for call, name in ((second, "jobs/2"), (third, "jobs/3")):
            until(lambda name=name: suspended(name), bool)  # type: ignore[misc]
            assert Outcome().read(call).kinds == ["suspended"]
        may_go_on.set()
        # The place for which the second job waited is still there.
        fourth = narrow.run(job("jobs/4"), IMAGES)
        first.cancel()
        assert Outcome().read(fourth).kinds[-1] == "result"


def test_a_job_that_can_never_fit_is_refused_with_the_available_memory() -> None:
    with running_worker("--memory", "1") as tiny:
        outcome = Outcome().read(tiny.run(job(), IMAGES))
    assert outcome.finished is not None
    assert outcome.finished.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert details(outcome.finished.error) == ["spec.recipe.longest_side"]
    assert "1 MiB" in outcome.finished.error.message


def test_a_job_waits_until_an_earlier_run_of_it_has_ended(worker: WorkerProcess) -> None:
    first = worker.run(job(recipe=LONG), IMAGES)
    Outcome().read(first, "progress")
    second = worker.run(job(recipe=RECIPE), IMAGES)
    # Answered after the second call has arrived.
    worker.ping()
    first.cancel()
    assert Outcome().read(second).kinds[-1] == "result"


def test_an_unknown_job_is_not_found(worker: WorkerProcess) -> None:
    for call in (lambda: worker.suspend("jobs/none"), lambda: worker.update("jobs/none", watched=True)):
        assert refused(call).code == grpc.StatusCode.NOT_FOUND.value[0]


def suspended_at(worker: WorkerProcess, begin: worker_pb2.Begin, evaluation: int) -> Outcome:
    """Runs a job until its progress has a number of evaluations, then suspends it."""
    call = worker.run(begin, IMAGES)
    outcome = Outcome()
    for response in call:
        if outcome.take(response) == "progress" and outcome.progress[-1].evaluation >= evaluation:
            worker.suspend(begin.job_name)
            break
    return outcome.read(call)


RECIPES = {
    "lbfgs": RECIPE,
    "adam": pb.Recipe(
        evaluations=14, optimizer=pb.OPTIMIZER_ADAM, averaging=0.9, precision=pb.PRECISION_FLOAT32
    ),
    "scales": pb.Recipe(evaluations=10, longest_side=256, precision=pb.PRECISION_FLOAT32),
    "bfloat16": pb.Recipe(evaluations=14, precision=pb.PRECISION_BFLOAT16),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_a_job_resumed_in_another_process_gives_the_same_bytes(worker: WorkerProcess, kind: str) -> None:
    recipe = RECIPES[kind]
    undisturbed = Outcome().read(worker.run(job(recipe=recipe), IMAGES))
    for _ in range(10):
        stop = random.randint(1, recipe.evaluations - 2)
        outcome = suspended_at(worker, job(recipe=recipe), stop)
        if outcome.kinds[-1] == "suspended":
            break  # Otherwise it was finished before it could be suspended.
    assert outcome.kinds[-2:] == ["checkpoint", "suspended"]
    assert outcome.evaluations_saved[-1] >= stop
    with running_worker() as other:
        resumed = Outcome().read(other.run(job(recipe=recipe), IMAGES, outcome.checkpoints[-1]))
    assert resumed.started is not None
    assert resumed.started.evaluation == outcome.evaluations_saved[-1]
    assert resumed.result == undisturbed.result


@pytest.mark.slow
def test_a_job_whose_worker_was_killed_gives_the_same_bytes(worker: WorkerProcess) -> None:
    recipe = pb.Recipe(evaluations=60, precision=pb.PRECISION_FLOAT32)
    undisturbed = Outcome().read(worker.run(job(recipe=recipe), IMAGES))
    begin = job(recipe=recipe, checkpoint_interval=Duration(nanos=100_000_000))
    checkpoint: bytes | None = None
    starts = []
    for _ in range(4):
        with running_worker() as victim:
            outcome = Outcome()
            deaths = random.randint(1, 3)
            try:
                for response in victim.run(begin, IMAGES, checkpoint):
                    outcome.take(response)
                    if len(outcome.checkpoints) == deaths and not outcome.finished:
                        assert victim.turn_file.read_bytes().strip(b"\0") in (b"jobs/1", b"")
                        victim.process.send_signal(signal.SIGKILL)
                        deaths = -1
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert outcome.started is not None
        starts.append(outcome.started.evaluation)
        if outcome.finished:
            break
        checkpoint = outcome.checkpoints[-1]
    if not outcome.finished:
        outcome = Outcome().read(worker.run(begin, IMAGES, checkpoint))
    assert starts == sorted(starts)
    assert len(starts) > 1
    assert outcome.result == undisturbed.result


@pytest.mark.slow
def test_a_killed_worker_leaves_the_name_of_the_job_whose_turn_it_was() -> None:
    with running_worker() as victim:
        call = victim.run(job("jobs/poison", recipe=LONG), IMAGES)
        Outcome().read(call, "progress")
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        assert victim.turn_file.read_bytes() == b"jobs/poison".ljust(256, b"\0")


def damaged(checkpoint: bytes) -> bytes:
    """Returns a checkpoint with one flipped bit in a tensor."""
    at = len(checkpoint) - 1000
    return checkpoint[:at] + bytes([checkpoint[at] ^ 1]) + checkpoint[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["cut", "bit", "rubbish", "other size", "other objective"])
def test_a_job_starts_over_if_its_checkpoint_cannot_be_used(worker: WorkerProcess, harm: str) -> None:
    undisturbed = Outcome().read(worker.run(job(recipe=RECIPE), IMAGES))
    other = {
        "other size": pb.Recipe(longest_side=48, evaluations=10_000),
        "other objective": pb.Recipe(objective=pb.OBJECTIVE_GATYS, evaluations=10_000),
    }.get(harm, LONG)
    (checkpoint,) = suspended_at(worker, job(recipe=other), 3).checkpoints
    checkpoint = {
        "cut": checkpoint[:-7],
        "bit": damaged(checkpoint),
        "rubbish": b"rubbish",
    }.get(harm, checkpoint)
    logged = worker.log.count("checkpoint cannot be used")
    outcome = Outcome().read(worker.run(job(recipe=RECIPE), IMAGES, checkpoint))
    assert outcome.started is not None
    assert outcome.started.evaluation == 0
    assert outcome.result == undisturbed.result
    assert worker.log.count("checkpoint cannot be used") == logged + 1


def test_a_recipe_newer_than_the_checkpoint_is_used(worker: WorkerProcess) -> None:
    outcome = suspended_at(worker, job(recipe=LONG), 5)
    newer = pb.Recipe(evaluations=outcome.evaluations_saved[-1] + 10, style_weight=5.0)
    resumed = Outcome().read(worker.run(job(recipe=newer), IMAGES, outcome.checkpoints[-1]))
    assert resumed.started is not None
    assert resumed.started.evaluation == outcome.evaluations_saved[-1]
    assert resumed.metadata["recipe"]["style_weight"] == 5.0
    # The recipe's precision is "auto", so the checkpoint's precision is kept.
    assert resumed.metadata["recipe"]["precision"] == "float32"


def test_a_job_suspended_before_its_first_turn_after_resuming_sends_no_checkpoint(
    worker: WorkerProcess,
) -> None:
    outcome = suspended_at(worker, job(recipe=LONG), 3)
    # This job has the same tenant and a higher priority, so the resumed job gets no turn.
    ahead = worker.run(job("jobs/ahead", recipe=LONG, priority=1), IMAGES)
    Outcome().read(ahead, "progress")
    call = worker.run(job(recipe=LONG), IMAGES, outcome.checkpoints[-1])
    resumed = Outcome().read(call, "started")
    worker.suspend("jobs/1")
    assert resumed.read(call).kinds == ["started", "suspended"]
    ahead.cancel()
    until(lambda: is_idle(worker), bool)
