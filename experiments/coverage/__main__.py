"""Goes over every experiment that Model Garden registers: does kwc compress it?

    python -m experiments.coverage --output=results/coverage.csv

Each experiment runs at small sizes in processes of its own: stock Model Garden first, as the
control, then kwc with the shipped specs, then a new process that reads the artifacts. What is done
is skipped when the command is run again; what was made by other code or sizes is redone.
"""

import asyncio
import json
import pathlib
import re
import signal
import sys
import time

from absl import app, flags
from rich.console import Console
from rich.progress import Progress

from experiments.coverage import limits, schedule, summary
from experiments.coverage.rows import to_csv
from kwc import files

_ONLY = flags.DEFINE_string("only", "", "Runs experiments in whose name this expression is found.")
_OUTPUT = flags.DEFINE_string("output", "results/coverage.csv", "The table to write.")
_WORK_DIR = flags.DEFINE_string(
    "work_dir",
    "runs/coverage",
    "Folder of the small data, the logs and the finished experiments; delete it to start anew.",
)
_JOBS = flags.DEFINE_integer("jobs", 2, "Experiments at a time; each takes one core.", 1)
_MINUTES = flags.DEFINE_float(
    "minutes", 150, "The longest that a run may take; run again for the rest.", 0
)
_SECONDS = flags.DEFINE_float(
    "seconds", 1500, "The longest that one process may take; an experiment has two.", 0
)
_MEMORY_GB = flags.DEFINE_float("memory_gb", 6, "Most resident memory of a process, in 1e9 B.", 0)


def main(argv: list[str]) -> None:
    """Runs what is missing and writes the table; exit status 1 if the target is missed."""
    if len(argv) > 1:
        sys.exit(f"Unknown arguments {argv[1:]}; options start with --.")
    try:
        wanted = re.compile(_ONLY.value)
    except re.error as error:
        sys.exit(f"--only={_ONLY.value} is not a regular expression: {error}.")
    # Its processes end with this one, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended; run the command again to go on."))
    work = pathlib.Path(_WORK_DIR.value)
    work.mkdir(parents=True, exist_ok=True)
    allowed = schedule.Limits(
        jobs=_JOBS.value,
        seconds=_SECONDS.value,
        memory_gb=_MEMORY_GB.value,
        deadline=time.monotonic() + 60 * _MINUTES.value,
    )
    console = Console()
    plan = asyncio.run(_plan(work, allowed))
    selected = {name: entry for name, entry in plan.items() if wanted.search(name)}
    if not selected:
        sys.exit(f"--only={_ONLY.value} is in none of the names: {', '.join(plan)}.")
    with Progress(console=console) as progress:
        bar = progress.add_task("experiments", total=len(selected))
        progress.advance(bar, len(schedule.recorded(work, selected)))

        def done(experiment: str) -> None:
            progress.advance(bar)
            progress.console.print(experiment)

        asyncio.run(schedule.run(work, selected, allowed, done))
    table = [row for rows in schedule.recorded(work, plan).values() for row in rows]
    chosen = [row for row in table if row.experiment in selected]
    missing = selected.keys() - {row.experiment for row in chosen}
    summary.show(console, chosen, len(missing))
    files.write_atomically(_OUTPUT.value, to_csv(table))
    console.print(f"{_OUTPUT.value}: {len(table)} rows.")
    sys.exit(bool(missing or summary.failures(chosen)))


async def _plan(work: pathlib.Path, allowed: schedule.Limits) -> dict[str, dict]:
    """The data and the plan, made by a process of its own: this one stays without TensorFlow."""
    log = work / "prepare.log"
    reason = await limits.run(
        "experiments.coverage.prepare", [str(work)], log, allowed.seconds, allowed.memory_gb
    )
    if reason:
        sys.exit(f"Preparing {work} failed: it {reason}; {log} tells more.")
    return json.loads((work / schedule.PLAN).read_text())


if __name__ == "__main__":
    app.run(main)
