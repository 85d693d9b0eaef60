"""What is wrong with an export."""

from kwc.compressor import CompressionError


class ExportError(CompressionError):
    """An artifact that cannot be exported as asked; the message names cause and mend."""


class ProofError(ExportError):
    """A written file that is not what it was written from; it did not get its name."""
