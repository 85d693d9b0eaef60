"""Routes to SavedModel: signatures, their variables, and weights that their own graphs decode.

TensorFlow Serving, `tf.saved_model.load` and the loader of TensorFlow 1 take what is written, with
TensorFlow's own operations alone. Nothing of training is in it, nor of Keras.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kwc.artifact import CodedWeight
from kwc.exports.errors import ExportError
from kwc.exports.layout import Layout
from kwc.exports.loaded import Loaded, name_of
from kwc.exports.routes import Place, Placed, Route, anything, register
from kwc.exports.source import Source
from kwc.exports.storage import Bits, Deflated, inflated
from kwc.exports.stripping import strip
from kwc.exports.substitution import substituted
from kwc.ops import TensorFlowOps
from kwc.report import dense_bytes

_PACKED = "packed"  # The checkpoint among the assets, and the tensor in it.
_Resource = tf.saved_model.experimental.TrackableResource


class _DecodedAtLoad(tf.Module):
    """A weight in a variable that the file holds empty, and the arrays that it is decoded from."""

    def __init__(self, weight: CodedWeight):
        super().__init__()
        self._info, self._compressor = weight.info, weight.compressor
        self.arrays = {name: Deflated.of(array) for name, array in weight.arrays.items()}
        # Without a shape it takes any value, and a checkpoint of it takes no bytes.
        empty = tf.zeros([0], weight.info.dtype)
        self._variable = tf.Variable(empty, shape=tf.TensorShape(None), trainable=False)

    def read(self) -> tf.Tensor:
        """Returns the weight."""
        value = tf.convert_to_tensor(self._variable)
        value.set_shape(self._info.shape)
        return value

    def decode(self, arrays: Iterator[tf.Tensor]) -> None:
        """Fills the variable from its arrays, the next ones."""
        own = {name: next(arrays) for name in self.arrays}
        self._variable.assign(_decode(self._compressor, own, self._info))


class _Decoder(_Resource):
    """Has an initializer that decodes weights from a checkpoint among the assets.

    Loaders run it after they have restored the variables. They do so for resources alone, so it is
    one; what its handle stands for does not exist.
    """

    def __init__(self, weights: Iterable[_DecodedAtLoad], index: tf.saved_model.Asset):
        self._weights, self._index = list(weights), index
        super().__init__()

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="kwc_decoder")

    def _initialize(self) -> None:
        [codes] = tf.raw_ops.RestoreV2(
            prefix=tf.strings.regex_replace(self._index.asset_path, r"\.index$", ""),
            tensor_names=[_PACKED],
            shape_and_slices=[""],
            dtypes=[tf.string],
        )
        stored = [array for weight in self._weights for array in weight.arrays.values()]
        arrays = iter(inflated(stored, codes))
        for weight in self._weights:
            weight.decode(arrays)


class _DecodedAtCall(tf.Module):
    """A weight that is decoded from variables whenever it is read."""

    def __init__(self, weight: CodedWeight):
        super().__init__()
        self._info, self._compressor = weight.info, weight.compressor
        self.arrays = {name: Bits(array) for name, array in weight.arrays.items()}

    def read(self) -> tf.Tensor:
        """Returns the weight."""
        arrays = {name: array.read() for name, array in self.arrays.items()}
        return _decode(self._compressor, arrays, self._info)


@dataclasses.dataclass(frozen=True)
class _Held:
    """How a SavedModel holds one compressed weight.

    Attributes:
        form: what it is stored as.
        stored: the arrays that are stored.
        module: makes the weight, in the graph of the signature.
    """

    form: str
    stored: tuple[np.ndarray, ...]
    module: _DecodedAtLoad | _DecodedAtCall


def _decode(compressor, arrays: Mapping[str, tf.Tensor], info) -> tf.Tensor:
    value = tf.cast(compressor.decompress(TensorFlowOps, arrays, info), info.dtype)
    return value if value.shape == info.shape else tf.ensure_shape(value, info.shape)


def _cannot_decode(weight: CodedWeight) -> str:
    """Why the algorithm does not decode the weight in a graph of TensorFlow; empty if it does."""
    with tf.Graph().as_default():
        try:
            arrays = {
                array.declared.name: tf.compat.v1.placeholder(
                    array.declared.dtype, array.declared.shape
                )
                for array in weight.coded
            }
            _decode(weight.compressor, arrays, weight.info)
        # An algorithm may fail in any way.
        except Exception as error:
            return (
                "its decompress does not run in a TensorFlow graph: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
    return ""


def _larger(nbytes: int, weight: CodedWeight) -> str:
    dense = dense_bytes(weight.info)
    return f"its arrays take {nbytes:,} bytes, the weight {dense:,}." if nbytes >= dense else ""


def _cannot_decode_at_call(weight: CodedWeight) -> str:
    return _cannot_decode(weight) or _larger(weight.decoded_bytes, weight)


def _write_at_load(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    held, reasons = {}, {name: _cannot_decode(w) for name, w in source.compressed.items()}
    for name, weight in source.compressed.items():
        if not reasons[name]:
            module = _DecodedAtLoad(weight)
            arrays = module.arrays.values()
            stored = tuple(np.frombuffer(array.code, np.uint8) for array in arrays)
            reasons[name] = _larger(sum(code.nbytes for code in stored), weight)
            if not reasons[name]:
                held[name] = _Held("deflated", stored, module)
    if not held:
        return _save(source, path, held, reasons)
    modules = [one.module for one in held.values()]
    codes = [code.tobytes() for one in held.values() for code in one.stored]
    with tempfile.TemporaryDirectory() as folder:
        index, data = _write_checkpoint(pathlib.Path(folder) / _PACKED, codes)
        return _save(source, path, held, reasons, [index, data, _Decoder(modules, index)])


def _write_at_call(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    held = {}
    reasons = {name: _cannot_decode_at_call(w) for name, w in source.compressed.items()}
    for name, weight in source.compressed.items():
        if not reasons[name]:
            module = _DecodedAtCall(weight)
            stored = tuple(array.stored for array in module.arrays.values())
            held[name] = _Held("packed", stored, module)
    return _save(source, path, held, reasons)


def _write_float32(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    return _save(source, path, {}, {})


def _write_checkpoint(
    prefix: pathlib.Path, codes: Sequence[bytes]
) -> tuple[tf.saved_model.Asset, tf.saved_model.Asset]:
    """Writes strings, as one tensor; returns the checkpoint's two files, the index first."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[_PACKED],
        shape_and_slices=[""],
        tensors=[tf.constant(codes)],
    )
    index, data = (f"{prefix}{end}" for end in (".index", ".data-00000-of-00001"))
    return tf.saved_model.Asset(index), tf.saved_model.Asset(data)


