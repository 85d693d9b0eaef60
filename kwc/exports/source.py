"""What every route starts from: an artifact, the plain model that it fills, and real inputs."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kwc import artifact
from kwc import model as kwc_model
from kwc.artifact import CodedWeight
from kwc.exports.errors import ExportError
from kwc.exports.signatures import SIGNATURE, Batch, Signature


@dataclasses.dataclass(frozen=True)
class Source(Batch):
    """A decoded artifact that is about to be exported.

    Attributes:
        model: the plain model; it holds the decoded weights.
        weights: every weight by path, with its compressor, its packed `arrays` and its `info`;
            arrays are decoded anew each time they are asked for.
        inputs: real inputs by name, each with the batch as its first axis, at least 2 examples.
        structure: the same as the model takes them; its leaves are the names, and None where it
            takes None.
        file_bytes: length of the artifact.
        served: what a SavedModel serves in the place of the model's own call; `inputs` are then
            those of the default one.
    """

    model: tf_keras.layers.Layer
    weights: Mapping[str, CodedWeight]
    inputs: Mapping[str, np.ndarray]
    structure: Any
    file_bytes: int
    served: Mapping[str, Signature] | None = None

    @functools.cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """What a SavedModel serves, by name."""
        own = Signature(self.function, self.inputs, lambda **inputs: self.call(inputs))
        return self.served or {SIGNATURE: own}

    @functools.cached_property
    def compressed(self) -> dict[str, CodedWeight]:
        """The weights that an algorithm made smaller: neither lossless nor kept as they were."""
        return {
            path: weight
            for path, weight in self.weights.items()
            if not weight.compressor.is_identity
        }

    @property
    def resources(self) -> list[tf.saved_model.experimental.TrackableResource]:
        """Tables and the like that layers look up in."""
        kind = tf.saved_model.experimental.TrackableResource
        view = tf.train.TrackableView(self.model)
        return [item for item in view.descendants() if isinstance(item, kind)]

    def outputs(self, size: int) -> dict[str, np.ndarray]:
        """The model's own outputs on the first inputs, by name."""
        outputs = self.call({name: tf.constant(x) for name, x in self.batch(size).items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the model for inference: named tensors to named tensors, in a graph or eagerly."""
        packed = tf.nest.map_structure(inputs.get, self.structure)
        return dict(named(self.model(packed, training=False), "outputs"))

    def function(self, batch: int | None = None) -> tf.types.experimental.ConcreteFunction:
        """The model as a function of named inputs and of nothing else; all axes but one are fixed.

        Args:
            batch: length of the first axis; None leaves it open.
        """
        specs = {
            name: tf.TensorSpec([batch, *array.shape[1:]], array.dtype, name)
            for name, array in self.inputs.items()
        }
        return tf.function(lambda **inputs: self.call(inputs)).get_concrete_function(**specs)


def read(
    path: str | os.PathLike,
    model: tf_keras.layers.Layer,
    inputs: Any,
    signatures: Mapping[str, Signature] | None = None,
) -> Source:
    """Fills a model with an artifact's weights, and checks the inputs that will prove the export.

    Args:
        path: the `.kwc` file.
        model: a plain, built model of the artifact's architecture.
        inputs: a batch of real inputs as the model takes it: an array, or lists and mappings of
            arrays, each with the same number of examples, at least 2, along its first axis.
        signatures: what to serve in the place of the model's own call, whose `inputs` then do not
            matter.

    Raises:
        ArtifactError: the file is damaged, forged or for another model.
        ExportError: the inputs are no such batch.
        CompressionError: the model is compressed.
        OSError: the file cannot be read.
    """
    if signatures is None:
        arrays = {name: _array(name, leaf) for name, leaf in named(inputs, "inputs")}
        names = iter(arrays)
        structure = tf.nest.map_structure(
            lambda leaf: leaf if leaf is None else next(names), inputs
        )
        _check_batch(arrays)
    else:
        for signature in signatures.values():
            _check_batch(signature.inputs)
        arrays = signatures[SIGNATURE].inputs
        structure = {name: name for name in arrays}
    content = artifact.read(path, kwc_model.shapes_of(model))
    kwc_model.fill(model, content)
    return Source(model, content.weights, arrays, structure, content.sizes.file_bytes, signatures)


def named(structure: Any, root: str) -> Iterator[tuple[str, Any]]:
    """Yields each leaf of nested mappings and sequences with a name made of its keys.

    >>> dict(named({"ids": 1, "more": [2, 3]}, "inputs"))
    {'ids': 1, 'more_0': 2, 'more_1': 3}
    >>> dict(named([1], "inputs")), dict(named(1, "inputs"))
    ({'inputs_0': 1}, {'inputs': 1})
    """
    for keys, leaf in _leaves(structure):
        names = keys if keys and isinstance(keys[0], str) else (root, *keys)
        yield re.sub(r"\W", "_", "_".join(map(str, names))), leaf


def _leaves(structure: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Leaves in the order of `tf.nest`, with their keys; None is none."""
    if isinstance(structure, Mapping):
        items = [(str(key), structure[key]) for key in sorted(structure)]
    elif isinstance(structure, list | tuple):
        items = list(enumerate(structure))
    else:
        items = []
        if structure is not None:
            yield (), structure
    for key, item in items:
        for keys, leaf in _leaves(item):
            yield (key, *keys), leaf


def _check_batch(arrays: Mapping[str, np.ndarray]) -> None:
    lengths = {name: array.shape[:1] for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or next(iter(lengths.values())) < (2,):
        raise ExportError(
            "An export is proved on real inputs, a batch of 2 examples or more, as the model takes "
            f"it; given were {lengths or None} of them."
        )


def _array(name: str, leaf: Any) -> np.ndarray:
    if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
        raise ExportError(
            f"{name} is a {type(leaf).__name__}, whose shape is dynamic; an exported model takes "
            "arrays of fixed shape. Pad it: `to_tensor()` or `tf.sparse.to_dense` does."
        )
    array = np.asarray(leaf)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise ExportError(
            f"{name} is {array.dtype} of shape {array.shape}; an exported model takes numbers, "
            "with the batch as the first axis."
        )
    return array
