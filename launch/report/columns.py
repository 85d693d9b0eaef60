"""How the page shows the columns of the table of trials."""

from typing import Any, NamedTuple

import pandas as pd


class Column(NamedTuple):
    """How a column of the table is shown.

    Attributes:
        name: Its name in the table of trials.
        title: Its heading.
        digits: Decimals of a number, None for text.
        scale: What the number is multiplied by.
        signed: Whether a plus is written.
    """

    name: str
    title: str
    digits: int | None = None
    scale: float = 1
    signed: bool = False

    def text(self, value: Any) -> str:
        """Writes a value, nothing for a missing one.

        Example:
            >>> Column("drop_points", "change", digits=2, scale=-1, signed=True).text(0.25)
            '-0.25'
        """
        if pd.isna(value):
            return ""
        if self.digits is None:
            return str(value)
        # The z option writes what rounds to zero without a minus.
        return format(self.scale * value, f"{'+' if self.signed else ''}z,.{self.digits}f")


COLUMNS = [
    Column("arch", "architecture"),
    Column("algorithm", "algorithm"),
    Column("rate", "rate"),
    Column("seed", "seed", 0),
    Column("artifact_metric", "artifact (%)", 2, 100),
    Column("dense_metric", "dense (%)", 2, 100),
    Column("drop_points", "change (points)", 2, -1, signed=True),
    Column("relative_metric", "relative (%)", 2, 100),
    Column("file_bytes", "file bytes", 0),
    Column("payload_bytes", "payload bytes", 0),
    Column("zipped_bytes", "zipped bytes", 0),
    Column("ratio", "ratio", 2),
    Column("bits_per_weight", "bits per weight", 3),
    Column("nonzeros", "non-zeros", 0),
    Column("macs", "MACs", 0),
    Column("steps", "steps", 0),
    Column("total_seconds", "seconds", 1),
    Column("state", "state"),
]
UNLISTED = [
    Column("training_graph_metric", "training graph (%)", 2, 100),
    Column("validation_metric", "on validation data (%)", 2, 100),
    Column("best_validation_metric", "best on validation data (%)", 2, 100),
    Column("weights", "weights", 0),
    Column("dense_bytes", "dense bytes", 0),
    Column("dense_zipped_bytes", "dense bytes, zipped", 0),
    Column("bits_estimated", "bits estimated", 0),
    Column("train_batch_size", "batch size", 0),
    Column("train_seconds", "seconds of training", 1),
    Column("kind", "kind"),
    Column("baseline", "baseline"),
    Column("metric", "metric"),
    Column("checkpoint", "checkpoint"),
    Column("experiment", "experiment"),
    Column("git_sha", "commit"),
    Column("git_dirty", "uncommitted changes"),
    Column("packages", "packages"),
    Column("python", "Python"),
    Column("hardware", "hardware"),
    Column("host", "host"),
    Column("data_checksum", "data checksum"),
    Column("initial_checkpoint_sha256", "initial checkpoint"),
    Column("note", "note"),
]
