"""A weight as an algorithm packed it, and the same as a file codes it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kwc import coding
from kwc.algorithms import Lossless, rebuilt
from kwc.artifact.bounds import BoundedOps, bounded, check_sizes
from kwc.artifact.container import Source
from kwc.artifact.declared import MASK, DeclaredArray
from kwc.artifact.errors import ArtifactError, short
from kwc.artifact.header import to_json
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
        try:
            return self._decoded()
        except _UndecodableError as error:
            raise ArtifactError(
                f"{error} The file is forged, or the algorithm's decompress does not invert its "
                "compress."
            ) from error

    def as_read(self) -> np.ndarray:
        """Returns the weight that a reader of the file decodes, who has the file alone.

        Raises:
            CompressionError: no reader could.
        """
        compressor, config = self.compressor, self.compressor.file_config()
        text = to_json(config, f"the hyperparameters of {compressor.name}")
        try:
            read = rebuilt(compressor, json.loads(text))
            return dataclasses.replace(self, compressor=read)._decoded()
        except _UndecodableError as error:
            raise CompressionError(
                f"{compressor.name} cannot be stored: {error} Its decompress must invert its "
                f"compress with no more than the arrays and the hyperparameters {text.decode()}."
            ) from error

    def _decoded(self) -> np.ndarray:
        info = self.info
        arrays = {name: bounded(array, info) for name, array in self.arrays.items()}
        try:
            # Arrays that were not packed by the algorithm may overflow, or make it fail in any way.
            with np.errstate(all="ignore"):
                value = np.asarray(self.compressor.decompress(BoundedOps, arrays, info))
        except Exception as error:
            raise _UndecodableError(
                f"the arrays of {info.path} ({short(', '.join(arrays))}) are not those of "
                f"{self.compressor.name}: {type(error).__name__}: {short(error)}."
            ) from error
        dtype = coding.dtype_from_name(info.dtype)
        fits = np.can_cast(value.dtype, dtype, "same_kind" if _is_floating(dtype) else "no")
        if value.shape != info.shape or not fits:
            raise _UndecodableError(
                f"{info.path} decodes to {value.dtype} of shape {value.shape} where {info.dtype} "
                f"of shape {info.shape} is declared."
            )
        with np.errstate(all="ignore"):
            return value.astype(dtype, copy=False)


class _UndecodableError(ValueError):
    """Arrays do not make the weight that they are declared to make."""


def pack(
    compressor: WeightCompressor | None, arrays: Mapping[str, np.ndarray], info: WeightInfo
) -> PackedWeight:
    """Checks what an algorithm packed, and sets to 0 what its mask excludes; `None` is `Lossless`.

    Raises:
        CompressionError: they are no arrays, larger than a file may declare for the weight, or of
            a dtype that it cannot hold.
    """
    compressor = compressor or Lossless()
    if not isinstance(arrays, Mapping):
        arrays = {"": arrays}
    for name, array in arrays.items():
        if not isinstance(name, str) or not name or not isinstance(array, np.ndarray | np.generic):
            raise CompressionError(
                f"{compressor.name}.compress must return a dict of NumPy arrays by name for "
                f"{info.path}; {name!r} is {type(array).__name__}."
            )
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
    masked_shape = None if mask is None else mask.shape
    kept = {
        name: np.where(mask, array, np.zeros_like(array))
        if _is_masked(name, array.shape, masked_shape)
        else array
        for name, array in arrays.items()
    }
    return PackedWeight(info, compressor, kept)


@dataclasses.dataclass(frozen=True)
class CodedArray:
    """A named array as a file holds it.

    Attributes:
        declared: what the header says about it.
        code: its code.
        guide: the array whose used columns its code refers to; None where there is none.
    """

    declared: DeclaredArray
    code: bytes | Source
    guide: CodedArray | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def decoded_bytes(self) -> int:
        """Bytes that the array takes in memory."""
        return size(self.declared.shape) * self.declared.dtype.itemsize

    @functools.cached_property
    def used_columns(self) -> np.ndarray:
        """What the array says as a guide. See `kwc.coding.used_columns`."""
        return coding.used_columns(self.elements(self.declared.shape))

    def elements(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the elements that are coded, of that shape, decoded anew.

        Raises:
            CodingError: the code, or that of a guide, is not that of such an array.
        """
        waiting = [self]
        while (guide := waiting[-1].guide) is not None and "used_columns" not in vars(guide):
            waiting.append(guide)
        # The first one first, since a guide may have a guide: no depth of calls would do.
        for guide in waiting[:0:-1]:
            _ = guide.used_columns
        used = None if self.guide is None else self.guide.used_columns
        array = self.declared
        return coding.decode(array.coder, bytes(self.code), shape, array.dtype, used)


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
    def mask_shape(self) -> tuple[int, ...] | None:
        """The shape of its mask; None without one."""
        return mask_shape([array.declared for array in self.coded])

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes that each array takes in the file."""
        return {array.declared.name: array.declared.nbytes for array in self.coded}

    @property
    def decoded_bytes(self) -> int:
        """Bytes that its arrays and a guide of one take in memory."""
        guides = [array.guide.decoded_bytes for array in self.coded if array.guide is not None]
        return sum(array.decoded_bytes for array in self.coded) + max(guides, default=0)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The decoded arrays.

        Raises:
            ArtifactError: a code is not that of the declared array.
        """
        arrays: dict[str, np.ndarray] = {}
        for coded in self.coded:
            array = coded.declared
            masked = _is_masked(array.name, array.shape, self.mask_shape)
            shape = (int(np.count_nonzero(arrays[MASK])),) if masked else array.shape
            try:
                values = coded.elements(shape)
            except (coding.CodingError, MemoryError) as error:
                raise ArtifactError(
                    f"{self.file} is forged: {self.info.path}/{array.name}: {short(error)}. Do not "
                    "use it."
                ) from error
            if masked:
                arrays[array.name] = np.zeros(array.shape, array.dtype)
                arrays[array.name][arrays[MASK]] = values
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


