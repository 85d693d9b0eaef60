"""Puts a compressor in the place of a layer's weight, and takes it out again.

The layer's class is swapped for a subclass in which the weight's attribute is a property that
decodes the trained variables. The layer's own code is not touched and cannot tell the difference,
so functional, Sequential, subclassed, nested and custom layers are one case.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.python.eager import tape
from tensorflow.python.ops import gradients_util
from tf_keras.src.engine import base_layer_utils
from tf_keras.src.mixed_precision import autocast_variable

from kwc import traced
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo
from kwc.paths import Holder, Weight
from kwc.schedules import Step
from kwc.traced import Seeds


class Calibrated(NamedTuple):
    """What calibration found for one weight.

    Attributes:
        value: the weight to compress, float32 of the weight's shape: what does on the inputs that
            the compressed layers before it give best what the weight did on the original ones.
        statistics: what `WeightCompressor.init` takes.
    """

    value: np.ndarray
    statistics: Mapping[str, np.ndarray]


# Answers of PossibleTapeGradientTypes.
_NO_TAPE, _ONE_TAPE = 0, 1


class Substitute(tf.Module):
    """What a layer reads in the place of one weight. Keras tracks it like a sublayer.

    Args:
        weight: the weight to replace.
    """

    def __init__(self, weight: Weight):
        super().__init__(name="kwc")
        self.info: WeightInfo = weight.info
        self._autocast = isinstance(weight.variable, autocast_variable.AutoCastVariable)

    # The names that Keras asks a tracked module for.
    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return list(self.trainable_variables)

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        return [v for v in self.variables if not v.trainable]

    non_trainable_variables = non_trainable_weights

    @property
    def weights(self) -> list[tf.Variable]:
        return list(self.variables)

    def __call__(self) -> tf.Tensor:
        """Returns the weight as the layer reads it, cast as Keras casts a variable there."""
        weight = self._shared(base_layer_utils.call_context().training)
        compute = autocast_variable._autocast_dtype.dtype
        return weight if compute is None or not self._autocast else tf.cast(weight, compute)

    def _shared(self, training: bool | tf.Tensor | None) -> tf.Tensor:
        """Returns the weight in its own dtype; `training` None counts as inference."""
        raise NotImplementedError


class Reparameterization(Substitute):
    """The variables that stand for one weight, and the weight decoded from them.

    Its params are trainable weights of the layer, its state non-trainable ones, and both are in
    checkpoints.

    Args:
        weight: the weight to replace.
        compressor: the algorithm.
        total_steps: optimizer steps planned, 0 for post-training compression.
        seeds: what the weights of the model draw a seed from, at each step a new one.
        calibrated: the value to compress, and the statistics that the algorithm declares; None
            for the weight's own value and no statistics.

    Raises:
        CompressionError: the algorithm cannot take the shape, the weight holds NaN or infinity,
            or what the algorithm builds has another shape than the weight.
    """

    def __init__(
        self,
        weight: Weight,
        compressor: WeightCompressor,
        total_steps: int,
        seeds: Seeds,
        calibrated: Calibrated | None = None,
    ):
        name = weight.variable.name.split(":")[0]
        super().__init__(weight)
        self.compressor = compressor
        self._clock = seeds.clock  # Tracked here, it is in checkpoints.
        self._seed = seeds.add(self.info.path)
        compressor.check(self.info)
        value = finite(weight.variable.numpy(), self.info.path).astype(np.float32)
        value, statistics = (value, {}) if calibrated is None else calibrated
        initial = compressor.init(value, self.info, Step(0, total_steps), statistics)
        self._check_returned("init", initial, Variables)
        # Replicas see different batches; what an update makes of the first one's is everyone's.
        create = functools.partial(
            tf.Variable, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.params = {
            key: create(np.asarray(x, np.float32), trainable=True, name=_param_name(name, key))
            for key, x in initial.params.items()
        }
        self.state = {
            key: create(x, trainable=False, name=f"{name}/kwc_{key}")
            for key, x in initial.state.items()
        }
        projected = self.project()
        self._check_returned("project", projected, tf.Tensor)
        shape = tuple(projected.shape)
        if shape != self.info.shape:
            raise CompressionError(
                f"{compressor.name} makes {self.info.path} {shape} instead of {self.info.shape}: "
                "kwc does not take algorithms that change an output shape of a layer."
            )

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        # Keras asks for them several times a step; a search through all attributes takes long.
        return [self.params[key] for key in sorted(self.params)]

    def read(self) -> Variables:
        """Returns the current values as tensors."""
        params = {key: tf.convert_to_tensor(v) for key, v in self.params.items()}
        return Variables(params, {key: traced.read_once(v) for key, v in self.state.items()})

    def _parts(self) -> tuple[dict[str, tf.Variable], dict[str, tf.Variable]]:
        return dict(self.params), dict(self.state)

    def project(self, training: bool | tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 weight; `training` None counts as inference."""
        return self._project(self.read(), training)

    def weight(self, training: bool | tf.Tensor | None = None) -> tf.Tensor:
        """Returns the weight in its own dtype."""
        return tf.cast(self.project(training), self.info.dtype)

    def penalty(self) -> tf.Tensor | None:
        """Returns the expected bits of the current values, a float32 scalar; None without any."""
        return self.compressor.penalty(self.read(), self.info, self._seed())

    def _project(self, variables: Variables, training: bool | tf.Tensor | None) -> tf.Tensor:
        return self.compressor.project(
            variables, self.info, False if training is None else training, self._seed()
        )

    def _shared(self, training: bool | tf.Tensor | None) -> tf.Tensor:
        """The weight, decoded once for all reads in one traced step, such as by a regularizer.

        A read is not shared where a variable may have been written since, where a gradient tape
        could not see through it to the params, nor across replicas, which are traced by threads of
        their own.
        """
        if tf.executing_eagerly():
            return self.weight(training)
        reads, key = traced.cache(), (id(self), threading.get_ident())
        if key in reads:
            known, mode, values, before = reads[key]
            current = traced.possible_writes(values) == before and (
                training is None or training is mode
            )
            if current and _tapes_see(known, self.params.values()):
                return known
        variables = self.read()
        values = [*variables.params.values(), *variables.state.values()]
        writes = traced.possible_writes(values)
        weight = tf.cast(self._project(variables, training), self.info.dtype)
        reads[key] = weight, training, values, writes
        return weight

    def _check_returned(self, method: str, value: Any, kind: type) -> None:
        if not isinstance(value, kind):
            raise CompressionError(
                f"{self.compressor.name}.{method} must return {kind.__name__} for "
                f"{self.info.path}; it returned {type(value).__name__}."
            )

    def assign(self, new: Variables, old: Variables) -> None:
        """Writes the values that are not the same tensors as before."""
        self._check_returned("update", new, Variables)
        for variables, values, before in zip(self._parts(), new, old, strict=True):
            for key, value in values.items():
                if value is not before[key]:
                    variables[key].assign(value)


