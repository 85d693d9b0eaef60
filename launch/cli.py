"""The `kwc` command."""

import argparse
import os
import sys
from collections.abc import Sequence

from launch.commands import benchmark, compare, demo, evaluate, expand, export, inspect, sweep
from launch.errors import LaunchError

# To add a group of commands, write a module beside `sweep` and name it here.
_GROUPS = (sweep, inspect, evaluate, export, expand, benchmark, demo, compare)

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one `kwc` command.

    Args:
        argv: The arguments after `kwc`; those of the process when None.

    Returns:
        The exit status: 0 when all is well, 1 on an error, 130 when interrupted.
    """
    # TensorFlow's notes on the machine's instructions are no part of a command's output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser = argparse.ArgumentParser(
        prog="kwc", description="Keras Weight Compression: sweeps, artifacts and their reports."
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.register(subparsers)
    arguments = parser.parse_args(argv)
    try:
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


if __name__ == "__main__":
    sys.exit(main())
