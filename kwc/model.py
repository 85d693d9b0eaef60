"""One verb on any built tf_keras model: compress it, save it, load it, give it back plain."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from kwc import artifact, paths, report
from kwc import spec as kwc_spec
from kwc.calibration import Calibration, Calibrator, as_calibration
from kwc.compression import HANDLE, Compression, Entry
from kwc.compressor import CompressionError, RefusedError, WeightCompressor, overrides
from kwc.reparameterize import Reparameterization
from kwc.schedules import Schedule
from kwc.spec import Rule, Spec
from kwc.traced import Seeds

ASYNCHRONOUS = (
    "Under parameter_server each worker takes steps of its own, so that there is no one step for "
    "schedules, masks and updates to follow. Use a synchronous strategy: one_device, mirrored, "
    "multi_worker_mirrored or tpu."
)

_IN_MEMORY = 64 << 20


def compress(
    model: tf_keras.layers.Layer,
    spec: Spec,
    total_steps: int = 0,
    rate_weight: float | Schedule = 0.0,
    calibration: Calibration | Iterable[Any] | None = None,
) -> Compression:
    """Compresses the weights of a built model in place; train it as usual afterwards.

    Args:
        model: any built tf_keras model or layer, with its pretrained weights.
        spec: the rules; every weight must match one.
        total_steps: optimizer steps that will follow; 0 for post-training compression.
        rate_weight: loss per expected bit per weight of the model, for algorithms with a penalty: a
            number, or a schedule such as `kwc.schedules.PiecewiseLinear`.
        calibration: for algorithms that need statistics: batches of the model's inputs, or
            `kwc.calibration.Calibration` with settings of its own.

    Returns:
        A handle for reports and training loops of your own. The model keeps it too.

    Raises:
        CompressionError: the model is not built, compressed already or quantization-aware, its
            optimizer has state for the uncompressed weights, a rule or an algorithm does not fit,
            a weight is not finite, or calibration data is missing, empty or not finite. The model
            is unchanged.
    """
    compression = _plan(model, spec, total_steps, rate_weight, calibration)
    compression.install()
    penalized = [
        reparameterization.info.path
        for reparameterization in compression.reparameterizations
        if overrides(reparameterization.compressor, "penalty")
    ]
    if penalized and total_steps and rate_weight == 0.0:
        logging.warning(
            "kwc: rate_weight is 0, so that nothing makes the bits of %s fewer.", penalized[0]
        )
    return compression


def save(
    model: tf_keras.layers.Layer,
    path: str | os.PathLike,
    metadata: Mapping | None = None,
    preset: str = artifact.DEFAULT_PRESET,
) -> report.Report:
    """Writes a model's weights to one `.kwc` file; a model that is not compressed losslessly.

    Args:
        model: a built model.
        path: the file to write, whole or not at all.
        metadata: JSON values to keep in the file's header.
        preset: `small` for the smallest file, `fast` for one that is written and read several times
            faster.

    Returns:
        Algorithm, bytes and error of each weight, and the length of the file.

    Raises:
        CompressionError: a weight is not finite, an algorithm contradicts itself, or there is no
            such preset.
        OSError: the file cannot be written.
    """
    compression = vars(model).get(HANDLE) or _plan(model, Spec([(".*", None)]))
    return compression.save(path, metadata, preset)


def load(path: str | os.PathLike, into: tf_keras.layers.Layer) -> report.Report:
    """Fills a plain, built model of the same architecture with an artifact's decoded weights.

    All weights are decoded before the first is assigned; beyond 64 MiB they wait in a temporary
    file, so that memory holds no second copy of the model.

    Args:
        path: the `.kwc` file.
        into: the model; unchanged if anything is wrong.

    Returns:
        Algorithm and bytes of each weight.

    Raises:
        ArtifactError: the file is damaged, forged or for another model; the message names paths
            and both shapes.
        CompressionError: the model is compressed; call `kwc.decompress` on it first.
        OSError: the file cannot be read, or the temporary file finds no room.
    """
    with artifact.opened(path, shapes_of(into)) as content:
        return fill(into, content)


def shapes_of(model: tf_keras.layers.Layer) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight of a plain, built model, by path.

    Raises:
        CompressionError: the model is compressed, or not built.
    """
    _check_compressible(model)
    return {weight.path: tuple(weight.variable.shape) for weight in paths.weights(model)}


def fill(model: tf_keras.layers.Layer, content: artifact.Artifact) -> report.Report:
    """Does what `load` does, with an artifact that was read for the model's shapes."""
    variables = {weight.path: weight.variable for weight in paths.weights(model)}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as decoded:
        for name, packed in content.weights.items():
            value = packed.decompress()
            if value.dtype != variables[name].dtype.as_numpy_dtype:
                raise artifact.ArtifactError(
                    f"{packed.file} holds {name} as {value.dtype}, the model as "
                    f"{variables[name].dtype.name}."
                )
            decoded.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        decoded.seek(0)
        for name, packed in content.weights.items():
            dtype = np.dtype(variables[name].dtype.as_numpy_dtype)
            data = decoded.read(packed.info.size * dtype.itemsize)
            variables[name].assign(np.frombuffer(data, dtype).reshape(packed.info.shape))
        return report.of_artifact(content)


