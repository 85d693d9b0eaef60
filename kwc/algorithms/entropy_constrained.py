"""A weight as integers times a learned step, trained against the bits of the integers."""

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import latents
from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

_SIGN = 0.9 * math.log(2)  # Contexts tell something of a sign.
_LEAST_SCALE = 0.01  # Of a weight that starts at zero.


@dataclasses.dataclass(frozen=True)
class EntropyConstrained(WeightCompressor):
    """Uniform quantization whose step and integers are trained against their code length.

    Entropy-constrained scalar quantization (Chou, Lookabaugh and Gray, 1989), by straight-through
    gradients of entropy-penalized reparameterization (Oktay et al., arXiv:1906.06624), but in the
    domain of the weight, and with another prior: the log odds that an integer in row i and column j
    of the weight's matrix is not zero are `logit + row_logits[i] + column_logits[j]`; its sign and
    a geometric magnitude follow. The prior is learned and not stored. The gradient is that of an L1
    norm which is reweighted all the time (Candes, Wakin and Boyd, arXiv:0711.1612), by row and by
    column: the emptier they are, the dearer their elements.

    Attributes:
        step: initial step in root mean squares of the weight.
        step_rate: multiple of the optimizer's learning rate for the logarithm of the step.
        prior_rate: multiple of it for the prior; a fast one empties rows and columns too soon.
        freeze: fraction of the training after which a zero stays zero; 1 for never.
        settle: fraction of the training after which the step stays, at a value that can be stored;
            no later than `freeze`. Until then it is exact. With 1 it is one that can be stored all
            the time, and never stays.
    """

    file_fields: ClassVar = ()

    step: float = 1.5
    step_rate: float = 1.0
    prior_rate: float = 3.0
    freeze: float = 0.85
    settle: float = 0.5

    def check(self, info: WeightInfo) -> None:
        given = [x for x in dataclasses.astuple(self) if x is not None]
        if given and (min(given) <= 0 or max(self.freeze, self.settle) > 1):
            raise CompressionError(
                f"{self} cannot be for {info.path}: all of these are above 0, freeze and settle at "
                "most 1."
            )

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        shapes = {"weight": info.shape, "log_step": (), "logit": (), "tail_logit": ()}
        if info.input_axes and info.output_axes:
            rows, columns = info.matrix_shape
            shapes |= {"row_logits": (rows,), "column_logits": (columns,)}
        return shapes

    def init(self, weight, info, step, statistics) -> Variables:
        scale = max(float(np.sqrt(np.mean(np.square(weight)))), _LEAST_SCALE)
        params = {name: np.zeros(s, np.float32) for name, s in self.param_shapes(info).items()}
        params |= {"weight": weight, "log_step": np.float32(math.log(self.step * scale))}
        state = {"keep": np.ones(info.shape, bool)}
        if self.settle < 1:
            state["settled"] = np.bool_(step.total == 0)
        return Variables(params, state)

    def project(self, v, info, training, seed):
        step = latents.training_steps(v.params["log_step"], v.state.get("settled"), training)
        weight = _decode(v.params["weight"], v.params["log_step"], step, v.state["keep"])
        weight.set_shape(info.shape)
        return weight

    def penalty(self, v, info, seed):
        matrix = kwc_ops.to_matrix(kwc_ops.TensorFlowOps, v.params["weight"], info)
        rows, columns = tf.zeros(matrix.shape[0]), tf.zeros(matrix.shape[1])
        rows = v.params["logit"] + v.params.get("row_logits", rows)
        columns = v.params.get("column_logits", columns)
        step = latents.training_steps(v.params["log_step"], v.state.get("settled"), True)
        return _bits(matrix, v.params["log_step"], step, rows, columns, v.params["tail_logit"])

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        priors = self.param_shapes(info).keys() - {"weight", "log_step"}
        return {"log_step": self.step_rate} | dict.fromkeys(sorted(priors), self.prior_rate)

    def update(self, v, info, step, gradients) -> Variables:
        params, state = dict(v.params), dict(v.state)
        if "settled" in state:
            params["log_step"], state["settled"] = latents.settle(
                params["log_step"], state["settled"], min(self.settle, self.freeze), step
            )
        weight, log_step = params["weight"], params["log_step"]
        state["keep"] = latents.kept(state["keep"], weight, log_step, self.freeze, step)
        return Variables(params, state)

    def compress(self, v, info):
        log_step = tf.convert_to_tensor(v.params["log_step"])
        levels = _levels(tf.convert_to_tensor(v.params["weight"]), latents.learned_steps(log_step))
        exponent = latents.exponents(log_step).numpy().astype(np.int8)
        kept = np.where(v.state["keep"], levels, 0)
        return {"levels": latents.as_integers(kept), "exponent": exponent.reshape(1)}

    def decompress(self, ops, packed, info):
        return ops.cast(packed["levels"], "float32") * latents.steps(ops, packed["exponent"])


