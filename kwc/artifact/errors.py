"""The one exception of this package."""

import reprlib

from kwc.compressor import CompressionError


class ArtifactError(CompressionError):
    """A file that is no artifact, is damaged or forged, or does not fit the model."""


def short(value: object) -> str:
    """Returns an error's or a file's value as text for a message, of at most 200 characters."""
    text = str(value) if isinstance(value, str | Exception) else reprlib.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
