"""A `.tflite` file as a graph that can be read, changed and written.

The format is the schema of TensorFlow Lite; `ai_edge_litert` carries its classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
from etils import epy

with epy.lazy_imports():
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_DTYPES = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "BFLOAT16": ml_dtypes.bfloat16,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    # Two elements a byte.
    "INT4": np.uint8,
}


class Graph:
    """The parsed file.

    Attributes:
        model: the schema's own tree, to be changed at will.
    """

    def __init__(self, data: bytes):
        self.model = schema.ModelT.InitFromPackedBuf(data)

    def constants(self) -> Iterator[np.ndarray]:
        """Yields the array of every constant tensor once, of all subgraphs.

        A sparse one is its values alone, one of 4 bits its bytes.
        """
        seen = set()
        for subgraph in self.model.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.buffer not in seen:
                    seen.add(tensor.buffer)
                    array = self.constant(tensor)
                    if array is not None:
                        yield array

    def constant(self, tensor: schema.TensorT) -> np.ndarray | None:
        """The array of a constant tensor, in its shape if it has all its elements; else None."""
        data = self.model.buffers[tensor.buffer].data
        dtype = _dtype_of(tensor)
        if data is None or not len(data) or dtype is None:
            return None
        array = np.frombuffer(bytes(data), dtype)
        shape = () if tensor.shape is None else tuple(tensor.shape)
        return array.reshape(shape) if array.size == np.prod(shape, dtype=int) else array

    def pack(self) -> bytes:
        """Returns the bytes of the file."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())


def _dtype_of(tensor: schema.TensorT) -> np.dtype | None:
    names = {code: name for name, code in vars(schema.TensorType).items() if name in _DTYPES}
    name = names.get(tensor.type)
    return None if name is None else np.dtype(_DTYPES[name])
