"""Bytes and speed of kwc's coders against others, on the same arrays in one run.

    python -m benchmarks.coding --output=results/coding.csv

Arrays are those of two LeNets trained here on mnist_5k (dense, sparse by training against the rate,
rounded or clustered afterwards), those of artifacts named by --artifact, and Laplace integers
without memory. A ratio is bytes over the array's order-0 entropy, without any table; of floats,
over their own bytes. Speeds are MB of float32, 4 bytes an element, for each second of a processor.
Coders that are not installed say so.
"""

import csv
import dataclasses
import functools
import importlib
import lzma
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator

import constriction
import ml_dtypes
import numpy as np
import tf_keras
import zstandard
from absl import app, flags
from rich.console import Console
from rich.table import Table

import kwc
from experiments.data.sources import mnist_5k
from kwc import artifact, coding, schedules
from kwc.algorithms import Clustering, EntropyConstrained, Quantization

IMAGES, BATCH = 4000, 64

_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")
_ARTIFACT = flags.DEFINE_multi_string("artifact", [], "Files whose integers are coded too.")
_SIZE = flags.DEFINE_integer("size", 1_000_000, "Elements of arrays without memory.")
_RATE = flags.DEFINE_float("rate", 1.0, "Loss per expected bit per weight.")
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Epochs of training against the rate.")

Decode = Callable[[], np.ndarray]
Codec = Callable[[np.ndarray], tuple[int, Decode]]
"""Encodes an array; returns the bytes of its code, and what decodes it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The arrays of one model by one coder; speeds in MB of float32 a second."""

    array: str
    elements: int
    coder: str
    bytes: int | None = None
    ratio: float | None = None
    encode: float | None = None
    decode: float | None = None
    note: str = ""


def by_preset(preset: str) -> Codec:
    """Returns kwc's coding with a preset; the coder's name is not counted."""

    def encode(array: np.ndarray) -> tuple[int, Decode]:
        coder, data = coding.encode(array, preset)
        return len(data), lambda: coding.decode(coder, data, array.shape, array.dtype)

    return encode


