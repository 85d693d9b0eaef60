"""Reads a `.kwc` file by docs/format.md and docs/coding.md alone: nothing of kwc is imported."""

import itertools
import json
import math
import pathlib
import struct
import zlib

import numpy as np
import zstandard
from coding_reader import DECODERS
from context_reader import decode_context

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "format.md").read_text()
WORDS = PAGE.partition("## Table of words")[2].split()
INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES = ["bool", *INTEGERS, "float16", "bfloat16", "float32", "float64"]


def read(data):
    """Returns the decoded weights by path, and the metadata."""
    assert data[:3] == b"kwc"
    assert struct.unpack("<I", data[-4:]) == (zlib.crc32(data[:-4]),)
    algorithms, rows, payload, metadata = {1: declared_v1, 2: declared_v2}[data[3]](data[4:-4])
    weights, used = {}, None
    for path, dtype, shape, output_axes, algorithm, declared in rows:
        arrays = {}
        for name, array_dtype, array_shape, coder, length in declared:
            code, payload = payload[:length], payload[length:]
            mask = arrays.get("mask")
            if mask is not None and mask.dtype == bool and list(mask.shape) == array_shape:
                arrays[name] = np.zeros(array_shape, numpy_dtype(array_dtype))
                arrays[name][mask] = elements(code, coder, (np.count_nonzero(mask),), array_dtype)
            else:
                array = elements(code, coder, array_shape, array_dtype, used).reshape(array_shape)
                arrays[name] = array
                if array.ndim > 1 and array.size and array_dtype in ("bool", *INTEGERS):
                    used = [np.any(array[..., column]) for column in range(array_shape[-1])]
        if output_axes is None:
            output_axes = list(range(len(shape)))[-1:]
        weight = decompress(*algorithms[algorithm], arrays, tuple(shape), output_axes)
        weights[path] = to_dtype(weight, dtype)
        assert weights[path].shape == tuple(shape)
    assert not payload
    return weights, metadata


def expand(data):
    """The `.tflite` file of a packed one."""
    weights, metadata = read(data)
    values, plan = list(weights.values()), metadata["tflite"]
    assert plan["version"] == 1
    skeleton, factors = weights["tflite/skeleton"].tobytes(), weights.get("tflite/factors")
    expanded = b""
    for place in plan["places"]:
        expanded, skeleton = expanded + skeleton[: place["skip"]], skeleton[place["skip"] :]
        constant = values[place["weight"]]
        if "factor" in place:
            shape = [n if axis in place["factor"] else 1 for axis, n in enumerate(constant.shape)]
            constant = constant * factors[: math.prod(shape)].reshape(shape)
            factors = factors[math.prod(shape) :]
        if "part" in place:
            constant = constant[..., slice(*place["part"])]
        if "axes" in place:
            constant = constant.transpose(place["axes"])
        expanded += constant.astype("<f4").tobytes()
    assert factors is None or not len(factors)
    return expanded + skeleton


def declared_v1(body):
    """Algorithms, weights, payload and metadata by docs/format_v1.md."""
    length = struct.unpack_from("<I", body)[0]
    header = json.loads(unframed(body[4 : 4 + length]))
    rows = [
        (path, dtype, shape, axes[0] if axes else None, algorithm, arrays)
        for path, dtype, shape, algorithm, arrays, *axes in header["weights"]
    ]
    return header["algorithms"], rows, body[4 + length :], header.get("metadata", {})


def unframed(frame):
    return zstandard.ZstdDecompressor().decompress(b"\x28\xb5\x2f\xfd" + frame)


def declared_v2(body):
    """The same by docs/format.md."""
    end = HeaderReader(body[:-5:-1])
    number = end.number()
    stop = len(body) - end.position
    start = stop - number // 2
    header = HeaderReader(unframed(body[start:stop]) if number % 2 else body[start:stop])
    return *header.declared(start), body[:start], header.metadata()


