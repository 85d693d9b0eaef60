"""Runs the trials of a sweep that are not done, and keeps the report up to date."""

import functools
import os
import pathlib
from collections.abc import Callable, Sequence

from kwc import files
from launch import executors, layout, report, trials, worker
from launch.errors import LaunchError
from launch.refresh import Refresher
from launch.trials import State, Status, Trial


def to_run(
    selected: Sequence[Trial], statuses: dict[str, Status], retry_failed: bool
) -> list[Trial]:
    """Picks the trials that a run would start, in order.

    Args:
        selected: The trials to consider, each baseline before the trials that need it.
        statuses: The status of each by id.
        retry_failed: Whether failed and broken trials, and those they block, count.
    """
    picked: dict[str, Trial] = {}
    for trial in selected:
        status = statuses[trial.id]
        match status.state:
            case State.PENDING:
                is_picked = True
            case State.FAILED | State.BROKEN:
                is_picked = retry_failed and status.can_retry
            case State.BLOCKED:
                is_picked = trial.baseline in picked
            case State.DONE:
                is_picked = False
        if is_picked:
            picked[trial.id] = trial
    return list(picked.values())


def run(
    sweep_folder: pathlib.Path,
    sweep_text: str,
    planned: Sequence[Trial],
    selected: Sequence[Trial],
    executor: executors.Executor,
    run_trial: worker.RunTrial,
    *,
    retry_failed: bool = False,
    on_event: Callable[[executors.Event], None] = lambda event: None,
) -> None:
    """Runs the selected trials that are not done, then writes the whole report.

    The caller holds the lock of the folder; see `launch.lock`.

    A trial that fails does not stop the others. The report is rewritten after a finished trial, as
    often as that costs a twentieth of the time.

    Args:
        sweep_folder: `runs/<sweep>/`.
        sweep_text: The canonical text of the sweep file, kept as `sweep.gin`.
        planned: All trials of the sweep: what the report covers.
        selected: The trials to run, each baseline before the trials that need it.
        executor: Where they run.
        run_trial: Called with the config's path and the trial's folder; writes `result.json` last.
        retry_failed: Whether failed and broken trials run again.
        on_event: Told what happens to each trial.

    Raises:
        LaunchError: If the disk is full or read-only, or the executor cannot go on.
    """
    try:
        files.write_atomically(sweep_folder / layout.SWEEP_CONFIG, sweep_text)
        trials.save_table(sweep_folder, planned)
        todo = to_run(selected, trials.read_statuses(sweep_folder, selected), retry_failed)
        for trial in todo:
            for leftover in (layout.RESULT, layout.ERROR):
                (sweep_folder / trial.id / leftover).unlink(missing_ok=True)
        jobs = [executors.Job(t.id, sweep_folder / t.id, t.baseline) for t in todo]
        refresh = Refresher(functools.partial(report.write, sweep_folder))
        for event in executor.run(jobs, worker.TrialWork(run_trial)):
            if event.state in ("done", "failed"):
                refresh()
            on_event(event)
        report.write(sweep_folder)
    except OSError as error:
        code = worker.stopping_error(error)
        if code is None:
            raise
        raise LaunchError(
            f"{os.strerror(code)}: {error.filename or sweep_folder}; finished trials are kept: "
            f"{worker.mend(code)} and run the same command again"
        ) from error
