"""What a point came to: the mean of its trials over seeds."""

import statistics
from collections.abc import Sequence

from launch import results


def over_seeds(measured: Sequence[results.Result | None]) -> tuple[float, float] | None:
    """Averages the decoded models of one point.

    Args:
        measured: The result of each seed; None where there is none.

    Returns:
        The mean of the primary metric, a fraction, and of the file's bytes; None if one is missing.
    """
    pairs = [
        (results.primary(result, "artifact"), result["sizes"]["file_bytes"])
        for result in measured
        if result is not None
    ]
    if len(pairs) < len(measured) or any(None in pair for pair in pairs):
        return None
    accuracies, sizes = zip(*pairs, strict=True)
    return statistics.fmean(accuracies), statistics.fmean(sizes)
