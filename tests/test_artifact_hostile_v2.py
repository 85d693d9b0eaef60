"""Headers that lie: each file has a valid checksum and is refused with one clear error."""

import numpy as np
import pytest
from artifact_forge import flat, forge_v2, frame, sealed, varint, word
from hostile import MIB, check_large_declared_model, decode, refused

from kwc import artifact
from kwc.artifact import container, header

pytestmark = pytest.mark.usefixtures("hang_guard")

ZEROS = b"\0\0"
FLOAT32, INT8, BOOL = 11, 1, 0
PARTS = {
    "coders": [1, word("packed")],
    "algorithms": [1, 1, word("lossless"), 0],
    "layouts": [1, 0, FLOAT32, 1, 1, word("weight"), FLOAT32],
    "paths": [1, 1, word("w")],
    "shapes": [3, 3, 4],
    "open": [],
    "codes": [0],
    "metadata": b"",
}


def evil(payload=ZEROS, **parts):
    """A file of one weight `w` of 3 x 4 zeros, but for these parts of its header."""
    assert parts.keys() <= PARTS.keys()
    return forge_v2(list((PARTS | parts).values()), payload)


def layout(*arrays, algorithm=0, dtype=FLOAT32):
    return [1, algorithm, dtype, len(arrays), *arrays]


def array(name="weight", dtype=FLOAT32):
    return [1, word(name), dtype]


def chain(links, name="lossless", config=""):
    return [1, links, [[word(name), len(config), config.encode()]] * links]


