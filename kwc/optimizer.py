"""What compression adds to an optimizer's step: the rate's gradient, learning rates, updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from kwc.compressor import overrides
from kwc.reparameterize import Reparameterization, swap_class
from kwc.schedules import Constant, Schedule, Step


def attach(
    optimizer: Any,
    reparameterizations: Sequence[Reparameterization],
    clock: tf.Variable,
    total_steps: int,
    rate_weight: Schedule,
    weights: int,
) -> Callable[[], None]:
    """Extends `optimizer.apply_gradients`, through which every Keras training loop goes.

    Args:
        optimizer: a Keras optimizer, also a wrapping one (loss scaling, moving average).
        reparameterizations: the compressed weights.
        clock: int64 variable that is advanced by 1 at each step.
        total_steps: number of steps planned.
        rate_weight: loss per expected bit per weight; its gradient is shared out among the
            replicas.
        weights: number of weights of the model.

    Returns:
        The function that makes the optimizer a plain one again.
    """
    original = type(optimizer)
    penalized = [r for r in reparameterizations if overrides(r.compressor, "penalty")]
    charged = penalized and rate_weight != Constant(0.0)
    paced = _paced(reparameterizations)
    updated = [r for r in reparameterizations if overrides(r.compressor, "update")]

    def apply_gradients(self, grads_and_vars, *args, **kwargs):
        grads_and_vars = list(grads_and_vars)
        if charged:
            loss_per_bit = rate_weight(Step(tf.identity(clock), total_steps)) / weights
            grads_and_vars = _with_penalty(grads_and_vars, penalized, loss_per_bit)
        before = [tf.identity(v) for v, _ in paced]
        result = original.apply_gradients(self, grads_and_vars, *args, **kwargs)
        for (v, multiple), old in zip(paced, before, strict=True):
            v.assign(old + multiple * (v - old))
        clock.assign_add(1)
        gradients = {v.ref(): gradient for gradient, v in grads_and_vars}
        step = Step(tf.identity(clock), total_steps)
        for r in updated:
            current = r.read()
            after = r.compressor.update(current, r.info, step, _Gradients(r, gradients))
            r.assign(after, current)
        return result

    def detach():
        optimizer.__class__ = original

    swap_class(optimizer, {"apply_gradients": apply_gradients})
    return detach


def is_built(optimizer: Any) -> bool:
    """Whether an optimizer, or one that it wraps, has made its state for given variables."""
    wrapped = vars(optimizer).get("_optimizer")
    return vars(optimizer).get("_built", False) or (wrapped is not None and is_built(wrapped))


def expected_bits(reparameterizations: Sequence[Reparameterization]) -> tf.Tensor:
    """Sum of the penalties, a float32 scalar in bits; 0 where no algorithm has one."""
    terms = [r.penalty() for r in reparameterizations]
    return tf.add_n([tf.zeros([]), *(term for term in terms if term is not None)])


def _paced(
    reparameterizations: Sequence[Reparameterization],
) -> list[tuple[tf.Variable, float]]:
    """The params with learning rates of their own, each with its multiple of the optimizer's."""
    return [
        (r.params[name], multiple)
        for r in reparameterizations
        for name, multiple in r.compressor.learning_rates(r.info).items()
        if multiple != 1.0
    ]


def _with_penalty(
    grads_and_vars: list[tuple[tf.Tensor, tf.Variable]],
    reparameterizations: Sequence[Reparameterization],
    loss_per_bit: float | tf.Tensor,
) -> list[tuple[tf.Tensor, tf.Variable]]:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    params = [v for r in reparameterizations for v in r.trainable_variables]
    with tf.GradientTape() as tape:
        loss = expected_bits(reparameterizations) * (loss_per_bit / replicas)
    rate = {
        v.ref(): gradient
        for v, gradient in zip(params, tape.gradient(loss, params), strict=True)
        if gradient is not None
    }

    def total(gradient, v):
        if v.ref() not in rate:
            return gradient
        return rate[v.ref()] if gradient is None else gradient + rate[v.ref()]

    return [(total(gradient, v), v) for gradient, v in grads_and_vars]


class _Gradients(Mapping):
    """Gradients of one weight's params by name, reduced over the replicas only when read."""

    def __init__(self, reparameterization: Reparameterization, by_variable: Mapping):
        self._variables = {
            name: v
            for name, v in reparameterization.params.items()
            if by_variable.get(v.ref()) is not None
        }
        self._by_variable = by_variable

    def __getitem__(self, name: str) -> tf.Tensor:
        gradient = tf.convert_to_tensor(self._by_variable[self._variables[name].ref()])
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            gradient = context.all_reduce(tf.distribute.ReduceOp.SUM, gradient)
        # Where float16 overflows, loss scaling skips the optimizer's step.
        return tf.where(tf.math.is_finite(gradient), gradient, 0.0)

    def __iter__(self):
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)
