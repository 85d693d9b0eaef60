"""Each algorithm on a few numbers whose answers are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kwc import algorithms
from kwc.algorithms import (
    Clustering,
    LowRank,
    Pruning,
    Quantization,
    RateQuantization,
    by_name,
    register,
)
from kwc.algorithms.clustering import kmeans, look_up, nearest
from kwc.algorithms.pruning import largest
from kwc.compressor import Chain, CompressionError, Variables, WeightCompressor, WeightInfo
from kwc.ops import NumpyOps
from kwc.schedules import Polynomial, Step

SEED = tf.constant([0, 0], tf.int32)
ROW = WeightInfo("dense/kernel", (4, 1))


def initial(compressor, weight, info=ROW, total=0):
    weight = np.array(weight, np.float32).reshape(info.shape)
    v = compressor.init(weight, info, Step(0, total), {})
    return Variables(*({key: tf.constant(x) for key, x in part.items()} for part in v))


def projected(compressor, weight, info=ROW):
    return np.ravel(compressor.project(initial(compressor, weight, info), info, False, SEED))


# Clustering


def test_clusters_are_the_means_of_their_intervals():
    assert projected(Clustering(2), [0.5, 1, 9, 10]).tolist() == [0.75, 0.75, 9.5, 9.5]


def test_exact_zeros_do_not_pull_centroids():
    v = initial(Clustering(2), [0, 0, 1, 3])
    assert v.params["centroids"].numpy().tolist() == [1, 3]
    assert v.state["assignments"].numpy().ravel().tolist() == [0, 0, 0, 1]


def test_a_centroid_without_values_stays_where_it_started():
    np.testing.assert_array_equal(kmeans(np.array([0.0, 0.0, 0.0, 4.0]), 3, 10), [0, 2, 4])


def test_a_centroid_s_gradient_is_the_sum_over_its_elements():
    centroids = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(centroids)
        weight = look_up(centroids, tf.constant([[0, 1], [0, 0]]))
        loss = tf.reduce_sum(weight * tf.constant([[1.0, 10.0], [2.0, 3.0]]))
    assert weight.numpy().tolist() == [[1, 2], [1, 1]]
    assert tape.gradient(loss, centroids).numpy().tolist() == [6, 10]


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=40), st.integers(2, 5))
def test_no_other_centroid_is_nearer(values, clusters):
    weight = np.array(values, np.float32)
    centroids = kmeans(np.sort(weight), clusters, 20)
    chosen = np.abs(weight - centroids[nearest(centroids, weight)])
    closest = np.abs(weight[:, None] - centroids).min(axis=1)
    np.testing.assert_allclose(chosen, closest, atol=1e-4)


def test_a_large_codebook_is_indexed_by_the_smallest_type():
    info = WeightInfo("w", (300,))
    for clusters, dtype in ((256, np.uint8), (257, np.uint16)):
        compressor = Clustering(clusters)
        packed = compressor.compress(initial(compressor, np.arange(300), info), info)
        assert packed["indices"].dtype == dtype


# Quantization


def test_the_levels_are_symmetric_around_zero():
    # bits=2 has the levels -1, 0 and 1; with all magnitudes equal no clipping is better.
    compressor = Quantization(2)
    packed = compressor.compress(initial(compressor, [-3, 3, 3, 0]), ROW)
    assert packed["levels"].ravel().tolist() == [-1, 1, 1, 0]
    assert packed["levels"].dtype == np.int8
    assert packed["scale"].tolist() == [3]


def test_what_lies_on_the_grid_is_kept():
    assert projected(Quantization(3), [-3, 1, 2, 3]).tolist() == [-3, 1, 2, 3]


def test_each_output_channel_has_its_scale():
    info = WeightInfo("dense/kernel", (2, 2))
    compressor = Quantization(2)
    packed = compressor.compress(initial(compressor, [[1, 10], [-1, -10]], info), info)
    assert packed["scale"].tolist() == [1, 10]
    assert packed["levels"].tolist() == [[1, 1], [-1, -1]]


def test_an_outlier_is_clipped_where_that_has_the_smaller_error():
    weight = np.concatenate([np.full(99, 1.0), [2.0]])
    info = WeightInfo("dense/kernel", (100, 1))
    levels = projected(Quantization(2), weight, info)
    assert np.sum((levels - weight) ** 2) < 1.1
    assert levels.max() < 1.2


def test_a_channel_of_zeros_stays_zero():
    info = WeightInfo("dense/kernel", (2, 2))
    assert projected(Quantization(4), [[0, 1], [0, -1]], info).tolist() == [0, 1, 0, -1]


def test_gradients_pass_straight_through_the_rounding():
    compressor = Quantization(2)
    v = initial(compressor, [-3, 3, 1, 0])
    with tf.GradientTape() as tape:
        tape.watch(v.params)
        loss = tf.reduce_sum(compressor.project(v, ROW, True, SEED) * [[1.0], [2.0], [3.0], [4.0]])
    assert tape.gradient(loss, v.params["weight"]).numpy().ravel().tolist() == [1, 2, 3, 4]


# Pruning


def test_the_smallest_magnitudes_go():
    assert projected(Pruning(0.5), [0.1, -4, 2, -0.3]).tolist() == [0, -4, 2, 0]


def test_of_equal_magnitudes_the_earlier_go():
    assert largest(tf.constant([[1.0, -1.0], [1.0, 1.0]]), 0.5).numpy().tolist() == [
        [False, False],
        [True, True],
    ]


@given(st.integers(1, 200), st.floats(0, 0.999))
def test_the_number_of_zeros_is_exact(size, sparsity):
    kept = np.sum(largest(tf.zeros([size]), sparsity))
    assert size - kept == np.round(np.float32(sparsity) * np.float32(size))


def test_pruned_elements_have_no_gradient():
    compressor = Pruning(0.5)
    v = initial(compressor, [0.1, -4, 2, -0.3])
    with tf.GradientTape() as tape:
        tape.watch(v.params)
        loss = tf.reduce_sum(compressor.project(v, ROW, True, SEED))
    assert tape.gradient(loss, v.params["weight"]).numpy().ravel().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("total", [1, 2, 3, 7, 60, 200])
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_a_schedule_s_sparsity_is_reached_in_the_shortest_training(total, power):
    info = WeightInfo("dense/kernel", (100, 1))
    compressor = Pruning(Polynomial(final=0.8, power=power), interval=50)
    v = initial(compressor, np.arange(1, 101), info, total)
    assert np.all(v.state["mask"])
    for index in range(1, total + 1):
        v = compressor.update(v, info, Step(tf.constant(index, tf.int64), total), {})
    assert np.sum(v.state["mask"]) == 20


def test_masks_are_drawn_at_intervals_and_at_the_end():
    compressor = Pruning(Polynomial(final=0.5, end=0.7, power=1.0), interval=4)
    v = initial(compressor, [1, 2, 3, 4], total=10)
    zeros = []
    for index in range(1, 11):
        v = compressor.update(v, ROW, Step(tf.constant(index, tf.int64), 10), {})
        zeros.append(int(np.sum(~v.state["mask"].numpy())))
    # 0.5 * 4/7 of 4 elements is 1.1 at step 4; all of it at step 7.
    assert zeros == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


# Low rank


def test_rank_one_of_two_by_two():
    # [[2, 0], [0, 1]] has the singular values 2 and 1.
    info = WeightInfo("dense/kernel", (2, 2))
    np.testing.assert_allclose(
        projected(LowRank(1), [[2, 0], [0, 1]], info), [2, 0, 0, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        projected(LowRank(2), [[2, 0], [0, 1]], info), [2, 0, 0, 1], atol=1e-6
    )


def test_a_kernel_is_a_matrix_of_inputs_by_outputs():
    info = WeightInfo("conv/kernel", (3, 3, 4, 8))
    assert LowRank(2).param_shapes(info) == {"u": (36, 2), "v": (2, 8)}
    transposed = WeightInfo("conv/kernel", (3, 3, 8, 4), "float32", (0, 1, 3), (2,))
    assert LowRank(2).param_shapes(transposed) == {"u": (36, 2), "v": (2, 8)}


@pytest.mark.parametrize(("fraction", "rank"), [(1.0, 100), (0.07, 7), (0.071, 8), (0.001, 1)])
def test_a_fraction_of_the_rank_is_rounded_up(fraction, rank):
    assert LowRank(fraction, least=1).param_shapes(WeightInfo("w", (100, 100)))["v"] == (rank, 100)


@pytest.mark.parametrize(("columns", "rank"), [(4, 4), (10, 8), (100, 10)])
def test_a_fraction_leaves_small_matrices_a_least_rank(columns, rank):
    assert LowRank(0.1).param_shapes(WeightInfo("w", (100, columns)))["u"] == (100, rank)


def test_a_weight_of_zeros_can_still_learn():
    info = WeightInfo("head/kernel", (3, 2))
    compressor = LowRank(1)
    v = initial(compressor, np.zeros([3, 2]), info)
    assert not np.any(compressor.project(v, info, False, SEED))
    assert np.any(v.params["u"]) != np.any(v.params["v"])
    with tf.GradientTape() as tape:
        tape.watch(v.params)
        loss = tf.reduce_sum(
            compressor.project(v, info, True, SEED) * tf.random.stateless_normal([3, 2], SEED)
        )
    gradients = tape.gradient(loss, v.params)
    assert np.any(gradients["u"]) or np.any(gradients["v"])


# Chain


def test_a_chain_shares_values_among_what_pruning_leaves():
    chain = Pruning(0.5) >> Clustering(2)
    v = initial(chain, [0.1, -4, 2, -0.3])
    assert set(v.params) == {"weight/centroids"}
    assert set(v.state) == {"mask", "weight/assignments"}
    packed = chain.compress(v, ROW)
    assert packed["mask"].ravel().tolist() == [False, True, True, False]
    assert packed["weight/codebook"].tolist() == [-4, 2]
    # Indices where the mask is false say nothing: a file does not hold them.
    packed["weight/indices"] = packed["weight/indices"] * packed["mask"]
    assert chain.decompress(NumpyOps, packed, ROW).ravel().tolist() == [0, -4, 2, 0]


def test_a_chain_of_three_is_nested_to_the_right():
    info = WeightInfo("dense/kernel", (2, 2))
    a, b, c = LowRank(2), Pruning(0.5), Quantization(8)
    assert (a >> b >> c) == (a >> (b >> c)) == Chain((a, b, c))
    v = initial(a >> b >> c, [[2, 0], [0, 1]], info)
    assert set(v.params) == {"u/weight/weight", "v/weight/weight"}
    assert set(v.state) == {f"{factor}/{x}" for factor in "uv" for x in ("mask", "weight/ratio")}


def test_a_chain_s_schedules_run_in_every_link():
    chain = LowRank(1.0) >> Pruning(Polynomial(final=0.5))
    info = WeightInfo("dense/kernel", (2, 2))
    v = initial(chain, [[2, 1], [1, 2]], info, total=1)
    assert np.all(v.state["u/mask"])
    v = chain.update(v, info, Step(tf.constant(1, tf.int64), 1), {})
    assert np.sum(v.state["u/mask"]) == np.sum(v.state["v/mask"]) == 2


@pytest.mark.parametrize("links", [(), (Pruning(0.5),), (Pruning(0.5), None), (Pruning(0.5), 4)])
def test_a_chain_is_of_two_algorithms_or_more(links):
    with pytest.raises(CompressionError, match="two or more algorithms"):
        Chain(links)


@pytest.mark.parametrize(
    ("chain", "first"),
    [
        (Quantization(4) >> Pruning(0.5), "quantization cannot come before pruning"),
        (Clustering(2) >> Quantization(8), "it trains centroids and stores other arrays, codebook"),
        (Pruning(0.5) >> Quantization(4) >> Clustering(2), "for dense/kernel/weight"),
        (RateQuantization(1e-6) >> Pruning(0.5), "it trains nothing"),
    ],
    ids=repr,
)
def test_a_link_that_stores_other_arrays_than_it_trains_is_the_last_one(chain, first):
    with pytest.raises(CompressionError, match=first) as error:
        initial(chain, [0.1, -4, 2, -0.3])
    assert "Put it last in the chain" in str(error.value)


# Hyperparameters that cannot be


@pytest.mark.parametrize(
    ("compressor", "mend"),
    [
        (Clustering(1), "2 or more"),
        (Clustering(2.5), "whole number"),
        (Quantization(1), "from 2 to 8"),
        (Quantization(9), "from 2 to 8"),
        (Quantization(2.5), "whole number"),
        (Pruning(1.0), r"in \[0, 1\)"),
        (Pruning(-0.1), r"in \[0, 1\)"),
        (Pruning(Polynomial(final=1.0)), r"in \[0, 1\)"),
        (Pruning(float("nan")), r"in \[0, 1\)"),
        (LowRank(0), "its rank is 1 to 1"),
        (LowRank(2), "its rank is 1 to 1"),
        (LowRank(1.5), "a fraction"),
        (LowRank(0.0, least=0), "a fraction"),
        (Pruning(0.5) >> Clustering(1), "2 or more"),
    ],
    ids=repr,
)
def test_hyperparameters_that_cannot_be_name_the_weight_and_the_mend(compressor, mend):
    with pytest.raises(CompressionError, match=mend) as error:
        compressor.check(ROW)
    assert "dense/kernel" in str(error.value)


@pytest.mark.parametrize("values", [[[5.0]], [[1.0, -2.0, 3.0]], [[0.0, 0.0]]])
def test_a_small_weight_has_a_codebook_of_its_size(values):
    weight = np.array(values, np.float32)
    info = WeightInfo("dense/kernel", weight.shape)
    compressor = Clustering(16)
    compressor.check(info)
    variables = compressor.init(weight, info, Step(0, 0), {})
    assert variables.params["centroids"].shape == (weight.size,)
    packed = compressor.compress(variables, info)
    np.testing.assert_array_equal(packed["codebook"][packed["indices"]], weight)


def test_low_rank_refuses_a_weight_that_is_no_matrix():
    with pytest.raises(CompressionError, match=r"dense/bias.*another rule"):
        LowRank(1).check(WeightInfo("dense/bias", (4,), "float32", (), (0,)))


# Names


def test_a_name_belongs_to_one_class():
    class Pruning(WeightCompressor):
        pass

    with pytest.raises(CompressionError, match=r"belongs to kwc\.algorithms\.pruning\.Pruning"):
        register(Pruning)


def test_a_file_cannot_name_what_is_not_registered():
    with pytest.raises(CompressionError, match=r"No algorithm is called 'os\.system'"):
        by_name("os.system", {"command": "true"})


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("quantization", {"width": 4}),
        ("quantization", {}),
        ("chain", {}),
        ("chain", {"links": [["quantization", {"bits": 4}]]}),
        ("chain", {"links": [3, 4]}),
    ],
)
def test_hyperparameters_of_a_file_are_checked(name, config):
    with pytest.raises(CompressionError, match=name):
        by_name(name, config)


def test_an_entry_point_brings_an_algorithm(monkeypatch, tmp_path):
    package = tmp_path / "brought.py"
    package.write_text(
        "import dataclasses\nfrom kwc import WeightCompressor\n\n"
        "@dataclasses.dataclass(frozen=True)\nclass Brought(WeightCompressor):\n    size: int\n"
    )
    metadata = tmp_path / "brought-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kwc.algorithms]\nbrought = brought:Brought\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(algorithms, "_registry", dict(algorithms._registry))
    assert by_name("brought", {"size": 3}).config() == {"size": 3}
