"""What a table of coverage comes to: the share that passes first, then what does not and why."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.coverage.rows import WANTED_SHARE, Row

# The spec by which the share of parameters is judged.
COVERED_BY = "quantization"


def show(console: Console, rows: list[Row], missing: int) -> None:
    """Prints the share of experiments that pass, the parameters covered, and every non-pass.

    Args:
        console: where to.
        rows: the table.
        missing: experiments that were not run.
    """
    for line in share(rows, missing):
        console.print(line, highlight=False, soft_wrap=True)
    table = Table("experiment", "algorithm", "reason")
    for names, reason in _non_passes(rows).items():
        table.add_row(*map(Text, (*names, reason)))
    if table.row_count:
        console.print(table)


def share(rows: list[Row], missing: int = 0) -> list[str]:
    """Returns the figures of the target, one a line."""
    every = {row.experiment for row in rows}
    control = {row.experiment for row in rows if row.control == "pass"}
    refused = {row.experiment for row in rows if row.is_refused}
    wanted = control - refused
    good = wanted - {row.experiment for row in failures(rows)}
    lines = [
        f"pass: {len(good)} of {len(wanted)} experiments that kwc is for"
        + (f", {len(good) / len(wanted):.1%}" if wanted else ""),
        f"control passes: {len(control)} of {len(every)} experiments; refused: {len(refused)}",
    ]
    replaced = [row for row in rows if row.algorithm == COVERED_BY and row.result == "pass"]
    if replaced:
        low = [row.experiment for row in replaced if row.covered_share < WANTED_SHARE]
        lines.append(
            f"{COVERED_BY} replaces {WANTED_SHARE:.0%} of the parameters of matrices or more: "
            f"{len(replaced) - len(low)} of {len(replaced)} experiments"
            + (f"; not in {', '.join(low)}" if low else "")
        )
    if missing:
        lines.append(f"not run: {missing} experiments; run the command again to go on")
    return lines


def failures(rows: list[Row]) -> list[Row]:
    """Returns the rows that miss the target: the control passes, kwc neither passes nor refuses."""
    return [
        row for row in rows if row.control == "pass" and row.result == "fail" and not row.is_refused
    ]


def _non_passes(rows: list[Row]) -> dict[tuple[str, str], str]:
    """Reasons by experiment and algorithm; one line where several algorithms share a reason."""
    shared: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.result == "fail":
            shared.setdefault((row.experiment, row.reason), []).append(row.algorithm)
    return {
        (experiment, ", ".join(algorithms)): reason
        for (experiment, reason), algorithms in shared.items()
    }
