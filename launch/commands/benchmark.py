"""`kwc benchmark FILE.kwc`."""

import argparse
import pathlib
from typing import Any

from launch.errors import LaunchError
from launch.layout import CONFIG

_DESCRIPTION = """\
Shows what an artifact takes on this machine by every route that can export it, and what it is worth
there. Each route writes its file, which is proved as by kwc export and thrown away at the end. It
is measured in fresh processes, in turns with the dense export to the same target, with one example
and one thread:

  bytes, zipped   length of the file or folder, and of a zip archive of it
  load            from its path to its first outputs, without imports
  p50, p90        latency of the calls that follow: half, and nine of ten, take no longer
  peak            the most memory that the process took more than before it loaded the file
  metric          the task's own, of examples of its data, computed by the file

In brackets is the ratio to the dense export (float32, or keras). That of the dense export itself
is what the noise of this machine leaves of 1.00.
"""

_EPILOG = """\
examples:
  kwc benchmark results/mine/model.kwc                 every route; minutes
  kwc benchmark model.kwc --to=tflite                  those to TensorFlow Lite
  kwc benchmark model.kwc --route=int8 --route=hybrid  these two and nothing else
  kwc benchmark model.kwc --examples=100 --data='data/mine/validation-*.tfrecord'

writes beside FILE, or into --out:
  model.benchmark.csv   every figure, in bytes and seconds, and why routes were refused
  model.benchmark.png   bars of the ratios

Nothing else should run meanwhile. The config.gin beside FILE says what model it is of and where its
data is, as for kwc evaluate. docs/deploy.md says how to choose.
"""


def register(subparsers: Any) -> None:
    """Adds `kwc benchmark`."""
    command = subparsers.add_parser(
        "benchmark",
        help="measure an artifact on this machine, by every route that exports it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_benchmark)
    command.add_argument("file", metavar="FILE.kwc", type=pathlib.Path, help="an artifact")
    command.add_argument(
        "--to",
        action="append",
        choices=("tflite", "saved_model", "keras"),
        help="a target, given once or more (default: all)",
    )
    command.add_argument(
        "--route", action="append", help="name of a route, given once or more (default: all)"
    )
    command.add_argument(
        "--examples",
        type=int,
        default=500,
        metavar="N",
        help="how many are evaluated, rounded up to whole batches (default: 500)",
    )
    command.add_argument(
        "--data", metavar="FILES", help="evaluate on these files instead, in the task's own format"
    )
    command.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help="where to write")
    command.add_argument(
        "--config", type=pathlib.Path, help=f"the trial's gin file; {CONFIG} beside FILE by default"
    )


def _benchmark(arguments: argparse.Namespace) -> int:
    from launch import artifacts

    if arguments.examples < 1:
        raise LaunchError("--examples must be 1 or more")
    file = arguments.file
    config = artifacts.config_of(file, arguments.config)
    from experiments import trial

    wanted = _wanted(arguments)
    with artifacts.config_errors_told(config, "benchmarked"):
        evaluation = trial.evaluation(config, arguments.examples, arguments.data)
    rows = _run(file, evaluation, wanted, config)
    _show(rows, arguments.out or file.parent, file.stem)
    return 0


def _wanted(arguments: argparse.Namespace) -> list[Any]:
    from kwc import exports  # noqa: F401  (registers the routes)
    from kwc.exports import routes

    known = routes.registered()
    unknown = set(arguments.route or ()) - {route.name for route in known}
    wanted = [
        route
        for route in known
        if (not arguments.to or route.to in arguments.to)
        and (not arguments.route or route.name in arguments.route)
    ]
    if unknown or not wanted:
        there = ", ".join(f"{route.name} (to={route.to})" for route in known)
        raise LaunchError(f"there is no such route; there are {there}")
    return wanted


def _run(file: pathlib.Path, evaluation: Any, wanted: list[Any], config: pathlib.Path) -> Any:
    import rich.console
    import rich.progress

    from launch import artifacts, benchmark

    columns = (
        rich.progress.BarColumn(bar_width=24),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("{task.description}"),
    )
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=benchmark.steps(wanted), completed=-1)
        with artifacts.export_errors_told(config, file.parent):
            return benchmark.run(
                file, evaluation, wanted, lambda text: bar.update(task, advance=1, description=text)
            )


def _show(rows: Any, folder: pathlib.Path, name: str) -> None:
    from kwc import files
    from launch import console
    from launch.benchmark import plot
    from launch.benchmark import rows as tables

    if not any(row.figures for row in rows):
        reasons = "; ".join(f"{row.name}: {row.refused}" for row in rows)
        raise LaunchError(f"every route was refused: {reasons}")
    table, image = folder / f"{name}.benchmark.csv", folder / f"{name}.benchmark.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tables.write(rows, table)
        files.write_atomically(image, plot.draw(f"{name}: one example, one thread", rows))
    except OSError as error:
        raise LaunchError(f"{folder} cannot be written: {error}") from error
    console.print_table(tables.table(rows))
    for row in rows:
        if row.refused:
            print(f"refused  {row.name}: {row.refused}")
    print(table, image, sep="\n")
