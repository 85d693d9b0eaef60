"""The `zstd` coder: a Zstandard frame over the raw bytes."""

import math

import numpy as np
import zstandard

from kwc.coding.dtypes import to_octets
from kwc.coding.errors import CodingError
from kwc.coding.raw import Raw

_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
_SMALL = 1 << 16


class Zstd:
    """One Zstandard frame without its magic number. Applies to every array that has elements."""

    name = "zstd"

    def __init__(self):
        self._raw = Raw()

    def encode(self, array: np.ndarray) -> bytes | None:
        """Returns the frame, which states its content size and has no checksum."""
        if not array.size:
            return None
        octets = to_octets(array)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _level(len(octets)), source_size=len(octets), format=_FORMAT
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(octets)

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`, refusing before any work a frame that declares another size."""
        size = math.prod(shape) * dtype.itemsize
        try:
            frame = zstandard.get_frame_parameters(data, format=_FORMAT)
            if frame.content_size != size or frame.window_size > size:
                raise CodingError(
                    f"zstd frame of {frame.content_size} bytes (window {frame.window_size}) "
                    f"where {size} are declared"
                )
            raw = zstandard.ZstdDecompressor(format=_FORMAT).decompress(
                data, max_output_size=size, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise CodingError(f"corrupt zstd frame: {error}") from error
        return self._raw.decode(raw, shape, dtype)


def _level(size: int) -> int:
    """The strongest level for up to 64 KiB; beyond, one that is ten times faster or more."""
    return 19 if size <= _SMALL else 9