def by_bytes(compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> Codec:
    """Returns a coder of bytes, over the elements as they are."""

    def encode(array: np.ndarray) -> tuple[int, Decode]:
        code = compress(array.tobytes())
        return len(code), lambda: np.frombuffer(decompress(code), array.dtype).reshape(array.shape)

    return encode


def categorical(array: np.ndarray) -> tuple[int, Decode]:
    """Codes by constriction's ANS and a model of the counts, which take 2 bytes for each value."""
    low = int(array.min())
    indices = array.reshape(-1).astype(np.int32) - low
    counts = np.bincount(indices, minlength=2).astype(np.float32)
    model = constriction.stream.model.Categorical(counts, perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(indices, model)
    words = coder.get_compressed()

    def decode() -> np.ndarray:
        decoded = constriction.stream.stack.AnsCoder(words).decode(model, array.size)
        return (decoded + low).astype(array.dtype).reshape(array.shape)

    return words.nbytes + 2 * len(counts), decode


def zipnn(array: np.ndarray) -> tuple[int, Decode]:
    """Codes floats by zipnn."""
    from zipnn import ZipNN

    coder = ZipNN(bytearray_dtype=array.dtype.name, input_format="byte")
    code = coder.compress(bytearray(array.tobytes()))
    return len(code), lambda: np.frombuffer(coder.decompress(code), array.dtype).reshape(
        array.shape
    )


def nncodec(array: np.ndarray) -> tuple[int, Decode]:
    """Codes integers by DeepCABAC of NNCodec, output channels first, as in its files."""
    from nncodec.extensions import deepCABAC

    matrix = array.reshape(-1, array.shape[-1]).T
    no_history = deepCABAC.HdspMode.AlwaysOff, np.zeros(2, np.int8)
    encoder = deepCABAC.Encoder()
    encoder.initCtxModels(10, 0)
    skipped = np.zeros(len(matrix), np.int32)
    levels = np.ascontiguousarray(matrix, np.int32)
    encoder.encodeLayer(levels, 0, 0, 0, 0, 0, skipped, *no_history, 0, 0)
    code = encoder.finish()

    def decode() -> np.ndarray:
        decoded = np.zeros(matrix.shape, np.int32)
        decoder = deepCABAC.Decoder()
        decoder.setStream(code)
        decoder.initCtxModels(10)
        decoder.decodeLayer(decoded, 0, 0, 0, 0, *no_history, 0, 0)
        return decoded.T.astype(array.dtype).reshape(array.shape)

    return len(code), decode


def installed(module: str, codec: Codec) -> Codec | None:
    """Returns the coder, or None if a module that it needs, or one that this needs, is missing."""
    try:
        importlib.import_module(module)
    except ImportError:
        return None
    return codec


def brotli(array: np.ndarray) -> tuple[int, Decode]:
    """Codes bytes by brotli, at its strongest, 11."""
    import brotli

    return by_bytes(brotli.compress, brotli.decompress)(array)


def coders(array: np.ndarray) -> dict[str, Codec | None]:
    """Returns the coders for an array by name; None for those that are not installed."""
    zstd = zstandard.ZstdCompressor(level=19)
    found = {
        "kwc small": by_preset("small"),
        "kwc fast": by_preset("fast"),
        "zstd -19": by_bytes(zstd.compress, zstandard.ZstdDecompressor().decompress),
        "xz -9": by_bytes(functools.partial(lzma.compress, preset=9), lzma.decompress),
        "brotli -11": installed("brotli", brotli),
    }
    if array.dtype.kind in "iu":
        found["constriction"] = categorical
        found["NNCodec"] = installed("nncodec.extensions.deepCABAC", nncodec)
    else:
        found["zipnn"] = installed("zipnn", zipnn)
    return found


def lenet(kind: str) -> tf_keras.Sequential:
    """Builds LeNet-300-100 or LeNet5-Caffe."""
    layers = tf_keras.layers
    hidden = {
        "lenet300": [layers.Flatten(), layers.Dense(300, "relu"), layers.Dense(100, "relu")],
        "lenet5": [
            *(layers.Conv2D(20, 5), layers.MaxPool2D(), layers.Conv2D(50, 5), layers.MaxPool2D()),
            *(layers.Flatten(), layers.Dense(500, "relu")),
        ],
    }[kind]
    model = tf_keras.Sequential([layers.Input((28, 28, 1)), *hidden, layers.Dense(10)])
    return model


def ready(model: tf_keras.Sequential) -> None:
    """Gives the model a new optimizer."""
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-3), loss)


def fit(model: tf_keras.Sequential, epochs: int) -> None:
    """Trains on the 4,000 images of mnist_5k."""
    pairs = list(mnist_5k.load().splits["train"])
    images = np.stack([image for image, _ in pairs]).astype(np.float32) / 255
    labels = np.array([label for _, label in pairs])
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=0)


def integers(path: pathlib.Path | str) -> list[np.ndarray]:
    """Returns the arrays of an artifact whose elements are signed or unsigned integers."""
    weights = artifact.read(path).weights.values()
    return [x for weight in weights for x in weight.arrays.values() if x.dtype.kind in "iu"]


