"""The small data sets that the experiments of `sizes` read, in Model Garden's own formats."""

import pathlib

from experiments.coverage.records import prepared, text, vision


def write(folder: pathlib.Path) -> None:
    """Writes the data sets that a folder does not have yet; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    vision.write(folder)
    prepared.write(folder)
    text.write(folder)
