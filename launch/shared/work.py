"""Work in a folder that is at a URL: on a copy of it, on whichever machine."""

import contextlib
import dataclasses
import pathlib
import shutil
import socket

from launch import layout, results, worker
from launch.errors import LaunchError
from launch.executors import Work
from launch.shared import mirror
from launch.shared.mirror import Mirror, TransferError
from launch.shared.repeat import repeatedly
from launch.shared.sweep import locate
from launch.trials import Trial

_SECONDS_BETWEEN_PUSHES = 30.0


@dataclasses.dataclass(frozen=True)
class SharedWork:
    """Does the wrapped work in this machine's copy of a trial's folder; see `executors.Work`.

    The copy is brought here with its checkpoints, so that a trial resumes on another machine, and
    with its baseline. It is pushed as the trial goes on; its result or its error comes last.

    Attributes:
        work: What is done in the copy.
        url: The URL of the sweep's folder.
    """

    work: Work
    url: str

    def __call__(self, folder: pathlib.Path, index: int = 0) -> str | None:
        """Does the work, unless its result is at the URL by then.

        Args:
            folder: The trial's folder on the launcher's machine, for its name.
            index: Always 0: the processes of one trial cannot be joined through a URL.

        Raises:
            OSError: If no trial can go on: the URL cannot be reached, or the disk is full.
        """
        trial = self._here(folder.name)
        with _sole(trial):
            mirror.pull([trial])
            if is_done(trial):
                return None
            trial.pull()
            plan = _plan(trial)
            if plan.baseline is not None:
                baseline = self._here(plan.baseline)
                with _sole(baseline):
                    baseline.pull()
            with repeatedly(lambda: _push(trial), _SECONDS_BETWEEN_PUSHES):
                error = self.work(trial.path)
            _push(trial)
            if plan.kind != "baseline":  # It has trials that start from it.
                shutil.rmtree(trial.path)
            return error

    def fail(self, folder: pathlib.Path, error: str) -> None:
        """Records the failure in this machine's copy and at the URL."""
        trial = self._here(folder.name)
        mirror.pull([trial])
        self.work.fail(trial.path, error)
        mirror.send(trial / name for name in (layout.LOG, layout.ATTEMPTS, layout.ERROR))

    def failure(self, folder: pathlib.Path) -> str | None:
        """Returns the last line of the error at the URL, if there is one."""
        trial = self._here(folder.name)
        mirror.pull([trial])
        return self.work.failure(trial.path)

    def _here(self, name: str) -> Mirror:
        runs, _, sweep = self.url.rpartition("/")
        return locate(runs, sweep, "trials") / name


def _sole(trial: Mirror) -> contextlib.AbstractContextManager[None]:
    trial.path.parent.mkdir(parents=True, exist_ok=True)
    return worker.sole(trial.path.with_name(f".{trial.path.name}.lock"))


def _push(trial: Mirror) -> None:
    # A process that Ray lost sight of may live on, while another one has ended its trial.
    if layout.RESULT not in trial.names():
        trial.push()


def is_done(trial: Mirror) -> bool:
    """Tells whether the local folder of a trial has a valid result."""
    try:
        results.read(trial.path / layout.RESULT)
    except LaunchError:
        return False
    return True


def _plan(trial: Mirror) -> Trial:
    try:
        return Trial.load(trial.path)
    except LaunchError as error:
        raise TransferError(
            f"{trial.url} holds no trial for {socket.gethostname()} to run: give --runs a URL that "
            "all machines share"
        ) from error
