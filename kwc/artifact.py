"""The `.kwc` file: named, entropy-coded arrays for each weight of a model.

`docs/format.md` describes every byte. Reading needs NumPy, constriction and zstandard only,
executes nothing that the file says, and checks every size before it allocates.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zstandard

from kwc import algorithms, coding
from kwc.algorithms import Lossless
from kwc.compressor import CompressionError, WeightCompressor, WeightInfo
from kwc.files import write_atomically
from kwc.ops import NumpyOps, size

MAGIC = b"kwc"
VERSION = 1
SUFFIX = ".kwc"
_FIXED = struct.Struct("<3sBI")  # magic, version, bytes of the compressed header
_CHECKSUM = struct.Struct("<I")  # CRC-32 of everything before it
_MAX_HEADER_BYTES = 64 << 20
_MAX_RANK = 32


class ArtifactError(CompressionError):
    """A file that is no artifact, is damaged, or does not fit the model."""


@dataclasses.dataclass(frozen=True)
class PackedWeight:
    """One weight as its algorithm packed it.

    Attributes:
        info: path, shape, dtype and axes.
        compressor: the algorithm that decompresses it.
        arrays: the named arrays; what a `mask` among them excludes is 0.
        nbytes: bytes that each array takes in the file; empty before it is written.
    """

    info: WeightInfo
    compressor: WeightCompressor
    arrays: Mapping[str, np.ndarray]
    nbytes: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def decompress(self) -> np.ndarray:
        """Returns the weight, of the info's shape and dtype.

        Raises:
            ArtifactError: the arrays do not make such a weight.
        """
        try:
            value = self.compressor.decompress(NumpyOps, self.arrays, self.info)
            value = np.asarray(value)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"The arrays of {self.info.path} are not those of {self.compressor.name}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if value.shape != self.info.shape:
            raise ArtifactError(
                f"{self.info.path} decodes to shape {value.shape}; the file declares "
                f"{self.info.shape}."
            )
        return value.astype(coding.dtype_from_name(self.info.dtype), copy=False)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Lengths of a written file, in bytes: all of it, its arrays, and its header."""

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

    weights: dict[str, PackedWeight]
    sizes: Sizes
    metadata: Mapping[str, Any]


def pack(
    compressor: WeightCompressor | None, arrays: Mapping[str, np.ndarray], info: WeightInfo
) -> PackedWeight:
    """Checks what an algorithm packed; `None` is `Lossless`.

    Raises:
        CompressionError: the arrays are larger than a file may declare for the weight, or of a
            dtype that it cannot hold.
    """
    compressor = compressor or Lossless()
    try:
        _check_bounds(info, {name: array.size for name, array in arrays.items()})
        for array in arrays.values():
            coding.dtype_name(array.dtype)
    except ValueError as error:
        raise CompressionError(f"{compressor.name} packs what no file holds: {error}") from error
    return PackedWeight(info, compressor, dict(arrays))


def _check_bounds(info: WeightInfo, sizes: Mapping[str, int]) -> None:
    """Holds what a file may make a reader allocate to a multiple of the true weight."""
    most = max(info.size, 1)
    for name, elements in sizes.items():
        if elements > most:
            raise ValueError(
                f"the array {info.path}/{name} has {elements} elements, its weight {info.size}"
            )
    if sum(sizes.values()) > 4 * most:
        raise ValueError(
            f"the arrays of {info.path} have {sum(sizes.values())} elements, more than four times "
            f"the {info.size} of the weight"
        )


def write(
    path: str | os.PathLike, weights: Sequence[PackedWeight], metadata: Mapping | None = None
) -> Artifact:
    """Writes a file, whole or not at all, and returns its content with the bytes of each array.

    Equal input gives equal bytes.

    Raises:
        OSError: the file cannot be written; an existing one is left as it was.
    """
    data, written = to_bytes(weights, metadata or {})
    write_atomically(path, data)
    return written


