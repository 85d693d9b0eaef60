"""Adaptive probabilities and their mixing, compiled, in integers alone.

A *state* is an adaptive probability that a bit is 1: 22 bits of probability above 10 bits that
count how often it adapted. A bit is predicted by the states of all its contexts, and a small online
logistic regression mixes these: their stretches are weighted and summed, and the sum is squashed.
"""

from typing import NamedTuple

import numba
import numpy as np

from kwc.coding.context.arithmetic import read_bit, write_bit
from kwc.coding.context.tables import LIMIT

COUNT_BITS = 10
COUNT_MASK = (1 << COUNT_BITS) - 1
PROBABILITY_BITS = 22
SOURCES = 10
"""The most predictions that are mixed."""


class Model(NamedTuple):
    """What predicts bits, and learns from them.

    Attributes:
        states: uint32, the states of all contexts.
        weights: int64, 65536ths; SOURCES for each set of weights.
        slots: int64 [SOURCES], positions in `states` of the current bit's contexts.
        stretches: int64 [SOURCES], room for the current predictions.
        squash: see `Tables`.
        stretch: see `Tables`.
        rates: see `Tables`.
        limit: the count at which a state's rate stays.
        step: the learning rate of the weights.
    """

    states: np.ndarray
    weights: np.ndarray
    slots: np.ndarray
    stretches: np.ndarray
    squash: np.ndarray
    stretch: np.ndarray
    rates: np.ndarray
    limit: int
    step: int


# Inlined, these make the loop four times as fast: a call would pass every array by its parts.


@numba.njit(cache=True, inline="always")
def transfer(registers, stream, reading, probability, bit):
    """Reads a bit, or writes the given one; returns it."""
    if reading:
        return read_bit(registers, stream, probability)
    write_bit(registers, stream, probability, bit)
    return bit


@numba.njit(cache=True, inline="always")
def adapt(model, slot, bit):
    """Moves a state towards the bit, by less each time."""
    state = np.int64(model.states[slot])
    count = state & COUNT_MASK
    probability = state >> COUNT_BITS
    probability += (((bit << PROBABILITY_BITS) - probability) * model.rates[count]) >> 16
    count += np.int64(count < model.limit)
    model.states[slot] = probability << COUNT_BITS | count


@numba.njit(cache=True, inline="always")
def code_plain(model, registers, stream, reading, slot, bit):
    """Codes a bit by a single state."""
    probability = min(max(np.int64(model.states[slot]) >> 16, 32), 65504)
    bit = transfer(registers, stream, reading, probability, bit)
    adapt(model, slot, bit)
    return bit


@numba.njit(cache=True, inline="always")
def code_mixed(model, registers, stream, reading, sources, first_weight, bit):
    """Codes a bit by a mixture of the states in the first `sources` slots.

    A state that never adapted begins with the probability of the first one.
    """
    parent = np.int64(model.states[model.slots[0]]) >> COUNT_BITS << COUNT_BITS
    total = 0
    for source in range(sources):
        state = np.int64(model.states[model.slots[source]])
        if source and state & COUNT_MASK == 0:
            state = parent
            model.states[model.slots[source]] = state
        stretched = np.int64(model.stretch[state >> 16])
        model.stretches[source] = stretched
        total += model.weights[first_weight + source] * stretched
    mixed = min(max(total >> 16, -LIMIT), LIMIT)
    probability = np.int64(model.squash[mixed + LIMIT])
    bit = transfer(registers, stream, reading, probability, bit)
    error = ((bit << 16) - probability) * model.step
    for source in range(sources):
        model.weights[first_weight + source] += (model.stretches[source] * error + (1 << 19)) >> 20
        adapt(model, model.slots[source], bit)
    return bit
