"""What a file takes beside the codes of its weights: names, shapes, algorithms, steps."""

import numpy as np
from official.core import exp_factory, task_factory

from experiments import registry_imports  # noqa: F401  (registers the experiments)
from kwc import artifact, paths
from kwc.algorithms import EntropyConstrained
from kwc.artifact import container, header
from kwc.artifact.declared import DeclaredArray, DeclaredWeight, Header


def weights(experiment):
    """The infos of a Model Garden model's weights."""
    task = task_factory.get_task(exp_factory.get_exp_config(experiment).task)
    return [weight.info for weight in paths.weights(task.build_model())]


def test_names_shapes_and_steps_of_lenet_take_little():
    packed = []
    for info in weights("lenet5_mnist"):
        levels = np.zeros(info.shape, np.int8)
        levels.flat[:: max(info.size // 50, 1)] = 1
        arrays = {"levels": levels, "exponent": np.array([-20], np.int8)}
        packed.append(artifact.pack(EntropyConstrained(), arrays, info))
    data = artifact.to_bytes(packed)
    content = artifact.from_bytes(data)
    levels = sum(weight.nbytes["levels"] for weight in content.weights.values())
    assert len(content.weights) == 8
    assert len(data) - levels <= 120


def test_the_header_of_a_large_model_takes_four_bytes_a_weight():
    rng = np.random.default_rng(0)
    declared = []
    for info in weights("resnet_imagenet"):
        if info.path.endswith("kernel"):
            scale = (info.matrix_shape[1],)
            arrays = [("levels", np.int8, info.shape), ("scale", np.float32, scale)]
        else:
            arrays = [("weight", np.float32, info.shape)]
        coder = str(rng.choice(["context", "floats"]))
        length = int(info.size * rng.uniform(0.1, 0.5))
        arrays = tuple(DeclaredArray(n, np.dtype(d), s, coder, length) for n, d, s in arrays)
        declared.append(DeclaredWeight(info, int(len(arrays) == 1), arrays))
    content = Header([("quantization", {"bits": 4}), ("lossless", {})], declared, {})
    data = header.dump(content)
    assert header.parse(data, sum(content.lengths)) == content
    assert len(declared) == 267
    assert len(container.compress(data)) <= 4 * len(declared)
