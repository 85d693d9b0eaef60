"""Two thousand mutated artifacts; `make fuzz` reads a hundred thousand others."""

import pytest
from fuzz_artifact import SECONDS, corpus, mutated, start_worker, try_one

COUNT = 2000


@pytest.fixture(scope="module")
def seeds():
    files = corpus()
    start_worker(files)
    return files


@pytest.mark.parametrize("first", range(0, COUNT, 500))
def test_a_mutated_artifact_is_refused_or_decodes_to_what_it_declares(seeds, first):
    decoded = 0
    for number in range(first, first + 500):
        _, outcome = try_one(seeds, number, seed=1)
        assert outcome.seconds < SECONDS, f"file {number}"
        decoded += outcome.decoded
    # Mutations reach the decoders: some files are sound in spite of them.
    assert 20 < decoded < 300


def test_a_file_number_is_always_the_same_file(seeds):
    assert mutated(seeds, 7, 1) == mutated(seeds, 7, 1)
    assert mutated(seeds, 7, 1) != mutated(seeds, 7, 2)