def to_bytes(weights: Sequence[PackedWeight], metadata: Mapping) -> tuple[bytes, Artifact]:
    """Returns the bytes of a file, and its content with the bytes of each array."""
    kinds: list[list] = []
    entries, payloads, written = [], [], {}
    for weight in weights:
        kind = [weight.compressor.name, weight.compressor.config()]
        if kind not in kinds:
            kinds.append(kind)
        coded = {name: coding.encode(array) for name, array in _stored(weight.arrays).items()}
        rows = [
            [
                name,
                coding.dtype_name(weight.arrays[name].dtype),
                list(weight.arrays[name].shape),
                encoded.coder,
                len(encoded.data),
            ]
            for name, encoded in coded.items()
        ]
        info = weight.info
        default = WeightInfo(info.path, info.shape)
        axes = [] if info.output_axes == default.output_axes else [list(info.output_axes)]
        entries.append([info.path, info.dtype, list(info.shape), kinds.index(kind), rows, *axes])
        payloads += [encoded.data for encoded in coded.values()]
        nbytes = {name: len(encoded.data) for name, encoded in coded.items()}
        written[info.path] = dataclasses.replace(weight, nbytes=nbytes)
    header = {"algorithms": kinds, "weights": entries}
    if metadata:
        header["metadata"] = dict(metadata)
    text = json.dumps(header, separators=(",", ":"), sort_keys=True, allow_nan=False)
    compressed = zstandard.ZstdCompressor(level=19).compress(text.encode())
    body = _FIXED.pack(MAGIC, VERSION, len(compressed)) + compressed + b"".join(payloads)
    data = body + _CHECKSUM.pack(zlib.crc32(body))
    payload = sum(map(len, payloads))
    sizes = Sizes(len(data), payload, len(data) - payload)
    return data, Artifact(written, sizes, dict(metadata))