def test_the_header_that_the_others_change_is_right():
    assert decode(evil())["w"].tolist() == np.zeros((3, 4)).tolist()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"coders": [1, word("pickle")]}, "no coder 'pickle', only raw"),
        ({"coders": [0], "codes": []}, "arrays and no coders"),
        ({"coders": [1 << 18]}, "more than 131072 things"),
        ({"coders": [1 << 41]}, "stands where an integer"),
        ({"coders": [1, 3 * 500]}, "there is no word 500, only"),
        ({"coders": [1, b"\0\2\xff\xff"]}, "can't decode byte 0xff"),
        ({"coders": [1, word("two\nlines")]}, "no name: 1 to 1000 printable"),
        ({"coders": [1, word("")]}, "no name"),
        ({"algorithms": [0]}, "integer from 0 to -1"),
        ({"algorithms": [1, 0]}, "has no links"),
        ({"algorithms": [1, 1 << 18]}, "more than 131072 things"),
        ({"algorithms": chain(9)}, "chains 9 algorithms, and 8 is the most"),
        (
            {"algorithms": chain(1, "nonesuch")},
            "No algorithm is called 'nonesuch'. Install .* There are ",
        ),
        ({"algorithms": chain(1, "os.system", '{"command":"id"}')}, "No algorithm is called 'os.s"),
        ({"algorithms": chain(1, "quantization", '{"bitz":4}')}, "'quantization' cannot be built"),
        ({"algorithms": chain(1, "quantization", '{"self":4}')}, "'quantization' cannot be built"),
        ({"algorithms": chain(2, "chain")}, "'chain' cannot be built"),
        ({"algorithms": chain(1, "pruning", '{"sparsity":"\x1b"}')}, "its header cannot be"),
        ({"algorithms": chain(1, "pruning", '{"sparsity":"\\u001b"}')}, "cannot be printed"),
        ({"algorithms": chain(1, "pruning", "[]")}, "where an object belongs"),
        ({"algorithms": chain(1, "pruning", '{"sparsity":NaN}')}, "NaN is no JSON number"),
        ({"algorithms": chain(1, "pruning", "{")}, "its header cannot be"),
        ({"algorithms": chain(1, "pruning", "[" * 9999)}, "nested too deeply"),
        ({"algorithms": [1, 1, word("lossless"), 1 << 30]}, "truncated data"),
        ({"layouts": [0]}, "weights and no layouts"),
        ({"layouts": layout(array(), algorithm=1)}, "integer from 0 to 0"),
        ({"layouts": layout(array(), dtype=13)}, "integer from 0 to 12"),
        ({"layouts": layout([1, word("weight"), 15])}, "integer from 0 to 12"),
        ({"layouts": layout(array(), dtype=[32 + FLOAT32, 2])}, "must name each axis"),
        ({"layouts": layout(array(), dtype=[48 + FLOAT32, 0, 0])}, "must name each axis"),
        ({"layouts": layout([16, word("a") * 16, FLOAT32])}, "a name has 16 segments"),
        ({"layouts": layout([0, FLOAT32])}, "no name"),
        (
            {"layouts": layout(array(), array()), "codes": [2, 0]},
            "two arrays of w are called weight",
        ),
        (
            {"layouts": layout(array(), array("mask", BOOL)), "codes": [2, 0]},
            "mask of w is not its first array",
        ),
        ({"layouts": layout([1, word("weight"), 32 + FLOAT32, 3 + 13])}, "13 elements, its weight"),
        ({"layouts": layout([1, word("weight"), 32 + FLOAT32, 3 + 2**39])}, "elements, its weight"),
        ({"layouts": layout([1, word("weight"), 32 + FLOAT32, 2**40])}, "stands where an integer"),
        (
            {"layouts": layout([1, word("weight"), 32 + FLOAT32, 0]), "open": [13]},
            "13 elements, its weight 12",
        ),
        (
            {"layouts": layout([1, word("weight"), 34 * 16 + FLOAT32, [4] * 33])},
            "no shape: 32 axes",
        ),
        ({"layouts": layout(*(array(f"a{i}") for i in range(5))), "codes": [0] * 5}, "four times"),
        ({"layouts": layout(*(array(f"a{i}") for i in range(5)))}, "truncated data"),
        ({"paths": [1, 0]}, "no name"),
        ({"paths": [1, 16 + 1, word("w")]}, "drops 1 of the 0 segments before it"),
        ({"paths": [1, 1, word("x" * 1001)]}, "no name: 1 to 1000"),
        ({"paths": [1, 2, word("x" * 600), word("y" * 600)]}, "no name: 1 to 1000"),
        ({"paths": [1, 1, word("a\x1b[2J")]}, "no name: 1 to 1000 printable"),
        ({"paths": [2, 15, [word("a")] * 15, 1, word("b")]}, "a path has 16 segments, and 15"),
        ({"paths": [2, 1, word("w"), 0], "shapes": [3, 3, 4] * 2, "codes": [2, 0]}, "two weights"),
        ({"paths": [1 << 18]}, "more than 131072 things"),
        ({"shapes": [0]}, "last axis of a weight without axes"),
        ({"shapes": [2, 1 << 40]}, "stands where an integer"),
        ({"shapes": [3, 1 << 20, 1 << 20]}, "no shape: 32 axes and 2\\^40 elements at most"),
        ({"shapes": [4, 0, 1 << 39, 1 << 39]}, "no shape"),
        ({"shapes": [34, [1] * 33]}, "no shape"),
        ({"shapes": [2, 1 << 33]}, "would decode to .* more than max_bytes=.*Raise max_bytes"),
        ({"codes": [3]}, "declares 3 bytes of arrays but for the last, and the file holds 2"),
        ({"codes": [varint(1 << 62)]}, "bytes of arrays but for the last"),
        ({"codes": [b"\xff" * 11]}, "a varint is longer"),
        ({"codes": []}, "truncated data"),
        ({"metadata": b"[]"}, "where an object belongs"),
        ({"metadata": b"\0"}, "its header cannot be"),
        ({"metadata": b'{"a":Infinity}'}, "Infinity is no JSON number"),
        ({"metadata": b'{"a":' * 9999}, "nested too deeply"),
        ({"metadata": b"\xff"}, "its header cannot be"),
        ({"metadata": b"\xef\xbb\xbf{}"}, "its header cannot be"),
        ({"payload": b""}, "w/weight: truncated"),
        ({"payload": bytes(3)}, "w/weight: over-long"),
    ],
)
def test_a_header_that_cannot_be_is_refused(parts, message):
    refused(evil(**parts), message)


