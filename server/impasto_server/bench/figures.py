"""The results of the bench, as data, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from impasto_server.bench.convolution_rate import ConvolutionRate
from impasto_server.bench.machine import Machine
from impasto_server.bench.reference import LONGEST_SIDE, STEPS, Reference
from impasto_server.bench.steps import Steps
from impasto_server.engine.recipe import Precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The measurements to make. Each side is the longer side of a picture, in pixels.

    Attributes:
        standard_side: side of the standard painting; also for the shares and the bare loop.
        standard_evaluations: evaluations of the standard painting; None for the recipe's own number.
        large_side: side of a second painting; None for none.
        objectives_side: side at which each objective is timed; None to leave this out.
        share_precisions: precisions in which the share of the recipe `report` is measured, and steps; if
            empty, only steps, in the faster one.
        timed_steps, profiled_steps: numbers of steps at each size to time, and to divide by part.
        convolution_repeats: measurements of each convolution; the best counts.
        pairs: number of pairs of an evaluation of the engine and a step of the bare loop.
        report_side: side of the picture in the report's program.
        report_steps: steps of the report's program to time.
        same_network: whether to time it with the architecture of the built-in weights too.
        reference_steps: steps of a fresh reference.
        service_sides: sides of the paintings with a server, rising.
        service_evaluations: evaluations of each of these; None for a draft.
        service_rounds: number of paintings at each side, with the service and with the engine in turn.
        first_previews: measurements of the time to the first preview.
    """

    standard_side: int = 512
    standard_evaluations: int | None = None
    large_side: int | None = 1024
    objectives_side: int | None = 256
    share_precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    timed_steps: int = 3
    profiled_steps: int = 2
    convolution_repeats: int = 5
    pairs: int = 6
    report_side: int = LONGEST_SIDE
    report_steps: int = 3
    same_network: bool = True
    reference_steps: int = STEPS
    service_sides: tuple[int, ...] = (256, 512)
    service_evaluations: int | None = None
    service_rounds: int = 2
    first_previews: int = 3


FULL = Plan()
"""Takes about 10 minutes on two CPU cores."""

QUICK = Plan(
    large_side=None,
    objectives_side=None,
    share_precisions=(),
    convolution_repeats=2,
    pairs=2,
    report_steps=1,
    same_network=False,
    service_sides=(512,),
    service_rounds=1,
    first_previews=1,
)
"""Takes about 3 minutes on two CPU cores."""


