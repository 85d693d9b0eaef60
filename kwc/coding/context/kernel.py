"""The loop over an array: the bits that a value is made of, and the contexts of each, compiled.

An array is scanned along three axes, the last one fastest. A value is coded as: is it not 0, is it
negative, is its magnitude above 1, above 2, ..., and beyond UNARY the rest as an Elias gamma code.
"""

import numba
import numpy as np

from kwc.coding.context import arithmetic
from kwc.coding.context.layout import (
    ABOVE_MORE,
    ABOVE_ONE,
    EXPONENTS,
    KINDS,
    MANTISSAS,
    MOST_EXPONENT,
    NEAR,
    NEGATIVE,
    NEIGHBOURS,
    PATTERN,
    SCALE,
    UNARY,
    UNUSED,
    WIDE,
    ZERO,
)
from kwc.coding.context.mixing import SOURCES, code_mixed, code_plain

_ROOM = 128
"""Bytes that no value can fill."""


@numba.njit(cache=True, inline="always")
def at(values, offset, inside):
    return np.int64(values[offset]) if inside else 0


@numba.njit(cache=True, inline="always")
def sign(value):
    return np.int64(value > 0) - np.int64(value < 0)


@numba.njit(cache=True, inline="always")
def low(value):
    """The magnitude, up to 2."""
    return min(abs(value), 2)


@numba.njit(cache=True, inline="always")
def log(value):
    """The number of binary digits."""
    digits = 0
    while value:
        value >>= 1
        digits += 1
    return digits


@numba.njit(cache=True, inline="always")
def neighbours(values, offset, place, sizes, strides, smooth):
    """Returns ten values that were coded before, 0 where there is none or the axis is not smooth.

    One and two steps back along each axis, the fastest first, and four diagonals.
    """
    i, j, k = place
    stride0, stride1, stride2 = strides
    in_row, in_column, in_stack = smooth > 2, smooth > 1 and j > 0, smooth > 0 and i > 0
    right, down = in_row and k + 1 < sizes[2], smooth > 1 and j + 1 < sizes[1]
    return (
        at(values, offset - stride2, in_row and k > 0),
        at(values, offset - 2 * stride2, in_row and k > 1),
        at(values, offset - stride1, in_column),
        at(values, offset - 2 * stride1, in_column and j > 1),
        at(values, offset - stride0, in_stack),
        at(values, offset - 2 * stride0, in_stack and i > 1),
        at(values, offset - stride1 - stride2, in_column and in_row and k > 0),
        at(values, offset - stride1 + stride2, in_column and right),
        at(values, offset - stride0 - stride1, in_stack and in_column),
        at(values, offset - stride0 + stride1, in_stack and down),
    )


@numba.njit(cache=True, inline="always")
def code_gamma(model, registers, stream, reading, number):
    """Codes a number from 1 to 65535 by its exponent in unary and its lower bits."""
    exponent = 0
    while exponent < MOST_EXPONENT:
        bit = np.int64(number >> exponent + 1 != 0)
        if not code_plain(model, registers, stream, reading, EXPONENTS + exponent, bit):
            break
        exponent += 1
    coded = 1
    for place in range(exponent - 1, -1, -1):
        node = coded if coded < 8 else 0
        bit = number >> place & 1
        slot = MANTISSAS + 8 * exponent + node
        coded = 2 * coded + code_plain(model, registers, stream, reading, slot, bit)
    return coded


