"""Runs a plan: two processes an experiment, so many experiments at a time, what is done skipped."""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

from experiments.coverage import limits, rows
from kwc import files

DATA = "data"
PLAN = "plan.json"
RECORD = "record.json"
_WRITER = "experiments.coverage.writer"
_READER = "experiments.coverage.reader"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes:
        jobs: experiments at a time.
        seconds: the longest that one process of an experiment may take.
        memory_gb: the most resident memory of one process, in GB (1e9 bytes).
        deadline: the time, by `time.monotonic`, at which what is not over is left for another run.
    """

    jobs: int
    seconds: float
    memory_gb: float
    deadline: float


def recorded(work: pathlib.Path, plan: dict[str, dict]) -> dict[str, list[rows.Row]]:
    """Returns the rows of the experiments that the present code and sizes have been run on."""
    found = {}
    for experiment, entry in plan.items():
        path = folder(work, experiment) / RECORD
        record = json.loads(path.read_text()) if path.exists() else {}
        if record.get("key") == entry["key"]:
            found[experiment] = [rows.Row(**row) for row in record["rows"]]
    return found


async def run(
    work: pathlib.Path,
    plan: dict[str, dict[str, Any]],
    allowed: Limits,
    done: Callable[[str], None],
) -> None:
    """Runs every experiment of a plan that has no record, and records it.

    Args:
        work: the folder of the data and of everything that is written.
        plan: key, algorithms and broken module of each experiment.
        allowed: what the run may take.
        done: called with each experiment that is over.
    """
    slots = asyncio.Semaphore(allowed.jobs)

    async def one(experiment: str) -> None:
        async with slots:
            await _record(work, experiment, plan[experiment], allowed)
            done(experiment)

    missing = plan.keys() - recorded(work, plan).keys()
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(allowed.deadline - time.monotonic()),
            asyncio.TaskGroup() as group,
        ):
            for experiment in plan:
                if experiment in missing:
                    group.create_task(one(experiment))


def folder(work: pathlib.Path, experiment: str) -> pathlib.Path:
    """Returns the folder of an experiment's processes."""
    return work / "experiments" / experiment.replace("/", "__")


async def _record(
    work: pathlib.Path, experiment: str, entry: dict[str, Any], allowed: Limits
) -> None:
    here = folder(work, experiment)
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    control, outcomes = await _outcomes(work, experiment, entry, allowed)
    table = rows.of(experiment, control, outcomes)
    record = {"key": entry["key"], "rows": [dataclasses.asdict(row) for row in table]}
    files.write_atomically(here / RECORD, json.dumps(record, indent=1))


async def _outcomes(
    work: pathlib.Path, experiment: str, entry: dict[str, Any], allowed: Limits
) -> tuple[rows.Outcome, dict[str, rows.Outcome]]:
    """The outcome of the control and of each algorithm."""
    here, algorithms = folder(work, experiment), entry["algorithms"]
    if entry["broken"]:
        return rows.Outcome(entry["broken"]), dict.fromkeys(algorithms, rows.Outcome())

    async def process(module: str, file: str, stages: list[str]) -> dict[str, rows.Outcome]:
        """The outcomes of a process; a stage that it did not reach has the process's reason."""
        name = module.rpartition(".")[-1]
        names = [stage for stage in stages if stage != rows.CONTROL]
        arguments = [experiment, str(here), str(work / DATA), *names]
        reason = await limits.run(
            module, arguments, here / f"{name}.log", allowed.seconds, allowed.memory_gb
        )
        reached = rows.read(here / file)
        return {stage: reached.get(stage, rows.Outcome(f"the {name} {reason}")) for stage in stages}

    written = await process(_WRITER, "written.json", [rows.CONTROL, *algorithms])
    control = written.pop(rows.CONTROL)
    artifacts = [stage for stage, outcome in written.items() if not outcome.reason]
    if artifacts and not control.reason:
        read = await process(_READER, "read.json", artifacts)
        written |= {
            stage: dataclasses.replace(
                written[stage],
                reason=outcome.reason,
                seconds=written[stage].seconds + outcome.seconds,
            )
            for stage, outcome in read.items()
        }
    return control, written
