"""Arrays that are coded with a guide: which columns of the array before are used."""

import numpy as np
import pytest
from coding_reader import DECODERS
from context_reader import decode_context
from hypothesis import given
from hypothesis import strategies as st
from test_coding import assert_same, fast, laplace

from kwc import artifact, coding
from kwc.algorithms import EPR, Pruning
from kwc.artifact import ArtifactError, PackedWeight
from kwc.coding import CodingError
from kwc.coding.dtypes import to_patterns
from kwc.compressor import WeightInfo

HALF = np.random.default_rng(5).permutation(np.arange(40) % 2 == 0)


def dead_rows(shape=(40, 12), used=HALF, scale=2.0):
    """Laplace integers, 0 in the rows that are not used."""
    array = laplace(np.prod(shape), scale, np.int8).reshape(-1, shape[-1])
    return (array * np.resize(used, len(array))[:, None]).reshape(shape)


LAYERS = dead_rows((20, 40), np.ones(20)) * HALF, dead_rows((40, 40)) * HALF, dead_rows((80, 9))


def epr(*layers):
    """Weights of levels, each with one step."""
    step = np.zeros(1, np.int8)
    return [
        PackedWeight(
            WeightInfo(f"layer_{i}/kernel", levels.shape),
            EPR(),
            {"levels": levels.astype(np.int8), "exponents": step},
        )
        for i, levels in enumerate(layers)
    ]


def coders(content):
    return [weight.coded[0].declared.coder for weight in content.weights.values()]


def assert_same_arrays(content, packed):
    for weight in packed:
        for name, array in weight.arrays.items():
            np.testing.assert_array_equal(content.weights[weight.info.path].arrays[name], array)


@st.composite
def guided_arrays(draw):
    outer, n, columns = draw(st.integers(1, 3)), draw(st.integers(2, 12)), draw(st.integers(1, 9))
    used = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    array = dead_rows((outer * n, columns), used, draw(st.sampled_from([0.3, 2.0, 40.0])))
    if draw(st.booleans()):
        array[draw(st.integers(0, len(array) - 1))] += 1
    return array, used


@fast
@given(case=guided_arrays())
def test_a_guided_code_round_trips_and_is_read_by_the_page(case):
    array, used = case
    plain = coding.CODERS["context"].encode(array)
    code = coding._GUIDED.encode(array, plain, used)
    assert (code is None) == (used.all() or not used.any())
    if code is not None:
        assert_same(coding.decode(coding.GUIDED, code, array.shape, array.dtype, used), array)
        assert decode_context(code, array.shape, 1, used) == to_patterns(array).tolist()


@pytest.mark.parametrize("shape", [(40, 12), (3, 3, 40, 6), (80, 12)])
@pytest.mark.parametrize("scale", [0.6, 4.0])
def test_a_guide_saves_most_of_the_marks_of_unused_rows(shape, scale):
    array = dead_rows(shape, scale=scale)
    coder, data = coding.encode(array, used=HALF)
    assert coder == coding.GUIDED
    assert len(data) < 0.99 * len(coding.encode(array).data)
    assert_same(coding.decode(coder, data, array.shape, array.dtype, HALF), array)
    assert decode_context(data, shape, 1, HALF) == to_patterns(array).tolist()


@pytest.mark.parametrize("used", [np.ones(40, bool), np.zeros(40, bool), HALF[:7], None])
def test_a_guide_that_tells_nothing_is_not_used(used):
    array = dead_rows()
    assert coding.encode(array, used=used) == coding.encode(array)


def test_an_array_that_a_guide_says_nothing_true_of_goes_without():
    array = laplace(480, 2.0, np.int8).reshape(40, 12)
    assert coding.encode(array, used=HALF).coder == "context"


def test_the_fast_preset_takes_no_guide():
    array = dead_rows()
    assert coding.encode(array, "fast", HALF) == coding.encode(array, "fast")


