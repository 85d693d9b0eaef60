"""`kwc sweep plan`: what would run."""

import argparse
from typing import Any

from launch.commands.sweep import common


def register(commands: Any) -> None:
    """Adds the command."""
    text = "list the trials and their states, and run nothing"
    command = common.add_command(commands, "plan", _plan, text, several=True)
    common.add_only(command)
    command.add_argument(
        "--all", action="store_true", help="list every trial of a large sweep, not only its curves"
    )


def _plan(arguments: argparse.Namespace) -> int:
    console = common.console()
    for plan in common.read_each(arguments, console):
        common.print_table(console, plan.selected, plan.statuses, every=arguments.all)
        common.print_stops(console, plan)
        common.print_changes(console, plan)
    if plan.identity.unprepared:
        console.print(f"Ids will change: {plan.identity.mend()}", soft_wrap=True)
    return 0
