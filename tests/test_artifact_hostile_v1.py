"""Headers of version 1 that lie: every checksum is valid, and every file is refused."""

import copy
import json
import zlib

import numpy as np
import pytest
from artifact_forge import forge, forge_weight, frame, small
from hostile import (
    CHAIN,
    CODEBOOK,
    INDICES,
    LOSSLESS,
    LOW_RANK,
    MASK,
    MIB,
    PRUNING,
    QUANTIZATION,
    check_large_declared_model,
    decode,
    refused,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_artifact_format import GOLDEN

from kwc import artifact
from kwc.artifact import container
from kwc.compressor import CompressionError

pytestmark = pytest.mark.usefixtures("hang_guard")

ROW = ["weight", "float32", [3, 4], "packed", 2]
ENTRY = ["w", "float32", [3, 4], 0, [ROW]]
ZEROS = b"\0\0"


def header(entry=ENTRY, kind=LOSSLESS, **more):
    return {"algorithms": [kind], "weights": [entry]} | more


def entry(position, value):
    changed = copy.deepcopy(ENTRY)
    changed[position] = value
    return header(changed)


def row(position, value):
    changed = copy.deepcopy(ENTRY)
    changed[4][0][position] = value
    return header(changed)


def test_the_header_that_the_others_change_is_right():
    assert decode(forge(header(), ZEROS))["w"].tolist() == np.zeros((3, 4)).tolist()


WRONG = [None, True, -1, 1.5, 2**70, "", "x", [], [[]], {}, {"a": 1}]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("place", [entry, row])
@pytest.mark.parametrize("position", range(5))
def test_a_wrong_type_anywhere_is_refused(place, position, value):
    if (place, position) in [(entry, 0), (row, 0)] and value == "x":
        value = "x\n"  # A name may be any printable text.
    refused(forge(place(position, value), ZEROS), "evil.kwc")


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("key", ["algorithms", "weights", "metadata", "more"])
def test_a_wrong_type_at_the_top_is_refused(key, value):
    if key == "metadata" and isinstance(value, dict):
        assert artifact.from_bytes(forge(header(metadata=value), ZEROS)).metadata == value
    else:
        refused(forge(header(**{key: value}), ZEROS), "evil.kwc")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (entry(2, [2**40]), "integer from 0 to 1099511627775"),
        (entry(2, [2**20, 2**20]), "no shape: 32 axes and 2\\^40 elements"),
        (entry(2, [2**39, 2**39, 0]), "no shape"),
        (entry(2, [1] * 33), "no shape"),
        (entry(2, [-3, -4]), "-3 stands where an integer"),
        (entry(2, [3.0, 4]), "3.0 stands where an integer"),
        (entry(2, [2**33]), "would decode to .* more than max_bytes=.*Raise max_bytes"),
        (entry(0, "a\x1b[2J"), "no name: 1 to 1000 printable"),
        (entry(0, "\ud800"), "no name"),
        (entry(0, "x" * 1001), "no name"),
        (entry(1, "object"), "unsupported dtype 'object'"),
        (entry(3, 1), "integer from 0 to 0"),
        (row(2, [4, 4]), "w/weight has 16 elements, its weight 12"),
        (row(3, "pickle"), "no coder 'pickle', only raw"),
        (row(4, 3), "declares 3 bytes of arrays and the file holds 2"),
        (row(4, 2**63), "stands where an integer"),
        (header([*ENTRY, [2]]), "integer from 0 to 1"),
        (header([*ENTRY, [0, 0]]), "must name each axis"),
        (header([*ENTRY, [0], [1]]), "a list of 5 or 6 belongs"),
        (header(weights=[ENTRY, ENTRY]), "two weights are called w"),
        (header([*ENTRY[:4], [ROW, ROW]]), "two arrays of w are called weight"),
        (header([*ENTRY[:4], [ROW, ["mask", "bool", [3, 4], "raw", 0]]]), "not its first array"),
        (header(kind=["nonesuch", {}]), "No algorithm is called 'nonesuch'. Install .* There are "),
        (header(kind=["os.system", {"command": "id"}]), "No algorithm is called 'os.system'"),
        (header(kind=["quantization", {}]), "'quantization' cannot be built"),
        (header(kind=["quantization", {"bits": 4, "bitz": 4}]), "'quantization' cannot be built"),
        (header(kind=["quantization", {"self": 4}]), "'quantization' cannot be built"),
        (header(kind=["quantization", {"bits": "\x1b[2J"}]), "cannot be printed"),
        (header(kind=["quantization", [["bits", 4]]]), "where an object belongs"),
        (header(kind=["chain", {}]), "'chain' cannot be built"),
        (header(kind=["chain", {"links": []}]), "two or more"),
        (header(kind=["chain", {"links": "abc"}]), "'chain' cannot be built"),
        (header(kind=["chain", {"links": [5, 6]}]), "'chain' cannot be built"),
        (header(kind=["chain", {"links": [["chain", {}], LOSSLESS]}]), "'chain' cannot be built"),
        (header(kind=["chain", {"links": [[["x"], {}], LOSSLESS]}]), "'chain' cannot be built"),
        (header(kind=["chain", {"links": [["low_rank", {"rank": 1}]] * 60}]), "chains 60"),
    ],
)
def test_a_header_that_cannot_be_is_refused(changed, message):
    refused(forge(changed, ZEROS), message)