@numba.njit(cache=True)
def code(
    values,
    stream,
    reading,
    sizes,
    strides,
    slices,
    has_negative,
    has_large,
    smooth,
    largest,
    used,
    columns,
    model,
):
    """Writes an array, or reads it.

    Args:
        values: int8, int16 or int32, the flat array, from which or into which is coded.
        stream: uint8, the code; when writing, room for some of it.
        reading: bool.
        sizes: three ints, the lengths of the axes in the order of the scan.
        strides: three ints, the distance of neighbours along these axes in `values`.
        slices: int64 [n, 4], see `layout.Scan.slices`.
        has_negative: bool, whether the sign of values is coded.
        has_large: bool, whether the magnitude of values is coded.
        smooth: 0 to 3, along how many axes neighbours are looked at, the slowest first.
        largest: the greatest value that fits.
        used: bool [n], the guide: whether row r is used, by r modulo n; empty for none.
        columns: the length of a row.
        model: a `mixing.Model`.

    Returns:
        The stream, the registers of the arithmetic coder, and whether all values fit. A reader
        stops where one does not, and where the stream is far too short.
    """
    registers = np.zeros(arithmetic.REGISTERS, np.int64)
    registers[arithmetic.RANGE] = arithmetic.TOP
    last = len(stream) + 4
    if reading:
        arithmetic.start_reading(registers, stream)
    slots = model.slots
    count = len(slices)
    guided = len(used) > 0
    first = 1 + NEIGHBOURS if smooth else 1
    first_large = 2 if smooth else 1
    places = np.zeros(SOURCES, np.int64)
    length0, length1, length2 = sizes
    stride0, stride1, stride2 = strides
    for i in range(length0):
        for j in range(length1):
            offset = i * stride0 + j * stride1 - stride2
            for k in range(length2):
                offset += stride2
                if reading:
                    if registers[arithmetic.POSITION] > last:
                        return stream, registers, True
                elif registers[arithmetic.POSITION] + _ROOM > len(stream):
                    longer = np.zeros(len(stream) + len(stream) // 8 + _ROOM, np.uint8)
                    longer[: len(stream)] = stream
                    stream = longer
                value = np.int64(values[offset])
                for n in range(count):
                    place = i * slices[n, 1] + j * slices[n, 2] + k * slices[n, 3]
                    places[n] = slices[n, 0] + KINDS * place
                left, left2, up, up2, back, back2, up_left, up_right, back_up, back_down = (
                    neighbours(values, offset, (i, j, k), sizes, strides, smooth)
                )
                around = low(left2) + low(up2) + low(back2) + low(up_left) + low(up_right)
                around += low(back_up) + low(back_down) + 2 * (low(left) + low(up) + low(back))
                marks = np.int64(up != 0) | np.int64(back != 0) << 1 | np.int64(up2 != 0) << 2
                marks |= np.int64(back2 != 0) << 3 | np.int64(back_up != 0) << 4
                marks |= np.int64(back_down != 0) << 5
                slots[0] = ZERO
                if guided and not used[offset // columns % len(used)]:
                    slots[0] = UNUSED
                slots[1] = NEAR + KINDS * (low(left) + 3 * low(up) + 9 * low(back))
                slots[2] = WIDE + KINDS * min(around, 15)
                slots[3] = PATTERN + KINDS * marks
                for n in range(count):
                    slots[first + n] = places[n]
                weights = SOURCES * np.int64(left != 0 or up != 0 or back != 0)
                bit = np.int64(value != 0)
                if not code_mixed(model, registers, stream, reading, first + count, weights, bit):
                    continue

                negative = 0
                if has_negative:
                    close = sign(left) + sign(up) + sign(back)
                    far = sign(up) + sign(back) + sign(up2) + sign(back2)
                    far += sign(back_up) + sign(back_down)
                    signs = sign(left) + 3 * sign(up) + 9 * sign(back)
                    slots[0] = NEGATIVE
                    slots[1] = NEAR + KINDS * (signs + 13) + NEGATIVE
                    slots[2] = WIDE + KINDS * (close + 3) + NEGATIVE
                    slots[3] = PATTERN + KINDS * (far + 6) + NEGATIVE
                    for n in range(count):
                        slots[first + n] = places[n] + NEGATIVE
                    bit = np.int64(value < 0)
                    weights = SOURCES * 2
                    negative = code_mixed(
                        model, registers, stream, reading, first + count, weights, bit
                    )

                magnitude = 1
                if has_large:
                    target = abs(value)
                    distant = abs(left2) + abs(up2) + abs(back2)
                    scale = log(min(abs(left) + abs(up) + abs(back) + (distant >> 1), 255))
                    while magnitude <= UNARY:
                        kind = ABOVE_ONE if magnitude == 1 else ABOVE_MORE
                        slots[0] = NEGATIVE + magnitude
                        slots[1] = SCALE + UNARY * scale + magnitude - 1
                        for n in range(count):
                            slots[first_large + n] = places[n] + kind
                        weights = SOURCES * (2 + min(magnitude, 3))
                        bit = np.int64(target > magnitude)
                        if not code_mixed(
                            model, registers, stream, reading, first_large + count, weights, bit
                        ):
                            break
                        magnitude += 1
                    if magnitude > UNARY:
                        rest = code_gamma(model, registers, stream, reading, target - UNARY)
                        magnitude = UNARY + rest
                if magnitude > largest + negative:
                    return stream, registers, False
                if reading:
                    values[offset] = -magnitude if negative else magnitude
    if not reading:
        arithmetic.finish(registers, stream)
    return stream, registers, True
