"""The compression of one model: which weight is compressed how, and the way back."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kwc import artifact, optimizer, paths, report
from kwc.algorithms import Lossless
from kwc.compressor import CompressionError, WeightCompressor
from kwc.reparameterize import Reparameterization, finite, inject, swap_class
from kwc.schedules import Schedule, as_schedule
from kwc.spec import Rule

HANDLE = "_kwc_compression"
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Entry:
    """A weight, its rule, and what was made of it.

    Attributes:
        weight: the weight.
        rule: the rule that took it.
        reason: why the rule's algorithm is not applied; empty if it is.
        reparameterization: None where the weight is stored losslessly.
        uncalibrated: why its algorithm got no statistics; empty if it did, or needs none.
    """

    weight: paths.Weight
    rule: Rule
    reason: str
    reparameterization: Reparameterization | None
    uncalibrated: str = ""

    @property
    def compressor(self) -> WeightCompressor | None:
        return self.reparameterization.compressor if self.reparameterization else None

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the named arrays that stand for the current value, unchecked."""
        if self.reparameterization is None:
            return {"weight": _values(self.weight.variable)}
        return self.compressor.compress(self.reparameterization.read(), self.weight.info)

    def penalty(self) -> float | None:
        """Returns the expected bits of the current value; None without a penalty."""
        if self.reparameterization is None:
            return None
        bits = self.reparameterization.penalty()
        return None if bits is None else float(bits)

    def pack(self) -> artifact.PackedWeight:
        """Packs the current value; checks that it decodes to what the layers compute with.

        Raises:
            CompressionError: a value is not finite, or the algorithm contradicts itself.
        """
        info = self.weight.info
        for name, value in self._variables().items():
            if value.dtype.is_floating:
                finite(_values(value), name)
        packed = artifact.pack(self.compressor, self.arrays(), info)
        if self.reparameterization is None:
            return packed
        trained = _values(self.reparameterization.weight())
        off, scale = _distance(packed.as_read(), trained)
        # NaN is not below either.
        if not off <= 1e-5 * max(1.0, scale):
            raise CompressionError(
                f"{self.compressor.name} decompresses {info.path} to values up to {off:.3g} away "
                "from those that it was trained with: its compress and decompress do not agree "
                "with its project."
            )
        return packed

    def report(self, nbytes: Mapping[str, int] | None) -> report.WeightReport:
        """Returns the weight's row; `nbytes` are those of its arrays in a file, if there is one."""
        info = self.weight.info
        return report.WeightReport(
            path=info.path,
            shape=info.shape,
            rule=self.rule.pattern,
            algorithm=report.describe(self.compressor or Lossless()),
            reason=self.reason,
            dense_bytes=report.dense_bytes(info),
            written_bytes=None if nbytes is None else sum(nbytes.values()),
            bits_estimated=self.penalty(),
            error=self._error(),
            uncalibrated=self.uncalibrated,
        )

    def _variables(self) -> dict[str, tf.Variable | tf.Tensor]:
        """What the weight is made of, by the name that an error calls it."""
        path = self.weight.path
        if self.reparameterization is None:
            return {path: self.weight.variable}
        variables = self.reparameterization.read()
        return {f"{path} ({name})": x for name, x in (variables.params | variables.state).items()}

    def _error(self) -> float:
        if self.reparameterization is None:
            return 0.0
        distance, scale = 0.0, 0.0
        projected = _values(self.reparameterization.project())
        for now, before in _chunks(projected, _values(self.weight.variable)):
            distance += float(np.sum(np.square(now - before)))
            scale += float(np.sum(np.square(before)))
        return math.sqrt(distance / scale if scale else distance)


