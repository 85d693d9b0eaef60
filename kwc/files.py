"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a file beside its final name and renames it; text is UTF-8.

    Raises:
        OSError: it cannot be written; what stood there before is unchanged, and the message says
            how many bytes found no room.
    """
    data = data.encode() if isinstance(data, str) else data
    with _writing(pathlib.Path(path), f"{len(data)} bytes were not written and ") as file:
        file.write(data)


def writing(path: str | os.PathLike) -> contextlib.AbstractContextManager[BinaryIO]:
    """Gives a file to write to, which takes its final name once the context has ended well.

    Raises:
        OSError: it cannot be written; what stood there before is unchanged.
    """
    return _writing(pathlib.Path(path), "")


@contextlib.contextmanager
def _writing(path: pathlib.Path, what: str) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        pathlib.Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OSError(
            error.errno, f"{error.strerror}; {what}nothing was changed", str(path)
        ) from error
