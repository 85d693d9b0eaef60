"""What the commands of `kwc sweep` share: the plan of a sweep file, and how it is printed."""

import argparse
import collections
import dataclasses
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rich.box
import rich.console
import rich.markup
import rich.table

from launch import grid, identity, layout, results, trials
from launch.gin_merge import find_file
from launch.trials import State, Status, Trial

_PIPE_COLUMNS = 200
_COLOURS = {
    State.DONE: "green",
    State.FAILED: "red",
    State.BROKEN: "red",
    State.BLOCKED: "yellow",
    State.PENDING: "default",
}


def add_command(
    commands: Any, name: str, handler: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Adds one command with the arguments that all share."""
    command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    command.set_defaults(handler=handler)
    command.add_argument("sweep", metavar="SWEEP.gin", help="a sweep file")
    command.add_argument(
        "--runs", default="runs", metavar="FOLDER", help="where sweeps write (default: runs)"
    )
    return command


def add_only(command: argparse.ArgumentParser) -> None:
    """Adds `--only`, for commands that can take a part of a sweep."""
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="AXIS=VALUE",
        help="keep trials with this value, and their baselines; give it again to widen an axis or "
        "to narrow by another",
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep file, expanded, with what its folder shows.

    Attributes:
        folder: `runs/<sweep>/`.
        sweep: What the file binds.
        text: The file, merged and canonical.
        trials: All trials of the sweep, each baseline before the trials that need it.
        selected: Those that `--only` keeps.
        statuses: The status of each trial by id.
        identity: What joined the configs in the ids.
    """

    folder: pathlib.Path
    sweep: grid.Sweep
    text: str
    trials: list[Trial]
    selected: list[Trial]
    statuses: dict[str, Status]
    identity: identity.Identity


def read(arguments: argparse.Namespace) -> Plan:
    """Reads the sweep file and the folder that the arguments name."""
    path = find_file(arguments.sweep)
    sweep, text = grid.load(path)
    identify = identity.Identity()
    planned = grid.expand(sweep, path.parent, identify)
    folder = pathlib.Path(arguments.runs) / sweep.name
    selected = trials.select(planned, getattr(arguments, "only", []))
    statuses = trials.read_statuses(folder, planned)
    return Plan(folder, sweep, text, planned, selected, statuses, identify)


def write_report(plan: Plan) -> None:
    """Writes every part of the report of a sweep."""
    from launch import report

    trials.save_table(plan.folder, plan.trials)
    report.write(plan.folder)


def console() -> rich.console.Console:
    """Returns a console on the terminal itself: a running trial redirects standard output."""
    if sys.stdout.isatty():
        return rich.console.Console(file=os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    return rich.console.Console(width=_PIPE_COLUMNS)


def print_table(
    console: rich.console.Console, shown: Sequence[Trial], statuses: dict[str, Status]
) -> None:
    """Prints one line per trial, and the totals."""
    axes = list(dict.fromkeys(axis for trial in shown for axis in trial.axes))
    table = rich.table.Table("id", "kind", *axes, "seed", "state", box=rich.box.SIMPLE_HEAD)
    table.add_column("result", justify="right")
    for trial in shown:
        status = statuses[trial.id]
        values = [trials.axis_label(trial.axes[a]) if a in trial.axes else "" for a in axes]
        cells = [trial.id, trial.kind, *map(rich.markup.escape, values), str(trial.seed)]
        state = f"[{_COLOURS[status.state]}]{status.state}[/]"
        table.add_row(*cells, state, results.headline(status.result) if status.result else "")
    console.print(table)
    console.print(totals(shown, statuses), highlight=False)


def totals(shown: Sequence[Trial], statuses: dict[str, Status]) -> str:
    """Returns how many trials there are of each kind and state."""
    kinds = collections.Counter(trial.kind for trial in shown)
    states = collections.Counter(statuses[trial.id].state for trial in shown)
    counts = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    kind_counts = f"{kinds['baseline']} baseline, {kinds['compression']} compression"
    return f"{len(shown)} trials ({kind_counts}): {counts}"


def print_failures(console: rich.console.Console, plan: Plan) -> None:
    """Prints each trial that failed, its cause and its log."""
    for trial in plan.selected:
        status = plan.statuses[trial.id]
        if status.state in (State.FAILED, State.BROKEN):
            log = plan.folder / trial.id / layout.LOG
            console.print(f"[red]{status.state}[/] {trial.id}  {trial.describe()}", highlight=False)
            for line in (status.note, f"log: {log}"):
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def print_outputs(console: rich.console.Console, folder: pathlib.Path) -> None:
    """Prints where the report is."""
    for name in (layout.SUMMARY, layout.RESULTS_CSV, layout.PARETO):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)
    command = f"tensorboard --logdir {shlex.quote(str(folder / layout.TENSORBOARD))}"
    console.print(command, highlight=False, soft_wrap=True)
