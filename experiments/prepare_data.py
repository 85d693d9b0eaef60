"""Prepares a data set for Model Garden's experiments.

    python -m experiments.prepare_data --dataset=mnist_5k --data_dir=data

writes data/mnist_5k/{train,validation,test}.tfrecord and manifest.json. An experiment then reads

    task.train_data.input_path=data/mnist_5k/train.tfrecord
    task.validation_data.input_path=data/mnist_5k/validation.tfrecord

Running it again checks the files and changes nothing. Choose on the validation split; report the
test split once.
"""

import sys

from absl import app, flags
from rich.console import Console
from rich.table import Table

from experiments.data import SOURCES, Manifest, prepare

_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "what to prepare:\n"
    + "\n".join(
        f"{source.name}: {source.summary} ({source.licence}); {source.source}."
        for source in SOURCES.values()
    )
    + "\ntfds:NAME: any labelled images or sentences of TensorFlow Datasets, such as "
    "tfds:cifar10 or tfds:glue/sst2; downloaded by TFDS.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder that holds the data sets.")
_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "file or folder to read instead of the usual place: the folder of the four IDX files "
    "(fashion_mnist), vaderSentiment-3.3.2.tar.gz or a tab-separated table (movie_sentences), "
    "TFDS's data folder (tfds:NAME).",
)
_FORCE = flags.DEFINE_bool("force", False, "build again what is already there.")


def _table(manifest: Manifest) -> Table:
    table = Table("split", "examples", "MB", "file", title=f"{manifest.name} ({manifest.kind})")
    for split, entry in manifest.splits.items():
        path = manifest.path(split)
        megabytes = f"{path.stat().st_size / 1e6:.1f}"
        table.add_row(split, f"{entry.examples:,}", megabytes, str(path))
    return table


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; flags are --name=value")
    try:
        manifest = prepare(_DATASET.value, _DATA_DIR.value, _FORCE.value, _SOURCE.value)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{_DATASET.value} was not prepared: {error}")
    console = Console()
    console.print(_table(manifest))
    console.print(f"checksum {manifest.checksum}", highlight=False)


if __name__ == "__main__":
    flags.mark_flag_as_required("dataset")
    app.run(main)