@dataclasses.dataclass
class Figures:
    """All results. A figure that was not measured is None or empty.

    Attributes:
        machine: the machine.
        plan: the measurements that were made.
        seconds_per_evaluation: seconds of an evaluation of "balanced", by the picture's longer side in
            pixels; medians.
        seconds_per_evaluation_256: seconds of an evaluation at 256 px, by objective.
        convolutions: the network's convolutions alone, at the size painted for 512 px.
        convolution_gflops: the machine's convolution rate, the best of `convolutions`, by arithmetic.
        evaluation_convolution_gflop_512: operations of the convolutions in an evaluation, forward and
            backward for the image only, at the size painted for 512 px with its margin.
        evaluation_gram_gflop_512: operations of its Gram matrices and their gradients; in none of the shares.
        evaluation_gflops_512: `evaluation_convolution_gflop_512` divided by the seconds of an evaluation.
        conv_rate_share_512: `evaluation_gflops_512` as a share of the machine's convolution rate.
        conv_ceiling_share_512: this share if an evaluation took only the best times of its convolutions.
        conv_rate_share_512_report: this share for the recipe `report`, which has no margin, by arithmetic.
        steps: steps of "balanced" and of the default objective at each size, and their parts.
        bare_loop_seconds_512: seconds of a step of the bare loop.
        bare_loop_ratio_report_512, bare_loop_ratio_balanced_512: seconds of the engine's evaluation divided
            by those of the bare loop's step; medians of pairs.
        bare_loop_pixel_ratio_balanced_512: pixels of an evaluation of "balanced", which has a margin, divided
            by those of the bare loop.
        report_seconds_per_step_400: seconds of a step of the report's original program, VGG-19 in float32.
        report_seconds_per_step_400_same_network: the same with the architecture of the built-in weights.
        report_reference: the run that gives the program's final loss.
        report_reference_used: "recorded" or "fresh".
        report_recipe: the recipe with which the engine reached this loss.
        report_loss_reached: the loss that the engine reached, evaluated in float32.
        report_evaluations_to_loss: evaluations until the loss was reached.
        report_seconds_to_loss: seconds until the loss was reached, with set-up.
        report_speedup: the time of the program's steps divided by `report_seconds_to_loss`.
        report_speedup_same_network: the same with `report_seconds_per_step_400_same_network`.
        standard_512_seconds, draft_512_seconds, standard_1024_seconds: seconds of a painting of the demo pair
            with the engine alone and the default objective.
        standard_512_over_balanced, standard_1024_over_balanced: these seconds divided by those with
            "balanced".
        peak_device_mib, planned_device_mib: peak memory of a painting on a GPU, the larger of the two
            objectives, and what was planned for it, both without the network, by the longer side in pixels.
        service_overhead: time that the service adds, as a share of the engine's time, at the largest size.
        service_overhead_by_size: the same for each size, by the longer side in pixels.
        service_overhead_over_device: time that the service adds, as a share of its device's own time, at the
            largest size.
        first_preview_seconds: seconds from the request to a warm server until the first preview after an
            evaluation.
        peak_rss_mib: peak memory in MiB of the worker that painted 512 px.
        spreads: distance of the quartiles divided by the median, by measurement.
        notes: notes that a reader of these figures must know.
        seconds: duration of the run.
    """

    machine: Machine
    plan: Plan
    seconds_per_evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds_per_evaluation_256: dict[str, float] = dataclasses.field(default_factory=dict)
    convolutions: list[ConvolutionRate] = dataclasses.field(default_factory=list)
    convolution_gflops: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluation_convolution_gflop_512: float | None = None
    evaluation_gram_gflop_512: float | None = None
    evaluation_gflops_512: float | None = None
    conv_rate_share_512: float | None = None
    conv_ceiling_share_512: float | None = None
    conv_rate_share_512_report: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: list[Steps] = dataclasses.field(default_factory=list)
    bare_loop_seconds_512: float | None = None
    bare_loop_ratio_report_512: float | None = None
    bare_loop_ratio_balanced_512: float | None = None
    bare_loop_pixel_ratio_balanced_512: float | None = None
    report_seconds_per_step_400: float | None = None
    report_seconds_per_step_400_same_network: float | None = None
    report_reference: Reference | None = None
    report_reference_used: str | None = None
    report_recipe: dict[str, object] | None = None
    report_loss_reached: float | None = None
    report_evaluations_to_loss: int | None = None
    report_seconds_to_loss: float | None = None
    report_speedup: float | None = None
    report_speedup_same_network: float | None = None
    standard_512_seconds: float | None = None
    standard_512_over_balanced: float | None = None
    standard_1024_over_balanced: float | None = None
    draft_512_seconds: float | None = None
    standard_1024_seconds: float | None = None
    peak_device_mib: dict[str, float] = dataclasses.field(default_factory=dict)
    planned_device_mib: dict[str, float] = dataclasses.field(default_factory=dict)
    service_overhead: float | None = None
    service_overhead_by_size: dict[str, float] = dataclasses.field(default_factory=dict)
    service_overhead_over_device: float | None = None
    first_preview_seconds: float | None = None
    peak_rss_mib: float | None = None
    spreads: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def json(self) -> str:
        """Returns the figures as JSON, rounded to four digits."""
        return json.dumps(_rounded(dataclasses.asdict(self)), indent=2, ensure_ascii=False) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        # Losses are compared to the last digit, so they are not rounded.
        return {key: v if key == "losses" else _rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value


def table(figures: Figures) -> Group:
    """Returns the figures as a table for people."""
    machine = figures.machine
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows.add_column()
    rows.add_column(justify="right", style="bold", no_wrap=True)
    rows.add_column(style="dim", overflow="fold")
    for row in _rows(figures):
        rows.add_row(*row)
    units = f", {', '.join(machine.units)}" if machine.units else ""
    kernels = f", kernels: {machine.kernels}" if machine.kernels else ""
    head = (
        f"{machine.description} ({machine.device}){units}{kernels}, {machine.precision}, "
        f"{machine.weights} weights ({machine.architecture}), torch {machine.torch}, "
        f"impasto {machine.impasto}, {machine.date}"
    )
    notes = [Text(f"Note: {note}", style="yellow") for note in figures.notes]
    return Group(Text(head), Text(""), rows, *notes)


def _rows(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Yields the name, value and explanation of each figure that was measured."""
    for side, value in figures.seconds_per_evaluation.items():
        yield f"evaluation at {side} px", f"{value:.3g} s", "recipe balanced, with its margin; median"
    for objective, value in figures.seconds_per_evaluation_256.items():
        yield f"evaluation of {objective} at 256 px", f"{value:.3g} s", "median"
    for dtype, rate in figures.convolution_gflops.items():
        best = max((c for c in figures.convolutions if c.dtype == dtype), key=lambda c: c.gflops)
        yield (
            f"convolution rate, {dtype}",
            f"{rate:.0f} GFLOP/s",
            f"the network's fastest convolution alone ({best.name}), forward and backward for its input",
        )
    if figures.conv_rate_share_512 is not None:
        yield (
            "convolution rate reached at 512 px",
            f"{figures.conv_rate_share_512:.0%}",
            f"of the rate in {figures.machine.precision}: {figures.evaluation_convolution_gflop_512:.0f} "
            "GFLOP of convolutions per evaluation of balanced, forward and backward for the image only; "
            f"without {figures.evaluation_gram_gflop_512:.0f} GFLOP of Gram matrices",
        )
        yield (
            "the same with convolutions only",
            f"{figures.conv_ceiling_share_512:.0%}",
            "if an evaluation took only the best time of each of its convolutions",
        )
    for dtype, share in figures.conv_rate_share_512_report.items():
        yield f"the same for report in {dtype}", f"{share:.0%}", f"of the rate in {dtype}; no margin"
    for steps in figures.steps:
        last_pass = ", last pass" if steps.finishing else ""
        largest = [f"{part} {share:.0%}" for part, share in steps.time_shares.items() if share >= 0.01]
        yield (
            f"step of {steps.objective} at {steps.longest_side} px{last_pass}",
            f"{steps.rate_share:.0%}",
            f"of the convolution rate in {steps.precision}; {steps.ceiling:.0%} with convolutions only; "
            f"{1000 * steps.seconds:.3g} ms: {', '.join(largest)}",
        )
    if figures.bare_loop_seconds_512 is not None:
        yield (
            "bare loop at 512 px",
            f"{figures.bare_loop_seconds_512:.3g} s",
            f"{figures.machine.precision} network, float32 image and losses, cached targets, Adam",
        )
        yield (
            "engine over bare loop, report",
            f"{figures.bare_loop_ratio_report_512:.2f}",
            "per evaluation, measured in turn; median of pairs",
        )
        yield (
            "engine over bare loop, balanced",
            f"{figures.bare_loop_ratio_balanced_512:.2f}",
            f"with its margin it has {figures.bare_loop_pixel_ratio_balanced_512:.2f} times as many pixels",
        )
    if figures.report_seconds_per_step_400 is not None:
        yield (
            "a step of the report's program",
            f"{figures.report_seconds_per_step_400:.3g} s",
            "the original: VGG-19 in float32, 400 px",
        )
    if figures.report_seconds_per_step_400_same_network is not None:
        yield (
            "the same with VGG-16",
            f"{figures.report_seconds_per_step_400_same_network:.3g} s",
            "the architecture of the built-in weights",
        )
    if figures.report_reference is not None:
        reference = figures.report_reference
        yield (
            f"its loss after {reference.steps} steps",
            f"{reference.final_loss:.5g}",
            f"{figures.report_reference_used} reference from {reference.date}, {reference.weights} weights, "
            f"{reference.width} × {reference.height} px",
        )
    if figures.report_evaluations_to_loss is not None:
        yield (
            "the engine reaches it in",
            f"{figures.report_seconds_to_loss:.3g} s",
            f"{figures.report_evaluations_to_loss} evaluations, with set-up; "
            f"{figures.report_loss_reached:.5g} in float32",
        )
    if figures.report_speedup is not None:
        same = figures.report_speedup_same_network
        yield (
            "speed-up",
            f"{figures.report_speedup:.0f} ×",
            "over the original program" + ("" if same is None else f"; {same:.0f} × with VGG-16 in both"),
        )
    for name, seconds, ratio in (
        ("draft at 512 px", figures.draft_512_seconds, None),
        ("standard at 512 px", figures.standard_512_seconds, figures.standard_512_over_balanced),
        ("standard at 1024 px", figures.standard_1024_seconds, figures.standard_1024_over_balanced),
    ):
        if seconds is not None:
            beside = "" if ratio is None else f", {ratio:.2f} × as long as with balanced"
            yield name, f"{seconds:.3g} s", f"a whole painting with the engine alone{beside}"
    for side, peak in figures.peak_device_mib.items():
        planned = figures.planned_device_mib[side]
        yield f"memory of a painting at {side} px", f"{peak:.0f} MiB", f"peak; {planned:.0f} MiB were planned"
    for side, overhead in figures.service_overhead_by_size.items():
        yield f"the service adds at {side} px", f"{overhead:+.1%}", "to the engine's time, with previews"
    if figures.service_overhead_over_device is not None:
        yield (
            "and to its own device's time",
            f"{figures.service_overhead_over_device:+.1%}",
            "transfer, decoding and encoding of images and result",
        )
    if figures.first_preview_seconds is not None:
        yield "first preview", f"{figures.first_preview_seconds:.2f} s", "from the request to a warm server"
    if figures.peak_rss_mib is not None:
        yield "memory of the worker", f"{figures.peak_rss_mib:.0f} MiB", "peak"
