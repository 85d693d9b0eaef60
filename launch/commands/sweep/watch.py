"""`kwc sweep watch`: the sweep as it runs, in the terminal."""

import argparse
import contextlib
import time
from typing import Any

import rich.live

from launch import grid, layout, lock, shared
from launch.commands.sweep import common
from launch.errors import LaunchError
from launch.gin_merge import find_file

_MIN_SECONDS = 2.0
_LARGEST_SHARE = 0.1  # Of one core: a sweep of thousands of trials takes long to read.


def register(commands: Any) -> None:
    """Adds the command."""
    text = "show the states, what runs and what was found so far, until the run ends"
    command = common.add_command(commands, "watch", _watch, text)
    command.add_argument("--once", action="store_true", help="show it once; a pipe gets it once")


def _watch(arguments: argparse.Namespace) -> int:
    from launch.report import live, table

    sweep, _ = grid.load(find_file(arguments.sweep))
    folder, mirror = common.locate(arguments, sweep.name)
    console = common.console()
    while not (folder / layout.TRIAL_TABLE).is_file():
        if arguments.once or not lock.is_held(folder):
            raise LaunchError(f"{folder} is not there yet: `kwc sweep run` makes it")
        with console.status("The run is starting."):
            time.sleep(_MIN_SECONDS)
    if arguments.once or not console.is_terminal:
        console.print(live.picture(folder, table.read(folder)))
        return 0
    display = rich.live.Live(console=console, auto_refresh=False)
    # Ctrl-C is how a reader leaves.
    with contextlib.suppress(KeyboardInterrupt), display:
        is_running = True
        while is_running:
            start = time.monotonic()
            if mirror is not None:
                shared.pull(mirror)
            is_running = lock.is_held(folder) or (mirror is not None and shared.is_held(mirror))
            display.update(live.picture(folder, table.read(folder)), refresh=True)
            if is_running:
                time.sleep(max(_MIN_SECONDS, (time.monotonic() - start) / _LARGEST_SHARE))
    return 0
