"""A `.tflite` file as a graph that can be read, changed and written.

The format is the schema of TensorFlow Lite; `ai_edge_litert` carries its classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import ml_dtypes
import numpy as np
from etils import epy

from kwc.exports import layout
from kwc.exports.layout import Layout

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


@dataclasses.dataclass(frozen=True)
class Constant:
    """The content of a constant tensor.

    Attributes:
        kind: name of its type in the schema, such as `INT8`.
        shape: its shape.
        data: its elements as they are stored: of 4 bits two in a byte, of a sparse tensor those
            that are not zero.
        scale: of a quantized one, float32 [1] or one for each index of `axis`.
        axis: axis of the scales.
        sparsity: the schema's description of where the elements of a sparse one are.
    """

    kind: str
    shape: tuple[int, ...]
    data: np.ndarray
    scale: np.ndarray | None = None
    axis: int = 0
    sparsity: schema.SparsityParametersT | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """A constant tensor that holds a weight, and how the weight lies in it."""

    subgraph: int
    tensor: int
    layout: Layout


class Graph:
    """The parsed file.

    Attributes:
        model: the schema's own tree, to be changed at will.
    """

    def __init__(self, data: bytes):
        self.model = schema.ModelT.InitFromPackedBuf(data)
        for subgraph in self.model.subgraphs:
            for operator in subgraph.operators:
                # They are views of `data`.
                operator.inputs = _numbers(operator.inputs)
                operator.outputs = _numbers(operator.outputs)

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
        dtype = dtype_of(tensor)
        if data is None or not len(data) or dtype is None:
            return None
        array = np.frombuffer(bytes(data), dtype)
        shape = () if tensor.shape is None else tuple(tensor.shape)
        return array.reshape(shape) if array.size == np.prod(shape, dtype=int) else array

    def find(self, weight: np.ndarray) -> list[Found]:
        """Returns every constant that holds a weight, or a gate of a recurrent kernel."""
        found = []
        for number, subgraph in enumerate(self.model.subgraphs):
            for index, tensor in enumerate(subgraph.tensors):
                size = np.prod([] if tensor.shape is None else tensor.shape, dtype=int)
                parts = layout.parts_of(weight, size)
                if tensor.type != schema.TensorType.FLOAT32 or not parts:
                    continue
                array = self.constant(tensor)
                if array is None or array.shape != tuple(tensor.shape):
                    continue
                lies = layout.find(weight, array, parts)
                if lies is not None:
                    found.append(Found(number, index, lies))
        return found

    def consumers(self, found: Found) -> list[schema.OperatorT]:
        """The operations that take a tensor."""
        operators = self.model.subgraphs[found.subgraph].operators
        return [op for op in operators if found.tensor in op.inputs]

    def name_of(self, operator: schema.OperatorT) -> str:
        """Name of an operation in the schema, such as `CONV_2D`."""
        code = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        names = vars(schema.BuiltinOperator).items()
        return next(name for name, number in names if number == code)

    def is_table(self, operator: schema.OperatorT, tensor: int) -> bool:
        """Whether an operation looks up rows of a tensor."""
        if self.name_of(operator) != "GATHER" or operator.inputs[0] != tensor:
            return False
        return operator.builtinOptions.axis == operator.builtinOptions.batchDims == 0

    def add_constant(self, subgraph: int, name: str, constant: Constant) -> int:
        """Adds a constant tensor; returns its number."""
        tensor = _tensor(name, constant.kind, constant.shape)
        tensor.buffer = self.add_buffer(constant.data)
        tensor.quantization = _quantization(constant.scale, constant.axis)
        tensor.sparsity = constant.sparsity
        return self.add(subgraph, tensor)

    def add_result(self, subgraph: int, name: str, constant: Constant) -> int:
        """Adds a tensor that an operation will fill with what a constant holds."""
        tensor = _tensor(name, constant.kind, constant.shape)
        tensor.quantization = _quantization(constant.scale, constant.axis)
        return self.add(subgraph, tensor)

    def add_rows(self, subgraph: int, name: str, like: int, table: Constant) -> int:
        """Adds a tensor for rows of a table, of the shape of another tensor."""
        other = self.model.subgraphs[subgraph].tensors[like]
        tensor = _tensor(name, table.kind, other.shape)
        tensor.shapeSignature = other.shapeSignature
        tensor.quantization = _quantization(table.scale, len(other.shape) - 1)
        return self.add(subgraph, tensor)

    def empty(self, found: Found) -> str:
        """Takes the content of a constant away, for an operation to fill it; returns its name."""
        tensor = self.model.subgraphs[found.subgraph].tensors[found.tensor]
        shared = [
            other
            for subgraph in self.model.subgraphs
            for other in subgraph.tensors
            if other.buffer == tensor.buffer and other is not tensor
        ]
        if not shared and tensor.buffer:
            self.model.buffers[tensor.buffer].data = None
        tensor.buffer = 0
        tensor.quantization = None
        return _text(tensor.name)

    def insert(
        self,
        subgraph: int,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        before: schema.OperatorT | None = None,
        options: object | None = None,
        version: int = 1,
    ) -> None:
        """Adds an operation.

        Args:
            subgraph: where.
            name: of the operation in the schema, such as `DEQUANTIZE`.
            inputs: numbers of tensors.
            outputs: numbers of tensors.
            before: the operation that it precedes; None for the start.
            options: its options in the schema, an object such as `GatherOptionsT`.
            version: the least version of the operation that does what is asked.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self.opcode(getattr(schema.BuiltinOperator, name), version)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.place(subgraph, operator, before)

    def place(
        self, subgraph: int, operator: schema.OperatorT, before: schema.OperatorT | None = None
    ) -> None:
        """Puts an operation before another, or at the start."""
        operators = self.model.subgraphs[subgraph].operators
        there = 0 if before is None else _index(operators, before)
        operators.insert(there, operator)

    def remove(self, subgraph: int, operator: schema.OperatorT) -> None:
        """Takes an operation away."""
        operators = self.model.subgraphs[subgraph].operators
        del operators[_index(operators, operator)]

    def at_least(self, operator: schema.OperatorT, version: int) -> None:
        """Raises the version of an operation, which a runtime must know to take the file."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        if (code.version or 1) < version:
            operator.opcodeIndex = self.opcode(code.builtinCode, version)

    def pack(self) -> bytes:
        """Returns the bytes of the file."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def add_buffer(self, data: np.ndarray) -> int:
        """Adds the bytes of an array to the file; returns their number."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def add(self, subgraph: int, tensor: schema.TensorT) -> int:
        """Adds a tensor; returns its number."""
        tensors = self.model.subgraphs[subgraph].tensors
        tensors.append(tensor)
        return len(tensors) - 1

    def opcode(self, code: int, version: int) -> int:
        """Returns the number in the file of a version of an operation; adds it if it is new."""
        for index, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == code and (known.version or 1) == version:
                return index
        new = schema.OperatorCodeT()
        new.builtinCode, new.version = code, version
        new.deprecatedBuiltinCode = min(code, 127)
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1


def _numbers(vector: np.ndarray | None) -> list[int]:
    return [] if vector is None else [int(number) for number in vector]


def _index(operators: list, operator: schema.OperatorT) -> int:
    return next(n for n, other in enumerate(operators) if other is operator)


def _tensor(name: str, kind: str, shape: Sequence[int]) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name, list(shape)
    tensor.type = getattr(schema.TensorType, kind)
    tensor.buffer, tensor.hasRank = 0, True
    return tensor


def _quantization(scale: np.ndarray | None, axis: int) -> schema.QuantizationParametersT | None:
    if scale is None:
        return None
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.asarray(scale, np.float32)
    parameters.zeroPoint = np.zeros(len(scale), np.int64)
    parameters.quantizedDimension = axis
    return parameters


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def dtype_of(tensor: schema.TensorT) -> np.dtype | None:
    """Dtype of a tensor's elements; None for what is no number."""
    names = {code: name for name, code in vars(schema.TensorType).items() if name in _DTYPES}
    name = names.get(tensor.type)
    return None if name is None else np.dtype(_DTYPES[name])
