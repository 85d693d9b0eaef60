"""`kwc sweep plan`: what would run."""

import argparse
from typing import Any

from launch.commands.sweep import common


def register(commands: Any) -> None:
    """Adds the command."""
    text = "list the trials and their states, and run nothing"
    common.add_only(common.add_command(commands, "plan", _plan, text))


def _plan(arguments: argparse.Namespace) -> int:
    plan, console = common.read(arguments), common.console()
    common.print_table(console, plan.selected, plan.statuses)
    if plan.identity.unprepared:
        console.print(f"Ids will change: {plan.identity.mend()}", soft_wrap=True)
    return 0