def _save(
    source: Source,
    path: pathlib.Path,
    held: Mapping[str, _Held],
    reasons: Mapping[str, str],
    more: Iterable[tf.saved_model.Asset | _Resource] = (),
) -> dict[str, Placed]:
    """Writes the SavedModel; returns how it holds each weight.

    Raises:
        ExportError: TensorFlow cannot save the model.
    """
    root = tf.Module()
    makers = {name: one.module.read for name, one in held.items()}
    try:
        with substituted(source.model, makers) as places:
            served = {name: signature.trace() for name, signature in source.signatures.items()}
        variables = {id(v): v for function in served.values() for v in function.graph.variables}
        root.served, root.plain = served, list(variables.values())
        root.held, root.more = [one.module for one in held.values()], list(more)
        root.resources = source.resources
        tf.saved_model.save(root, path, signatures=served)
    # Layers of all kinds fail in ways of their own.
    except Exception as error:
        raise ExportError(
            f"TensorFlow cannot save the model: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:500]}"
        ) from error
    strip(path)
    placed = {name: Placed("float32", reason=reasons.get(name, "")) for name in source.weights}
    for name, one in held.items():
        shape = source.weights[name].info.shape
        layout = Layout(tuple(range(len(shape))), shape)
        made = {key: places[name].made_in(function.graph) for key, function in served.items()}
        read = tuple(Place(name_of(k, x), layout) for k, x in made.items() if x is not None)
        placed[name] = Placed(one.form, one.stored, read)
    return placed


AT_LOAD = register(
    Route(
        name="at_load",
        to="saved_model",
        decompress="before",
        about="weights are decoded once, when it is loaded; on disk they are deflated integers and "
        "floats",
        tolerance=0.0,
        why_not=_cannot_decode,
        write=_write_at_load,
        read=Loaded,
    )
)
AT_CALL = register(
    Route(
        name="at_call",
        to="saved_model",
        decompress="during",
        about="weights are decoded in every call, from packed variables, which costs latency",
        tolerance=0.0,
        why_not=_cannot_decode_at_call,
        write=_write_at_call,
        read=Loaded,
    )
)
FLOAT32 = register(
    Route(
        name="float32",
        to="saved_model",
        decompress="before",
        about="plain floats, as others are compared with",
        tolerance=0.0,
        why_not=anything,
        write=_write_float32,
        read=Loaded,
    )
)