def _stored(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in the order in which they are stored: the mask first, others only where it is."""
    mask = arrays.get("mask")
    if mask is None or mask.dtype != bool:
        return dict(arrays)
    rest = {name: array for name, array in arrays.items() if name != "mask"}
    return {"mask": mask} | {
        name: array[mask] if array.shape == mask.shape else array for name, array in rest.items()
    }


def read(
    path: str | os.PathLike,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = 1 << 34,
) -> Artifact:
    """Reads and checks a file.

    Args:
        path: the file.
        expected: shape of each weight of the model that the file shall fill. Checked before any
            array is decoded.
        max_bytes: the most bytes that all decoded arrays together may take.

    Raises:
        ArtifactError: no artifact, another version, damaged, forged, for another model, or larger
            than `max_bytes`. The message says which.
        FileNotFoundError: there is no such file.
    """
    return from_bytes(pathlib.Path(path).read_bytes(), expected, max_bytes, str(path))


def from_bytes(
    data: bytes,
    expected: Mapping[str, tuple[int, ...]] | None = None,
    max_bytes: int = 1 << 34,
    name: str = "The artifact",
) -> Artifact:
    """Does what `read` does, from bytes; `name` is what errors call them."""
    header, payload = _open(data, name)
    try:
        declared = [_Declared.parse(entry) for entry in header["weights"]]
        kinds = [(str(kind), dict(config)) for kind, config in header["algorithms"]]
        metadata = dict(header.get("metadata", {}))
        used = [kinds[entry.kind] for entry in declared]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ArtifactError(f"{name} has a header that cannot be: {error}") from error
    if len({entry.info.path for entry in declared}) != len(declared):
        raise ArtifactError(f"{name} declares a weight twice.")
    if expected is not None:
        _check_fits({entry.info.path: entry.info.shape for entry in declared}, expected, name)
    if sum(entry.nbytes for entry in declared) != len(payload):
        raise ArtifactError(
            f"{name} declares {sum(entry.nbytes for entry in declared)} bytes of arrays and holds "
            f"{len(payload)}."
        )
    decoded_bytes = sum(entry.decoded_bytes for entry in declared)
    if decoded_bytes > max_bytes:
        raise ArtifactError(
            f"{name} would decode to {decoded_bytes} bytes, more than max_bytes={max_bytes}. Raise "
            "max_bytes if you trust the file."
        )
    weights, offset = {}, 0
    for entry, kind in zip(declared, used, strict=True):
        part = payload[offset : offset + entry.nbytes]
        offset += entry.nbytes
        weights[entry.info.path] = entry.decode(part, algorithms.by_name(*kind), name)
    sizes = Sizes(len(data), len(payload), len(data) - len(payload))
    return Artifact(weights, sizes, metadata)


def _open(data: bytes, name: str) -> tuple[dict, memoryview]:
    """Checks magic, version, lengths and checksum; returns the header and the arrays' bytes."""
    if len(data) < _FIXED.size + _CHECKSUM.size or not data.startswith(MAGIC):
        raise ArtifactError(f"{name} is no kwc artifact: it does not start with {MAGIC!r}.")
    _, version, header_bytes = _FIXED.unpack_from(data)
    if version != VERSION:
        raise ArtifactError(
            f"{name} has format version {version}; this kwc reads version {VERSION}. Install a kwc "
            "that reads it."
        )
    body = len(data) - _CHECKSUM.size
    if _CHECKSUM.unpack_from(data, body)[0] != zlib.crc32(memoryview(data)[:body]):
        raise ArtifactError(
            f"{name} is damaged: its checksum does not match. It was truncated or changed after it "
            "was written; copy it again."
        )
    start = _FIXED.size + header_bytes
    if start > body:
        raise ArtifactError(f"{name} declares a header of {header_bytes} bytes and is shorter.")
    compressed = data[_FIXED.size : start]
    try:
        length = zstandard.frame_content_size(compressed)
        if not 0 <= length <= _MAX_HEADER_BYTES:
            raise ArtifactError(f"{name} declares a header of {length} bytes decompressed.")
        header = json.loads(zstandard.ZstdDecompressor().decompress(compressed))
    except (zstandard.ZstdError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} has a header that cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{name} has a header that is no object.")
    return header, memoryview(data)[start:body]


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


@dataclasses.dataclass(frozen=True)
class _DeclaredArray:
    """A row of the header: an array that is still coded."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    coder: str
    nbytes: int

    @property
    def size(self) -> int:
        return size(self.shape)


@dataclasses.dataclass(frozen=True)
class _Declared:
    """An entry of the header: a weight whose arrays are still coded."""

    info: WeightInfo
    kind: int
    arrays: tuple[_DeclaredArray, ...]

    @classmethod
    def parse(cls, entry: Sequence) -> _Declared:
        path, dtype, shape, kind, rows, *axes = entry
        shape = _shape(shape)
        if not isinstance(path, str) or not isinstance(kind, int) or kind < 0 or len(axes) > 1:
            raise ValueError(f"the entry {str(entry)[:100]} is malformed")
        coding.dtype_from_name(dtype)
        if axes:
            outputs = _shape(axes[0])
            inputs = tuple(axis for axis in range(len(shape)) if axis not in outputs)
            info = WeightInfo(path, shape, dtype, inputs, outputs)
        else:
            info = WeightInfo(path, shape, dtype)
        arrays = []
        for name, array_dtype, array_shape, coder, nbytes in rows:
            array = _DeclaredArray(
                str(name), coding.dtype_from_name(array_dtype), _shape(array_shape), coder, nbytes
            )
            if not isinstance(nbytes, int) or nbytes < 0:
                raise ValueError(f"{path}/{name} declares {nbytes} bytes")
            arrays.append(array)
        _check_bounds(info, {array.name: array.size for array in arrays})
        return cls(info, kind, tuple(arrays))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    @property
    def decoded_bytes(self) -> int:
        itemsize = coding.dtype_from_name(self.info.dtype).itemsize
        return self.info.size * itemsize + sum(a.size * a.dtype.itemsize for a in self.arrays)

    def decode(self, data: memoryview, compressor: WeightCompressor, file: str) -> PackedWeight:
        arrays: dict[str, np.ndarray] = {}
        offset = 0
        for array in self.arrays:
            part = bytes(data[offset : offset + array.nbytes])
            offset += array.nbytes
            mask = arrays.get("mask")
            masked = mask is not None and mask.dtype == bool and mask.shape == array.shape
            shape = (int(np.count_nonzero(mask)),) if masked else array.shape
            try:
                values = coding.decode(array.coder, part, shape, array.dtype)
            except coding.CodingError as error:
                raise ArtifactError(f"{file}, {self.info.path}/{array.name}: {error}") from error
            if masked:
                placed = np.zeros(array.shape, array.dtype)
                placed[mask] = values
                values = placed
            arrays[array.name] = values
        nbytes = {array.name: array.nbytes for array in self.arrays}
        return PackedWeight(self.info, compressor, arrays, nbytes)


def _shape(value: Any) -> tuple[int, ...]:
    """A tuple of small non-negative integers, or `ValueError`."""
    if (
        not isinstance(value, list)
        or len(value) > _MAX_RANK
        or not all(type(n) is int and 0 <= n < 1 << 40 for n in value)
    ):
        raise ValueError(f"{str(value)[:100]} is no shape")
    return tuple(value)
