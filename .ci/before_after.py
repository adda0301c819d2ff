"""Compares the engine of two checkouts on this machine: `python .ci/before_after.py BASE_CHECKOUT`.

It prints how long a step takes in each, and the ratio. The two work in turn, a second at a time, so that
whatever else the machine does slows both alike. With --pictures it paints with both and compares the
paintings instead; the exit code is 1 if fewer than 99 % of the pixels of a painting are within one grey level
of those before.

An optimiser magnifies rounding differences with every move, until two runs differ as two seeds do. The
pictures after the first moves therefore tell whether a change only rounds differently: their difference is
printed in grey levels and as a share of the distance that the moves went. What rounding alone does is shown
by --control, which compares the base with itself on one thread less: sums are then rounded in another order.

Each case has a fresh process for each checkout, which runs this file with `--child`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
OBJECTIVES = ("balanced", "neighbours", "report", "wasserstein")
PRECISIONS = ("bfloat16", "float32")
ROUND_SECONDS = 0.7
"""Approximate time that one checkout works before it is the other's turn."""
MOVES = (1, 5)
"""Moves at full size after which pictures are compared."""
MOST_EVALUATIONS = 100
"""Evaluations of a painting of `report`, which would make 2000."""
ENOUGH = 0.99
"""Least share of a painting's pixels that must be within one grey level."""

Samples = npt.NDArray[np.float64]
"""A picture, (H, W, 3), in grey levels from 0 to 255, not rounded to whole ones."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What both checkouts do: the fields of a recipe, and the number of a pair of content and style."""

    objective: str
    precision: str
    side: int
    pair: int = 0

    def __str__(self) -> str:
        return f"{self.objective:<12}{self.precision:<10}{self.side:>5} px"