def test_a_header_that_is_no_object_or_no_json_is_refused():
    for text in ["", "[]", "null", "7", "{", '"x"', "NaN", "\ufeff{}", '{"algorithms":NaN}']:
        refused(forge(text), "its header cannot be")
    refused(forge(frame("{}") + b"x"), "no Zstandard frame")
    refused(forge(b"\xff" * 20), "no Zstandard frame")
    refused(forge(b""), "no Zstandard frame")
    data = forge(header(), ZEROS)
    refused(forge(data[8:20]), "no Zstandard frame")
    refused(forge('{"algorithms":' + "9" * 5000 + "}"), "its header cannot be")


def test_a_header_longer_than_its_file_is_refused():
    body = bytearray(forge(header(), ZEROS))[:-4]
    body[4:8] = b"\xff\xff\xff\xff"
    refused(bytes(body) + zlib.crc32(body).to_bytes(4, "little"), "the file is shorter than it")


def test_a_header_that_would_decompress_to_much_is_refused():
    refused(forge(frame(" " * (64 * MIB))), "would take 67108864 bytes")
    refused(forge(frame("{}", write_content_size=False)), "its header")
    liar = bytearray(frame(" " * (8 * MIB)))
    liar[2:6] = (1000).to_bytes(4, "little")
    refused(forge(bytes(liar)), "no Zstandard frame|cannot be")


