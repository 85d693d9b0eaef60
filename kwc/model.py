"""One verb on any built tf_keras model: compress it, save it, load it, give it back plain."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kwc import artifact, optimizer, paths, report
from kwc.compressor import CompressionError, WeightCompressor
from kwc.reparameterize import Injection, Reparameterization, finite, swap_class
from kwc.spec import Rule, Spec

_HANDLE = "_kwc_compression"


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A weight, its rule, and what was made of it."""

    weight: paths.Weight
    rule: Rule
    reason: str
    reparameterization: Reparameterization | None

    @property
    def compressor(self) -> WeightCompressor | None:
        return self.reparameterization.compressor if self.reparameterization else None

    def pack(self) -> artifact.PackedWeight:
        """Packs the current value; checks that it decodes to what the layers compute with."""
        info = self.weight.info
        if self.reparameterization is None:
            return artifact.pack(None, {"weight": self._value(self.weight.variable)}, info)
        variables = self.reparameterization.read()
        for name, value in (variables.params | variables.state).items():
            if value.dtype.is_floating:
                finite(value.numpy(), f"{info.path} ({name})")
        arrays = self.compressor.compress(variables, info)
        packed = artifact.pack(self.compressor, arrays, info)
        trained = self.reparameterization.project().numpy()
        off = np.max(np.abs(packed.decompress().astype(np.float32) - trained), initial=0.0)
        if off > 1e-5 * max(1.0, np.max(np.abs(trained), initial=0.0)):
            raise CompressionError(
                f"{self.compressor.name} decompresses {info.path} to values up to {off:.3g} away "
                "from those that it was trained with: its compress and decompress do not agree "
                "with its project."
            )
        return packed

    def _value(self, variable: tf.Variable) -> np.ndarray:
        value = variable.numpy()
        return finite(value, self.weight.path) if variable.dtype.is_floating else value


class Compression:
    """The compression of one model: which weight is compressed how. Made by `compress`.

    Attributes:
        model: the compressed model.
        clock: int64 variable, the number of optimizer steps taken since compression.
    """

    def __init__(
        self,
        model: tf_keras.layers.Layer,
        entries: tuple[_Entry, ...],
        injections: tuple[Injection, ...],
        clock: tf.Variable,
        total_steps: int,
        rate_weight: float,
    ):
        self.model = model
        self.clock = clock
        self._entries = entries
        self._injections = injections
        self._total_steps = total_steps
        self._rate_weight = rate_weight
        self._class = type(model)

    @property
    def reparameterizations(self) -> list[Reparameterization]:
        """The compressed weights; losslessly stored ones are not among them."""
        return [e.reparameterization for e in self._entries if e.reparameterization]

    def attach(self, keras_optimizer: Any) -> None:
        """Lets an optimizer train the penalty and run the algorithms' updates.

        Called for you by `model.compile` and by `kwc.task.CompressionTrainer`; call it yourself
        for a training loop of your own.

        Raises:
            CompressionError: the optimizer has state for the uncompressed weights.
        """
        if getattr(keras_optimizer, "_built", False):
            raise CompressionError(
                "The optimizer has been built for the uncompressed weights. Compress the model "
                "first, then compile it with a new optimizer."
            )
        if self.reparameterizations:
            weights = sum(entry.weight.info.size for entry in self._entries)
            optimizer.attach(
                keras_optimizer,
                self.reparameterizations,
                self.clock,
                self._total_steps,
                self._rate_weight / weights,
            )

    def expected_bits(self) -> tf.Tensor:
        """Returns the sum of the algorithms' penalties in bits, a float32 scalar."""
        return optimizer.expected_bits(self.reparameterizations)

    def save(self, path: str | os.PathLike, metadata: Mapping | None = None) -> report.Report:
        """Writes the artifact and reports on each weight. See `kwc.save`."""
        self._check_complete()
        packed = [entry.pack() for entry in self._entries]
        return self._report(artifact.write(path, packed, metadata))

    def _check_complete(self) -> None:
        known = {id(entry.weight.variable) for entry in self._entries} | {id(self.clock)}
        known |= {id(v) for r in self.reparameterizations for v in r.variables}
        late = [v.name for v in self.model.weights if id(v) not in known]
        if late:
            raise CompressionError(
                f"The model made weights after it was compressed: {', '.join(late[:10])}. Call it "
                "on one batch before kwc.compress."
            )

    def report(self) -> report.Report:
        """Returns rule, algorithm, reason and error of each weight; bytes only after `save`."""
        return self._report(None)

    def _report(self, written: artifact.Artifact | None) -> report.Report:
        rows = []
        for entry in self._entries:
            info = entry.weight.info
            packed = written.weights[info.path] if written else None
            rows.append(
                report.WeightReport(
                    path=info.path,
                    shape=info.shape,
                    rule=entry.rule.pattern,
                    algorithm=report.describe(packed or artifact.pack(entry.compressor, {}, info)),
                    reason=entry.reason,
                    dense_bytes=report.dense_bytes(info),
                    written_bytes=sum(packed.nbytes.values()) if packed else None,
                    bits_estimated=_bits(entry.reparameterization),
                    error=_error(entry),
                )
            )
        return report.Report(tuple(rows), written.sizes if written else None)

    def undo(self) -> None:
        """Puts plain variables back, holding the decoded values. See `kwc.decompress`."""
        values = {e.weight.path: e.pack().decompress() for e in self._entries if e.compressor}
        self.model.__class__ = self._class
        for injection in reversed(self._injections):
            injection.undo()
        for entry in self._entries:
            if entry.weight.path in values:
                entry.weight.variable.assign(values[entry.weight.path])
        del vars(self.model)[_HANDLE]
        if isinstance(self.model, tf_keras.Model):
            _forget_functions(self.model)
            # The optimizer's state belongs to the variables that are gone.
            self.model.optimizer = None
            self.model._is_compiled = False