class Child:
    """A process that works with one checkout and does one order at a time.

    Args:
        checkout: folder of the checkout.
        options: the command's options.
        threads: number of threads on a CPU; None for the usual one.
    """

    def __init__(self, checkout: Path, options: argparse.Namespace, threads: int | None = None) -> None:
        # Not above: a child runs this file with the modules of another checkout.
        from impasto_server.fleet.local_process import worker_environment

        self.checkout = checkout
        paths = os.pathsep.join(str(checkout / part) for part in ("server", "client"))
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child"],
            env={**worker_environment(), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            about = self.ask(
                "begin",
                device=options.device,
                weights=options.weights,
                pairs=options.pairs,
                threads=threads,
            )
            if not Path(about["package"]).is_relative_to(checkout):
                sys.exit(f"before_after.py: {about['package']} was imported instead of {checkout}")
            self.threads: int = about["threads"]
        except BaseException:
            self.end()
            raise

    def ask(self, order: str, **arguments: Any) -> Any:
        """Gives an order; returns the answer when the work is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"before_after.py: the process of {self.checkout} has ended; its error is above")
        return json.loads(answer)

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def both(options: argparse.Namespace) -> Iterator[tuple[Child, Child]]:
    """Starts a process for each checkout, and ends them afterwards."""
    with contextlib.ExitStack() as stack:
        before = Child(options.base, options)
        stack.callback(before.end)
        if options.control:
            after = Child(options.base, options, threads=max(1, before.threads - 1))
            if after.threads == before.threads:
                sys.exit(
                    "before_after.py: --control needs more than one thread; set OMP_NUM_THREADS to 2 or more"
                )
        else:
            after = Child(options.new, options)
        stack.callback(after.end)
        yield before, after


# Speed


def compare_speed(cases: Sequence[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times steps of each case with both checkouts in turn and prints a line for each."""
    print(f"{'':<30}{'before':>11}{'after':>11}  after ÷ before")
    print(f"{'':<30}{'median':>11}{'median':>11}{'median':>8}{'quartiles':>14}{'of minima':>11}")
    found = []
    for case in cases:
        with both(options) as children:
            before, after = timed_in_turn(children, case, options.rounds)
        ratios = [
            b / a for a, b in zip(map(statistics.median, before), map(statistics.median, after), strict=True)
        ]
        low, middle, high = quartiles(ratios)
        medians = [statistics.median(step for steps in turns for step in steps) for turns in (before, after)]
        minima = [min(step for steps in turns for step in steps) for turns in (before, after)]
        of_minima = minima[1] / minima[0]
        print(
            f"{case!s:<30}{1000 * medians[0]:>8.1f} ms{1000 * medians[1]:>8.1f} ms{middle:>8.3f}"
            f"{f'{low:.3f}–{high:.3f}':>14}{of_minima:>11.3f}",
            flush=True,
        )
        found.append(
            dataclasses.asdict(case)
            | {
                "before_seconds": medians[0],
                "after_seconds": medians[1],
                "ratio": middle,
                "ratio_quartiles": [low, high],
                "ratio_of_minima": of_minima,
            }
        )
    for precision in options.precisions:
        for side in options.sides:
            of = [case["ratio"] for case in found if (case["precision"], case["side"]) == (precision, side)]
            print(f"{'geometric mean':<12}{precision:>9}{side:>6} px{statistics.geometric_mean(of):>32.3f}")
    return found


def timed_in_turn(
    children: tuple[Child, Child], case: Case, rounds: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Returns the seconds of the steps of each round, of one checkout and of the other."""
    warm = [child.ask("open", **dataclasses.asdict(case)) for child in children]
    count = max(1, min(50, round(ROUND_SECONDS / min(warm))))
    steps: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number in range(rounds):
        # Each begins every other round, so that neither always works on a warmer processor.
        for which in ((0, 1), (1, 0))[number % 2]:
            steps[which].append(children[which].ask("step", count=count))
    return steps


def quartiles(values: Sequence[float]) -> list[float]:
    """Returns the first quartile, the median and the third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3


# Pictures


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two pictures differ.

    Attributes:
        within_one: share of the pixels of which no channel differs by more than one grey level, in 8 bits.
        largest: the largest difference of a sample in grey levels.
        rms: root of the mean squared difference in grey levels.
    """

    within_one: float
    largest: float
    rms: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
        return 20 * math.log10(255 / self.rms) if self.rms else math.inf

    def __str__(self) -> str:
        if not self.largest:
            return "equal"
        return f"{self.within_one:.2%} within 1, largest {self.largest:.2g}, {self.psnr:.0f} dB"


def difference(before: Samples, after: Samples) -> Difference:
    """Compares two pictures of one size."""
    apart = np.abs(before - after)
    whole_levels = np.abs(before.round() - after.round()).max(axis=2)
    return Difference(
        float((whole_levels <= 1).mean()), float(apart.max()), float(np.sqrt(np.square(apart).mean()))
    )


def compare_pictures(cases: Sequence[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Paints each case with both checkouts, compares the pictures and prints a block for each."""
    found = []
    for case in cases:
        with both(options) as children, tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("before.npz", "after.npz")]
            told = [
                child.ask("paint", file=str(file), **dataclasses.asdict(case))
                for child, file in zip(children, files, strict=True)
            ]
            before, after = ({name: of[name] / 257 for name in of} for of in map(np.load, files))
        losses = told[1]["loss"] / told[0]["loss"]
        seconds = told[1]["seconds"] / told[0]["seconds"]
        print(f"{case}, {told[0]['pair']}")
        moves = {}
        for move in MOVES:
            name = f"move {move}"
            went = difference(before["start"], before[name]).rms
            moved = difference(before[name], after[name])
            share = moved.rms / went if went else math.nan
            print(f"    {name + ' at full size':<24}{moved}; {share:.2g} of the distance")
            moves[name] = dataclasses.asdict(moved) | {"share_of_distance": share}
        painted = difference(before["result"], after["result"])
        worse = "" if painted.within_one >= ENOUGH else "  BELOW 99 %"
        print(f"    {'whole painting':<24}{painted}{worse}")
        evaluations = " and ".join(dict.fromkeys(str(of["evaluations"]) for of in told))
        print(
            f"    {'':<24}loss × {losses:.5f}, seconds × {seconds:.3f}, {evaluations} evaluations", flush=True
        )
        found.append(
            dataclasses.asdict(case)
            | {"moves": moves, "painting": dataclasses.asdict(painted) | {"psnr": painted.psnr}}
            | {"pair": told[0]["pair"], "loss_ratio": losses, "seconds_ratio": seconds}
        )
    print(f"at least {ENOUGH:.0%} of the pixels are within one grey level")
    parts = {f"after move {move}": [case["moves"][f"move {move}"] for case in found] for move in MOVES}
    parts["whole painting"] = [case["painting"] for case in found]
    for name, differences in parts.items():
        enough = sum(of["within_one"] >= ENOUGH for of in differences)
        print(f"    {name:<24}{enough} of {len(found)}")
    return found


# What a checkout's process does


class Work:
    """Carries out the orders in a process that imports the engine of one checkout."""

    def begin(self, device: str, weights: str, pairs: str | None, threads: int | None) -> dict[str, Any]:
        """Loads the network."""
        import torch

        import impasto_server
        from impasto_server.bench.comparison import Pair, read_pairs
        from impasto_server.bench.pictures import demo_content, demo_style
        from impasto_server.engine import Network, load_weights
        from impasto_server.engine.devices import keep_freed_memory

        if threads is not None:
            torch.set_num_threads(threads)
        keep_freed_memory()
        self._device = device
        self._network = Network(load_weights(weights)).to(device)
        self._pairs = read_pairs(Path(pairs)) if pairs else [Pair(demo_content(), demo_style())]
        package = Path(impasto_server.__file__).resolve()
        return {"package": str(package), "threads": torch.get_num_threads()}

    def count_pairs(self) -> int:
        """Returns the number of pairs."""
        return len(self._pairs)

    def open(self, **case: Any) -> float:
        """Opens a painting at one size and makes its targets and a few steps; returns the seconds of one."""
        self._session = self._opened(Case(**case), one_scale=True, evaluations=100_000)
        while next(iter(self._session)).preparing is not None:
            pass
        return min(self.step(3))

    def step(self, count: int) -> list[float]:
        """Makes steps; returns the seconds of each."""
        from impasto_server.bench.timing import seconds

        return [seconds(self._session.step, self._device) for _ in range(count)]

    def paint(self, file: str, **case: Any) -> dict[str, Any]:
        """Makes moves at full size and a whole painting; writes the pictures, with 16 bits, into a file."""
        asked = Case(**case)
        # One more evaluation, because the last one of L-BFGS makes no move.
        session = self._opened(asked, one_scale=True, evaluations=max(MOVES) + 1)
        pictures = {"start": session.samples(16)}
        for progress in session:
            if progress.preparing is None and progress.evaluation in MOVES:
                pictures[f"move {progress.evaluation}"] = session.samples(16)
        begin = time.perf_counter()
        session = self._opened(asked, evaluations=MOST_EVALUATIONS if asked.objective == "report" else None)
        loss = [progress.loss for progress in session][-1]
        pictures["result"] = session.samples(16)
        seconds = time.perf_counter() - begin
        np.savez(file, **pictures)
        pair = self._pairs[asked.pair]
        return {
            "pair": f"{pair.content.name} in the style of {pair.style.name}",
            "evaluations": session.evaluation,
            "loss": loss,
            "seconds": seconds,
        }

    def _opened(self, case: Case, *, one_scale: bool = False, evaluations: int | None = None) -> Any:
        """Returns a session, on request with one scale only, the full size."""
        from impasto_server.engine import Recipe, Scene, Session, Style
        from impasto_server.engine.objectives import OBJECTIVES

        pair = self._pairs[case.pair]
        definition = OBJECTIVES[case.objective]
        if one_scale:
            OBJECTIVES[case.objective] = dataclasses.replace(definition, coarsest=None, finishing_share=0.0)
        try:
            return Session(
                Recipe(
                    objective=case.objective,
                    longest_side=case.side,
                    precision=case.precision,  # type: ignore[arg-type]
                    evaluations=evaluations,
                    # The whole painting makes the same number of moves with both.
                    stop_on_plateau=False,
                ),
                Scene(content=pair.content.image, styles=[Style(pair.style.image)]),
                self._network,
            )
        finally:
            OBJECTIVES[case.objective] = definition


def work() -> None:
    """Carries out the orders on stdin until it is closed."""
    # On Ctrl-C the command ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    orders: Callable[[str], Any] = Work().__getattribute__
    for line in sys.stdin:
        arguments = json.loads(line)
        answers.write(json.dumps(orders(arguments.pop("order"))(**arguments)) + "\n")
        answers.flush()


# The command


def chosen(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Returns a parser of an option that names some of the values, separated by commas."""
    allowed = tuple(values)

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if wrong := set(names) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)} is none of {', '.join(allowed)}")
        return names

    return parse


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the command's options."""
    # The lines of this file's head, as they are.
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=checkout, metavar="BASE_CHECKOUT", help="Checkout of the state before.")
    parser.add_argument(
        "--new", type=checkout, default=ROOT, help="Checkout of the state after. Default: this one."
    )
    parser.add_argument(
        "--control", action="store_true", help="Compare the base with itself, on one thread less."
    )
    parser.add_argument("--pictures", action="store_true", help="Compare paintings, not speed.")
    parser.add_argument(
        "--objectives",
        type=chosen(("balanced", "gatys", "neighbours", "report", "wasserstein")),
        default=[*OBJECTIVES],
        help=f"Default: {','.join(OBJECTIVES)}.",
    )
    parser.add_argument(
        "--precisions",
        type=chosen(PRECISIONS),
        default=[*PRECISIONS],
        help=f"Default: {','.join(PRECISIONS)}.",
    )
    parser.add_argument(
        "--sides",
        type=lambda text: [int(side) for side in text.split(",")],
        help="Longer sides in pixels. Default: 128,256,512; with --pictures 256,512.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="Turns of each checkout. Default: 7.")
    parser.add_argument(
        "--pairs",
        metavar="FILE.txt",
        help="Pairs to paint, as for `contact-sheet`. Default: that of `impasto demo`.",
    )
    parser.add_argument("--device", default="cpu", help="Default: cpu.")
    parser.add_argument("--weights", default="builtin", help="Default: builtin.")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="File for all numbers. Default: none.")
    options = parser.parse_args(arguments)
    options.sides = options.sides or ([256, 512] if options.pictures else [128, 256, 512])
    if options.pairs:
        options.pairs = str(Path(options.pairs).resolve())
    return options


def checkout(text: str) -> Path:
    """Returns the folder of a checkout."""
    folder = Path(text).resolve()
    if not (folder / "server" / "impasto_server").is_dir():
        raise argparse.ArgumentTypeError(f"{text} has no folder server/impasto_server")
    return folder


def described(folder: Path) -> str:
    """Returns a checkout's folder and commit; "+" if files are changed."""
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True)
    return f"{folder} ({done.stdout.strip() or 'not a git checkout'})"


def main() -> int:
    """Runs the command; returns its exit code."""
    options = parsed()
    pairs = range(1)
    if options.pictures:
        with both(options) as (child, _):
            pairs = range(child.ask("count_pairs"))
    cases = [
        Case(objective, precision, side, pair)
        for pair in pairs
        for precision in options.precisions
        for objective in options.objectives
        for side in options.sides
    ]
    after = "the same on one thread less" if options.control else described(options.new)
    print(f"before: {described(options.base)}\nafter:  {after}")
    begin = time.perf_counter()
    found = (compare_pictures if options.pictures else compare_speed)(cases, options)
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(options.pictures and any(case["painting"]["within_one"] < ENOUGH for case in found))


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        work()
    else:
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)
