"""The description that every source gives of itself."""

import dataclasses
import importlib
from collections.abc import Callable
from types import ModuleType

from experiments.data.images import Images
from experiments.data.sentences import Sentences


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that data comes from.

    Attributes:
        name: name of the data set.
        summary: what it holds, in a few words.
        source: where it is found.
        licence: licence of the data.
        load: reads it, from the file or folder given or from its default place.
    """

    name: str
    summary: str
    source: str
    licence: str
    load: Callable[[str | None], Images | Sentences]


def import_data_package(package: str) -> ModuleType:
    """Imports a module of the optional `data` packages; ImportError says how to install them."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is not installed; run: pip install 'kwc[data]'") from error


def refuse_path(name: str, path: str | None) -> None:
    """Raises ValueError if a path was given for a source that comes inside a package."""
    if path is not None:
        raise ValueError(f"{name} comes inside a package and takes no --source, got {path}")
