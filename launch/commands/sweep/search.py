"""`kwc sweep search`: the smallest file at an accuracy floor."""

import argparse
import dataclasses
import pathlib
import shlex
from typing import Any

from launch import grid, identity, layout, lock, shared, trials
from launch.commands.sweep import common, run
from launch.errors import LaunchError
from launch.gin_merge import find_file
from launch.search import curves, goal, sampler, workspace

_EPILOG = """\
Each combination of the other axes, such as an architecture with an algorithm, is searched by
itself, one point after another; a point runs with every seed of the sweep. Points go to a sweep of
their own, runs/<sweep>-search: plan, status, report and compare read its sweep.gin like any other.
What the sweep itself has finished in range is used, and the same command goes on where a search was
stopped.

examples:
  kwc sweep search mine.gin --axis RATE=0.5:0.99 --min-accuracy=0.96
  kwc sweep search mine.gin --axis RATE=2:64:log --max-drop=0.5 --only algorithm=clustering
"""


def register(commands: Any) -> None:
    """Adds the command."""
    text = "look for the smallest file at an accuracy floor"
    command = common.add_command(commands, "search", _search, text)
    command.epilog = _EPILOG
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    common.add_only(command)
    command.add_argument(
        "--axis",
        action="append",
        required=True,
        metavar="NAME=LOW:HIGH[:log]",
        help="the range of a macro that the sweep's grids vary, evenly or on a logarithmic scale; "
        "whole numbers where the chosen trials have them; give it again to search two together",
    )
    command.add_argument(
        "--min-accuracy", type=float, metavar="X", help="the floor, a fraction such as 0.96"
    )
    command.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="the floor, in points below the dense model",
    )
    command.add_argument(
        "--trials", type=int, default=20, metavar="N", help="points of a curve (default: 20)"
    )
    command.add_argument(
        "--sampler", default="tpe", choices=sampler.NAMES, help="of Optuna (default: tpe)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the sampler (default: 0)")
    run.add_executor(command)


class _Session:
    """A search of one sweep file: its curves, and the plan of the points on them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        path = find_file(arguments.sweep)
        self._here, self._identity = path.parent, identity.Identity()
        self.sweep = dataclasses.replace(grid.load(path)[0], halving={})
        chosen = trials.select(self._expand(self.sweep), arguments.only)
        if self._identity.unprepared:
            raise LaunchError(self._identity.mend())
        self._floor = goal.Floor(arguments.min_accuracy, arguments.max_drop)
        axes = [goal.Axis.parse(text, chosen) for text in arguments.axis]
        self.curves = curves.Curves(chosen, axes)
        self._workspace = workspace.Workspace.of(self.sweep, pathlib.Path(arguments.runs))
        finished = [trial.axes for trial in self._workspace.finished(chosen)]
        known, self._others = self.curves.split(self._workspace.earlier())
        more, _ = self.curves.split(finished)
        self.folder = self._workspace.folder
        self.start = self.plan([*known, *more]) if known or more else None

    def plan(self, grids: curves.Grids) -> common.Plan:
        """Plans these points beside those of other searches, and reads what is known of them."""
        sweep = dataclasses.replace(
            self.sweep, name=self._workspace.name, grids=[*self._others, *grids]
        )
        planned = self._expand(sweep)
        own = {trial.id for trial in self._expand(dataclasses.replace(sweep, grids=grids))}
        selected = [trial for trial in planned if trial.id in own]
        self._workspace.adopt(selected)
        folder = self._workspace.folder
        statuses = trials.read_statuses(folder, planned)
        self.curves.read(selected, statuses, self._floor)
        text = workspace.text(sweep, self._here)
        return common.Plan(folder, sweep, text, planned, selected, statuses, self._identity)

    def _expand(self, sweep: grid.Sweep) -> list[trials.Trial]:
        return grid.expand(sweep, self._here, self._identity)


def _search(arguments: argparse.Namespace) -> int:
    from launch import runner

    if arguments.trials < 1:
        raise LaunchError(f"--trials={arguments.trials}: give it a number above zero")
    if arguments.seed < 0:
        raise LaunchError(f"--seed={arguments.seed}: give it zero or a number above")
    if shared.is_url(arguments.runs):
        raise LaunchError(
            f"a search links trials of two sweeps: give --runs a folder, not {arguments.runs}"
        )
    console, session = common.console(), _Session(arguments)
    plan = session.start
    with lock.hold(session.folder), run.create_executor(arguments, session.sweep) as executor:
        for _ in range(arguments.trials):
            asked = session.curves.ask(arguments.trials, arguments.sampler, arguments.seed)
            if not asked:
                break
            # A point that a killed search left half-way is not known: it is asked for again.
            points = [*session.curves.grids, *asked]
            planned = session.plan(points)
            todo = runner.to_run(planned.selected, planned.statuses, retry_failed=False)
            run.execute(console, planned, todo, executor)
            plan = session.plan(points)
    _write_report(plan)
    common.print_failures(console, plan)
    for curve in session.curves:
        for line in _describe(curve, plan.folder):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    common.print_outputs(console, plan.folder)
    holds = [curve.best is not None and curve.best.holds for curve in session.curves]
    return 0 if all(holds) else 1


def _write_report(plan: common.Plan) -> None:
    """Writes the report, unless the last run has: all points may have been known."""
    from launch import report

    if not report.is_current(plan.folder, plan.trials):
        common.write_report(plan)


def _describe(curve: curves.Curve, folder: pathlib.Path) -> list[str]:
    """Says what a search found on a curve, and how to make it again."""
    best, count = curve.best, len(curve.points)
    if best is None:
        return [f"{curve.name}: no point was measured"]
    axes = {axis: value for axis, value in best.trial.axes.items() if axis not in curve.fixed}
    values = " ".join(f"{axis}={value}" for axis, value in axes.items())
    found = f"{values}, {100 * best.accuracy:.2f} %, {best.file_bytes:,.0f} bytes"
    floor = f"{100 * best.floor:.2f} %"
    if not best.holds:
        return [f"{curve.name}: none of {count} points reaches {floor}; nearest: {found}"]
    holding = sum(outcome is not None and outcome.holds for outcome in curve.points.values())
    config = shlex.quote(str(folder / best.trial.id / layout.CONFIG))
    return [
        f"{curve.name}: smallest of {holding} files (of {count}) that keep {floor}: {found}",
        f"  python -m experiments.rerun --config={config} --folder=reproduced/{best.trial.id}",
    ]