def compress(
    model: tf_keras.layers.Layer,
    spec: Spec,
    total_steps: int = 0,
    rate_weight: float = 0.0,
) -> Compression:
    """Compresses the weights of a built model in place; train it as usual afterwards.

    Args:
        model: any built tf_keras model or layer, with its pretrained weights.
        spec: the rules; every weight must match one.
        total_steps: optimizer steps that will follow; 0 for post-training compression.
        rate_weight: loss per expected bit per weight of the model, for algorithms with a penalty.

    Returns:
        A handle for reports and training loops of your own. The model keeps it too.

    Raises:
        CompressionError: the model is not built, compressed already or quantization-aware, a rule
            or an algorithm does not fit, or a weight is not finite. The model is unchanged.
    """
    _check_compressible(model)
    weights = paths.weights(model)
    rules = _assign(spec, weights, model)
    clock = tf.Variable(
        0,
        dtype=tf.int64,
        trainable=False,
        name="kwc_step",
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    entries = []
    for weight in weights:
        rule = rules[weight.path]
        reason = _why_not(weight, rule)
        lossy = rule.compressor is not None and not rule.compressor.is_identity and not reason
        entries.append(
            _Entry(
                weight,
                rule,
                reason,
                Reparameterization(weight, rule.compressor, total_steps, clock) if lossy else None,
            )
        )
    injections = []
    for entry in entries:
        if entry.reparameterization is not None:
            injections.append(Injection(entry.weight, entry.reparameterization))
    compression = Compression(
        model, tuple(entries), tuple(injections), clock, total_steps, rate_weight
    )
    _install(model, compression)
    return compression


def save(
    model: tf_keras.layers.Layer, path: str | os.PathLike, metadata: Mapping | None = None
) -> report.Report:
    """Writes a model's weights to one `.kwc` file; a model that is not compressed losslessly.

    Args:
        model: a built model.
        path: the file to write, whole or not at all.
        metadata: JSON values to keep in the file's header.

    Returns:
        Algorithm, bytes and error of each weight, and the length of the file.

    Raises:
        CompressionError: a weight is not finite, or an algorithm contradicts itself.
        OSError: the file cannot be written.
    """
    compression = vars(model).get(_HANDLE)
    if compression is not None:
        return compression.save(path, metadata)
    compression = compress(model, Spec([(".*", None)]))
    try:
        return compression.save(path, metadata)
    finally:
        compression.undo()


def load(path: str | os.PathLike, into: tf_keras.layers.Layer) -> report.Report:
    """Fills a plain, built model of the same architecture with an artifact's decoded weights.

    Args:
        path: the `.kwc` file.
        into: the model; unchanged if anything is wrong.

    Returns:
        Algorithm and bytes of each weight.

    Raises:
        ArtifactError: the file is damaged, forged or for another model; the message names paths
            and both shapes.
        CompressionError: the model is compressed; call `kwc.decompress` on it first.
    """
    _check_compressible(into)
    weights = {weight.path: weight for weight in paths.weights(into)}
    expected = {path: weight.info.shape for path, weight in weights.items()}
    content = artifact.read(path, expected)
    values = {name: packed.decompress() for name, packed in content.weights.items()}
    for name, weight in weights.items():
        if values[name].dtype != weight.variable.dtype.as_numpy_dtype:
            raise artifact.ArtifactError(
                f"{path} holds {name} as {values[name].dtype}, the model as "
                f"{weight.variable.dtype.name}."
            )
    for name, weight in weights.items():
        weight.variable.assign(values[name])
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
    compression = vars(model).get(_HANDLE)
    if compression is None:
        raise CompressionError(f"The model {model.name!r} is not compressed; call kwc.compress.")
    return compression


def _check_compressible(model: tf_keras.layers.Layer) -> None:
    if vars(model).get(_HANDLE) is not None:
        raise CompressionError(
            f"The model {model.name!r} is compressed already; call kwc.decompress on it first."
        )
    if not model.built or not model.weights:
        raise CompressionError(
            f"The model {model.name!r} has no weights yet; build it, or call it on one batch."
        )
    for path, layer in paths.layers(model).items():
        if any(cls.__name__.startswith("QuantizeWrapper") for cls in type(layer).__mro__):
            raise CompressionError(
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


def _why_not(weight: paths.Weight, rule: Rule) -> str:
    """The named reason for which a rule's algorithm cannot be applied; empty if it can."""
    if rule.compressor is None or rule.compressor.is_identity:
        return ""
    if not weight.variable.dtype.is_floating:
        return "not_floating"
    if not weight.variable.trainable:
        return "not_trainable"
    if any(holder.attribute is None for holder in weight.holders):
        return "not_an_attribute"
    return ""


def _install(model: tf_keras.layers.Layer, compression: Compression) -> None:
    """Keeps the handle on the model and guards what would go wrong on a compressed one."""
    vars(model)[_HANDLE] = compression
    if not isinstance(model, tf_keras.Model):
        return
    compression._class = original = type(model)

    def compile(self, *args, **kwargs):
        original.compile(self, *args, **kwargs)
        compression.attach(self.optimizer)

    def save(self, *args, **kwargs):
        raise CompressionError(
            "A compressed model cannot be saved as a Keras model: it could not be loaded. Write "
            "the artifact with kwc.save, or call kwc.decompress(model) first."
        )

    swap_class(model, {"compile": compile, "save": save})
    _forget_functions(model)
    if getattr(model, "optimizer", None) is not None:
        try:
            compression.attach(model.optimizer)
        except CompressionError:
            compression.undo()
            raise


def _forget_functions(model: tf_keras.Model) -> None:
    """Drops traced functions, which hold the variables that the model had before."""
    model.train_function = model.test_function = model.predict_function = None
    model.train_tf_function = None


def _bits(reparameterization: Reparameterization | None) -> float | None:
    if reparameterization is None:
        return None
    bits = reparameterization.compressor.penalty(reparameterization.read(), reparameterization.info)
    return None if bits is None else float(bits)


def _error(entry: _Entry) -> float:
    if entry.reparameterization is None:
        return 0.0
    before = entry.weight.variable.numpy().astype(np.float64)
    distance = np.linalg.norm(entry.reparameterization.project().numpy() - before)
    scale = np.linalg.norm(before)
    return float(distance / scale) if scale else float(distance)
