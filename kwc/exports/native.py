"""Routes to TensorFlow Lite whose weights are decoded once, when the file is loaded.

The plain model is converted, then constants that hold compressed weights are replaced by what the
runtime decodes itself. Nothing is left for the converter to fold or to get wrong.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
from etils import epy

from kwc.artifact import CodedWeight
from kwc.exports import constants, forms, products, tflite
from kwc.exports.flatbuffer import Constant, Found, Graph
from kwc.exports.forms import Weight
from kwc.exports.layout import Layout
from kwc.exports.routes import Place, Placed, Route, anything, register
from kwc.exports.source import Source

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema

Encoder = Callable[[Layout], Constant | None]

_HYBRID_VERSIONS = {"FULLY_CONNECTED": 12, "CONV_2D": 5}
_GATHER_VERSIONS = {"INT8": 2, "INT4": 7}
_DEQUANTIZE_VERSIONS = {"INT8": 5, "INT4": 6, "FLOAT16": 3}
# Others that take a sparse weight compute something else with XNNPACK than without it.
_SPARSE = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "GATHER"}
_NOT_SCALED = "its arrays are not integers times a scale for each output channel"


@dataclasses.dataclass(frozen=True)
class Native:
    """What constants a route makes.

    Attributes:
        encoder: what makes constants of a weight, or says why there are none.
        hybrid: whether products take integers themselves, and quantize what multiplies them.
        every: whether weights count that no algorithm compressed.
    """

    encoder: Callable[[Weight], Encoder | str]
    hybrid: bool = False
    every: bool = False

    def why_not(self, weight: CodedWeight) -> str:
        """The `why_not` of the route."""
        parts = self._parts(weight)
        return parts if isinstance(parts, str) else ""

    def write(self, source: Source, path: pathlib.Path) -> dict[str, Placed]:
        """The `write` of the route."""
        graph = Graph(tflite.convert(source))
        placed = {}
        for name, weight in source.weights.items():
            placed[name] = Placed("float32")
            if self.every or name in source.compressed:
                placed[name] = self._place(graph, weight)
        path.write_bytes(graph.pack())
        return placed

    def _parts(self, weight: CodedWeight) -> list[tuple[Weight, Encoder]] | str:
        """The weight or its two factors, and what makes constants of each; or why nothing does."""
        if len(weight.info.shape) < 2:
            return "it is no matrix, and too small to matter"
        if weight.info.dtype != "float32":
            return f"it is {weight.info.dtype}"
        pair = forms.factors(weight)
        parts = []
        for part in pair or (weight,):
            encoder = self.encoder(part)
            if isinstance(encoder, str):
                return encoder if part is weight else _of_factor(part, encoder)
            parts.append((part, encoder))
        return parts

    def _place(self, graph: Graph, weight: CodedWeight) -> Placed:
        parts = self._parts(weight)
        if isinstance(parts, str):
            return Placed("float32", reason=parts)
        found = graph.find(weight.decompress())
        if not found:
            return Placed("float32", reason=tflite.GONE)
        if len(parts) == 1:
            return self._place_whole(graph, weight, found, parts[0][1])
        return self._place_factors(graph, weight, found, parts)

    def _place_whole(
        self, graph: Graph, weight: CodedWeight, found: list[Found], encoder: Encoder
    ) -> Placed:
        encoded = [encoder(where.layout) for where in found]
        wrong = {graph.name_of(op) for where in found for op in graph.consumers(where)} - _SPARSE
        if wrong and any(c is not None and c.sparsity is not None for c in encoded):
            return Placed("float32", reason=f"{wrong.pop()} takes no sparse weight")
        if None in encoded:
            return Placed("float32", reason="the scale of a batch norm is no scale of its channels")
        places = []
        for where, constant in zip(found, encoded, strict=True):
            places += _replace(graph, where, constant, weight.info.path, self.hybrid)
        return Placed(_form(encoded), tuple(constant.data for constant in encoded), tuple(places))

    def _place_factors(
        self,
        graph: Graph,
        weight: CodedWeight,
        found: list[Found],
        parts: list[tuple[Weight, Encoder]],
    ) -> Placed:
        held = products.split(graph, weight, [factor for factor, _ in parts], found)
        if not held:
            encoder = self.encoder(weight)
            if isinstance(encoder, str):
                names = {graph.name_of(op) for where in found for op in graph.consumers(where)}
                return Placed("float32", reason=f"{', '.join(sorted(names))} takes no factors")
            return self._place_whole(graph, weight, found, encoder)
        encoders = {factor.info.path: encoder for factor, encoder in parts}
        encoded = []
        for factor, where in held:
            constant = encoders[factor.info.path](where.layout)
            if constant is None:
                plain = where.layout.apply(factor.decompress())
                constant = Constant("FLOAT32", where.layout.shape, plain)
            else:
                _replace(graph, where, constant, factor.info.path, self.hybrid)
            encoded.append(constant)
        return Placed(f"{_form(encoded)} factors", tuple(c.data for c in encoded))


def _of_factor(factor: Weight, reason: str) -> str:
    name = factor.info.path.rpartition("/")[2]
    return f"of its factor {name}, {reason}; --decompress=during holds factors as they are"


def _form(encoded: list[Constant]) -> str:
    """What constants are called in the report."""
    last = encoded[-1]
    return last.kind.lower() + ("" if last.sparsity is None else " sparse")


def _replace(
    graph: Graph, found: Found, constant: Constant, path: str, hybrid: bool
) -> list[Place]:
    """Puts a constant in the place of a plain one; returns where its decoded value can be read."""
    number = found.subgraph
    consumers = graph.consumers(found)
    name = graph.empty(found)
    if hybrid and all(_is_product(graph, operator, found, constant) for operator in consumers):
        scale = np.broadcast_to(constant.scale, constant.shape[:1])
        by_output = dataclasses.replace(constant, scale=scale, axis=0)
        tensor = graph.add_constant(number, path, by_output)
        for operator in consumers:
            _multiply(graph, tensor, operator)
        return []
    tensor = stored = graph.add_constant(number, path, constant)
    is_float = constant.kind == "FLOAT32"
    if constant.sparsity is not None:
        dense = dataclasses.replace(constant, sparsity=None)
        tensor = found.tensor if is_float else graph.add_result(number, f"{path}/dense", dense)
    tables = [operator for operator in consumers if _is_table(graph, operator, found, constant)]
    for operator in tables:
        _gather(graph, number, constant, path, tensor, operator)
    plain = len(tables) < len(consumers)
    if plain and not is_float:
        _dequantize(graph, number, constant, tensor, found.tensor)
    if constant.sparsity is not None:
        options = schema.DensifyOptionsT()
        graph.insert(number, "DENSIFY", [stored], [tensor], options=options)
    return [Place(name, found.layout)] if plain else []


def _is_product(graph: Graph, operator, found: Found, constant: Constant) -> bool:
    """Whether an operation is a product by the constant, one of whose scales each output has."""
    is_right = graph.name_of(operator) in _HYBRID_VERSIONS and operator.inputs[1] == found.tensor
    return is_right and (constant.axis == 0 or len(constant.scale) == 1)


def _is_table(graph: Graph, operator, found: Found, constant: Constant) -> bool:
    """Whether an operation looks up rows of integers that have the same scales."""
    if not graph.is_table(operator, found.tensor) or constant.kind not in _GATHER_VERSIONS:
        return False
    if constant.kind == "INT4" and constant.shape[-1] % 2:  # A row begins within a byte.
        return False
    return len(constant.scale) == 1 or constant.axis == len(constant.shape) - 1


def _gather(graph, number: int, constant: Constant, path: str, tensor: int, operator) -> None:
    """Looks up rows of integers, and decodes those alone."""
    options, version = schema.GatherOptionsT(), _GATHER_VERSIONS[constant.kind]
    rows = graph.add_rows(number, f"{path}/rows", operator.outputs[0], constant)
    inputs = [tensor, operator.inputs[1]]
    graph.insert(number, "GATHER", inputs, [rows], operator, options, version)
    _dequantize(graph, number, constant, rows, operator.outputs[0], operator)
    graph.remove(number, operator)


def _dequantize(
    graph: Graph, number: int, constant: Constant, stored: int, decoded: int, before=None
) -> None:
    version = _DEQUANTIZE_VERSIONS[constant.kind]
    graph.insert(number, "DEQUANTIZE", [stored], [decoded], before, version=version)


def _multiply(graph: Graph, tensor: int, operator) -> None:
    """Lets a product take integers."""
    operator.inputs[1] = tensor
    kind = graph.name_of(operator)
    if kind == "FULLY_CONNECTED":
        operator.builtinOptions.asymmetricQuantizeInputs = True
    graph.at_least(operator, _HYBRID_VERSIONS[kind])


def _float16(weight: Weight) -> Encoder | str:
    return functools.partial(constants.float16, weight.decompress())


def _integers(weight: Weight, bits: int) -> forms.Scaled | str:
    form = forms.scaled(weight)
    if form is None:
        return _NOT_SCALED
    if form.bits > bits:
        return f"its integers, {form.range}, need more than {bits} bits"
    return form


def _int8(weight: Weight) -> Encoder | str:
    form = _integers(weight, 8)
    return form if isinstance(form, str) else functools.partial(constants.int8, form)


def _int4(weight: Weight) -> Encoder | str:
    form = _integers(weight, 4)
    return form if isinstance(form, str) else functools.partial(constants.int4, form)


def _sparse(weight: Weight) -> Encoder | str:
    """Integers of 8 bits where the weight has such, else floats."""
    integers = _int8(weight)
    value = weight.decompress()
    if not value.any():
        return "it is all zeros, and a constant of none is no constant"

    def dense(lies: Layout) -> Constant | None:
        if isinstance(integers, str):
            return Constant("FLOAT32", lies.shape, lies.apply(value))
        return integers(lies)

    def encode(lies: Layout) -> Constant | None:
        constant = dense(lies)
        return None if constant is None else constants.sparse(constant)

    plain = dense(Layout(tuple(range(value.ndim)), value.shape))
    if constants.nbytes(constants.sparse(plain)) >= constants.nbytes(plain):
        return f"with {np.mean(value == 0):.0%} zeros, indices take more than zeros save"
    return encode


def _register(name: str, about: str, native: Native, tolerance: float = 0.0) -> Route:
    return register(
        Route(
            name=name,
            to="tflite",
            decompress="before",
            about=about,
            tolerance=tolerance,
            why_not=native.why_not,
            write=native.write,
            read=tflite.Converted,
        )
    )


INT8 = _register("int8", "integers of 8 bits, exact; decoded once at load", Native(_int8))
INT4 = _register("int4", "integers of 4 bits, exact; decoded once at load", Native(_int4))
SPARSE = _register("sparse", "pruned weights without their zeros, exact", Native(_sparse))
HYBRID = _register(
    "hybrid",
    "integers of 8 bits that products take as they are, with inputs quantized on the way",
    Native(_int8, hybrid=True),
    tolerance=5e-2,
)
FLOAT16 = _register(
    "float16", "every matrix in floats of 16 bits", Native(_float16, every=True), tolerance=1e-2
)


def _write_float32(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    path.write_bytes(tflite.convert(source))
    return {name: Placed("float32") for name in source.weights}


FLOAT32 = register(
    Route(
        name="float32",
        to="tflite",
        decompress="before",
        about="plain floats, as TensorFlow converts them: the largest file",
        tolerance=0.0,
        why_not=anything,
        write=_write_float32,
        read=tflite.Converted,
    )
)
