"""`kwc sweep plan|run|status|report SWEEP.gin`."""

import argparse
import collections
import dataclasses
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import rich.box
import rich.console
import rich.markup
import rich.table

from launch import executors, grid, identity, layout, results, trials
from launch.errors import LaunchError
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


def register(subparsers: Any) -> None:
    """Adds `kwc sweep` and its commands."""
    sweep = subparsers.add_parser(
        "sweep",
        help="run a grid of trials and report accuracy against size",
        description="Runs every trial of a sweep file once and reports accuracy against size.",
    )
    commands = sweep.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, handler, text in [
        ("plan", _plan, "list the trials and their states, and run nothing"),
        ("run", _run, "run the trials that are not done, then write the report"),
        ("status", _status, "count the states and list what failed"),
        ("report", _report, "write the tables, the plot and the TensorBoard folder again"),
    ]:
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.set_defaults(handler=handler)
        command.add_argument("sweep", metavar="SWEEP.gin", help="a sweep file")
        command.add_argument(
            "--runs", default="runs", metavar="FOLDER", help="where sweeps write (default: runs)"
        )
        if name != "report":
            command.add_argument(
                "--only",
                action="append",
                default=[],
                metavar="AXIS=VALUE",
                help="keep trials with this value, and their baselines; give it again to widen an "
                "axis or to narrow by another",
            )
        if name == "run":
            command.add_argument(
                "--executor", default="inline", choices=executors.NAMES, help="how trials are run"
            )
            command.add_argument(
                "--retry-failed", action="store_true", help="also run what failed before"
            )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A sweep file, expanded, with what its folder shows."""

    folder: pathlib.Path
    text: str
    trials: list[Trial]
    selected: list[Trial]
    statuses: dict[str, Status]
    identity: identity.Identity


def _read(arguments: argparse.Namespace) -> _Plan:
    path = find_file(arguments.sweep)
    sweep, text = grid.load(path)
    identify = identity.Identity()
    planned = grid.expand(sweep, path.parent, identify)
    folder = pathlib.Path(arguments.runs) / sweep.name
    selected = trials.select(planned, getattr(arguments, "only", []))
    statuses = trials.read_statuses(folder, planned)
    return _Plan(folder, text, planned, selected, statuses, identify)


def _plan(arguments: argparse.Namespace) -> int:
    plan, console = _read(arguments), _console()
    _print_table(console, plan.selected, plan.statuses)
    if plan.identity.unprepared:
        console.print(f"Ids will change: {plan.identity.mend()}", soft_wrap=True)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from launch import runner

    plan, console = _read(arguments), _console()
    todo = runner.to_run(plan.selected, plan.statuses, arguments.retry_failed)
    if not todo:
        from launch import report

        _print_table(console, plan.selected, plan.statuses)
        if not report.is_current(plan.folder, plan.trials):
            _write_report(plan)
        return _finish(console, plan, arguments, "Nothing to run.")
    if plan.identity.unprepared:
        raise LaunchError(plan.identity.mend())

    _check(todo)

    from launch import progress

    try:
        with progress.Progress(console, {trial.id: trial for trial in todo}) as show:
            runner.run(
                plan.folder,
                plan.text,
                plan.trials,
                plan.selected,
                executors.create(arguments.executor),
                run_trial,
                retry_failed=arguments.retry_failed,
                on_event=show,
            )
    except KeyboardInterrupt:
        print("\nStopped; finished trials are kept. The same command goes on.", file=sys.stderr)
        raise
    plan = _read(arguments)
    _print_table(console, plan.selected, plan.statuses)
    return _finish(console, plan, arguments, "")


def run_trial(config: pathlib.Path, folder: pathlib.Path) -> None:
    """Runs one trial with `experiments.trial`, which imports TensorFlow."""
    from experiments import trial

    trial.run(config, folder)


def check_trial(config: str) -> None:
    """Raises whatever is wrong with a trial's gin text, which `experiments.trial` reads."""
    from experiments import trial

    trial.check(config)


def _check(todo: Sequence[Trial]) -> None:
    """Finds every config that cannot run before any trial has cost time."""
    for trial in todo:
        try:
            check_trial(trial.config)
        except Exception as error:
            raise LaunchError(
                f"{trial.describe()} cannot run, so nothing was started: {error}"
            ) from error


def _status(arguments: argparse.Namespace) -> int:
    plan, console = _read(arguments), _console()
    console.print(_totals(plan.selected, plan.statuses), highlight=False)
    _print_failures(console, plan)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    plan, console = _read(arguments), _console()
    if not plan.folder.is_dir():
        raise LaunchError(f"{plan.folder} is not there yet: `kwc sweep run` makes it")
    _write_report(plan)
    console.print(_totals(plan.trials, plan.statuses), highlight=False)
    _print_outputs(console, plan.folder)
    return 0


def _write_report(plan: _Plan) -> None:
    from launch import report

    trials.save_table(plan.folder, plan.trials)
    report.write(plan.folder)


def _finish(
    console: rich.console.Console, plan: _Plan, arguments: argparse.Namespace, message: str
) -> int:
    """Ends a run: says what failed and where the report is."""
    if message:
        console.print(message)
    _print_failures(console, plan)
    _print_outputs(console, plan.folder)
    states = {plan.statuses[trial.id].state for trial in plan.selected}
    if states & {State.FAILED, State.BROKEN} and not arguments.retry_failed:
        command = f"kwc sweep run {shlex.quote(arguments.sweep)} --retry-failed"
        console.print(f"Run what failed again:  {command}", highlight=False, soft_wrap=True)
    return 0 if states == {State.DONE} else 1


def _console() -> rich.console.Console:
    """Returns a console on the terminal itself: a running trial redirects standard output."""
    if sys.stdout.isatty():
        return rich.console.Console(file=os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    return rich.console.Console(width=_PIPE_COLUMNS)


def _print_table(
    console: rich.console.Console, shown: Sequence[Trial], statuses: dict[str, Status]
) -> None:
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
    console.print(_totals(shown, statuses), highlight=False)


def _totals(shown: Sequence[Trial], statuses: dict[str, Status]) -> str:
    kinds = collections.Counter(trial.kind for trial in shown)
    states = collections.Counter(statuses[trial.id].state for trial in shown)
    counts = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    kind_counts = f"{kinds['baseline']} baseline, {kinds['compression']} compression"
    return f"{len(shown)} trials ({kind_counts}): {counts}"


def _print_failures(console: rich.console.Console, plan: _Plan) -> None:
    for trial in plan.selected:
        status = plan.statuses[trial.id]
        if status.state in (State.FAILED, State.BROKEN):
            log = plan.folder / trial.id / layout.LOG
            console.print(f"[red]{status.state}[/] {trial.id}  {trial.describe()}", highlight=False)
            for line in (status.note, f"log: {log}"):
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _print_outputs(console: rich.console.Console, folder: pathlib.Path) -> None:
    for name in (layout.SUMMARY, layout.RESULTS_CSV, layout.PARETO):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)
    command = f"tensorboard --logdir {shlex.quote(str(folder / layout.TENSORBOARD))}"
    console.print(command, highlight=False, soft_wrap=True)