def decompress(model: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    """Turns a compressed model back into a plain one, in place, holding the decoded weights.

    `model.save`, `tf_keras.models.load_model` and further compression take it like any other. A
    compiled model must be compiled again before it is trained.

    Raises:
        CompressionError: the model is not compressed.
    """
    handle_of(model).undo()
    return model


def handle_of(model: tf_keras.layers.Layer) -> Compression:
    """Returns the handle of a compressed model; `CompressionError` if it is a plain one."""
    compression = vars(model).get(HANDLE)
    if compression is None:
        raise CompressionError(f"The model {model.name!r} is not compressed; call kwc.compress.")
    return compression


def _plan(
    model: tf_keras.layers.Layer,
    spec: Spec,
    total_steps: int = 0,
    rate_weight: float | Schedule = 0.0,
    calibration: Calibration | Iterable[Any] | None = None,
) -> Compression:
    """Decides how each weight is compressed; the model is not touched."""
    _check_compressible(model)
    weights = paths.weights(model)
    rules = _assign(kwc_spec.checked(spec), weights, model)
    strategy = getattr(weights[0].variable, "distribute_strategy", None)
    strategy = strategy or tf.distribute.get_strategy()
    _check_synchronous(strategy)
    with strategy.scope():
        clock = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            name="kwc_step",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        create = functools.partial(Reparameterization, total_steps=total_steps, seeds=Seeds(clock))
        reasons = {weight.path: _why_not(weight, rules[weight.path]) for weight in weights}
        lossy = [
            (weight, rules[weight.path].compressor)
            for weight in weights
            if _is_lossy(rules[weight.path]) and not reasons[weight.path]
        ]
        unknown: dict[str, str] = {}
        if any(compressor.statistics for _, compressor in lossy):
            made, unknown = _calibrated(model, lossy, create, calibration)
        else:
            made = {weight.path: create(weight, compressor) for weight, compressor in lossy}
        entries = []
        for weight in weights:
            path = weight.path
            entry = Entry(weight, rules[path], reasons[path], made.get(path), unknown.get(path, ""))
            if entry.reparameterization is not None:
                # What no file can hold is found before it has been trained.
                entry.pack()
            entries.append(entry)
    return Compression(model, tuple(entries), clock, total_steps, rate_weight)


def _calibrated(
    model: tf_keras.layers.Layer,
    lossy: list[tuple[paths.Weight, WeightCompressor]],
    create: Callable[..., Reparameterization],
    calibration: Calibration | Iterable[Any] | None,
) -> tuple[dict[str, Reparameterization], dict[str, str]]:
    """Compresses weights in the order of their use, each on the inputs that it really gets.

    Returns:
        What stands for each weight, and why some have no statistics; both by path.
    """
    wanting = [weight.path for weight, compressor in lossy if compressor.statistics]
    if calibration is None:
        raise CompressionError(
            f"The algorithm of {wanting[0]} needs statistics of its use: give kwc.compress some "
            "batches of the model's inputs as `calibration`."
        )
    weights = [weight for weight, _ in lossy]
    calibrator = Calibrator(model, weights, wanting, as_calibration(calibration))
    by_path = {weight.path: (weight, compressor) for weight, compressor in lossy}
    made = {}
    for path in calibrator.order():
        weight, compressor = by_path[path]
        known = calibrator.calibrated(path, compressor.statistics)
        made[path] = create(weight, compressor, calibrated=known)
        calibrator.replace(path, made[path].weight())
    return made, calibrator.reasons


def _check_synchronous(strategy: tf.distribute.Strategy) -> None:
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise CompressionError(ASYNCHRONOUS)


def _check_compressible(model: tf_keras.layers.Layer) -> None:
    if not isinstance(model, tf_keras.layers.Layer):
        raise RefusedError(
            f"{type(model).__module__}.{type(model).__name__} is no tf_keras model or layer. Make "
            "it an attribute of a tf_keras.Model, as a multitask model may be, and compress that; "
            "a Keras 3 model must be built with tf_keras instead."
        )
    if vars(model).get(HANDLE) is not None:
        raise CompressionError(
            f"The model {model.name!r} is compressed already; call kwc.decompress on it first."
        )
    if not model.built or not model.weights:
        raise CompressionError(
            f"The model {model.name!r} has no weights yet; build it, or call it on one batch."
        )
    for path, layer in paths.layers(model).items():
        if isinstance(layer, Reparameterization):
            raise CompressionError(
                f"{path.rpartition('/')[0]} is compressed already, in another model that shares it "
                "or on its own; call kwc.decompress on that first."
            )
        if any(cls.__name__.startswith("QuantizeWrapper") for cls in type(layer).__mro__):
            raise RefusedError(
                f"{path} is quantization-aware: its wrapper sets the weight and quantizes "
                "activations. kwc compresses weights only; use the experiment without _qat."
            )


def _assign(spec: Spec, weights: list[paths.Weight], model) -> dict[str, Rule]:
    """The rule of each canonical path; the places of a tied weight must agree."""
    every = [holder.path for weight in weights for holder in weight.holders]
    rules = spec.assign(every, list(paths.layers(model)))
    chosen = {}
    for weight in weights:
        claims = [rules[h.path] for h in weight.holders if rules[h.path].compressor is not None]
        if any(claim.compressor != claims[0].compressor for claim in claims):
            told = ", ".join(f"{h.path} -> {rules[h.path].pattern!r}" for h in weight.holders)
            raise CompressionError(
                f"One weight is held at several paths whose rules disagree: {told}. Give all of "
                "them the same algorithm."
            )
        chosen[weight.path] = claims[0] if claims else rules[weight.path]
    return chosen


def _is_lossy(rule: Rule) -> bool:
    return rule.compressor is not None and not rule.compressor.is_identity


def _why_not(weight: paths.Weight, rule: Rule) -> str:
    """The named reason for which a rule's algorithm cannot be applied; empty if it can."""
    if not _is_lossy(rule):
        return ""
    if not weight.variable.dtype.is_floating:
        return "not_floating"
    if not weight.variable.trainable:
        return "not_trainable"
    if any(holder.attribute is None for holder in weight.holders):
        return "not_an_attribute"
    return ""