def _levels(weight, step):
    return tf.round(weight / step)


def _decode(weight, log_step, step, keep):
    """Returns the weight in whole steps; rounding passes the gradient through to the weight.

    Args:
        weight: float32 tensor.
        log_step: float32 scalar tensor, which the gradient goes to.
        step: float32 scalar tensor; see `kwc.latents.training_steps`.
        keep: bool tensor, false where the result is 0 whatever the weight is.
    """

    @tf.custom_gradient
    def decode(weight, log_step):
        decoded = _decoded()(weight, step, keep)
        return decoded, lambda upstream: _decoded_gradient()(weight, decoded, keep, upstream)

    return decode(weight, log_step)


def _bits(matrix, log_step, step, rows, columns, tail):
    """Returns the expected bits of a weight's levels, a float32 scalar.

    Args:
        matrix: float32 tensor [rows, columns], the weight.
        log_step: float32 scalar tensor, which the gradient goes to.
        step: float32 scalar tensor; see `kwc.latents.training_steps`.
        rows: float32 tensor [rows]: plus `columns`, the log odds that a level is not 0.
        columns: float32 tensor [columns].
        tail: float32 scalar tensor, the log odds that a magnitude is larger by one more.
    """

    @tf.custom_gradient
    def bits(matrix, log_step, *logits):
        arguments = matrix, step, *logits

        def gradient(upstream):
            gradients = _expected_gradient()(*arguments, upstream / math.log(2))
            return kwc_ops.shaped(gradients, (matrix, log_step, *logits))

        return _expected()(*arguments) / math.log(2), gradient

    return bits(matrix, log_step, rows, columns, tail)


def _prices(tail):
    """Nats of a level that is not 0, at even odds, and of each further unit of its magnitude."""
    return _SIGN + tf.nn.softplus(tail), tf.nn.softplus(-tail)


# Functions that every weight calls; see `kwc.ops.shared`.


@functools.cache
def _decoded():
    def decoded(weight, step, keep):
        return tf.where(keep, _levels(weight, step) * step, 0.0)

    return kwc_ops.shared(decoded, tf.float32, tf.float32, tf.bool)


@functools.cache
def _decoded_gradient():
    def gradient(weight, decoded, keep, upstream):
        by_weight = tf.where(keep, upstream, 0.0)
        return by_weight, tf.reduce_sum(by_weight * (decoded - weight))

    return kwc_ops.shared(gradient, tf.float32, tf.float32, tf.bool, tf.float32)


@functools.cache
def _expected():
    def nats(matrix, step, rows, columns, tail):
        first, further = _prices(tail)
        logits = rows[:, tf.newaxis] + columns
        magnitude = tf.abs(tf.round(matrix / step))
        one = tf.minimum(magnitude, 1.0)
        return tf.reduce_sum(
            tf.nn.softplus(logits) + one * (first - logits) + (magnitude - one) * further
        )

    return kwc_ops.shared(nats, *[tf.float32] * 5)


@functools.cache
def _expected_gradient():
    def gradient(matrix, step, rows, columns, tail, upstream):
        first, further = _prices(tail)
        logits = rows[:, tf.newaxis] + columns
        magnitude = tf.abs(matrix) / step
        # Between whole numbers the price changes along straight lines.
        price = tf.where(magnitude < 1.0, first - logits, further)
        slope = tf.sign(matrix) * price * (upstream / step)
        whole = tf.round(magnitude)
        one = tf.minimum(whole, 1.0)
        ones = tf.reduce_sum(one)
        more = tf.reduce_sum(whole) - ones
        surprise = tf.sigmoid(logits) - one
        return (
            slope,
            -tf.reduce_sum(slope * matrix),
            upstream * tf.reduce_sum(surprise, axis=1),
            upstream * tf.reduce_sum(surprise, axis=0),
            upstream * (tf.sigmoid(tail) * ones - tf.sigmoid(-tail) * more),
        )

    return kwc_ops.shared(gradient, *[tf.float32] * 6)
