"""`kwc sweep report`: the tables, the plots and TensorBoard, from the folders alone."""

import argparse
from typing import Any

from launch.commands.sweep import common
from launch.errors import LaunchError


def register(commands: Any) -> None:
    """Adds the command."""
    text = "write the tables, the plots and the TensorBoard folder again"
    common.add_command(commands, "report", _report, text)


def _report(arguments: argparse.Namespace) -> int:
    plan, console = common.read(arguments), common.console()
    if not plan.folder.is_dir():
        raise LaunchError(f"{plan.folder} is not there yet: `kwc sweep run` makes it")
    common.write_report(plan)
    console.print(common.totals(plan.trials, plan.statuses), highlight=False)
    common.print_outputs(console, plan.folder)
    return 0