@pytest.mark.parametrize("text", ["[]", "{}", '"a"', "1.5", "[[],[]]"])
def test_a_header_of_many_small_values_takes_bounded_memory(text):
    many = "[" + ",".join([text] * (container.MAX_HEADER_BYTES // (len(text) + 1) - 100)) + "]"
    changed = f'{{"algorithms":[],"weights":{many}}}'
    refused(forge(changed), "its header cannot be", most=200 * MIB)


@pytest.mark.parametrize("depth", [900, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth, brackets):
    deep = brackets[0] * depth + "1" + brackets[1] * depth
    refused(forge(f'{{"algorithms":[["lossless",{deep}]],"weights":[]}}'), "evil.kwc", 8 * MIB)
    refused(forge(f'{{"algorithms":{deep},"weights":[]}}'), "its header cannot be", 8 * MIB)


def test_deeply_nested_chains_are_refused():
    kind = LOSSLESS
    for _ in range(200):
        kind = ["chain", {"links": [kind, LOSSLESS]}]
    refused(forge(header(kind=kind), ZEROS), "evil.kwc", 8 * MIB)


def test_thousands_of_arrays_are_bounded_by_their_weight():
    rows = [[f"a{i}", "float32", [3, 4], "packed", 2] for i in range(5000)]
    refused(forge(header([*ENTRY[:4], rows]), ZEROS * 5000), "more than four times", 16 * MIB)
    rows = [[f"a{i}", "float32", [0], "raw", 0] for i in range(5000)]
    refused(forge(header([*ENTRY[:4], rows])), r"not those of lossless: KeyError", 16 * MIB)


@pytest.mark.parametrize(
    ("algorithm", "arrays", "message"),
    [
        (["low_rank", {"rank": 99}], {"u": small(3, 1), "v": small(1, 4)}, "rank=99"),
        (["low_rank", {"rank": "x"}], {"u": small(3, 1), "v": small(1, 4)}, "LowRank"),
        (["low_rank", {"rank": 1e308}], {"u": small(3, 1), "v": small(1, 4)}, "LowRank"),
        (["clustering", {"clusters": -1}], {"codebook": CODEBOOK, "indices": INDICES}, "clusters"),
        (["pruning", {"sparsity": [0.5]}], {"mask": MASK, "weight": small(3, 4)}, "Pruning"),
        (["quantization", {"bits": 99}], {"levels": INDICES, "scale": small(4)}, "bits=99"),
        (["quantization", {"bits": {}}], {"levels": INDICES, "scale": small(4)}, "Quantization"),
    ],
)
def test_hyperparameters_that_the_algorithm_does_not_take_are_refused(algorithm, arrays, message):
    refused(forge_weight(algorithm, arrays, version=1), message)


def test_a_large_declared_model_takes_nothing_until_it_is_decoded():
    """300 bytes may declare gigabytes of zeros; reading them is free and decoding is bounded."""
    many = [[f"w{i}", "float32", [1 << 28], 0, [["weight", "float32", [1 << 28], "packed", 2]]]
            for i in range(3)]  # fmt: skip
    data = forge({"algorithms": [LOSSLESS], "weights": many}, ZEROS * 3)
    check_large_declared_model(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["lossless", "chain", "mask", "weight", "float32", "raw", 2**40]),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.sampled_from(["links", "rank", "bits", "algorithms"]), children),
    max_leaves=12,
)  # fmt: skip

FUZZED = header(
    ["w", "float32", [3, 4], 1, [["mask", "bool", [3, 4], "raw", 12], ROW], [1]],
    algorithms=[LOSSLESS, CHAIN, PRUNING, LOW_RANK, QUANTIZATION],
)
FUZZED_PAYLOAD = MASK.tobytes() + ZEROS


def places(value, path=()):
    """The place of every value within a JSON value."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, child in value.items() if isinstance(value, dict) else ():
        yield from places(child, (*path, key))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    place=st.sampled_from(list(places(FUZZED))), value=json_values, payload=st.binary(max_size=9)
)
@example(place=("weights", 0, 3), value=2, payload=b"")
def test_a_header_changed_anywhere_is_refused_or_decodes_to_what_it_declares(place, value, payload):
    changed = {"": copy.deepcopy(FUZZED)}
    *path, last = ("", *place)
    container_ = changed
    for key in path:
        container_ = container_[key]
    container_[last] = value
    data = forge(json.dumps(changed[""]), payload or FUZZED_PAYLOAD)
    try:
        content = artifact.from_bytes(data)
        for weight in content.weights.values():
            assert weight.decompress().shape == weight.info.shape
    except CompressionError as error:
        assert len(str(error)) < 1500


GOLDEN_FILES = {path.stem: path.read_bytes() for path in (GOLDEN / "v1").glob("*.kwc")}


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    name=st.sampled_from(sorted(GOLDEN_FILES)),
    at=st.integers(8, 2**16),
    patch=st.binary(min_size=1, max_size=4),
)
def test_a_file_patched_anywhere_is_refused_or_decodes_to_what_it_declares(name, at, patch):
    body = bytearray(GOLDEN_FILES[name][:-4])
    at = 8 + (at - 8) % (len(body) - 8)
    body[at : at + len(patch)] = patch
    try:
        content = artifact.from_bytes(bytes(body) + zlib.crc32(body).to_bytes(4, "little"))
        for weight in content.weights.values():
            assert weight.decompress().shape == weight.info.shape
    except CompressionError as error:
        assert len(str(error)) < 1500