class Compression:
    """The compression of one model. Made by `kwc.compress`.

    Attributes:
        model: the compressed model.
        clock: int64 variable, the number of optimizer steps taken since compression.
        entries: every weight of the model.

    Args:
        model: the model, still plain.
        entries: every weight of the model.
        clock: int64 variable.
        total_steps: optimizer steps planned.
        rate_weight: loss per expected bit per weight of the model, a number or a schedule.
    """

    def __init__(
        self,
        model: tf_keras.layers.Layer,
        entries: tuple[Entry, ...],
        clock: tf.Variable,
        total_steps: int,
        rate_weight: float | Schedule,
    ):
        self.model = model
        self.clock = clock
        self.entries = entries
        self._total_steps = total_steps
        self._rate_weight = as_schedule(rate_weight)
        self._attached: list[tuple[Any, Callable[[], None]]] = []
        self._withdraw: Callable[[], None] = lambda: None
        self._class = type(model)

    def __repr__(self) -> str:
        compressed = len(self.reparameterizations)
        return f"<Compression of {self.model.name!r}: {compressed} of {len(self.entries)} weights>"

    @property
    def reparameterizations(self) -> list[Reparameterization]:
        """The compressed weights; losslessly stored ones are not among them."""
        return [e.reparameterization for e in self.entries if e.reparameterization]

    def install(self) -> None:
        """Puts the reparameterizations into the model, and guards against what would go wrong.

        Raises:
            CompressionError: the model's optimizer has state for the uncompressed weights. The
                model is unchanged.
        """
        model = self.model
        if getattr(model, "optimizer", None) is not None:
            self._check_fresh(model.optimizer)
        self._withdraw = inject(
            (e.weight, e.reparameterization) for e in self.entries if e.reparameterization
        )
        vars(model)[HANDLE] = self
        if not isinstance(model, tf_keras.Model):
            return
        # One of the weights may have been an attribute of the model itself.
        self._class = type(model)
        _guard(self)
        _forget_functions(model)
        if model.optimizer is not None:
            self.attach(model.optimizer)

    def attach(self, keras_optimizer: Any) -> None:
        """Lets an optimizer train the penalty and run the algorithms' updates.

        Called for you by `model.compile` and by `kwc.task.CompressionTrainer`; call it yourself
        for a training loop of your own. An optimizer that is attached already stays as it is.

        Raises:
            CompressionError: the optimizer has state for the uncompressed weights.
        """
        known = any(attached is keras_optimizer for attached, _ in self._attached)
        if known or not self.reparameterizations:
            return
        self._check_fresh(keras_optimizer)
        weights = sum(entry.weight.info.size for entry in self.entries)
        detach = optimizer.attach(
            keras_optimizer,
            self.reparameterizations,
            self.clock,
            self._total_steps,
            self._rate_weight,
            weights,
        )
        self._attached.append((keras_optimizer, detach))

    def _check_fresh(self, keras_optimizer: Any) -> None:
        if self.reparameterizations and optimizer.is_built(keras_optimizer):
            raise CompressionError(
                f"The optimizer {type(keras_optimizer).__name__} has state for the uncompressed "
                "weights, which the compressed ones cannot use. Call model.compile with a new "
                "optimizer first, or set model.optimizer = None if the model is not trained again."
            )

    def expected_bits(self) -> tf.Tensor:
        """Returns the sum of the algorithms' penalties in bits, a float32 scalar."""
        return optimizer.expected_bits(self.reparameterizations)

    def save(
        self,
        path: str | os.PathLike,
        metadata: Mapping | None = None,
        preset: str = artifact.DEFAULT_PRESET,
    ) -> report.Report:
        """Writes the artifact and reports on each weight. See `kwc.save`."""
        self._check_complete()
        packed = (entry.pack() for entry in self.entries)
        return self._report(artifact.write(path, packed, metadata, preset))

    def _check_complete(self) -> None:
        known = {id(entry.weight.variable) for entry in self.entries} | {id(self.clock)}
        known |= {id(v) for r in self.reparameterizations for v in r.variables}
        late = [w.path for w in paths.weights(self.model) if id(w.variable) not in known]
        if late:
            raise CompressionError(
                f"The model made weights after it was compressed: {', '.join(late[:10])}. Call it "
                "on one batch before kwc.compress."
            )

    def report(self) -> report.Report:
        """Returns rule, algorithm, reason and error of each weight; bytes only after `save`."""
        return self._report(None)

    def _report(self, written: artifact.Written | None) -> report.Report:
        nbytes = written.nbytes if written else {}
        rows = tuple(entry.report(nbytes.get(entry.weight.path)) for entry in self.entries)
        return report.Report(rows, written.sizes if written else None)

    def undo(self) -> None:
        """Puts plain variables back, holding the decoded values. See `kwc.decompress`."""
        values = {e.weight.path: e.pack().decompress() for e in self.entries if e.compressor}
        for _, detach in reversed(self._attached):
            detach()
        self.model.__class__ = self._class
        self._withdraw()
        for entry in self.entries:
            if entry.weight.path in values:
                entry.weight.variable.assign(values[entry.weight.path])
        del vars(self.model)[HANDLE]
        if isinstance(self.model, tf_keras.Model) and values:
            _forget_functions(self.model)
            # The optimizer's state belongs to the variables that are gone.
            self.model.optimizer = None
            self.model._is_compiled = False


def _values(tensor: tf.Variable | tf.Tensor) -> np.ndarray:
    """Returns the elements; unlike `numpy()`, without a copy of them."""
    return np.asarray(tf.convert_to_tensor(tensor))


def _distance(decoded: np.ndarray, trained: np.ndarray) -> tuple[float, float]:
    """Returns the largest difference, and the largest magnitude of what was trained."""
    off, scale = np.float64(0.0), np.float64(0.0)
    for one, other in _chunks(decoded, trained):
        # Not Python's, which would pass over NaN.
        off = np.maximum(off, np.max(np.abs(one - other)))
        scale = np.maximum(scale, np.max(np.abs(other)))
    return float(off), float(scale)


def _chunks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields two arrays of one shape piece by piece, as float64, so that no copy is made of all."""
    a, b = a.reshape(-1), b.reshape(-1)
    for start in range(0, a.size, _CHUNK):
        piece = slice(start, start + _CHUNK)
        yield a[piece].astype(np.float64), b[piece].astype(np.float64)


def _guard(compression: Compression) -> None:
    """Attaches each optimizer that the model is compiled with, and refuses Keras's own format."""
    original = type(compression.model)

    def compile(self, *args, **kwargs):
        original.compile(self, *args, **kwargs)
        compression.attach(self.optimizer)

    def save(self, *args, **kwargs):
        raise CompressionError(
            "A compressed model cannot be saved as a Keras model: it could not be loaded. Write "
            "the artifact with kwc.save, or call kwc.decompress(model) first."
        )

    swap_class(compression.model, {"compile": compile, "save": save})


def _forget_functions(model: tf_keras.Model) -> None:
    """Drops traced functions, which hold the variables that the model had before."""
    model.train_function = model.test_function = model.predict_function = None
    model.train_tf_function = None
