"""Real data sets as TFRecords in the formats that Model Garden's own decoders read.

A prepared data set is a folder with one TFRecord file per split and a `manifest.json` that says
what is in them. `python -m experiments.prepare_data --help` lists the data sets.
"""

from experiments.data.images import read_images
from experiments.data.manifest import Manifest, SplitFile, load_manifest
from experiments.data.prepare import prepare
from experiments.data.sources import SOURCES, Source, find_source

__all__ = [
    "SOURCES",
    "Manifest",
    "Source",
    "SplitFile",
    "find_source",
    "load_manifest",
    "prepare",
    "read_images",
]