def _param_name(weight: str, key: str) -> str:
    """The name of a param's variable, which begins with that of the weight.

    Optimizers choose what they decay by words in names: the param called "weight", which stands for
    the weight, adds none, or else a bias would be taken for one.
    """
    words = [word for word in key.split("/") if word != "weight"]
    return f"{weight}/kwc_{'/'.join(words)}" if words else weight


def _tapes_see(weight: tf.Tensor, params: Iterable[tf.Variable]) -> bool:
    """Whether each tape that would watch the params sees them through a decoded weight.

    There is no list of the tapes, only whether none, one or more of them watch a tensor.
    """
    for v in params:
        tape.variable_accessed(v)
    watching = gradients_util.PossibleTapeGradientTypes
    there = watching([v.handle for v in params])
    return there in (_NO_TAPE, _ONE_TAPE) and there == watching([weight])


def finite(value: np.ndarray, path: str) -> np.ndarray:
    """Returns the array, or raises `CompressionError` where it holds NaN or infinity."""
    bad = int(np.size(value) - np.sum(np.isfinite(value)))
    if bad:
        raise CompressionError(
            f"{path} holds {bad} NaN or infinite values of {np.size(value)}: the model diverged or "
            "was restored wrongly. Start from a checkpoint whose weights are finite."
        )
    return value


def inject(replacements: Iterable[tuple[Weight, Substitute]]) -> Callable[[], None]:
    """Replaces weights at every place that holds them, all or none.

    Returns:
        The function that puts the variables back.
    """
    places: dict[tuple[int, str], tuple[Holder, _Replacements]] = {}
    for weight, reparameterization in replacements:
        for holder in weight.holders:
            _, there = places.setdefault((id(holder.owner), holder.attribute), (holder, {}))
            there[id(weight.variable)] = weight.variable, reparameterization
    with contextlib.ExitStack() as done:
        for holder, there in places.values():
            done.callback(_replace(holder.owner, holder.attribute, there))
        return done.pop_all().close


