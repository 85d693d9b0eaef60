"""`kwc sweep run`: what is not done, then the report."""

import argparse
import functools
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rich.console

from launch import executors, grid, halving, lock, shared
from launch.commands.sweep import common
from launch.errors import LaunchError
from launch.trials import State, Trial


def register(commands: Any) -> None:
    """Adds the command."""
    text = "run the trials that are not done, then write the report"
    command = common.add_command(commands, "run", _run, text)
    common.add_only(command)
    add_executor(command)
    command.add_argument("--retry-failed", action="store_true", help="also run what failed before")


def add_executor(command: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where trials run."""
    command.add_argument(
        "--executor",
        default="ray",
        choices=executors.NAMES,
        help="ray: several trials at once, each in a process of its own (default); inline: one "
        "after another in this process, for debugging",
    )
    command.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="head of a running Ray cluster that shares the run folder, or `auto` on a machine of "
        "it; without it, trials run on this machine",
    )


def create_executor(
    arguments: argparse.Namespace, sweep: grid.Sweep, mirror: shared.Mirror | None = None
) -> executors.Executor:
    """Makes the executor that the arguments ask for.

    Args:
        arguments: Say where trials run; see `add_executor`.
        sweep: Says what a trial may use.
        mirror: The sweep's folder, where it is at a URL.

    Raises:
        LaunchError: If it cannot do what the sweep file asks.
    """
    resources = executors.Resources(**sweep.resources)
    try:
        executor = executors.create(arguments.executor, resources, arguments.address)
    except ValueError as error:
        raise LaunchError(str(error)) from error
    if mirror is None:
        return executor
    if resources.workers > 1:
        raise LaunchError(
            f"{resources.workers} workers a trial need a folder that they share: give --runs one, "
            f"not {arguments.runs}"
        )
    return shared.SharedExecutor(executor, mirror)


def _run(arguments: argparse.Namespace) -> int:
    from launch import runner

    plan, console = common.read(arguments), common.console()
    todo = runner.to_run(plan.selected, plan.statuses, arguments.retry_failed)
    if not todo:
        from launch import report

        common.print_table(console, plan.selected, plan.statuses)
        if not report.is_current(plan.folder, plan.trials):
            common.write_report(plan)
        return _finish(console, plan, arguments, "Nothing to run.")
    if plan.identity.unprepared:
        raise LaunchError(plan.identity.mend())

    common.print_changes(console, plan)
    tried: set[str] = set()
    # From here on others see that the sweep runs: what starts up and is checked takes a while.
    with (
        lock.hold(plan.folder),
        create_executor(arguments, plan.sweep, plan.mirror) as executor,
    ):
        while todo:
            retry_failed = arguments.retry_failed and not tried
            execute(console, plan, todo, executor, retry_failed=retry_failed)
            tried |= {trial.id for trial in todo}
            # A rung of halving is judged by its results: the next one is planned now.
            plan = common.read(arguments)
            todo = runner.to_run(plan.selected, plan.statuses, retry_failed=False)
            todo = [trial for trial in todo if trial.id not in tried]
    halving.save_stops(plan.folder, plan.stops)
    common.print_table(console, plan.selected, plan.statuses)
    return _finish(console, plan, arguments, "")


def execute(
    console: rich.console.Console,
    plan: common.Plan,
    todo: Sequence[Trial],
    executor: executors.Executor,
    *,
    retry_failed: bool = False,
) -> None:
    """Runs trials of a plan, shows their progress and writes the report.

    The caller holds the lock of the sweep's folder.

    Args:
        console: Where progress is shown.
        plan: The plan; its selected trials that are not done are run.
        todo: Those trials.
        executor: Where they run.
        retry_failed: Whether failed and broken trials run again.

    Raises:
        LaunchError: If a trial's config cannot run; nothing is started then.
    """
    from launch import progress, runner

    _check(executor, todo)
    halving.save_stops(plan.folder, plan.stops)
    try:
        with progress.Progress(console, {trial.id: trial for trial in todo}) as show:
            runner.run(
                plan.folder,
                plan.text,
                plan.trials,
                plan.selected,
                executor,
                run_trial,
                retry_failed=retry_failed,
                on_event=show,
            )
    except KeyboardInterrupt:
        print("\nStopped; finished trials are kept. The same command goes on.", file=sys.stderr)
        raise
    common.push_report(plan)


def run_trial(config: pathlib.Path, folder: pathlib.Path) -> None:
    """Runs one trial with `experiments.trial`, which imports TensorFlow."""
    from experiments import trial

    trial.run(config, folder)


def check_trial(config: str) -> None:
    """Raises whatever is wrong with a trial's gin text, which `experiments.trial` reads."""
    from experiments import trial

    trial.check(config)


def _check(executor: executors.Executor, todo: Sequence[Trial]) -> None:
    """Finds every config that cannot run before any trial has cost time."""
    # Seeds of one point differ in nothing that could be wrong.
    points: dict[tuple[str, str], Trial] = {}
    for trial in todo:
        points.setdefault((trial.kind, repr(trial.axes)), trial)
    find_error = functools.partial(_error, check_trial)
    errors = executor.map(find_error, [trial.config for trial in points.values()])
    for trial, error in zip(points.values(), errors, strict=True):
        if error is not None:
            raise LaunchError(f"{trial.describe()} cannot run, so nothing was started: {error}")


def _error(check: Callable[[str], None], config: str) -> str | None:
    try:
        check(config)
    except Exception as error:
        return str(error)
    return None


def _finish(
    console: rich.console.Console, plan: common.Plan, arguments: argparse.Namespace, message: str
) -> int:
    """Ends a run: says what failed and where the report is."""
    if message:
        console.print(message)
    common.print_stops(console, plan)
    common.print_failures(console, plan)
    common.print_outputs(console, plan.folder)
    states = {plan.statuses[trial.id].state for trial in plan.selected}
    if states & {State.FAILED, State.BROKEN} and not arguments.retry_failed:
        command = f"kwc sweep run {shlex.quote(arguments.sweep)} --retry-failed"
        console.print(f"Run what failed again:  {command}", highlight=False, soft_wrap=True)
    return 0 if states == {State.DONE} else 1
