"""What kwc cannot take is refused by name, with the mend, and nothing is changed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import Same, dense

import kwc
from kwc import paths, reparameterize
from kwc.algorithms import Pruning, Quantization
from kwc.compressor import WeightCompressor

keras = tf_keras.layers
SPEC = kwc.Spec([(".*kernel", Quantization(4)), (".*", None)])


def state(model):
    """Everything of a model that compression touches."""
    owners = [model, *model.submodules]
    return (
        [id(v) for v in model.weights],
        [v.numpy().tobytes() for v in model.weights],
        [type(owner) for owner in owners],
        [list(vars(owner)) for owner in owners],
        [weight.path for weight in paths.weights(model)],
    )


@pytest.fixture
def model():
    model = dense(kernel_regularizer="l2")
    model.compile("sgd", "mse")
    return model


def refused(model, spec, match, **kwargs):
    before = state(model)
    with pytest.raises(kwc.CompressionError, match=match):
        kwc.compress(model, spec, **kwargs)
    assert state(model) == before
    return True


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite(model, value):
    weight = model.layers[0].kernel
    weight.assign(tf.tensor_scatter_nd_update(weight, [[1, 1]], [value]))
    assert refused(model, SPEC, r"dense/kernel holds 1 NaN or infinite values of 12: .*checkpoint")


def test_a_weight_that_diverged_is_not_saved(model, tmp_path):
    handle = kwc.compress(model, SPEC)
    good = handle.save(tmp_path / "model.kwc")
    model.layers[0].bias.assign([0.0, np.nan, 0.0])
    with pytest.raises(kwc.CompressionError, match="dense/bias holds 1 NaN"):
        kwc.save(model, tmp_path / "model.kwc")
    model.layers[0].bias.assign([0.0, 0.0, 0.0])
    handle.reparameterizations[0].params["weight"].assign(np.full([4, 3], np.inf))
    with pytest.raises(kwc.CompressionError, match=r"dense/kernel \(weight\) holds 12 NaN"):
        kwc.save(model, tmp_path / "model.kwc")
    assert (tmp_path / "model.kwc").stat().st_size == good.sizes.file_bytes
    with pytest.raises(kwc.CompressionError, match="holds 12 NaN"):
        kwc.decompress(model)
    assert kwc.model.handle_of(model) is handle


@pytest.mark.parametrize(
    "unbuilt", [tf_keras.Sequential([keras.Dense(3)]), keras.Dense(3)], ids=["model", "layer"]
)
def test_a_model_without_weights(unbuilt, tmp_path):
    for verb in (
        lambda: kwc.compress(unbuilt, SPEC),
        lambda: kwc.save(unbuilt, tmp_path / "model.kwc"),
        lambda: kwc.load(tmp_path / "model.kwc", into=unbuilt),
    ):
        with pytest.raises(kwc.CompressionError, match="no weights yet; build it, or call it"):
            verb()


def test_a_model_that_is_compressed_already(model, tmp_path):
    kwc.compress(model, SPEC)
    kwc.save(model, tmp_path / "model.kwc")
    with pytest.raises(kwc.CompressionError, match=r"compressed already; call kwc\.decompress"):
        kwc.compress(model, SPEC)
    with pytest.raises(kwc.CompressionError, match=r"compressed already; call kwc\.decompress"):
        kwc.load(tmp_path / "model.kwc", into=model)


def test_a_part_that_is_compressed_already(model):
    outer = tf_keras.Sequential([keras.Input((4,)), model, keras.Dense(2)])
    kwc.compress(model, SPEC)
    with pytest.raises(kwc.CompressionError, match="sequential/dense is compressed already"):
        kwc.compress(outer, SPEC)
    kwc.decompress(model)
    kwc.compress(outer, SPEC)
    with pytest.raises(kwc.CompressionError, match="dense is compressed already, in another"):
        kwc.compress(model, SPEC)


def test_a_model_that_is_not_compressed(model):
    with pytest.raises(kwc.CompressionError, match=r"is not compressed; call kwc\.compress"):
        kwc.decompress(model)


def test_a_quantization_aware_model():
    class QuantizeWrapperV2(keras.Wrapper):
        def call(self, x):
            return self.layer(x)

    wrapped = QuantizeWrapperV2(keras.Dense(3), name="quantized")
    model = tf_keras.Sequential([keras.Input((4,)), wrapped])
    assert refused(model, SPEC, "quantized is quantization-aware.*without _qat")


def test_a_rule_for_an_activation(model):
    model = tf_keras.Sequential([keras.Input((4,)), keras.Dense(3), keras.ReLU()])
    spec = kwc.Spec([("re_lu", Quantization(4)), (".*", None)])
    assert refused(model, spec, "matches re_lu, but kwc compresses weights only")


def test_an_algorithm_that_changes_the_shape(model):
    class Halved(WeightCompressor):
        def project(self, v, info, training, seed):
            return v.params["weight"][:, :1]

    spec = kwc.Spec([(".*kernel", Halved()), (".*", None)])
    assert refused(model, spec, r"halved makes dense/kernel \(4, 1\) instead of \(4, 3\)")


def test_a_hyperparameter_that_does_not_fit(model):
    spec = kwc.Spec([(".*bias", Pruning(0.5)), (".*kernel", Quantization(1))])
    assert refused(model, spec, r"Quantization\(bits=1\) cannot be for dense/kernel")


def test_an_algorithm_that_contradicts_itself(model):
    @dataclasses.dataclass(frozen=True)
    class Shifted(Same):
        name = "shifted"

        def project(self, v, info, training, seed):
            return v.params["weight"] + 0.5

    spec = kwc.Spec([(".*kernel", Shifted()), (".*", None)])
    assert refused(model, spec, r"shifted decompresses dense/kernel to .* 0\.5")


def test_an_algorithm_that_decodes_to_nan(model):
    @dataclasses.dataclass(frozen=True)
    class Holed(Same):
        name = "holed"

        def compress(self, v, info):
            return {"weight": np.full(info.shape, np.nan, np.float32)}

    spec = kwc.Spec([(".*kernel", Holed()), (".*", None)])
    assert refused(model, spec, "holed decompresses dense/kernel to values up to nan away")


def test_an_algorithm_whose_file_lacks_what_it_decodes_by(model):
    @dataclasses.dataclass(frozen=True)
    class Scaled(Same):
        name = "scaled"
        file_fields = ()

        scale: float = 2.0

        def compress(self, v, info):
            return {"weight": np.asarray(v.params["weight"]) / np.float32(self.scale)}

        def decompress(self, ops, packed, info):
            return packed["weight"] * self.scale

    spec = kwc.Spec([(".*kernel", Scaled()), (".*", None)])
    assert refused(model, spec, r"scaled cannot be stored: .* the hyperparameters \{\}\.")


@pytest.mark.parametrize(
    ("method", "returned", "message"),
    [
        ("init", {"weight": np.zeros([4, 3])}, "init must return Variables for dense/kernel"),
        ("project", None, "project must return Tensor for dense/kernel; it returned NoneType"),
        ("compress", np.zeros([4, 3]), "must return a dict of NumPy arrays by name"),
        ("compress", {"weight": tf.zeros([4, 3])}, "'weight' is EagerTensor"),
    ],
)
def test_an_algorithm_that_returns_what_it_must_not(model, method, returned, message):
    algorithm = type("Odd", (Same,), {"name": "odd", method: lambda *_: returned})()
    assert refused(model, kwc.Spec([(".*kernel", algorithm), (".*", None)]), message)


def test_an_update_that_returns_nothing():
    layer = keras.Dense(1)
    layer(tf.ones([1, 1]))
    algorithm = type("Still", (Same,), {"name": "still", "update": lambda *_: None})()
    handle = kwc.compress(layer, kwc.Spec([("kernel", algorithm), ("bias", None)]))
    optimizer = tf_keras.optimizers.SGD()
    handle.attach(optimizer)
    with pytest.raises(kwc.CompressionError, match=r"still\.update must return Variables"):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in layer.trainable_variables])


def test_a_single_array_is_no_calibration_data(model):
    spec = kwc.Spec([(".*kernel", kwc.algorithms.RateQuantization(1e-6)), (".*", None)])
    images = np.zeros([8, 4], np.float32)
    assert refused(model, spec, "takes batches, and got one array", calibration=images)


def test_an_algorithm_with_hyperparameters_that_are_no_fields():
    with pytest.raises(
        kwc.CompressionError, match="Hidden has an __init__: use the fields of a frozen"
    ):

        class Hidden(WeightCompressor):
            def __init__(self, scale):
                self.scale = scale


def test_a_mask_of_the_shape_of_what_it_does_not_mask():
    """A codebook as long as the weight would lose the entries that the mask excludes."""
    layer = keras.Dense(4, bias_initializer="random_normal")
    layer(tf.ones([1, 2]))
    chain = Pruning(0.5) >> kwc.algorithms.Clustering(4)
    spec = kwc.Spec([("bias", chain), ("kernel", None)])
    assert refused(layer, spec, "chain decompresses bias to values")


def test_weights_made_after_compression(tmp_path):
    class Lazy(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = keras.Dense(3), keras.Dense(3)

        def call(self, x, both=False):
            return self.second(self.first(x)) if both else self.first(x)

    model = Lazy()
    model(tf.ones([1, 4]))
    kwc.compress(model, SPEC)
    model(tf.ones([1, 4]), both=True)
    with pytest.raises(kwc.CompressionError, match=r"second/kernel, second/bias.*on one batch"):
        kwc.save(model, tmp_path / "model.kwc")


@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("place", ["swap_class", "_repointed"])
def test_an_error_in_the_middle_leaves_the_model_untouched(model, monkeypatch, place, fails_at):
    model = tf_keras.Sequential(
        [keras.Input((4,)), *(keras.Dense(4, kernel_regularizer="l2") for _ in range(3))]
    )
    model.compile("sgd", "mse")
    before = state(model)
    original, calls = getattr(reparameterize, place), []

    def failing(*args):
        calls.append(args)
        if len(calls) == fails_at:
            raise RuntimeError("in the middle")
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(reparameterize, place, failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            kwc.compress(model, SPEC)
    assert state(model) == before
    model.fit(np.zeros([4, 4]), np.zeros([4, 4]), verbose=0)
    model.compile("sgd", "mse")
    kwc.compress(model, SPEC)


def test_keras_s_own_format(model, tmp_path):
    kwc.compress(model, SPEC)
    with pytest.raises(kwc.CompressionError, match=r"kwc\.save, or call kwc\.decompress"):
        model.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_file_for_another_model(model, tmp_path):
    kwc.save(model, tmp_path / "model.kwc")
    other = dense(units=5)
    before = state(other)
    with pytest.raises(kwc.ArtifactError, match=r"dense/kernel has shape \(4, 3\).*\(4, 5\)"):
        kwc.load(tmp_path / "model.kwc", into=other)
    half = dense(dtype="float16")
    with pytest.raises(kwc.ArtifactError, match="as float32, the model as float16"):
        kwc.load(tmp_path / "model.kwc", into=half)
    assert state(other) == before