def swap_class(instance: Any, members: dict[str, Any]) -> None:
    """Gives one object a subclass of its class, under the same name, with other members."""
    original = type(instance)
    same = {key: getattr(original, key) for key in ("__module__", "__qualname__", "__doc__")}
    instance.__class__ = types.new_class(
        original.__name__, (original,), {}, lambda namespace: namespace.update(same | members)
    )


@contextlib.contextmanager
def intercepted(model: tf_keras.layers.Layer, intercept: Callable[..., Any]) -> Iterator[None]:
    """Within the context, whoever calls the model calls a function in its place.

    Args:
        model: the model; it is as it was afterwards.
        intercept: takes the model's own call, and the arguments.
    """
    original = type(model)

    def call(self, *args, **kwargs):
        return intercept(functools.partial(original.__call__, self), *args, **kwargs)

    swap_class(model, {"__call__": call})
    try:
        yield
    finally:
        model.__class__ = original


# Variables by identity, each with what replaces it.
_Replacements = dict[int, tuple[tf.Variable, Substitute]]

# The instance attributes of a Keras layer in which it keeps account of a variable.
_ACCOUNTS = (
    "_trainable_weights",
    "_non_trainable_weights",
    "_callable_losses",
    "_self_tracked_trackables",
    "_self_unconditional_checkpoint_dependencies",
    "_self_unconditional_dependency_names",
)


def _replace(owner: tf.Module, attribute: str, replacements: _Replacements) -> Callable[[], None]:
    """Swaps the owner's class so that the attribute reads the reparameterizations.

    A list, tuple or dict of variables is read as a new one, which holds the weights instead.
    """
    fields = vars(owner)
    stored = fields[attribute]
    child = f"_kwc_{attribute}"
    before = {key: copy.copy(fields[key]) for key in _ACCOUNTS if key in fields}
    order = list(fields)
    original = type(owner)
    references = fields.get("_obj_reference_counts_dict", {})
    count = references.get(stored)
    gone = {id(stored), *replacements}

    def undo() -> None:
        owner.__class__ = original
        if child in fields:
            delattr(owner, child)
        fields.update(before)
        fields[attribute] = stored
        if count is not None:
            references[stored] = count
        # Paths follow the order of the attributes.
        first = {key: fields.pop(key) for key in order if key in fields}
        last = dict(fields)
        fields.clear()
        fields.update(first | last)

    def replacement(leaf: Any) -> Any:
        _, reparameterization = replacements.get(id(leaf), (None, leaf))
        return reparameterization

    def read(self) -> Any:
        return tf.nest.map_structure(_decoded, vars(self)[child])

    with contextlib.ExitStack() as failed:
        failed.callback(undo)
        for key in ("_trainable_weights", "_non_trainable_weights"):
            if key in fields:
                fields[key] = [v for v in fields[key] if id(v) not in replacements]
        for variable, reparameterization in replacements.values():
            if "_callable_losses" in fields:
                fields["_callable_losses"] = [
                    _repointed(loss, variable, reparameterization)
                    for loss in fields["_callable_losses"]
                ]
        if "_self_tracked_trackables" in fields:
            fields["_self_tracked_trackables"] = [
                tracked for tracked in fields["_self_tracked_trackables"] if tracked is not stored
            ]
        dependencies = fields.get("_self_unconditional_checkpoint_dependencies", [])
        fields["_self_unconditional_checkpoint_dependencies"] = [
            reference for reference in dependencies if id(reference.ref) not in gone
        ]
        names = fields.get("_self_unconditional_dependency_names", {})
        for name in [name for name, tracked in names.items() if id(tracked) in gone]:
            del names[name]
        references.pop(stored, None)
        del fields[attribute]
        setattr(owner, child, tf.nest.map_structure(replacement, stored))
        swap_class(owner, {attribute: property(read)})
        failed.pop_all()
    return undo


def _decoded(leaf: Any) -> Any:
    return leaf() if isinstance(leaf, Substitute) else leaf


def _repointed(loss: Any, variable: tf.Variable, read: Callable[[], tf.Tensor]) -> Any:
    """A regularization loss in which nested partials over the variable read the weight instead.

    The result takes no arguments, as the export of a SavedModel asks.
    """
    if not isinstance(loss, functools.partial) or not _mentions(loss, variable):
        return loss
    arguments = [a if a is variable else _repointed(a, variable, read) for a in loss.args]
    return lambda: loss.func(*(read() if a is variable else a for a in arguments))


def _mentions(loss: Any, variable: tf.Variable) -> bool:
    return loss is variable or (
        isinstance(loss, functools.partial) and any(_mentions(a, variable) for a in loss.args)
    )
