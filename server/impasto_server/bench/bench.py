"""Makes all measurements of a run, one after the other."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable
from typing import Literal

import torch

from impasto_server.bench.bare_loop import BareLoop
from impasto_server.bench.convolution_rate import ConvolutionRate, convolution_rates
from impasto_server.bench.figures import Figures, Plan
from impasto_server.bench.machine import this_machine
from impasto_server.bench.painting import Painting, Stage, paint
from impasto_server.bench.pictures import demo_content, demo_style
from impasto_server.bench.race import quickest_recipe, race
from impasto_server.bench.reference import Reference, compute_reference, recorded_reference
from impasto_server.bench.report_program import ReportProgram, torchvision_features
from impasto_server.bench.service import service_figures
from impasto_server.bench.steps import deepest_layer, measured_steps
from impasto_server.bench.timing import UNSTEADY, Timing, seconds
from impasto_server.engine import Network, Recipe, Scene, Session, Style, load_weights, pixels
from impasto_server.engine.devices import (
    fastest_precision,
    keep_freed_memory,
    measures_memory,
    peak_bytes,
)
from impasto_server.engine.flops import convolution_flops, convolutions, gram_flops
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, Precision
from impasto_server.engine.weights import Architecture, Weights

BUSY = 0.5
"""Load average of the last minute above which the machine counts as busy."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

STATISTICS = "balanced"
"""The objective with which the others are compared."""

DEEPEST = deepest_layer(STATISTICS)
"""The last layer of the network that any objective compares."""
GRAM_LAYERS = [layer for layer, _ in OBJECTIVES[STATISTICS].style_layers]

_MIB = 1 << 20


def measure(
    plan: Plan,
    *,
    device: str,
    weights: str,
    reference: Literal["recorded", "fresh"],
    say: Callable[[str], None] = lambda text: None,
) -> Figures:
    """Measures this machine.

    Args:
        plan: what to measure, and how often.
        device: device to paint on: "cpu", "cuda:0", "mps".
        weights: weights of the feature network, as for `load_weights`. The comparison with the report's loss
            always uses the built-in weights, with which its reference was made.
        reference: the final loss of the report's program: the recorded one, or a fresh one, whose computation
            takes long.
        say: called with a text about what is being measured.

    Raises:
        WeightsError: the weights cannot be loaded.
        ImpastoError: the private server failed.
    """
    begin = time.perf_counter()
    # A worker does the same.
    keep_freed_memory()
    say("loading the network")
    bench = _Bench(plan, device, load_weights(weights), weights, say)
    stage = bench.standard_painting()
    bench.convolutions(stage)
    bench.steps()
    bench.bare_loop()
    bench.objectives()
    bench.large_painting()
    bench.report(reference)
    bench.service()
    bench.note_unsteadiness()
    bench.figures.seconds = time.perf_counter() - begin
    return bench.figures


