"""The contract, held against every algorithm on every kind of weight."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from algorithms import INFOS, ROWS, Row, distinct

from kwc import artifact
from kwc.algorithms import Lossless, LowRank, by_name
from kwc.compressor import Variables, WeightCompressor
from kwc.ops import NumpyOps, TensorFlowOps
from kwc.schedules import Step

SEED = tf.constant([1, 2], tf.int32)
STEPS = 4


def documented() -> type:
    """The class of the example in docs/algorithms.md."""
    page = pathlib.Path(__file__).parent.parent / "docs" / "algorithms.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL).group(1)
    namespace = {"__name__": "documented"}
    exec(code, namespace)
    return namespace["Ternary"]


Ternary = documented()
EVERY = [*ROWS, Row(Ternary(), distinct(3)), Row(ROWS[4].compressor >> Ternary(), distinct(3))]


rows = pytest.mark.parametrize("row", EVERY, ids=str)
infos = pytest.mark.parametrize("info", INFOS, ids=lambda info: info.path)


def pretrained(info, seed=0):
    weight = np.random.default_rng(seed).normal(0.1, 1.0, info.shape).astype(np.float32)
    weight.flags.writeable = False
    return weight


def tensors(v):
    return Variables(*({key: tf.constant(x) for key, x in part.items()} for part in v))


def trained(compressor, info, weight):
    """The variables after a few steps that move every param."""
    v = tensors(compressor.init(weight, info, Step(0, STEPS), {}))
    rng = np.random.default_rng(1)
    for index in range(1, STEPS + 1):
        noise = {key: rng.normal(0, 0.1, x.shape).astype(np.float32) for key, x in v.params.items()}
        v = Variables({key: x + noise[key] for key, x in v.params.items()}, v.state)
        v = compressor.update(v, info, Step(tf.constant(index, tf.int64), STEPS), noise)
    return v


def assert_agree(actual, desired, tolerance):
    assert np.asarray(actual).dtype == np.float32
    if tolerance:
        np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(actual, desired)


@rows
@infos
@pytest.mark.parametrize("start", ["pretrained", "zero"])
def test_decoding_gives_what_was_trained(row, info, start):
    weight = pretrained(info) if start == "pretrained" else np.zeros(info.shape, np.float32)
    v = trained(row.compressor, info, weight)
    projected = row.compressor.project(v, info, False, SEED)
    assert projected.shape == info.shape
    assert np.all(np.isfinite(projected))
    packed = artifact.pack(row.compressor, row.compressor.compress(v, info), info)
    by_numpy = row.compressor.decompress(NumpyOps, packed.arrays, info)
    assert_agree(by_numpy, projected, row.tolerance)
    assert_agree(packed.decompress(), by_numpy, 0)
    in_tensorflow = {key: tf.constant(array) for key, array in packed.arrays.items()}
    by_tensorflow = row.compressor.decompress(TensorFlowOps, in_tensorflow, info)
    assert_agree(by_tensorflow, by_numpy, row.tolerance)


@rows
@infos
def test_post_training_compression_keeps_the_promise(row, info):
    v = tensors(row.compressor.init(pretrained(info), info, Step(0, 0), {}))
    packed = row.compressor.compress(v, info)
    assert row.promise(row.compressor.decompress(NumpyOps, packed, info), info)


@rows
@infos
def test_training_keeps_the_promise(row, info):
    v = trained(row.compressor, info, pretrained(info))
    assert row.promise(np.asarray(row.compressor.project(v, info, False, SEED)), info)


@rows
@infos
def test_a_gradient_reaches_every_param(row, info):
    v = tensors(row.compressor.init(pretrained(info), info, Step(0, STEPS), {}))
    upstream = tf.constant(pretrained(info, seed=2))
    with tf.GradientTape() as tape:
        tape.watch(v.params)
        loss = tf.reduce_sum(upstream * row.compressor.project(v, info, True, SEED))
        bits = row.compressor.penalty(v, info, SEED)
        loss += 0.0 if bits is None else bits
    for name, gradient in tape.gradient(loss, v.params).items():
        assert gradient is not None, name
        gradient = tf.convert_to_tensor(gradient)
        assert np.all(np.isfinite(gradient)), name
        assert np.any(gradient != 0), name


@rows
def test_the_compiler_agrees(row):
    info = INFOS[1]
    v = trained(row.compressor, info, pretrained(info))

    @tf.function(jit_compile=True)
    def step(v):
        with tf.GradientTape() as tape:
            tape.watch(v.params)
            weight = row.compressor.project(v, info, True, SEED)
            loss = tf.reduce_sum(weight * weight)
        after = row.compressor.update(v, info, Step(tf.constant(STEPS, tf.int64), STEPS), v.params)
        return weight, tape.gradient(loss, v.params), after

    weight, gradients, after = step(v)
    # The compiler may multiply and add in one rounding.
    np.testing.assert_allclose(weight, row.compressor.project(v, info, True, SEED), atol=1e-5)
    assert set(gradients) == set(v.params)
    for before, values in zip(v, after, strict=True):
        assert {key: x.shape for key, x in before.items()} == {
            key: x.shape for key, x in values.items()
        }


@rows
@infos
def test_params_have_the_shapes_that_are_told(row, info):
    v = row.compressor.init(pretrained(info), info, Step(0, STEPS), {})
    shapes = {name: np.shape(x) for name, x in v.params.items()}
    assert shapes == row.compressor.param_shapes(info)


@rows
def test_an_instance_serves_many_weights(row):
    """Pure methods: neither another weight nor an earlier call changes what comes out."""
    info, other = INFOS[0], INFOS[1]

    def packed():
        return row.compressor.compress(trained(row.compressor, info, pretrained(info)), info)

    first = packed()
    trained(row.compressor, other, pretrained(other))
    second = packed()
    assert list(first) == list(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@rows
def test_inputs_are_not_changed(row):
    info = INFOS[0]
    weight = pretrained(info)
    row.compressor.init(weight, info, Step(0, STEPS), {})
    np.testing.assert_array_equal(weight, pretrained(info))
    v = trained(row.compressor, info, weight)
    before = [{key: x.numpy() for key, x in part.items()} for part in v]
    packed = row.compressor.compress(v, info)
    copies = {key: array.copy() for key, array in packed.items()}
    row.compressor.update(v, info, Step(tf.constant(1, tf.int64), STEPS), v.params)
    row.compressor.decompress(NumpyOps, packed, info)
    for part, known in zip(v, before, strict=True):
        for key, x in part.items():
            np.testing.assert_array_equal(x, known[key])
    for key, array in packed.items():
        np.testing.assert_array_equal(array, copies[key])


@rows
def test_the_name_and_hyperparameters_in_a_file_decode_alike(row):
    info = INFOS[0]
    rebuilt = by_name(row.compressor.name, row.compressor.file_config())
    packed = row.compressor.compress(trained(row.compressor, info, pretrained(info)), info)
    np.testing.assert_array_equal(
        rebuilt.decompress(NumpyOps, packed, info),
        row.compressor.decompress(NumpyOps, packed, info),
    )


@rows
def test_hyperparameters_cannot_be_changed(row):
    for field in dataclasses.fields(row.compressor):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(row.compressor, field.name, None)


@dataclasses.dataclass(frozen=True)
class Told(WeightCompressor):
    """Keeps the trace of each moment that it was told."""

    statistics = ("input_moment",)

    def init(self, weight, info, step, statistics):
        traces = {name: np.trace(moment) for name, moment in statistics.items()}
        return Variables({"weight": weight}, traces)


def test_a_chain_tells_its_links_what_holds_for_them():
    moment = {"input_moment": np.eye(16, dtype=np.float32)}
    info = INFOS[0]
    same, smaller = Lossless() >> Told(), LowRank(0.5) >> Told()
    assert same.statistics == ("input_moment",)
    assert Lossless().statistics == ()
    step = Step(0, STEPS)
    assert same.init(pretrained(info), info, step, moment).state == {"weight/input_moment": 16}
    assert smaller.init(pretrained(info), info, step, moment).state == {}
