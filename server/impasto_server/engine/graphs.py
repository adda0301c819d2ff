"""Evaluations replayed as CUDA graphs.

An evaluation launches some hundred small pieces of work. A GPU is often done with one before Python has
launched the next. A CUDA graph is a recording of all of them that the GPU replays by itself: the same work
on the same tensors, so the same bits.

Nothing but speed may depend on a graph. If one cannot be recorded, or its first result is not that of the
evaluation itself to the last bit, this scale is evaluated without, and the log says so. After a recording
that CUDA refused, which leaves PyTorch in a poor state for more, the process records no others.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from typing import Protocol

import torch

from impasto_server.engine.devices import is_out_of_memory
from impasto_server.engine.evaluation import Evaluation, Method, evaluate
from impasto_server.engine.objectives.objective import Objective

SWITCH = "IMPASTO_CUDA_GRAPHS"
"""Environment variable that switches graphs off if it is 0."""

_log = logging.getLogger(__name__)


class Recording(Protocol):
    """Work that was recorded."""

    def replay(self) -> None:
        """Does the work again with what is in its tensors now, and puts the results into the same tensors."""

    def reset(self) -> None:
        """Frees the memory of its intermediate results."""


class Recorder(Protocol):
    """Records work of a device.

    Attributes:
        usable: whether it can still record.
    """

    usable: bool

    def warm_up(self, work: Callable[[], Evaluation]) -> Evaluation:
        """Does work as it will be recorded, so that libraries are loaded and have made their choices."""

    def record(self, work: Callable[[], Evaluation]) -> tuple[Recording, Evaluation]:
        """Records work without doing it; returns it with the tensors into which it will put its results."""


class CudaRecorder:
    """Records CUDA graphs on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.usable = True
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, work: Callable[[], Evaluation]) -> Evaluation:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            evaluation = work()
        current.wait_stream(self._stream)
        return evaluation

    def record(self, work: Callable[[], Evaluation]) -> tuple[Recording, Evaluation]:
        graph = torch.cuda.CUDAGraph()
        # The outer `with` restores the current stream where the inner one fails to.
        # "thread_local": previews and checkpoints use the device from other threads meanwhile.
        with (
            torch.cuda.stream(torch.cuda.current_stream(self._stream.device)),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            evaluation = work()
        return graph, evaluation


def recorder(device: torch.device) -> Recorder | None:
    """Returns a device's recorder, or None if graphs do not exist there or are switched off."""
    if device.type != "cuda" or os.environ.get(SWITCH) == "0":
        return None
    return _cuda_recorder(device)


@functools.cache
def _cuda_recorder(device: torch.device) -> CudaRecorder:
    # One for all paintings: cuBLAS and PyTorch keep memory for each stream.
    return CudaRecorder(device)


@dataclasses.dataclass(frozen=True)
class _Recorded:
    """An evaluation that was recorded.

    Attributes:
        recording: the recording.
        image: the image to evaluate, which it reads.
        evaluation: the losses and the gradient, which it writes.
    """

    recording: Recording
    image: torch.Tensor
    evaluation: Evaluation

    def replayed(self, image: torch.Tensor) -> Evaluation:
        self.image.copy_(image)
        self.recording.replay()
        # Copies, because the next replay overwrites these.
        return Evaluation(self.evaluation.losses.clone(), self.evaluation.gradient.clone())


class Evaluator:
    """Evaluates the objectives of one painting, one after the other, and records each once it is warm.

    Args:
        recorder: records evaluations; None to record none.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        # What the fields below belong to. The recording reads the objective's tensors, which must live on.
        self._objective: Objective | None = None
        self._shape = torch.Size()
        self._warm = False
        self._recorded: _Recorded | None = None
        self._gave_up = False

    def evaluate(
        self,
        objective: Objective,
        image: torch.Tensor,
        method: Method = "plain",
        tile_side: int | None = None,
    ) -> Evaluation:
        """Evaluates an objective as `evaluation.evaluate` does, with the same arguments and the same bits."""
        if self._recorder is None or method == "tiled":
            return evaluate(objective, image, method, tile_side)
        if objective is not self._objective or image.shape != self._shape:
            self.close()
            self._objective, self._shape = objective, image.shape
        if self._recorded is not None:
            return self._recorded.replayed(image)
        if not self._recorder.usable:
            return evaluate(objective, image)
        evaluation = self._recorder.warm_up(lambda: evaluate(objective, image))
        if self._warm and not self._gave_up:
            self._record(self._recorder, objective, image, evaluation)
        self._warm = True
        return evaluation

    def close(self) -> None:
        """Frees what was recorded."""
        if self._recorded is not None:
            self._recorded.recording.reset()
        self._objective = self._recorded = None
        self._warm = self._gave_up = False

    def _record(
        self, recorder: Recorder, objective: Objective, image: torch.Tensor, expected: Evaluation
    ) -> None:
        """Records an evaluation if its replay gives what was expected."""
        given = image.detach().clone()
        try:
            recording, results = recorder.record(lambda: evaluate(objective, given))
            recorded = _Recorded(recording, given, results)
            replayed = recorded.replayed(image)
            same = torch.equal(replayed.losses, expected.losses)
            same = same and torch.equal(replayed.gradient, expected.gradient)
        except (RuntimeError, MemoryError) as error:
            # If the device itself is lost, the next evaluation says so.
            why = str(error).partition("\n")[0]
            if not is_out_of_memory(error):
                recorder.usable = False
                why += "; this process records no more"
            self._give_up(image, why)
            return
        if same:
            self._recorded = recorded
        else:
            recorded.recording.reset()
            self._give_up(image, "a replay gave other numbers than the evaluation itself")

    def _give_up(self, image: torch.Tensor, why: str) -> None:
        self._gave_up = True
        height, width = image.shape[2:]
        _log.warning("evaluations run without a CUDA graph width=%d height=%d why=%r", width, height, why)
