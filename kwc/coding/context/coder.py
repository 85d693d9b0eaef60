"""Runs the compiled loop: values and a header to a stream, and back."""

import numpy as np

from kwc.coding.context import arithmetic
from kwc.coding.context.header import SETTINGS, Header
from kwc.coding.context.kernel import code
from kwc.coding.context.layout import NEAR, NEIGHBOURS, NO_GUIDE, UNUSED, ZERO
from kwc.coding.context.mixing import SOURCES, Model
from kwc.coding.context.tables import LIMIT, ONE, tables
from kwc.coding.errors import CodingError

_VALUE_SETS, _LARGE_SETS = 3, 3
"""Sets of weights for the bits that are of no magnitude, and for those of one."""

_ALONE = (6554, 0, 65536)
_BESIDE = (3277, 8520, 32768)
"""First weights without and with neighbours: of the plain state, of each context of neighbours, and
of all slices together."""

_PRIOR_STEP, _LEAST_PRIOR = 160, -1920


def prior(fraction: float) -> int:
    """Returns the header's `prior` that is nearest to a probability."""
    fraction = min(max(fraction, 1 / ONE), 1 - 1 / ONE)
    stretch = 256 * np.log(fraction / (1 - fraction))
    return int(np.clip(np.rint((stretch - _LEAST_PRIOR) / _PRIOR_STEP), 0, 15))


def write(
    values: np.ndarray, header: Header, shape: tuple[int, ...], used: np.ndarray = NO_GUIDE
) -> memoryview:
    """Returns the stream, without the header.

    Args:
        values: flat, of a signed dtype.
        header: what is written in front of it.
        shape: of the array.
        used: the guide, see `kwc.coding.context.Guided`.
    """
    room = np.zeros(1024, np.uint8)
    stream, registers, _ = _run(values, room, False, header, shape, used)
    return stream[: registers[arithmetic.POSITION]].data


def read(
    stream: bytes,
    header: Header,
    shape: tuple[int, ...],
    values: np.ndarray,
    used: np.ndarray = NO_GUIDE,
) -> None:
    """Inverts `write`.

    Args:
        stream: what was written.
        header: what was written in front of it.
        shape: of the array.
        values: flat zeros of a signed dtype; overwritten.
        used: as it was given to `write`.

    Raises:
        CodingError: if the stream ends early, is longer than its array, is not the shortest, or
            holds a value that does not fit.
    """
    room = np.frombuffer(stream, np.uint8).copy()
    _, registers, fits = _run(values, room, True, header, shape, used)
    if not fits:
        raise CodingError(f"corrupt data: a value does not fit {values.dtype.name}")
    _check_end(registers, stream)


def _weights(slices: int, has_neighbours: bool) -> np.ndarray:
    """Returns the first weights of all sets, flat."""
    plain, neighbour, together = _BESIDE if has_neighbours else _ALONE
    if not slices:
        plain += together
    sets = np.full((_VALUE_SETS + _LARGE_SETS, SOURCES), together // max(slices, 1), np.int64)
    sets[:, 0] = plain
    if has_neighbours:
        sets[:_VALUE_SETS, 1 : 1 + NEIGHBOURS] = neighbour
        sets[_VALUE_SETS:, 1] = neighbour
    return sets.reshape(-1)


def _check_end(registers: np.ndarray, stream: bytes) -> None:
    """Refuses a stream unless `arithmetic.finish` would have written its last bytes."""
    _, width, position, above = (int(register) for register in registers)
    flushed = len(stream) - (position - 4)
    if flushed < 0:
        raise CodingError("truncated data: a context code ends before its array")
    if flushed > 4:
        raise CodingError(f"over-long data: {flushed - 4} bytes or more left over")
    window = int.from_bytes((stream[max(position - 4, 0) :] + bytes(4))[:4], "big")
    low = window - above
    unit = 1 << 8 * (4 - flushed)
    shorter = flushed and -(-low // (unit << 8)) * (unit << 8) < low + width
    if above >= unit or shorter:
        raise CodingError("corrupt data: a context code does not end with its array")


def _run(values, stream, reading, header, shape, used):
    scan = header.scan(shape)
    slices, end = scan.slices()
    # Only states without context begin with a probability of their own. The others stay untouched,
    # and so take no memory, until they are used.
    states = np.zeros(end, np.uint32)
    states[:NEAR] = ONE // 2 << 16
    found = tables()
    prior_state = int(found.squash[LIMIT + _LEAST_PRIOR + _PRIOR_STEP * header.prior]) << 16
    states[ZERO] = states[UNUSED] = prior_state
    limit, step = SETTINGS[header.settings]
    model = Model(
        states=states,
        weights=_weights(len(slices), header.smooth > 0),
        slots=np.zeros(SOURCES, np.int64),
        stretches=np.zeros(SOURCES, np.int64),
        squash=found.squash,
        stretch=found.stretch,
        rates=found.rates,
        limit=limit,
        step=step,
    )
    return code(
        values,
        stream,
        reading,
        scan.sizes,
        scan.strides,
        slices,
        header.has_negative,
        header.has_large,
        header.smooth,
        np.iinfo(values.dtype).max,
        used,
        shape[-1] if shape else 1,
        model,
    )
