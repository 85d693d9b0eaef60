"""`kwc sweep plan|run|watch|status|report|search SWEEP.gin`: one module a command."""

from typing import Any

from launch.commands.sweep import plan, report, run, search, status, watch

# To add a command, write a module beside `plan` and name it here.
_COMMANDS = (plan, run, watch, status, report, search)


def register(subparsers: Any) -> None:
    """Adds `kwc sweep` and its commands."""
    sweep = subparsers.add_parser(
        "sweep",
        help="run a grid of trials and report accuracy against size",
        description="Runs every trial of a sweep file once and reports accuracy against size.",
    )
    commands = sweep.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.register(commands)
