"""How a traced model uses a weight: which rows multiply it, and what comes out.

Nothing is asked of the layers: a weight is followed in the graph to the operations that consume it,
so a custom layer that multiplies a matrix is understood as Dense is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kwc.compressor import WeightInfo


@dataclasses.dataclass(frozen=True)
class Use:
    """One operation that multiplies a weight, in the matrix view of its `WeightInfo`.

    Attributes:
        output: what the operation puts out.
        rows: function that adds to the graph what multiplies the weight, float32 [count, rows];
            where the input is one-hot, integer [count], the rows that are looked up. It takes a
            number: if there are many more than that, those of some examples suffice. None for a
            weight that is added: it is multiplied by 1.
        columns: function of a tensor like `output` that reshapes it to [count, columns].
        is_product: whether row i of the columns is row i of the rows times the weight.
    """

    output: tf.Tensor
    rows: Callable[[int], tf.Tensor] | None
    columns: Callable[[tf.Tensor], tf.Tensor]
    is_product: bool = True


class NotUnderstoodError(Exception):
    """An operation whose input cannot be told; the message is its type and what is special."""


def find(weight: tf.Tensor, info: WeightInfo) -> list[Use]:
    """Returns the uses of a weight in its graph: several, where layers share it.

    Of a table that is looked up and multiplied as well, only those of the first kind are told.

    Raises:
        NotUnderstoodError: no operation that is known here uses the weight.
    """
    understood, reason = [], "unused"
    for tensor, operation in _consumers(weight):
        try:
            if operation.type not in _READERS:
                raise NotUnderstoodError(operation.type)
            understood.append((operation.type, _READERS[operation.type](operation, tensor, info)))
        except NotUnderstoodError as error:
            reason = str(error)
    if not understood:
        raise NotUnderstoodError(reason)
    return [use for kind, use in understood if kind == understood[0][0]]


_LEAST_IMAGES = 8
_VIEWS = ("Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "StopGradient")


def _consumers(tensor: tf.Tensor) -> Iterator[tuple[tf.Tensor, tf.Operation]]:
    """Operations that take a tensor, or a view of it with its elements in the same order."""
    for operation in tensor.consumers():
        if operation.type in _VIEWS and operation.inputs[0] is tensor:
            yield from _consumers(operation.outputs[0])
        elif operation.type not in ("Shape", "ShapeN"):
            yield tensor, operation


def is_added(use: Use, weight: tf.Tensor) -> bool:
    """Whether a weight is the bias that is added to the output of a use."""
    return any(
        operation.type in ("BiasAdd", "AddV2") and operation in [c for _, c in _consumers(weight)]
        for _, operation in _consumers(use.output)
    )


def _split(operation: tf.Operation, tensor: tf.Tensor, place: int) -> tf.Tensor:
    """The other operand of an operation that has the weight in a certain place."""
    if operation.inputs[place] is not tensor:
        raise NotUnderstoodError(f"{operation.type} of a left operand")
    return operation.inputs[1 - place]


def _last(info: WeightInfo, tensor: tf.Tensor) -> None:
    """Checks that a view of the weight is its matrix, with as many leading axes as it likes."""
    axes = info.input_axes + info.output_axes
    is_matrix = tensor.shape[-1] == info.matrix_shape[1] and axes == tuple(range(len(axes)))
    if not is_matrix:
        raise NotUnderstoodError("another matrix than the weight's")


def _flat(columns: int) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda tensor: tf.reshape(tf.cast(tensor, tf.float32), [-1, columns])


def _multiplied(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    inputs = _split(operation, tensor, 1)
    transposed = [
        name
        for name in ("transpose_a", "transpose_b", "adj_x", "adj_y")
        if name in operation.node_def.attr and operation.get_attr(name)
    ]
    if transposed or tensor.shape.rank != 2:
        raise NotUnderstoodError(f"{operation.type} of a transposed or batched matrix")
    _last(info, tensor)
    rows, columns = info.matrix_shape
    return Use(operation.outputs[0], lambda most: _flat(rows)(inputs), _flat(columns))


def _einsum(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    inputs = _split(operation, tensor, 1)
    output = operation.outputs[0]
    operands, result = operation.get_attr("equation").decode().replace(" ", "").split("->")
    labels, kernel = operands.split(",")
    free = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in labels + kernel + result)
    ellipsis = free[: (inputs.shape.rank or 0) - len(labels.replace("...", ""))]
    labels, result = (text.replace("...", ellipsis) for text in (labels, result))
    contracted = "".join(kernel[axis] for axis in info.input_axes if axis < len(kernel))
    produced = "".join(kernel[axis] for axis in info.output_axes if axis < len(kernel))
    summed = {c for c in kernel if c not in result}
    if (
        tuple(tensor.shape) != info.shape
        or set(contracted) != summed
        or not summed <= set(labels)
        or set(produced) & set(labels)
    ):
        raise NotUnderstoodError(f"Einsum {operands}->{result}")
    rows, columns = info.matrix_shape
    batch_in = "".join(c for c in labels if c not in contracted)
    batch_out = "".join(c for c in result if c not in produced)
    if set(batch_in) - set(batch_out):
        raise NotUnderstoodError(f"Einsum {operands}->{result}")

    def ordered(x, source, target, width):
        return tf.reshape(
            tf.transpose(tf.cast(x, tf.float32), [source.index(c) for c in target]), [-1, width]
        )

    return Use(
        output,
        lambda most: ordered(inputs, labels, batch_out + contracted, rows),
        lambda x: ordered(x, result, batch_out + produced, columns),
    )


def _convolution(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    patches = _patches(operation, tensor)
    if tensor.shape[2] != operation.inputs[0].shape[-1]:
        raise NotUnderstoodError(f"{operation.type} in groups")
    _last(info, tensor)
    rows, columns = info.matrix_shape
    return Use(operation.outputs[0], lambda most: _flat(rows)(patches(most)), _flat(columns))


def _depthwise(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    """All channels share the moment of their patches, as they share the matrix's rows."""
    patches = _patches(operation, tensor)
    if tuple(tensor.shape) != info.shape or info.input_axes != (0, 1):
        raise NotUnderstoodError("another matrix than the weight's")
    rows, columns = info.matrix_shape
    channels = tensor.shape[2]

    def by_channel(most):
        split = tf.reshape(patches(most), [-1, rows, channels])
        return tf.reshape(tf.transpose(split, [0, 2, 1]), [-1, rows])

    return Use(operation.outputs[0], by_channel, _flat(columns), is_product=False)


