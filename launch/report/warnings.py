"""What a careful reader should know before trusting a sweep's curves.

The list answers Blalock et al., "What is the State of Neural Network Pruning?", arXiv:2003.03033.
"""

from collections.abc import Iterator

import pandas as pd

from launch.trials import State

MIN_RATES = 5
MIN_SEEDS = 3


def find(rows: pd.DataFrame) -> list[str]:
    """Lists the caveats of a table of trials.

    Args:
        rows: The table of `launch.report.table.read`.

    Returns:
        One sentence per caveat, empty when there is none.
    """
    compressed = rows[rows["kind"] == "compression"]
    done = rows[rows["state"] == State.DONE]
    return [
        *_unfinished(rows),
        *_few_rates(compressed),
        *_few_seeds(compressed),
        *_no_baseline(compressed[compressed["state"] == State.DONE]),
        *_unequal(done[done["kind"] == "compression"]),
        *_provenance(done),
    ]


def _unfinished(rows: pd.DataFrame) -> Iterator[str]:
    unfinished = rows[rows["state"] != State.DONE]
    if len(unfinished):
        yield f"{len(unfinished)} of {len(rows)} trials are not done; the curves lack their points."
    for _, row in unfinished[unfinished["state"].isin([State.FAILED, State.BROKEN])].iterrows():
        note = " ".join(row["note"].split())
        yield f"Trial `{row['id']}` is {row['state']}: {note}"


def _few_rates(compressed: pd.DataFrame) -> Iterator[str]:
    curves = compressed[compressed["rate"] != ""].groupby(["arch", "algorithm"], sort=False)
    few = [
        f"{' '.join(curve)} ({n})" for curve, n in curves["rate"].nunique().items() if n < MIN_RATES
    ]
    if few:
        yield f"Fewer than {MIN_RATES} rates on a curve: {', '.join(few)}."


def _few_seeds(compressed: pd.DataFrame) -> Iterator[str]:
    seeds = compressed["seed"].nunique()
    if 0 < seeds < MIN_SEEDS:
        yield f"Fewer than {MIN_SEEDS} seeds ({seeds}): differences may be chance."


def _no_baseline(done: pd.DataFrame) -> Iterator[str]:
    missing = done[done["dense_metric"].isna()]["arch"].unique()
    if len(missing):
        yield f"No dense baseline to compare with: {', '.join(missing)}."


def _unequal(done: pd.DataFrame) -> Iterator[str]:
    for (arch, seed), group in done.groupby(["arch", "seed"], sort=False):
        if group["initial_checkpoint_sha256"].nunique() > 1:
            yield f"{arch}, seed {seed}: trials start from different checkpoints; compare none."
    for arch, group in done.groupby("arch", sort=False):
        if group["steps"].nunique() > 1:
            steps = ", ".join(map(str, sorted(group["steps"].unique())))
            yield f"{arch}: trials trained for different numbers of steps ({steps})."


def _provenance(done: pd.DataFrame) -> Iterator[str]:
    if done["git_sha"].nunique() > 1:
        yield "Trials come from different commits."
    if done["git_dirty"].fillna(False).any():
        yield "Some trials ran from a tree with uncommitted changes."