class HeaderReader:
    def __init__(self, data):
        self.data = data
        self.position = 0
        self.words = list(WORDS)
        self.last = {}
        self.segments = []

    def take(self, count):
        self.position += count
        assert self.position <= len(self.data)
        return self.data[self.position - count : self.position]

    def number(self):
        byte = self.take(1)[0]
        return byte if byte < 128 else byte - 128 + 128 * self.number()

    def times(self, read):
        return [read() for _ in range(self.number())]

    def word(self):
        index, kind = divmod(self.number(), 3)
        if index == 0:
            self.words.append(self.take(self.number()).decode())
        word = self.words[index - 1]
        if kind == 0:
            self.last[word] = 0
            return word
        self.last[word] = self.number() if kind == 2 else self.last.get(word, -1) + 1
        return f"{word}_{self.last[word]}"

    def path(self):
        dropped, added = divmod(self.number(), 16)
        kept = self.segments[: len(self.segments) - dropped]
        self.segments = kept + [self.word() for _ in range(added)]
        return "/".join(self.segments)

    def link(self):
        return [self.word(), json.loads(self.take(self.number()) or b"{}")]

    def axes(self):
        """A dtype, and axes or None."""
        number, dtype = divmod(self.number(), 16)
        return DTYPES[dtype], [self.number() for _ in range(number - 1)] if number else None

    def layout(self):
        return self.number(), *self.axes(), self.times(self.array)

    def array(self):
        return "/".join(self.times(self.word)), *self.axes()

    def declared(self, payload_bytes):
        coders = self.times(self.word)
        algorithms = self.times(lambda: self.times(self.link))
        layouts = self.times(self.layout)
        paths = self.times(self.path)
        shapes, chosen = [], []
        for _ in paths:
            rank, layout = divmod(self.number(), len(layouts))
            shapes.append([self.number() for _ in range(rank - 1)] if rank else shapes[-1][-1:])
            chosen.append(layouts[layout])
        rows = []
        for path, shape, (algorithm, dtype, output_axes, arrays) in zip(
            paths, shapes, chosen, strict=True
        ):
            declared = [
                [name, array_dtype, self.array_shape(lengths, shape, output_axes)]
                for name, array_dtype, lengths in arrays
            ]
            rows.append((path, dtype, shape, output_axes, algorithm, declared))
        every = [array for row in rows for array in row[-1]]
        for array in every:
            length, coder = divmod(self.number(), len(coders))
            array += [coders[coder], length]
            payload_bytes -= length
        if every:
            every[-1][-1] = payload_bytes
        chain = [a[0] if len(a) == 1 else ["chain", {"links": a}] for a in algorithms]
        return chain, rows

    def array_shape(self, numbers, shape, output_axes):
        if numbers is None:
            return shape
        axes = list(range(len(shape)))[-1:] if output_axes is None else output_axes
        columns = math.prod(shape[axis] for axis in axes)
        rows = math.prod(n for axis, n in enumerate(shape) if axis not in axes)
        return [self.number() if n == 0 else {1: rows, 2: columns}.get(n, n - 3) for n in numbers]

    def metadata(self):
        return json.loads(self.data[self.position :] or b"{}")


def numpy_dtype(dtype):
    # NumPy has no bfloat16, which is the upper half of a float32.
    return np.dtype(np.float32 if dtype == "bfloat16" else dtype)


def elements(code, coder, shape, dtype, used=None):
    itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    if coder == "context_1":
        assert any(used)
        assert not all(used)
        assert shape[-2] % len(used) == 0
        patterns = decode_context(code, shape, itemsize, used)
    else:
        patterns = DECODERS[coder](code, shape, itemsize)
    patterns = np.array(patterns, f"u{itemsize}")
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
    if name in ("epr", "fast_epr", "lilnetx"):
        steps = np.exp2(arrays["exponents"] / 8).astype(np.float32)
        latents = arrays["levels"].astype(np.float32).reshape(len(steps), -1) * steps[:, None]
        window = shape[:-2] if len(shape) >= 4 else ()
        positions = math.prod(window) if set(range(len(window))) <= set(input_axes) else 1
        if name != "lilnetx" and 2 <= positions <= 1024:
            latents = real_fourier(window).T @ latents
        if name == "lilnetx" and 2 <= positions <= math.sqrt(math.prod(shape) / 8):
            latents = arrays["decoder"].astype(np.float32) * np.float32(2**-6) @ latents
        return latents.reshape(shape)
    if name == "rate_quantization":
        reduced = input_axes or output_axes
        steps = np.exp2(arrays["exponents"] / 8).astype(np.float32)
        steps = steps.reshape([1 if i in reduced else n for i, n in enumerate(shape)])
        return arrays["levels"].astype(np.float32) * steps
    assert name == "low_rank"
    order = input_axes + list(output_axes)
    matrix = arrays["u"] @ arrays["v"]
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def real_fourier(window):
    """The matrix F of docs/format.md, wave by wave."""
    waves = []
    for k in itertools.product(*map(range, window)):
        opposite = tuple(-i % n for i, n in zip(k, window, strict=True))
        t = [
            2 * math.pi * sum(i * j / n for i, j, n in zip(k, p, window, strict=True))
            for p in itertools.product(*map(range, window))
        ]
        wave = np.cos(t) if k <= opposite else np.sin(t)
        waves.append(wave * math.sqrt((1 if k == opposite else 2) / len(t)))
    return np.array(waves, np.float32)


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
