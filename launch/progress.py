"""Shows a running sweep: a live bar on a terminal, one line per trial anywhere else."""

from collections.abc import Mapping
from typing import Self

import rich.markup
import rich.progress
from rich.console import Console

from launch import layout, results
from launch.executors import Event
from launch.trials import Trial

# Trials take minutes: a time to completion must look back further than rich's 30 seconds.
_SPEED_WINDOW_SECONDS = 86_400


class Progress:
    """A context manager that is told each event of a run."""

    def __init__(self, console: Console, trials: Mapping[str, Trial]) -> None:
        """Makes the display.

        Args:
            console: Where it is shown.
            trials: The trials that will run, by id.
        """
        self._console = console
        self._trials = trials
        self._finished = 0
        self._running: dict[str, str] = {}
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
            speed_estimate_period=_SPEED_WINDOW_SECONDS,
        )
        self._task = self._bar.add_task("", total=len(trials))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        name = self._trials[event.job.id].describe()
        if event.state == "running":
            self._running[event.job.id] = name
        else:
            self._running.pop(event.job.id, None)
        self._bar.update(self._task, description=self._describe())
        match event.state:
            case "running":
                return
            case "restarted":
                colour = "yellow"
            case state:
                self._finished += 1
                self._bar.advance(self._task)
                colour = "green" if state == "done" else "red"
        count = rich.markup.escape(f"[{self._finished}/{len(self._trials)}]")
        line = f"[bold]{count}[/] [{colour}]{event.state}[/] {name}"
        self._console.print(line + rich.markup.escape(_outcome(event)), highlight=False)

    def _describe(self) -> str:
        """Names the trial that runs, or says how many do."""
        names = list(self._running.values())
        return f"{len(names)} trials running" if len(names) > 1 else "".join(names)


def _outcome(event: Event) -> str:
    seconds = "" if event.seconds is None else f"  {event.seconds:.1f} s"
    if event.state == "done":
        return f"  {results.headline(results.read(event.job.folder / layout.RESULT))}{seconds}"
    return f"  {event.error}{seconds}" if event.error else seconds
