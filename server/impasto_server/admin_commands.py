"""The commands `impasto-server admin`, for the administrator on the server's machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from impasto_server.command_parts import ConfigFile, DataFolder, running_server
from impasto_server.plain_help import PlainCommand, PlainGroup, one_of

if TYPE_CHECKING:
    from impasto_server.gateway.admin_client import AdminClient

_STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")

_Jobs: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB",
        help="Names of one or more jobs, as `impasto-server admin jobs` shows them.",
        show_default=False,
    ),
]
_AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table. Default: no.")
]

admin_app = typer.Typer(
    cls=PlainGroup,
    help="See and change the jobs of all tenants of a running server. It must run on this machine.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(admin_app, name="admin")


@admin_app.command("status", cls=PlainCommand)
def show_status(
    as_json: _AsJson = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it again every 2 seconds until Ctrl-C. Default: no."),
    ] = False,
    data_dir: DataFolder = None,
    config: ConfigFile = None,
) -> None:
    """Show devices, tenants, the queue, memory, disk and the newest errors."""
    with running_server(data_dir, config) as admin:
        if not watch:
            _print_status(admin.status(), as_json=as_json)
            return
        try:
            for status in admin.watch_status():
                if not as_json and sys.stdout.isatty():
                    # Clears the terminal, so that the table stays in place.
                    typer.echo("\x1b[H\x1b[2J", nl=False)
                _print_status(status, as_json=as_json)
        except KeyboardInterrupt:
            # This is how watching usually ends, so it is no error.
            raise typer.Exit(130) from None


def _print_status(status: Any, *, as_json: bool) -> None:
    from impasto_server.gateway.admin_tables import as_data, status_text

    typer.echo(json.dumps(as_data(status)) if as_json else status_text(status))


@admin_app.command("jobs", cls=PlainCommand)
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(
            parser=one_of(*_STATES),
            metavar="STATE",
            help=f"State of the jobs to list: {', '.join(_STATES[:-1])} or {_STATES[-1]}. Repeat the option "
            "for several states. Default: all jobs that are not final.",
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tenant whose jobs to list. Default: all tenants.")
    ] = None,
    as_json: _AsJson = False,
    data_dir: DataFolder = None,
    config: ConfigFile = None,
) -> None:
    """List the jobs of all tenants, the newest first."""
    with running_server(data_dir, config) as admin:
        from impasto_server.gateway.admin_tables import as_data, jobs_table

        jobs = admin.jobs(state or _STATES[:3], tenant)
        typer.echo(json.dumps([as_data(job) for job in jobs]) if as_json else jobs_table(jobs))


@admin_app.command("cancel", cls=PlainCommand)
def cancel(jobs: _Jobs, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """Cancel jobs. They cannot be resumed."""
    _change("cancel", jobs, data_dir, config)


@admin_app.command("pause", cls=PlainCommand)
def pause(jobs: _Jobs, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """Pause jobs. Their work is kept, and their owners can resume them."""
    _change("pause", jobs, data_dir, config)


@admin_app.command("resume", cls=PlainCommand)
def resume(jobs: _Jobs, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """Continue paused jobs."""
    _change("resume", jobs, data_dir, config)


@admin_app.command("hold", cls=PlainCommand)
def hold(jobs: _Jobs, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """Pause jobs, and keep their owners from resuming them."""
    _change("hold", jobs, data_dir, config)


@admin_app.command("release", cls=PlainCommand)
def release(jobs: _Jobs, data_dir: DataFolder = None, config: ConfigFile = None) -> None:
    """End the hold of jobs. Those that their owners have paused stay paused."""
    _change("release", jobs, data_dir, config)


def _change(action: str, jobs: list[str], data_dir: Path | None, config: Path | None) -> None:
    """Changes jobs one after the other. If some cannot be changed, says which, and ends with code 2."""
    with running_server(data_dir, config) as admin:
        from impasto_server.gateway.admin_client import AdminError

        faults = 0
        for job in jobs:
            name = job if job.startswith("jobs/") else f"jobs/{job}"
            try:
                _say(admin, action, name)
            except AdminError as error:
                if len(jobs) == 1:
                    raise
                faults += 1
                typer.echo(f"impasto-server: {error}", err=True)
        if faults:
            raise typer.Exit(2)


def _say(admin: AdminClient, action: str, name: str) -> None:
    from impasto_server.gateway.admin_tables import owner, state_of

    changed = admin.change(action, name)
    typer.echo(f"{changed.job.name} of {owner(changed.tenant)}: {state_of(changed.job)}")
