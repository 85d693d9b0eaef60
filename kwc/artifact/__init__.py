"""The `.kwc` file: named, entropy-coded arrays for each weight of a model.

`docs/format.md` describes every byte. Reading needs NumPy, constriction and zstandard only,
executes nothing that the file says, checks every size before it allocates, and decodes a weight
when it is asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kwc import algorithms, coding
from kwc.artifact import container, header
from kwc.artifact.container import MAGIC, VERSION
from kwc.artifact.errors import ArtifactError, short
from kwc.artifact.weights import CodedArray, CodedWeight, PackedWeight, code, pack
from kwc.compressor import Chain, WeightCompressor
from kwc.files import write_atomically

__all__ = [
    "MAGIC",
    "MAX_BYTES",
    "SUFFIX",
    "VERSION",
    "Artifact",
    "ArtifactError",
    "CodedWeight",
    "PackedWeight",
    "Sizes",
    "from_bytes",
    "pack",
    "read",
    "to_bytes",
    "write",
]

SUFFIX = ".kwc"
MAX_BYTES = 4 << 30
"""The most bytes that a file may decode to when no model bounds it."""

_MAX_LINKS = 8  # The arrays of a chain may double with each.


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Lengths of a file, in bytes: all of it, its arrays, and the rest, which is its header."""

    file_bytes: int
    payload_bytes: int
    header_bytes: int


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The content of a `.kwc` file.

    Attributes:
        weights: every weight of the model by path, in the model's order.
        sizes: lengths of the file and its parts.
        metadata: JSON values that the writer added; empty by default.
    """

    weights: dict[str, CodedWeight]
    sizes: Sizes
    metadata: Mapping[str, Any]


def write(
    path: str | os.PathLike, weights: Sequence[PackedWeight], metadata: Mapping | None = None
) -> Artifact:
    """Writes a file, whole or not at all, and returns its content.

    Equal input gives equal bytes.

    Raises:
        CompressionError: a reader would refuse it: weights of one path, names that cannot be
            printed, metadata or hyperparameters that are no JSON values.
        OSError: the file cannot be written; an existing one is left as it was.
    """
    data, written = to_bytes(weights, metadata or {}, str(path))
    write_atomically(path, data)
    return written


def to_bytes(
    weights: Sequence[PackedWeight], metadata: Mapping, name: str = "The artifact"
) -> tuple[bytes, Artifact]:
    """Returns the bytes of a file, and its content; `name` is what errors call it."""
    coded = [code(weight, name) for weight in weights]
    codes = [array.code for weight in coded for array in weight.coded]
    data = container.seal(header.dump(coded, metadata), codes)
    by_path = {weight.info.path: weight for weight in coded}
    return data, Artifact(by_path, _sizes(data, [len(c) for c in codes]), dict(metadata))


def read(
    path: str | os.PathLike,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Artifact:
    """Reads and checks a file; its arrays are decoded later, weight by weight.

    Args:
        path: the file.
        expected: shape of each weight of the model that the file shall fill.
        max_bytes: the most bytes that all decoded weights and the arrays of any one may take; where
            there are expected shapes, they are the bound.

    Raises:
        ArtifactError: no artifact, another version, damaged, forged, for another model, or larger
            than `max_bytes`. The message says which.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        container.check_start(file.read(len(MAGIC) + 1), str(path))
        file.seek(0)
        return from_bytes(file.read(), expected, max_bytes, str(path))


def from_bytes(
    data: bytes,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = MAX_BYTES,
    name: str = "The artifact",
) -> Artifact:
    """Does what `read` does, from bytes; `name` is what errors call them."""
    text, payload = container.unseal(data, name)
    try:
        declared = header.parse(text)
    except ValueError as error:
        raise ArtifactError(
            f"{name} is forged: its header cannot be: {error}. Do not use it."
        ) from error
    lengths = [array.nbytes for entry in declared.weights for array in entry.arrays]
    if sum(lengths) != len(payload):
        raise ArtifactError(
            f"{name} is forged: it declares {sum(lengths)} bytes of arrays and holds "
            f"{len(payload)}. Do not use it."
        )
    if expected is not None:
        _check_fits({e.info.path: e.info.shape for e in declared.weights}, expected, name)
    compressors = [_compressor(*kind, name) for kind in declared.algorithms]
    weights, codes = {}, _split(payload, lengths)
    for entry in declared.weights:
        coded = tuple(
            CodedArray(array.name, array.dtype, array.shape, array.coder, next(codes))
            for array in entry.arrays
        )
        compressor = compressors[entry.algorithm]
        weights[entry.info.path] = CodedWeight(entry.info, compressor, coded, name)
    if expected is None:
        _check_room(weights.values(), max_bytes, name)
    return Artifact(weights, _sizes(data, lengths), declared.metadata)


def _split(payload: memoryview, lengths: Sequence[int]) -> Iterator[memoryview]:
    for end, length in zip(itertools.accumulate(lengths), lengths, strict=True):
        yield payload[end - length : end]


def _sizes(data: bytes, lengths: Sequence[int]) -> Sizes:
    payload = sum(lengths)
    return Sizes(len(data), payload, len(data) - payload)


def _compressor(kind: str, config: Mapping[str, Any], name: str) -> WeightCompressor:
    try:
        compressor = algorithms.by_name(kind, config)
        many = _count_links(compressor)
    # The package that has the algorithm may fail in any way while it is imported.
    except Exception as error:
        raise ArtifactError(
            f"{name} cannot be decoded: {type(error).__name__}: {short(error)}"
        ) from error
    if many > _MAX_LINKS:
        raise ArtifactError(
            f"{name} is forged: it chains {many} algorithms, and {_MAX_LINKS} is the most. Do not "
            "use it."
        )
    return compressor


def _count_links(compressor: WeightCompressor) -> int:
    if not isinstance(compressor, Chain):
        return 1
    return sum(map(_count_links, compressor.links))


def _check_room(weights: Collection[CodedWeight], max_bytes: int, name: str) -> None:
    dense = sum(w.info.size * coding.dtype_from_name(w.info.dtype).itemsize for w in weights)
    needed = dense + max((weight.decoded_bytes for weight in weights), default=0)
    if needed > max_bytes:
        raise ArtifactError(
            f"{name} would decode to {needed} bytes, more than max_bytes={max_bytes}. Raise "
            "max_bytes if you trust the file."
        )


def _check_fits(
    declared: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], name: str
) -> None:
    wrong = [
        f"{path} has shape {declared[path]} in the file and {shape} in the model"
        for path, shape in expected.items()
        if path in declared and declared[path] != shape
    ]
    wrong += [f"{path} is not in the file" for path in expected if path not in declared]
    wrong += [f"{path} is not in the model" for path in declared if path not in expected]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ArtifactError(
            f"{name} is for another model: {'; '.join(wrong[:5])}{more}. Build the architecture "
            "that the artifact was written from."
        )
