"""The `.kwc` file: named, entropy-coded arrays for each weight of a model.

`docs/format.md` describes every byte. Reading needs NumPy, constriction and zstandard only,
executes nothing that the file says, checks every size before it allocates, and decodes a weight
when it is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from kwc import algorithms, coding, files
from kwc.artifact import container, header
from kwc.artifact.container import MAGIC, VERSION
from kwc.artifact.declared import DeclaredWeight, Header
from kwc.artifact.errors import ArtifactError, short
from kwc.artifact.weights import (
    CodedArray,
    CodedWeight,
    PackedWeight,
    Writer,
    guides,
    mask_shape,
    pack,
)
from kwc.compressor import Chain, CompressionError, WeightCompressor, WeightInfo

__all__ = [
    "DEFAULT_PRESET",
    "MAGIC",
    "MAX_BYTES",
    "SUFFIX",
    "VERSION",
    "Artifact",
    "ArtifactError",
    "CodedWeight",
    "PackedWeight",
    "Sizes",
    "Written",
    "check_preset",
    "from_bytes",
    "opened",
    "pack",
    "read",
    "to_bytes",
    "write",
]

SUFFIX = ".kwc"
DEFAULT_PRESET = "small"
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
class Written:
    """What was written.

    Attributes:
        sizes: lengths of the file and its parts.
        nbytes: bytes of each array by its name, by weight path.
    """

    sizes: Sizes
    nbytes: dict[str, dict[str, int]]


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
    path: str | os.PathLike,
    weights: Iterable[PackedWeight | CodedWeight],
    metadata: Mapping | None = None,
    preset: str = DEFAULT_PRESET,
) -> Written:
    """Writes a file, whole or not at all; of the weights, it holds one at a time.

    Equal input gives equal bytes.

    Args:
        path: the file.
        weights: every weight, in the model's order; those of another file keep their codes.
        metadata: JSON values to keep in the file's header.
        preset: how hard coders try, a name in `kwc.coding.PRESETS`; a reader needs not know.

    Raises:
        CompressionError: a reader would refuse it: weights of one path, names that cannot be
            printed, metadata or hyperparameters that are no JSON values. Or there is no such
            preset.
        OSError: the file cannot be written; an existing one is left as it was.
    """
    check_preset(preset)
    with files.writing(path) as file:
        return _write(file, weights, metadata or {}, preset)


def to_bytes(
    weights: Iterable[PackedWeight | CodedWeight],
    metadata: Mapping | None = None,
    preset: str = DEFAULT_PRESET,
) -> bytes:
    """Returns the bytes of a file; otherwise as `write`."""
    check_preset(preset)
    file = io.BytesIO()
    _write(file, weights, metadata or {}, preset)
    return file.getvalue()


def check_preset(name: str) -> None:
    """Raises `CompressionError` if there is no such preset."""
    if name not in coding.PRESETS:
        raise CompressionError(
            f"There is no preset {name!r} of coders, only {' and '.join(coding.PRESETS)}."
        )


def _write(
    file: BinaryIO,
    weights: Iterable[PackedWeight | CodedWeight],
    metadata: Mapping,
    preset: str,
) -> Written:
    sealer = container.Sealer(file)
    writer = Writer(preset)
    numbers: dict[bytes, int] = {}
    declared = []
    for packed in weights:
        _check_axes(packed.info)
        kind = (packed.compressor.name, packed.compressor.file_config())
        # By their text: to Python, but not to an algorithm, 1 and 1.0 are equal.
        text = header.to_json(kind, f"the hyperparameters of {packed.compressor.name}")
        arrays = []
        for array, data in writer.code(packed):
            arrays.append(array)
            sealer.write(data)
        number = numbers.setdefault(text, len(numbers))
        declared.append(DeclaredWeight(packed.info, number, tuple(arrays)))
    kinds = [tuple(json.loads(text)) for text in numbers]
    content = Header(kinds, declared, dict(metadata))
    sealer.end(content)
    nbytes = {w.info.path: {a.name: a.nbytes for a in w.arrays} for w in declared}
    return Written(_sizes(sealer.length, content), nbytes)


def _check_axes(info: WeightInfo) -> None:
    if list(info.input_axes) != sorted(info.input_axes):
        raise CompressionError(
            f"{info.path} has the input axes {info.input_axes}; a file holds ascending ones."
        )


@contextlib.contextmanager
def opened(
    path: str | os.PathLike,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Artifact]:
    """Does what `read` does, but leaves the codes in the file, which is open for the context."""
    with open(path, "rb") as file:
        container.check_start(file.read(len(MAGIC) + 1), str(path))
        source = container.FileView(file, 0, file.seek(0, os.SEEK_END))
        yield _content(source, expected, max_bytes, str(path))


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
        start = file.read(len(MAGIC) + 1)
        container.check_start(start, str(path))
        return from_bytes(start + file.read(), expected, max_bytes, str(path))


def from_bytes(
    data: bytes,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = MAX_BYTES,
    name: str = "The artifact",
) -> Artifact:
    """Does what `read` does, from bytes; `name` is what errors call them."""
    return _content(memoryview(data), expected, max_bytes, name)


def _content(
    source: container.Source,
    expected: Mapping[str, tuple[int, ...]] | None,
    max_bytes: int,
    name: str,
) -> Artifact:
    version, declared, payload = container.unseal(source, name)
    if expected is not None:
        _check_fits({w.info.path: w.info.shape for w in declared.weights}, expected, name)
    compressors = [_compressor(*kind, name) for kind in declared.algorithms]
    weights, end = {}, 0
    guide: CodedArray | None = None
    for weight in declared.weights:
        coded, mask = [], mask_shape(weight.arrays)
        for array in weight.arrays:
            start, end = end, end + array.nbytes
            is_guided = array.coder == coding.GUIDED
            coded.append(CodedArray(array, payload[start:end], guide if is_guided else None))
            guide = coded[-1] if guides(array, mask) else guide
        compressor = compressors[weight.algorithm]
        if version == 1:
            _check_hyperparameters(compressor, weight.info, name)
        weights[weight.info.path] = CodedWeight(weight.info, compressor, tuple(coded), name)
    if expected is None:
        _check_room(weights.values(), max_bytes, name)
    return Artifact(weights, _sizes(len(source), declared), declared.metadata)


def _sizes(file_bytes: int, declared: Header) -> Sizes:
    payload = sum(declared.lengths)
    return Sizes(file_bytes, payload, file_bytes - payload)


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


def _check_hyperparameters(compressor: WeightCompressor, info: WeightInfo, name: str) -> None:
    """Refuses what version 1 refuses: hyperparameters that do not fit the weight."""
    try:
        compressor.check(info)
    except Exception as error:
        raise ArtifactError(
            f"{name} is forged: {type(error).__name__}: {short(error)} Do not use it."
        ) from error


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