class _Bench:
    """The measurements. Each method fills in its figures."""

    def __init__(
        self, plan: Plan, device: str, weights: Weights, weights_name: str, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._device = device
        self._weights = weights
        self._weights_name = weights_name
        self._say = say
        self._network = Network(weights).to(device)
        self._precision = fastest_precision(device)
        self._content = demo_content()
        self._style = demo_style()
        self._rates: dict[tuple[int, int, str], list[ConvolutionRate]] = {}
        self.figures = Figures(this_machine(device, self._precision, self._network), plan)
        load = self.figures.machine.load
        if load is not None and load > BUSY:
            self.figures.notes.append(
                f"the machine was busy: its load average was {load:.1f} in the minute before the run"
            )

    def standard_painting(self) -> Stage:
        """Times a whole painting with the default objective, and one with "balanced".

        Returns:
            The largest stage of the painting with "balanced".
        """
        side = self._plan.standard_side
        self._say(f"warming up at {side} px")
        warm_up = Recipe(longest_side=side, evaluations=8)
        paint(warm_up, self._content, self._style, self._network, auto_precision=self._precision)
        figures = self.figures
        balanced, figures.standard_512_seconds, figures.standard_512_over_balanced = self._standard(side)
        return balanced.stages[-1]

    def large_painting(self) -> None:
        """Times the same paintings at a larger size."""
        side = self._plan.large_side
        if side is not None:
            figures = self.figures
            _, figures.standard_1024_seconds, figures.standard_1024_over_balanced = self._standard(side)

    def _standard(self, side: int) -> tuple[Painting, float, float]:
        """Times standard paintings of a size.

        Returns:
            The painting with "balanced", the seconds of one with the default objective, and the ratio of its
            seconds to those with "balanced".
        """
        paintings = {}
        for objective in (STATISTICS, DEFAULT_OBJECTIVE):
            self._say(f"a standard painting at {side} px, {objective}")
            recipe = Recipe(
                objective=objective, longest_side=side, evaluations=self._plan.standard_evaluations
            )
            paintings[objective] = self._paint(recipe)
        balanced, default = paintings[STATISTICS], paintings[DEFAULT_OBJECTIVE]
        return balanced, default.seconds, default.seconds / balanced.seconds

    def _paint(self, recipe: Recipe) -> Painting:
        painted: list[Painting] = []

        def work() -> None:
            painted.append(
                paint(recipe, self._content, self._style, self._network, auto_precision=self._precision)
            )

        if not measures_memory(self._network.device):
            work()
        else:
            peak = peak_bytes(self._network.device, work)
            side = str(recipe.longest_side)
            figures = self.figures
            figures.peak_device_mib[side] = max(peak / _MIB, figures.peak_device_mib.get(side, 0))
            figures.planned_device_mib[side] = painted[0].planned_bytes / _MIB
        (painting,) = painted
        for stage in painting.stages if recipe.objective == STATISTICS else ():
            # A larger painting goes through the same sizes. The figures of the first painting count.
            if str(stage.longest_side) not in self.figures.seconds_per_evaluation:
                self.figures.seconds_per_evaluation[str(stage.longest_side)] = stage.seconds.median
                self._steady(f"evaluation at {stage.longest_side} px", stage.seconds)
        return painting

    def convolutions(self, stage: Stage) -> None:
        """Measures the machine's convolution rate, and the share of it that a stage's evaluations reach."""
        self._say("the network's convolutions alone")
        figures = self.figures
        layers = convolutions(self._network.architecture, stage.painted_height, stage.painted_width, DEEPEST)
        flops = convolution_flops(layers)
        figures.convolutions = self._alone(stage.painted_height, stage.painted_width, tuple(_DTYPES))
        figures.convolution_gflops = {
            dtype: max(c.gflops for c in figures.convolutions if c.dtype == dtype) for dtype in _DTYPES
        }
        best = figures.convolution_gflops[self._precision]
        alone = sum(c.seconds for c in figures.convolutions if c.dtype == self._precision)
        figures.evaluation_convolution_gflop_512 = flops / 1e9
        margin = 2 * OBJECTIVES[STATISTICS].margin
        # Gram matrices are of whole rows of positions, without the rows of the margin.
        inner = convolutions(
            self._network.architecture, stage.painted_height - margin, stage.painted_width, DEEPEST
        )
        figures.evaluation_gram_gflop_512 = gram_flops(inner, GRAM_LAYERS) / 1e9
        figures.evaluation_gflops_512 = flops / stage.seconds.median / 1e9
        figures.conv_rate_share_512 = figures.evaluation_gflops_512 / best
        figures.conv_ceiling_share_512 = flops / alone / 1e9 / best
        for dtype in self._plan.share_precisions:
            self._say(f"evaluations in {dtype} at {self._plan.standard_side} px")
            of_dtype = self._report_stage(dtype)
            network = convolutions(
                self._network.architecture, of_dtype.painted_height, of_dtype.painted_width, DEEPEST
            )
            rate = convolution_flops(network) / of_dtype.seconds.median / 1e9
            figures.conv_rate_share_512_report[dtype] = rate / figures.convolution_gflops[dtype]

    def _alone(self, height: int, width: int, precisions: Iterable[str]) -> list[ConvolutionRate]:
        """Returns the rates of the network's convolutions alone for an image's size; measured once."""
        rates = []
        for precision in precisions:
            if (key := (height, width, precision)) not in self._rates:
                layers = convolutions(self._network.architecture, height, width, DEEPEST)
                self._rates[key] = convolution_rates(
                    layers, [_DTYPES[precision]], self._device, self._plan.convolution_repeats
                )
            rates += self._rates[key]
        return rates

    def steps(self) -> None:
        """Times the steps at each size, and divides their time by part of the engine."""
        plan = self._plan
        # A GPU has its full speed only at large sizes.
        side = plan.standard_side if self._device == "cpu" else plan.large_side or plan.standard_side
        for precision in plan.share_precisions or (self._precision,):
            for objective in dict.fromkeys((STATISTICS, DEFAULT_OBJECTIVE)):
                self._say(f"the parts of steps, {objective} in {precision}")
                recipe = Recipe(
                    objective=objective,
                    longest_side=side,
                    precision=precision,
                    evaluations=plan.standard_evaluations,
                    stop_on_plateau=False,
                )
                self.figures.steps += measured_steps(
                    Session(
                        recipe,
                        Scene(content=self._content.image, styles=[Style(self._style.image)]),
                        self._network,
                    ),
                    self._network.architecture,
                    self._device,
                    timed=plan.timed_steps,
                    profiled=plan.profiled_steps,
                    convolution_gflops=self.figures.convolution_gflops[precision],
                    alone=functools.partial(self._alone, precisions=(precision,)),
                )

    def _report_stage(self, precision: Precision) -> Stage:
        """Times a few evaluations of the recipe `report`, which has one scale and no margin."""
        recipe = Recipe(
            objective="report", longest_side=self._plan.standard_side, precision=precision, evaluations=5
        )
        return paint(
            recipe, self._content, self._style, self._network, auto_precision=self._precision
        ).stages[-1]

    def bare_loop(self) -> None:
        """Times the engine's evaluations and the bare loop's steps in turn."""
        side = self._plan.standard_side
        self._say(f"the engine and a bare loop in turn at {side} px")
        like = torch.empty(0, device=self._device)
        loop = BareLoop(
            self._weights,
            pixels.to_tensor(self._content.image, (side, side), like=like),
            pixels.to_tensor(self._style.image, (side, side), like=like),
            _DTYPES[self._precision],
        )
        loop.step()
        figures = self.figures
        ratios, bare = [], []
        for objective in ("report", "balanced"):
            session = self._at_full_size(objective)
            pairs = [
                (seconds(session.step, self._device), seconds(loop.step, self._device))
                for _ in range(self._plan.pairs)
            ]
            bare += [step for _, step in pairs]
            ratios.append(Timing.of([engine / step for engine, step in pairs]))
            self._steady(f"engine over bare loop, {objective}", ratios[-1])
        figures.bare_loop_seconds_512 = Timing.of(bare).median
        figures.bare_loop_ratio_report_512 = ratios[0].median
        figures.bare_loop_ratio_balanced_512 = ratios[1].median
        figures.bare_loop_pixel_ratio_balanced_512 = math.prod(session.painted_size) / side**2

    def _at_full_size(self, objective: str) -> Session:
        """Returns a session after its first evaluation at full size, which computes the targets, with enough
        evaluations left."""
        session = Session(
            Recipe(
                objective=objective,
                # Most evaluations are made at the coarser scales.
                evaluations=(self._plan.pairs + 2) * 12,
                longest_side=self._plan.standard_side,
                precision=self._precision,
                stop_on_plateau=False,
            ),
            Scene(content=self._content.image, styles=[Style(self._style.image)]),
            self._network,
        )
        while (progress := session.step()).scale < progress.scales:
            pass
        return session

    def objectives(self) -> None:
        """Times an evaluation of each objective."""
        side = self._plan.objectives_side
        if side is None:
            return
        for objective in OBJECTIVES:
            self._say(f"{objective} at {side} px")
            painting = paint(
                Recipe(objective=objective, longest_side=side, evaluations=16, precision=self._precision),
                self._content,
                self._style,
                self._network,
                auto_precision=self._precision,
            )
            self.figures.seconds_per_evaluation_256[objective] = painting.stages[-1].seconds.median

    def report(self, reference: Literal["recorded", "fresh"]) -> None:
        """Times the report's program, and how long the engine takes to reach the same loss."""
        figures = self.figures
        weights = load_weights("builtin")
        network = Network(weights).to(self._device)
        figures.report_seconds_per_step_400 = self._report_step(self._report_program("vgg19", None), "vgg19")
        program = self._report_program(weights.architecture, weights)
        if self._plan.same_network:
            figures.report_seconds_per_step_400_same_network = self._report_step(
                program, weights.architecture
            )
        if reference == "fresh":

            def on_step(step: int, loss: float) -> None:
                self._say(f"the report's steps with the engine, {step} of {self._plan.reference_steps}")

            figures.report_reference = compute_reference(
                network,
                self._content,
                self._style,
                steps=self._plan.reference_steps,
                longest_side=self._plan.report_side,
                on_step=on_step,
            )
        else:
            figures.report_reference = recorded_reference()
        figures.report_reference_used = reference
        self._race(network, program, figures.report_reference)

    def _report_program(self, architecture: Architecture, weights: Weights | None) -> ReportProgram:
        return ReportProgram(
            torchvision_features(architecture, weights),
            architecture,
            self._content.image,
            self._style.image,
            longest_side=self._plan.report_side,
            device=self._device,
        )

    def _report_step(self, program: ReportProgram, architecture: Architecture) -> float:
        self._say(f"the report's original program at {self._plan.report_side} px, {architecture}")
        steps = Timing.of([seconds(program.step, self._device) for _ in range(self._plan.report_steps)])
        self._steady(f"the report's program, {architecture}", steps)
        return steps.median

    def _race(self, network: Network, program: ReportProgram, reference: Reference) -> None:
        self._say("the engine, until it reaches the report's loss")
        figures = self.figures
        result = race(
            quickest_recipe(self._plan.report_side, self._precision),
            self._content,
            self._style,
            network,
            program,
            reference.final_loss,
        )
        if result is None:
            figures.notes.append("the engine did not reach the loss of the report's program")
            return
        figures.report_recipe = dataclasses.asdict(result.recipe)
        figures.report_loss_reached = result.loss
        figures.report_evaluations_to_loss = result.evaluations
        figures.report_seconds_to_loss = result.seconds
        assert figures.report_seconds_per_step_400 is not None
        figures.report_speedup = reference.steps * figures.report_seconds_per_step_400 / result.seconds
        if figures.report_seconds_per_step_400_same_network is not None:
            figures.report_speedup_same_network = (
                reference.steps * figures.report_seconds_per_step_400_same_network / result.seconds
            )

    def service(self) -> None:
        """Measures what the service adds to the engine's time."""
        service = service_figures(
            self._content,
            self._style,
            self._network,
            weights=self._weights_name,
            device=self._device,
            auto_precision=self._precision,
            sides=self._plan.service_sides,
            evaluations=self._plan.service_evaluations,
            rounds=self._plan.service_rounds,
            first_previews=self._plan.first_previews,
            say=self._say,
        )
        figures = self.figures
        largest = service.overheads[-1]
        figures.draft_512_seconds = largest.engine.median
        figures.service_overhead = largest.over_engine
        figures.service_overhead_over_device = largest.over_device
        figures.service_overhead_by_size = {str(o.longest_side): o.over_engine for o in service.overheads}
        figures.first_preview_seconds = service.first_preview.median
        figures.peak_rss_mib = service.peak_rss_mib
        for overhead in service.overheads:
            self._steady(f"painting with the service at {overhead.longest_side} px", overhead.wall)
            self._steady(f"painting with the engine at {overhead.longest_side} px", overhead.engine)

    def _steady(self, name: str, timing: Timing) -> None:
        """Records the spread of a measurement."""
        self.figures.spreads[name] = timing.spread

    def note_unsteadiness(self) -> None:
        """Adds a note that names the measurements with a large spread."""
        unsteady = [
            f"{name} ({spread:.0%})" for name, spread in self.figures.spreads.items() if spread > UNSTEADY
        ]
        if unsteady:
            self.figures.notes.append(
                "the machine was busy, or the work itself is uneven: the distance of the quartiles is more "
                f"than {UNSTEADY:.0%} of the median for {', '.join(unsteady)}"
            )
