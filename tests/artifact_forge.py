"""Artifacts made by hand, with a valid checksum whatever is in them."""

import json
import struct
import zlib

import numpy as np
import zstandard

from kwc import coding


def forge(header, payload=b"", version=1):
    """A file with this header: an object, its JSON text, or a frame as bytes."""
    if not isinstance(header, bytes):
        header = frame(header if isinstance(header, str) else json.dumps(header))
    body = b"kwc" + bytes([version]) + struct.pack("<I", len(header)) + header + payload
    return body + struct.pack("<I", zlib.crc32(body))


def frame(text, **options):
    """A Zstandard frame without its magic number."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, **options
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor.compress(text.encode())


def forge_weight(algorithm, arrays, shape=(3, 4), dtype="float32", codes=(), axes=()):
    """A file of one weight `w`, from named arrays or, in `codes`, from rows with their codes."""
    rows, payload = [], b""
    mask = arrays.get("mask")
    for name, array in arrays.items():
        masked = mask is not None and name != "mask" and array.shape == mask.shape
        coded = coding.encode(array[mask] if masked else array)
        rows.append([name, array.dtype.name, list(array.shape), coded.coder, len(coded.data)])
        payload += coded.data
    for row, code in codes:
        rows.append([*row, len(code)])
        payload += code
    entry = ["w", dtype, list(shape), 0, rows, *axes]
    return forge({"algorithms": [algorithm], "weights": [entry]}, payload)


def small(*shape, dtype=np.float32):
    """An array of 0, 1, 2, ..."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)