def test_a_code_without_its_guide_is_refused():
    array = dead_rows()
    code = coding.encode(array, used=HALF).data
    with pytest.raises(CodingError, match="no guide for the coder 'context_1'"):
        coding.decode(coding.GUIDED, code, array.shape, array.dtype)
    for used in (HALF[:7], np.ones(40, bool)):
        with pytest.raises(CodingError, match=f"{used.size} rows guide an array"):
            coding.decode(coding.GUIDED, code, array.shape, array.dtype, used)
    with pytest.raises(CodingError, match="40 rows guide an array"):
        coding.decode(coding.GUIDED, code, (480,), array.dtype, HALF)


def test_each_layer_of_a_file_guides_the_next_one():
    packed = epr(*LAYERS)
    content = artifact.from_bytes(artifact.to_bytes(packed))
    assert coders(content) == ["context", coding.GUIDED, coding.GUIDED]
    assert_same_arrays(content, packed)
    last = list(artifact.from_bytes(artifact.to_bytes(packed)).weights.values())[-1]
    np.testing.assert_array_equal(last.arrays["levels"], packed[-1].arrays["levels"])


def test_a_file_is_written_again_as_it_is_and_in_any_order():
    packed = epr(*LAYERS)
    data = artifact.to_bytes(packed)
    weights = list(artifact.from_bytes(data).weights.values())
    assert artifact.to_bytes(weights) == data
    for some in (weights[::-1], weights[1:], [weights[0], weights[2], weights[1]]):
        again = artifact.from_bytes(artifact.to_bytes(some))
        assert_same_arrays(again, [w for w in packed if w.info.path in again.weights])
    # Of a file and new weights, a coded array guides too.
    mixed = artifact.to_bytes([weights[0], *packed[1:]])
    assert mixed == data


def test_a_mask_guides_and_what_it_masks_does_not():
    units = HALF.repeat(3)
    masks = [np.ones((30, 120), bool) & units, np.ones((120, 30), bool) & units[:, None]]
    masks[0] &= laplace(3600, 1.0, np.int8).reshape(30, 120) != 0
    masks[1] &= laplace(3600, 1.0, np.int8).reshape(120, 30) != 0
    packed = [
        artifact.pack(Pruning(0.5), {"mask": mask, "weight": mask * np.float32(0.5)}, info)
        for i, mask in enumerate(masks)
        for info in [WeightInfo(f"layer_{i}/kernel", mask.shape)]
    ]
    content = artifact.from_bytes(artifact.to_bytes(packed))
    assert coders(content) == ["context", coding.GUIDED]
    assert_same_arrays(content, packed)


def test_a_long_chain_of_guides_is_decoded_once():
    layers = [dead_rows((40, 40)) * HALF for _ in range(1500)]
    content = artifact.from_bytes(artifact.to_bytes(epr(*layers)))
    assert set(coders(content)[1:]) == {coding.GUIDED}
    last = content.weights["layer_1499/kernel"]
    np.testing.assert_array_equal(last.arrays["levels"], layers[-1])
    assert "used_columns" in vars(content.weights["layer_0/kernel"].coded[0])


def test_a_file_without_the_guide_that_it_needs_is_refused():
    packed = epr(*LAYERS)
    weights = list(artifact.from_bytes(artifact.to_bytes(packed)).weights.values())
    orphan = artifact.weights.CodedWeight(
        weights[1].info,
        weights[1].compressor,
        tuple(artifact.CodedArray(a.declared, a.code) for a in weights[1].coded),
        "file",
    )
    content = artifact.from_bytes(artifact.to_bytes([orphan]))
    with pytest.raises(ArtifactError, match=r"layer_1/kernel/levels: .*no guide"):
        content.weights["layer_1/kernel"].decompress()


def test_a_guide_counts_as_room():
    packed = epr(*LAYERS)
    content = artifact.from_bytes(artifact.to_bytes(packed))
    _, second, _ = content.weights.values()
    assert second.decoded_bytes == 40 * 40 + 1 + 20 * 40


def test_the_coder_is_none_of_those_that_need_no_guide():
    assert coding.GUIDED not in coding.CODERS
    assert coding.GUIDED not in DECODERS
