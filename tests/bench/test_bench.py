"""The whole bench with tiny pictures, and its command."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from impasto_server.bench import commands
from impasto_server.bench.bench import measure
from impasto_server.bench.figures import FULL, QUICK, Figures, Plan, table
from impasto_server.bench.profile import PARTS
from impasto_server.bench.timing import UNSTEADY, Timing
from impasto_server.commands import app
from impasto_server.engine.objectives import OBJECTIVES

pytestmark = pytest.mark.slow

TINY = Plan(
    standard_side=32,
    standard_evaluations=4,
    large_side=48,
    objectives_side=64,
    timed_steps=1,
    profiled_steps=1,
    convolution_repeats=1,
    pairs=1,
    report_side=32,
    report_steps=1,
    reference_steps=1,
    service_sides=(24, 32),
    service_evaluations=3,
    service_rounds=1,
    first_previews=1,
)

PROMISED = {
    "seconds_per_evaluation",
    "conv_rate_share_512",
    "report_seconds_per_step_400",
    "report_evaluations_to_loss",
    "report_speedup",
    "standard_512_seconds",
    "service_overhead",
    "first_preview_seconds",
    "peak_rss_mib",
}


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def figures(said: list[str]) -> Figures:
    return measure(TINY, device="cpu", weights="builtin", reference="fresh", say=said.append)


def test_every_figure_is_measured(figures: Figures) -> None:
    found = json.loads(figures.json())
    assert found.keys() >= PROMISED
    missing = [name for name, value in found.items() if value is None or value == {} or value == []]
    # A GPU's memory.
    assert set(missing) <= {"notes", "peak_device_mib", "planned_device_mib"}
    assert set(found["seconds_per_evaluation"]) == {"32", "48"}
    assert set(found["seconds_per_evaluation_256"]) == set(OBJECTIVES)
    assert found["convolution_gflops"].keys() == {"float32", "bfloat16"}
    assert found["machine"]["device"] == "cpu"
    assert found["report_reference_used"] == "fresh"
    assert found["report_loss_reached"] <= found["report_reference"]["losses"]["1"]
    assert found["report_recipe"]["optimizer"] == "lbfgs"
    assert found["peak_rss_mib"] > 100


def test_speedup_and_share_follow_from_the_other_figures(figures: Figures) -> None:
    assert figures.report_speedup == pytest.approx(
        figures.report_seconds_per_step_400 / figures.report_seconds_to_loss
    )
    assert figures.conv_rate_share_512 == pytest.approx(
        figures.evaluation_convolution_gflop_512
        / figures.seconds_per_evaluation["32"]
        / figures.convolution_gflops[figures.machine.precision]
    )


def test_steps_are_divided_by_part(figures: Figures) -> None:
    measured = {(steps.objective, steps.precision) for steps in figures.steps}
    assert measured == {(o, p) for o in ("balanced", "neighbours") for p in ("float32", "bfloat16")}
    for steps in figures.steps:
        assert steps.longest_side == 32
        assert set(steps.time_shares) == set(PARTS)
        rate = figures.convolution_gflops[steps.precision]
        assert steps.rate_share == pytest.approx(steps.gflop / steps.seconds / rate)
    gflop = {steps.objective: steps.gflop for steps in figures.steps}
    # It runs no further than relu4_3.
    assert gflop["neighbours"] < gflop["balanced"]


def test_it_reports_its_progress(figures: Figures, said: list[str]) -> None:
    assert any("standard painting" in text for text in said)
    assert any("service" in text for text in said)


def test_the_table_has_the_figures_and_the_machine(figures: Figures) -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table(figures))
    text = console.export_text()
    assert f"{figures.report_speedup:.0f} ×" in text
    assert "fresh reference" in text
    assert figures.machine.description in text


def test_the_table_of_a_quick_run_omits_figures_that_were_not_measured(figures: Figures) -> None:
    bare = Figures(figures.machine, QUICK)
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table(bare))
    assert "1024" not in console.export_text()
    assert json.loads(bare.json())["standard_1024_seconds"] is None


def test_the_spread_of_measurements_is_computed() -> None:
    assert Timing.of([1.0]).spread == 0
    assert Timing.of([1.0, 1.0, 1.0, 1.0]).spread == 0
    steady, unsteady = Timing.of([1.0, 1.01, 1.02]), Timing.of([1.0, 1.5, 2.0])
    assert steady.spread < 0.05 < 0.3 < unsteady.spread
    assert unsteady.median == 1.5
    assert unsteady.best == 1.0


def test_a_note_names_the_unsteady_measurements(figures: Figures) -> None:
    unsteady = [name for name, spread in figures.spreads.items() if spread > UNSTEADY]
    assert all(any(name in note for note in figures.notes) for name in unsteady)


@pytest.fixture
def tiny_command(monkeypatch: pytest.MonkeyPatch, figures: Figures) -> None:
    """Makes the command return figures that were measured before, so that it takes no time."""

    def measured(plan: Plan, **_: object) -> Figures:
        return dataclasses.replace(figures, plan=plan)

    monkeypatch.setattr("impasto_server.bench.bench.measure", measured)


@pytest.mark.usefixtures("tiny_command")
def test_the_command_prints_a_table_or_json_and_writes_a_file(tmp_path: Path) -> None:
    runner = CliRunner()
    assert "speed-up" in runner.invoke(app, ["bench"]).stdout
    assert (
        json.loads(runner.invoke(app, ["bench", "--quick", "--json"]).stdout)["plan"]["pairs"] == QUICK.pairs
    )
    out = tmp_path / "figures.json"
    result = runner.invoke(app, ["bench", "--json", str(out)])
    assert result.exit_code == 0
    assert "speed-up" in result.stdout
    assert json.loads(out.read_text())["plan"]["pairs"] == FULL.pairs


def test_a_file_without_json_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "figures.json"])
    assert result.exit_code == 2
    assert "--json" in result.stderr


def test_an_unknown_device_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "--device", "abacus"])
    assert result.exit_code == 2
    assert "abacus" in result.stderr


def test_ctrl_c_ends_it_with_a_short_message() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto_server", "bench", "--quick", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        while "standard painting" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == "stopped"
    assert "Traceback" not in stderr


def test_only_the_command_line_imports_the_bench() -> None:
    server = Path(commands.__file__).parents[1]
    for file in server.rglob("*.py"):
        if file.parent.name == "bench" or file == server / "commands.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(module.startswith("impasto_server.bench") for module in modules), file