def _patches(operation: tf.Operation, tensor: tf.Tensor) -> Callable[[int], tf.Tensor]:
    """The function that cuts the input of a 2-D convolution into what each position sees."""
    images = _split(operation, tensor, 1)
    if operation.get_attr("data_format") != b"NHWC":
        raise NotUnderstoodError(f"{operation.type} of channels first")
    padding = operation.get_attr("padding").decode()
    explicit = operation.get_attr("explicit_paddings")
    height, width = tensor.shape[:2]

    def cut(most):
        shape = tf.shape(operation.outputs[0])
        enough = tf.maximum(_LEAST_IMAGES, 4 * most // (shape[1] * shape[2]))
        x = tf.cast(images[:enough], tf.float32)
        x = tf.pad(x, np.reshape(explicit, [4, 2])) if padding == "EXPLICIT" else x
        return tf.image.extract_patches(
            x,
            [1, height, width, 1],
            operation.get_attr("strides"),
            operation.get_attr("dilations"),
            "VALID" if padding == "EXPLICIT" else padding,
        )

    return cut


def _looked_up(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    ids = operation.inputs[1]
    if operation.inputs[0] is not tensor or len(info.shape) != 2 or info.input_axes != (0,):
        raise NotUnderstoodError(operation.type)
    columns = _flat(info.matrix_shape[1])
    return Use(operation.outputs[0], lambda most: tf.reshape(ids, [-1]), columns, is_product=False)


def _added(operation: tf.Operation, tensor: tf.Tensor, info: WeightInfo) -> Use:
    output = operation.outputs[0]
    rank = tensor.shape.rank
    if info.input_axes or tuple(output.shape[-rank:]) != info.shape:
        raise NotUnderstoodError(operation.type)
    return Use(output, None, _flat(info.matrix_shape[1]), is_product=False)


_READERS = {
    "MatMul": _multiplied,
    "BatchMatMulV2": _multiplied,
    "Einsum": _einsum,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "GatherV2": _looked_up,
    "ResourceGather": _looked_up,
    "BiasAdd": _added,
    "AddV2": _added,
}