def trained(kind: str, folder: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Trains a LeNet, and compresses it in three ways; returns what is stored, by name."""
    model = lenet(kind)
    ready(model)
    fit(model, 5)
    weights = [variable.numpy() for variable in model.trainable_variables]
    found = {
        f"{kind} float32": weights,
        f"{kind} bfloat16": [weight.astype(ml_dtypes.bfloat16) for weight in weights],
    }
    path = folder / f"{kind}.kwc"
    for name, algorithm in (("4 bits", Quantization(bits=4)), ("16 values", Clustering(16))):
        ready(model)
        handle = kwc.compress(model, kwc.Spec([(".*kernel", algorithm), (".*", None)]))
        kwc.save(model, path)
        found[f"{kind} {name}"] = integers(path)
        handle.undo()
    rate = schedules.PiecewiseLinear([(0, 0), (0.3, 1), (0.85, 1), (0.85, 0.3)], _RATE.value)
    steps = math.ceil(IMAGES / BATCH) * _EPOCHS.value
    ready(model)
    kwc.compress(model, kwc.Spec([(".*", EntropyConstrained())]), steps, rate)
    fit(model, _EPOCHS.value)
    kwc.save(model, path)
    found[f"{kind} sparse"] = integers(path)
    return found


def memoryless(size: int) -> dict[str, list[np.ndarray]]:
    """Returns Laplace integers of about 1, 2 and 4 bits of entropy."""
    rng = np.random.default_rng(0)
    scales = {"1 bit": 0.31, "2 bits": 0.71, "4 bits": 2.95}
    return {
        f"Laplace {name}": [np.rint(rng.laplace(0, s, (size // 1000, 1000))).astype(np.int8)]
        for name, s in scales.items()
    }


def entropy_bytes(array: np.ndarray) -> float:
    """Returns the order-0 entropy of all elements, in bytes."""
    counts = np.unique(array, return_counts=True)[1]
    return float(counts @ -np.log2(counts / array.size)) / 8


def measure(name: str, arrays: list[np.ndarray]) -> Iterator[Row]:
    """Yields a row for each coder; what it reads must be what it wrote."""
    elements = sum(array.size for array in arrays)
    floats = arrays[0].dtype.kind not in "iu"
    least = sum(array.nbytes if floats else entropy_bytes(array) for array in arrays)
    for coder, codec in coders(arrays[0]).items():
        if codec is None:
            yield Row(name, elements, coder, note="not installed")
            continue
        started = time.thread_time()
        codes = [codec(array) for array in arrays]
        encoding = time.thread_time() - started
        started = time.thread_time()
        decoded = [decode() for _, decode in codes]
        decoding = time.thread_time() - started
        for array, read in zip(arrays, decoded, strict=True):
            assert array.tobytes() == read.tobytes(), (name, coder)
        size = sum(length for length, _ in codes)
        speeds = (4e-6 * elements / seconds for seconds in (encoding, decoding))
        yield Row(name, elements, coder, size, size / least, *speeds)


def main(argv: list[str]) -> None:
    del argv
    coding.encode(np.arange(-9, 9))  # Compiles, or loads what was compiled before.
    tf_keras.utils.set_random_seed(0)
    arrays = memoryless(_SIZE.value)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("lenet300", "lenet5"):
            arrays |= trained(kind, pathlib.Path(folder))
    for path in _ARTIFACT.value:
        arrays[pathlib.Path(path).stem] = integers(path)
    rows = [row for name in arrays for row in measure(name, arrays[name])]
    table = Table("array", "elements", "coder", "bytes", "ratio", "encode", "decode")
    for row in rows:
        cells = (row.bytes, row.ratio, row.encode, row.decode)
        texts = [row.note or ""] * 4 if row.note else [f"{cells[0]:,}", f"{cells[1]:.4f}"]
        texts += [] if row.note else [f"{speed:.1f}" for speed in cells[2:]]
        table.add_row(row.array, f"{row.elements:,}", row.coder, *texts)
    Console(width=120).print(table)
    if _OUTPUT.value:
        with pathlib.Path(_OUTPUT.value).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in dataclasses.fields(Row))
            writer.writerows(map(texts_of, rows))


def texts_of(row: Row) -> list[str]:
    """Returns the cells of a row, with as many digits as are worth keeping."""
    return [f"{x:.4g}" if isinstance(x, float) else x for x in dataclasses.astuple(row)]


if __name__ == "__main__":
    app.run(main)
