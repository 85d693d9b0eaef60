"""Sentences of movie reviews with the mean of twenty people's sentiment ratings."""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from experiments.data.sentences import Sentences
from experiments.data.sources.source import Source
from experiments.data.splits import stratified_split

# The hash makes pip refuse any other file before it runs anything in it.
REQUIREMENT = (
    "vaderSentiment==3.3.2 "
    "--hash=sha256:5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
)
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def load(path: str | None = None) -> Sentences:
    """Returns each distinct sentence with label 1 if its mean rating is above zero, else 0.

    Args:
        path: the table itself (tab-separated: number, rating, sentence), or the source
            distribution `vaderSentiment-3.3.2.tar.gz` that holds it; downloaded by default.
    """
    if path is None:
        table = _download()
    elif not Path(path).exists():
        raise FileNotFoundError(f"--source={path} does not exist")
    elif path.endswith(".tar.gz"):
        table = _extract(Path(path))
    else:
        table = Path(path).read_bytes()
    labels = read_table(table.decode("utf-8"))
    sentences = list(labels)
    parts = stratified_split(list(labels.values()), {"train": 8, "validation": 1, "test": 1})
    return Sentences(
        splits={
            split: [((sentences[i],), labels[sentences[i]]) for i in indices]
            for split, indices in parts.items()
        },
        class_names=("negative", "positive"),
    )


def read_table(table: str) -> dict[str, int]:
    r"""Returns sentence to label; a sentence that repeats keeps its first label.

    >>> read_table("1\t2.5\tA joy.\n2\t-1\tToo long.\n")
    {'A joy.': 1, 'Too long.': 0}
    """
    labels: dict[str, int] = {}
    for number, line in enumerate(filter(None, table.split("\n")), start=1):
        try:
            _, rating, sentence = line.split("\t")
            labels.setdefault(sentence.strip(), int(float(rating) > 0))
        except ValueError as error:
            raise ValueError(
                f"row {number} is not 'number <tab> rating <tab> sentence': {line[:60]!r}"
            ) from error
    return labels


def _download() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(REQUIREMENT)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary=:all:", "--no-build-isolation"]
        command += [f"--dest={folder}", f"--requirement={requirements}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(
                "pip could not download the source distribution of vaderSentiment 3.3.2 "
                f"({result.stderr.strip()[-300:]}); fetch it where there is a network and pass "
                "--source=vaderSentiment-3.3.2.tar.gz"
            )
        return _extract(next(Path(folder).glob("*.tar.gz")))


def _extract(distribution: Path) -> bytes:
    """Returns the table inside an archive inside the distribution; unpacks neither to disk."""
    try:
        with tarfile.open(distribution) as outer:
            archive = outer.extractfile(ARCHIVE).read()
        with tarfile.open(fileobj=io.BytesIO(archive)) as inner:
            return inner.extractfile(TABLE).read()
    except (tarfile.TarError, KeyError) as error:
        raise ValueError(
            f"{distribution} is not the source distribution of vaderSentiment 3.3.2: {error}"
        ) from error


SOURCE = Source(
    name="movie_sentences",
    summary="10,603 movie-review sentences, positive or negative: 80 / 10 / 10 %",
    source=f"source distribution of the Python package vaderSentiment 3.3.2, {TABLE}",
    licence="MIT",
    load=load,
)
