"""A weight as an algorithm packed it, and the same as a file codes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from kwc import coding
from kwc.algorithms import Lossless
from kwc.artifact.bounds import BoundedOps, bounded, check_sizes
from kwc.artifact.container import Source
from kwc.artifact.declared import MASK, DeclaredArray
from kwc.artifact.errors import ArtifactError, short
from kwc.compressor import CompressionError, WeightCompressor, WeightInfo
from kwc.ops import size


@dataclasses.dataclass(frozen=True)
class PackedWeight:
    """One weight as its algorithm packed it.

    Attributes:
        info: path, shape, dtype and axes.
        compressor: the algorithm that decompresses it.
        arrays: the named arrays.
    """

    info: WeightInfo
    compressor: WeightCompressor
    arrays: Mapping[str, np.ndarray]

    def decompress(self) -> np.ndarray:
        """Returns the weight, of the info's shape and dtype.

        Raises:
            ArtifactError: the arrays do not make such a weight.
        """
        info = self.info
        arrays = {name: bounded(array, info) for name, array in self.arrays.items()}
        try:
            # Arrays that were not packed by the algorithm may overflow, or make it fail in any way.
            with np.errstate(all="ignore"):
                value = np.asarray(self.compressor.decompress(BoundedOps, arrays, info))
        except Exception as error:
            raise ArtifactError(
                f"the arrays of {info.path} ({short(', '.join(arrays))}) are not those of "
                f"{self.compressor.name}: {type(error).__name__}: {short(error)}. The file is "
                "forged, or the algorithm's decompress does not invert its compress."
            ) from error
        dtype = coding.dtype_from_name(info.dtype)
        fits = np.can_cast(value.dtype, dtype, "same_kind" if _is_floating(dtype) else "no")
        if value.shape != info.shape or not fits:
            raise ArtifactError(
                f"{info.path} decodes to {value.dtype} of shape {value.shape} where {info.dtype} "
                f"of shape {info.shape} is declared. The file is forged, or the algorithm "
                f"{self.compressor.name} is wrong."
            )
        with np.errstate(all="ignore"):
            return value.astype(dtype, copy=False)


def pack(
    compressor: WeightCompressor | None, arrays: Mapping[str, np.ndarray], info: WeightInfo
) -> PackedWeight:
    """Checks what an algorithm packed, and sets to 0 what its mask excludes; `None` is `Lossless`.

    Raises:
        CompressionError: the arrays are larger than a file may declare for the weight, or of a
            dtype that it cannot hold.
    """
    compressor = compressor or Lossless()
    try:
        check_sizes(info, {name: (a.size, a.itemsize) for name, a in arrays.items()})
        for array in arrays.values():
            coding.dtype_name(array.dtype)
    except ValueError as error:
        raise CompressionError(
            f"{compressor.name} packs what no file holds: {error}. Its compress must return fewer "
            "or smaller arrays."
        ) from error
    mask = _mask(arrays)
    kept = {
        name: np.where(mask, array, np.zeros_like(array))
        if _is_masked(name, array.shape, mask)
        else array
        for name, array in arrays.items()
    }
    return PackedWeight(info, compressor, kept)


@dataclasses.dataclass(frozen=True)
class CodedArray:
    """A named array as a file holds it: its code, and what the header says about it."""

    declared: DeclaredArray
    code: bytes | Source

    @property
    def decoded_bytes(self) -> int:
        """Bytes that the array takes in memory."""
        return size(self.declared.shape) * self.declared.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class CodedWeight:
    """One weight as a file holds it; its arrays are decoded anew each time they are asked for.

    Attributes:
        info: path, shape, dtype and axes.
        compressor: the algorithm that decompresses it.
        coded: its arrays, the mask first.
        file: what errors call the file.
    """

    info: WeightInfo
    compressor: WeightCompressor
    coded: tuple[CodedArray, ...]
    file: str

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes that each array takes in the file."""
        return {array.declared.name: array.declared.nbytes for array in self.coded}

    @property
    def decoded_bytes(self) -> int:
        """Bytes that its arrays take in memory."""
        return sum(array.decoded_bytes for array in self.coded)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The decoded arrays.

        Raises:
            ArtifactError: a code is not that of the declared array.
        """
        arrays: dict[str, np.ndarray] = {}
        for coded in self.coded:
            array = coded.declared
            mask = _mask(arrays)
            masked = _is_masked(array.name, array.shape, mask)
            shape = (int(np.count_nonzero(mask)),) if masked else array.shape
            try:
                values = coding.decode(array.coder, bytes(coded.code), shape, array.dtype)
            except (coding.CodingError, MemoryError) as error:
                raise ArtifactError(
                    f"{self.file} is forged: {self.info.path}/{array.name}: {short(error)}. Do not "
                    "use it."
                ) from error
            if masked:
                arrays[array.name] = np.zeros(array.shape, array.dtype)
                arrays[array.name][mask] = values
            else:
                arrays[array.name] = values
        return arrays

    def decompress(self) -> np.ndarray:
        """Returns the weight, of the info's shape and dtype.

        Raises:
            ArtifactError: the arrays are not those of the algorithm, or make no such weight.
        """
        packed = PackedWeight(self.info, self.compressor, self.arrays)
        try:
            return packed.decompress()
        except ArtifactError as error:
            raise ArtifactError(f"{self.file}: {error}") from error


def code(packed: PackedWeight | CodedWeight, preset: str) -> Iterator[tuple[DeclaredArray, bytes]]:
    """Codes the arrays of a weight one by one, the mask first, as small as the preset finds.

    A weight that is coded already keeps its codes.
    """
    if isinstance(packed, CodedWeight):
        yield from ((array.declared, bytes(array.code)) for array in packed.coded)
        return
    mask = _mask(packed.arrays)
    for name in sorted(packed.arrays, key=lambda name: mask is not None and name != MASK):
        array = packed.arrays[name]
        masked = _is_masked(name, array.shape, mask)
        coder, data = coding.encode(array[mask] if masked else array, preset)
        dtype = coding.dtype_from_name(coding.dtype_name(array.dtype))
        yield DeclaredArray(name, dtype, array.shape, coder, len(data)), data


def _mask(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    mask = arrays.get(MASK)
    return mask if mask is not None and mask.dtype == bool else None


def _is_masked(name: str, shape: tuple[int, ...], mask: np.ndarray | None) -> bool:
    return mask is not None and name != MASK and shape == mask.shape


def _is_floating(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
