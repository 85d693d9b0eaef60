"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import pathlib
import tempfile


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a file beside its final name and renames it; text is UTF-8.

    Raises:
        OSError: it cannot be written; what stood there before is unchanged, and the message says
            how many bytes found no room.
    """
    path = pathlib.Path(path)
    data = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        pathlib.Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}; {len(data)} bytes were not written and nothing was changed",
            str(path),
        ) from error
