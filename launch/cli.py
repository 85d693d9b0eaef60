"""The `kwc` command."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from launch.commands import benchmark, compare, demo, evaluate, expand, export, inspect, sweep
from launch.errors import LaunchError

# To add a group of commands, write a module beside `sweep` and name it here.
_GROUPS = (sweep, inspect, evaluate, export, expand, benchmark, demo, compare)

_INTERRUPTED = 130

_IMPORT_HELP = """\
a module that registers an algorithm of yours, looked for in the working directory too; several if
given again"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one `kwc` command.

    Args:
        argv: The arguments after `kwc`; those of the process when None.

    Returns:
        The exit status: 0 when all is well, 1 on an error, 130 when interrupted.
    """
    # TensorFlow's notes on the machine's instructions are no part of a command's output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if argv is None and os.getcwd() not in sys.path:
        # There `python -m` and the processes of trials find modules that gin files import.
        sys.path.append(os.getcwd())
    parser = argparse.ArgumentParser(
        prog="kwc", description="Keras Weight Compression: sweeps, artifacts and their reports."
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.register(subparsers)
    for name, command in subparsers.choices.items():
        # The gin files of a sweep import what its trials need.
        if name != "sweep":
            command.add_argument(
                "--import", dest="modules", metavar="MODULE", action="append", help=_IMPORT_HELP
            )
    arguments = parser.parse_args(argv)
    try:
        _import(vars(arguments).get("modules") or ())
        status = arguments.handler(arguments)
        sys.stdout.flush()
        return status
    except LaunchError as error:
        print(f"kwc: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has seen enough, as `head` does; Python must not flush what it will not take.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("kwc: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _import(modules: Sequence[str]) -> None:
    """Imports modules that register algorithms."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise LaunchError(f"--import={module}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
