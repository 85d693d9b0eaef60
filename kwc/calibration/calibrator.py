"""Takes the statistics of one weight after the other, in the order in which the model uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from kwc import ops as kwc_ops
from kwc.calibration import uses
from kwc.calibration.curvature import projection
from kwc.calibration.moments import Products, second_moment
from kwc.calibration.network import Network
from kwc.calibration.settings import Calibration
from kwc.compressor import CompressionError
from kwc.paths import Weight
from kwc.reparameterize import Calibrated

INPUT_MOMENT = "input_moment"
OUTPUT_MOMENT = "output_moment"
_LEAST = 1e-12


class Calibrator:
    """Takes the statistics of a model's weights.

    A weight's input moment is that of the inputs which the already compressed weights before it
    produce. The weight that is handed on is the least-squares answer to those inputs: what comes
    closest on them to the original outputs. Where a compressed bias follows, it answers for the
    means, so that moments are central ones. Output moments are those of the original model.

    Attributes:
        reasons: for each weight without statistics, by path, what is not understood of its use.

    Args:
        model: the model, plain; it is not changed.
        weights: the weights that will be compressed, whether they need statistics or not.
        wanting: paths of those that need them.
        calibration: data and settings.

    Raises:
        CompressionError: the data is empty or not finite, or the model cannot be run on it.
    """

    def __init__(
        self,
        model: tf_keras.layers.Layer,
        weights: Sequence[Weight],
        wanting: Iterable[str],
        calibration: Calibration,
    ):
        self._settings = calibration
        self._batches = calibration.read()
        step = calibration.step or (lambda batch: model(_inputs(batch), training=False))
        self._network = Network(model, weights, self._batches[0], step)
        self._infos = {weight.path: weight.info for weight in weights}
        self._dense = {w.path: tf.convert_to_tensor(w.variable.numpy()) for w in weights}
        self._current = dict(self._dense)
        self._uses: dict[str, list[uses.Use]] = {}
        self.reasons: dict[str, str] = {}
        for path in wanting:
            try:
                self._uses[path] = uses.find(self._network.weights[path], self._infos[path])
            except uses.NotUnderstoodError as error:
                self.reasons[path] = str(error)
        biases = [path for path, found in self._uses.items() if not found[0].rows]
        self._matrix_of = {
            bias: path
            for path, found in self._uses.items()
            for bias in biases
            if uses.is_added(found[0], self._network.weights[bias])
        }
        # Of matrices, the means of the current inputs and of the original outputs.
        self._means: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._output_moments = self._take_output_moments() if self._uses else {}

    def order(self) -> list[str]:
        """Returns the paths of all weights: those without statistics, then the rest as used."""
        places = self._network.places()
        first = {path: places[found[0].output.op.name] for path, found in self._uses.items()}
        return sorted(self._infos, key=lambda path: first.get(path, -1))

    def replace(self, path: str, value: tf.Tensor) -> None:
        """Lets all later statistics be those of a model with this value of a weight."""
        self._current[path] = value

    def calibrated(self, path: str, statistics: Sequence[str]) -> Calibrated | None:
        """Returns what a weight is compressed from; None for a weight without statistics.

        Args:
            path: the weight.
            statistics: the names that its algorithm declares.

        Raises:
            CompressionError: a statistic is not finite.
        """
        if path not in self._uses:
            return None
        if self._uses[path][0].rows:
            matrix, moment = self._take_input_moment(path, self._matrix(self._dense, path))
        else:
            bias = self._matrix(self._dense, path)
            matrix, moment = bias + self._shift(path), np.ones([1, 1])
        known = {INPUT_MOMENT: moment, OUTPUT_MOMENT: self._output_moments[path]}
        with np.errstate(over="ignore"):
            known = {name: array.astype(np.float32) for name, array in known.items()}
        for name, array in known.items():
            if not np.all(np.isfinite(array)):
                raise CompressionError(
                    f"The {name} of {path} on the calibration data is not finite: the model's "
                    "activations or gradients overflow there."
                )
        value = kwc_ops.from_matrix(kwc_ops.NumpyOps, matrix, self._infos[path])
        chosen = {name: known[name] for name in statistics}
        return Calibrated(np.ascontiguousarray(value, np.float32), chosen)

    def _matrix(self, values: Mapping[str, tf.Tensor], path: str) -> np.ndarray:
        matrix = kwc_ops.to_matrix(kwc_ops.NumpyOps, values[path].numpy(), self._infos[path])
        return matrix.astype(np.float64)

    def _take_output_moments(self) -> dict[str, np.ndarray]:
        """The mean over examples of the sum over positions of g g^T."""
        settings, network = self._settings, self._network
        with network.graph():
            scalar = projection(
                network.outputs, settings.likelihood, settings.temperature, network.seed
            )
            places = [use for found in self._uses.values() for use in found]
            gradients = tf.gradients(
                scalar, [use.output for use in places], unconnected_gradients="zero"
            )
            by_place = {id(use): use.columns(g) for use, g in zip(places, gradients, strict=True)}
            fetches = {
                path: second_moment(
                    tf.concat([by_place[id(u)] for u in found], 0), settings.largest
                )
                for path, found in self._uses.items()
            }
            fetches = fetches, tf.shape(network.outputs[0])[0]
        function = network.function(fetches)
        sums, count = dict.fromkeys(self._uses, 0.0), 0
        for index, batch in enumerate(self._batches):
            for probe in range(settings.probes):
                moments, examples = function(batch, [index, probe], self._dense)
                count += int(examples)
                for path, moment in moments.items():
                    sums[path] = sums[path] + moment.numpy().astype(np.float64)
        return {path: total / count for path, total in sums.items()}

    def _shift(self, path: str) -> np.ndarray:
        """How much the mean of the outputs that a bias is added to falls short."""
        matrix = self._matrix_of.get(path)
        if matrix in self._means:
            inputs, outputs = self._means[matrix]
            return outputs - inputs @ self._matrix(self._current, matrix)
        with self._network.graph():
            outputs = tf.concat([use.columns(use.output) for use in self._uses[path]], 0)
            function = self._network.function(tf.reduce_mean(outputs, 0))
        shifts = [
            function(batch, [0, 0], self._dense) - function(batch, [0, 0], self._current)
            for batch in self._batches
        ]
        return np.mean(shifts, 0)

    def _take_input_moment(self, path: str, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least-squares answer to the inputs, and their moment."""
        settings, network, found = self._settings, self._network, self._uses[path]
        with network.graph():
            rows = tf.concat([use.rows(settings.positions) for use in found], 0)
        if not rows.dtype.is_floating:
            return matrix, self._frequencies(rows, len(matrix))
        with network.graph():
            order = tf.range(tf.shape(rows)[0])
            order = tf.random.experimental.stateless_shuffle(order, network.seed)
            chosen = order[: settings.positions]
            rows = tf.gather(rows, chosen)
            mean = tf.reduce_mean(rows, 0)
            inputs = [second_moment(rows - mean, settings.largest), mean, mean, tf.shape(rows)[0]]
        is_central = path in self._matrix_of.values()
        changed = any(self._current[key] is not self._dense[key] for key in self._current)
        moments, products = Products(), Products()
        if not changed or not found[0].is_product or inputs[0].shape.rank == 1:
            current = network.function(inputs)
            for index, batch in enumerate(self._batches):
                moments.add(*current(batch, [index, 0], self._current))
            if found[0].is_product and not changed:
                self._means[path] = moments.left, moments.left @ matrix
            return matrix, moments.mean(is_central)

        with network.graph():
            outputs = tf.concat([use.columns(use.output) for use in found], 0)
            outputs = tf.gather(outputs, chosen)
            answers = tf.compat.v1.placeholder(tf.float32, [None, matrix.shape[1]])
            centre = tf.reduce_mean(answers, 0)
            product = tf.matmul(rows - mean, answers - centre, transpose_a=True)
        original = network.function(outputs)
        current = network.function([inputs, [product, mean, centre, inputs[-1]]], [answers])
        for index, batch in enumerate(self._batches):
            seed = [index, 0]
            moment, product = current(
                batch, seed, self._current, original(batch, seed, self._dense)
            )
            moments.add(*moment)
            products.add(*product)
        self._means[path] = products.left, products.right
        moment, product = moments.mean(is_central), products.mean(is_central)
        ridge = max(settings.ridge * np.trace(moment) / len(moment), _LEAST) * np.eye(len(moment))
        return np.linalg.solve(moment + ridge, product + ridge @ matrix), moment

    def _frequencies(self, ids: tf.Tensor, rows: int) -> np.ndarray:
        """How often each row is looked up: the diagonal of the moment of one-hot inputs."""
        with self._network.graph():
            counts = tf.math.bincount(tf.cast(ids, tf.int32), minlength=rows)
        function = self._network.function(counts)
        total = sum(function(b, [0, 0], self._current).numpy() for b in self._batches)
        return total / total.sum()


def _inputs(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple) else batch
