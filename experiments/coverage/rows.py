"""What is recorded of an experiment and an algorithm, and the table of it all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pathlib

from kwc import files

CONTROL = "control"
REFUSED = "refused: "
WANTED_SHARE = 0.99


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one stage of one experiment ended.

    Attributes:
        reason: why it did not pass; empty if it did.
        covered_share: share of the parameters of matrices that the algorithm replaced.
        uncovered: paths of the matrices that it left as they were, largest first.
        params: number of parameters of the model.
        seconds: wall-clock time.
        peak_mb: most resident memory of the process until then, in MB (1e6 bytes).
    """

    reason: str = ""
    covered_share: float | None = None
    uncovered: tuple[str, ...] = ()
    params: int | None = None
    seconds: float = 0.0
    peak_mb: int | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment and one algorithm, as in `results/coverage.csv`."""

    experiment: str
    control: str
    algorithm: str
    result: str
    reason: str
    covered_share: float | None
    params: int | None
    seconds: float
    peak_mb: int | None

    @property
    def is_refused(self) -> bool:
        return self.reason.startswith(REFUSED)


def of(experiment: str, control: Outcome, outcomes: dict[str, Outcome]) -> list[Row]:
    """Returns the rows of one experiment; where the control fails, so do the algorithms.

    A row that passes may have a reason too: what an algorithm leaves, if that is much.
    """
    rows = []
    for algorithm, outcome in outcomes.items():
        reason = f"{CONTROL}: {control.reason}" if control.reason else outcome.reason
        figures = control if control.reason else outcome
        rows.append(
            Row(
                experiment=experiment,
                control="fail" if control.reason else "pass",
                algorithm=algorithm,
                result="fail" if reason else "pass",
                reason=reason or _uncovered(outcome),
                covered_share=outcome.covered_share,
                params=figures.params,
                seconds=round(figures.seconds, 1),
                peak_mb=figures.peak_mb,
            )
        )
    return rows


def _uncovered(outcome: Outcome, most: int = 3) -> str:
    """Names the largest matrices that an algorithm left as they were; not for one that must."""
    if not outcome.covered_share or outcome.covered_share >= WANTED_SHARE:
        return ""
    rest = len(outcome.uncovered) - most
    more = f" and {rest} more" if rest > 0 else ""
    return f"not replaced: {', '.join(outcome.uncovered[:most])}{more}"


def to_csv(rows: list[Row]) -> str:
    """Returns the table as text, one line a row and one for the names of the columns.

    >>> print(to_csv([]).strip())
    experiment,control,algorithm,result,reason,covered_share,params,seconds,peak_mb
    """
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = dataclasses.asdict(row)
        if row.covered_share is not None:
            cells["covered_share"] = f"{row.covered_share:.4f}"
        writer.writerow(cells)
    return text.getvalue()


def write(path: pathlib.Path, outcomes: dict[str, Outcome]) -> None:
    """Writes outcomes by stage."""
    plain = {stage: dataclasses.asdict(outcome) for stage, outcome in outcomes.items()}
    files.write_atomically(path, json.dumps(plain, indent=1))


def read(path: pathlib.Path) -> dict[str, Outcome]:
    """Returns outcomes by stage; none where there is no file."""
    if not path.exists():
        return {}
    plain = json.loads(path.read_text())
    return {
        stage: Outcome(**fields | {"uncovered": tuple(fields["uncovered"])})
        for stage, fields in plain.items()
    }
