"""`kwc sweep report`: the tables, the plots and TensorBoard, from the folders alone."""

import argparse
from typing import Any

from launch.commands.sweep import common
from launch.errors import LaunchError


def register(commands: Any) -> None:
    """Adds the command."""
    text = "bring the tables, the plots and the TensorBoard folder up to date"
    command = common.add_command(commands, "report", _report, text, several=True)
    command.add_argument(
        "--force", action="store_true", help="write it again even if no trial has changed"
    )


def _report(arguments: argparse.Namespace) -> int:
    from launch import report

    console = common.console()
    for plan in common.read_each(arguments, console):
        if not plan.folder.is_dir():
            raise LaunchError(f"{plan.folder} is not there yet: `kwc sweep run` makes it")
        if arguments.force or not report.is_current(plan.folder, plan.trials):
            common.write_report(plan)
        else:
            console.print("No trial has changed since the last report; --force writes it again.")
        console.print(common.totals(plan.trials, plan.statuses), highlight=False)
        common.print_outputs(console, plan.folder)
    return 0
