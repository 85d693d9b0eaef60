"""docs/coding.md is enough to read a code: a decoder in plain Python, with none of our coders.

`coding_reader` is that decoder.
"""

import json

import numpy as np
import pytest
from coding_reader import DECODERS, decode_ans
from context_reader import decode_context
from hypothesis import given
from test_coding import GOLDEN, arrays, code_of, fast, golden_arrays, laplace

from kwc import coding
from kwc.coding import bits, frequencies
from kwc.coding.dtypes import to_patterns


@pytest.mark.parametrize("name", DECODERS)
def test_the_page_reads_the_golden_bytes(name):
    array = golden_arrays()[name]
    code = bytes.fromhex(json.loads(GOLDEN.read_text())[name])
    assert DECODERS[name](code, array.shape, array.itemsize) == to_patterns(array).tolist()


@pytest.mark.parametrize("name", ["raw", "packed", "ans", "floats", "context"])
@fast
@given(array=arrays())
def test_the_page_reads_what_we_write(name, array):
    code = code_of(name, array)
    if code is not None:
        assert DECODERS[name](code, array.shape, array.itemsize) == to_patterns(array).tolist()


@pytest.mark.parametrize("scale", [0.2, 1.0, 8.0, 300.0])
def test_the_page_reads_long_streams_of_skewed_and_of_large_alphabets(scale):
    array = laplace(5000, scale)
    code = coding.CODERS["ans"].encode(array)
    assert decode_ans(code, array.shape, 2) == to_patterns(array).tolist()


def test_the_page_writes_what_constriction_writes():
    """The writer of the page, run on the frequencies of a code, gives that code's very stream."""
    array = laplace(2000, 1.5)
    reader = bits.Reader(coding.CODERS["ans"].encode(array))
    minimum = reader.zigzag()
    table = frequencies.read_table(reader, array.size)
    frequency = table.frequencies().tolist()
    starts = np.cumsum([0, *frequency]).tolist()
    index = {minimum + symbol: i for i, symbol in enumerate(table.symbols.tolist())}
    state, words = 0, []
    for value in reversed(array.tolist()):
        i = index[value]
        if state >> 40 >= frequency[i]:
            words.append(state % 2**32)
            state >>= 32
        state = state // frequency[i] << 24 | starts[i] + state % frequency[i]
    words += [state % 2**32, state >> 32]
    stream = b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0")
    assert stream == bytes(reader.rest())


@pytest.mark.parametrize("scale", [0.1, 0.7, 5.0, 2000.0])
@pytest.mark.parametrize("shape", [(700,), (40, 25), (3, 3, 12, 10)])
def test_the_page_reads_contexts_of_every_fold(scale, shape):
    array = laplace(np.prod(shape), scale, np.int32).reshape(shape)
    code = coding.CODERS["context"].encode(array)
    assert decode_context(code, shape, 4) == to_patterns(array).tolist()
