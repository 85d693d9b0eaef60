"""A binary arithmetic coder with 32-bit registers, compiled.

The state of a coder is an int64 array of LOW, RANGE, POSITION and CODE. The writer keeps the
interval [LOW, LOW + RANGE), the reader RANGE and CODE, its stream's distance from LOW. A reader
sees zeros behind the last byte, and counts them in POSITION.
"""

import numba
import numpy as np

LOW, RANGE, POSITION, CODE = range(4)
REGISTERS = 4

TOP = 1 << 32
BOTTOM = 1 << 24


@numba.njit(cache=True)
def write_bit(registers, stream, probability, bit):
    """Narrows the interval by a bit that is 1 with this probability; 65536 stands for 1."""
    bound = registers[RANGE] * probability >> 16
    if bit:
        registers[RANGE] = bound
    else:
        registers[LOW] += bound
        registers[RANGE] -= bound
        if registers[LOW] >= TOP:
            registers[LOW] -= TOP
            carry(registers, stream)
    while registers[RANGE] < BOTTOM:
        registers[RANGE] <<= 8
        stream[registers[POSITION]] = registers[LOW] >> 24
        registers[POSITION] += 1
        registers[LOW] = (registers[LOW] & 0xFFFFFF) << 8


@numba.njit(cache=True)
def carry(registers, stream):
    """Adds 1 to the bytes that were written."""
    position = registers[POSITION] - 1
    while stream[position] == 255:
        stream[position] = 0
        position -= 1
    stream[position] += 1


@numba.njit(cache=True)
def finish(registers, stream):
    """Writes the fewest bytes that lie in the interval, and of these the smallest."""
    low, end = registers[LOW], registers[LOW] + registers[RANGE]
    for count in range(5):
        unit = 1 << 8 * (4 - count)
        value = (low + unit - 1) // unit * unit
        if value < end:
            break
    if value >= TOP:
        value -= TOP
        carry(registers, stream)
    for index in range(count):
        stream[registers[POSITION]] = value >> 8 * (3 - index) & 255
        registers[POSITION] += 1


@numba.njit(cache=True)
def start_reading(registers, stream):
    """Fills CODE with the first four bytes."""
    for _ in range(4):
        registers[CODE] = registers[CODE] << 8 | next_byte(registers, stream)


@numba.njit(cache=True)
def read_bit(registers, stream, probability):
    """Inverts `write_bit`, returning the bit."""
    width = registers[RANGE]
    bound = width * probability >> 16
    code = registers[CODE]
    bit = np.int64(code < bound)
    rest = width - bound
    width = rest + (bound - rest) * bit
    code -= bound * (1 - bit)
    while width < BOTTOM:
        width <<= 8
        code = code << 8 | next_byte(registers, stream)
    registers[RANGE] = width
    registers[CODE] = code
    return bit


@numba.njit(cache=True)
def next_byte(registers, stream):
    """Returns the byte at POSITION, 0 behind the end, and moves on."""
    position = registers[POSITION]
    registers[POSITION] += 1
    return stream[position] if position < len(stream) else 0
