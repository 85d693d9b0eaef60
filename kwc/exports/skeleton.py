"""A `.tflite` file cut into what weights fill and what is left: its skeleton."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from etils import epy

from kwc.exports import layout
from kwc.exports.flatbuffer import Graph
from kwc.runtime.layout import Layout
from kwc.runtime.packed import Packed, Place

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema

_NOTES = {b"min_runtime_version", b"CONVERSION_METADATA"}
_ULPS = (0, 1, -1, 2, -2)


def strip(data: bytes) -> bytes:
    """Returns a file that computes the same, without what only people read.

    Gone are its description, the converter's notes, and the names of all tensors but those of
    inputs and outputs; signatures stay.
    """
    graph = Graph(data)
    model = graph.model
    model.description = None
    model.metadataBuffer = None
    model.metadata = [note for note in model.metadata or () if note.name not in _NOTES] or None
    for subgraph in model.subgraphs:
        ends = (subgraph.inputs, subgraph.outputs)
        shown = {int(number) for numbers in ends if numbers is not None for number in numbers}
        for number, tensor in enumerate(subgraph.tensors):
            if number not in shown:
                tensor.name = None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
    _drop_empty_buffers(model)
    return graph.pack()


def _drop_empty_buffers(model: schema.ModelT) -> None:
    """Numbers the buffers anew: 0 stands for every empty one."""
    kept, numbers = [schema.BufferT()], {}
    tensors = (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors)
    for holder in (*tensors, *(model.metadata or ())):
        old = holder.buffer
        if old not in numbers:
            buffer = model.buffers[old]
            is_empty = buffer.data is None or not len(buffer.data)
            numbers[old] = 0 if is_empty else len(kept)
            kept += [] if is_empty else [buffer]
        holder.buffer = numbers[old]
    model.buffers = kept


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A float32 constant: where its bytes are, and the tensors of the main graph that it is."""

    start: int
    array: np.ndarray
    tensors: tuple[int, ...]


def cut(
    data: bytes, weights: Iterable[tuple[str, np.ndarray]]
) -> tuple[Packed, dict[str, dict[int, Layout]]]:
    """Takes the constants out of a file that weights fill to the last bit.

    Args:
        data: the file.
        weights: path and decoded value of each; they are asked for one at a time, and the first of
            those that fill a constant does.

    Returns:
        The skeleton with its places, and for each weight that fills one, or is equal to one that
        does, the numbers of its tensors in the main graph, with how it lies in them.
    """
    left, taken = {constant.start: constant for constant in _constants(data)}, {}
    places, tensors = [], {}
    for path, value in weights:
        found = _holders(value, left) or _holders(value, taken)
        for start, lies in found.items():
            if start in left:
                taken[start] = left.pop(start)
                places.append(Place(start, path, lies))
            tensors.setdefault(path, {}).update(dict.fromkeys(taken[start].tensors, lies))
    places.sort(key=lambda place: place.start)
    keep = np.ones(len(data), bool)
    for place in places:
        keep[place.start : place.stop] = False
    return Packed(np.frombuffer(data, np.uint8)[keep], tuple(places)), tensors


def _holders(weight: np.ndarray, constants: Mapping[int, _Constant]) -> dict[int, Layout]:
    found = {start: _exact(weight, constant.array) for start, constant in constants.items()}
    return {start: lies for start, lies in found.items() if lies is not None}


def _constants(data: bytes) -> Iterator[_Constant]:
    """Yields every float32 constant."""
    graph = Graph(data)
    first = _address(np.frombuffer(data, np.uint8))
    holders: dict[int, list[tuple[int, int]]] = {}
    for number, subgraph in enumerate(graph.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            holders.setdefault(tensor.buffer, []).append((number, index))
    for buffer, users in holders.items():
        tensor = graph.model.subgraphs[users[0][0]].tensors[users[0][1]]
        array = graph.constant(tensor)
        if array is None or array.dtype != np.float32:
            continue
        main = tuple(index for number, index in users if number == 0)
        yield _Constant(_address(graph.model.buffers[buffer].data) - first, array, main)


def _address(view: np.ndarray) -> int:
    return view.__array_interface__["data"][0]


def _exact(weight: np.ndarray, constant: np.ndarray) -> Layout | None:
    """How a weight lies in a constant that it makes bit by bit; None if it does not."""
    parts = layout.parts_of(weight, constant.size)
    if weight.dtype != np.float32 or not parts:
        return None
    found = layout.find(weight, constant, parts)
    if found is not None and found.factor is not None:
        factor = _rounded(weight, constant, found)
        found = dataclasses.replace(found, factor=factor)
    if found is None or found.apply(weight).tobytes() != constant.tobytes():
        return None
    return found


def _rounded(weight: np.ndarray, constant: np.ndarray, found: Layout) -> np.ndarray:
    """The factor whose last bits and, where a channel is 0, sign are those that were multiplied."""
    lengths = [weight.shape[axis] for axis in found.axes]
    wanted = constant.reshape(lengths).transpose(np.argsort(found.axes)).view(np.int32)
    inputs = tuple(axis for axis, n in enumerate(found.factor.shape) if n == 1)
    factor = found.factor
    missing = np.ones(factor.shape, bool)
    for sign in (1, -1):
        for ulps in _ULPS:
            candidate = sign * (found.factor.view(np.int32) + ulps).view(np.float32)
            made = (weight * candidate).view(np.int32)
            fits = np.all(made == wanted, axis=inputs, keepdims=True) & missing
            factor = np.where(fits, candidate, factor)
            missing &= ~fits
            if not missing.any():
                return factor
    return factor
