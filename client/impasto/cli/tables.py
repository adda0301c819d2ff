"""The tables that the command line prints: a server, its jobs, its styles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from impasto.cli.words import counted, duration, escaped, finding

if TYPE_CHECKING:
    from rich.table import Table

    from impasto.job import Estimate, Job, NamedStyle, ServerInfo

SHORTEST_NAME = 8
"""Number of characters that a job's short name has at least."""
_STATE_STYLES = {"running": "cyan", "succeeded": "green", "failed": "red"}


def server_table(info: ServerInfo) -> None:
    """Prints what a server has: devices, weights and limits."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("version", escaped(info.version))
    several_machines = len({device.machine for device in info.devices if device.machine}) > 1
    for device in info.devices:
        precision = f", {device.auto_precision}" if device.auto_precision else ""
        memory = f", {device.memory_bytes / 2**30:,.1f} GiB for jobs" if device.memory_bytes else ""
        restarts = f", restarted {counted(device.restarts, 'time')}" if device.restarts else ""
        machine = f"on {device.machine}, " if several_machines and device.machine else ""
        state = f"{machine}{device.state}{precision}{memory}{restarts}"
        table.add_row(escaped(device.name), escaped(f"{device.description} ({state})"))
    if info.network is None:
        table.add_row("weights", "not loaded yet")
    else:
        table.add_row("weights", escaped(f"{info.network.weights} ({info.network.architecture})"))
        table.add_row("origin", escaped(info.network.origin))
    limits = info.limits
    table.add_row("formats", escaped(", ".join(info.accepted_formats)))
    table.add_row("longest side", f"at most {limits.max_longest_side:,} px")
    table.add_row("image sent", f"at most {limits.max_image_pixels / 1e6:,.0f} megapixels")
    table.add_row("request", f"at most {limits.max_request_bytes / 2**20:,.0f} MiB")
    table.add_row("styles", f"at most {limits.max_styles}")
    table.add_row("regions", f"at most {limits.max_regions}")
    if info.tenant:
        table.add_row("tenant", escaped(info.tenant))
    table.add_row("jobs", f"{info.unfinished_jobs} of at most {limits.max_unfinished_jobs}")
    Console().print(table)


def estimate_table(estimate: Estimate) -> None:
    """Prints what painting would take."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("size", f"{estimate.width} × {estimate.height} px")
    table.add_row("evaluations", f"{estimate.recipe.evaluations or 0:,}")
    plan = estimate.memory_plan
    tiles = f", in tiles of {plan.tile_side} px" if plan.tile_side else ""
    table.add_row("memory", f"{plan.estimated_bytes / 2**20:,.0f} MiB{tiles}")
    table.add_row("device", escaped(estimate.device))
    unknown = "not known"
    table.add_row("time", unknown if estimate.device_time is None else duration(estimate.device_time))
    others = counted(estimate.other_jobs, "other job")
    left = unknown if estimate.time_left is None else duration(estimate.time_left)
    table.add_row("result in", f"{left} ({others})" if estimate.other_jobs else left)
    Console().print(table)


def jobs_table(jobs: Sequence[Job], now: datetime, note: str = "") -> Table:
    """Returns a table of jobs.

    Args:
        now: the time from which the jobs' ages are computed, with a time zone.
        note: a line below the table.
    """
    from rich.table import Table

    table = Table(box=None, caption=escaped(note) or None, caption_justify="left")
    for heading in ("job", "state", "title", "progress", "left", "device", "age"):
        table.add_column(heading, overflow="ellipsis" if heading == "title" else "fold", no_wrap=True)
    for job, name in zip(jobs, short_names([job.name for job in jobs]), strict=True):
        left = job.progress.time_left if job.progress and not job.is_final else None
        age = (now - job.create_time).total_seconds() if job.create_time else None
        table.add_row(
            escaped(name),
            f"[{_STATE_STYLES.get(job.state, '')}]{job.state}[/]"
            if job.state in _STATE_STYLES
            else escaped("held" if job.held else job.state),
            escaped(job.title),
            _progress(job),
            duration(left) if left is not None else "",
            escaped(job.device),
            duration(max(0.0, age)) if age is not None else "",
        )
    return table


def _progress(job: Job) -> str:
    """Returns the place of a queued job; else its evaluations, and how far the search for neighbours is."""
    if job.queue_position:
        return f"number {job.queue_position}"
    if job.progress is None:
        return ""
    searching = "" if job.is_final else finding(job.progress)
    return " ".join([f"{job.progress.evaluation}/{job.progress.evaluations}", searching]).strip()


def short_names(names: Sequence[str]) -> list[str]:
    """Returns each job's identifier, cut to the fewest characters, at least 8, that no other begins with."""
    identifiers = [name.removeprefix("jobs/") for name in names]
    ordered = sorted(set(identifiers))
    lengths = {}
    for i, identifier in enumerate(ordered):
        neighbours = ordered[max(0, i - 1) : i] + ordered[i + 1 : i + 2]
        alike = max((_alike(identifier, other) for other in neighbours), default=0)
        lengths[identifier] = max(SHORTEST_NAME, alike + 1)
    return [identifier[: lengths[identifier]] for identifier in identifiers]


def _alike(one: str, other: str) -> int:
    """Returns the length of the beginning that two texts have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def styles_table(styles: Sequence[NamedStyle]) -> None:
    """Prints a server's styles."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in ("style", "title", "size"):
        table.add_column(heading, overflow="fold")
    for style in styles:
        table.add_row(escaped(style.name), escaped(style.title), f"{style.width} × {style.height}")
    Console().print(table)
