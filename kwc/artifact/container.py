"""The outside of a file: magic, version, checksum, and a header beside the codes."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

import zstandard

from kwc.artifact import header, header_v1
from kwc.artifact.declared import Header
from kwc.artifact.errors import ArtifactError
from kwc.coding.bits import Reader, varint
from kwc.compressor import CompressionError

MAGIC = b"kwc"
VERSION = 2
"""The version that is written; those before it are read."""

MAX_HEADER_BYTES = 2 << 20
"""The most bytes that a header may take in memory."""

_START = len(MAGIC) + 1
_CHECKSUM = struct.Struct("<I")  # CRC-32 of everything before it
_LENGTH_V1 = struct.Struct("<I")
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
_CHUNK = 1 << 20
_PIECE = 64
"""Bytes of a compressed header that cannot stand for more than a header may take."""
_LENGTH_BYTES = 4


class FileView:
    """A part of a file, as a memoryview is a part of bytes: read when it is asked for.

    Args:
        file: a file that can be positioned, open as long as the view is used.
        start: position of the first byte.
        stop: position after the last byte.
    """

    def __init__(self, file: BinaryIO, start: int, stop: int):
        self._file = file
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, part: slice) -> FileView:
        start, stop, _ = part.indices(len(self))
        return FileView(self._file, self._start + start, self._start + max(start, stop))

    def __bytes__(self) -> bytes:
        self._file.seek(self._start)
        return self._file.read(len(self))


Source = memoryview | FileView


class Sealer:
    """Writes a file from its start to its end, and keeps nothing of it.

    Args:
        file: open for writing.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._checksum = 0
        self.length = 0
        self.write(MAGIC + bytes([VERSION]))

    def write(self, data: bytes) -> None:
        """Writes a code."""
        self._file.write(data)
        self._checksum = zlib.crc32(data, self._checksum)
        self.length += len(data)

    def end(self, declared: Header) -> None:
        """Writes the header and what follows it.

        Raises:
            CompressionError: no reader would accept the header.
        """
        data = header.dump(declared)
        if len(data) > MAX_HEADER_BYTES:
            raise CompressionError(
                f"The header of the artifact would take {len(data)} bytes; {MAX_HEADER_BYTES} is "
                "the most that a reader accepts. Put less into its metadata."
            )
        try:
            header.parse(data, sum(declared.lengths))
        except ValueError as error:
            raise CompressionError(
                f"No reader would accept the artifact: {error}. Change the names or the metadata."
            ) from error
        stored = min(data, compress(data), key=len)
        self.write(stored)
        self.write(varint(2 * len(stored) + (stored is not data))[::-1])
        self.write(_CHECKSUM.pack(self._checksum))


class Unsealed(NamedTuple):
    """The content of a file: its version, its header, and the codes."""

    version: int
    header: Header
    payload: Source


def check_start(data: bytes, name: str) -> None:
    """Raises `ArtifactError` unless a file that starts with `data` may be an artifact."""
    if not data:
        raise ArtifactError(f"{name} is empty. kwc.save writes artifacts; write it again.")
    if not data.startswith(MAGIC):
        raise ArtifactError(
            f"{name} is no kwc artifact: it does not start with {MAGIC!r}. Pass a file that "
            "kwc.save wrote."
        )
    if len(data) > len(MAGIC) and data[len(MAGIC)] not in _READERS:
        raise ArtifactError(
            f"{name} has format version {data[len(MAGIC)]}; this kwc reads versions 1 to "
            f"{VERSION}. Install a newer kwc."
        )


def unseal(source: Source, name: str) -> Unsealed:
    """Returns the content of a file that `Sealer` wrote; `name` is for messages.

    Raises:
        ArtifactError: it is none, is of another version, is damaged or forged.
    """
    check_start(bytes(source[:_START]), name)
    end = len(source) - _CHECKSUM.size
    if end < _START or _CHECKSUM.pack(_checksum(source[:end])) != bytes(source[end:]):
        raise ArtifactError(
            f"{name} is damaged: its checksum does not match. It was cut short or changed after "
            "it was written; copy it again."
        )
    version = bytes(source[len(MAGIC) : _START])[0]
    try:
        return Unsealed(version, *_READERS[version](source[_START:end]))
    except ValueError as error:
        raise ArtifactError(
            f"{name} is forged: its header cannot be: {error}. Do not use it."
        ) from error


def _checksum(source: Source) -> int:
    checksum = 0
    for start in range(0, len(source), _CHUNK):
        checksum = zlib.crc32(bytes(source[start : start + _CHUNK]), checksum)
    return checksum


def _read_v1(body: Source) -> tuple[Header, Source]:
    """Reads header and codes from what stands between version and checksum."""
    if len(body) < _LENGTH_V1.size:
        raise ValueError("the file ends before it")
    start = _LENGTH_V1.size + _LENGTH_V1.unpack(bytes(body[: _LENGTH_V1.size]))[0]
    if start > len(body):
        raise ValueError("the file is shorter than it")
    payload = body[start:]
    text = _decompress(bytes(body[_LENGTH_V1.size : start]))
    return header_v1.parse(text, len(payload)), payload


def _read_v2(body: Source) -> tuple[Header, Source]:
    """Reads codes and header from what stands between version and checksum."""
    digits = bytes(body[max(len(body) - _LENGTH_BYTES, 0) :])[::-1]
    number = Reader(digits).varint()
    length, is_compressed = divmod(number, 2)
    end = len(body) - len(varint(number))
    if length > end:
        raise ValueError("the file is shorter than it")
    _check_length(length)
    stored = bytes(body[end - length : end])
    payload = body[: end - length]
    return header.parse(_decompress(stored) if is_compressed else stored, len(payload)), payload


_READERS = {1: _read_v1, 2: _read_v2}


def compress(data: bytes) -> bytes:
    """Returns a header as a Zstandard frame without its magic number."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(data), format=_FORMAT
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _decompress(frame: bytes) -> bytes:
    """Inverts `compress`, in the memory that the result takes, whatever size the frame declares."""
    data = bytearray()
    try:
        declared = zstandard.get_frame_parameters(frame, format=_FORMAT)
        _check_length(max(declared.content_size, declared.window_size))
        decoder = zstandard.ZstdDecompressor(format=_FORMAT).decompressobj()
        for start in range(0, len(frame), _PIECE):
            data += decoder.decompress(frame[start : start + _PIECE])
            _check_length(len(data))
    except zstandard.ZstdError as error:
        raise ValueError(f"it is no Zstandard frame ({error})") from error
    if not decoder.eof or decoder.unused_data:
        raise ValueError("it is no Zstandard frame, or more than one")
    return bytes(data)


def _check_length(length: int) -> None:
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"it would take {length} bytes, and {MAX_HEADER_BYTES} is the most")
