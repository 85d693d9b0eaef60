"""Reads a `.kwc` file by docs/format.md and docs/coding.md alone: nothing of kwc is imported."""

import json
import math
import struct
import zlib

import numpy as np
import zstandard
from coding_reader import DECODERS


def read(data):
    """Returns the decoded weights by path, and the metadata."""
    magic, version, header_bytes = struct.unpack_from("<3sBI", data)
    assert (magic, version) == (b"kwc", 1)
    assert struct.unpack("<I", data[-4:]) == (zlib.crc32(data[:-4]),)
    frame = b"\x28\xb5\x2f\xfd" + data[8 : 8 + header_bytes]
    header = json.loads(zstandard.ZstdDecompressor().decompress(frame))
    payload = data[8 + header_bytes : -4]
    weights = {}
    for path, dtype, shape, algorithm, rows, *output_axes in header["weights"]:
        arrays = {}
        for name, array_dtype, array_shape, coder, length in rows:
            code, payload = payload[:length], payload[length:]
            mask = arrays.get("mask")
            if mask is not None and mask.dtype == bool and list(mask.shape) == array_shape:
                arrays[name] = np.zeros(array_shape, numpy_dtype(array_dtype))
                arrays[name][mask] = elements(code, coder, (np.count_nonzero(mask),), array_dtype)
            else:
                flat = elements(code, coder, array_shape, array_dtype)
                arrays[name] = flat.reshape(array_shape)
        axes = output_axes[0] if output_axes else list(range(len(shape)))[-1:]
        weight = decompress(*header["algorithms"][algorithm], arrays, tuple(shape), axes)
        weights[path] = to_dtype(weight, dtype)
        assert weights[path].shape == tuple(shape)
    assert not payload
    return weights, header.get("metadata", {})


def numpy_dtype(dtype):
    # NumPy has no bfloat16, which is the upper half of a float32.
    return np.dtype(np.float32 if dtype == "bfloat16" else dtype)


def elements(code, coder, shape, dtype):
    itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    patterns = np.array(DECODERS[coder](code, shape, itemsize), f"u{itemsize}")
    if dtype == "bfloat16":
        return (patterns.astype(np.uint32) << 16).view(np.float32)
    return patterns.view(dtype)


def to_dtype(weight, dtype):
    return weight.astype(numpy_dtype(dtype))


def decompress(name, config, arrays, shape, output_axes):
    if name == "chain":
        (first, first_config), *rest = config["links"]
        rest = rest[0] if len(rest) == 1 else ["chain", {"links": rest}]
        own = {key: array for key, array in arrays.items() if "/" not in key}
        for param in {key.split("/")[0] for key in arrays if "/" in key}:
            inner = {k[len(param) + 1 :]: x for k, x in arrays.items() if k.startswith(f"{param}/")}
            inner_shape = trained_shape(first, first_config, param, shape, output_axes)
            axes = output_axes if inner_shape == shape else [len(inner_shape) - 1]
            own[param] = decompress(*rest, inner, inner_shape, axes)
        return decompress(first, first_config, own, shape, output_axes)
    input_axes = [axis for axis in range(len(shape)) if axis not in output_axes]
    if name == "lossless":
        return arrays["weight"]
    if name == "pruning":
        return np.where(arrays["mask"], arrays["weight"], 0).astype(arrays["weight"].dtype)
    if name == "clustering":
        return arrays["codebook"][arrays["indices"]]
    if name == "quantization":
        reduced = input_axes or output_axes
        scale = arrays["scale"].reshape([1 if i in reduced else n for i, n in enumerate(shape)])
        return arrays["levels"].astype(np.float32) * scale
    assert name == "low_rank"
    order = input_axes + list(output_axes)
    matrix = arrays["u"] @ arrays["v"]
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def trained_shape(name, config, param, shape, output_axes):
    if name == "clustering":
        return (config["clusters"],)
    if name != "low_rank":
        return shape
    columns = math.prod(shape[axis] for axis in output_axes)
    rows = math.prod(shape) // columns
    rank, full = config["rank"], min(rows, columns)
    if isinstance(rank, float):
        rank = max(math.ceil(round(rank * full, 6)), min(config["least"], full))
    return {"u": (rows, rank), "v": (rank, columns)}[param]
