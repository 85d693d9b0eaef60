"""A weight as a constant of TensorFlow Lite: floats of 16 bits, integers, or sparse."""

from __future__ import annotations

import numpy as np
from etils import epy

from kwc.exports.bits import joined
from kwc.exports.flatbuffer import Constant
from kwc.exports.forms import Scaled
from kwc.exports.layout import Layout

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema


def float16(value: np.ndarray, lies: Layout) -> Constant:
    """The weight, rounded to 16 bits."""
    return Constant("FLOAT16", lies.shape, lies.apply(value).astype(np.float16))


def int8(form: Scaled, lies: Layout) -> Constant | None:
    """The weight's integers in 8 bits, with the layout's factor in the scales; None beyond."""
    return _integers(form, lies, "INT8", 128)


def int4(form: Scaled, lies: Layout) -> Constant | None:
    """The same in 4 bits, two in a byte, the lower half first."""
    constant = _integers(form, lies, "INT4", 8)
    if constant is None:
        return None
    pairs = joined(constant.data.reshape(-1).view(np.uint8) & 15, 4)
    return Constant("INT4", lies.shape, pairs, constant.scale, constant.axis)


def sparse(dense: Constant) -> Constant:
    """The same constant without its zeros: along its longest axis, only elements with an index."""
    last = int(np.argmax(dense.shape))
    order = [axis for axis in range(len(dense.shape)) if axis != last] + [last]
    rows = np.transpose(dense.data, order).reshape(-1, dense.shape[last])
    row, column = np.nonzero(rows)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = order
    sparsity.dimMetadata = [_dense_axis(dense.shape[axis]) for axis in order[:-1]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
    sparsity.dimMetadata.append(_sparse_axis(starts, column))
    data = rows[row, column]
    return Constant(dense.kind, dense.shape, data, dense.scale, dense.axis, sparsity)


def nbytes(constant: Constant) -> int:
    """Bytes of the elements, scales and indices of a constant."""
    total = constant.data.nbytes + (0 if constant.scale is None else 4 * len(constant.scale))
    if constant.sparsity is not None:
        last = constant.sparsity.dimMetadata[-1]
        total += last.arraySegments.values.nbytes + last.arrayIndices.values.nbytes
    return total


def _integers(form: Scaled, lies: Layout, kind: str, limit: int) -> Constant | None:
    factor = np.float32(1) if lies.factor is None else lies.factor
    # Scales are above 0: a channel that batch norm turns around has its integers turned.
    levels = form.levels.astype(np.int64) * np.sign(factor).astype(np.int64)
    if levels.min(initial=0) < -limit or levels.max(initial=0) >= limit:
        return None
    scale = np.abs(form.scale * factor)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    scales = lies.arrange(np.broadcast_to(scale, form.levels.shape))
    data = lies.arrange(levels.astype(np.int8))
    for axis in range(scales.ndim):
        others = tuple(other for other in range(scales.ndim) if other != axis)
        by_index = scales.max(axis=others)
        if np.array_equal(by_index, scales.min(axis=others)):
            if np.all(by_index == by_index[0]):
                by_index = by_index[:1]
            return Constant(kind, lies.shape, data, by_index, axis)
    return None


def _dense_axis(length: int) -> schema.DimensionMetadataT:
    metadata = schema.DimensionMetadataT()
    metadata.format, metadata.denseSize = schema.DimensionType.DENSE, length
    return metadata


def _sparse_axis(starts: np.ndarray, indices: np.ndarray) -> schema.DimensionMetadataT:
    metadata = schema.DimensionMetadataT()
    metadata.format = schema.DimensionType.SPARSE_CSR
    metadata.arraySegmentsType, metadata.arraySegments = _vector(starts)
    metadata.arrayIndicesType, metadata.arrayIndices = _vector(indices)
    return metadata


def _vector(values: np.ndarray) -> tuple[int, object]:
    """The schema's narrowest vector of numbers from 0."""
    kinds = {"Uint8Vector": np.uint8, "Uint16Vector": np.uint16, "Int32Vector": np.int32}
    largest = values.max(initial=0)
    kind = next(name for name, dtype in kinds.items() if largest <= np.iinfo(dtype).max)
    vector = getattr(schema, f"{kind}T")()
    vector.values = values.astype(kinds[kind])
    return getattr(schema.SparseIndexVector, kind), vector
