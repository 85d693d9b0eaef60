"""What the commands of `kwc sweep` share: the plan of a sweep file, and how it is printed."""

import argparse
import collections
import dataclasses
import functools
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rich.box
import rich.console
import rich.markup
import rich.table

from kwc import files
from launch import changes, grid, halving, identity, layout, results, shared, trials
from launch.gin_merge import find_file
from launch.trials import State, Status, Trial

_PIPE_COLUMNS = 200
_MOST_ROWS = 200
_COLOURS = {
    State.DONE: "green",
    State.FAILED: "red",
    State.BROKEN: "red",
    State.BLOCKED: "yellow",
    State.PENDING: "default",
}


def add_command(
    commands: Any,
    name: str,
    handler: Callable[[argparse.Namespace], int],
    text: str,
    *,
    several: bool = False,
) -> argparse.ArgumentParser:
    """Adds one command with the arguments that all share.

    Args:
        commands: What the command is added to.
        name: Its name.
        handler: Called with the parsed arguments; returns the exit status.
        text: What it does.
        several: Whether it takes any number of sweep files, for `read_each`, or one, for `read`.
    """
    command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    command.set_defaults(handler=handler)
    if several:
        command.add_argument("sweeps", metavar="SWEEP.gin", nargs="+", help="sweep files")
    else:
        command.add_argument("sweep", metavar="SWEEP.gin", help="a sweep file")
    command.add_argument(
        "--runs",
        default="runs",
        metavar="FOLDER",
        help="where sweeps write: a folder (default: runs), or a URL such as gs://bucket/runs",
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
        mirror: The sweep at its URL, if the run folder is one; `folder` is then its local copy.
        stops: The points that halving has stopped.
        ahead: How many more trials later rungs of halving may ask for.
    """

    folder: pathlib.Path
    sweep: grid.Sweep
    text: str
    trials: list[Trial]
    selected: list[Trial]
    statuses: dict[str, Status]
    identity: identity.Identity
    mirror: shared.Mirror | None = None
    stops: Sequence[halving.Stop] = ()
    ahead: int = 0


def locate(arguments: argparse.Namespace, sweep: str) -> tuple[pathlib.Path, shared.Mirror | None]:
    """Returns the folder of a sweep; that of a URL is its local copy, with the mirror of both."""
    if not shared.is_url(arguments.runs):
        return pathlib.Path(arguments.runs) / sweep, None
    mirror = shared.locate(arguments.runs, sweep)
    if not mirror.path.is_dir():
        print(f"{mirror.url} is mirrored in {mirror.path}", file=sys.stderr)
    shared.pull(mirror)
    return mirror.path, mirror


def read(arguments: argparse.Namespace) -> Plan:
    """Reads the sweep file and the folder that the arguments name."""
    return _read(arguments.sweep, arguments, identity.Identity())


def read_each(arguments: argparse.Namespace, console: rich.console.Console) -> Iterator[Plan]:
    """Reads sweep after sweep, with one identity for all; of several, prints the name of each."""
    identify = identity.Identity()
    for name in arguments.sweeps:
        plan = _read(name, arguments, identify)
        if len(arguments.sweeps) > 1:
            console.print(f"[bold]{plan.sweep.name}[/]", highlight=False)
        yield plan


def _read(name: str, arguments: argparse.Namespace, identify: identity.Identity) -> Plan:
    path = find_file(name)
    sweep, text = grid.load(path)
    folder, mirror = locate(arguments, sweep.name)
    expand = functools.partial(grid.expand, folder=path.parent, identity=identify)
    ladder = halving.climb(sweep, expand, folder)
    selected = trials.select(ladder.trials, getattr(arguments, "only", []))
    statuses = trials.read_statuses(folder, ladder.trials)
    return Plan(
        folder,
        sweep,
        text,
        ladder.trials,
        selected,
        statuses,
        identify,
        mirror,
        ladder.stops,
        ladder.ahead,
    )


def write_report(plan: Plan) -> None:
    """Writes every part of the report of a sweep."""
    from launch import report

    files.write_atomically(plan.folder / layout.SWEEP_CONFIG, plan.text)
    trials.save_table(plan.folder, plan.trials)
    halving.save_stops(plan.folder, plan.stops)
    report.write(plan.folder)
    push_report(plan)


def push_report(plan: Plan) -> None:
    """Copies the report to where the run folder is, if that is a URL."""
    if plan.mirror is not None:
        shared.push_report(plan.mirror)


def console() -> rich.console.Console:
    """Returns a console on the terminal itself: a running trial redirects standard output."""
    if sys.stdout.isatty():
        return rich.console.Console(file=os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    return rich.console.Console(width=_PIPE_COLUMNS)


def print_table(
    console: rich.console.Console,
    shown: Sequence[Trial],
    statuses: dict[str, Status],
    *,
    every: bool = False,
) -> None:
    """Prints one line per trial, or per curve if there are many trials, and the totals.

    Args:
        console: Where it is printed.
        shown: The trials.
        statuses: The status of each by id.
        every: Whether there is a line per trial however many there are.
    """
    if every or len(shown) <= _MOST_ROWS:
        console.print(_trial_table(shown, statuses))
    else:
        console.print(_curve_table(shown, statuses))
        console.print("`kwc sweep plan --all` has a line per trial.", highlight=False)
    console.print(totals(shown, statuses), highlight=False)


def _trial_table(shown: Sequence[Trial], statuses: dict[str, Status]) -> rich.table.Table:
    axes = list(dict.fromkeys(axis for trial in shown for axis in trial.axes))
    table = rich.table.Table("id", "kind", *axes, "seed", "state", box=rich.box.SIMPLE_HEAD)
    table.add_column("result", justify="right")
    for trial in shown:
        status = statuses[trial.id]
        values = [trials.axis_label(trial.axes[a]) if a in trial.axes else "" for a in axes]
        cells = [trial.id, trial.kind, *map(rich.markup.escape, values), str(trial.seed)]
        result = results.headline(status.result) if status.result else ""
        table.add_row(*cells, _coloured(status.state), result)
    return table


def _curve_table(shown: Sequence[Trial], statuses: dict[str, Status]) -> rich.table.Table:
    curves = collections.defaultdict(collections.Counter)
    for trial in shown:
        curves[_curve(trial)][statuses[trial.id].state] += 1
    states = [state for state in State if any(counts[state] for counts in curves.values())]
    table = rich.table.Table("arch", "algorithm", box=rich.box.SIMPLE_HEAD)
    for heading in ("trials", *map(_coloured, states)):
        table.add_column(heading, justify="right")
    for curve, counts in curves.items():
        numbers = (counts.total(), *(counts[state] for state in states))
        table.add_row(*map(rich.markup.escape, curve), *(f"{n:,}" if n else "" for n in numbers))
    return table


def _curve(trial: Trial) -> tuple[str, str]:
    """Returns the labels of a trial's architecture and of its algorithm, or its kind."""
    files = {a: trials.axis_label(v) for a, v in trial.axes.items() if trials.is_file(v)}
    arch = files.pop("arch", "")
    return arch, " + ".join(files.values()) if trial.kind == "compression" else trial.kind


def _coloured(state: State) -> str:
    return f"[{_COLOURS[state]}]{state}[/]"


def totals(shown: Sequence[Trial], statuses: dict[str, Status]) -> str:
    """Returns how many trials there are of each kind and state."""
    kinds = collections.Counter(trial.kind for trial in shown)
    states = collections.Counter(statuses[trial.id].state for trial in shown)
    counts = ", ".join(f"{states[state]:,} {state}" for state in State if states[state])
    kind_counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    return f"{len(shown):,} trials ({kind_counts}): {counts}"


def print_changes(console: rich.console.Console, plan: Plan) -> None:
    """Prints why trials that were finished before will run again."""
    for sentence in changes.find(plan.folder, plan.selected, plan.statuses):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def print_stops(console: rich.console.Console, plan: Plan) -> None:
    """Prints what halving has stopped, and what it has yet to decide."""
    for stop in plan.stops:
        line = f"stopped {stop.name}: {stop.reason}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if plan.ahead:
        console.print(f"Later rungs add up to {plan.ahead:,} trials.", highlight=False)


def print_failures(console: rich.console.Console, plan: Plan) -> None:
    """Prints each trial that failed, its cause, its traceback and its log."""
    for trial in plan.selected:
        status = plan.statuses[trial.id]
        if status.state in (State.FAILED, State.BROKEN):
            folder = plan.folder / trial.id
            files = {"traceback": folder / layout.ERROR, "log": folder / layout.LOG}
            told = (f"{name}: {path}" for name, path in files.items() if path.exists())
            console.print(f"[red]{status.state}[/] {trial.id}  {trial.describe()}", highlight=False)
            for line in (status.note, *told):
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def print_outputs(console: rich.console.Console, folder: pathlib.Path) -> None:
    """Prints where the report is."""
    for name in (layout.REPORT, layout.SUMMARY, layout.RESULTS_CSV, layout.PARETO):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)
    command = f"tensorboard --logdir {shlex.quote(str(folder / layout.TENSORBOARD))}"
    console.print(command, highlight=False, soft_wrap=True)