class Writer:
    """Codes the weights of a file in their order.

    Args:
        preset: how hard coders try.
    """

    def __init__(self, preset: str):
        self._preset = preset
        self._guide: CodedArray | np.ndarray | None = None

    def code(self, packed: PackedWeight | CodedWeight) -> Iterator[tuple[DeclaredArray, bytes]]:
        """Codes the arrays of a weight one by one, the mask first, as small as the preset finds.

        A weight that is coded already keeps its codes, if their guides come before them here too.
        """
        if isinstance(packed, CodedWeight) and self._keeps_guides(packed):
            for array in packed.coded:
                if guides(array.declared, packed.mask_shape):
                    self._guide = array
                yield array.declared, bytes(array.code)
            return
        mask = _mask(packed.arrays)
        masked_shape = None if mask is None else mask.shape
        for name in sorted(packed.arrays, key=lambda name: mask is not None and name != MASK):
            array = packed.arrays[name]
            masked = _is_masked(name, array.shape, masked_shape)
            used = self._used_columns() if array.ndim > 1 and not masked else None
            coder, data = coding.encode(array[mask] if masked else array, self._preset, used)
            dtype = coding.dtype_from_name(coding.dtype_name(array.dtype))
            declared = DeclaredArray(name, dtype, array.shape, coder, len(data))
            if guides(declared, masked_shape):
                self._guide = coding.used_columns(array)
            yield declared, data

    def _keeps_guides(self, weight: CodedWeight) -> bool:
        """Whether each guide of its arrays is among these, or comes last before them here too."""
        known = [None, self._guide, *weight.coded]
        return all(any(array.guide is one for one in known) for array in weight.coded)

    def _used_columns(self) -> np.ndarray | None:
        return self._guide.used_columns if isinstance(self._guide, CodedArray) else self._guide


def guides(array: DeclaredArray, mask: tuple[int, ...] | None) -> bool:
    """Whether an array is the guide of those after it, up to the next one that is one.

    Args:
        array: the array.
        mask: the shape of its weight's mask, if there is one.
    """
    is_matrix = len(array.shape) > 1 and 0 not in array.shape and array.dtype.kind in "biu"
    return is_matrix and not _is_masked(array.name, array.shape, mask)


def mask_shape(arrays: Sequence[DeclaredArray]) -> tuple[int, ...] | None:
    """Returns the shape of the mask among a weight's arrays; None without one."""
    is_mask = arrays and arrays[0].name == MASK and arrays[0].dtype == bool
    return arrays[0].shape if is_mask else None


def _mask(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    mask = arrays.get(MASK)
    return mask if mask is not None and mask.dtype == bool else None


def _is_masked(name: str, shape: tuple[int, ...], mask: tuple[int, ...] | None) -> bool:
    """Whether an array holds nothing outside of its weight's mask, which has that shape."""
    return name != MASK and shape == mask


def _is_floating(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