def test_bytes_of_no_array_are_refused():
    refused(forge_v2([0, 0, 0, 0], b"x"), "declares 0 bytes of arrays .* the file holds 1")
    assert decode(forge_v2([0, 0, 0, 0])) == {}


def test_a_header_cut_anywhere_is_refused():
    data = flat(list(PARTS.values()))
    for length in range(len(data)):
        refused(forge_v2(data[:length], ZEROS), "its header cannot be")


def test_a_header_longer_than_its_file_is_refused():
    refused(sealed(varint(2 * 100)[::-1], 2), "the file is shorter than it")
    refused(sealed(b"", 2), "truncated data")
    refused(sealed(b"\xff" * 12, 2), "truncated data")
    refused(sealed(b"\x80" * 12, 2), "its header cannot be")


def test_a_header_that_would_take_much_is_refused():
    refused(forge_v2(frame(" " * (64 * MIB)), compressed=True), "would take 67108864 bytes")
    refused(forge_v2(frame("{}", write_content_size=False), compressed=True), "its header")
    refused(forge_v2(bytes(3 * MIB)), "would take 3145728 bytes")
    refused(forge_v2(b"\xff" * 20, compressed=True), "no Zstandard frame")
    refused(forge_v2(frame("{}") + b"x", compressed=True), "no Zstandard frame")
    liar = bytearray(frame(" " * (8 * MIB)))
    liar[2:6] = (1000).to_bytes(4, "little")
    refused(forge_v2(bytes(liar), compressed=True), "no Zstandard frame|cannot be")


def test_a_header_takes_what_it_decompresses_to_not_what_its_frame_declares():
    cut = frame(" " * container.MAX_HEADER_BYTES)[:12]
    refused(forge_v2(cut, compressed=True), "no Zstandard frame", most=MIB // 4)


MANY = header.MAX_ITEMS


@pytest.mark.parametrize(
    "parts",
    [
        {"coders": [MANY, [word("raw")] * MANY]},
        {"algorithms": [MANY // 2, [1, word("lossless"), 0] * (MANY // 2)]},
        {"algorithms": [1, MANY - 9, [word("a"), 0] * (MANY - 9)]},
        {"layouts": [MANY - 9, [0, FLOAT32, 0] * (MANY - 9)]},
        {"layouts": [1, 0, FLOAT32, MANY - 9, [1, word("a"), FLOAT32] * (MANY - 9)]},
        {"paths": [MANY - 9, [17, word("a")] * (MANY - 9)]},
        {"paths": [3000, [1, word("x" * 999)] + [16 + 1, 3] * 2999]},
        {"layouts": [1, 0, FLOAT32, 3000, [1, word("x" * 500)] * 3000]},
    ],
)
def test_a_header_of_many_small_things_takes_bounded_memory(parts):
    data = flat(list((PARTS | parts).values()))
    refused(forge_v2(frame(data), ZEROS, compressed=True), "evil.kwc", most=128 * MIB)


def test_short_paths_of_long_words_are_bounded():
    """Two bytes may repeat a path of 1000 characters."""
    many = [2, word("x" * 990), word("a"), [[16 + 1, word(f"b{i}")] for i in range(9999)]]
    data = flat(list((PARTS | {"paths": [10000, many]}).values()))
    refused(forge_v2(frame(data), ZEROS, compressed=True), "too long in all", most=16 * MIB)


def test_a_large_declared_model_takes_nothing_until_it_is_decoded():
    """100 bytes may declare gigabytes of zeros; reading them is free and decoding is bounded."""
    parts = {
        "paths": [3, [[16 * bool(i) + 1, word(f"w{i}")] for i in range(3)]],
        "shapes": [[2, 1 << 28] * 3],
        "codes": [2, 2, 0],
    }
    data = evil(ZEROS * 3, **parts)
    check_large_declared_model(data)


def test_the_longest_header_is_read():
    assert container.MAX_HEADER_BYTES >= 2 * MIB
    text = b'{"a":"' + b"x" * (container.MAX_HEADER_BYTES - 60) + b'"}'
    data = evil(metadata=text)
    assert len(artifact.from_bytes(data).metadata["a"]) == container.MAX_HEADER_BYTES - 60
