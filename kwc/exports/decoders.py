"""Decoders of weights as functions of their arrays, to be converted apart from the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kwc import ops as kwc_ops
from kwc.compressor import WeightInfo
from kwc.exports.flatbuffer import Found, Graph, dtype_of
from kwc.exports.forms import Weight
from kwc.exports.layout import Layout

_IDS = "looked_up/ids"
_FEW_ROWS = np.array([1, 0])


@dataclasses.dataclass(frozen=True)
class Whole:
    """Decodes a weight into each constant of a graph that holds it.

    Attributes:
        weight: the weight.
        arrays: its packed arrays.
        found: the constants, all of one subgraph.
        before: the first operation that takes one.
    """

    weight: Weight
    arrays: Mapping[str, np.ndarray]
    found: tuple[Found, ...]
    before: Any

    def more_inputs(self) -> dict[str, tuple[tf.TensorSpec, int]]:
        """What it takes beside the arrays, by name, and the tensors that these are."""
        return {}

    def results(self) -> dict[str, int]:
        """The tensors that it fills, by name."""
        return {str(where.tensor): where.tensor for where in self.found}

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the constants by name, given the arrays and `more_inputs`."""
        value = self.weight.compressor.decompress(kwc_ops.TensorFlowOps, inputs, self.weight.info)
        return {str(where.tensor): _arranged(value, where.layout) for where in self.found}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Decodes those rows of a table that an operation looks up, and no others.

    Attributes:
        weight: the table.
        arrays: its packed arrays.
        found: the constant that the operation takes.
        before: the operation.
        ids: the indices.
    """

    weight: Weight
    arrays: Mapping[str, np.ndarray]
    found: tuple[Found]
    before: Any
    ids: tf.TensorSpec

    def more_inputs(self) -> dict[str, tuple[tf.TensorSpec, int]]:
        """The indices."""
        return {_IDS: (self.ids, self.before.inputs[1])}

    def results(self) -> dict[str, int]:
        """What the operation fills."""
        return {"rows": self.before.outputs[0]}

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the rows, given the arrays and `more_inputs`."""
        info, ids = self.weight.info, tf.reshape(inputs[_IDS], [-1])
        arrays = {
            name: tf.gather(inputs[name], ids) if _is_by_row(array, info) else inputs[name]
            for name, array in self.arrays.items()
        }
        rows = self.weight.compressor.decompress(kwc_ops.TensorFlowOps, arrays, _rows(info))
        return {"rows": tf.reshape(rows, [-1, *self.ids.shape[1:], info.shape[1]])}


Decoder = Whole | Rows


def decoders(graph: Graph, weight: Weight, found: list[Found]) -> Iterator[Decoder]:
    """Yields what decodes a weight: the rows for each look-up, and all of it for all else."""
    arrays = taken(weight)
    whole: dict[int, list[Found]] = {}
    for where in found:
        consumers = graph.consumers(where)
        tables = [op for op in consumers if graph.is_table(op, where.tensor)]
        if tables and not _rows_decode_alone(weight, arrays, where.layout):
            tables = []
        for operator in tables:
            ids = graph.model.subgraphs[where.subgraph].tensors[operator.inputs[1]]
            yield Rows(weight, arrays, (where,), operator, _spec(ids))
        if len(tables) < len(consumers):
            whole.setdefault(where.subgraph, []).append(where)
    for number, places in whole.items():
        tensors = {where.tensor for where in places}
        operators = graph.model.subgraphs[number].operators
        first = next(op for op in operators if tensors.intersection(op.inputs))
        yield Whole(weight, arrays, tuple(places), first)


def taken(weight: Weight) -> dict[str, np.ndarray]:
    """The packed arrays, in dtypes that TensorFlow Lite looks up and casts."""
    arrays = weight.arrays
    for name, array in arrays.items():
        if array.dtype in (np.uint16, np.uint32):
            fits = np.max(array, initial=0) <= np.iinfo(np.int16).max
            arrays[name] = array.astype(np.int16 if fits else np.int32)
    return arrays


def _spec(tensor: Any) -> tf.TensorSpec:
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    lengths = [None if length == -1 else int(length) for length in shape]
    return tf.TensorSpec(lengths, dtype_of(tensor))


def _rows_decode_alone(weight: Weight, arrays: Mapping[str, np.ndarray], lies: Layout) -> bool:
    """Whether some rows of the arrays decode to those rows of the weight."""
    info = weight.info
    if len(info.shape) != 2 or lies.axes != (0, 1) or lies.factor is not None:
        return False
    few = {n: a[_FEW_ROWS] if _is_by_row(a, info) else a for n, a in arrays.items()}
    try:
        rows = weight.compressor.decompress(kwc_ops.NumpyOps, few, _rows(info))
    # An algorithm that is not one of single rows fails in any way.
    except Exception:
        return False
    return rows.shape == (2, info.shape[1]) and np.allclose(rows, weight.decompress()[_FEW_ROWS])


def _is_by_row(array: np.ndarray, info: WeightInfo) -> bool:
    return array.ndim > 0 and array.shape[0] == info.shape[0]


def _rows(info: WeightInfo) -> WeightInfo:
    """The info of any number of a table's rows."""
    return dataclasses.replace(info, shape=(-1, info.shape[1]))


def _arranged(value: tf.Tensor, lies: Layout) -> tf.Tensor:
    """`Layout.apply` in TensorFlow."""
    scaled = value if lies.factor is None else value * lies.factor
    cut = scaled if lies.part is None else scaled[..., lies.part]
    return tf.reshape(tf.transpose(cut, lies.axes), lies.shape)
