"""Checks the engine on a GPU in five minutes: is it right, the same twice, how fast, how much memory?

    python .ci/gpu_check.py --device cuda:0 --budget 280 --out check.json

It prints what it does, and writes everything that it found as JSON. Its exit code is 1 if a section failed or
a verdict is no. Sections come in the order of their importance; those for which the budget is too short are
left out. `--quick` checks with tiny pictures only, on a CPU within a minute.

This is for developers, and looks into the engine. What an administrator wants to know, how fast a machine
paints, is `impasto-server bench`.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As a worker's environment has it; cuBLAS reads it when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
from PIL import Image

from impasto_server.bench.convolution_rate import convolution_rates
from impasto_server.engine import graphs, roots
from impasto_server.engine.devices import (
    check_device,
    describe_device,
    fastest_precision,
    measures_memory,
    peak_bytes,
    precision_seconds,
)
from impasto_server.engine.evaluation import Evaluation, evaluate
from impasto_server.engine.flops import convolution_flops, convolutions
from impasto_server.engine.footprint import measured_footprint
from impasto_server.engine.graphs import Evaluator
from impasto_server.engine.memory import available_memory
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.objectives.objective import Objective
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scene import Region, Scene, Style
from impasto_server.engine.session import Session
from impasto_server.engine.weights import load_weights

# Largest relative errors of a gradient against float64 on a CPU. Rounding to bfloat16 is 2⁻⁸ for each value.
ALLOWED = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.2}
# The Wasserstein distance takes its roots in another way on a GPU.
ALLOWED_OF_ROOTS = {"float64": 1e-3, "float32": 1e-2, "bfloat16": 0.3}


@dataclasses.dataclass
class Check:
    """What the sections work with, and what they find.

    Attributes:
        device: the device.
        quick: whether to use tiny pictures and few repeats.
        found: results by section.
        verdicts: yes or no by question.
    """

    device: torch.device
    quick: bool
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    verdicts: dict[str, bool] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.weights = load_weights("builtin")
        self.network = Network(self.weights).to(self.device)
        self.precision = fastest_precision(str(self.device))

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def sides(self, *sides: int) -> tuple[int, ...]:
        """Returns the sides of the pictures to use."""
        return (40,) if self.quick else sides

    def objectives(self, *names: str) -> tuple[str, ...]:
        """Returns the objectives to use."""
        return ("balanced",) if self.quick else names

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def best_seconds(self, work: Callable[[], object], budget: float = 1.0) -> float:
        """Returns the shortest time of some repeats of work, after one that does not count."""
        work()
        self.synchronize()
        best, end = float("inf"), time.perf_counter() + (0 if self.quick else budget)
        while best == float("inf") or time.perf_counter() < end:
            began = time.perf_counter()
            work()
            self.synchronize()
            best = min(best, time.perf_counter() - began)
        return best


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Returns a picture with forms of three sizes."""
    generator = np.random.default_rng(seed)
    layers = []
    for size in (64, 16, 5):
        small = generator.integers(0, 256, (max(2, height // size), max(2, width // size), 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        layers.append(np.asarray(large, dtype=float))
    return Image.fromarray((sum(layers) / 3).astype(np.uint8))


def scene(width: int, height: int, *, regions: bool = False) -> Scene:
    """Returns a content with one style, or with one for each half."""
    styles = [Style(picture(width, height, seed)) for seed in (2, 3)[: 1 + regions]]
    masks = [Image.linear_gradient("L"), Image.linear_gradient("L").rotate(180)] if regions else []
    return Scene(
        content=picture(width, height, 1),
        styles=styles,
        regions=[Region(mask, style=index) for index, mask in enumerate(masks)],
    )


def begun(network: Network, recipe: Recipe, at: Scene, **arguments: Any) -> tuple[Objective, torch.Tensor]:
    """Returns the objective and the image with which a painting's only scale begins."""
    session = Session(recipe, at, network, **arguments)
    stage = session._stage
    # With another image than the content, whose gradients are not small.
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(stage.image.shape, generator=generator).to(stage.image)
    return session._objective(stage), stage.image + 0.1 * noise


def one_scale(side: int, **fields: Any) -> Recipe:
    """Returns a recipe that makes one evaluation, and so has one scale."""
    return Recipe(**{"longest_side": side, "evaluations": 1, "start": "content", **fields})


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Returns |got − expected| / |expected|."""
    got, expected = got.double().cpu(), expected.double().cpu()
    return float((got - expected).norm() / expected.norm().clamp_min(1e-300))


def same(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations have the same bits."""
    return torch.equal(one.losses, other.losses) and torch.equal(one.gradient, other.gradient)


def machine(check: Check) -> dict[str, Any]:
    """Describes the device and how it computes."""
    backends: Any = torch.backends
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "device": describe_device(str(check.device)),
        "precision": check.precision,
        "convolution seconds": precision_seconds(str(check.device)),
        "available GiB": available_memory(check.device) / 2**30,
        "footprint": dataclasses.asdict(measured_footprint(check.network)),
    }
    if check.cuda:
        properties = torch.cuda.get_device_properties(check.device)
        found |= {
            "capability": f"{properties.major}.{properties.minor}",
            "GiB": properties.total_memory / 2**30,
            "cuda": torch.version.cuda,
            "cudnn": backends.cudnn.version(),
            "TF32": [backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32],
            "products without rounding": hasattr(torch.ops.aten.mm, "dtype"),
        }
        check.verdicts["float32 without TF32"] = not any(found["TF32"])
    return found


def correct(check: Check) -> dict[str, Any]:
    """Compares each objective's loss and gradient with those in float64 on a CPU."""
    found = {}
    on_cpu = Network(check.weights).double()
    side = check.sides(160)[0]
    networks = {"float32": check.network, "bfloat16": check.network}
    if check.device.type != "mps":
        networks["float64"] = Network(check.weights).double().to(check.device)
    for name in check.objectives(*OBJECTIVES):
        for regions in (False,) if check.quick or name in ("report", "neighbours") else (False, True):
            at = scene(side, side * 3 // 4, regions=regions)
            # A weight for each term, so that none is left out.
            recipe = one_scale(side, objective=name, tv_weight=0.3)
            objective, image = begun(on_cpu, dataclasses.replace(recipe, precision="float32"), at)
            expected = evaluate(objective, image)
            errors = {}
            for precision, network in networks.items():
                arithmetic = "bfloat16" if precision == "bfloat16" else "float32"
                objective, _ = begun(network, dataclasses.replace(recipe, precision=arithmetic), at)
                got = evaluate(
                    objective, image.to(check.device, torch.promote_types(torch.float32, network.dtype))
                )
                errors[precision] = {
                    "loss": error(got.losses[:1], expected.losses[:1]),
                    "gradient": error(got.gradient, expected.gradient),
                }
            found[f"{name}{' with regions' if regions else ''}"] = errors
    for precision in networks:
        check.verdicts[f"{precision} is right"] = all(
            errors[precision]["gradient"]
            <= (ALLOWED_OF_ROOTS if "wasserstein" in name else ALLOWED)[precision]
            for name, errors in found.items()
        )
    return found


def same_twice(check: Check) -> dict[str, Any]:
    """Paints twice, and from a checkpoint, and compares all bits."""
    found = {}
    side = check.sides(320)[0]
    evaluations = 4 if check.quick else 24
    at = scene(side, side * 3 // 4)
    recipes: dict[str, dict[str, Any]] = {name: {"objective": name} for name in check.objectives(*OBJECTIVES)}
    if not check.quick:
        recipes["balanced by Adam"] = {"objective": "balanced", "optimizer": "adam"}
    for name, fields in recipes.items():
        recipe = Recipe(**{"longest_side": side, "evaluations": evaluations, **fields})

        def made(recipe: Recipe = recipe) -> Session:
            return Session(recipe, at, check.network, auto_precision=check.precision)

        def finished(session: Session) -> bytes:
            for _ in session:
                pass
            return session.samples(8).tobytes()

        first, second, half = finished(made()), finished(made()), made()
        while half.evaluation < evaluations // 2:
            half.step()
        resumed = finished(Session.restore(half.state(), at, check.network, auto_precision=check.precision))
        found[name] = {"twice": first == second, "resumed": first == resumed}
    check.verdicts["the same twice"] = all(each["twice"] for each in found.values())
    check.verdicts["the same from a checkpoint"] = all(each["resumed"] for each in found.values())
    return found


def recorded(check: Check) -> dict[str, Any]:
    """Compares CUDA graphs with evaluations: bits, time, and memory."""
    found: dict[str, Any] = {}
    recorder = graphs.recorder(check.device)
    for name in check.objectives("balanced", "neighbours", "wasserstein"):
        for side in check.sides(128, 256, 512, 1024):
            recipe = one_scale(side, objective=name)
            objective, image = begun(check.network, recipe, scene(side, side), auto_precision=check.precision)
            entry: dict[str, Any] = {
                "seconds": check.best_seconds(lambda o=objective, i=image: evaluate(o, i), 0.4)
            }
            found[f"{name} {side}"] = entry
            if recorder is None:
                continue
            evaluator = Evaluator(recorder)
            for _ in range(2):
                evaluator.evaluate(objective, image)
            entry["recorded"] = evaluator._recorded is not None
            entry["same bits"] = all(
                same(evaluator.evaluate(objective, other), evaluate(objective, other))
                for other in (image, -image, image.flip(3))
            )
            entry["seconds with a graph"] = check.best_seconds(
                lambda e=evaluator, o=objective, i=image: e.evaluate(o, i), 0.4
            )
            reserved = torch.cuda.memory_reserved(check.device)
            evaluator.close()
            torch.cuda.empty_cache()
            entry["MiB freed"] = (reserved - torch.cuda.memory_reserved(check.device)) / 2**20
    if recorder is not None:
        check.verdicts["every evaluation can be recorded"] = all(each["recorded"] for each in found.values())
        check.verdicts["graphs have the same bits"] = all(each["same bits"] for each in found.values())
    return found


def roots_of_covariances(check: Check) -> dict[str, Any]:
    """Compares the two ways to the Wasserstein distance, which a CPU and a GPU take."""
    found = {}
    for channels in (64,) if check.quick else (64, 512):
        generator = torch.Generator().manual_seed(0)
        sizes = torch.logspace(0, -2, channels)
        rows = [torch.randn(4 * channels, channels, generator=generator) * sizes for _ in range(2)]
        (mean, own), (target_mean, target) = (
            (each.mean(0).to(check.device), torch.cov(each.T, correction=0).to(check.device)) for each in rows
        )
        of_style = roots.normal(target_mean, target)
        by_products = roots._by_products(mean, own, of_style)
        by_eigenvectors = roots._by_eigenvectors(own, of_style)
        found[channels] = {
            "error": error(by_products[1], by_eigenvectors[1]),
            "seconds by products": check.best_seconds(
                lambda m=mean, o=own, s=of_style: roots._by_products(m, o, s)
            ),
            "seconds by eigenvectors": check.best_seconds(
                lambda o=own, s=of_style: roots._by_eigenvectors(o, s)
            ),
        }
    check.verdicts["roots by products are right"] = all(each["error"] < 1e-2 for each in found.values())
    return found


def rates(check: Check) -> dict[str, Any]:
    """Measures the convolutions alone, whole evaluations, and the share of the first in the second."""
    found: dict[str, Any] = {}
    for precision in ("bfloat16", "float32"):
        for side in check.sides(256, 512, 1024, 2048) if precision == "bfloat16" else check.sides(512):
            layers = convolutions("vgg16", side, side, "relu5_1")
            alone = sum(
                rate.seconds
                for rate in convolution_rates(
                    layers, (getattr(torch, precision),), str(check.device), 1 if check.quick else 5
                )
            )
            objective, image = begun(
                check.network, one_scale(side, objective="balanced", precision=precision), scene(side, side)
            )
            evaluator = Evaluator(graphs.recorder(check.device))
            whole = (
                check.best_seconds(
                    lambda e=evaluator, o=objective, i=image: [e.evaluate(o, i) for _ in range(3)]
                )
                / 3
            )
            entry = {
                "convolutions TFLOP/s": convolution_flops(layers) / alone / 1e12,
                "evaluation TFLOP/s": convolution_flops(layers) / whole / 1e12,
                "share": alone / whole,
            }
            if measures_memory(check.device):
                entry["peak bytes per pixel"] = (
                    peak_bytes(check.device, lambda o=objective, i=image: evaluate(o, i)) / side**2
                )
            found[f"{precision} {side}"] = entry
            evaluator.close()
    return found


def paintings(check: Check) -> dict[str, Any]:
    """Paints standard paintings: time, longest step, and memory against the plan."""
    found = {}
    for name in check.objectives("neighbours", "balanced", "wasserstein"):
        for side in check.sides(512, 1024) if name == "neighbours" else check.sides(512):
            fields: dict[str, Any] = {"evaluations": 4} if check.quick else {}
            recipe = Recipe(objective=name, longest_side=side, **fields)
            for attempt in ("first", "second"):
                if measures_memory(check.device):
                    torch.cuda.reset_peak_memory_stats(check.device)
                before = torch.cuda.memory_allocated(check.device) if check.cuda else 0
                began = time.perf_counter()
                session = Session(
                    recipe,
                    scene(side, side),
                    check.network,
                    auto_precision=check.precision,
                    memory_bytes=available_memory(check.device),
                )
                steps = [0.0, *(progress.seconds for progress in session)]
                session.samples(8)
                entry: dict[str, Any] = {
                    "seconds": time.perf_counter() - began,
                    "longest step": max(np.diff(steps)),
                    "median step": float(np.median(np.diff(steps))),
                    "stop": session.stop_reason,
                }
                if measures_memory(check.device):
                    peak = torch.cuda.max_memory_allocated(check.device) - before
                    entry["peak share of the plan"] = peak / session.plan.estimated_bytes
                began = time.perf_counter()
                session.picture(512)
                entry["preview seconds"] = time.perf_counter() - began
                began = time.perf_counter()
                session.snapshot()
                entry["checkpoint seconds"] = time.perf_counter() - began
                found[f"{name} {side} {attempt}"] = entry
    if measures_memory(check.device):
        check.verdicts["no painting takes more memory than planned"] = all(
            each["peak share of the plan"] <= 1 for each in found.values()
        )
    return found


def gaps(check: Check) -> dict[str, Any]:
    """Measures how long the device waits for the host in a step, and counts the calls that wait for it."""
    from torch.profiler import ProfilerActivity, profile

    found = {}
    waiting = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMalloc", "cudaFree", "cudaGraphLaunch")
    for side in check.sides(256, 512, 1024):
        recipe = Recipe(objective="balanced", longest_side=side, evaluations=60, stop_on_plateau=False)
        session = Session(recipe, scene(side, side), check.network, auto_precision=check.precision)
        while session._scale + 1 < len(session._scales):
            session.step()
        for _ in range(4):
            session.step()
        check.synchronize()
        steps = 2 if check.quick else 8
        began = time.perf_counter()
        with profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.cuda else [])]
        ) as profiled:
            for _ in range(steps):
                session.step()
            check.synchronize()
        seconds = time.perf_counter() - began
        events = list(profiled.events() or [])
        busy = sum(
            each.time_range.elapsed_us()
            for each in events
            if each.device_type == torch.autograd.DeviceType.CUDA  # type: ignore[attr-defined]
        )
        found[side] = {
            "seconds of a step": seconds / steps,
            "busy share": busy / 1e6 / seconds if check.cuda else None,
            "calls in a step": {
                name: sum(each.name == name for each in events) / steps
                for name in (*waiting, "cudaLaunchKernel")
            },
        }
    return found


def out_of_memory(check: Check) -> dict[str, Any]:
    """Paints with less memory than the plan believes there is."""
    if not check.cuda:
        return {"": "only for CUDA"}
    found = {}
    side = 128 if check.quick else 1024
    total = torch.cuda.get_device_properties(check.device).total_memory
    for gib in (2.0, 1.0):
        torch.cuda.empty_cache()
        limit = torch.cuda.memory_reserved(check.device) + gib * 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), check.device)
        try:
            recipe = Recipe(objective="balanced", longest_side=side, evaluations=12)
            session = Session(recipe, scene(side, side), check.network, auto_precision=check.precision)
            for _ in session:
                pass
            found[f"{gib} GiB"] = {"stop": session.stop_reason, "plan": dataclasses.asdict(session.plan)}
        except RuntimeError as failure:
            found[f"{gib} GiB"] = {"failed": str(failure)[:200]}
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, check.device)
    check.verdicts["too little memory is made do with"] = all("stop" in each for each in found.values())
    return found


