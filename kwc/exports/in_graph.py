"""The route to TensorFlow Lite that decodes weights in every inference, by the algorithm itself.

The plain model is converted, and apart from it the algorithms' own `decompress`, as functions of
their arrays: so there is nothing constant that the converter could fold. Their operations are then
moved into the model, each weight's to where the weight is first needed.

A product of two factors is two products, and rows of a table are looked up in the arrays and then
decoded: neither weight ever exists.
"""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from kwc.artifact import PackedWeight
from kwc.exports import forms, products, tflite
from kwc.exports.decoders import Decoder, Rows, Whole, decoders, taken
from kwc.exports.flatbuffer import Constant, Found, Graph
from kwc.exports.forms import Weight
from kwc.exports.graft import graft
from kwc.exports.routes import Place, Placed, Route, register
from kwc.exports.source import Source
from kwc.report import dense_bytes


def _why_not(weight: Weight) -> str:
    if len(weight.info.shape) < 2:
        return "it is no matrix, and too small to matter"
    if weight.info.dtype != "float32":
        return f"it is {weight.info.dtype}"
    packed = sum(array.nbytes for array in taken(weight).values())
    dense = dense_bytes(weight.info)
    if packed >= dense:
        return (
            f"its arrays take {packed:,} bytes without entropy coding, the weight takes {dense:,}"
        )
    return ""


def _write(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    graph = Graph(tflite.convert(source))
    placed = {name: Placed("float32") for name in source.weights}
    used: list[Decoder] = []
    for name, weight in source.compressed.items():
        reason = _why_not(weight)
        found = [] if reason else graph.find(weight.decompress())
        if not found:
            reason = reason or tflite.GONE
            placed[name] = Placed("float32", reason=reason)
            continue
        pair = forms.factors(weight)
        held = [] if pair is None else products.split(graph, weight, pair, found)
        if held:
            placed[name] = _placed_factors(graph, held, used)
        else:
            placed[name] = _placed(graph, weight, found, used)
    if used:
        _graft(graph, used)
    path.write_bytes(graph.pack())
    return placed


def _placed(graph: Graph, weight: Weight, found: list[Found], used: list[Decoder]) -> Placed:
    """Takes the constants of a weight away, and adds to what will decode it."""
    own, places = list(decoders(graph, weight, found)), []
    for decoder in own:
        for where in decoder.found:
            name = graph.empty(where)
            if isinstance(decoder, Whole):
                places.append(Place(name, where.layout))
    used += own
    return Placed("decoded", tuple(own[0].arrays.values()), tuple(places))


def _placed_factors(
    graph: Graph, held: list[tuple[PackedWeight, Found]], used: list[Decoder]
) -> Placed:
    """Decodes the factors that are smaller so."""
    arrays: list[np.ndarray] = []
    form = "float32"
    for factor, where in held:
        if _why_not(factor):
            tensor = graph.model.subgraphs[where.subgraph].tensors[where.tensor]
            arrays.append(graph.constant(tensor))
        else:
            arrays += _placed(graph, factor, [where], used).arrays
            form = "decoded"
    return Placed(f"{form} factors", tuple(arrays))


def _graft(graph: Graph, used: list[Decoder]) -> None:
    """Converts all decoders at once, and puts each where its weight is needed."""
    scion = Graph(tflite.convert_function(_function(used)))
    stored: dict[tuple[int, str], int] = {}
    for number, decoder in enumerate(used):
        subgraph = decoder.found[0].subgraph
        bound = {_name(number, n): tensor for n, (_, tensor) in decoder.more_inputs().items()}
        for name, array in decoder.arrays.items():
            path = f"{decoder.weight.info.path}/{name}"
            if (subgraph, path) not in stored:
                constant = Constant(array.dtype.name.upper(), array.shape, array)
                stored[subgraph, path] = graph.add_constant(subgraph, path, constant)
            bound[_name(number, name)] = stored[subgraph, path]
        results = {_name(number, n): tensor for n, tensor in decoder.results().items()}
        graft(graph, subgraph, scion, bound, results, decoder.before)
    for decoder in used:
        if isinstance(decoder, Rows):
            graph.remove(decoder.found[0].subgraph, decoder.before)


def _function(used: list[Decoder]) -> tf.types.experimental.ConcreteFunction:
    """All decoders as one function; names of inputs and outputs begin with the decoder's number."""
    specs = {}
    for number, decoder in enumerate(used):
        for name, array in decoder.arrays.items():
            specs[_name(number, name)] = tf.TensorSpec(array.shape, array.dtype)
        for name, (spec, _) in decoder.more_inputs().items():
            specs[_name(number, name)] = spec

    def decode(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        results = {}
        for number, decoder in enumerate(used):
            names = [*decoder.arrays, *decoder.more_inputs()]
            values = decoder({name: inputs[_name(number, name)] for name in names})
            results |= {_name(number, name): value for name, value in values.items()}
        return results

    return tf.function(decode).get_concrete_function(**specs)


def _name(number: int, name: str) -> str:
    return f"w{number}_{name}".replace("/", "_")


ROUTE = register(
    Route(
        name="in_graph",
        to="tflite",
        decompress="during",
        about="the algorithm's own arrays, decoded in every inference; low rank as two products",
        tolerance=0.0,
        why_not=_why_not,
        write=_write,
        read=tflite.Converted,
    )
)
