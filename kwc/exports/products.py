"""Low rank as two products: what multiplies `u v` is multiplied by `u`, and then by `v`."""

from __future__ import annotations

import copy

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.artifact import CodedWeight, PackedWeight
from kwc.exports import constants, forms
from kwc.exports.flatbuffer import Constant, Found, Graph
from kwc.exports.layout import Layout
from kwc.exports.routes import Placed

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema


def split(graph: Graph, weight: CodedWeight, found: list[Found]) -> Placed | None:
    """Replaces each product by a low-rank weight; None if it is no such weight, or used elsewhere.

    A dense layer becomes two. A convolution becomes one with a filter for each unit of the rank,
    and one of a single position.
    """
    pair = forms.factors(weight)
    if pair is None:
        return None
    uses = [(where, operator) for where in found for operator in graph.consumers(where)]
    if not all(_is_product(graph, weight, *use) for use in uses):
        return None
    stored = []
    for where, operator in uses:
        stored += _split(graph, weight, pair, where, operator)
    for where in found:
        graph.empty(where)
    kind = next(constant.kind for constant in stored)
    form = f"{kind.lower()} factors"
    return Placed(form, tuple(constant.data for constant in stored))


def _is_product(graph: Graph, weight: CodedWeight, found: Found, operator) -> bool:
    """Whether an operation is a product by the weight, laid out with its columns first."""
    kind, lies = graph.name_of(operator), found.layout
    if kind not in ("FULLY_CONNECTED", "CONV_2D") or operator.inputs[1] != found.tensor:
        return False
    if lies.part is not None or (kind == "FULLY_CONNECTED") != (len(lies.shape) == 2):
        return False
    tensor = graph.model.subgraphs[found.subgraph].tensors[operator.inputs[0]]
    if kind == "CONV_2D" and tensor.shape[-1] != lies.shape[-1]:  # It has groups.
        return False
    numbers = np.arange(weight.info.size).reshape(weight.info.shape)
    columns = kwc_ops.to_matrix(kwc_ops.NumpyOps, numbers, weight.info).T
    return np.array_equal(lies.arrange(numbers), columns.reshape(lies.shape))


def _split(
    graph: Graph,
    weight: CodedWeight,
    pair: tuple[PackedWeight, PackedWeight],
    found: Found,
    operator,
) -> list[Constant]:
    """Puts a product by the first factor before the operation, which takes the second one."""
    number, lies = found.subgraph, found.layout
    rank, columns = pair[1].info.shape
    is_dense = len(lies.shape) == 2
    factor = None if lies.factor is None else _by_column(weight, lies.factor)
    first = _constant(pair[0], (rank, *lies.shape[1:]), None)
    second = _constant(pair[1], (columns, rank) if is_dense else (columns, 1, 1, rank), factor)
    tensors = graph.model.subgraphs[number].tensors
    output = tensors[operator.outputs[0]]
    middle = copy.copy(output)
    middle.name = f"{weight.info.path}/product"
    middle.shape = [*output.shape[:-1], rank]
    if output.shapeSignature is not None:
        middle.shapeSignature = [*output.shapeSignature[:-1], rank]
    between = graph.add(number, middle)
    options = copy.copy(operator.builtinOptions)
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    kind = graph.name_of(operator)
    added = [
        _add(graph, number, f.info.path, c) for f, c in zip(pair, (first, second), strict=True)
    ]
    # A convolution must have a bias.
    zeros = Constant("FLOAT32", (rank,), np.zeros(rank, np.float32))
    bias = -1 if is_dense else graph.add_constant(number, f"{weight.info.path}/zeros", zeros)
    inputs = [operator.inputs[0], added[0], bias]
    graph.insert(number, kind, inputs, [between], operator, options)
    operator.inputs[:2] = [between, added[1]]
    if not is_dense:
        operator.builtinOptions.strideW = operator.builtinOptions.strideH = 1
        operator.builtinOptions.dilationWFactor = operator.builtinOptions.dilationHFactor = 1
    return [first, second]


def _constant(factor: PackedWeight, shape: tuple[int, ...], scale: np.ndarray | None) -> Constant:
    """A factor, transposed: integers where it has such, else floats."""
    lies = Layout((1, 0), shape, scale)
    form = forms.scaled(factor)
    constant = None if form is None else constants.int8(form, lies)
    return constant or Constant("FLOAT32", shape, lies.apply(factor.decompress()))


def _add(graph: Graph, number: int, path: str, constant: Constant) -> int:
    tensor = graph.add_constant(number, path, constant)
    if constant.kind == "FLOAT32":
        return tensor
    floats = graph.add_result(number, f"{path}/floats", Constant("FLOAT32", constant.shape, None))
    graph.insert(number, "DEQUANTIZE", [tensor], [floats], version=3)
    return floats


def _by_column(weight: CodedWeight, factor: np.ndarray) -> np.ndarray:
    """The scale of each column of the weight's matrix, `[1, columns]`."""
    full = np.broadcast_to(factor, weight.info.shape)
    return kwc_ops.to_matrix(kwc_ops.NumpyOps, full, weight.info)[:1]