SECTIONS: dict[str, tuple[float, Callable[[Check], dict[str, Any]]]] = {
    "machine": (5, machine),
    "correct": (30, correct),
    "same twice": (30, same_twice),
    "graphs": (30, recorded),
    "paintings": (30, paintings),
    "rates": (30, rates),
    "gaps": (20, gaps),
    "roots": (10, roots_of_covariances),
    "out of memory": (15, out_of_memory),
}
"""The sections, each with the seconds that it may take on a GPU."""


def run(check: Check, sections: list[str], budget: float) -> Iterator[tuple[str, str]]:
    """Runs the sections that fit the budget; yields a line about each."""
    began = time.perf_counter()
    for name in sections:
        seconds, section = SECTIONS[name]
        if time.perf_counter() - began + (0 if check.quick else seconds) > budget:
            yield name, "left out"
            continue
        start = time.perf_counter()
        try:
            check.found[name] = section(check)
            yield name, f"{time.perf_counter() - start:.1f} s"
        except Exception as failure:
            traceback.print_exc()
            check.verdicts[f"section {name} works"] = False
            yield name, f"failed: {failure}"
        gc.collect()


def main() -> None:
    """Runs the check, and ends with its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--budget", type=float, default=280.0, help="seconds (280)")
    parser.add_argument("--quick", action="store_true", help="tiny pictures")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS), help="sections (all)")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    check_device(arguments.device)
    check = Check(torch.device(arguments.device), arguments.quick)
    for name, outcome in run(check, arguments.only, arguments.budget):
        print(f"{name}: {outcome}", flush=True)
    for question, verdict in check.verdicts.items():
        print(f"{'yes' if verdict else 'NO ':3} {question}")
    if arguments.out is not None:
        text = json.dumps({"verdicts": check.verdicts, **check.found}, indent=1, default=float)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(not all(check.verdicts.values()))


if __name__ == "__main__":
    main()
