"""`kwc sweep status`: counts, and what failed and where."""

import argparse
from typing import Any

from launch.commands.sweep import common


def register(commands: Any) -> None:
    """Adds the command."""
    text = "count the states and list what failed"
    common.add_only(common.add_command(commands, "status", _status, text, several=True))


def _status(arguments: argparse.Namespace) -> int:
    console = common.console()
    for plan in common.read_each(arguments, console):
        console.print(common.totals(plan.selected, plan.statuses), highlight=False)
        common.print_stops(console, plan)
        common.print_failures(console, plan)
    return 0
