"""The folder of a page: the page itself, its models, its runtime, and what the page is told."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np

from launch.demo import framing
from launch.demo.models import File
from launch.demo.pictures import Pictures
from launch.errors import LaunchError

INDEX, TOLD, MODELS, RUNTIME = "index.html", "demo.json", "models", "runtime"

_PAGE = pathlib.Path(__file__).with_name("page")
_SHOWN_PER_CLASS = 2


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder with the page in it, which takes its name once the context has ended well.

    An earlier page of that name is replaced.

    Raises:
        LaunchError: at the path is something else, or it cannot be written.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / TOLD).is_file()):
        raise LaunchError(
            f"{path} is there and is no page of an artifact. Name a folder that is new or empty, "
            "or an earlier page, which is replaced."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            written = pathlib.Path(scratch) / "written"
            shutil.copytree(_PAGE, written)
            (written / MODELS).mkdir()
            yield written
            if path.is_dir():
                path.rename(pathlib.Path(scratch) / "replaced")
            os.replace(written, path)
    except OSError as error:
        raise LaunchError(f"{path} cannot be written: {error}") from error


def tell(folder: pathlib.Path, name: str, pictures: Pictures, files: Mapping[str, File]) -> None:
    """Writes what the page is told.

    Args:
        folder: as `writing` gives it.
        name: what the models are called.
        pictures: of the test split.
        files: of the page, by what they are: `dense`, `compressed` and `packed`.
    """
    told = {
        "name": name,
        "data": pictures.data,
        "classes": pictures.classes,
        "shape": pictures.shape,
        "scale": pictures.scale.tolist(),
        "shift": pictures.shift.tolist(),
        "framing": dataclasses.asdict(framing.measure(pictures.images)),
        "files": {role: dataclasses.asdict(file) for role, file in files.items()},
        "pictures": [
            {
                "label": int(pictures.labels[i]),
                "pixels": base64.b64encode(pictures.images[i].tobytes()).decode(),
            }
            for i in _shown(pictures.labels)
        ],
    }
    (folder / TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _shown(labels: np.ndarray) -> list[int]:
    """The first pictures of each class, in the order of labels."""
    return [
        int(i)
        for label in np.unique(labels)
        for i in np.flatnonzero(labels == label)[:_SHOWN_PER_CLASS]
    ]
