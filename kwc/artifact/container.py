"""The outside of a file: magic, version, lengths, checksum, and a header around the codes."""

import struct
import zlib
from collections.abc import Iterable

import zstandard

from kwc.artifact.errors import ArtifactError
from kwc.compressor import CompressionError

MAGIC = b"kwc"
VERSION = 1
MAX_HEADER_BYTES = 2 << 20
"""The most bytes that a header may take as text, which bounds the memory that parsing it takes."""

_START = struct.Struct("<3sBI")  # magic, version, bytes of the compressed header
_CHECKSUM = struct.Struct("<I")  # CRC-32 of everything before it
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS


def seal(header: bytes, codes: Iterable[bytes]) -> bytes:
    """Returns the bytes of a file.

    Raises:
        CompressionError: the header is too long for any reader.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise CompressionError(
            f"The header of the artifact would take {len(header)} bytes; {MAX_HEADER_BYTES} is "
            "the most that a reader accepts. Put less into its metadata."
        )
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(header), format=_FORMAT
    )
    compressed = zstandard.ZstdCompressor(compression_params=parameters).compress(header)
    body = _START.pack(MAGIC, VERSION, len(compressed)) + compressed + b"".join(codes)
    return body + _CHECKSUM.pack(zlib.crc32(body))


def check_start(data: bytes, name: str) -> None:
    """Raises `ArtifactError` unless a file that starts with `data` may be an artifact."""
    if not data:
        raise ArtifactError(f"{name} is empty. kwc.save writes artifacts; write it again.")
    if not data.startswith(MAGIC):
        raise ArtifactError(
            f"{name} is no kwc artifact: it does not start with {MAGIC!r}. Pass a file that "
            "kwc.save wrote."
        )
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise ArtifactError(
            f"{name} has format version {data[len(MAGIC)]}; this kwc reads version {VERSION}. "
            "Install a newer kwc."
        )


def unseal(data: bytes, name: str) -> tuple[bytes, memoryview]:
    """Returns the header and the codes of a file that `seal` made; `name` is for messages.

    Raises:
        ArtifactError: it is none, is of another version, or is damaged.
    """
    check_start(data, name)
    body = len(data) - _CHECKSUM.size
    if body < _START.size or _CHECKSUM.unpack_from(data, body)[0] != zlib.crc32(
        memoryview(data)[:body]
    ):
        raise ArtifactError(
            f"{name} is damaged: its checksum does not match. It was cut short or changed after "
            "it was written; copy it again."
        )
    start = _START.size + _START.unpack_from(data)[2]
    if start > body:
        raise ArtifactError(f"{name} is forged: it is shorter than its header. Do not use it.")
    return _decompress(data[_START.size : start], name), memoryview(data)[start:body]


def _decompress(frame: bytes, name: str) -> bytes:
    try:
        declared = zstandard.get_frame_parameters(frame, format=_FORMAT)
        length = max(declared.content_size, declared.window_size)
        if length > MAX_HEADER_BYTES:
            raise ArtifactError(
                f"{name} is forged: its header would decompress to {length} bytes, and "
                f"{MAX_HEADER_BYTES} is the most. Do not use it."
            )
        return zstandard.ZstdDecompressor(format=_FORMAT).decompress(
            frame, max_output_size=MAX_HEADER_BYTES, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ArtifactError(
            f"{name} is forged: its header is no Zstandard frame ({error}). Do not use it."
        ) from error
