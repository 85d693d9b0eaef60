"""The one error of this package."""


class CodingError(ValueError):
    """Bytes that do not decode to the declared array, or an array that no coder can hold."""
