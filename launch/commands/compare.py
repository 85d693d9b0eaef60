"""`kwc compare [A] B`."""

import argparse
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from launch.errors import LaunchError

_DESCRIPTION = """\
Shows two artifacts side by side, weight by weight, or two sweeps, point by point: the reference A
and the candidate B. Limits on B make it a gate for continuous integration. TensorFlow and the model
are not needed.
"""

_EPILOG = """\
A and B are both artifacts, or both sweeps:
  an artifact   a .kwc file, or the folder of a finished trial
  a sweep       a sweep file, the folder runs/<sweep>, or its results.csv, .jsonl or .parquet

The accuracy of an artifact is the one in the result.json beside it. A sweep passes when, for every
architecture, some point (a mean over seeds) keeps all the limits.

examples:
  kwc compare old.kwc new.kwc                                  which weights grew, and which moved
  kwc compare runs/quickstart/071b28a375b5 runs/mine/5c1e7a40d2b9
  kwc compare runs/quickstart runs/mine --json > changes.json
  kwc compare --max-bytes 9000 model.kwc                       a gate alone, without a reference
  kwc compare main/results.csv mine.gin --min-accuracy 0.96 --max-bytes 20000

exit status:
  0   no gate fails
  1   A or B cannot be read or compared
  2   the command is malformed
  3   a gate fails
"""

GATE_FAILED = 3


def register(subparsers: Any) -> None:
    """Adds `kwc compare`."""
    command = subparsers.add_parser(
        "compare",
        help="show two artifacts or two sweeps side by side, and hold the second to limits",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_compare)
    command.add_argument("a", nargs="?", metavar="A", help="the reference")
    command.add_argument("b", metavar="B", help="the candidate, which the gates are for")
    command.add_argument(
        "--min-accuracy", type=float, metavar="X", help="lowest accuracy, a fraction such as 0.96"
    )
    command.add_argument("--max-bytes", type=int, metavar="N", help="longest file, in bytes")
    command.add_argument(
        "--min-ratio", type=float, metavar="X", help="lowest ratio of dense bytes over file bytes"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    command.add_argument(
        "--runs", default="runs", metavar="FOLDER", help="where sweeps write (default: runs)"
    )


def _compare(arguments: argparse.Namespace) -> int:
    from launch.comparison import gates, sources

    limits = gates.Gates(arguments.min_accuracy, arguments.max_bytes, arguments.min_ratio)
    if arguments.a is None and not limits:
        raise LaunchError("nothing to do: name two to compare, or set a gate such as --max-bytes")
    names = [name for name in (arguments.a, arguments.b) if name is not None]
    found = [sources.find(name, lambda sweep: _locate(arguments, sweep)) for name in names]
    if len({is_sweep for _, is_sweep in found}) > 1:
        kinds = ["a sweep" if is_sweep else "an artifact" for _, is_sweep in found]
        raise LaunchError(
            f"{names[0]} is {kinds[0]} and {names[1]} is {kinds[1]}: name two of a kind"
        )
    paths = [path for path, _ in found]
    if found[-1][1]:
        from launch.comparison.points import Comparison
    else:
        from launch.comparison.weights import Comparison
    comparison = Comparison.read(paths)
    checks = comparison.checks(limits)
    if arguments.json:
        content = comparison.as_dict() | {"gates": list(map(vars, checks))}
        print(json.dumps(_without_nan(content)))
    else:
        _print(comparison, paths, checks)
    return 0 if all(check.passed for check in checks) else GATE_FAILED


def _locate(arguments: argparse.Namespace, sweep: str) -> pathlib.Path:
    from launch.commands.sweep import common

    return common.locate(arguments, sweep)[0]


def _print(comparison: Any, paths: Sequence[pathlib.Path], checks: Sequence[Any]) -> None:
    if len(paths) == 2:
        from launch import console

        print(f"A        {paths[0]}\nB        {paths[1]}")
        console.print_table(comparison.table())
        print(*comparison.lines(), sep="\n")
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}     {check.text}: {check.subject}")


def _without_nan(value: Any) -> Any:
    """Returns the value with None where JSON has no number for it."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(_without_nan, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
