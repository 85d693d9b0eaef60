"""Low rank as two products: what multiplies `u v` is multiplied by `u`, and then by `v`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.artifact import CodedWeight, PackedWeight
from kwc.exports.flatbuffer import Constant, Found, Graph
from kwc.exports.layout import Layout

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema

Factors = Sequence[PackedWeight]


def split(
    graph: Graph, weight: CodedWeight, pair: Factors, found: list[Found]
) -> list[tuple[PackedWeight, Found]]:
    """Lets everything that uses a low-rank weight use its factors, which become plain constants.

    A dense layer becomes two. A convolution becomes one with a filter for each unit of the rank,
    and one of a single position. Of a table, rows of the first factor are looked up, and
    multiplied by the second.

    Args:
        graph: the converted model.
        weight: the weight.
        pair: its factors, `[rows, r]` and `[r, columns]`.
        found: the constants that hold it.

    Returns:
        The factors, and the constants that hold them now; none, and the graph as it was, where the
        weight is used in other ways than these.
    """
    if not all(_is_split(graph, weight, w, op) for w in found for op in graph.consumers(w)):
        return []
    held = []
    for where in found:
        consumers = graph.consumers(where)
        for operator in consumers:
            first, second = _constants(graph, weight, pair, where, operator)
            tensors = first.tensor, second.tensor
            if graph.name_of(operator) == "GATHER":
                _look_up(graph, where.subgraph, operator, weight.info.path, *tensors)
            else:
                _multiply(graph, where.subgraph, operator, weight.info.path, *tensors)
            held += zip(pair, (first, second), strict=True)
        graph.empty(where)
    return held


def _is_split(graph: Graph, weight: CodedWeight, found: Found, operator) -> bool:
    """Whether an operation multiplies by the weight, or looks up its rows."""
    kind, lies, info = graph.name_of(operator), found.layout, weight.info
    numbers = np.arange(info.size).reshape(info.shape)
    matrix = kwc_ops.to_matrix(kwc_ops.NumpyOps, numbers, info)
    if kind == "GATHER":
        is_whole = len(lies.shape) == 2 and lies.part is None and lies.factor is None
        is_table = is_whole and np.array_equal(lies.arrange(numbers), matrix)
        return is_table and graph.is_table(operator, found.tensor)
    if kind not in ("FULLY_CONNECTED", "CONV_2D") or operator.inputs[1] != found.tensor:
        return False
    if lies.part is not None or (kind == "FULLY_CONNECTED") != (len(lies.shape) == 2):
        return False
    tensor = graph.model.subgraphs[found.subgraph].tensors[operator.inputs[0]]
    if kind == "CONV_2D" and tensor.shape[-1] != lies.shape[-1]:  # It has groups.
        return False
    return np.array_equal(lies.arrange(numbers), matrix.T.reshape(lies.shape))


def _constants(
    graph: Graph, weight: CodedWeight, pair: Factors, found: Found, operator
) -> tuple[Found, Found]:
    """Adds the two factors as the operation and the one that is added will take them."""
    lies = found.layout
    (rows, rank), (_, columns) = (factor.info.shape for factor in pair)
    scale = None if lies.factor is None else _by_column(weight, lies.factor)
    if graph.name_of(operator) == "GATHER":
        first = Layout((0, 1), (rows, rank))
    else:
        first = Layout((1, 0), (rank, *lies.shape[1:]))
    ones = (1,) * (len(lies.shape) - 2)
    second = Layout((1, 0), (columns, *ones, rank), scale)
    return tuple(
        _add(graph, found.subgraph, *part) for part in zip(pair, (first, second), strict=True)
    )


def _add(graph: Graph, number: int, factor: PackedWeight, lies: Layout) -> Found:
    constant = Constant("FLOAT32", lies.shape, lies.apply(factor.decompress()))
    return Found(number, graph.add_constant(number, factor.info.path, constant), lies)


def _multiply(
    graph: Graph, number: int, operator: schema.OperatorT, path: str, first: int, second: int
) -> None:
    """Puts a product by the first factor before the operation, which takes the second one."""
    between = _between(graph, number, operator, path, first, 0)
    kind, options = graph.name_of(operator), copy.copy(operator.builtinOptions)
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    bias = -1
    if kind == "CONV_2D":  # It must have one.
        rank = graph.model.subgraphs[number].tensors[first].shape[0]
        zeros = Constant("FLOAT32", (rank,), np.zeros(rank, np.float32))
        bias = graph.add_constant(number, f"{path}/zeros", zeros)
    inputs = [operator.inputs[0], first, bias]
    graph.insert(number, kind, inputs, [between], operator, options)
    operator.inputs[:2] = [between, second]
    if kind == "CONV_2D":
        operator.builtinOptions.strideW = operator.builtinOptions.strideH = 1
        operator.builtinOptions.dilationWFactor = operator.builtinOptions.dilationHFactor = 1


def _look_up(
    graph: Graph, number: int, operator: schema.OperatorT, path: str, first: int, second: int
) -> None:
    """Looks up rows of the first factor, and multiplies them by the second one."""
    between = _between(graph, number, operator, path, first, -1)
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    looked_up = [first, operator.inputs[1]]
    graph.insert(number, "GATHER", looked_up, [between], operator, schema.GatherOptionsT())
    inputs = [between, second, -1]
    graph.insert(number, "FULLY_CONNECTED", inputs, operator.outputs, operator, options, version=5)
    graph.remove(number, operator)


def _between(graph: Graph, number: int, operator, path: str, first: int, axis: int) -> int:
    """Adds the result of the first product: that of the operation, with the rank for channels."""
    tensors = graph.model.subgraphs[number].tensors
    output, rank = tensors[operator.outputs[0]], tensors[first].shape[axis]
    middle = copy.copy(output)
    middle.name = f"{path}/product"
    middle.shape = [*output.shape[:-1], rank]
    if output.shapeSignature is not None:
        middle.shapeSignature = [*output.shapeSignature[:-1], rank]
    return graph.add(number, middle)


def _by_column(weight: CodedWeight, factor: np.ndarray) -> np.ndarray:
    """The scale of each column of the weight's matrix, `[1, columns]`."""
    full = np.broadcast_to(factor, weight.info.shape)
    return kwc_ops.to_matrix(kwc_ops.NumpyOps, full, weight.info)[:1]
