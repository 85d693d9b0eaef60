"""Takes out of a SavedModel what neither loading nor serving needs."""

from __future__ import annotations

import pathlib

from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2

# Shapes that are inferred again, and a mark that only tracing looks at.
_ATTRIBUTES = ("_output_shapes", "_has_manual_control_dependencies")


def strip(folder: pathlib.Path) -> None:
    """Rewrites `saved_model.pb` without debug information, known shapes and the saving function.

    Loaders restore variables by a function of its own, which stays. The fingerprint goes as well:
    it is that of the bytes before.
    """
    path = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in content.meta_graphs:
        meta.meta_info_def.ClearField("stripped_op_list")
        meta.graph_def.ClearField("debug_info")
        _strip_saving(meta.graph_def, meta.saver_def.save_tensor_name)
        for node in meta.graph_def.node:
            _strip_node(node)
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                _strip_node(node)
            for argument in function.arg_attr.values():
                for name in _ATTRIBUTES:
                    argument.attr.pop(name, None)
    path.write_bytes(content.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def _strip_node(node: node_def_pb2.NodeDef) -> None:
    node.ClearField("experimental_debug_info")
    for name in _ATTRIBUTES:
        node.attr.pop(name, None)


def _strip_saving(graph: graph_pb2.GraphDef, tensor: str) -> None:
    """Puts a placeholder where the graph's saver calls the function that writes a checkpoint."""
    call = next(node for node in graph.node if node.name == tensor.split(":")[0])
    saving = call.attr["f"].func.name
    call.Clear()
    call.name, call.op = tensor.split(":")[0], "Placeholder"
    call.attr["dtype"].type = types_pb2.DT_STRING
    kept = [function for function in graph.library.function if function.signature.name != saving]
    del graph.library.function[:]
    graph.library.function.extend(kept)
