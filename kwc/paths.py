"""Structural weight paths: the same in every process, whatever else was built before.

A path follows attributes from the model to the weight: `encoder/layer_0/attention/kernel`. Layers
of a functional or Sequential model that no attribute names go by their layer name; names that Keras
numbered by a process-wide counter are numbered anew among siblings. Leading underscores are
dropped. Names that a model's own code makes with that counter, as ResNetRS does, are kept: call
`tf_keras.backend.reset_uids()` before building such a model a second time in one process.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.utils.generic_utils import to_snake_case

from kwc.compressor import WeightInfo


@dataclasses.dataclass(frozen=True)
class Holder:
    """One place that holds a weight.

    Attributes:
        path: structural path of the place.
        owner: the layer or module.
        attribute: name of the attribute that is the variable or the list, tuple or dict that holds
            it; None if no attribute leads to it, where it cannot be replaced.
    """

    path: str
    owner: tf.Module
    attribute: str | None


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable of a model with all places that hold it; the first gives the canonical path."""

    variable: tf.Variable
    holders: tuple[Holder, ...]

    @property
    def path(self) -> str:
        return self.holders[0].path

    @property
    def info(self) -> WeightInfo:
        shape = tuple(self.variable.shape)
        owner = self.holders[0].owner
        inputs, outputs = _axes(owner, self.holders[0].attribute, len(shape))
        return WeightInfo(self.path, shape, self.variable.dtype.name, inputs, outputs)


def weights(model: tf_keras.layers.Layer) -> list[Weight]:
    """Returns every weight of a built layer or model once, in traversal order.

    A variable that several places hold (tied weights) is listed at the first, with the others as
    further holders. Metrics and optimizers hold no weights. What no attribute leads to comes last,
    under its variable's name.
    """
    holders: dict[int, list[Holder]] = {id(variable): [] for variable in model.weights}
    variables: dict[int, tf.Variable] = {}
    for holder, variable in _walk(model, "", set()):
        if id(variable) in holders:
            variables.setdefault(id(variable), variable)
            holders[id(variable)].append(holder)
    metrics = [m for m in model.submodules if isinstance(m, tf_keras.metrics.Metric)]
    known = {id(variable) for metric in metrics for variable in metric.variables} | set(variables)
    for variable in model.weights:
        if id(variable) not in known:
            variables[id(variable)] = variable
            holders[id(variable)].append(Holder(variable.name.split(":")[0], model, None))
    return [Weight(variables[key], tuple(holders[key])) for key in variables]


def layers(model: tf_keras.layers.Layer) -> dict[str, tf_keras.layers.Layer]:
    """Returns every layer below `model` by its structural path."""
    found: dict[str, tf_keras.layers.Layer] = {}

    def visit(layer: tf.Module, path: str, seen: set[int]) -> None:
        for name, child in _children(layer):
            if id(child) not in seen:
                seen.add(id(child))
                found[_join(path, name)] = child
                visit(child, _join(path, name), seen)

    visit(model, "", {id(model)})
    return found


def _walk(layer: tf.Module, path: str, seen: set[int]) -> Iterator[tuple[Holder, tf.Variable]]:
    seen.add(id(layer))
    own = set()
    for attribute, value in _attributes(layer):
        for name, variable in _contents(value, _clean(attribute), tf.Variable):
            own.add(id(variable))
            yield Holder(_join(path, name), layer, attribute), variable
    tracked = [
        *getattr(layer, "_trainable_weights", ()),
        *getattr(layer, "_non_trainable_weights", ()),
    ]
    for variable in tracked:
        if id(variable) not in own:
            name = variable.name.split(":")[0].split("/")[-1]
            yield Holder(_join(path, name), layer, None), variable
    for name, child in _children(layer):
        if id(child) not in seen:
            yield from _walk(child, _join(path, name), seen)


def _children(layer: tf.Module) -> Iterator[tuple[str, tf.Module]]:
    """Direct sublayers and submodules, each once, with names of their own.

    What is an attribute by itself goes by that name, though a container may list it first. Of two
    with the same name, such as `_dense` and `dense`, the later is numbered.
    """
    taken = set()
    for name, child in _named_children(layer):
        numbers = itertools.count(1)
        unique = name
        while unique in taken:
            unique = f"{name}_{next(numbers)}"
        taken.add(unique)
        yield unique, child


def _named_children(layer: tf.Module) -> Iterator[tuple[str, tf.Module]]:
    named = {}
    attributes = sorted(_attributes(layer), key=lambda item: not isinstance(item[1], tf.Module))
    for attribute, value in attributes:
        for name, child in _contents(value, _clean(attribute), tf.Module):
            if not isinstance(child, tf_keras.metrics.Metric):
                named.setdefault(id(child), (name, child))
    if isinstance(layer, tf_keras.Sequential) or getattr(layer, "_is_graph_network", False):
        for name, child in zip(_sibling_names(layer.layers), layer.layers, strict=True):
            yield named.pop(id(child), (name, child))
    yield from named.values()


def _attributes(layer: tf.Module) -> Iterator[tuple[str, Any]]:
    """Attributes that may hold weights, in the order in which they were set."""
    for attribute, value in list(vars(layer).items()):
        if attribute not in _BOOKKEEPING:
            yield attribute, value


# TensorFlow's and Keras's own lists of what other attributes hold already.
_BOOKKEEPING = {
    "_self_tracked_trackables",
    "_self_unconditional_checkpoint_dependencies",
    "_self_unconditional_dependency_names",
    "_self_unconditional_deferred_dependencies",
    "_trainable_weights",
    "_non_trainable_weights",
    "_metrics",
    "_input_layers",
    "_output_layers",
    "_created_nodes",
    "_input_coordinates",
    "_output_coordinates",
    "_layer_call_argspecs",
    "compiled_metrics",
    "compiled_loss",
    "optimizer",
}


def _contents(value: Any, name: str, kind: type) -> Iterator[tuple[str, Any]]:
    """Objects of `kind` in `value`, itself or through lists and mappings, with their names."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _contents(item, f"{name}/{key}", kind)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _contents(item, f"{name}/{index}", kind)


def _sibling_names(siblings: Sequence[tf_keras.layers.Layer]) -> list[str]:
    """Layer names, with Keras's process-wide counters replaced by ones among the siblings."""
    counts: dict[str, int] = {}
    names = []
    for layer in siblings:
        stem = re.sub(r"_\d+$", "", layer.name)
        automatic = stem in (to_snake_case(type(layer).__name__), "model", "sequential")
        base = stem if automatic else layer.name
        count = counts[base] = counts.get(base, -1) + 1
        names.append(f"{base}_{count}" if count else base)
    return names


def _clean(attribute: str) -> str:
    return attribute.lstrip("_") or attribute


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _axes(
    owner: tf.Module, attribute: str | None, rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Input and output axes of a weight, by the kind of layer that owns it."""
    every = tuple(range(rank))
    name = attribute or ""
    keras = tf_keras.layers
    if rank < 2 or "bias" in name:
        return (), every
    if name == "depthwise_kernel":
        return every[:-2], every[-2:]
    if isinstance(owner, keras.Conv1DTranspose | keras.Conv2DTranspose | keras.Conv3DTranspose):
        return (*every[:-2], every[-1]), (every[-2],)
    if isinstance(owner, keras.EinsumDense):
        operands, result = owner.equation.replace(" ", "").split("->")
        kernel = operands.split(",")[1]
        outputs = tuple(axis for axis in every if kernel[axis] in result.replace("...", ""))
        return tuple(axis for axis in every if axis not in outputs), outputs
    return every[:-1], every[-1:]
