"""Prints tables whole: on a terminal in its width, into a file or a pipe as wide as they need."""

import rich.console
import rich.table

_ENDLESS = 1 << 20


def print_table(table: rich.table.Table) -> None:
    """Prints a table on standard output, nothing cut short."""
    console = rich.console.Console()
    if not console.is_terminal:
        # A file or a pipe has no width to respect: as wide as the longest path needs.
        endless = rich.console.Console(width=_ENDLESS)
        console = rich.console.Console(width=endless.measure(table).maximum)
    console.print(table)
