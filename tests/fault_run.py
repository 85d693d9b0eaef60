"""Runs a sweep on a Ray cluster of three nodes, breaks everything, and counts.

    python tests/fault_run.py --output=results/fault_run.md

While the sweep runs, a worker, a node, the launcher and the head are killed with -9, a node joins,
a second launcher starts, the disk fills up and then turns read-only; some trials hang, leak memory,
crash, raise or return NaN. In the end each trial must be done exactly once, or listed as failed
with its cause and its log.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import disks
import fault_trials
import psutil
import ray_clusters

from launch import attempts, grid, layout
from launch.trials import State, read_statuses

RATES = range(2, 24)
SEEDS = (0, 1, 2)
FAULTS = ("hang", "leak", "crash", "crash once", "raise", "nan")
TRIAL_SECONDS = 1.0
_FAILS = {"hang", "leak", "crash", "raise", "nan"}
_DISK = "24m"


@dataclasses.dataclass
class Outcome:
    """What a run came to.

    Attributes:
        lines: The log, a line for each fault and what followed.
        trials: Number of trials.
        done: Number of trials that are done.
        done_twice: Ids of trials that two processes finished.
        failed: The cause of each failed trial by its description.
        without_log: Ids of failed trials that left no log.
        unexpected: Descriptions of trials that should have ended otherwise.
        attempts: Number of times that a process started on a trial.
    """

    lines: list
    trials: int
    done: int
    done_twice: list
    failed: dict
    without_log: list
    unexpected: list
    attempts: int


class Launcher:
    """A `kwc sweep run` process whose output can be looked at while it runs."""

    def __init__(self, sweep_file, runs, cluster, log):
        command = [sys.executable, fault_trials.__file__, "sweep", "run", str(sweep_file)]
        command += [f"--runs={runs}", f"--address={cluster.address}"]
        self._log = log
        with open(log, "w") as file:
            self._process = subprocess.Popen(
                command, env=cluster.environment, stdout=file, stderr=subprocess.STDOUT
            )

    def output(self):
        return self._log.read_text()

    def wait_for(self, text, seconds=120):
        deadline = time.monotonic() + seconds
        while text not in self.output():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in:\n{self.output()}")
            time.sleep(0.1)

    def wait(self, seconds=300):
        return self._process.wait(seconds)

    def kill(self):
        self._process.kill()
        self._process.wait()


class FaultRun:
    """One run: a cluster, a sweep, and what is done to them."""

    def __init__(self, folder):
        self._folder = folder
        self._start = time.monotonic()
        self._launchers = []
        self.lines = []

    def __call__(self):
        sweep_file = fault_trials.write_sweep(
            self._folder, rates=RATES, faults=FAULTS, seeds=SEEDS, minutes=0.2, memory_gb=0.6
        )
        runs = self._folder / "out"
        disk = disks.mount(runs, _DISK)
        if not disk:
            self._say("without the right to mount: no full and no read-only disk")
        tests = pathlib.Path(__file__).parent
        paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment["KWC_TRIAL_SECONDS"] = str(TRIAL_SECONDS)
        cluster = ray_clusters.Cluster(environment)
        try:
            cluster.start_head()
            nodes = [cluster.start_node() for _ in range(2)]
            self._say(f"a Ray cluster of {cluster.alive()} nodes, 1 CPU each, is up")
            self._break(sweep_file, runs, cluster, nodes, disk)
        finally:
            for launcher in self._launchers:
                launcher.kill()
            cluster.stop()
            outcome = self._count(sweep_file, runs)
            if disk:
                subprocess.run(["umount", "--lazy", str(runs)], check=True)
        return outcome

    def _break(self, sweep_file, runs, cluster, nodes, disk):
        launcher = self._launch(sweep_file, runs, cluster)
        launcher.wait_for("[4/")
        self._kill_worker()
        launcher.wait_for("restarted")
        cluster.await_work(nodes[0], runs / "faults")
        cluster.kill(nodes[0])
        self._say("killed a node with -9")
        launcher.wait_for("the machine that ran it went away")
        second = self._launch(sweep_file, runs, cluster)
        if not second.wait():
            raise AssertionError(second.output())
        self._say(f"a second launcher ended at once: {_last(second)}")
        launcher.kill()
        self._say(f"killed the launcher with -9 after `{_count(launcher)}`")
        cluster.start_node()
        self._say(f"a node joined: {cluster.alive()} nodes")

        launcher = self._launch(sweep_file, runs, cluster)
        launcher.wait_for("[8/")
        if disk:
            self._full_disk(launcher, runs)
            launcher = self._launch(sweep_file, runs, cluster)
            launcher.wait_for("[6/")
            self._read_only_disk(launcher, runs)
            launcher = self._launch(sweep_file, runs, cluster)
            launcher.wait_for("[6/")
        cluster.stop()
        self._say("killed the head, and with it the cluster, with -9")
        launcher.wait()
        self._say(f"the launcher ended: {_last(launcher)}")
        cluster.start_head()
        cluster.start_node()
        self._say(f"the cluster is up again: {cluster.alive()} nodes")

        launcher = self._launch(sweep_file, runs, cluster)
        status = launcher.wait()
        self._say(f"the last launcher ended with status {status}")

    def _launch(self, sweep_file, runs, cluster):
        number = len(self._launchers) + 1
        self._say(f"launcher {number} starts")
        launcher = Launcher(sweep_file, runs, cluster, self._folder / f"launcher{number}.log")
        self._launchers.append(launcher)
        return launcher

    def _kill_worker(self):
        processes = psutil.process_iter(["cmdline"])
        worker = next(p for p in processes if "ray::do" in " ".join(p.info["cmdline"] or ()))
        worker.kill()
        self._say("killed a worker with -9")

    def _full_disk(self, launcher, runs):
        filler = runs / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass
        self._say("filled the disk")
        launcher.wait()
        self._say(f"the launcher ended: {_last(launcher)}")
        filler.unlink()

    def _read_only_disk(self, launcher, runs):
        # Over the folder, a mount of the same folder that cannot be written to: open files live on.
        subprocess.run(["mount", "--bind", str(runs), str(runs)], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(runs)], check=True)
        self._say("the run folder turned read-only")
        launcher.wait()
        self._say(f"the launcher ended: {_last(launcher)}")
        subprocess.run(["umount", str(runs)], check=True)

    def _say(self, line):
        self.lines.append(f"{time.monotonic() - self._start:6.1f} s  {line}")
        print(self.lines[-1], flush=True)

    def _count(self, sweep_file, runs):
        from launch.identity import Identity

        sweep, _ = grid.load(sweep_file)
        planned = grid.expand(sweep, sweep_file.parent, Identity())
        folder = runs / sweep.name
        statuses = read_statuses(folder, planned)
        events = {trial.id: attempts.read(folder / trial.id) for trial in planned}
        counts = {
            trial_id: collections.Counter(line["event"] for line in lines)
            for trial_id, lines in events.items()
        }
        failed = [t for t in planned if statuses[t.id].state is State.FAILED]
        expected = {t.id for t in planned if t.axes.get("FAULT") in _FAILS}
        stopped = {t.id for t in planned if statuses[t.id].state is not State.DONE}
        return Outcome(
            lines=self.lines,
            trials=len(planned),
            done=sum(status.state is State.DONE for status in statuses.values()),
            done_twice=[trial_id for trial_id, count in counts.items() if count["done"] > 1],
            failed={trial.describe(): statuses[trial.id].note for trial in failed},
            without_log=[t.id for t in failed if not (folder / t.id / layout.LOG).is_file()],
            unexpected=[t.describe() for t in planned if t.id in expected ^ stopped],
            attempts=sum(count["start"] for count in counts.values()),
        )


def _last(launcher):
    return launcher.output().strip().splitlines()[-1]


def _count(launcher):
    finished = [line for line in launcher.output().splitlines() if line.startswith("[")]
    return finished[-1].split()[0]


def run(folder):
    """Runs the whole in a new folder and returns the `Outcome`."""
    return FaultRun(folder)()


def markdown(outcome):
    """Writes an outcome as a page."""
    causes = [f"| {trial} | {cause} |" for trial, cause in outcome.failed.items()]
    return "\n".join(
        [
            "# A sweep under faults",
            "",
            f"{outcome.trials} trials of {TRIAL_SECONDS:g} s on three Ray nodes of 1 CPU on one "
            "machine; regenerate with `make faults`.",
            "",
            "```text",
            *outcome.lines,
            "```",
            "",
            f"{outcome.trials} trials: {outcome.done} done, {len(outcome.failed)} failed; "
            f"{outcome.attempts} attempts; {len(outcome.done_twice)} done twice, "
            f"{outcome.trials - outcome.done - len(outcome.failed)} lost, "
            f"{len(outcome.unexpected)} not as expected, "
            f"{len(outcome.without_log)} failed without a log.",
            "",
            "| failed trial | cause |",
            "|---|---|",
            *causes,
            "",
        ]
    )


def main():
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="write a page here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(pathlib.Path(folder))
    page = markdown(outcome).replace(f"{folder}/", "")
    if arguments.output:
        arguments.output.write_text(page)
    print(page)
    is_right = not (outcome.done_twice or outcome.unexpected or outcome.without_log)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
