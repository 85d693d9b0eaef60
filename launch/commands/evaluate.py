"""`kwc evaluate FILE.kwc`."""

import argparse
import json
import pathlib
from typing import Any

from launch.layout import CONFIG

_DESCRIPTION = """\
Shows what an artifact is worth: decodes it into the model of its experiment and evaluates that with
the task's own metrics, on the test split of the prepared data set, or on the validation data where
the config names no data set. Needs the trial's config and the data; neither checkpoints nor the
dense model.
"""

_EXAMPLES = """\
examples:
  kwc evaluate results/mine/model.kwc                    the config.gin beside it says how
  kwc evaluate model.kwc --config=runs/mine/config.gin   a config somewhere else
  kwc evaluate model.kwc --json                          for a script

The data set that the config names must be in its folder, data/ if it names none:
  python -m experiments.prepare_data --dataset=fashion_mnist
"""


def register(subparsers: Any) -> None:
    """Adds `kwc evaluate`."""
    command = subparsers.add_parser(
        "evaluate",
        help="measure the model that an artifact decodes to",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_evaluate)
    command.add_argument("file", metavar="FILE.kwc", type=pathlib.Path, help="an artifact")
    command.add_argument(
        "--config", type=pathlib.Path, help=f"the trial's gin file; {CONFIG} beside FILE by default"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _evaluate(arguments: argparse.Namespace) -> int:
    from launch import artifacts

    file = arguments.file
    config = artifacts.config_of(file, arguments.config)
    from experiments import trial

    with artifacts.config_errors_told(config, "evaluated"):
        metrics, split, report = trial.evaluate(config, file)
    if arguments.json:
        sizes = {"file_bytes": report.sizes.file_bytes, "dense_bytes": report.dense_bytes}
        print(json.dumps({"split": split, "metrics": metrics, "sizes": sizes}))
    else:
        _print(metrics, split, report)
    return 0


def _print(metrics: dict[str, float], split: str, report: Any) -> None:
    from rich.table import Table

    from launch import console

    table = Table("metric", f"{split} data")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}")
    console.print_table(table)
    file, dense = report.sizes.file_bytes, report.dense_bytes
    print(f"file     {file:,} bytes")
    print(f"dense    {dense:,} bytes: {dense / file:.2f} times the file")
