"""Where data comes from: one module per source."""

from experiments.data.sources import digits, fashion_mnist, mnist_5k, movie_sentences, tfds
from experiments.data.sources.source import Source

SOURCES: dict[str, Source] = {
    module.SOURCE.name: module.SOURCE
    for module in (mnist_5k, digits, fashion_mnist, movie_sentences)
}
"""The data sets that need no TFDS, by name."""


def find_source(name: str) -> Source:
    """Returns the source called `name`; raises ValueError that lists the names there are."""
    if name.startswith(tfds.PREFIX):
        return tfds.source(name)
    if name not in SOURCES:
        raise ValueError(
            f"unknown data set {name!r}; choose one of {', '.join(SOURCES)}, "
            "or tfds:NAME for a TFDS data set, such as tfds:cifar10"
        )
    return SOURCES[name]
