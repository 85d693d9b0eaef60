"""Artifacts made by hand, with a valid checksum whatever is in them."""

import json
import struct
import zlib

import numpy as np
import zstandard

from kwc import coding
from kwc.artifact import header as kwc_header
from kwc.artifact.declared import DeclaredArray, DeclaredWeight, Header, weight_info


def forge(header, payload=b"", version=1):
    """A file of version 1 with this header: an object, its JSON text, or a frame as bytes."""
    if not isinstance(header, bytes):
        header = frame(header if isinstance(header, str) else json.dumps(header))
    return sealed(struct.pack("<I", len(header)) + header + payload, version)


def forge_v2(header, payload=b"", compressed=False):
    """A file of version 2 with this header: its bytes, or a list of numbers and bytes."""
    header = header if isinstance(header, bytes) else flat(header)
    return sealed(payload + header + varint(2 * len(header) + compressed)[::-1], 2)


def sealed(body, version):
    """The file with this between its version and its checksum."""
    data = b"kwc" + bytes([version]) + body
    return data + struct.pack("<I", zlib.crc32(data))


def flat(header):
    """The bytes of a list of numbers, bytes, and such lists."""
    if isinstance(header, bytes):
        return header
    return varint(header) if isinstance(header, int) else b"".join(map(flat, header))


def varint(number):
    """Seven bits a byte, the lowest first; all but the last byte have their top bit set."""
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number >> 7)


def word(text):
    """A word that is not in the table."""
    return [0, len(text.encode()), text.encode()]


def frame(text, **options):
    """A Zstandard frame without its magic number."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, **options
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor.compress(text if isinstance(text, bytes) else text.encode())


def forge_weight(algorithm, arrays, shape=(3, 4), dtype="float32", codes=(), axes=(), version=2):
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
    if version == 1:
        entry = ["w", dtype, list(shape), 0, rows, *axes]
        return forge({"algorithms": [algorithm], "weights": [entry]}, payload)
    declared = tuple(DeclaredArray(n, np.dtype(d), tuple(s), c, size) for n, d, s, c, size in rows)
    info = weight_info("w", tuple(shape), dtype, axes[0] if axes else None)
    weights = [DeclaredWeight(info, 0, declared)]
    return forge_v2(kwc_header.dump(Header([tuple(algorithm)], weights, {})), payload)


def small(*shape, dtype=np.float32):
    """An array of 0, 1, 2, ..."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)
