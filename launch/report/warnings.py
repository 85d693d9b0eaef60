"""What a careful reader should know before trusting a sweep's curves.

The list answers Blalock et al., "What is the State of Neural Network Pruning?", arXiv:2003.03033.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from launch.trials import State

MIN_RATES = 5
MIN_SEEDS = 3
_MAX_LISTED = 12


def find(rows: pd.DataFrame) -> list[str]:
    """Lists the caveats of a table of trials.

    Args:
        rows: The table of `launch.report.table.read`.

    Returns:
        One sentence per caveat, in Markdown, empty when there is none.
    """
    compressed = rows[rows["kind"] == "compression"]
    done = rows[rows["state"] == State.DONE]
    done_compressed = done[done["kind"] == "compression"]
    return [
        *_unfinished(rows),
        *_few_rates(compressed),
        *_few_seeds(compressed),
        *_no_baseline(done_compressed),
        *_estimated(done_compressed),
        *_best_checkpoint(done),
        *_unequal_starts(done_compressed),
        *_unequal_budgets(done_compressed),
        *_unequal_data(done),
        *_unequal_code(done),
    ]


def _unfinished(rows: pd.DataFrame) -> Iterator[str]:
    unfinished = rows[rows["state"] != State.DONE]
    if len(unfinished):
        yield f"{len(unfinished)} of {len(rows)} trials are not done; the curves lack their points."
    stopped = unfinished[unfinished["state"].isin([State.FAILED, State.BROKEN])]
    for _, row in stopped.head(_MAX_LISTED).iterrows():
        note = " ".join(row["note"].split())
        yield f"Trial `{row['id']}` is {row['state']}: {note}"
    if len(stopped) > _MAX_LISTED:
        yield f"{len(stopped) - _MAX_LISTED} more trials failed; `kwc sweep status` lists them."


def _few_rates(compressed: pd.DataFrame) -> Iterator[str]:
    curves = compressed[compressed["rate"] != ""].groupby(["arch", "algorithm"], sort=False)
    few = [
        f"{' '.join(curve)} ({n})" for curve, n in curves["rate"].nunique().items() if n < MIN_RATES
    ]
    if few:
        yield f"Fewer than {MIN_RATES} rates on a curve: {_listed(few)}."


def _few_seeds(compressed: pd.DataFrame) -> Iterator[str]:
    seeds = compressed["seed"].nunique()
    if 0 < seeds < MIN_SEEDS:
        yield f"Fewer than {MIN_SEEDS} seeds ({seeds}): differences may be chance."


def _no_baseline(done: pd.DataFrame) -> Iterator[str]:
    missing = done[done["dense_metric"].isna()]["arch"].unique()
    if len(missing):
        yield f"No dense baseline to compare with: {_listed(missing)}."


def _estimated(done: pd.DataFrame) -> Iterator[str]:
    estimated = done[done["file_bytes"].isna() & done["bits_estimated"].notna()]
    if len(estimated):
        yield (
            f"{_trials(estimated)} no written file: the size is an estimate, and the point is "
            "left out of the curves."
        )


def _best_checkpoint(done: pd.DataFrame) -> Iterator[str]:
    best = done[~done["checkpoint"].isin(["", "final"])]
    if len(best):
        yield (
            f"{_trials(best)} the metric of the best checkpoint instead of the final one, which "
            "favours whoever looked most often."
        )


def _unequal_starts(done: pd.DataFrame) -> Iterator[str]:
    starts = done.groupby(["arch", "seed"], sort=False)["initial_checkpoint_sha256"].nunique()
    for arch, seed in starts.index[starts > 1]:
        yield f"{arch}, seed {seed}: trials start from different checkpoints; compare none."


def _unequal_budgets(done: pd.DataFrame) -> Iterator[str]:
    for column, what in (("steps", "numbers of steps"), ("train_batch_size", "batch sizes")):
        for arch, values in done.groupby("arch", sort=False)[column]:
            if values.nunique() > 1:
                found = _listed(sorted(values.dropna().unique()))
                yield f"{arch}: trials trained for different {what} ({found})."


def _unequal_data(done: pd.DataFrame) -> Iterator[str]:
    data = done.groupby("arch", sort=False)["data_checksum"].nunique()
    for arch in data.index[data > 1]:
        yield f"{arch}: trials were trained and measured on different data."


def _unequal_code(done: pd.DataFrame) -> Iterator[str]:
    if done["git_sha"].nunique() > 1:
        yield "Trials come from different commits."
    if done["git_dirty"].fillna(False).any():
        yield "Some trials ran from a tree with uncommitted changes."


def _trials(rows: pd.DataFrame) -> str:
    """Returns `Trials a, b have`, for as many as there are."""
    many = len(rows) > 1
    ids = _listed([f"`{trial_id}`" for trial_id in rows["id"]])
    return f"Trial{'s' * many} {ids} {'have' if many else 'has'}"


def _listed(values: Sequence[object]) -> str:
    """Joins values with commas, and counts those beyond the first dozen."""
    listed = list(map(str, values[:_MAX_LISTED]))
    if len(values) > _MAX_LISTED:
        listed.append(f"and {len(values) - _MAX_LISTED} more")
    return ", ".join(listed)
