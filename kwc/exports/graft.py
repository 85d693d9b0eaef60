"""Moves the operations of one converted graph into another."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from etils import epy

from kwc.exports.flatbuffer import Graph

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema


def graft(
    graph: Graph,
    subgraph: int,
    scion: Graph,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    before: schema.OperatorT | None = None,
) -> None:
    """Copies the operations of a graph that lead to some of its outputs into another graph.

    Args:
        graph: what receives them.
        subgraph: where in it.
        scion: what they are copied from; it has one subgraph and one signature.
        inputs: for each input of its signature that they need, the tensor of `graph` to take.
        outputs: for each of the wanted outputs of its signature, the tensor of `graph` to fill.
        before: the operation that they precede; None for the start.
    """
    source, signature = scion.model.subgraphs[0], scion.model.signatureDefs[0]
    tensors: dict[int, int] = {-1: -1}
    wanted = set()
    for bound, ends in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for end in ends:
            name = end.name.decode()
            if name in bound:
                tensors[end.tensorIndex] = bound[name]
                if bound is outputs:
                    wanted.add(end.tensorIndex)
    operators = []
    for operator in reversed(source.operators):
        if wanted.intersection(operator.outputs):
            wanted |= set(operator.inputs)
            operators.append(operator)
    for index in sorted(wanted - tensors.keys()):
        tensor = copy.copy(source.tensors[index])
        tensor.name = f"decoder/{tensor.name.decode()}"
        data = scion.model.buffers[tensor.buffer].data
        tensor.buffer = graph.add_buffer(data) if data is not None and len(data) else 0
        tensors[index] = graph.add(subgraph, tensor)
    # Each is inserted before the ones inserted so far.
    for operator in operators:
        moved = copy.copy(operator)
        code = scion.model.operatorCodes[operator.opcodeIndex]
        moved.opcodeIndex = graph.opcode(code.builtinCode, code.version or 1)
        moved.inputs = [tensors[index] for index in operator.inputs]
        moved.outputs = [tensors[index] for index in operator.outputs]
        graph.place(subgraph, moved, before)
        before = moved
