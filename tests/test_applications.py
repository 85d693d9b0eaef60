"""Every family of keras.applications, at the smallest size that it allows."""

import numpy as np
import pytest
import tf_keras

import kwc
from kwc.algorithms import Quantization

FAMILIES = {
    "convnext": ("ConvNeXtTiny", 32, {}),
    "densenet": ("DenseNet121", 32, {}),
    "efficientnet": ("EfficientNetB0", 32, {}),
    "efficientnet_v2": ("EfficientNetV2B0", 32, {}),
    "inception_resnet_v2": ("InceptionResNetV2", 75, {}),
    "inception_v3": ("InceptionV3", 75, {}),
    "mobilenet": ("MobileNet", 32, {"alpha": 0.25}),
    "mobilenet_v2": ("MobileNetV2", 32, {"alpha": 0.35}),
    "mobilenet_v3": ("MobileNetV3Small", 32, {"alpha": 0.75}),
    "nasnet": ("NASNetMobile", 32, {}),
    "regnet": ("RegNetX002", 32, {}),
    "resnet": ("ResNet50", 32, {}),
    "resnet_rs": ("ResNetRS50", 32, {}),
    "resnet_v2": ("ResNet50V2", 32, {}),
    "vgg16": ("VGG16", 32, {}),
    "vgg19": ("VGG19", 32, {}),
    "xception": ("Xception", 71, {}),
}
SPEC = kwc.Spec([(".*kernel", Quantization(4)), (".*", None)])


def build(family):
    """A model without its classifier, and a batch of two images."""
    name, size, options = FAMILIES[family]
    tf_keras.backend.reset_uids()  # ResNetRS puts them into the names of its layers.
    make = getattr(tf_keras.applications, name)
    shape = (size, size, 3)
    model = make(weights=None, include_top=False, input_shape=shape, pooling="avg", **options)
    return model, np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)


def every_family(*fast):
    """A parameter for each family; slow but for those that are named."""
    return pytest.mark.parametrize(
        "family",
        [f if f in fast else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES],
    )


def test_no_family_is_left_out():
    module = type(tf_keras)
    found = {k for k, v in vars(tf_keras.applications).items() if isinstance(v, module)}
    # Helpers, and another name of `resnet`.
    assert found - {"imagenet_utils", "resnet50"} == set(FAMILIES)


@every_family("mobilenet")  # The others take up to a minute each.
def test_a_family_is_compressed_saved_and_loaded(family, tmp_path):
    model, images = build(family)
    handle = kwc.compress(model, SPEC)
    kernels = [row for row in handle.report() if len(row.shape) >= 2]
    assert {row.algorithm for row in kernels} == {"quantization(bits=4)"}
    expected = model(images)
    report = kwc.save(model, tmp_path / "model.kwc")
    assert report.sizes.file_bytes < sum(row.dense_bytes for row in report) / 5
    other, _ = build(family)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(images), expected)


@pytest.mark.parametrize(
    "family",
    ["mobilenet", pytest.param("densenet", marks=pytest.mark.slow)],  # A minute.
)
def test_a_family_trains(family):
    model, images = build(family)
    handle = kwc.compress(model, SPEC)
    model.compile("sgd", "mse")
    before = [r.params["weight"].numpy() for r in handle.reparameterizations]
    history = model.fit(images, np.ones((2, model.output_shape[-1])), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for r, value in zip(handle.reparameterizations, before, strict=True):
        assert np.any(r.params["weight"].numpy() != value), r.info.path
